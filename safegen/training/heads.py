"""Recipe: an entry of the generator registry, from what a generator made.

    outputs -> histories -> windows -> logistic regression against the real windows that
    ship -> yardsticks from outputs and real sources that it was not fitted on -> entry

The real windows come with the package, so nothing but outputs is needed. A third of
the outputs, by source, is set aside for the yardsticks; what was measured on them is
written into the entry.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from detectors.synthetic import comb
from detectors.synthetic.calibration import LEAST_SYNTHETIC, Calibration, Yardstick, yardstick
from detectors.synthetic.entries import Entry
from detectors.synthetic.judging import LEAST_GROUPS, LENGTHS, grouped
from detectors.synthetic.reference import (
    Reference,
    Windows,
    group_weights,
    heard_by_heads,
    joined,
    nearest,
)
from detectors.synthetic.traces import WINDOW_SECONDS
from safegen.errors import InputError
from safegen.training.measured import CLEAN, Table, join

Floats = npt.NDArray[np.float64]

REGULARIZATION: Final = 0.3
RIVALS: Final = 0.2
"""Share of the negative windows' weight that goes to other generators."""
LEAST_SOURCES: Final = 6
DOMAIN_AXES: Final = 16
DOMAIN_QUANTILE: Final = 0.98
_KIND_REGULARIZATION: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known about a generator before anything is measured; as in ``Entry``."""

    name: str
    family: str
    own: bool
    sample_rate: int
    spacings_hz: tuple[float, ...]
    min_seconds: float
    card: str


def fit(
    facts: Facts, outputs: Table, reference: Reference, *, rivals: Windows | None = None
) -> Entry:
    """Fit a head.

    Args:
        facts: Of the generator.
        outputs: Windows of what it made; rows whose role is "calibrate" are set aside for
            the yardsticks, and a third of the sources if there are none.
        reference: Real windows.
        rivals: Windows of other generators that it must not be taken for.

    Raises:
        InputError: If there are too few outputs.
    """
    from sklearn.linear_model import LogisticRegression

    aside = _aside(facts.name, outputs)
    real = ~reference.calibrate
    others = [reference.windows.rows(real)]
    importance = _evenly(reference.speech[real])
    if rivals is not None and len(rivals):
        others.append(rivals)
        theirs = np.full(len(rivals), 0.5 * RIVALS / len(rivals))
        importance = np.concatenate([importance * (1.0 - RIVALS), theirs])
    vectors = reference.vectors(joined([*others, outputs.windows.rows(~aside)]))
    label = np.arange(len(vectors)) >= len(importance)
    importance = np.concatenate([importance, _evenly(outputs.source[~aside])])
    head = LogisticRegression(C=REGULARIZATION, max_iter=1000)
    head.fit(vectors, label, importance * len(vectors))
    coefficients = head.coef_[0].astype(np.float32).astype(np.float64)
    return _entry(
        facts,
        coefficients,
        float(head.intercept_[0]),
        outputs.rows(aside),
        reference,
    )


def template(facts: Facts, outputs: Table, reference: Reference) -> Entry:
    """Make a head from the combs of a decoder alone; nothing is fitted but the yardsticks.

    For generators of which too little is at hand to fit anything: the head is the mean
    excess at the multiples of the spacings, minus that at other spacings.

    Raises:
        InputError: If no comb is named, or there are too few outputs.
    """
    if not facts.spacings_hz:
        raise InputError(f"{facts.name}: a template needs the spacing of a comb")
    weights = np.mean([comb.template(spacing) for spacing in facts.spacings_hz], axis=0)
    size = len(weights)
    coefficients = np.zeros(len(reference.mean))
    # The head sees standardized numbers; the template is in decibels.
    coefficients[:size] = weights * reference.scale[:size]
    intercept = float(weights @ reference.mean[:size])
    return _entry(facts, coefficients, intercept, outputs, reference)


def _entry(
    facts: Facts,
    coefficients: Floats,
    intercept: float,
    outputs: Table,
    reference: Reference,
) -> Entry:
    real = reference.calibrate
    real_scores = reference.vectors(reference.windows.rows(real)) @ coefficients + intercept
    scores = reference.vectors(outputs.windows) @ coefficients + intercept
    kinds = tuple(
        kind
        for kind in ("music", "speech")
        if int((outputs.kind == kind).sum()) >= min(LEAST_SYNTHETIC, len(outputs) // 2)
    )
    calibrations = {}
    figures: dict[str, float] = {}
    for kind in ("speech", "music"):
        rows = reference.speech[real] == (kind == "speech")
        theirs = outputs.kind == kind
        calibrations[kind] = _calibrated(
            real_scores[rows],
            reference.source[real][rows],
            scores[theirs],
            _sounds(outputs)[theirs],
        )
        if kind in kinds:
            clean = theirs & (outputs.treatment == CLEAN)
            figures[f"{kind} eer"] = round(eer(scores[theirs], real_scores[rows]), 4)
            figures[f"{kind} eer clean"] = round(eer(scores[clean], real_scores[rows]), 4)
            figures[f"{kind} windows"] = float(theirs.sum())
    return Entry(
        name=facts.name,
        family=facts.family,
        own=facts.own,
        sample_rate=facts.sample_rate,
        spacings_hz=facts.spacings_hz,
        coefficients=coefficients,
        intercept=intercept,
        speech=calibrations["speech"],
        music=calibrations["music"],
        made=kinds,
        min_seconds=facts.min_seconds,
        codecs=tuple(sorted(set(outputs.treatment.tolist()) - {CLEAN})),
        figures=figures,
        card=facts.card,
        reference=reference.digest,
    )


def _calibrated(
    real: Floats,
    real_source: npt.NDArray[np.str_],
    scores: Floats,
    sounds: npt.NDArray[np.str_],
) -> Calibration:
    """Make yardsticks for every length there are enough real sounds of."""
    yardsticks: list[Yardstick] = []
    for count in LENGTHS:
        low = [float(real[g].mean()) for g in grouped(real_source, count)]
        high = [float(scores[g].mean()) for g in grouped(sounds, count)]
        if len(low) < LEAST_GROUPS:
            continue
        enough = high if len(high) >= LEAST_SYNTHETIC else []
        made = yardstick(low, enough, seconds=count * WINDOW_SECONDS)
        if not enough and yardsticks:
            # Too few long outputs: what a score is worth in shorter ones is worth no less here.
            last = yardsticks[-1]
            made = replace(made, slope=last.slope, offset=last.offset, limit=last.limit)
        yardsticks.append(made)
    return Calibration(yardsticks=tuple(yardsticks))


def learn_reference(
    table: Table, *, card: dict[str, object], synthetic: Table | None = None
) -> Reference:
    """Make the reference from real windows: what is usual, and what is outside.

    Args:
        table: Real windows of the roles "train" and "calibrate", speech and music.
        card: What they are of.
        synthetic: More speech and music, to tell one from the other.
    """
    from sklearn.linear_model import LogisticRegression

    train = table.role == "train"
    speech = table.kind == "speech"
    raw = np.concatenate(
        [heard_by_heads(table.windows.residual), table.windows.shape], axis=1, dtype=np.float64
    )
    domain = table.windows.domain.astype(np.float64)
    mean = domain[train].mean(axis=0)
    values, axes = np.linalg.eigh(np.cov((domain[train] - mean).T))
    leading = np.argsort(values)[::-1][:DOMAIN_AXES]
    axes = axes[:, leading] / np.sqrt(values[leading])
    # An eigenvector's sign is arbitrary; fix it, so that the file is reproducible.
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(len(leading))])
    points = (domain - mean) @ axes
    distances = np.concatenate(
        [
            nearest(points[table.source == s], points[table.source != s])
            for s in np.unique(table.source)
        ]
    )
    scale = domain[train].std(axis=0) + 1e-9
    kinds = LogisticRegression(C=_KIND_REGULARIZATION, max_iter=1000, class_weight="balanced")
    # Speech from music is told with all sound there is: it says nothing about generators.
    every = table if synthetic is None else join([table, synthetic])
    kinds.fit((every.windows.domain - mean) / scale, every.kind == "speech")
    return Reference(
        windows=table.windows,
        source=table.source,
        speech=speech,
        calibrate=~train,
        mean=raw[train].mean(axis=0),
        scale=(raw[train].std(axis=0) + 1e-6) / group_weights(),
        domain_mean=mean,
        domain_axes=axes,
        domain_limit=float(np.quantile(distances, DOMAIN_QUANTILE)),
        speech_mean=mean,
        speech_scale=scale,
        speech_coefficients=kinds.coef_[0].astype(np.float64),
        speech_intercept=float(kinds.intercept_[0]),
        card=json.dumps(card, sort_keys=True),
    )


def eer(synthetic: Floats | Sequence[float], real: Floats | Sequence[float]) -> float:
    """Give the rate at which misses and false alarms are equal; nan without sounds."""
    high, low = np.sort(synthetic), np.sort(real)
    if not (len(high) and len(low)):
        return float("nan")
    limits = np.unique(np.concatenate([high, low]))
    missed = np.searchsorted(high, limits, side="left") / len(high)
    alarms = 1.0 - np.searchsorted(low, limits, side="left") / len(low)
    at = int(np.abs(missed - alarms).argmin())
    return float((missed[at] + alarms[at]) / 2)


def _aside(name: str, outputs: Table) -> npt.NDArray[np.bool_]:
    """Choose the rows that yardsticks are made from."""
    declared = np.asarray(outputs.role == "calibrate")
    if not declared.any():
        # A few voices or sessions are too few to set some aside: then files are told apart.
        sources = len(set(outputs.source.tolist()))
        unit = outputs.source if sources >= LEAST_SOURCES else outputs.name
        units = sorted(set(unit.tolist()))
        if len(units) < LEAST_SOURCES:
            raise InputError(
                f"{name}: {len(units)} outputs to learn from, at least {LEAST_SOURCES}",
                remedy="Add files; each of 4 seconds or longer.",
            )
        declared = np.isin(unit, units[::3])
    if declared.all():
        raise InputError(f"{name}: every output is set aside, nothing is left to learn from")
    return declared


def _evenly(groups: npt.NDArray[np.generic]) -> Floats:
    """Weigh rows so that every group counts the same and all together count 1/2."""
    names, which, counts = np.unique(groups, return_inverse=True, return_counts=True)
    return np.asarray(0.5 / (len(names) * counts[which]), dtype=np.float64)


def _sounds(table: Table) -> npt.NDArray[np.str_]:
    """Name what may be joined to a longer sound: one source, after one treatment."""
    return np.char.add(np.char.add(table.source, " "), table.treatment)
