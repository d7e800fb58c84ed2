"""``safegen codec`` writes whole files or none."""

import io
import json
import re
import wave
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from safegen.audio import load, save
from safegen.cli import main
from safegen.generation import bitstream, codec_file
from safegen.generation.systems import load_codec
from tests.safegen.conftest import tones


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("songs") / "song.wav"
    save(tones(1, seconds=2.5), path)
    return path


@pytest.fixture(scope="module")
def packed(song: Path) -> bytes:
    return codec_file.encode(
        load(song), load_codec(), codec_id=codec_file.shipped_codec_id(), codebooks=1
    )


@pytest.fixture
def file(tmp_path: Path, packed: bytes) -> Path:
    path = tmp_path / "song.sgc"
    path.write_bytes(packed)
    return path


def run(*args: str | Path, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(main, ["codec", *map(str, args)], input=io.BytesIO(stdin))


def test_a_sound_goes_there_and_back(song: Path, tmp_path: Path) -> None:
    there = run("encode", song, "--codebooks", "2", "--out", tmp_path / "s", "--format", "jsonl")
    said = run("info", tmp_path / "s" / "song.sgc", "--format", "jsonl")
    back = run("decode", tmp_path / "s" / "song.sgc", "--out", tmp_path / "b", "--format", "jsonl")

    assert (there.exit_code, said.exit_code, back.exit_code) == (0, 0, 0), back.output
    row = json.loads(back.stdout)
    assert (row["marked"], row["released"]) == (True, False)
    assert json.loads(said.stdout)["bitrate"] == json.loads(there.stdout)["bitrate"]
    assert json.loads(said.stdout)["codebooks"] == 2
    assert load(tmp_path / "b" / "song.wav").seconds == pytest.approx(load(song).seconds, abs=1e-4)


def test_a_stream_from_stdin_is_the_stream_of_the_file(
    file: Path, packed: bytes, tmp_path: Path
) -> None:
    first = run("decode", file, "--stream", "--out", tmp_path / "b")
    second = run("decode", "-", "--stream", "--out", tmp_path / "b", stdin=packed)

    assert (first.exit_code, second.exit_code) == (0, 0), second.output
    with wave.open(str(tmp_path / "b" / "stdin.wav")) as sound:
        assert (sound.getnchannels(), sound.getframerate()) == (1, 32_000)
    assert (tmp_path / "b" / "stdin.wav").read_bytes() == (tmp_path / "b" / "song.wav").read_bytes()


@pytest.mark.parametrize("stream", [(), ("--stream",)], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("spoil", "status"),
    [
        (lambda data: data[:-1], 4),
        (lambda data: data[:60] + bytes([data[60] ^ 1]) + data[61:], 4),
        (lambda data: data + b"\0" * 3000, 4),
        (lambda data: b"RIFF" + data, 2),
        (lambda data: b"", 2),
    ],
    ids=["cut", "damaged", "longer", "no codec file", "empty"],
)
def test_a_bad_file_is_refused_and_nothing_is_written(
    spoil: object, status: int, stream: tuple[str, ...], file: Path, tmp_path: Path
) -> None:
    assert callable(spoil)
    file.write_bytes(spoil(file.read_bytes()))

    found = run("decode", file, "--out", tmp_path / "b", *stream)

    assert found.exit_code == status, found.output
    assert "song.sgc" in found.stderr
    assert list((tmp_path / "b").iterdir()) == []


def test_an_unreadable_sound_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"RIFFnonsense")

    found = run("encode", bad, "--out", tmp_path / "s")

    assert found.exit_code == 2
    assert list((tmp_path / "s").iterdir()) == []


def test_nothing_is_overwritten_unasked(file: Path, tmp_path: Path) -> None:
    target = tmp_path / "song.wav"
    target.write_bytes(b"mine")
    refused = run("decode", file, "--out", tmp_path)
    kept = target.read_bytes()
    done = run("decode", file, "--out", tmp_path, "--overwrite")

    assert (refused.exit_code, done.exit_code) == (2, 0)
    assert kept == b"mine"
    assert np.abs(load(target).waveform).max() > 0.01


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["decode", "-"], "only as a stream"),
        (["decode", "nowhere.sgc"], "no such file"),
        (["decode", "{file}", "{file.parent}/../{file.parent.name}/song.sgc"], "twice"),
    ],
    ids=["stdin at once", "no file", "two of one name"],
)
def test_wrong_use_is_said_before_anything_is_made(
    args: list[str], words: str, file: Path, tmp_path: Path
) -> None:
    found = run(*(arg.format(file=file) for arg in args), "--out", tmp_path / "b")

    assert found.exit_code == 2
    assert words in found.stderr
    assert not (tmp_path / "b").exists()


def test_help_says_that_the_gate_did_not_see_it() -> None:
    assert "not been through the gate" in re.sub(r"\s+", " ", run("decode", "--help").output)


def test_info_loads_no_model(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safegen.generation import systems

    monkeypatch.delattr(systems, "load_codec")

    assert run("info", file).exit_code == 0


def test_no_file_is_longer_than_is_read() -> None:
    longest = bitstream.Head(
        codec_id=bytes(16), codebooks=4, samples=bitstream.MAX_SAMPLES, gain=1.0
    )

    assert longest.size_bytes == bitstream.MAX_FILE_BYTES
