"""The benchmark of the decoder's mark, on the few sounds that are in the tree."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from safegen.audio import load
from safegen.evaluation import rooted
from safegen.evaluation.attacks import ATTACKS
from safegen.evaluation.rooted import ROWS, Kept, Trial, listen, music_window, speech_window

ASSETS = Path(__file__).parent.parent.parent / "assets"
SOUNDS = tuple(sorted([*ASSETS.glob("*.ogg"), *ASSETS.glob("*.flac")]))


def trial(number: int, *, detected: bool = True) -> Trial:
    return Trial(
        row="clean", number=number, detected=detected, score=9.0, p_value=1e-9, cpu_share=0.01
    )


def test_every_row_is_an_attack_that_exists() -> None:
    assert set(ROWS) <= set(ATTACKS)
    assert len(set(ROWS)) == len(ROWS)


def test_a_finished_trial_is_not_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "state.jsonl"
    Kept(path, "a").get("clean", 0, lambda: trial(0))
    with path.open("a") as file:
        file.write('{"version": "a", "row": "clean", "num')  # the power went off here

    def never() -> Trial:
        raise AssertionError

    assert Kept(path, "a").get("clean", 0, never) == trial(0)


def test_another_version_starts_over(tmp_path: Path) -> None:
    path = tmp_path / "state.jsonl"
    Kept(path, "a").get("clean", 0, lambda: trial(0))

    again = Kept(path, "b").get("clean", 0, lambda: trial(0, detected=False))

    assert not again.detected


def test_a_window_depends_on_its_number_alone() -> None:
    numbers = (0, 7, 31)
    music = [music_window(SOUNDS, number) for number in numbers]
    speech = [speech_window(SOUNDS, number) for number in numbers]

    assert all(0.0 < window.seconds <= rooted.SECONDS for window in music)
    assert all(window.seconds == pytest.approx(rooted.SECONDS, abs=0.01) for window in speech)
    assert np.array_equal(music_window(SOUNDS, 7).waveform, music[1].waveform)
    assert np.array_equal(speech_window(SOUNDS, 7).waveform, speech[1].waveform)


def test_a_recording_is_a_silent_trial() -> None:
    found = listen("music", 0, load(SOUNDS[0]))

    assert not found.detected
    assert found.cpu_share > 0.0


def test_a_folder_without_audio_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(rooted.command, ["--assets", str(tmp_path)])

    assert result.exit_code != 0
    assert "safegen eval assets" in str(result.exception)


def test_the_report_counts_what_was_heard_and_what_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rooted, "music_files", lambda _: SOUNDS)
    monkeypatch.setattr(rooted, "speech_files", lambda _: {"en": SOUNDS})
    monkeypatch.setattr(rooted, "SECONDS", 4.0)

    args = ["--assets", str(tmp_path), "--clips", "2", "--unmarked", "2", "--attack", "clean"]
    result = CliRunner().invoke(rooted.command, [*args, "--state", str(tmp_path / "s.jsonl")])

    row = json.loads(result.stdout)
    assert row["heard"]["clean"]["hits"] == row["heard"]["released"]["hits"] == 2
    assert {name: kind["hits"] for name, kind in row["false_alarms"].items()} == {
        "other-label": 0,
        "music": 0,
        "speech": 0,
    }
