"""The same notes are found in another key, tempo and sound; other notes are not."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest

from detectors import composition
from detectors.chromaprint import SAMPLE_RATE, Pcm
from detectors.composition import (
    BINS,
    CELL_SECONDS,
    MOST_CELLS,
    NULL_K,
    NULL_LAMBDA,
    Chroma,
    CompositionMatch,
    NotComparableError,
    cells_of,
    chance,
    chroma_of,
    find_compositions,
    from_blob,
    postings_of,
    to_blob,
)

REVIEW_P = 1e-3
STRINGS = (1.0, 0.6, 0.5, 0.3)
FLUTE = (1.0, 0.2)


class Works:
    """An index of some blobs."""

    def __init__(self, blobs: Sequence[bytes]) -> None:
        self._blobs = blobs
        self.item_count = sum(map(len, blobs)) // BINS

    def works(self) -> Iterator[int]:
        return iter(range(len(self._blobs)))

    def blob(self, work: int) -> bytes:
        return self._blobs[work]

    def work_id(self, work: int) -> str:
        return f"work {work}"


def melody(seed: int, *, notes: int = 120) -> list[int]:
    """Draw semitones of a scale that moves in steps and leaps, with a note under each."""
    dice = np.random.default_rng(seed)
    scale = [0, 2, 4, 5, 7, 9, 11, 12, 14, 16]
    place, tune = 4, []
    for _ in range(notes):
        place = int(np.clip(place + dice.integers(-3, 4), 0, len(scale) - 1))
        tune.append(scale[place])
    return tune


def played(
    tune: Sequence[int],
    *,
    harmonics: Sequence[float] = STRINGS,
    semitones: float = 0.0,
    speed: float = 1.0,
    beat: float = 0.5,
) -> Pcm:
    """Play a melody with a bass a tenth below on every other note."""
    parts: list[npt.NDArray[np.float64]] = []
    t = np.arange(round(beat / speed * SAMPLE_RATE)) / SAMPLE_RATE
    for number, note in enumerate(tune):
        sound = np.zeros_like(t)
        for pitch, level in ((note, 1.0), (tune[number - number % 2] - 15, 0.7)):
            hertz = 330.0 * 2 ** ((pitch + semitones) / 12)
            for k, amplitude in enumerate(harmonics, 1):
                sound += level * amplitude * np.sin(2 * np.pi * k * hertz * t)
        parts.append(sound * np.exp(-3 * t) * np.minimum(1, 200 * t))
    whole = np.concatenate(parts)
    return np.asarray(8_000 * whole / np.abs(whole).max(), dtype=np.int16)


def seconds(sound: Pcm, start: float, end: float) -> Pcm:
    """Cut a stretch."""
    return sound[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]


@pytest.fixture(scope="module")
def works() -> Works:
    return Works([to_blob(chroma_of(played(melody(seed)))) for seed in range(12)])


def find(
    sound: Pcm, works: Works, *, max_p_value: float = REVIEW_P
) -> tuple[CompositionMatch, ...]:
    return find_compositions(sound, works, max_p_value=max_p_value, most_cells=10**6)


def test_a_melody_is_found_on_another_instrument_in_another_key_at_another_tempo(
    works: Works,
) -> None:
    cover = played(melody(3), harmonics=FLUTE, semitones=3, speed=1.1)

    (match,) = find(seconds(cover, 10, 30), works)

    assert match.work_id == "work 3"
    assert match.semitones == 3
    assert match.speed == pytest.approx(1.1, abs=0.03)
    assert match.query_end_seconds - match.query_start_seconds == pytest.approx(20, abs=1)
    assert match.work_start_seconds == pytest.approx(11, abs=2 * CELL_SECONDS)
    assert match.work_end_seconds == pytest.approx(33, abs=2 * CELL_SECONDS)
    assert 0 < match.p_value < REVIEW_P


@pytest.mark.parametrize("semitones", [-5, -1, 6])
def test_the_transposition_is_told_as_the_query_against_the_work(
    works: Works, semitones: int
) -> None:
    cover = played(melody(5), harmonics=FLUTE, semitones=semitones)

    (match,) = find(seconds(cover, 0, 20), works)

    assert (match.work_id, match.semitones) == ("work 5", semitones)


def test_other_melodies_in_the_same_key_at_the_same_beat_are_not_found(works: Works) -> None:
    found = [find(seconds(played(melody(seed)), 5, 25), works) for seed in range(100, 120)]

    assert found == [()] * 20


def test_each_work_is_told_once_however_long_the_query(works: Works) -> None:
    medley = np.concatenate([seconds(played(melody(seed)), 0, 30) for seed in (2, 7)])

    found = find(medley, works)

    assert sorted(match.work_id for match in found) == ["work 2", "work 7"]
    assert all(a.score >= b.score for a, b in pairwise(found))


def test_of_a_long_query_as_much_is_heard_as_the_search_may_cost(works: Works) -> None:
    late = np.concatenate([seconds(played(melody(50)), 0, 40), seconds(played(melody(2)), 0, 20)])

    only_one = find_compositions(late, works, max_p_value=REVIEW_P, most_cells=works.item_count)
    all_of_it = find_compositions(
        late, works, max_p_value=REVIEW_P, most_cells=5 * works.item_count
    )

    assert only_one == ()
    assert [match.work_id for match in all_of_it] == ["work 2"]


def test_a_catalog_too_large_for_one_window_is_said_to_be_so(works: Works) -> None:
    with pytest.raises(NotComparableError, match=r"cells of works .* limit 100"):
        find_compositions(played(melody(1)), works, max_p_value=REVIEW_P, most_cells=100)


def drone() -> Pcm:
    t = np.arange(20 * SAMPLE_RATE) / SAMPLE_RATE
    return np.asarray(4_000 * (np.sin(2 * np.pi * 220 * t) + np.sin(2 * np.pi * 330 * t)), np.int16)


def noise() -> Pcm:
    return np.asarray(3_000 * np.random.default_rng(1).standard_normal(20 * SAMPLE_RATE), np.int16)


@pytest.mark.parametrize(
    "sound",
    [np.zeros(20 * SAMPLE_RATE, np.int16), drone(), noise()],
    ids=["silence", "a drone", "white noise"],
)
def test_sound_in_which_no_notes_come_and_go_gets_no_answer(works: Works, sound: Pcm) -> None:
    with pytest.raises(NotComparableError, match="no notes come and go"):
        find(sound, works)


def test_a_short_query_gets_no_answer(works: Works) -> None:
    with pytest.raises(NotComparableError, match=r"14\.0 s are too short .* limit 15 s"):
        find(seconds(played(melody(1)), 0, 14), works)


def test_where_there_are_no_works_nothing_was_compared() -> None:
    with pytest.raises(NotComparableError, match="no work has notes"):
        find(seconds(played(melody(1)), 0, 20), Works([]))


def test_a_long_sound_is_heard_in_parts_with_the_same_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tune = played(melody(1))
    works = Works([to_blob(chroma_of(tune)), to_blob(chroma_of(played(melody(2))))])
    whole = find(tune, works)
    monkeypatch.setattr(composition, "_WINDOWS_AT_ONCE", 1)

    assert find(tune, works) == whole
    assert whole[0].work_id == works.work_id(0)


def test_works_shorter_than_the_query_and_still_works_are_never_found() -> None:
    tune = played(melody(1))
    short, still = to_blob(chroma_of(seconds(tune, 0, 10))), bytes(BINS * 200)

    assert find(seconds(tune, 0, 20), Works([short, still]), max_p_value=0.5) == ()


def test_a_chord_pattern_that_goes_round_is_weighed_by_how_much_it_agrees_with() -> None:
    ostinato = played([0, 4, 7, 4] * 30)
    rounds = Works([to_blob(chroma_of(played([0, 4, 7, 4] * 30, semitones=k))) for k in range(6)])
    tune = Works([to_blob(chroma_of(played(melody(k)))) for k in range(6)])

    (best, *_) = find(seconds(ostinato, 0, 20), rounds, max_p_value=1.0)
    (other, *_) = find(seconds(played(melody(2)), 0, 20), tune, max_p_value=1.0)

    assert best.agreement == pytest.approx(other.agreement, abs=0.05)
    assert best.score < 0.7 * other.score


def test_the_chance_grows_with_the_search_and_falls_with_the_score() -> None:
    assert chance(9.0, 20_000) < chance(9.0, 40_000) < chance(8.0, 40_000)
    assert chance(0.0, 10) == pytest.approx(1 - np.exp(-10 * NULL_K))
    assert chance(1_000.0, 10) > 0
    assert chance(9.0, 1_000) / chance(10.0, 1_000) == pytest.approx(np.exp(NULL_LAMBDA), rel=0.01)


def test_stored_chroma_is_read_back_to_half_a_step() -> None:
    chroma = chroma_of(seconds(played(melody(4)), 0, 30))
    blob = to_blob(chroma)

    assert len(blob) == BINS * 60
    assert np.abs(from_blob(blob) - cells_of(chroma)).max() <= 0.5 / 254 + 1e-6


@pytest.mark.parametrize("size", [0, 1, BINS - 1, BINS + 1, BINS * (MOST_CELLS + 1)])
def test_stored_chroma_of_an_impossible_length_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"{size} bytes of chroma"):
        from_blob(bytes(size))


def test_cells_at_a_pace_are_those_of_the_work_at_its_own() -> None:
    rows = np.repeat(np.arange(40, dtype=np.float32), BINS).reshape(40, BINS)

    at_once: Chroma = cells_of(rows)
    slower: Chroma = cells_of(np.repeat(rows, 2, axis=0), pace=0.5)

    assert at_once == pytest.approx(slower)
    assert cells_of(rows, start_frames=1.0)[0] == pytest.approx(np.full(BINS, 2.5))
    assert len(cells_of(rows[:3])) == 0


def test_chroma_has_no_keys() -> None:
    keyed = postings_of(bytes(BINS))

    assert len(keyed.keys) == len(keyed.positions) == 0
