"""What does a big catalog cost, and does it begin to lie?

A catalog of half of the works and as many distractors as it takes, made of these works
(``safegen.evaluation.distractors``), on disk as in production: how long until its index is
built and opened, how many bytes, how fast is a search, and when is a new work found? Then
the music of the other half is searched for, none of which is there. Distractors are made of
the half that is in the catalog, because one in 29 of their stretches is an exact copy: one
that quoted a stranger would be a true match and be counted as a false one.
"""

import contextlib
import hashlib
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np

from detectors import chromaprint, landmarks
from registry import catalog
from registry.catalog import NewFingerprint, NewRight, NewWork, add_work, remove_work
from registry.errors import NotFoundError
from registry.reindexing import rebuild
from registry.session import Database, connect
from safegen import matching
from safegen.audio import load
from safegen.errors import SafegenError
from safegen.evaluation.attacks import ATTACKS
from safegen.evaluation.distractors import distractors, landmark_distractors
from safegen.evaluation.matching_bench import works
from safegen.evaluation.matching_bench.engines import ALONE, ENGINES, Query, hear
from safegen.evaluation.matching_bench.music import Track, places
from safegen.evaluation.matching_bench.trials import EXCERPT_SECONDS
from safegen.evaluation.matching_bench.works import Catalog
from safegen.evaluation.state import Row
from safegen.matching import CatalogMatcher

SCALE: Final = "scale"
BOTH: Final = "both"
MOST_HALVES: Final = 20_000
"""Larger catalogs are made of one half only: each takes tens of minutes and gigabytes."""
DISTRACTOR_SECONDS: Final = 180.0
DISTORTIONS: Final = ("clean", "mp3-64k", "noise-0db")
"""Of the queries whose time is taken, in turn; every fourth is a stranger, undistorted."""

_BATCH: Final = 500
_WARM_UP: Final = 40
_ADDED: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """One catalog of a scale run.

    Attributes:
        works: How many works.
        half: Which half of the music is among them.
        inside: Its tracks.
        outside: Tracks of the other half.
        folder: Where it is made.
        seed: Of the run.
    """

    works: int
    half: int
    inside: tuple[Track, ...]
    outside: tuple[Track, ...]
    folder: Path
    seed: int

    @property
    def name(self) -> str:
        """Name it in the state file."""
        return f"{SCALE} | {self.works} works | half {self.half}"

    @property
    def catalog(self) -> Catalog:
        """Where it lies."""
        return Catalog(
            folder=self.folder, name=f"{self.works} works, half {self.half}", is_mapped=True
        )


def fill(size: Size, library: Catalog) -> Iterator[int]:
    """Add works and distractors; a run that was stopped goes on after the last batch.

    Yields:
        How many works are in it.

    Raises:
        SafegenError: If fewer works are asked for than there are tracks.
    """
    if size.works < len(size.inside):
        raise SafegenError(
            f"{size.works} works are fewer than the {len(size.inside)} tracks of a half",
            remedy="Ask for a larger --scale, or for fewer --tracks.",
        )
    works.create(size.folder, size.catalog.name)
    works.copy(library, size.catalog, size.inside, ENGINES)
    with connect(size.catalog.url) as database:
        # Works of the other half that an interrupted measurement left behind.
        _take_out(database, size.outside)
        with database.read() as session:
            present = catalog.stats(session).works
        made = _distractor_works(size, library)
        for _ in islice(made, present - len(size.inside)):
            pass
        while batch := list(islice(made, _BATCH)):
            with database.begin() as session:
                for work in batch:
                    add_work(session, work, at=datetime.now(UTC))
            present += len(batch)
            yield present


def _distractor_works(size: Size, library: Catalog) -> Iterator[NewWork]:
    count = size.works - len(size.inside)
    with connect(library.url) as source:
        found = [works.new_work(source, track, ENGINES) for track in size.inside]
    blobs = {
        engine: [
            each.items for work in found for each in work.fingerprints if each.engine == engine
        ]
        for engine in ENGINES
    }
    items = [np.frombuffer(blob, "<u4").astype(np.uint32) for blob in blobs[chromaprint.ENGINE]]
    peaks = [landmarks.from_blob(blob) for blob in blobs[landmarks.ENGINE]]
    rows = zip(
        distractors(items, works=count, seed=size.seed),
        landmark_distractors(peaks, works=count, seed=size.seed, seconds=DISTRACTOR_SECONDS),
        strict=True,
    )
    for number, (sound, keyed) in enumerate(rows):
        yield NewWork(
            title=f"distractor {number}",
            rights=(NewRight(rights_holder=works.HOLDER),),
            licenses=(),
            fingerprints=(
                NewFingerprint(engine=chromaprint.ENGINE, items=chromaprint.to_blob(sound)),
                NewFingerprint(engine=landmarks.ENGINE, items=landmarks.to_blob(keyed)),
            ),
            seconds=DISTRACTOR_SECONDS,
            content_sha256=hashlib.sha256(f"distractor {number}".encode()).hexdigest(),
            source_name=f"distractor {number}",
        )


def measure(size: Size, library: Catalog, *, queries: int) -> Row:
    """Take the times and sizes of a catalog that is filled; runs alone, on one core."""
    row: Row = {
        "trial": size.name,
        "what": SCALE,
        "works": size.works,
        "half": size.half,
    }
    seconds = sum(track.seconds for track in size.inside)
    seconds += DISTRACTOR_SECONDS * (size.works - len(size.inside))
    with connect(size.catalog.url) as database:
        for name, engine in matching.ENGINES.items():
            folder = size.catalog.index_folder / name
            begun = time.perf_counter()
            rebuild(database, engine, folder)
            row[f"{name}_build_s"] = round(time.perf_counter() - begun, 2)
            held = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            row[f"{name}_bytes"] = round(held / seconds * DISTRACTOR_SECONDS)
        matcher = CatalogMatcher(database, index_folder=size.catalog.index_folder)
        for name in ENGINES:
            begun = time.perf_counter()
            matcher.index(name)
            row[f"{name}_open_s"] = round(time.perf_counter() - begun, 4)
        for name in ENGINES:
            # Warm: every page is read and compared with its checksum once.
            for part in matcher.index(name).parts:
                part.segment.verify()
        row |= _latency(size, matcher, queries=queries)
        row |= _adding(size, library, matcher)
    return row


def discard(size: Size) -> None:
    """Delete the catalog; a hundred thousand works take tens of gigabytes."""
    shutil.rmtree(size.folder, ignore_errors=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A query that was heard and not yet searched."""

    track: Track
    query: Query


def _latency(size: Size, matcher: CatalogMatcher, *, queries: int) -> Row:
    """Search for excerpts one after the other; the first ones only warm up.

    Distractors hold exact copies of every stretch, dozens of them in the biggest catalogs, so
    a query of the catalog's own music is told dozens of works; others, alone, are not.
    """
    times: dict[str, list[float]] = {name: [] for name in (*ENGINES, BOTH)}
    alone: dict[str, list[float]] = {name: [] for name in (*ENGINES, BOTH)}
    asked = _queries(size, _WARM_UP + queries)
    known = found = 0
    for number, each in enumerate(asked):
        spent: dict[str, float] = {}
        named: set[str] = set()
        # Whoever comes later finds the pages in the processor's caches: they take turns.
        for name in (BOTH, *ALONE) if number % 2 else (*ALONE, BOTH):
            begun = time.perf_counter()
            if name == BOTH:
                matches = matcher.compared(each.query.items, each.query.peaks)
            else:
                matches = ALONE[name](matcher, each.query)
            spent[name] = 1e3 * (time.perf_counter() - begun)
            named |= {match.work_id for match in matches}
        if number < _WARM_UP:
            continue
        for name, milliseconds in spent.items():
            times[name].append(milliseconds)
            if each.track in size.outside:
                alone[name].append(milliseconds)
        if each.track in size.inside:
            known += 1
            found += each.track.work_id in named
    row: Row = {"queries": queries, "known": known, "found": found}
    for name, values in times.items():
        for quantile in (50, 95, 99):
            row[f"{name}_p{quantile}_ms"] = round(float(np.quantile(values, quantile / 100)), 3)
        strange = alone[name] or [0.0]
        row[f"{name}_alone_p95_ms"] = round(float(np.quantile(strange, 0.95)), 3)
    for name in ENGINES:
        heard = [each.query.milliseconds[name] for each in asked[_WARM_UP:]]
        row[f"{name}_hear_ms"] = round(float(np.median(heard)), 2)
    return row


def _queries(size: Size, count: int) -> list[_Asked]:
    """Hear ten seconds of all tracks, three times as many of the catalog's as of the others.

    Each track is decoded once, and then they are mixed.
    """
    places_of: dict[tuple[Track, str], int] = {}
    for number in range(count):
        distortion = (*DISTORTIONS, "")[number % (len(DISTORTIONS) + 1)]
        tracks = size.inside if distortion else size.outside
        track = tracks[(number // (len(DISTORTIONS) + 1)) % len(tracks)]
        key = track, distortion or "clean"
        places_of[key] = places_of.get(key, 0) + 1
    found: list[_Asked] = []
    for track in (*size.inside, *size.outside):
        wanted = [(name, much) for (each, name), much in places_of.items() if each == track]
        if not wanted:
            continue
        audio = load(track.path)
        for distortion, much in wanted:
            words = (SCALE, track.name, distortion)
            for start in places(audio, much, seconds=EXCERPT_SECONDS, seed=size.seed, words=words):
                cut = audio.cut(start, start + EXCERPT_SECONDS)
                found.append(_Asked(track=track, query=hear(ATTACKS[distortion](cut))))
    order = np.random.default_rng(size.seed).permutation(len(found))
    return [found[place] for place in order.tolist()]


def _adding(size: Size, library: Catalog, matcher: CatalogMatcher) -> Row:
    """Add works one by one, look for each at once, and take them out again."""
    longest, found = 0.0, 0
    tracks = size.outside[:_ADDED]
    with connect(library.url) as source, connect(size.catalog.url) as database:
        for track in tracks:
            new = works.new_work(source, track, ENGINES)
            middle = track.seconds / 2
            query = hear(load(track.path).cut(middle, middle + EXCERPT_SECONDS))
            begun = time.perf_counter()
            with database.begin() as session:
                add_work(session, new, at=datetime.now(UTC), revive=True)
            named = {m.work_id for ask in ALONE.values() for m in ask(matcher, query)}
            longest = max(longest, time.perf_counter() - begun)
            found += track.work_id in named
            _take_out(database, (track,))
    return {"added": len(tracks), "added_found": found, "add_s": round(longest, 4)}


def _take_out(database: Database, tracks: Iterable[Track]) -> None:
    """Remove works that are in a catalog to which they do not belong."""
    with database.begin() as session:
        for track in tracks:
            with contextlib.suppress(NotFoundError):
                remove_work(session, track.work_id, at=datetime.now(UTC))
