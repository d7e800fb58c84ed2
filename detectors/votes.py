"""Which works, and which places in them, do the keys of a query point to?

A key that a query and a work share votes for one place: the frame of the work that would
lie under the query's beginning. Unrelated music collects single votes all over the
catalog; a quotation collects many for one place, from many moments. What comes out are the
places worth a closer look, not matches.

What this module does not do: make keys (``detectors.landmarks``), look them up
(``registry.index``), or compare the work with the query (``detectors.constellations``).
"""

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from detectors.base import Keyed, Postings
from detectors.landmarks import Numbers

WINDOW: Final = 430
STEP: Final = 215
"""Ten seconds, every five."""
_BUCKET_BITS: Final = 3
_BUCKET: Final = 1 << _BUCKET_BITS
"""Frames by which two votes for one place may differ, and twice that at its edge."""
_LEAST_VOTES: Final = 2
_MOMENT: Final = 4
"""Frames, a tenth of a second, whose votes are one."""
_DIAGONAL_ZERO: Final = 1 << 27
_WORK_BITS: Final = 28
_MOMENT_BITS: Final = 7
"""A window has fewer moments than this can count."""
_MANY_VOTES: Final = 200_000
"""As many as are counted before they are sorted."""
_TABLE: Final = 1 << 20
_SPREAD_PRIME: Final = 7_368_787
_CROWDED_CELLS: Final = 8_192
"""Twenty for each place that is looked at more closely."""


class KeyIndex(Protocol):
    """What counting votes asks of whoever holds the works."""

    def lookup(self, keys: npt.NDArray[np.uint32], *, limit: int) -> Postings:
        """Find the postings of ``keys``, leaving out keys that have more than ``limit``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Votes:
    """Every vote, by query frame; three columns of equal length.

    Attributes:
        frames: Of the query.
        works: Numbers of the works inside the index.
        diagonals: Frame of the work that would lie under query frame 0.
    """

    frames: Numbers
    works: Numbers
    diagonals: Numbers


def vote(keyed: Keyed, index: KeyIndex, *, limit: int) -> Votes:
    """Collect the votes of a query's keys.

    Args:
        keyed: Keys and frames of the query.
        index: The works.
        limit: Keys with more postings than this have no vote.
    """
    found = index.lookup(keyed.keys, limit=limit)
    frames = keyed.positions.astype(np.int64)[found.rows]
    order = np.argsort(frames, kind="stable")
    return Votes(
        frames=frames[order],
        works=np.asarray(found.works)[order],
        diagonals=(np.asarray(found.positions) - frames)[order],
    )


def _crowded(works: Numbers, diagonals: Numbers) -> npt.NDArray[np.bool_]:
    """Say which votes of a window may be for one of the places with the most of them.

    Args:
        works: Shape (n,), the work of each vote.
        diagonals: Shape (n,), where in the work the query would begin.

    Of a million votes among 100,000 works nearly all are alone. They are counted in a table
    in which several places share a cell, so no place with many votes is lost; to count
    takes a fraction of the time that sorting takes.
    """
    bucket = (diagonals + _DIAGONAL_ZERO) >> _BUCKET_BITS
    cell = (works * _SPREAD_PRIME + bucket) & _TABLE - 1
    counts = np.bincount(cell, minlength=_TABLE)
    # Neighboring places share their votes, as in ``_candidates``.
    pairs = counts + np.roll(counts, -1)
    pairs = np.maximum(pairs, np.roll(pairs, 1))
    cells_of = np.bincount(pairs)[::-1].cumsum()[::-1]
    least = int(np.argmax(cells_of <= _CROWDED_CELLS)) if cells_of[-1] <= _CROWDED_CELLS else 0
    return np.asarray(pairs[cell] >= least)


def promising(votes: Votes, least: int) -> Votes:
    """Leave only the works of which one place has votes from ``least`` moments of a window."""
    place = (votes.works << _WORK_BITS) + (votes.diagonals + _DIAGONAL_ZERO) // _BUCKET
    names, numbers = np.unique(place, return_inverse=True)
    if not len(names):
        return votes
    moments = votes.frames // _MOMENT
    span = int(moments[-1]) + 1
    # Each moment of a place once, counted by half windows of the query.
    once = np.unique(numbers * span + moments)
    halves = span * _MOMENT // STEP + 2
    cells, counts = np.unique(
        once // span * halves + once % span * _MOMENT // STEP, return_counts=True
    )

    def votes_at(cell: Numbers) -> Numbers:
        row = np.minimum(np.searchsorted(cells, cell), len(cells) - 1)
        return np.where(cells[row] == cell, counts[row], 0)

    number = cells // halves
    has_next = np.append(names[1:] == names[:-1] + 1, False)[number]
    beside = votes_at(cells + halves) + votes_at(cells + halves + 1)
    total = counts + votes_at(cells + 1) + np.where(has_next, beside, 0)
    kept = np.isin(votes.works, names[number[total >= least]] >> _WORK_BITS)
    return Votes(
        frames=votes.frames[kept], works=votes.works[kept], diagonals=votes.diagonals[kept]
    )


def _largest(values: Numbers, count: int) -> Numbers:
    """Give the places of the largest values, largest first; ties by place."""
    if len(values) > count:
        # Small numbers: counted, not sorted.
        so_many = np.bincount(values)[::-1].cumsum()
        least = len(so_many) - 1 - int(np.argmax(so_many >= count))
        above = np.flatnonzero(values > least)
        level = np.flatnonzero(values == least)[: count - len(above)]
        places = np.sort(np.concatenate((above, level)))
    else:
        places = np.arange(len(values))
    return places[np.argsort(-values[places], kind="stable")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A work, and the frame of it that lies under query frame 0 at the normal pace."""

    work: int
    diagonal: float


def candidates(votes: Votes, start: int, stop: int, *, most: int) -> list[Candidate]:
    """Choose the places with votes from the most moments of a window.

    Args:
        votes: Of the whole query.
        start: First frame of the window,
        stop: and the one after its last.
        most: How many places.

    Returns:
        Most moments first; ties by work and place.
    """
    low, high = np.searchsorted(votes.frames, (start, stop))
    works, diagonals = votes.works[low:high], votes.diagonals[low:high]
    moments = votes.frames[low:high] // _MOMENT - start // _MOMENT
    if len(works) > _MANY_VOTES:
        kept = _crowded(works, diagonals)
        works, diagonals, moments = works[kept], diagonals[kept], moments[kept]
    diagonals = diagonals + _DIAGONAL_ZERO
    # Work, bucket, moment and place in the bucket, one number to be sorted by.
    bucket = works << _WORK_BITS - _BUCKET_BITS | diagonals >> _BUCKET_BITS
    packed = (bucket << _MOMENT_BITS | moments) << _BUCKET_BITS | diagonals & _BUCKET - 1
    packed.sort()
    bucket = packed >> _MOMENT_BITS + _BUCKET_BITS
    first = np.flatnonzero(np.append(True, bucket[1:] != bucket[:-1])[: len(bucket)])
    names, last = bucket[first], np.append(first, len(bucket))[1:]
    # What lies at the edge of a bucket has votes in the next one.
    follows = np.append(names[1:] == names[:-1] + 1, False)[: len(names)]
    upper = np.where(follows, np.append(last[1:], 0)[: len(last)], last)
    found: list[tuple[int, int, float]] = []
    for row in _largest(upper - first, 8 * most).tolist():
        here = packed[int(first[row]) : int(upper[row])]
        # Votes of one moment count once: chords and noise bursts bring many.
        count = len(set((here >> _BUCKET_BITS & (1 << _MOMENT_BITS) - 1).tolist()))
        if count >= _LEAST_VOTES:
            place = here >> _MOMENT_BITS + _BUCKET_BITS & (1 << _WORK_BITS - _BUCKET_BITS) - 1
            inside = np.sort(place << _BUCKET_BITS | here & _BUCKET - 1)
            work = int(names[row]) >> _WORK_BITS - _BUCKET_BITS
            found.append((count, work, float(inside[len(inside) // 2]) - _DIAGONAL_ZERO))
    found.sort(key=lambda one: (-one[0], one[1], one[2]))
    return [Candidate(work=work, diagonal=place) for _, work, place in found[:most]]
