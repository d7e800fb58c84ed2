"""What do the trials say, and which promise did they miss?"""

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from safegen.evaluation.attacks.base import Attack, Kind
from safegen.evaluation.metrics import Rate, wilson
from safegen.evaluation.watermarking.clips import KINDS
from safegen.evaluation.watermarking.markers import KEYED
from safegen.evaluation.watermarking.promises import (
    LEAST_OVERLAP,
    LEAST_PESQ,
    LOCALIZED,
    MOST_PLAIN,
    MOST_SEARCH,
    PROMISES,
    Promise,
)
from safegen.evaluation.watermarking.staged import Staged
from safegen.evaluation.watermarking.trials import PRICE, VISQOL, Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """One mark under one attack.

    Attributes:
        detected: Share of marked clips in which the mark was heard.
        exact: Share whose id came back; None for a mark without one.
        wrong_ids: Marked clips in which another id was read.
        false_alarms: Share of unmarked clips, attacked alike, in which a mark was heard;
            None where there is no such clip.
        by_kind: Kind of sound -> the same of its clips.
    """

    detected: Rate
    exact: Rate | None
    wrong_ids: int
    false_alarms: Rate | None
    by_kind: Mapping[str, "Rates"] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """Round for a report."""
        return {
            "detected": self.detected.as_json(),
            "exact_id": self.exact.as_json() if self.exact else None,
            "wrong_ids": self.wrong_ids,
            "false_alarms": self.false_alarms.as_json() if self.false_alarms else None,
            **({"by_kind": _kinds_json(self.by_kind)} if self.by_kind else {}),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One attack, with what was asked and what every mark did.

    Attributes:
        attack: Described.
        promise: What was asked of the keyed mark, if anything.
        marks: Name of the mark -> its rates.
        misses: Promises of this line that were not reached, as sentences.
        behind: Names of the marks that were heard more often than the keyed one on the same clips.
    """

    attack: Attack | Staged
    promise: Promise | None
    marks: Mapping[str, Rates]
    misses: tuple[str, ...]
    behind: tuple[str, ...]

    @property
    def is_forgery(self) -> bool:
        """Whether being heard is the attacker's success."""
        return isinstance(self.attack, Staged) and self.attack.is_forgery

    def as_json(self) -> dict[str, object]:
        """Make the line of the table."""
        asked = self.promise
        return {
            "attack": self.attack.name,
            "kind": self.attack.kind.value,
            "strength": self.attack.strength,
            "unit": self.attack.unit,
            "asked": {"detected": asked.detected, "exact_id": asked.exact} if asked else None,
            "marks": {name: rates.as_json() for name, rates in self.marks.items()},
            "missed": list(self.misses),
            "behind": list(self.behind),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Mean and extremes of a meter.

    Attributes:
        n: How many clips; 0 leaves the others at 0.
    """

    n: int
    mean: float = 0.0
    low: float = 0.0
    high: float = 0.0

    def as_json(self) -> dict[str, float | int | None]:
        """Round for a report; no clips give no number."""
        if not self.n:
            return {"n": 0, "mean": None, "min": None, "max": None}
        return {
            "n": self.n,
            "mean": _short(self.mean),
            "min": _short(self.low),
            "max": _short(self.high),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Everything that is published.

    Attributes:
        strength: Of the keyed mark, in nepers.
        clips: Kind of sound -> clips.
        sources: Source -> clips.
        lines: One an attack, in the order in which they were asked for.
        quality: Mark -> meter ("pesq", "visqol", "snr_db", also by kind) -> spread.
        cost: Mark -> step -> seconds of one core for one second of sound.
        overlap: Intersection over union of found and marked stretch; n is 0 if not measured.
        unmeasured: What was not measured, as sentences.
        failed: Promises that were missed, as sentences.
    """

    strength: float
    clips: Mapping[str, int]
    sources: Mapping[str, int]
    lines: tuple[Line, ...]
    quality: Mapping[str, Mapping[str, Spread]]
    cost: Mapping[str, Mapping[str, Spread]]
    overlap: Spread
    unmeasured: tuple[str, ...]
    failed: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """Make the object that the command prints."""
        return {
            "benchmark": "watermark",
            "strength": self.strength,
            "clips": dict(self.clips),
            "sources": dict(self.sources),
            "rows": [line.as_json() for line in self.lines],
            "quality": _nested(self.quality),
            "core_seconds_per_second": _nested(self.cost),
            "localization": {"asked": LEAST_OVERLAP, **self.overlap.as_json()},
            "not_measured": list(self.unmeasured),
            "failed": list(self.failed),
        }


_METERS: Final = ("pesq", "visqol", "snr_db")
_STEPS: Final = ("embed", "plain", "plain_marked", "search")


def summarize(
    rows: Iterable[Row],
    attacks: Iterable[Attack | Staged],
    *,
    strength: float,
    unmeasured: Iterable[str] = (),
) -> Figures:
    """Turn trials into the figures that are published, with what was asked beside them."""
    found = list(rows)
    by_attack: dict[str, list[Row]] = {}
    for row in found:
        by_attack.setdefault(str(row["what"]), []).append(row)
    lines = tuple(
        _line(attack, by_attack[attack.name]) for attack in attacks if attack.name in by_attack
    )
    prices = [row for row in found if row["what"] in (PRICE, VISQOL)]
    quality = _quality(prices)
    cost = {
        marker: {
            step: _spread(row[step] for row in here if step in row)
            for step in _STEPS
            if any(step in row for row in here)
        }
        for marker, here in _by(prices, "marker").items()
    }
    overlaps = _spread(row["iou"] for row in by_attack.get(LOCALIZED, ()) if row["marker"] == KEYED)
    keyed = {(str(row["kind"]), str(row["clip"])): row for row in found if row["marker"] == KEYED}
    return Figures(
        strength=strength,
        clips={kind: sum(name == kind for name, _ in keyed) for kind in KINDS},
        sources=dict(sorted(Counter(str(row["source"]) for row in keyed.values()).items())),
        lines=lines,
        quality=quality,
        cost=cost,
        overlap=overlaps,
        unmeasured=tuple(unmeasured),
        failed=(
            *(miss for line in lines for miss in line.misses),
            *_other_misses(quality.get(KEYED, {}), cost.get(KEYED, {}), overlaps),
        ),
    )


def _line(attack: Attack | Staged, rows: list[Row]) -> Line:
    marks = {name: _rates(here, with_kinds=True) for name, here in _by(rows, "marker").items()}
    promise = PROMISES.get(attack.name)
    keyed = marks.get(KEYED)
    return Line(
        attack=attack,
        promise=promise,
        marks=marks,
        misses=tuple(_misses(attack, promise, keyed)) if keyed else (),
        behind=tuple(_behind(rows, [name for name in marks if name != KEYED])),
    )


def _misses(attack: Attack | Staged, promise: Promise | None, rates: Rates) -> Iterable[str]:
    """Compare with the promise; false alarms and wrong ids are never allowed."""
    if promise and rates.detected.rate < promise.detected:
        yield f"{attack.name}: heard {rates.detected.rate:.3f}, asked {promise.detected:g}"
    exact = rates.exact
    if promise and promise.exact is not None and exact and exact.rate < promise.exact:
        yield f"{attack.name}: exact id {exact.rate:.3f}, asked {promise.exact:g}"
    if rates.false_alarms and rates.false_alarms.hits:
        alarms = rates.false_alarms
        yield f"{attack.name}: {alarms.hits} false alarms in {alarms.n} unmarked clips, asked 0"
    if rates.wrong_ids and attack.kind is not Kind.ADVERSARIAL:
        yield f"{attack.name}: {rates.wrong_ids} wrong ids, asked 0"


def _behind(rows: list[Row], rivals: list[str]) -> Iterable[str]:
    """Name the marks that do better on the clips that both were heard on."""
    ours = {str(row["clip"]): row for row in rows if row["marker"] == KEYED}
    for name in rivals:
        theirs = [row for row in rows if row["marker"] == name and str(row["clip"]) in ours]
        if sum(_number(row["detected"]) for row in theirs) > sum(
            _number(ours[str(row["clip"])]["detected"]) for row in theirs
        ):
            yield name


def _other_misses(
    quality: Mapping[str, Spread], cost: Mapping[str, Spread], overlaps: Spread
) -> Iterable[str]:
    pesq = quality.get("pesq")
    if pesq and pesq.n and pesq.mean < LEAST_PESQ:
        yield f"PESQ {pesq.mean:.3f}, asked {LEAST_PESQ:g}"
    if overlaps.n and overlaps.mean < LEAST_OVERLAP:
        yield f"localization: overlap {overlaps.mean:.3f}, asked {LEAST_OVERLAP:g}"
    for step, most in (("plain", MOST_PLAIN), ("search", MOST_SEARCH)):
        spent = cost.get(step)
        if spent and spent.n and spent.mean > most:
            yield f"{step} detection: {spent.mean:.4f} core seconds a second, asked {most:g}"


def _rates(rows: list[Row], *, with_kinds: bool) -> Rates:
    negatives = [row for row in rows if "false" in row]
    has_ids = any(row["marker"] == KEYED for row in rows)
    return Rates(
        detected=_rate(row["detected"] for row in rows),
        exact=_rate(row["exact"] for row in rows) if has_ids else None,
        wrong_ids=sum(int(_number(row["wrong"])) for row in rows),
        false_alarms=_rate(row["false"] for row in negatives) if negatives else None,
        by_kind={
            kind: _rates(here, with_kinds=False) for kind, here in sorted(_by(rows, "kind").items())
        }
        if with_kinds
        else {},
    )


def _quality(prices: list[Row]) -> dict[str, dict[str, Spread]]:
    found: dict[str, dict[str, Spread]] = {}
    for marker, rows in _by(prices, "marker").items():
        found[marker] = {
            meter: _spread(row[meter] for row in rows if meter in row) for meter in _METERS
        }
        for kind in KINDS:
            for meter in ("visqol", "snr_db"):
                here = [row[meter] for row in rows if meter in row and row["kind"] == kind]
                if here:
                    found[marker][f"{meter} {kind}"] = _spread(here)
    return found


def _by(rows: Iterable[Row], name: str) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(str(row[name]), []).append(row)
    return found


def _rate(values: Iterable[float | str | None]) -> Rate:
    numbers = [_number(value) for value in values]
    return wilson(int(sum(numbers)), len(numbers))


def _spread(values: Iterable[float | str | None]) -> Spread:
    numbers = [_number(value) for value in values]
    if not numbers:
        return Spread(n=0)
    return Spread(
        n=len(numbers), mean=statistics.mean(numbers), low=min(numbers), high=max(numbers)
    )


def _number(value: float | str | None) -> float:
    return float(value or 0.0)


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _nested(tables: Mapping[str, Mapping[str, Spread]]) -> dict[str, dict[str, object]]:
    return {
        marker: {name: spread.as_json() for name, spread in table.items()}
        for marker, table in tables.items()
    }


def _kinds_json(kinds: Mapping[str, Rates]) -> dict[str, dict[str, object]]:
    return {kind: rates.as_json() for kind, rates in kinds.items()}
