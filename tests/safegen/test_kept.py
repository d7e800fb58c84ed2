"""What is kept of a sound finds the same works later as the sound would itself."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.constellations import Query
from detectors.landmarks import BINS, Landmarks
from registry.session import Database
from safegen.audio import Audio
from safegen.errors import IntegrityError
from safegen.kept import (
    kept_of,
    match_again,
    others_of,
    plain_of,
    points_from_blob,
    points_to_blob,
)
from safegen.matching import CatalogMatcher, prints_of
from tests.safegen.conftest import tones
from tests.safegen.screening_help import add_work


def test_a_kept_sound_matches_as_the_sound_itself(sqlite_database: Database) -> None:
    add_work(sqlite_database, tones(5, seconds=30), title="Song", holders=("Acme",))
    quote = tones(5, seconds=30).cut(8.03, 20.03)
    kept = kept_of(prints_of(quote))
    matcher = CatalogMatcher(sqlite_database)

    found = match_again(
        matcher, plain_of(kept), {each.engine: each.items for each in others_of(kept)}
    )

    assert found == matcher.match(quote)
    assert len(found) == 1


def test_the_landmarks_alone_find_music_whose_items_were_lost(sqlite_database: Database) -> None:
    add_work(sqlite_database, tones(5, seconds=30), title="Song", holders=("Acme",))
    kept = {each.engine: each.items for each in kept_of(prints_of(_quote()))}
    noise = np.random.default_rng(1).integers(0, 2**32, 80, dtype=np.uint32).tobytes()
    matcher = CatalogMatcher(sqlite_database)

    found = match_again(matcher, noise, {"landmarks-points": kept["landmarks-points"]})

    assert [match.engine for match in found] == ["landmarks"]
    assert match_again(matcher, noise, {}) == ()


def test_an_output_of_an_older_version_is_searched_by_its_one_row(
    sqlite_database: Database,
) -> None:
    work = add_work(sqlite_database, tones(5, seconds=30), title="Song", holders=("Acme",))

    found = match_again(CatalogMatcher(sqlite_database), plain_of(kept_of(prints_of(_quote()))), {})

    assert [match.work_id for match in found] == [work]


@pytest.mark.parametrize("seconds", [0.5, 2.0, 4.0])
def test_a_sound_too_short_to_be_matched_is_not_matched_later(
    sqlite_database: Database, seconds: float
) -> None:
    add_work(sqlite_database, tones(5, seconds=30), title="Song", holders=("Acme",))
    kept = kept_of(prints_of(tones(5, seconds=30).cut(8.0, 8.0 + seconds)))
    others = {each.engine: each.items for each in others_of(kept)}

    assert match_again(CatalogMatcher(sqlite_database), plain_of(kept), others) == ()


def test_what_is_kept_of_a_minute_is_small_and_no_sound() -> None:
    kept = kept_of(prints_of(tones(1, seconds=60)))

    assert sum(len(each.items) for each in kept) < 60 * 850
    assert len({hashlib.sha256(each.items).digest() for each in kept}) == len(kept)


@given(
    points=st.sets(st.tuples(st.integers(0, 9_999), st.integers(0, BINS - 1)), max_size=60),
    frames=st.integers(10_000, 20_000),
)
@settings(deadline=None)
def test_landmarks_are_read_back_as_they_were_written(
    points: set[tuple[int, int]], frames: int
) -> None:
    rows = np.array(sorted(points), dtype=np.int64).reshape(-1, 2)
    landmarks = Landmarks(frames=rows[:, 0], bins=rows[:, 1], ranks=rows.sum(axis=1) % 31)

    found = points_from_blob(points_to_blob(Query(landmarks=landmarks, frames=frames)))

    assert found.frames == frames
    assert np.array_equal(found.landmarks.frames, rows[:, 0])
    assert np.array_equal(found.landmarks.bins, rows[:, 1])
    assert np.array_equal(found.landmarks.ranks, landmarks.ranks)


def test_a_silence_of_half_an_hour_ends_the_landmarks_and_not_the_rest() -> None:
    frames = np.array([5, 9, 9 + 70_000], dtype=np.int64)
    landmarks = Landmarks(frames=frames, bins=frames % 700, ranks=frames * 0)

    found = points_from_blob(points_to_blob(Query(landmarks=landmarks, frames=80_000)))

    assert found.landmarks.frames.tolist() == [5, 9]
    assert found.frames == 80_000


@given(blob=st.binary(max_size=40))
def test_damaged_landmarks_are_named_and_never_searched(blob: bytes) -> None:
    try:
        found = points_from_blob(blob)
    except IntegrityError:
        return

    assert points_to_blob(found) == blob


def _quote() -> Audio:
    return tones(5, seconds=30).cut(8.0, 20.0)
