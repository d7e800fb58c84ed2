"""The second witness: Chromaprint agrees where the landmarks are right, and only there."""

import numpy as np
import pytest

from detectors import corroboration
from detectors.base import Waveform
from detectors.chromaprint import QUERY_SHIFTS, SAMPLE_RATE, Items, items_of, pcm
from detectors.constellations import (
    LEAST_AGREEMENT,
    NO_AGREEMENT,
    Agreement,
    LandmarkEvidence,
    chance,
    find_evidence,
    find_matches,
)
from detectors.landmarks import FRAME_SECONDS
from tests.detectors.test_chromaprint import melody
from tests.detectors.test_constellations import asked, cut, noisy, shelf, wave


def from_all_shifts(sound: Waveform) -> tuple[Items, ...]:
    samples = pcm(sound, SAMPLE_RATE)
    return tuple(items_of(samples[shift:]) for shift in QUERY_SHIFTS)


def evidence_at(
    work_seconds: float, *, pace: float = 1.0, seconds: float = 3.0
) -> LandmarkEvidence:
    """Say that the query's first seconds are the work's from ``work_seconds`` on."""
    start, count = work_seconds / FRAME_SECONDS, round(seconds / FRAME_SECONDS)
    return LandmarkEvidence(
        work=0,
        first_frame=0,
        last_frame=count,
        work_first_frame=start,
        work_last_frame=start + count * pace,
        votes=20,
        expected=40,
        local_score=40.0,
        p_value=1e-3,
    )


def items(seed: int) -> Items:
    return items_of(pcm(wave(seed), SAMPLE_RATE))


def test_all_that_agrees_is_told_where_the_place_is_right() -> None:
    found = corroboration.agreement(from_all_shifts(cut(2, 8.3)), items(2), evidence_at(8.3))

    assert found.worth > 2 * LEAST_AGREEMENT
    assert found.start_seconds == pytest.approx(0.0, abs=0.3)
    assert found.end_seconds == pytest.approx(10.0, abs=0.3)


@pytest.mark.parametrize("away", [-3.0, 1.0, 4.0])
def test_a_wrong_place_in_the_right_work_has_no_second_witness(away: float) -> None:
    found = corroboration.agreement(from_all_shifts(cut(2, 8.3)), items(2), evidence_at(8.3 + away))

    assert found.worth < LEAST_AGREEMENT


def test_another_work_has_no_second_witness() -> None:
    found = corroboration.agreement(from_all_shifts(cut(3, 8.3)), items(2), evidence_at(8.3))

    assert found.worth < LEAST_AGREEMENT


def test_a_held_chord_agrees_everywhere_and_therefore_says_nothing() -> None:
    t = np.arange(30 * SAMPLE_RATE) / SAMPLE_RATE
    chord = sum(np.sin(2 * np.pi * f * t) for f in (220.0, 277.2, 329.6))
    held = (np.asarray(chord)[np.newaxis] / 4).astype(np.float32)
    work = items_of(pcm(held, SAMPLE_RATE))
    found = corroboration.agreement(
        from_all_shifts(held[:, : 10 * SAMPLE_RATE]), work, evidence_at(12.0)
    )

    assert found.worth < 1.0


def test_silence_agrees_with_nothing() -> None:
    silent = np.zeros((1, 30 * SAMPLE_RATE), np.float32)
    work = items_of(pcm(silent, SAMPLE_RATE))
    found = corroboration.agreement(
        from_all_shifts(silent[:, : 10 * SAMPLE_RATE]), work, evidence_at(12.0)
    )

    assert found == NO_AGREEMENT


def test_a_place_outside_the_work_has_nothing_to_compare() -> None:
    found = corroboration.agreement(from_all_shifts(cut(2, 8.3)), items(2), evidence_at(90.0))

    assert found == NO_AGREEMENT


def test_a_second_witness_makes_chance_smaller_and_is_asked_of_the_work_named() -> None:
    heard = noisy(cut(1, 12.0))
    queries = from_all_shifts(heard)

    def witness(work_id: str, found: LandmarkEvidence) -> Agreement:
        return corroboration.agreement(queries, items(int(work_id[1:])), found)

    alone = find_evidence(asked(heard), shelf())[0]
    helped = find_evidence(asked(heard), shelf(), witness=witness)[0]

    assert helped.work == alone.work == 1
    assert helped.local_score == alone.local_score
    assert helped.score > alone.score
    assert helped.p_value == chance(helped.score, asked(heard).frames * shelf().item_count)


def test_a_short_stretch_is_told_as_long_as_the_second_witness_heard_it() -> None:
    def witness(work_id: str, found: LandmarkEvidence) -> Agreement:
        return Agreement(worth=9.0, start_seconds=0.5, end_seconds=19.5)

    around = 0.3 * melody(8.0, seed=50)
    heard = np.concatenate((around, cut(2, 8.0, 5.0), around), axis=1)
    best = find_matches(asked(heard), shelf(), witness=witness)[0]

    assert (best.query_start_seconds, best.query_end_seconds) == (0.5, 19.5)
    assert best.reference_start_seconds == pytest.approx(0.5, abs=0.3)
    assert best.reference_end_seconds == pytest.approx(19.5, abs=0.3)


def test_weak_agreement_does_not_move_the_ends() -> None:
    def witness(work_id: str, found: LandmarkEvidence) -> Agreement:
        return Agreement(worth=LEAST_AGREEMENT / 2, start_seconds=0.0, end_seconds=21.0)

    around = 0.3 * melody(8.0, seed=50)
    heard = np.concatenate((around, cut(2, 8.0, 5.0), around), axis=1)
    best = find_matches(asked(heard), shelf(), witness=witness)[0]

    assert best.query_start_seconds == pytest.approx(8.0, abs=0.6)
    assert best.query_end_seconds == pytest.approx(13.0, abs=0.6)


def test_agreement_ends_where_other_sound_begins() -> None:
    around = 0.3 * melody(8.0, seed=50)
    heard = np.concatenate((around, cut(2, 8.0), around), axis=1)
    found = corroboration.agreement(
        from_all_shifts(heard), items(2), evidence_at(0.0, seconds=14.0)
    )

    assert found.worth > 2 * LEAST_AGREEMENT
    assert found.start_seconds == pytest.approx(8.0, abs=1.0)
    assert found.end_seconds == pytest.approx(18.0, abs=1.0)
