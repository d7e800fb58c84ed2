"""``safegen replay``: the same bits, or what has changed."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from safegen import replay as replays
from safegen.audio import save
from safegen.cli import main
from safegen.generation import cards, requests, systems
from safegen.generation.cards import INPUTS
from safegen.generation.music_flow import MusicFlow
from tests.safegen.conftest import tones
from tests.safegen.generation.debug_models import debug_system

PROMPT = "a melancholy march at 100 bpm for my neighbor"


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


def _invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def _made(tmp_path: Path, *arguments: str, prompt: str = PROMPT) -> dict[str, Any]:
    out = ["--model", "procedural", "--out", str(tmp_path / "out"), "--format", "jsonl"]
    result = _invoke("generate", prompt, "--seed", "5", "--seconds", "6", *out, *arguments)
    row: dict[str, Any] = json.loads(result.stdout)
    return row


def _replay(record_id: str, *arguments: str) -> tuple[Result, dict[str, Any]]:
    result = _invoke("replay", record_id, "--format", "jsonl", *arguments)
    return result, json.loads(result.stdout or "{}")


def test_a_released_sound_is_made_again_bit_for_bit(tmp_path: Path) -> None:
    made = _made(tmp_path)
    before = sorted(tmp_path.rglob("*"))

    result, found = _replay(made["record_id"])

    assert result.exit_code == 0, result.output
    assert found["same"]
    assert found["pcm_sha256"] == found["recorded_pcm_sha256"] == made["pcm_sha256"]
    assert (found["file"], found["differences"], found["agreement"]) == ("same", [], None)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_trained_system_is_made_again_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[MusicFlow] = []

    def fresh(name: str, **_: object) -> MusicFlow:
        built.append(debug_system())
        return built[-1]

    monkeypatch.setattr(systems, "load", fresh)
    made = _made(tmp_path, "--model", "music-flow", "--negative-prompt", "drums")

    result, found = _replay(made["record_id"])

    assert result.exit_code == 0, result.output
    assert found["pcm_sha256"] == made["pcm_sha256"]
    assert len(built) == 2


def test_without_the_kept_request_the_prompt_must_be_named_and_must_be_the_one(
    tmp_path: Path, home: Path
) -> None:
    made = _made(tmp_path, "--negative-prompt", "no drums of my neighbor's")
    (home / "requests" / f"{made['record_id']}.json").unlink()
    told = ["--prompt", PROMPT, "--negative-prompt"]

    asked, _ = _replay(made["record_id"])
    wrong, _ = _replay(made["record_id"], *told, "no drums")
    right, found = _replay(made["record_id"], *told, "no drums of my neighbor's")

    assert asked.exit_code == 2
    assert "Add --prompt TEXT and what else was given: negative prompt." in asked.stderr
    assert wrong.exit_code == 2
    assert "of another negative prompt" in wrong.stderr
    assert "neighbor" not in asked.output + wrong.output
    assert right.exit_code == 0, right.output
    assert found["same"]


def test_input_sounds_and_stories_are_held_to_the_record(tmp_path: Path, home: Path) -> None:
    save(tones(1, seconds=5.0), tmp_path / "melody.wav")
    save(tones(2, seconds=5.0), tmp_path / "other.wav")
    story = ["--chapter", "0 calm", "--chapter", "2 wild"]
    made = _made(tmp_path, "--melody", str(tmp_path / "melody.wav"), *story, prompt="")

    kept, _ = _replay(made["record_id"])
    (home / "requests" / f"{made['record_id']}.json").unlink()
    told = ["--chapter", "calm", "--chapter", "wild", "--melody"]
    right, _ = _replay(made["record_id"], *told, str(tmp_path / "melody.wav"))
    wrong, _ = _replay(made["record_id"], *told, str(tmp_path / "other.wav"))
    fewer, _ = _replay(made["record_id"], *told[2:], str(tmp_path / "melody.wav"))
    silent, _ = _replay(made["record_id"], "--chapter", "calm")

    assert kept.exit_code == right.exit_code == 0, kept.output + right.output
    assert "of another melody" in wrong.stderr
    assert "1 chapters, the request had 2" in fewer.stderr
    assert "Add --melody FILE." in silent.stderr
    assert {wrong.exit_code, fewer.exit_code, silent.exit_code} == {2}


def test_what_has_changed_since_then_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safegen import requested
    from safegen.generation import procedural

    made = _made(tmp_path)
    build = requested.this_build
    monkeypatch.setattr(
        requested,
        "this_build",
        lambda device, **told: dataclasses.replace(build(device, **told), torch="9.9"),
    )
    monkeypatch.setattr(procedural, "LOUDNESS_RMS", 0.0999)

    result, found = _replay(made["record_id"])
    told = _invoke("replay", made["record_id"])

    assert result.exit_code == told.exit_code == 3
    assert not found["same_sound"]
    assert [row["name"] for row in found["differences"]] == ["torch"]
    assert found["differences"][0]["now"] == "9.9"
    assert found["agreement"] > 0.95
    assert told.stdout.startswith("differs")
    assert "torch: " in told.stdout


def test_a_file_that_was_changed_or_moved_is_told(tmp_path: Path) -> None:
    made = _made(tmp_path)
    path = Path(made["path"])
    path.write_bytes(path.read_bytes() + b"\0")

    changed, found = _replay(made["record_id"])
    path.unlink()
    gone, later = _replay(made["record_id"])

    assert (changed.exit_code, found["file"], found["same_sound"]) == (3, "changed", True)
    assert (gone.exit_code, later["file"]) == (0, "gone")


def test_what_was_never_made_here_cannot_be_made_again(tmp_path: Path) -> None:
    save(tones(1), tmp_path / "foreign.wav")
    foreign = json.loads(
        _invoke(
            "release", str(tmp_path / "foreign.wav"), "--generator", "Tones", "--out",
            str(tmp_path / "out"), "--format", "jsonl",
        ).stdout
    )  # fmt: skip
    refused = _made(tmp_path, prompt="clone the voice of my boss singing")

    first, _ = _replay(foreign["record_id"])
    second, _ = _replay(refused["record_id"])

    assert first.exit_code == second.exit_code == 1
    assert "not generated here" in first.stderr
    assert "refused before a sound was made" in second.stderr


@pytest.mark.parametrize(
    "record_id", ["nothing", "../../keys/log-0001", "0198c0de-0000-7000-8000-000000000000"]
)
def test_an_id_without_a_record_is_wrong_use(record_id: str) -> None:
    result, _ = _replay(record_id)

    assert result.exit_code == 2
    assert "Use the record id that `safegen generate` printed." in result.stderr


def test_a_kept_request_that_was_changed_is_broken_evidence(tmp_path: Path, home: Path) -> None:
    made = _made(tmp_path)
    path = home / "requests" / f"{made['record_id']}.json"
    path.write_text(path.read_text(encoding="utf-8").replace("march", "waltz"), encoding="utf-8")

    result, _ = _replay(made["record_id"])

    assert result.exit_code == 4
    assert "another prompt than the request that was kept" in result.stderr
    assert "waltz" not in result.output


def test_a_model_that_is_gone_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = _made(tmp_path)
    rest = tuple(found for found in cards.CARDS if found.name != "procedural")
    monkeypatch.setattr(cards, "CARDS", rest)

    result, _ = _replay(made["record_id"])

    assert result.exit_code == 1
    assert "made by procedural, which is not installed here" in result.stderr


def test_a_quarantined_or_blocked_sound_is_compared_with_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safegen.gate import Gate
    from safegen.policy import CheckResult, Outcome

    def refuse(*_: object) -> CheckResult:
        return CheckResult(name="catalog_match", outcome=Outcome.ERROR, detail="the index is gone")

    monkeypatch.setattr(Gate, "_listen_catalog", refuse)
    made = _made(tmp_path)

    result, found = _replay(made["record_id"])

    assert made["decision"] == "block"
    assert (result.exit_code, found["file"]) == (0, "none")
    assert replays.FileState.NONE.value == found["file"]
