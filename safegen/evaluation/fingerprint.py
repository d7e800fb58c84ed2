"""Are excerpts of licensed works found, at the right place, and others left alone?

Real game music from Debian (``safegen eval assets`` fetches it). Recall: excerpts cut
anywhere from every work, distorted, against the catalog of all works. False matches:
excerpts of one half of the works against a catalog of the other half, and the other
way round, so that every work serves as a stranger. Works go through the registry and
``CatalogMatcher``, as in the gate.

The rule's limits and its null were chosen on these same tracks, so the count of false
matches is in-sample: it shows the margin, not what unseen music does. What was heard
of a track is kept in the work folder, so that a stopped run goes on where it was.
"""

import hashlib
import json
import os
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import click
import numpy as np

from detectors import chromaprint
from detectors.base import Match
from detectors.chromaprint import Items
from detectors.fingerprint import find_matches
from registry import schema
from registry.catalog import NewFingerprint, NewRight, NewWork, add_work
from registry.session import connect
from safegen.audio import AUDIO_SUFFIXES, load, sha256_file
from safegen.config import from_environment
from safegen.evaluation.attacks import ATTACKS
from safegen.matching import CatalogMatcher

PACKAGES: Final = (
    "asc-music",
    "hyperrogue-music/usr/share/hyperrogue/music",
    "ufoai-music",
    "warzone2100-music",
    "wesnoth-1.16-music",
)
DISTORTIONS: Final = ("clean", "mp3-64k", "aac-64k", "opus-32k", "noise-20db")
EXCERPT_SECONDS: Final = 10.0
ONE_HOP: Final = 0.13
"""Further off are works that repeat themselves, found at another repetition."""
LEAST_SECONDS: Final = 15.0
"""Shorter tracks (jingles, a file of silence) are left out."""

REMASTERS: Final = (
    ("albums/aftermath_soundtrack/menu_enhanced.opus", "music/menu.opus"),
    ("albums/aftermath_soundtrack/track3_enhanced.opus", "original_soundtrack/track3.opus"),
)
"""Pairs that are one recording in two masterings; the names say so. Kept in one half."""

_FORMAT: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Excerpt:
    """Ten seconds of a track as the matcher hears them.

    Attributes:
        track: Name of the track.
        start_seconds: Where the excerpt was cut.
        distortion: What happened to it.
        queries: Its items from each sub-hop shift.
        listen_ms: Time the fingerprinting took.
    """

    track: str
    start_seconds: float
    distortion: str
    queries: tuple[Items, ...]
    listen_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A track: its own items, its excerpts for recall, its excerpts as a stranger."""

    name: str
    seconds: float
    ingest_seconds: float
    items: Items
    known: tuple[Excerpt, ...]
    strange: tuple[Excerpt, ...]


@click.command()
@click.option("--assets", type=click.Path(path_type=Path), help="Folder of unpacked packages.")
@click.option("--work", type=click.Path(path_type=Path), help="Folder that keeps what was heard.")
@click.option("--excerpts", type=click.IntRange(1), default=2, show_default=True, help="A work.")
@click.option("--strangers", type=click.IntRange(1), default=1000, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--jobs", type=click.IntRange(1), default=2, show_default=True)
def command(
    assets: Path | None, work: Path | None, excerpts: int, strangers: int, seed: int, jobs: int
) -> None:
    """Measure recall per distortion, false matches, offset error and speed.

    \b
    Example:
      safegen eval fingerprint --assets DEBIAN_FOLDER --work /var/tmp/heard
    """
    home = from_environment(os.environ).home
    assets = assets or home / "assets"
    work = work or home / "evaluation" / "fingerprint"
    paths = [path for path in tracks(assets, work) if path.suffix in AUDIO_SUFFIXES]
    if not paths:
        raise click.BadParameter(f"{assets}: no music found; run `safegen eval assets` first")
    heard = list(_listen(paths, work, excerpts, -(-strangers // len(paths)), seed, jobs))
    heard = [track for track in heard if track.seconds >= LEAST_SECONDS]
    rows = [e for track in heard for e in track.strange]
    keep = np.random.default_rng(seed).permutation(len(rows))[:strangers]
    click.echo(json.dumps(figures(heard, [rows[i] for i in sorted(keep.tolist())])))


def tracks(assets: Path, work: Path) -> list[Path]:
    """List the music files in a fixed order; zipped ones are unpacked into the work folder."""
    found: list[Path] = []
    for package in PACKAGES:
        folder = assets / package
        for archive in sorted(folder.rglob("*.pk3")):
            target = work / "unpacked" / archive.stem
            if not target.is_dir():
                with zipfile.ZipFile(archive) as file:
                    file.extractall(target)
            found += sorted(p for p in target.rglob("*") if p.suffix in AUDIO_SUFFIXES)
        found += sorted(p for p in folder.rglob("*") if p.suffix in AUDIO_SUFFIXES)
    return found


def figures(heard: list[Heard], strangers: list[Excerpt]) -> dict[str, Any]:
    """Match everything and count."""
    known = [e for track in heard for e in track.known]
    with _catalog(heard) as everything:
        found = [everything.search(excerpt) for excerpt in known]
    errors = [row.offset_error for row in found if row.offset_error is not None]
    beside = sorted({(row.excerpt.track, other) for row in found for other in row.others})
    false = _false_matches(heard, strangers)
    listen = [excerpt.listen_ms for excerpt in known]
    search = [row.search_ms for row in found]
    return {
        "benchmark": "fingerprint",
        "backend": chromaprint.backend(),
        "works": len(heard),
        "hours": round(sum(track.seconds for track in heard) / 3600, 2),
        "excerpt_seconds": EXCERPT_SECONDS,
        "recall": {name: _recall(found, name) for name in DISTORTIONS},
        "strangers": {
            "n": len(strangers),
            "false_matches": len(false),
            "wilson_95": [round(x, 4) for x in wilson(len(false), len(strangers))],
            "which": false,
            "remasters_kept_apart": [list(pair) for pair in REMASTERS],
        },
        "named_beside_the_right_work": [list(pair) for pair in beside],
        "offset_error_seconds": {
            "median": round(float(np.median(errors)), 4),
            "p95": round(float(np.quantile(errors, 0.95)), 4),
            "share_within_one_hop": round(float(np.mean(np.array(errors) <= ONE_HOP)), 4),
        },
        "ms_per_query": {
            "fingerprint_cpu": round(_fingerprint_cpu_ms(), 2),
            "fingerprint_median": round(float(np.median(listen)), 2),
            "search_median": round(float(np.median(search)), 2),
            "search_p95": round(float(np.quantile(search, 0.95)), 2),
        },
        "ingest_x_realtime": round(
            sum(t.seconds for t in heard) / sum(t.ingest_seconds for t in heard), 1
        ),
    }


def _fingerprint_cpu_ms() -> float:
    """Time one query's fingerprint on the processor's clock; any sound will do."""
    shape = (2, round(EXCERPT_SECONDS * 44_100))
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, shape).astype(np.float32)
    chromaprint.query_fingerprints(noise, 44_100)
    began = time.process_time()
    for _ in range(10):
        chromaprint.query_fingerprints(noise, 44_100)
    return (time.process_time() - began) * 100


def _recall(found: list["_Found"], distortion: str) -> dict[str, Any]:
    rows = [row for row in found if row.excerpt.distortion == distortion]
    hits = sum(row.offset_error is not None for row in rows)
    missed = sorted({row.excerpt.track for row in rows if row.offset_error is None})
    return {
        "n": len(rows),
        "recall": round(hits / len(rows), 4),
        "wilson_95": [round(x, 4) for x in wilson(hits, len(rows))],
        "missed": missed,
    }


def wilson(successes: int, count: int) -> tuple[float, float]:
    """Give the 95 % interval of a rate (Wilson, JASA 22 (1927) 209)."""
    if not count:
        return 0.0, 1.0
    z = 1.959964
    rate = successes / count
    middle = (rate + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * ((rate * (1 - rate) + z * z / (4 * count)) / count) ** 0.5
    return max(0.0, middle - half), min(1.0, middle + half)


# Listening, once per track


def _listen(
    paths: list[Path], work: Path, excerpts: int, strangers: int, seed: int, jobs: int
) -> Iterator[Heard]:
    (work / "heard").mkdir(parents=True, exist_ok=True)
    listen = partial(_heard, work=work, excerpts=excerpts, strangers=strangers, seed=seed)
    with (
        ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool,
        click.progressbar(length=len(paths), label="Listening", file=sys.stderr) as bar,
    ):
        for heard in pool.map(listen, paths):
            bar.update(1)
            yield heard


def _heard(path: Path, *, work: Path, excerpts: int, strangers: int, seed: int) -> Heard:
    """Listen to a track, or read what was kept of it."""
    name = "/".join(path.parts[-4:])
    key = f"{_FORMAT}-{sha256_file(path)[:24]}-{excerpts}-{strangers}-{seed}"
    kept = work / "heard" / f"{key}.npz"
    if not kept.is_file():
        partly = kept.with_suffix(".part.npz")
        np.savez(partly, **_columns(path, excerpts, strangers, seed))
        partly.rename(kept)
    with np.load(kept, allow_pickle=False) as file:
        rows = [
            Excerpt(
                track=name,
                start_seconds=float(start),
                distortion=str(label),
                queries=tuple(file[f"q{i}_{k}"] for k in range(len(chromaprint.QUERY_SHIFTS))),
                listen_ms=float(ms),
            )
            for i, (start, label, ms) in enumerate(
                zip(file["starts"], file["labels"], file["ms"], strict=True)
            )
        ]
        seconds, ingest = file["times"].tolist()
        return Heard(
            name=name,
            seconds=seconds,
            ingest_seconds=ingest,
            items=file["items"],
            known=tuple(row for row in rows if row.distortion != "stranger"),
            strange=tuple(row for row in rows if row.distortion == "stranger"),
        )


def _columns(path: Path, excerpts: int, strangers: int, seed: int) -> dict[str, Any]:
    began = time.perf_counter()
    audio = load(path)
    items = chromaprint.fingerprint(audio.waveform, audio.sample_rate)
    ingest = time.perf_counter() - began
    columns: dict[str, Any] = {"items": items, "times": np.array([audio.seconds, ingest])}
    starts: list[float] = []
    labels: list[str] = []
    times: list[float] = []
    if audio.seconds >= LEAST_SECONDS:
        rng = np.random.default_rng([seed, int(sha256_file(path)[:8], 16)])
        plan = [(DISTORTIONS, rng.random(excerpts)), (("stranger",), rng.random(strangers))]
        for names, places in plan:
            for place in places.tolist():
                start = place * (audio.seconds - EXCERPT_SECONDS)
                excerpt = audio.cut(start, start + EXCERPT_SECONDS)
                for name in names:
                    heard = ATTACKS.get(name, ATTACKS["clean"])(excerpt)
                    began = time.perf_counter()
                    queries = chromaprint.query_fingerprints(heard.waveform, heard.sample_rate)
                    times.append((time.perf_counter() - began) * 1e3)
                    for k, query in enumerate(queries):
                        columns[f"q{len(starts)}_{k}"] = query
                    starts.append(start)
                    labels.append(name)
    columns["starts"] = np.array(starts)
    columns["labels"] = np.array(labels, dtype="U16")
    columns["ms"] = np.array(times)
    return columns


# Matching, through the registry


@dataclass(frozen=True, slots=True, kw_only=True)
class _Catalog:
    """A registry with some of the works; titles by work id."""

    matcher: CatalogMatcher
    titles: Mapping[str, str]

    def search(self, excerpt: Excerpt) -> "_Found":
        """Match one excerpt, with the names of the works instead of their ids."""
        index = self.matcher.index()
        began = time.perf_counter()
        matches = find_matches(excerpt.queries, index)
        elapsed_ms = (time.perf_counter() - began) * 1e3
        named = tuple(replace(match, work_id=self.titles[match.work_id]) for match in matches)
        return _Found(excerpt=excerpt, matches=named, search_ms=elapsed_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    excerpt: Excerpt
    matches: tuple[Match, ...]
    search_ms: float

    @property
    def offset_error(self) -> float | None:
        """Seconds between where the excerpt was cut and where it was found; None if missed.

        Of several stretches of the right work (it may repeat itself) the nearest counts.
        """
        errors = [
            abs(m.reference_start_seconds - m.query_start_seconds - self.excerpt.start_seconds)
            for m in self.matches
            if m.work_id == self.excerpt.track
        ]
        return min(errors, default=None)

    @property
    def others(self) -> tuple[str, ...]:
        """Other works that were named."""
        return tuple(m.work_id for m in self.matches if m.work_id != self.excerpt.track)


@contextmanager
def _catalog(heard: list[Heard]) -> Iterator[_Catalog]:
    """Add the works to a new registry, as ``safegen catalog add`` does."""
    with tempfile.TemporaryDirectory(prefix="safegen-bench-") as folder:
        url = f"sqlite:///{folder}/catalog.db"
        schema.upgrade(url)
        database = connect(url)
        now = datetime.now(UTC)
        with database.begin() as session:
            titles = {
                add_work(session, _new_work(track), at=now).work_id: track.name for track in heard
            }
        yield _Catalog(matcher=CatalogMatcher(database), titles=titles)
        database.close()


def _new_work(track: Heard) -> NewWork:
    items = chromaprint.to_blob(track.items)
    return NewWork(
        title=track.name,
        rights=(NewRight(rights_holder="Debian"),),
        licenses=(),
        fingerprints=(NewFingerprint(engine=chromaprint.ENGINE, items=items),),
        seconds=track.seconds,
        content_sha256=hashlib.sha256(track.name.encode()).hexdigest(),
        source_name=track.name,
    )


def _false_matches(heard: list[Heard], strangers: list[Excerpt]) -> list[list[str]]:
    """Match every stranger against the half of the works that its track is not in."""
    side = {track.name: number % 2 for number, track in enumerate(heard)}
    for later, earlier in REMASTERS:
        first = next((name for name in side if name.endswith(earlier)), None)
        second = next((name for name in side if name.endswith(later)), None)
        if first and second:
            side[second] = side[first]
    false: list[list[str]] = []
    for half in (0, 1):
        with _catalog([track for track in heard if side[track.name] == half]) as catalog:
            for stranger in strangers:
                if side[stranger.track] != half:
                    found = catalog.search(stranger)
                    false += [[stranger.track, other] for other in found.others[:1]]
    return sorted(false)
