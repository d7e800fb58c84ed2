"""Landmarks: the same points in a worn copy, blobs that trust nothing, odd sounds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.base import Keyed, Waveform
from detectors.chromaprint import SAMPLE_RATE, Pcm, pcm
from detectors.errors import DetectorError
from detectors.landmarks import (
    BINS,
    FRAME,
    HOP,
    MAX_FRAMES,
    QUERY,
    WORK,
    WORK_TARGETS,
    Landmarks,
    bin_of,
    fingerprint_of,
    from_blob,
    keys_of,
    landmarks_of,
    to_blob,
)
from tests.detectors.test_chromaprint import melody


def recorded(seconds: float, *, seed: int) -> Waveform:
    """A melody in a room: nothing that was recorded is digitally silent between its tones."""
    wave = 0.3 * melody(seconds, seed=seed)
    hiss = np.random.default_rng(seed).normal(0, 1e-3, wave.shape)
    return (wave + hiss).astype(np.float32)


def song(seconds: float, *, seed: int) -> Pcm:
    """The same as the engines hear it."""
    return pcm(recorded(seconds, seed=seed), SAMPLE_RATE)


def points(landmarks: Landmarks) -> set[tuple[int, int]]:
    return set(zip(landmarks.frames.tolist(), landmarks.bins.tolist(), strict=True))


def blob(keys: list[int], frames: list[int]) -> bytes:
    return np.array([*keys, *frames], dtype="<u4").tobytes()


def test_a_work_keeps_at_most_25_landmarks_a_second_and_a_query_150() -> None:
    samples = song(30.0, seed=1)
    work, query = landmarks_of(samples, WORK), landmarks_of(samples, QUERY)

    assert 100 < len(work.frames) <= 26 * 30
    assert len(work.frames) < len(query.frames) <= 155 * 30
    assert (np.diff(work.frames) >= 0).all()
    assert work.bins.max() < BINS
    assert len(query.strongest(75).frames) < len(query.frames)


def test_landmarks_of_a_long_sound_do_not_depend_on_where_it_is_cut_for_the_work() -> None:
    samples = song(75.0, seed=2)
    whole = points(landmarks_of(samples, WORK))
    # A second is 43 frames; 20 s later the seconds begin at the same places.
    late = landmarks_of(samples[20 * 43 * HOP :], WORK)
    shifted = {(frame + 20 * 43, band) for frame, band in points(late) if frame > 100}

    assert len(shifted) > 500
    assert len(shifted & whole) > 0.99 * len(shifted)


def test_a_copy_12_db_louder_has_nearly_the_same_landmarks() -> None:
    wave = recorded(10.0, seed=3)
    quiet = points(landmarks_of(pcm(0.5 * wave, SAMPLE_RATE), WORK))
    loud = points(landmarks_of(pcm(2.0 * wave, SAMPLE_RATE), WORK))

    assert len(quiet & loud) > 0.95 * len(loud)


def test_noise_10_db_below_hides_less_than_a_third_of_a_works_landmarks() -> None:
    wave = recorded(10.0, seed=4)
    noise = np.random.default_rng(0).normal(0, wave.std() / 3.16, wave.shape)
    # Through a low-pass, as most noise of the world.
    noise = np.cumsum(noise - noise.mean(), axis=1) / 5
    noise *= wave.std() / 3.16 / noise.std()
    work = points(landmarks_of(pcm(wave, SAMPLE_RATE), WORK))
    heard = points(landmarks_of(pcm((wave + noise).astype(np.float32), SAMPLE_RATE), QUERY))
    near = {(f + df, b + db) for f, b in heard for df in (-1, 0, 1) for db in (-1, 0, 1)}

    assert len(work & near) > 2 / 3 * len(work)


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(0, np.int16),
        np.zeros(FRAME - 1, np.int16),
        np.zeros(FRAME, np.int16),
        np.zeros(30 * SAMPLE_RATE, np.int16),
        np.full(5 * SAMPLE_RATE, 32_767, np.int16),
        np.tile(np.array([-32_768, 32_767], np.int16), 30_000),
    ],
    ids=["nothing", "too short", "one frame", "silence", "a constant", "the highest tone"],
)
def test_sounds_without_peaks_have_no_keys(samples: Pcm) -> None:
    assert len(fingerprint_of(samples).keys) == 0


def test_a_steady_tone_has_landmarks_in_one_bin_only() -> None:
    turn = 2 * np.pi * 440 * np.arange(20 * SAMPLE_RATE) / SAMPLE_RATE
    tone = np.rint(20_000 * np.sin(turn)).astype(np.int16)

    assert set(landmarks_of(tone, WORK).bins.tolist()) == {82}


def test_keys_begin_with_the_landmark_at_their_frame() -> None:
    landmarks = landmarks_of(song(10.0, seed=5), WORK)
    keyed = keys_of(landmarks, targets=WORK_TARGETS)
    named = set(zip(keyed.positions.tolist(), bin_of(keyed.keys).tolist(), strict=True))

    assert named <= points(landmarks)
    assert len(named) > 0.8 * len(landmarks.frames)


# What is stored


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), seconds=st.floats(0.0, 4.0))
def test_a_blob_read_back_is_what_was_written(seed: int, seconds: float) -> None:
    keyed = fingerprint_of(song(seconds + 0.3, seed=seed))
    again = from_blob(to_blob(keyed))

    assert (again.keys == keyed.keys).all()
    assert (again.positions == keyed.positions).all()


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"\0" * 12, "12 bytes"),
        (b"\0", "1 bytes"),
        (blob([1, 2], [5, 4]), "order"),
        (blob([2, 1], [5, 5]), "order"),
        (blob([1, 1], [5, 5]), "order"),
        (blob([1], [MAX_FRAMES]), f"limit {MAX_FRAMES}"),
        (blob([2**32 - 1], [0]), "4294967295"),
    ],
    ids=[
        "odd number",
        "one byte",
        "frames fall",
        "keys fall",
        "a key twice",
        "an absurd frame",
        "an absurd key",
    ],
)
def test_bytes_that_are_no_landmarks_are_refused(data: bytes, problem: str) -> None:
    with pytest.raises(DetectorError, match=problem):
        from_blob(data)


def test_no_bytes_are_no_landmarks() -> None:
    keyed: Keyed = from_blob(b"")

    assert len(keyed.keys) == len(keyed.positions) == 0
