"""The judge of false matches: one sound in two recordings is told from two that play the same."""

from pathlib import Path

import numpy as np
import pytest

from detectors.base import Match, Waveform
from detectors.chromaprint import SAMPLE_RATE
from safegen.audio import Audio, save
from safegen.evaluation.attacks import ATTACKS
from safegen.evaluation.matching_bench.shared import NOTHING, Likeness, likeness
from tests.detectors.test_chromaprint import melody


def audio(waveform: Waveform) -> Audio:
    return Audio(waveform=np.asarray(0.3 * waveform, np.float32), sample_rate=SAMPLE_RATE)


def drummed(seconds: float, *, seed: int, decay: float = 8.0) -> Waveform:
    """Noises with an envelope, twice a second: other sound at each seed, to one beat."""
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    noise = np.random.default_rng(seed).normal(size=len(t))
    return np.asarray((noise * np.exp(-decay * (t % 0.5)))[np.newaxis], dtype=np.float32)


def match(work_start: float, *, start: float = 0.0, seconds: float = 8.0) -> Match:
    return Match(
        work_id="w",
        engine="landmarks",
        query_start_seconds=start,
        query_end_seconds=start + seconds,
        reference_start_seconds=work_start,
        reference_end_seconds=work_start + seconds,
        score=0.7,
        p_value=1e-6,
    )


@pytest.fixture
def work(tmp_path: Path) -> Path:
    path = tmp_path / "work.wav"
    save(audio(melody(40.0, seed=1)), path)
    return path


def test_a_worn_copy_holds_the_same_sound(work: Path) -> None:
    whole = audio(melody(40.0, seed=1))
    query = ATTACKS["noise-10db"](ATTACKS["highpass-500"](whole.cut(12.0, 22.0)))
    found = likeness(query, work, match(13.0, start=1.0))

    assert found.seconds == 8
    assert found.alike >= 7
    assert found.is_shared


def test_the_right_work_at_the_wrong_place_does_not(work: Path) -> None:
    query = audio(melody(40.0, seed=1)).cut(12.0, 22.0)

    assert not likeness(query, work, match(15.2)).is_shared


@pytest.mark.parametrize("decay", [8.0, 20.0, 60.0])
def test_other_drums_to_the_same_beat_do_not(tmp_path: Path, decay: float) -> None:
    path = tmp_path / "beat.wav"
    whole = audio(drummed(30.0, seed=1, decay=decay))
    save(whole, path)

    assert not likeness(audio(drummed(10.0, seed=2, decay=decay)), path, match(5.0)).is_shared
    assert likeness(whole.cut(5.0, 15.0), path, match(5.0)).is_shared


def test_nothing_is_said_where_nothing_can_be_compared(work: Path) -> None:
    query = audio(melody(40.0, seed=1)).cut(0.0, 10.0)

    assert likeness(query, work, match(0.0, seconds=0.5)) == NOTHING
    assert likeness(query, work, match(39.9)) == NOTHING
    assert not NOTHING.is_shared


@pytest.mark.parametrize(
    ("seconds", "alike", "is_shared"),
    [(1, 1, False), (2, 2, True), (6, 2, True), (7, 2, False), (9, 3, True)],
)
def test_a_few_seconds_that_agree_may_be_luck(seconds: int, alike: int, is_shared: bool) -> None:
    assert Likeness(seconds=seconds, alike=alike).is_shared == is_shared
