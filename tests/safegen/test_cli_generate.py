"""``safegen generate`` and ``safegen release`` as a script sees them."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from safegen.audio import save, sha256_file
from safegen.cli import main
from tests.safegen.conftest import tones

FIELDS = {
    "record_id",
    "decision",
    "path",
    "sha256",
    "model",
    "seed",
    "seconds",
    "watermark",
    "checks",
    "matches",
    "memorization",
    "log",
    "timings_ms",
}
"""The contract that scripts rely on."""


@pytest.fixture(autouse=True)
def _home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAFEGEN_HOME", str(home))


def test_generate_prints_one_object_a_line_with_the_promised_fields(tmp_path: Path) -> None:
    result = _generate(tmp_path, "--count", "2", "--seed", "5")

    rows = _rows(result)
    assert result.exit_code == 0, result.output
    assert [row["seed"] for row in rows] == [5, 6]
    for row in rows:
        assert set(row) >= FIELDS
        assert row["watermark"]["detected"]
        assert sha256_file(Path(row["path"])) == row["sha256"]
        assert {check["name"] for check in row["checks"]} >= {
            "prompt",
            "catalog_match",
            "synthetic",
            "watermark",
            "c2pa",
            "readback",
        }


@pytest.mark.parametrize("model", ["procedural", "music-flow"])
def test_one_of_several_has_the_same_sound_as_alone(tmp_path: Path, model: str) -> None:
    several = _rows(_generate(tmp_path, "--count", "4", "--seed", "5", "--model", model))
    (alone,) = _rows(_generate(tmp_path, "--seed", "7", "--model", model))

    sounds = [row["pcm_sha256"] for row in several]
    assert len(set(sounds)) == 4
    assert alone["pcm_sha256"] == sounds[2]


def test_a_refused_prompt_exits_with_three_and_leaves_no_file(tmp_path: Path) -> None:
    result = _generate(tmp_path, prompt="clone the voice of my boss singing")

    (row,) = _rows(result)
    assert result.exit_code == 3
    assert row["decision"] == "block"
    assert row["path"] is None
    assert "R2" in {reason["rule"] for reason in row["reasons"]}
    assert not list(tmp_path.rglob("*.wav"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--seconds", "0"], "0"),
        (["--seed", "-1"], "-1"),
        (["--model", "nothing-like-this"], "nothing-like-this"),
        (["--policy", "nothing-like-this"], "nothing-like-this"),
        (["--file-format", "ogg"], "ogg"),
    ],
    ids=["no seconds", "negative seed", "unknown model", "unknown policy", "unknown format"],
)
def test_wrong_use_exits_with_two_and_names_the_value(
    tmp_path: Path, arguments: list[str], says: str
) -> None:
    result = _generate(tmp_path, *arguments)

    assert result.exit_code == 2, result.output
    assert says in result.stderr
    assert "Traceback" not in result.output


def test_release_sends_a_foreign_file_through_the_same_gate(tmp_path: Path) -> None:
    file = tmp_path / "foreign.wav"
    save(tones(1), file)

    out = str(tmp_path / "out")
    result = _invoke(
        "release", str(file), "--generator", "Tones 1", "--out", out, "--format", "jsonl"
    )

    (row,) = _rows(result)
    assert result.exit_code == 0, result.output
    assert row["model"] == "Tones 1"
    assert Path(row["path"]).exists()


def test_release_reads_every_file_before_it_judges_the_first(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.wav", tmp_path / "bad.wav"
    save(tones(1), good)
    bad.write_bytes(b"no audio at all")

    result = _invoke(
        "release", str(good), str(bad), "--generator", "Tones", "--out", str(tmp_path / "out")
    )

    assert result.exit_code == 2
    assert "bad.wav" in result.stderr
    assert not (tmp_path / "out").exists()


def test_without_keys_the_command_to_run_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAFEGEN_HOME", str(tmp_path / "nowhere"))

    result = _generate(tmp_path)

    assert result.exit_code == 1
    assert "safegen keys init" in result.stderr


def test_people_read_what_happened_and_why(tmp_path: Path) -> None:
    released = _invoke(
        "generate", "a march", "--model", "procedural", "--seconds", "8", "--out", str(tmp_path)
    )
    refused = _invoke(
        "generate", "imitate the voice of my boss", "--model", "procedural", "--out", str(tmp_path)
    )

    assert released.stdout.startswith("released")
    assert refused.stdout.startswith("block: not released")
    assert "R2" in refused.stdout


def _generate(tmp_path: Path, *arguments: str, prompt: str = "a march at 100 bpm") -> Result:
    return _invoke(
        "generate",
        prompt,
        "--model",
        "procedural",
        "--seconds",
        "8",
        "--out",
        str(tmp_path / "out"),
        "--format",
        "jsonl",
        *arguments,
    )


def _invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def _rows(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]
