"""Distractors are as many as asked for, repeatable, and collide as their sources do."""

import numpy as np
import pytest

from detectors import landmarks
from detectors.chromaprint import pcm
from safegen.evaluation.distractors import (
    FLIPPED,
    SNIPPET,
    distractors,
    landmark_distractors,
)
from tests.detectors.test_chromaprint import melody

SOUND = np.random.default_rng(0).integers(0, 2**32, 500, dtype=np.uint32)


def test_works_are_repeatable_whatever_their_number() -> None:
    few = list(distractors([SOUND], works=2, seed=5, items=70))
    many = list(distractors([SOUND], works=4, seed=5, items=70))

    assert [len(work) for work in many] == [70] * 4
    assert all(np.array_equal(a, b) for a, b in zip(few, many[:2], strict=True))
    assert not np.array_equal(many[0], many[1])
    assert not np.array_equal(next(distractors([SOUND], works=1, seed=6, items=70)), many[0])


def test_each_stretch_is_a_real_one_under_one_mask() -> None:
    known = {SOUND[i : i + SNIPPET].tobytes() for i in range(len(SOUND) - SNIPPET + 1)}
    steps = {(SOUND[i : i + SNIPPET] ^ SOUND[i]).tobytes() for i in range(len(SOUND) - SNIPPET + 1)}
    works = list(distractors([SOUND], works=200, seed=1, items=2 * SNIPPET))
    stretches = [work[half : half + SNIPPET] for work in works for half in (0, SNIPPET)]

    assert all((s ^ s[0]).tobytes() in steps for s in stretches)
    untouched = sum(s.tobytes() in known for s in stretches) / len(stretches)
    assert untouched == pytest.approx((1 - FLIPPED) ** 32, abs=0.03)


def test_sounds_too_short_are_refused() -> None:
    with pytest.raises(ValueError, match="32 items"):
        next(distractors([SOUND[:31]], works=1, seed=0))


def test_works_of_landmarks_can_be_stored_and_keep_pitches_but_not_rhythms() -> None:
    sound = landmarks.fingerprint_of(pcm(melody(30.0, seed=1), 11_025))
    few = list(landmark_distractors([sound], works=1, seed=5, seconds=20.0))
    again, other = landmark_distractors([sound], works=2, seed=5, seconds=20.0)

    assert np.array_equal(few[0].keys, again.keys)
    assert not np.array_equal(again.keys[:50], other.keys[:50])
    stored = landmarks.from_blob(landmarks.to_blob(again))
    assert int(stored.positions[-1]) * landmarks.FRAME_SECONDS == pytest.approx(20.0, abs=4.0)
    assert set(again.keys // 225) <= set(sound.keys // 225)
    assert len(set(again.keys) - set(sound.keys)) > 0.3 * len(set(again.keys))


def test_landmarks_too_short_are_refused() -> None:
    short = landmarks.fingerprint_of(pcm(melody(6.0, seed=1), 11_025))

    with pytest.raises(ValueError, match="8 s"):
        next(landmark_distractors([short], works=1, seed=0))
