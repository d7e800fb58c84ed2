"""Matching against a real registry: real clips, real files, works that come and go."""

import functools
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from detectors.errors import DetectorError
from registry import catalog
from registry.session import Database
from safegen.audio import Audio, load
from safegen.evaluation.attacks import ATTACKS
from safegen.matching import CatalogMatcher, catalog_fingerprints
from tests.detectors.test_chromaprint import melody
from tests.registry.samples import NOON, a_work

CLIPS = Path(__file__).parents[1] / "assets"


def add(database: Database, number: int, audio: Audio) -> str:
    new = replace(a_work(number, seconds=audio.seconds), fingerprints=catalog_fingerprints(audio))
    with database.begin() as session:
        return catalog.add_work(session, new, at=NOON).work_id


@functools.cache
def song(seed: int, seconds: float = 20.0, sample_rate: int = 24_000) -> Audio:
    mono = melody(seconds, seed=seed, sample_rate=sample_rate)
    return Audio(waveform=np.concatenate((mono, 0.8 * mono)), sample_rate=sample_rate)


@pytest.mark.parametrize("attack", ["clean", "mp3-64k", "aac-64k", "opus-32k", "noise-20db"])
def test_a_worn_excerpt_of_a_licensed_song_is_found(attack: str, sqlite_database: Database) -> None:
    work_id = add(sqlite_database, 1, song(1))
    add(sqlite_database, 2, song(2))
    heard = ATTACKS[attack](song(1).cut(7.77, 17.77))

    (match,) = CatalogMatcher(sqlite_database).match(heard)
    assert match.work_id == work_id
    assert match.reference_start_seconds - match.query_start_seconds == pytest.approx(
        7.77, abs=0.13
    )
    assert match.query_end_seconds - match.query_start_seconds > 9.0


def test_real_clips_find_themselves_and_not_each_other(sqlite_database: Database) -> None:
    clips = {name: load(CLIPS / name) for name in ("guitar.ogg", "tabla.ogg", "synth-loop.ogg")}
    ids = {
        name: add(sqlite_database, number, clip)
        for number, (name, clip) in enumerate(clips.items(), start=1)
    }
    matcher = CatalogMatcher(sqlite_database)

    for name, clip in clips.items():
        cut = clip.cut(0.41, clip.seconds)
        assert [match.work_id for match in matcher.match(cut)] == [ids[name]], name
    assert matcher.match(load(CLIPS / "safari-loop.ogg")) == ()


def test_the_matcher_follows_the_catalog_while_it_is_kept(sqlite_database: Database) -> None:
    matcher = CatalogMatcher(sqlite_database)
    heard = song(1).cut(5.0, 15.0)

    assert matcher.match(heard) == ()
    work_id = add(sqlite_database, 1, song(1))
    assert [match.work_id for match in matcher.match(heard)] == [work_id]
    with sqlite_database.begin() as session:
        catalog.remove_work(session, work_id, at=NOON + timedelta(days=1))
    assert matcher.match(heard) == ()


@pytest.mark.parametrize("attack", ["highpass-500", "rerecord-near", "music-0db"])
def test_music_that_chromaprint_cannot_hear_is_found_by_its_landmarks(
    attack: str, sqlite_database: Database
) -> None:
    work_id = add(sqlite_database, 1, song(1))
    add(sqlite_database, 2, song(2))
    heard = ATTACKS[attack](song(1).cut(5.0, 15.0), song(9).cut(0.0, 10.0))

    (match,) = CatalogMatcher(sqlite_database).match(heard)
    assert match.work_id == work_id
    assert match.engine == "landmarks"
    assert match.votes >= 12
    assert match.reference_start_seconds - match.query_start_seconds == pytest.approx(5.0, abs=0.2)


def test_a_work_added_without_landmarks_is_still_found(sqlite_database: Database) -> None:
    items = catalog_fingerprints(song(1))[:1]
    with sqlite_database.begin() as session:
        new = replace(a_work(1, seconds=20.0), fingerprints=items)
        work_id = catalog.add_work(session, new, at=NOON).work_id
    (match,) = CatalogMatcher(sqlite_database).match(song(1).cut(5.0, 15.0))

    assert (match.work_id, match.engine) == (work_id, "chromaprint")
    assert match.error_rate is not None
    assert match.error_rate < 0.1


def test_a_transposed_copy_is_found_by_the_deep_scan_only(sqlite_database: Database) -> None:
    work_id = add(sqlite_database, 1, song(1))
    add(sqlite_database, 2, song(2))
    matcher = CatalogMatcher(sqlite_database)
    heard = ATTACKS["pitch+1"](song(1).cut(5.0, 12.0))

    assert matcher.match(heard) == ()
    match = matcher.match(heard, deep=True)[0]
    assert match.work_id == work_id
    assert match.semitones == pytest.approx(1.0, abs=0.1)
    assert match.speed == pytest.approx(1.0, abs=0.02)
    assert match.p_value < 0.01


def test_a_clip_too_short_to_compare_is_not_cleared(sqlite_database: Database) -> None:
    with pytest.raises(DetectorError, match=r"limit 4\.9 s"):
        CatalogMatcher(sqlite_database).match(song(1, seconds=2.0))


def test_a_match_of_ten_seconds_takes_little_time(sqlite_database: Database) -> None:
    for number in range(1, 5):
        add(sqlite_database, number, song(number))
    matcher = CatalogMatcher(sqlite_database)
    heard = song(3).cut(5.0, 15.0)
    matcher.match(heard)

    began = time.process_time()
    for _ in range(5):
        matcher.match(heard)
    # 60 ms is the promise on a free core; the limit here leaves room for a slow one.
    assert (time.process_time() - began) / 5 < 0.2
