"""The command says what failed, refuses what it cannot do, and goes on where it stopped."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from safegen.audio import Audio
from safegen.cli import main
from safegen.errors import InputError
from safegen.evaluation import watermark
from safegen.evaluation.attacks import ATTACKS
from safegen.evaluation.watermarking import clips, trials
from safegen.evaluation.watermarking.clips import ClipSpec
from safegen.evaluation.watermarking.promises import PROMISES
from safegen.evaluation.watermarking.staged import STAGED

SPECS = tuple(
    ClipSpec(name=f"{name} {seed}", kind="effects", source=name, files=(), number=seed)
    for seed, name in enumerate(("rain", "surf"))
)


def evaluate(tmp_path: Path, attacks: str, *more: str) -> Result:
    """Run the command on two short synthesized clips, without rivals or ViSQOL."""
    arguments = ["eval", "watermark", "--clips", "2", "--attacks", attacks, "--jobs", "1"]
    arguments += ["--rival-clips", "0", "--visqol-clips", "0"]
    arguments += ["--state", str(tmp_path / "state.jsonl"), *more]
    return CliRunner().invoke(main, arguments)


@pytest.fixture(autouse=True)
def synthesized(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SAFEGEN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(clips, "plan", lambda assets, count: SPECS[:count])


def test_a_run_prints_figures_and_writes_a_page(tmp_path: Path) -> None:
    page = tmp_path / "out.html"

    result = evaluate(tmp_path, "clean,splice-4s", "--report", str(page))

    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert [row["attack"] for row in figures["rows"]] == ["clean", "splice-4s"]
    assert figures["rows"][0]["marks"]["keyed"]["exact_id"]["hits"] == 2
    assert figures["rows"][0]["marks"]["keyed"]["false_alarms"]["hits"] == 0
    assert figures["localization"]["mean"] > 0.8
    assert figures["core_seconds_per_second"]["keyed"]["search"]["n"] == 2
    assert "Watermark report" in page.read_text("utf-8")


def test_a_missed_promise_is_named_and_ends_with_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silence(audio: Audio) -> Audio:
        return Audio(waveform=np.zeros_like(audio.waveform), sample_rate=audio.sample_rate)

    removed = replace(ATTACKS["clean"], function=silence)
    monkeypatch.setattr(trials, "_attack", lambda name, folder: removed)

    result = evaluate(tmp_path, "clean")

    assert result.exit_code == 3, result.output
    failed = json.loads(result.stdout)["failed"]
    assert "clean: heard 0.000, asked 0.98" in failed
    assert "clean: exact id 0.000, asked 0.9" in failed


def test_a_second_run_measures_nothing_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = evaluate(tmp_path, "clean")
    lines = (tmp_path / "state.jsonl").read_text().splitlines()

    def refuse(task: trials.Task) -> list[trials.Row]:
        raise AssertionError(task)

    monkeypatch.setattr(trials, "perform", refuse)
    second = evaluate(tmp_path, "clean")

    assert second.stdout == first.stdout
    assert (tmp_path / "state.jsonl").read_text().splitlines() == lines


def test_a_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    whole = evaluate(tmp_path, "clean")
    state = tmp_path / "state.jsonl"
    lines = state.read_text().splitlines(keepends=True)
    # Killed in the middle of a line.
    state.write_text("".join(lines[:2]) + lines[2][:20])

    again = evaluate(tmp_path, "clean")

    def rates(result: Result) -> object:
        return json.loads(result.stdout)["rows"]

    assert rates(again) == rates(whole)
    rows = [json.loads(line) for line in state.read_text().splitlines() if line[-1] == "}"]
    assert len({row["trial"] for row in rows}) == len(lines)


def test_other_strengths_do_not_mix(tmp_path: Path) -> None:
    evaluate(tmp_path, "clean", "--strength", "0.3")

    quiet = evaluate(tmp_path, "clean", "--strength", "0.02")

    # A mark so weak was not heard; had the strong trials been taken over, it would have been.
    assert json.loads(quiet.stdout)["rows"][0]["marks"]["keyed"]["exact_id"]["hits"] == 0


def test_attacks_are_chosen_by_name() -> None:
    asked = [attack.name for attack in watermark.chosen("asked", None)]

    assert set(asked) == {*PROMISES, "splice-4s"}
    assert len(watermark.chosen("all", None)) == len(ATTACKS) + len(STAGED)
    assert [each.name for each in watermark.chosen(" mp3-64k, clean,", None)] == [
        "mp3-64k",
        "clean",
    ]


def test_an_attack_that_is_not_known_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"no attack is named mp4(.|\n)*mp3-64k"):
        watermark.chosen("clean,mp4", None)


def test_a_report_of_another_format_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    result = evaluate(tmp_path, "clean", "--report", str(tmp_path / "out.pdf"))

    assert result.exit_code == 2
    assert "reports are .html" in result.stderr
    assert not (tmp_path / "state.jsonl").exists()
