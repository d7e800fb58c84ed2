"""Do the bits agree where the peaks do?

Landmarks name a work, a place in it and a pace. Chromaprint heard the same sound by other
means, and bits that agree at this very place are a second witness. Agreement counts only
as far as it exceeds what the places around show: a held chord agrees with itself at any
shift, and says nothing about where it is from.

What this module does not do: find the places (``detectors.constellations``) or weigh the
agreement against the peaks (``constellations.corroborated``).
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from detectors.chromaprint import (
    ITEM_SECONDS,
    QUERY_SHIFTS,
    SAMPLE_RATE,
    SILENCE,
    SPAN_SECONDS,
    Items,
)
from detectors.comparison import BITS, differing
from detectors.constellations import NO_AGREEMENT, Agreement, LandmarkEvidence

LEAST_ITEMS: Final = 12
"""Fewer, of a second and a half, have nothing to compare."""
_NEUTRAL_RATE: Final = 0.38
"""Bit error rate that neither adds to an agreement nor ends it: sound under speech stays
below, unrelated music that plays the same notes above."""
_NUDGES: Final = (-1, 0, 1)
_AROUND: Final = np.array([step for step in range(-48, 49, 2) if abs(step) >= 6])
"""Items, up to six seconds to both sides, at which the same is tried,"""
_BEATEN: Final = 0.9
"""and the share of these places that must show less."""


def agreement(queries: tuple[Items, ...], work: Items, evidence: LandmarkEvidence) -> Agreement:
    """Say how far Chromaprint agrees at the place that landmarks named.

    Args:
        queries: The query's items from each of ``QUERY_SHIFTS``.
        work: The work's items.
        evidence: Where landmarks lay the work over the query; the whole query is compared,
            at this place and pace.

    Returns:
        The best stretch of all shifts, ``NO_AGREEMENT`` if there is none or nothing to
        compare.
    """
    best = NO_AGREEMENT
    for shift, query in zip(QUERY_SHIFTS, queries, strict=True):
        late = shift / SAMPLE_RATE
        places = _places(len(query), late, evidence)
        for nudge in _NUDGES:
            under = places + nudge
            inside = np.flatnonzero((under >= 0) & (under < len(work)))
            if len(inside) < LEAST_ITEMS:
                continue
            own, under = query[inside], under[inside]
            here, first, last = _best_stretch(own, work[under])
            if here > best.worth:
                nearby = np.clip(under + _AROUND[:, np.newaxis], 0, len(work) - 1)
                elsewhere = float(np.quantile(_best_totals(own, work[nearby]), _BEATEN))
                found = Agreement(
                    worth=here - elsewhere,
                    start_seconds=late + _begin(int(inside[first])),
                    end_seconds=late + _end(int(inside[last]), len(query)),
                )
                best = max(best, found, key=lambda each: each.worth)
    return best


def _begin(first: int) -> float:
    """Say when a stretch begins: an item at its end is half of something else."""
    return first * ITEM_SECONDS + (SPAN_SECONDS / 2 if first else 0.0)


def _end(last: int, count: int) -> float:
    """Say when it ends; that of the whole query ends with it."""
    return last * ITEM_SECONDS + (SPAN_SECONDS / 2 if last < count - 1 else SPAN_SECONDS)


def _places(count: int, late: float, evidence: LandmarkEvidence) -> npt.NDArray[np.int64]:
    """Give the item of the work that lies under each item of the query."""
    # Both engines' times are of the middle of what they hear.
    own = late + SPAN_SECONDS / 2 + np.arange(count, dtype=np.float64) * ITEM_SECONDS
    under = (evidence.under(own) - SPAN_SECONDS / 2) / ITEM_SECONDS
    return np.asarray(np.rint(under), dtype=np.int64)


def _totals(query: Items, work: Items) -> npt.NDArray[np.float64]:
    """Add up gains and losses along the last axis, from 0; silence gains nothing."""
    gains = np.where(query == SILENCE, 0.0, _NEUTRAL_RATE - differing(query, work) / BITS)
    start = np.zeros((*gains.shape[:-1], 1))
    return np.concatenate((start, np.cumsum(gains, axis=-1)), axis=-1)


def _best_totals(query: Items, work: Items) -> npt.NDArray[np.float64]:
    """Give the highest total of any stretch along the last axis, at least 0."""
    totals = _totals(query, work)
    highest = np.maximum.accumulate(totals[..., ::-1], axis=-1)[..., ::-1]
    return np.asarray((highest - totals).max(axis=-1))


def _best_stretch(query: Items, work: Items) -> tuple[float, int, int]:
    """Give the highest total of any stretch, and its first and last item."""
    totals = _totals(query, work)
    risen = totals - np.minimum.accumulate(totals)
    end = max(1, int(np.argmax(risen)))
    first = int(np.argmin(totals[:end]))
    return float(risen[end]), first, end - 1
