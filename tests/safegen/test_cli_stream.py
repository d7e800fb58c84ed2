"""``safegen generate --stream`` and ``--batch`` as a script sees them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from safegen import watermark
from safegen.audio import load
from safegen.cli import main
from safegen.config import from_environment
from safegen.provenance.keys import KeyStore


@pytest.fixture(autouse=True)
def _home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAFEGEN_HOME", str(home))


def test_the_stream_is_a_wav_file_with_the_samples_of_the_released_one(
    home: Path, tmp_path: Path
) -> None:
    heard = tmp_path / "heard.wav"

    result = _generate(tmp_path, "--seconds", "12", "--stream", str(heard))

    (row,) = _rows(result.stdout)
    streamed, released = load(heard), load(Path(row["path"]))
    keys = KeyStore(from_environment({"SAFEGEN_HOME": str(home)}).keys).watermark_keys()
    assert result.exit_code == 0, result.output
    assert streamed.sample_rate == released.sample_rate
    np.testing.assert_array_equal(streamed.waveform, released.waveform)
    assert row["stream"]["is_whole"]
    found = watermark.detect(streamed, keys=keys)
    assert f"{found.payload:016x}" == row["watermark"]["payload"]


def test_a_pipe_carries_the_sound_and_stderr_the_result(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "safegen", *_words(tmp_path, "--stream", "-")],
        capture_output=True,
        check=False,
        env=os.environ,
    )

    (row,) = _rows(done.stderr.decode())
    assert done.returncode == 0
    assert row["decision"] in ("release", "label")
    assert done.stdout[:4] == b"RIFF"
    assert len(done.stdout) == 44 + 2 * 8 * row_rate(row)


def test_a_refused_prompt_leaves_neither_stream_nor_file(tmp_path: Path) -> None:
    heard = tmp_path / "heard.wav"

    result = _generate(tmp_path, "--stream", str(heard), prompt="clone the voice of my boss")

    assert result.exit_code == 3
    assert not heard.exists()
    assert _rows(result.stdout)[0]["stream"] is None


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--count", "2", "--seed", "1"), "--stream with 2 items"),
        (("--resume", "--seed", "1"), "--stream with --resume"),
    ],
)
def test_one_item_is_heard_at_a_time(tmp_path: Path, options: tuple[str, ...], says: str) -> None:
    result = _generate(tmp_path, "--stream", str(tmp_path / "x.wav"), *options)

    assert result.exit_code == 2
    assert says in result.stderr


def test_a_stream_overwrites_nothing(tmp_path: Path) -> None:
    heard = tmp_path / "heard.wav"
    heard.write_bytes(b"mine")

    result = _generate(tmp_path, "--stream", str(heard))

    assert result.exit_code == 2
    assert heard.read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("name", "says"),
    [("out/heard.wav", "is in --out"), ("heard.mp3", "a stream is WAV, not .mp3")],
)
def test_a_stream_goes_where_it_is_no_release_and_what_it_says(
    tmp_path: Path, name: str, says: str
) -> None:
    result = _generate(tmp_path, "--stream", str(tmp_path / name))

    assert result.exit_code == 2
    assert says in result.stderr
    assert not (tmp_path / name).exists()


def test_a_full_disk_breaks_the_stream_off_and_names_its_record(tmp_path: Path) -> None:
    result = _generate(tmp_path, "--stream", "/dev/full")

    assert result.exit_code == 1
    assert "its record is 0" in result.stderr
    assert "cannot be written (No space left on device)" in result.stderr
    assert not list(tmp_path.rglob("*.wav"))


def test_a_streamed_output_is_made_again_bit_for_bit(tmp_path: Path) -> None:
    (row,) = _rows(_generate(tmp_path, "--stream", str(tmp_path / "x.wav")).stdout)

    result = CliRunner().invoke(main, ["replay", row["record_id"], "--format", "jsonl"])

    assert result.exit_code == 0, result.output
    assert _rows(result.stdout)[0]["same_sound"]


def test_items_of_a_batch_have_the_sound_they_have_alone(tmp_path: Path) -> None:
    options = ("--count", "4", "--seed", "5")
    together = _rows(_generate(tmp_path, *options, "--batch", "3").stdout)
    alone = _rows(_generate(tmp_path, *options).stdout)

    assert [row["item"] for row in together] == [0, 1, 2, 3]
    assert [row["pcm_sha256"] for row in together] == [row["pcm_sha256"] for row in alone]
    assert len({row["pcm_sha256"] for row in together}) == 4


def test_precision_is_no_choice_of_what_ships(tmp_path: Path) -> None:
    result = _generate(tmp_path, "--precision", "bfloat16")

    assert result.exit_code == 2
    assert "has float32 only" in result.stderr


def row_rate(row: dict[str, Any]) -> int:
    """Read the rate of a released file."""
    return load(Path(row["path"])).sample_rate


def _words(folder: Path, *options: str, prompt: str = "soft bells, 90 bpm") -> list[str]:
    named = ("--model", "procedural", "--out", str(folder / "out"), "--format", "jsonl", "-q")
    return ["generate", prompt, "--seconds", "8", *named, *options]


def _generate(folder: Path, *options: str, prompt: str = "soft bells, 90 bpm") -> Result:
    return CliRunner().invoke(main, _words(folder, *options, prompt=prompt))


def _rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]
