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
from detectors.landmarks import FRAME_SECONDS

LEAST_ITEMS: Final = 12
"""Fewer, of a second and a half, have nothing to compare."""
_NEUTRAL_RATE: Final = 0.38
"""Bit error rate that neither adds to an agreement nor ends it: sound under speech stays
below, unrelated music that plays the same notes above."""
_LEAST_PART: Final = 0.37
"""Of the first and last item of an agreement that is the work's; median of 36 splices."""
_REACH: Final = 80
_OUTSIDE: Final = _NEUTRAL_RATE - 0.5
_NUDGES: Final = np.array([-1, 0, 1])
_AROUND: Final = np.array([step for step in range(-48, 49, 2) if abs(step) >= 6])
"""Items, up to six seconds to both sides, at which the same is tried,"""
_BEATEN: Final = 0.9
"""and the share of these places that must show less."""


def agreement(queries: tuple[Items, ...], work: Items, evidence: LandmarkEvidence) -> Agreement:
    """Say how far Chromaprint agrees at the place that landmarks named.

    Args:
        queries: The query's items from each of ``QUERY_SHIFTS``.
        work: The work's items.
        evidence: Where landmarks lay the work over the query; this stretch and ten seconds
            to both sides are compared, at this place and pace.

    Returns:
        The best stretch of all shifts, ``NO_AGREEMENT`` if there is none or nothing to
        compare.
    """
    count = min(len(query) for query in queries)
    low = max(0, round(evidence.first_frame * FRAME_SECONDS / ITEM_SECONDS) - _REACH)
    high = min(count, round(evidence.last_frame * FRAME_SECONDS / ITEM_SECONDS) + _REACH)
    if not len(work) or high - low < LEAST_ITEMS:
        return NO_AGREEMENT
    late = np.array(QUERY_SHIFTS) / SAMPLE_RATE
    places = _places(np.arange(low, high), late, evidence)
    # Every shift, a work item earlier and later, too: shape (shifts, nudges, items).
    under = places[:, np.newaxis] + _NUDGES[:, np.newaxis]
    own = np.stack([query[low:high] for query in queries])[:, np.newaxis]
    totals = _totals(own, work, under)
    risen = totals - np.minimum.accumulate(totals, axis=-1)
    shift, nudge, end = np.unravel_index(int(risen.argmax()), risen.shape)
    here = float(risen[shift, nudge, end])
    is_inside = (under[shift, nudge] >= 0) & (under[shift, nudge] < len(work))
    if here <= 0.0 or is_inside.sum() < LEAST_ITEMS:
        return NO_AGREEMENT
    # The last minimum before the end: silence before the stretch is no part of it.
    first = low + int(end) - 1 - int(np.argmin(totals[shift, nudge, :end][::-1]))
    last = low + int(end) - 1
    nearby = under[shift, nudge] + _AROUND[:, np.newaxis]
    elsewhere = _totals(own[shift], work, np.clip(nearby, 0, len(work) - 1))
    risen = (elsewhere - np.minimum.accumulate(elsewhere, axis=-1)).max(axis=-1)
    return Agreement(
        worth=max(0.0, here - float(np.quantile(risen, _BEATEN))),
        start_seconds=float(late[shift]) + _begin(first),
        end_seconds=float(late[shift]) + _end(last, count),
    )


def _begin(first: int) -> float:
    """Say when a stretch begins: of its first item the greater part is other sound."""
    return first * ITEM_SECONDS + ((1.0 - _LEAST_PART) * SPAN_SECONDS if first else 0.0)


def _end(last: int, count: int) -> float:
    """Say when it ends; what lasts to the end of the query ends with it."""
    part = _LEAST_PART if last < count - 1 else 1.0
    return last * ITEM_SECONDS + part * SPAN_SECONDS


def _places(
    items: npt.NDArray[np.int64], late: npt.NDArray[np.float64], evidence: LandmarkEvidence
) -> npt.NDArray[np.int64]:
    """Give the item of the work under each of the query's, shape (shifts, items)."""
    # Both engines' times are of the middle of what they hear.
    own = late[:, np.newaxis] + SPAN_SECONDS / 2 + items * ITEM_SECONDS
    under = (evidence.under(own) - SPAN_SECONDS / 2) / ITEM_SECONDS
    return np.asarray(np.rint(under), dtype=np.int64)


def _totals(query: Items, work: Items, under: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Add up gains and losses along the last axis, from 0.

    Silence gains nothing, and what lies outside the work agrees with nothing.
    """
    other = work[np.clip(under, 0, len(work) - 1)]
    gains = np.where(query == SILENCE, 0.0, _NEUTRAL_RATE - differing(query, other) / BITS)
    gains = np.where((under >= 0) & (under < len(work)), gains, _OUTSIDE)
    start = np.zeros((*gains.shape[:-1], 1))
    return np.concatenate((start, np.cumsum(gains, axis=-1)), axis=-1)
