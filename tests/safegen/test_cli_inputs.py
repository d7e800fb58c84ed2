"""What ``safegen generate`` does with files of prompts and with sounds, bad ones first."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import safegen
from safegen.audio import Audio, encode_exact, save
from safegen.cli import main
from safegen.cli.asking import load_sounds
from safegen.errors import InputError
from safegen.generation import cards, requests
from safegen.generation.cards import INPUTS
from safegen.provenance import c2pa
from safegen.provenance.keys import KeyStore
from tests.safegen.conftest import tones


@pytest.fixture(autouse=True)
def _home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation whose test model takes every input, and uses none."""
    monkeypatch.setenv("SAFEGEN_HOME", str(home))
    able = tuple(
        dataclasses.replace(found, accepts=INPUTS) if found.name == "procedural" else found
        for found in cards.CARDS
    )
    monkeypatch.setattr(cards, "CARDS", able)
    monkeypatch.setattr(requests, "CARDS", able)


def _generate(tmp_path: Path, *arguments: str) -> Result:
    out = str(tmp_path / "out")
    plain = ["--model", "procedural", "--out", out, "--format", "jsonl"]
    return CliRunner().invoke(main, ["generate", *plain, *arguments])


def _rows(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def _files(tmp_path: Path) -> dict[str, str]:
    """Write the sounds that bad input is made of."""
    silence = Audio(waveform=np.zeros((1, 64_000), np.float32), sample_rate=32_000)
    holed = tones(3)
    holed.waveform[0, 100] = np.nan
    save(tones(3, seconds=4.0), tmp_path / "good.wav")
    save(silence, tmp_path / "silence.wav")
    save(tones(3).cut(0.0, 0.01), tmp_path / "short.wav")
    (tmp_path / "nan.wav").write_bytes(encode_exact(holed))
    (tmp_path / "text.wav").write_text("no sound at all", encoding="utf-8")
    (tmp_path / "late.csv").write_text("prompt,seconds\na,4\nb,10000\n", encoding="utf-8")
    names = ("good.wav", "silence.wav", "short.wav", "nan.wav", "text.wav", "late.csv", "no.wav")
    return {name: str(tmp_path / name) for name in names}


BAD = {
    "no prompt": ([""], "prompt is empty"),
    "nothing at all": ([], "prompt is empty"),
    "a prompt of 100,000 characters": (["x" * 100_000], "100000 characters, at most 4000"),
    "0 seconds": (["a march", "--seconds", "0"], "0 s is outside"),
    "10,000 seconds": (["a march", "--seconds", "10000"], "10000 s is outside"),
    "seconds that are no number": (["a march", "--seconds", "nan"], "nan s is outside"),
    "a melody of silence": (["--melody", "silence.wav"], "melody is silent"),
    "a melody of 10 ms": (["--melody", "short.wav"], "melody has 0.01 s"),
    "a melody with a NaN": (["--melody", "nan.wav"], "1 samples are NaN"),
    "a melody that is text": (["--melody", "text.wav"], "text.wav"),
    "a melody that is not there": (["--melody", "no.wav"], "no.wav"),
    "a beginning of silence": (["--continue-from", "silence.wav"], "continue is silent"),
    "a beginning of 10 ms": (["--continue-from", "short.wav"], "continue has 0.01 s"),
    "a beginning longer than all": (
        ["--continue-from", "good.wav", "--seconds", "3"], "has 4 s already"),
    "strength 2": (["--source", "good.wav", "--strength", "2"], "strength 2 "),
    "a stretch that is none": (["--source", "good.wav", "--inpaint", "x"], "'x' is no stretch"),
    "a stretch beyond the end": (["--source", "good.wav", "--inpaint", "3-9"], "3-9 s"),
    "a chapter without a start": (["--chapter", "calm"], "'calm' is no start"),
    "a story that starts late": (["--chapter", "5 calm"], "starts at 5 s"),
    "a prompt beside a story": (["a march", "--chapter", "0 calm"], "exclude each other"),
    "a prompt beside prompts": (["a march", "--prompts", "late.csv"], "--prompts beside"),
    "one bad line": (["--prompts", "late.csv"], "late.csv, line 3: 10000 s"),
    "to resume nothing": (["a march", "--resume"], "--resume without --seed"),
    "seeds beyond the last": (
        ["a march", "--count", "2", "--seed", str(2**63 - 1)], "is beyond"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "says"), BAD.values(), ids=BAD)
def test_bad_input_ends_with_a_clear_error_and_nothing_written(
    tmp_path: Path, home: Path, arguments: list[str], says: str
) -> None:
    files = _files(tmp_path)

    result = _generate(tmp_path, *(files.get(word, word) for word in arguments))

    assert result.exit_code == 2, result.output
    assert says in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "out").exists()
    assert not (home / "requests").exists()


def test_an_input_that_the_model_does_not_take_is_refused_before_it_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = _files(tmp_path)
    taken = next(found for found in cards.CARDS if found.name == "procedural")
    deaf = dataclasses.replace(taken, accepts=())
    others = tuple(dataclasses.replace(x, accepts=()) for x in cards.CARDS if x is not taken)
    monkeypatch.setattr(cards, "CARDS", (*others, deaf))

    result = _generate(tmp_path, "a march", "--melody", files["good.wav"])

    assert result.exit_code == 2
    assert "procedural takes no melody\nChoose a model that does: music-ar" in result.stderr


def test_a_sound_that_is_too_long_is_told_like_one_that_is_too_short(tmp_path: Path) -> None:
    beginning = Path(_files(tmp_path)["good.wav"])

    with pytest.raises(InputError, match=r"to continue has 4 s, the model takes 1 to 2\.5 s of it"):
        load_sounds(melody=None, continue_from=beginning, source=None, max_seconds=2.5)
    assert load_sounds(melody=None, continue_from=None, source=beginning, max_seconds=4.0)


@pytest.mark.slow
def test_a_flipped_byte_in_the_weights_is_told_before_anything_is_written(
    tmp_path: Path, home: Path
) -> None:
    # The package as it is installed, but for one byte of one file.
    package, copy = Path(safegen.__file__).parent, tmp_path / "copy" / "safegen"
    for path in package.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            link = copy / path.relative_to(package)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
    weights = copy / "generation" / "weights" / "planner.safetensors"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.unlink()
    weights.write_bytes(data)
    for room in ("detectors", "registry", "migrations"):
        (copy.parent / room).symlink_to(package.parent / room)

    done = subprocess.run(
        [sys.executable, "-m", "safegen", "generate", "a march", "--out", str(tmp_path / "out")],
        cwd=copy.parent,
        env={**os.environ, "SAFEGEN_HOME": str(home), "PYTHONPATH": str(copy.parent)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 4, done.stderr
    assert "planner.safetensors: sha256" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "out").exists()


def test_a_file_of_prompts_becomes_items_in_order(tmp_path: Path) -> None:
    table = tmp_path / "wishes.csv"
    table.write_text("prompt,seconds,seed\na march at 100 bpm,6,\na waltz,7,40\n", encoding="utf-8")

    result = _generate(tmp_path, "--prompts", str(table), "--count", "2", "--seed", "5")

    rows = _rows(result)
    assert result.exit_code == 0, result.output
    assert [row["item"] for row in rows] == [0, 1, 2, 3]
    assert [row["seed"] for row in rows] == [5, 6, 40, 41]
    assert [row["seconds"] for row in rows] == [6, 6, 7, 7]


def test_a_batch_that_was_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    table = tmp_path / "wishes.txt"
    table.write_text("a march\na waltz\n", encoding="utf-8")
    every = ["--prompts", str(table), "--seed", "5", "--seconds", "6", "--resume"]
    first = _rows(_generate(tmp_path, "a march", "--seed", "5", "--seconds", "6"))

    rest = _generate(tmp_path, *every)
    again = _generate(tmp_path, *every)
    Path(first[0]["path"]).unlink()
    lost = _generate(tmp_path, *every)

    assert [row["item"] for row in _rows(rest)] == [1]
    assert "1 of 2 items were released before." in rest.stderr
    assert _rows(again) == []
    assert again.exit_code == 0
    assert [row["pcm_sha256"] for row in _rows(lost)] == [first[0]["pcm_sha256"]]


def test_another_wish_is_not_taken_for_what_was_released(tmp_path: Path) -> None:
    _generate(tmp_path, "a march", "--seed", "5", "--seconds", "6")

    others = [
        _generate(tmp_path, *words, "--resume")
        for words in (
            ["a waltz", "--seed", "5", "--seconds", "6"],
            ["a march", "--seed", "5", "--seconds", "7"],
            ["a march", "--seed", "5", "--seconds", "6", "--negative-prompt", "drums"],
            ["a march", "--seed", "5", "--seconds", "6", "--file-format", "flac"],
        )
    ]

    assert [len(_rows(other)) for other in others] == [1, 1, 1, 1]


def test_a_source_sets_the_length_and_is_in_the_record(tmp_path: Path) -> None:
    save(tones(3, seconds=6.5), tmp_path / "source.wav")

    result = _generate(tmp_path, "--source", str(tmp_path / "source.wav"), "--inpaint", "0:02-3.5")

    (row,) = _rows(result)
    (told,) = row["inputs"]
    assert row["seconds"] == 6.5
    assert (told["kind"], told["strength"], told["spans"]) == ("source", 1.0, [[2.0, 3.5]])
    assert told["seconds"] == 6.5


def test_a_story_and_a_beginning_set_the_length(tmp_path: Path) -> None:
    save(tones(3, seconds=5.0), tmp_path / "start.wav")

    story = _generate(tmp_path, "--chapter", "0 calm", "--chapter", "0:02.5 wild")
    longer = _generate(tmp_path, "--continue-from", str(tmp_path / "start.wav"))

    assert [row["seconds"] for row in _rows(story)] == [12.5]
    assert [row["seconds"] for row in _rows(longer)] == [15.0]


def test_nothing_is_kept_if_nothing_shall_be(tmp_path: Path, home: Path) -> None:
    result = _generate(tmp_path, "a march", "--seconds", "6", "--no-keep-request")

    assert result.exit_code == 0
    assert not (home / "requests").exists()


def test_a_given_file_is_named_in_record_and_manifest_and_its_release_with_it(
    tmp_path: Path, home: Path
) -> None:
    first = _rows(_generate(tmp_path, "a march", "--seconds", "6", "--seed", "5"))[0]

    result = _generate(tmp_path, "a waltz", "--melody", first["path"], "--seconds", "6")

    (row,) = _rows(result)
    (told,) = row["inputs"]
    assert result.exit_code == 0, result.output
    assert told["release"] == {"basis": "watermark", "record_id": first["record_id"]}
    assert told["file"]["c2pa"]["state"] == "trusted"
    anchors = KeyStore(home / "keys").trust_anchors()
    (ingredient,) = c2pa.read(Path(row["path"]), trust_anchors=anchors).ingredients
    assert (ingredient.name, ingredient.record_id) == ("melody", first["record_id"])
    asked = ["verify", row["path"]]
    explained = CliRunner().invoke(main, [*asked, "--explain"])
    told_again = json.loads(CliRunner().invoke(main, [*asked, "--format", "jsonl"]).stdout)
    line = f"guided by a melody with a manifest that held, record {first['record_id']}"
    assert line in explained.stdout
    assert told_again["c2pa"]["ingredients"][0]["relationship"] == "inputTo"
