"""Landmark matching: what was quoted is found under noise, filters and other paces; the rest not.

Music here is synthesized; the rates on real music are measured by ``safegen eval fingerprint``.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from scipy.signal import butter, resample_poly, sosfilt

from detectors import votes
from detectors.base import Waveform
from detectors.chromaprint import SAMPLE_RATE, pcm
from detectors.constellations import (
    LEAST_FRAMES,
    LEAST_P,
    Agreement,
    LandmarkEvidence,
    LandmarkRule,
    Query,
    chance,
    find_evidence,
    find_matches,
    query_of,
    tail,
)
from detectors.errors import DetectorError
from detectors.landmarks import (
    CENTER_SECONDS,
    QUERY,
    Numbers,
    fingerprint_of,
    landmarks_of,
    to_blob,
)
from detectors.landmarks import from_blob as postings_of
from detectors.transposition import Variant, constellation, retuned, told
from tests.detectors.test_chromaprint import melody


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    rows: Numbers
    works: Numbers
    positions: Numbers


class Shelf:
    """The smallest index: every key of every work in one sorted row."""

    def __init__(self, **works: bytes) -> None:
        self.blobs = works
        keyed = [postings_of(blob) for blob in works.values()]
        keys = np.concatenate([np.zeros(0, np.uint32), *(one.keys for one in keyed)])
        numbers = np.repeat(np.arange(len(keyed)), [len(one.keys) for one in keyed])
        places = np.concatenate([np.zeros(0, np.uint32), *(one.positions for one in keyed)])
        order = np.argsort(keys, kind="stable")
        self.keys, self.works = keys[order], numbers[order]
        self.places = places.astype(np.int64)[order]

    @property
    def item_count(self) -> int:
        return len(self.keys)

    def lookup(self, keys: np.ndarray, *, limit: int) -> Found:
        first = np.searchsorted(self.keys, keys, side="left")
        counts = np.searchsorted(self.keys, keys, side="right") - first
        counts[counts > limit] = 0
        rows = np.repeat(np.arange(len(keys)), counts)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        at = first[rows] + within
        return Found(rows=rows, works=self.works[at], positions=self.places[at])

    def blob(self, work: int) -> bytes:
        return list(self.blobs.values())[work]

    def work_id(self, work: int) -> str:
        return list(self.blobs)[work]


@cache
def wave(seed: int) -> Waveform:
    return 0.3 * melody(40.0, seed=seed)


@cache
def shelf() -> Shelf:
    return Shelf(**{f"w{n}": to_blob(fingerprint_of(pcm(wave(n), SAMPLE_RATE))) for n in range(6)})


def cut(seed: int, start: float, seconds: float = 10.0) -> Waveform:
    return wave(seed)[:, round(start * SAMPLE_RATE) :][:, : round(seconds * SAMPLE_RATE)]


def asked(sound: Waveform) -> Query:
    return query_of(pcm(sound, SAMPLE_RATE))


def high_passed(sound: Waveform) -> Waveform:
    sections = butter(4, 500, "highpass", fs=SAMPLE_RATE, output="sos")
    return np.asarray(sosfilt(sections, sound, axis=1), dtype=np.float32)


def noisy(sound: Waveform) -> Waveform:
    noise = np.random.default_rng(1).normal(0, sound.std(), sound.shape)
    return np.asarray((sound + noise) / 2, dtype=np.float32)


def under_another(sound: Waveform) -> Waveform:
    """Spoken over by a melody of the same loudness, which is in no work."""
    return np.asarray((sound + 0.3 * melody(10.0, seed=99)) / 2, dtype=np.float32)


@pytest.mark.parametrize("worn", [np.asarray, high_passed, noisy, under_another])
@pytest.mark.parametrize("work", range(4))
def test_a_worn_excerpt_is_found_where_it_was_cut(work: int, worn: object) -> None:
    assert callable(worn)
    heard = worn(cut(work, 12.345))
    best = find_matches(asked(heard), shelf())[0]

    assert best.work_id == f"w{work}"
    assert best.reference_start_seconds - best.query_start_seconds == pytest.approx(12.345, abs=0.1)
    # White noise as loud as the music hides a soft end.
    ends = 1.6 if worn is noisy else 0.5
    assert best.query_start_seconds == pytest.approx(0.0, abs=ends)
    assert best.query_end_seconds == pytest.approx(10.0, abs=ends)
    assert best.p_value <= 1e-4
    assert 0.5 < best.score < 1.0
    assert best.votes >= 20


@pytest.mark.parametrize("seed", range(70, 82))
def test_other_melodies_are_not_matched(seed: int) -> None:
    assert find_matches(asked(0.3 * melody(10.0, seed=seed)), shelf()) == ()


def test_a_quotation_in_the_middle_of_another_melody_keeps_its_ends() -> None:
    around = 0.3 * melody(20.0, seed=50)
    heard = np.concatenate((around[:, : 10 * SAMPLE_RATE], cut(2, 8.0), around), axis=1)
    best = find_matches(asked(heard), shelf())[0]

    assert best.work_id == "w2"
    assert best.query_start_seconds == pytest.approx(10.0, abs=0.5)
    assert best.query_end_seconds == pytest.approx(20.0, abs=0.5)
    assert best.reference_start_seconds == pytest.approx(8.0, abs=0.5)


def test_a_long_quotation_is_one_stretch() -> None:
    best = find_matches(asked(cut(1, 3.0, 35.0)), shelf())[0]

    assert best.query_end_seconds - best.query_start_seconds > 34.0
    assert best.speed == pytest.approx(1.0, abs=0.005)


def test_a_copy_played_four_percent_faster_is_found_by_its_variant_and_told_in_its_own_time() -> (
    None
):
    faster = resample_poly(cut(3, 10.0, 15.0), 25, 26, axis=1).astype(np.float32)
    variant = Variant(pitch=1.04, speed=1.04)
    samples = retuned(pcm(faster, SAMPLE_RATE), variant)
    best = told(find_matches(constellation(samples, variant), shelf())[0], variant)

    assert best.work_id == "w3"
    assert best.speed == pytest.approx(1.04, abs=0.01)
    assert best.semitones == pytest.approx(0.68, abs=0.01)
    assert best.query_end_seconds == pytest.approx(15 / 1.04, abs=0.5)
    assert best.reference_start_seconds == pytest.approx(10.0, abs=0.5)


# Odd sounds


def test_silence_and_clicks_match_nothing() -> None:
    clicks = np.zeros((1, 10 * SAMPLE_RATE), np.float32)
    clicks[:, :: SAMPLE_RATE // 4] = 1.0

    assert find_matches(asked(np.zeros((1, 10 * SAMPLE_RATE), np.float32)), shelf()) == ()
    assert find_matches(asked(clicks), shelf()) == ()


def test_a_looping_tone_does_not_match_another_looping_tone() -> None:
    time = np.arange(30 * SAMPLE_RATE) / SAMPLE_RATE
    beat = (np.sin(2 * np.pi * 2 * time) > 0.9).astype(np.float32)
    one = (0.3 * beat * np.sin(2 * np.pi * 440 * time))[np.newaxis].astype(np.float32)
    other = (0.3 * beat * np.sin(2 * np.pi * 660 * time))[np.newaxis].astype(np.float32)
    looped = Shelf(loop=to_blob(fingerprint_of(pcm(one, SAMPLE_RATE))))

    assert find_matches(asked(other[:, : 10 * SAMPLE_RATE]), looped) == ()


def test_too_short_a_sound_is_refused_and_an_empty_index_finds_nothing() -> None:
    short = Query(landmarks=landmarks_of(np.zeros(0, np.int16), QUERY), frames=LEAST_FRAMES - 1)

    with pytest.raises(DetectorError, match=r"1\.83 s of landmarks"):
        find_evidence(short, shelf())
    assert find_evidence(asked(cut(0, 1.0)), Shelf()) == ()


def test_keys_that_are_everywhere_are_left_out() -> None:
    seen: list[int] = []

    class Watched(Shelf):
        def lookup(self, keys: np.ndarray, *, limit: int) -> Found:
            seen.append(limit)
            return super().lookup(keys, limit=limit)

    find_evidence(asked(cut(0, 1.0)), Watched(**shelf().blobs))

    assert seen == [1_000]


# Chance


def test_asked_for_clean_copies_only_it_looks_at_fewer_works_and_says_the_same() -> None:
    query = asked(cut(2, 5.0))
    looked_at = {each.work for each in find_evidence(query, shelf())}

    spared = find_evidence(query, shelf(), least_moments=8)

    assert find_matches(query, shelf(), least_moments=8) == find_matches(query, shelf())
    assert len({each.work for each in spared}) == 1 < len(looked_at)
    assert find_evidence(query, shelf(), least_moments=10_000) == ()
    assert find_evidence(asked(cut(2, 5.0)), Shelf(), least_moments=8) == ()


def test_chance_falls_with_the_score_and_grows_with_the_search() -> None:
    search = 423 * 1_270_000

    assert 0.01 < chance(40.0, search) < 0.05
    assert chance(62.0, search) <= 1e-4 < chance(60.0, search)
    assert chance(62.0, 1000 * search) > 0.05
    assert chance(1e4, search) == LEAST_P
    assert chance(-5.0, search) == 1.0


def test_the_tail_of_exponential_scores_is_fitted() -> None:
    scores = 10.0 + np.random.default_rng(0).exponential(4.0, 20_000)
    scale, rate = tail(scores.tolist(), search=1_000_000, above=20.0)

    assert rate == pytest.approx(0.25, rel=0.05)
    assert scale * 1e6 * np.exp(-rate * 30.0) == pytest.approx(np.exp(-5.0), rel=0.2)
    with pytest.raises(ValueError, match="none of 1 scores"):
        tail([1.0], search=1, above=2.0)


def test_the_rule_asks_for_votes_seconds_and_a_small_chance() -> None:
    evidence = find_evidence(asked(cut(0, 5.0)), shelf())[0]

    assert evidence.satisfies(LandmarkRule())
    assert not evidence.satisfies(LandmarkRule(min_votes=evidence.votes + 1))
    assert not evidence.satisfies(LandmarkRule(min_seconds=evidence.seconds + 1))
    assert not evidence.satisfies(LandmarkRule(max_p_value=evidence.p_value / 2))
    assert CENTER_SECONDS < 0.1


def test_a_short_quotation_in_a_long_recording_is_found_however_many_votes_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    around = 0.3 * melody(85.0, seed=50)
    heard = asked(np.concatenate((around, cut(2, 8.0), around), axis=1))
    monkeypatch.setattr(votes, "_MANY_VOTES", 0)
    monkeypatch.setattr(votes, "_CROWDED_CELLS", 40)
    best = find_matches(heard, shelf())[0]

    assert best.work_id == "w2"
    assert best.query_start_seconds == pytest.approx(85.0, abs=0.5)
    assert best.query_end_seconds == pytest.approx(95.0, abs=0.5)


def test_a_second_witness_far_from_the_stretch_does_not_make_it_longer() -> None:
    def witness(work_id: str, found: LandmarkEvidence) -> Agreement:
        return Agreement(worth=9.0, start_seconds=16.0, end_seconds=20.0)

    heard = np.concatenate((cut(2, 8.0), 0.3 * melody(12.0, seed=50)), axis=1)
    best = find_matches(asked(heard), shelf(), witness=witness)[0]

    assert best.query_end_seconds == pytest.approx(10.0, abs=0.6)


def test_counting_before_sorting_loses_no_place_with_many_votes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard = asked(noisy(cut(2, 12.0)))
    best = find_evidence(heard, shelf())[0]
    monkeypatch.setattr(votes, "_MANY_VOTES", 0)
    monkeypatch.setattr(votes, "_CROWDED_CELLS", 40)

    assert find_evidence(heard, shelf())[0] == best
