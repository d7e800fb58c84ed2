"""Is a piece found when somebody else plays it, and are strangers left alone?

Catalogs of game music (``matching_bench.music``) with composed pieces among it. Found shall
be: pieces played by another soundfont, on other instruments, in another key and tempo; and
tracks whose pitch or tempo was changed. Not found shall be: twenty seconds of one half of
the tracks in a catalog of the other half. Composed pieces share ten chord progressions a
mode, so each is asked for among the others, too: what is found there are not errors of the
ear but what the ear cannot tell apart.
"""

import dataclasses
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import click
import numpy as np

from detectors.chromaprint import Pcm, pcm
from detectors.composition import (
    BINS,
    CompositionMatch,
    NotComparableError,
    chroma_of,
    find_compositions,
    to_blob,
)
from detectors.constellations import tail
from safegen.audio import Audio, load
from safegen.errors import InputError
from safegen.evaluation.attacks import ATTACKS
from safegen.evaluation.matching_bench.music import (
    LEAST_SECONDS,
    halves,
    lots,
    places,
    spread,
    track_name,
    tracks,
)
from safegen.evaluation.metrics import wilson
from safegen.generation.compose import COMPS, INSTRUMENTS, Plan, compose
from safegen.generation.soundfont import SoundfontRenderer, find_soundfont

SECONDS: Final = 20.0
REVIEW_P: Final = 1e-3
PIECE_SEEDS: Final = range(81_000_000, 82_000_000)
CHANGES: Final = ("pitch-2", "pitch+2", "tempo-0.90", "tempo-1.10")
CHANGED_SHARE: Final = 3
"""Every third track is changed; all of them are strangers."""
TAIL_ABOVE: Final = 7.5
SHARED_THEMES: Final = (
    ("van_theme.ogg", "van_geoscape.ogg"),
    ("legacy_soundtrack/track10.opus", "legacy_soundtrack/track15.opus"),
)
"""Pairs of one composer in which this ear heard one theme; no strangers, so no part of the
tail. They count as false reviews all the same."""

_PIECE_SECONDS: Final = 60.0
_OTHER_FONT: Final = "MuseScore_General_Lite.sf3"
_SEED: Final = 11
_NO_LIMIT: Final = 10**12


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Some works in memory, searchable like those of the registry's index."""

    names: Sequence[str]
    blobs: Sequence[bytes]

    @property
    def item_count(self) -> int:
        """Cells of all works."""
        return sum(map(len, self.blobs)) // BINS

    def works(self) -> Iterator[int]:
        """Number them."""
        return iter(range(len(self.blobs)))

    def blob(self, work: int) -> bytes:
        """Give what is stored of one."""
        return self.blobs[work]

    def work_id(self, work: int) -> str:
        """Name one."""
        return self.names[work]


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A sound, what was done to it, and which work it is."""

    row: str
    name: str
    samples: Pcm


@dataclass(slots=True)
class _Counts:
    """Of one row of the report."""

    asked: int = 0
    first: int = 0
    reviewed: int = 0
    others: int = 0
    milliseconds: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stranger:
    """The best that a query reached in works that are not its own."""

    query: str
    work: str
    score: float
    p_value: float


@click.command("composition")
@click.option(
    "--assets",
    required=True,
    metavar="FOLDER",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder filled by `safegen eval assets`.",
)
@click.option(
    "--tracks",
    "track_count",
    type=click.IntRange(4),
    default=100,
    show_default=True,
    help="Real recordings, from all over the music; half of them in each catalog.",
)
@click.option("--pieces", type=click.IntRange(2), default=40, show_default=True)
@click.option(
    "--strangers", type=click.IntRange(1), default=4, show_default=True, help="Queries a track."
)
def command(assets: Path, track_count: int, pieces: int, strangers: int) -> None:
    """Ask for compositions in other recordings, and for strangers.

    \b
    Exit status:
      0  the figures were measured
      2  music or a soundfont is missing

    \b
    Example:
      safegen eval composition --assets ~/assets
    """
    other_font = next(iter(sorted(assets.rglob(_OTHER_FONT))), None)
    font = find_soundfont(assets)
    if font is None or other_font is None:
        raise InputError(
            f"{assets}: two soundfonts are needed, FluidR3Mono_GM.sf3 and {_OTHER_FONT}",
            remedy="Run `safegen eval assets --out FOLDER` first.",
        )
    with tempfile.TemporaryDirectory(prefix="safegen-bench-") as unpacked:
        paths = spread(tracks(assets, Path(unpacked)), track_count)
        if not paths:
            raise InputError(
                f"{assets}: no music", remedy="Run `safegen eval assets --out FOLDER` first."
            )
        blobs, queries = heard(paths, strangers=strangers)
    played, covers = rendered(font, other_font, PIECE_SEEDS[:pieces])
    side = halves(list(blobs))
    catalogs = [_catalog({n: b for n, b in blobs.items() if side[n] == h}, played) for h in (0, 1)]
    click.echo(json.dumps(report(catalogs, side, queries, covers)))


def heard(paths: Sequence[Path], *, strangers: int) -> tuple[dict[str, bytes], list[Query]]:
    """Listen to the tracks: the chroma of each, excerpts as they are, and changed ones."""
    blobs: dict[str, bytes] = {}
    queries: list[Query] = []
    with click.progressbar(paths, label="Tracks", file=sys.stderr) as bar:
        for number, path in enumerate(bar):
            audio = load(path)
            if audio.seconds < max(LEAST_SECONDS, SECONDS):
                continue
            name = track_name(path)
            blobs[name] = to_blob(chroma_of(pcm(audio.waveform, audio.sample_rate)))
            for row, count in (("stranger", strangers), *((c, 1) for c in CHANGES)):
                if row != "stranger" and number % CHANGED_SHARE:
                    continue
                # A faster copy needs more of the track to last as long.
                length = SECONDS * 1.15
                for at in places(audio, count, seconds=length, seed=_SEED, words=(name, row)):
                    cut = audio.cut(at, at + length)
                    changed = ATTACKS[row](cut) if row in CHANGES else cut
                    queries.append(_query(row, name, changed.cut(0.0, SECONDS)))
    return blobs, queries


def rendered(
    font: Path, other_font: Path, seeds: Sequence[int]
) -> tuple[dict[str, bytes], list[Query]]:
    """Play pieces for the catalog, and again as somebody else would."""
    blobs: dict[str, bytes] = {}
    queries: list[Query] = []
    own, other = SoundfontRenderer(font), SoundfontRenderer(other_font)
    with click.progressbar(seeds, label="Pieces", file=sys.stderr) as bar:
        for seed in bar:
            plan, name = compose(seed), f"piece {seed}"
            blobs[name] = to_blob(chroma_of(_pcm(own.render(plan, seconds=_PIECE_SECONDS))))
            for row, cover in covers_of(plan, seed):
                audio = other.render(cover, seconds=_PIECE_SECONDS * 0.75)
                (at,) = places(audio, 1, seconds=SECONDS, seed=_SEED, words=(name, row))
                queries.append(_query(row, name, audio.cut(at, at + SECONDS)))
    return blobs, queries


def covers_of(plan: Plan, seed: int) -> Iterator[tuple[str, Plan]]:
    """Arrange a piece anew, each row further from it than the one before."""
    dice = lots(_SEED, str(seed))
    melody = [one.name for one in INSTRUMENTS if one.name != plan.instrument]
    chords = [one.name for one in COMPS if one.name != plan.comp]
    arranged = dataclasses.replace(
        plan,
        instrument=melody[int(dice.integers(len(melody)))],
        comp=chords[int(dice.integers(len(chords)))],
    )
    tempo = int(np.clip(round(plan.tempo_bpm * dice.uniform(0.82, 1.22)), 60, 180))
    moved = dataclasses.replace(
        arranged, tempo_bpm=tempo, root=(plan.root + int(dice.integers(1, 12))) % 12
    )
    yield "other soundfont", plan
    yield "other instruments", arranged
    yield "other instruments, key, tempo", moved


def report(
    catalogs: Sequence[Held],
    side: Mapping[str, int],
    queries: Iterable[Query],
    covers: Iterable[Query],
) -> dict[str, object]:
    """Search for everything and count."""
    counts: dict[str, _Counts] = {}
    strangers: list[Stranger] = []
    unheard = 0
    everything = [*queries, *covers]
    with click.progressbar(everything, label="Searches", file=sys.stderr) as bar:
        for query in bar:
            is_stranger = query.row == "stranger"
            home = side.get(query.name, 0)
            row = counts.setdefault(query.row, _Counts())
            began = time.process_time()
            try:
                found = find_compositions(
                    query.samples,
                    catalogs[1 - home if is_stranger else home],
                    max_p_value=1.0,
                    most_cells=_NO_LIMIT,
                )
            except NotComparableError:
                found = ()
                unheard += 1
            row.milliseconds.append((time.process_time() - began) * 1000)
            row.asked += 1
            row.first += bool(found) and found[0].work_id == query.name
            row.reviewed += any(m.work_id == query.name and _is_review(m) for m in found)
            others = [m for m in found if m.work_id != query.name]
            row.others += any(_is_review(m) for m in others)
            if is_stranger:
                best = max(others, key=lambda m: m.score, default=None)
                strangers.append(
                    Stranger(
                        query=query.name,
                        work=best.work_id if best else "",
                        score=best.score if best else 0.0,
                        p_value=best.p_value if best else 1.0,
                    )
                )
    return {
        "benchmark": "composition",
        "seconds": SECONDS,
        "max_p_value": REVIEW_P,
        "works": [len(catalog.blobs) for catalog in catalogs],
        "cells": [catalog.item_count for catalog in catalogs],
        "not_comparable": unheard,
        "found": {
            name: {
                "rank_1": wilson(row.first, row.asked).as_json(),
                "reviewed": wilson(row.reviewed, row.asked).as_json(),
                "others_reviewed": wilson(row.others, row.asked).as_json(),
            }
            for name, row in counts.items()
            if name != "stranger"
        },
        **_of_strangers(strangers, cells=statistics.mean(c.item_count for c in catalogs)),
        "cpu_milliseconds": round(
            statistics.median(ms for row in counts.values() for ms in row.milliseconds), 1
        ),
    }


def _of_strangers(strangers: Sequence[Stranger], *, cells: float) -> dict[str, object]:
    reviewed = [one for one in strangers if one.p_value <= REVIEW_P]
    apart = [one for one in strangers if not _is_shared(one)]
    pairs = Counter(f"{one.query} | {one.work}" for one in reviewed)
    row: dict[str, object] = {
        "false_reviews": wilson(len(reviewed), len(strangers)).as_json(),
        "false_reviews_without_shared_themes": wilson(
            sum(one.p_value <= REVIEW_P for one in apart), len(apart)
        ).as_json(),
        "false_pairs": dict(pairs.most_common()),
    }
    scores = [one.score for one in apart]
    if max(scores) > TAIL_ABOVE:
        scale, rate = tail(scores, search=round(cells), above=TAIL_ABOVE)
        row["tail"] = {
            "k": round(scale, 4),
            "lambda": round(rate, 3),
            "beyond": sum(score > TAIL_ABOVE for score in scores),
            "highest": round(max(scores), 2),
        }
    return row


def _is_review(match: CompositionMatch) -> bool:
    return match.p_value <= REVIEW_P


def _is_shared(one: Stranger) -> bool:
    return any(
        (one.query.endswith(a) and one.work.endswith(b))
        or (one.query.endswith(b) and one.work.endswith(a))
        for a, b in SHARED_THEMES
    )


def _catalog(*parts: dict[str, bytes]) -> Held:
    rows = [row for part in parts for row in part.items()]
    return Held(names=[name for name, _ in rows], blobs=[blob for _, blob in rows])


def _query(row: str, name: str, audio: Audio) -> Query:
    return Query(row=row, name=name, samples=_pcm(audio))


def _pcm(audio: Audio) -> Pcm:
    return pcm(audio.waveform, audio.sample_rate)
