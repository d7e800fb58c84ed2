"""What do the trials say, and which promise did they miss?"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from detectors.chromaprint import ENGINE as CHROMAPRINT
from safegen.evaluation.attacks import ATTACKS, Attack
from safegen.evaluation.matching_bench.composed import COMPOSED
from safegen.evaluation.matching_bench.engines import ENGINES
from safegen.evaluation.matching_bench.music import Track
from safegen.evaluation.matching_bench.outsiders import Chances, Outsiders, chances, outsiders
from safegen.evaluation.matching_bench.promises import (
    BIG,
    LEAST_STRANGERS,
    LEAST_TRACKS,
    MOST_ADD_SECONDS,
    MOST_BOTH_MS,
    MOST_BOUNDARY_SECONDS,
    MOST_CHROMAPRINT_BYTES,
    MOST_CHROMAPRINT_MS,
    MOST_OPEN_SECONDS,
    PROMISES,
    Cell,
    Promise,
)
from safegen.evaluation.matching_bench.rivals import RIVAL, RIVAL_STRANGERS
from safegen.evaluation.matching_bench.scale import BOTH, SCALE
from safegen.evaluation.matching_bench.segments import (
    Seconds,
    Segment,
    boundary_errors,
    score,
    unpack,
)
from safegen.evaluation.matching_bench.trials import EXCERPT_SECONDS, RECALL, STRANGERS
from safegen.evaluation.metrics import Rate, wilson
from safegen.evaluation.state import Row

ONE_HOP: Final = 0.13
"""Seconds; further off are works that repeat themselves, found at another repetition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One distortion at one length.

    Attributes:
        attack: What was done.
        seconds: Length of the excerpts.
        plain: How often the right work was named.
        deep: The same of the deep scan; None where it was not asked.
        engines: Engine -> how often it would have named the right work alone.
        rival: How often audfprint2 named it, in the first excerpt of each work; None where
            it was not asked.
        refused: Excerpts that the matcher gave no answer to.
        missed: Tracks that were not named, each once.
        promise: What was asked, if anything.
        misses: Promises that were not reached, as sentences.
    """

    attack: Attack
    seconds: float
    plain: Rate
    deep: Rate | None
    engines: Mapping[str, Rate]
    rival: Rate | None
    refused: int
    missed: tuple[str, ...]
    promise: Promise | None
    misses: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """Make the line of the table."""
        asked = self.promise
        return {
            "distortion": self.attack.name,
            "seconds": self.seconds,
            "asked": {"recall": asked.recall, "deep": asked.is_deep} if asked else None,
            "plain": self.plain.as_json(),
            "deep": self.deep.as_json() if self.deep else None,
            "engines": {name: rate.as_json() for name, rate in self.engines.items()},
            "rival": self.rival.as_json() if self.rival else None,
            "refused": self.refused,
            "missed": list(self.missed),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretches:
    """What was found in long queries.

    Attributes:
        queries: How many.
        hours: Of them together.
        quotes: Stretches that were quoted.
        found: Share of them of which at least a part was found.
        seconds: Counted as Pex's toolkit counts.
        by_treatment: Treatment -> share of its seconds that was found.
        boundary_median: Distance between true and found begins and ends, in seconds.
        boundary_p95: The same, 95 % are nearer.
    """

    queries: int
    hours: float
    quotes: int
    found: Rate
    seconds: Seconds
    by_treatment: Mapping[str, float]
    boundary_median: float | None
    boundary_p95: float | None

    def as_json(self) -> dict[str, object]:
        """Round for a report."""
        return {
            "queries": self.queries,
            "hours": round(self.hours, 3),
            "quotes": self.quotes,
            "found": self.found.as_json(),
            **self.seconds.as_json(),
            "recall_by_treatment": {k: round(v, 4) for k, v in self.by_treatment.items()},
            "boundary_error_seconds": {"median": self.boundary_median, "p95": self.boundary_p95},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Big:
    """What a big catalog costs.

    Attributes:
        works: In it, distractors included.
        half: Which half of the music is among them.
        queries: Whose time was taken.
        found: Of those whose work is in it.
        p_ms: Engine, or "both", -> milliseconds that 50, 95 and 99 % are searched within.
        alone_ms: The same of queries that no work quotes, for 95 %.
        hear_ms: Engine -> milliseconds to fingerprint a query, median.
        build_seconds: Engine -> time to make its index.
        open_seconds: Engine -> time to open it.
        bytes_per_work: Engine -> of its index, for three minutes.
        add_seconds: Longest time until a new work was found.
        added: New works.
        added_found: Of these, found at once.
    """

    works: int
    half: int
    queries: int
    found: Rate
    p_ms: Mapping[str, tuple[float, float, float]]
    alone_ms: Mapping[str, float]
    hear_ms: Mapping[str, float]
    build_seconds: Mapping[str, float]
    open_seconds: Mapping[str, float]
    bytes_per_work: Mapping[str, float]
    add_seconds: float
    added: int
    added_found: int

    def as_json(self) -> dict[str, object]:
        """Make the row of the table."""
        return {
            "works": self.works,
            "half": self.half,
            "queries": self.queries,
            "found": self.found.as_json(),
            "search_ms": {
                name: dict(zip(("p50", "p95", "p99"), values, strict=True))
                for name, values in self.p_ms.items()
            },
            "search_ms_p95_of_strangers": dict(self.alone_ms),
            "fingerprint_ms": dict(self.hear_ms),
            "build_seconds": dict(self.build_seconds),
            "open_seconds": dict(self.open_seconds),
            "bytes_per_3_minutes": dict(self.bytes_per_work),
            "add_seconds": self.add_seconds,
            "added": self.added,
            "added_found": self.added_found,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Offsets:
    """How far off found excerpts are, in seconds; None if none was found."""

    n: int
    median: float | None
    p95: float | None
    within_one_hop: float | None

    def as_json(self) -> dict[str, object]:
        """Round for a report."""
        return {
            "n": self.n,
            "median": self.median,
            "p95": self.p95,
            "share_within_one_hop": self.within_one_hop,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Everything that is published.

    Attributes:
        backend: Which Chromaprint.
        engines: Engines of the catalog.
        tracks: Works.
        hours: Of the works together.
        lines: One a cell of the table.
        outsiders: One a size of the catalog.
        chances: How true p-values are; None if it was not measured.
        big: One a big catalog.
        rival_false: Queries of music outside a catalog that audfprint2 named a work for; None
            if it was not asked.
        stretches: None if no long query was composed.
        offsets: Of clean ten-second excerpts and their distortions at the same tempo.
        beside: Works that were named beside the right one: track and other, for people.
        unmeasured: What was not measured, as sentences.
        failed: Promises that were missed, as sentences.
    """

    backend: str
    engines: tuple[str, ...]
    tracks: int
    hours: float
    lines: tuple[Line, ...]
    outsiders: tuple[Outsiders, ...]
    chances: Chances | None
    big: tuple[Big, ...]
    rival_false: Rate | None
    stretches: Stretches | None
    offsets: Offsets
    beside: tuple[tuple[str, str], ...]
    unmeasured: tuple[str, ...]
    failed: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """Make the object that the command prints."""
        return {
            "benchmark": "fingerprint",
            "backend": self.backend,
            "engines": list(self.engines),
            "works": self.tracks,
            "hours": round(self.hours, 2),
            "recall": [line.as_json() for line in self.lines],
            "strangers": [each.as_json() for each in self.outsiders],
            "chances": self.chances.as_json() if self.chances else None,
            "rival_false_matches": self.rival_false.as_json() if self.rival_false else None,
            "scale": [each.as_json() for each in self.big],
            "stretches": self.stretches.as_json() if self.stretches else None,
            "offset_error_seconds": self.offsets.as_json(),
            "named_beside_the_right_work": [list(pair) for pair in self.beside],
            "unmeasured": list(self.unmeasured),
            "failed": list(self.failed),
        }


def summarize(
    rows: Iterable[Row],
    tracks: Sequence[Track],
    *,
    backend: str,
    engines: Sequence[str],
    unmeasured: Iterable[str] = (),
) -> Figures:
    """Turn trials into the figures that are published, with what was asked beside them."""
    by_kind: dict[str, list[Row]] = {}
    for row in rows:
        by_kind.setdefault(str(row["what"]), []).append(row)
    recall = by_kind.get(RECALL, [])
    names = {track.work_id: track.name for track in tracks}
    lines = _lines(recall, by_kind.get(RIVAL, []))
    behind = by_kind.get(RIVAL_STRANGERS, [])
    strange = by_kind.get(STRANGERS, [])
    outside = outsiders(strange, names)
    big = _big(by_kind.get(SCALE, []))
    stretches = _stretches(by_kind.get(COMPOSED, []))
    return Figures(
        backend=backend,
        engines=tuple(engines),
        tracks=len(tracks),
        hours=sum(track.seconds for track in tracks) / 3600,
        lines=lines,
        outsiders=outside,
        chances=chances(strange, names),
        big=big,
        rival_false=_total(behind) if behind else None,
        stretches=stretches,
        offsets=_offsets(recall),
        beside=_beside(recall, names),
        unmeasured=(*unmeasured, *_too_few(tracks, outside, big)),
        failed=(
            *(miss for line in lines for miss in line.misses),
            *_other_misses(outside, stretches),
            *(miss for each in big for miss in _big_misses(each)),
        ),
    )


def segments_of(rows: Iterable[Row], column: str) -> list[Segment]:
    """Read the annotated or matched stretches of all long queries."""
    return [
        segment for row in rows if row["what"] == COMPOSED for segment in unpack(str(row[column]))
    ]


def _lines(rows: Sequence[Row], rival: Sequence[Row]) -> tuple[Line, ...]:
    cells: dict[Cell, list[Row]] = {}
    for row in rows:
        cell = Cell(distortion=str(row["distortion"]), seconds=_number(row["seconds"]))
        cells.setdefault(cell, []).append(row)
    order = {name: place for place, name in enumerate(ATTACKS)}
    places = sorted(cells, key=lambda cell: (cell.seconds, order[cell.distortion]))
    asked: dict[Cell, list[Row]] = {}
    for row in rival:
        cell = Cell(distortion=str(row["distortion"]), seconds=EXCERPT_SECONDS)
        asked.setdefault(cell, []).append(row)
    return tuple(_line(cell, cells[cell], asked.get(cell, [])) for cell in places)


def _line(cell: Cell, rows: list[Row], rival: list[Row]) -> Line:
    plain = _rate(row["plain"] for row in rows)
    scanned = [row for row in rows if row.get("deep") is not None]
    deep = _rate(row["deep"] for row in scanned) if scanned else None
    promise = PROMISES.get(cell)
    return Line(
        attack=ATTACKS[cell.distortion],
        seconds=cell.seconds,
        plain=plain,
        deep=deep,
        engines={
            name: _rate(row[f"alone_{name}"] for row in rows if f"alone_{name}" in row)
            for name in ENGINES
        },
        rival=_rate(row["found"] for row in rival) if rival else None,
        refused=sum(bool(row["plain_refused"]) for row in rows),
        missed=tuple(sorted({str(row["track"]) for row in rows if not row["plain"]})),
        promise=promise,
        misses=tuple(_misses(cell, promise, deep if promise and promise.is_deep else plain)),
    )


def _misses(cell: Cell, promise: Promise | None, rate: Rate | None) -> Iterable[str]:
    if promise and rate and rate.rate < promise.recall:
        scan = ", deep scan" if promise.is_deep else ""
        yield (
            f"{cell.distortion}, {cell.seconds:g} s{scan}: found {rate.rate:.3f}, "
            f"asked {promise.recall:g}"
        )


def _big(rows: Sequence[Row]) -> tuple[Big, ...]:
    return tuple(
        Big(
            works=int(_number(row["works"])),
            half=int(_number(row["half"])),
            queries=int(_number(row["queries"])),
            found=wilson(int(_number(row["found"])), int(_number(row["known"]))),
            p_ms={
                name: (
                    _number(row[f"{name}_p50_ms"]),
                    _number(row[f"{name}_p95_ms"]),
                    _number(row[f"{name}_p99_ms"]),
                )
                for name in (*ENGINES, BOTH)
            },
            alone_ms={name: _number(row[f"{name}_alone_p95_ms"]) for name in (*ENGINES, BOTH)},
            hear_ms={name: _number(row[f"{name}_hear_ms"]) for name in ENGINES},
            build_seconds={name: _number(row[f"{name}_build_s"]) for name in ENGINES},
            open_seconds={name: _number(row[f"{name}_open_s"]) for name in ENGINES},
            bytes_per_work={name: _number(row[f"{name}_bytes"]) for name in ENGINES},
            add_seconds=_number(row["add_s"]),
            added=int(_number(row["added"])),
            added_found=int(_number(row["added_found"])),
        )
        for row in sorted(rows, key=lambda row: (_number(row["works"]), _number(row["half"])))
    )


def _big_misses(big: Big) -> Iterable[str]:
    """Compare a catalog of the size that is asked about with what was asked."""
    if big.works < BIG:
        return
    place = f"{big.works} works"
    limits = (
        ("Chromaprint search, p95", big.p_ms[CHROMAPRINT][1], MOST_CHROMAPRINT_MS, "ms"),
        ("search with both engines, p95", big.p_ms[BOTH][1], MOST_BOTH_MS, "ms"),
        ("Chromaprint", big.bytes_per_work[CHROMAPRINT], MOST_CHROMAPRINT_BYTES, "bytes a work"),
        ("opening", sum(big.open_seconds.values()), MOST_OPEN_SECONDS, "s"),
        ("a new work is found after", big.add_seconds, MOST_ADD_SECONDS, "s"),
    )
    for what, measured, most, unit in limits:
        if measured > most:
            yield f"{place}: {what} {measured:.5g} {unit}, asked {most:g}"
    if big.added_found < big.added:
        yield f"{place}: {big.added_found} of {big.added} new works found, asked all"


def _total(rows: Sequence[Row]) -> Rate:
    """Add up false matches over the tracks."""
    return wilson(
        sum(int(_number(row["false"])) for row in rows),
        sum(int(_number(row["n"])) for row in rows),
    )


def _stretches(rows: Sequence[Row]) -> Stretches | None:
    if not rows:
        return None
    annotated = segments_of(rows, "annotated")
    matched = segments_of(rows, "matched")
    alone = {
        place: score([one], [m for m in matched if _is_pair(one, m)])
        for place, one in enumerate(annotated)
    }
    treatments: dict[str, Seconds] = {}
    for place, one in enumerate(annotated):
        treatments[one.treatment] = treatments.get(one.treatment, Seconds()) + alone[place]
    errors = boundary_errors(annotated, matched)
    return Stretches(
        queries=len(rows),
        hours=sum(_number(row["seconds"]) for row in rows) / 3600,
        quotes=len(annotated),
        found=wilson(sum(each.true > 0 for each in alone.values()), len(annotated)),
        seconds=score(annotated, matched),
        by_treatment={name: treatments[name].recall for name in sorted(treatments)},
        boundary_median=round(statistics.median(errors), 3) if errors else None,
        boundary_p95=round(float(np.quantile(errors, 0.95)), 3) if errors else None,
    )


def _is_pair(one: Segment, other: Segment) -> bool:
    return one.query == other.query and one.reference == other.reference


def _offsets(rows: Sequence[Row]) -> Offsets:
    """Leave out what moves in time: there, where it is depends on when one asks."""
    errors = [
        _number(row["plain_off"])
        for row in rows
        if row["plain_off"] is not None and ATTACKS[str(row["distortion"])].keeps_length
    ]
    if not errors:
        return Offsets(n=0, median=None, p95=None, within_one_hop=None)
    return Offsets(
        n=len(errors),
        median=round(statistics.median(errors), 4),
        p95=round(float(np.quantile(errors, 0.95)), 4),
        within_one_hop=round(float(np.mean(np.array(errors) <= ONE_HOP)), 4),
    )


def _beside(rows: Sequence[Row], names: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(
        sorted(
            {
                (str(row["track"]), names.get(other, other))
                for row in rows
                for other in str(row["plain_others"]).split()
            }
        )
    )


def _too_few(
    tracks: Sequence[Track], outsiders: Sequence[Outsiders], big: Sequence[Big]
) -> Iterable[str]:
    """Say where the run was smaller than what was asked."""
    if len(tracks) < LEAST_TRACKS:
        yield f"only {len(tracks)} works were measured, asked {LEAST_TRACKS}"
    for each in outsiders:
        if each.rate.n < LEAST_STRANGERS:
            yield (
                f"only {each.rate.n} queries of music outside a catalog of {each.works} works, "
                f"asked {LEAST_STRANGERS}"
            )
    if all(each.works < BIG for each in big):
        yield f"time, memory and strangers at {BIG} works: run with --scale {BIG}"


def _other_misses(outsiders: Sequence[Outsiders], stretches: Stretches | None) -> Iterable[str]:
    for each in outsiders:
        if each.rate.hits:
            yield (
                f"{each.works} works: {each.rate.hits} false matches in {each.rate.n} queries of "
                "music outside the catalog, asked 0"
            )
    median = stretches.boundary_median if stretches else None
    if median is not None and median > MOST_BOUNDARY_SECONDS:
        yield f"segment boundaries: {median:.2f} s off (median), asked {MOST_BOUNDARY_SECONDS:g} s"


def _rate(values: Iterable[float | str | None]) -> Rate:
    numbers = [_number(value) for value in values]
    return wilson(int(sum(numbers)), len(numbers))


def _number(value: float | str | None) -> float:
    return float(value or 0.0)
