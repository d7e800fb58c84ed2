"""How much of this output agrees with the training item it resembles most?

Three comparisons against thousands of items at once, each without a loop over items:

* ``BarIndex``: the score, bar against bar. Rows are relative to the key and to the
  beat, so a transposed or slower copy is the same row.
* ``CodeIndex``: first-codebook tokens, window against window on one diagonal.
* ``ItemIndex``: Chromaprint items, all shifts.

The first two weigh every agreement by its surprisal, -log2 of how likely the token is
anyway, and ignore windows that hold too few bits: ten held notes agree with ten held
notes of somebody else. What chance reaches is measured, not assumed
(``detectors.memorization.Calibration``).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from detectors.chromaprint import ITEM_SECONDS, SILENCE, Items

Bars = npt.NDArray[np.uint8]
Codes = npt.NDArray[np.int16]
Floats = npt.NDArray[np.float64]

NO_CODE: Final = -1
"""Pads the codes of items that are shorter than the longest."""

BARS_PER_WINDOW: Final = 3
LEAST_SCORE_BITS: Final = 40.0
"""A whole score may hold less, because it is tried at one place only."""
LEAST_BAR_BITS: Final = 65.0
"""Information a window of bars must hold: chance tries about 2**20 windows."""

WINDOW_FRAMES: Final = 125
"""Five seconds of 40 ms frames; over two seconds, unrelated pieces of one tempo and
instrument agree by up to nine tenths of their information."""
LEAST_CODE_BITS: Final = 375.0
"""Three bits per frame: a held chord has less."""
CANDIDATE_DIAGONALS: Final = 48

LEAST_OVERLAP_SECONDS: Final = 5.0
_FIRST_NOTE: Final = 2
_SYMBOLS: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """The best agreement of a query with any item.

    Attributes:
        share: In [0, 1]; 1 is a copy, what chance reaches differs by index.
        row: Row of the item.
        query_start: Where the best window begins in the query, in the index's own unit.
        query_end: Where it ends.
        item_start: Where it begins in the item.
    """

    share: float
    row: int
    query_start: int
    query_end: int
    item_start: int


class BarIndex:
    """Scores as bars of small integers: 0 rest, 1 hold, 2.. notes relative to the key.

    Args:
        rows: Shape (n, bars, slots), values below 32; the last slot of a bar is its chord.
    """

    def __init__(self, rows: Bars) -> None:
        self._rows = np.ascontiguousarray(rows.transpose(1, 2, 0))
        self._surprisal = _surprisal(rows)

    @property
    def count(self) -> int:
        """How many items there are."""
        return int(self._rows.shape[2])

    def best(self, query: Bars) -> Agreement | None:
        """Find the window that agrees best.

        Windows grow from ``BARS_PER_WINDOW`` to the whole score until they hold
        ``LEAST_BAR_BITS``, or the whole score ``LEAST_SCORE_BITS``. Ties go to the shorter
        and earlier window, then to the lower row.

        Args:
            query: Shape (bars, slots), as the rows.

        Returns:
            None if even the whole score holds too little information.
        """
        bars, slots = query.shape
        bits = self._bits(query)
        agreed = np.zeros((bars, bars, self.count), dtype=np.float32)
        for i in range(bars):
            for j in range(bars):
                for slot in range(slots):
                    equal = self._rows[j, slot] == query[i, slot]
                    agreed[i, j] += np.float32(bits[i, slot]) * equal
        best: Agreement | None = None
        for length in range(BARS_PER_WINDOW, bars + 1):
            for i in range(bars - length + 1):
                total = float(bits[i : i + length].sum())
                if total < (LEAST_BAR_BITS if length < bars else LEAST_SCORE_BITS):
                    continue
                for j in range(bars - length + 1):
                    window = sum(agreed[i + k, j + k] for k in range(length)) / np.float32(total)
                    row = int(np.argmax(window))
                    share = min(1.0, float(window[row]))
                    if best is None or share > best.share + 1e-6:
                        best = Agreement(
                            share=share, row=row, query_start=i, query_end=i + length, item_start=j
                        )
            if best is not None:
                return best
        return best

    def _bits(self, query: Bars) -> Floats:
        """Surprisal of each slot, given its place in the bar and the note before it."""
        bits: Floats = self._surprisal[_places(query), _contexts(query[None])[0], query]
        return bits


class CodeIndex:
    """Tokens of the first codebook, with an inverted list per code.

    Args:
        codes: Shape (n, frames), in [0, size), padded with ``NO_CODE``.
        size: Entries of the codebook.
    """

    def __init__(self, codes: Codes, *, size: int) -> None:
        self._codes = codes
        flat = codes.reshape(-1)
        kept = np.flatnonzero(flat >= 0)
        order = kept[np.argsort(flat[kept], kind="stable")].astype(np.int32)
        counts = np.bincount(flat[kept], minlength=size)
        self._places = order
        self._starts = np.concatenate([[0], np.cumsum(counts)])
        self._bits = -np.log2((counts + 1) / (counts.sum() + size))

    @property
    def count(self) -> int:
        """How many items there are."""
        return int(self._codes.shape[0])

    def best(self, query: Codes) -> Agreement | None:
        """Find the window of ``WINDOW_FRAMES`` that agrees best, on any diagonal.

        Diagonals are ranked by how many tokens they share, and the first
        ``CANDIDATE_DIAGONALS`` compared exactly. Ties go to the better ranked one.

        Args:
            query: Shape (frames,).

        Returns:
            None if the query is shorter than a window or all of it repeats itself.

        Cost: as many additions as the query's codes occur in the index, near a million.
        """
        m, frames = len(query), self._codes.shape[1]
        if m < WINDOW_FRAMES or self.count == 0:
            return None
        bits = self._bits[query]
        totals = _windows(bits)
        usable = (totals >= LEAST_CODE_BITS) & (_windows(_changes(query)) >= WINDOW_FRAMES / 5)
        if not usable.any():
            return None
        diagonals = m + frames
        places = [self._places[self._starts[c] : self._starts[c + 1]] for c in query]
        rows = np.concatenate(places)
        shift = np.repeat(np.arange(m, dtype=np.int32), [len(p) for p in places])
        row, frame = np.divmod(rows, frames)
        votes = np.bincount(row * diagonals + (frame - shift + m), minlength=1)
        # A partial sort of millions of small, mostly equal numbers is slow; a histogram is not.
        at_least = np.cumsum(np.bincount(votes)[::-1])[::-1]
        cut = max(1, int(np.searchsorted(-at_least, -CANDIDATE_DIAGONALS)))
        candidates = np.flatnonzero(votes >= min(cut, int(votes.max(initial=1))))
        candidates = candidates[np.argsort(-votes[candidates], kind="stable")][:CANDIDATE_DIAGONALS]
        best = Agreement(share=0.0, row=0, query_start=0, query_end=WINDOW_FRAMES, item_start=0)
        for candidate in candidates:
            row_id, diagonal = divmod(int(candidate), diagonals)
            offset = diagonal - m
            agreed = np.zeros(m)
            first, last = max(0, -offset), min(m, frames - offset)
            if last <= first:
                continue
            same = self._codes[row_id, first + offset : last + offset] == query[first:last]
            agreed[first:last] = bits[first:last] * same
            share = np.where(usable, _windows(agreed) / totals, 0.0)
            start = int(np.argmax(share))
            if share[start] > best.share:
                best = Agreement(
                    share=float(share[start]),
                    row=row_id,
                    query_start=start,
                    query_end=start + WINDOW_FRAMES,
                    item_start=start + offset,
                )
        return best


class ItemIndex:
    """Chromaprint items of the training items.

    Args:
        items: Shape (n, k).
    """

    def __init__(self, items: npt.NDArray[np.uint32]) -> None:
        self._items = np.ascontiguousarray(items.T)

    @property
    def count(self) -> int:
        """How many items there are."""
        return int(self._items.shape[1])

    def best(self, query: Items) -> Agreement | None:
        """Find the shift and item with the lowest bit error rate, as 1 - 2 * rate, at least 0.

        Ties go to the lower shift, then to the lower row.

        Returns:
            None if there is no overlap of ``LEAST_OVERLAP_SECONDS``, or if the query is
            mostly silence or one held sound.

        Cost: bit operations of all items at every shift; 25 ms for 5,000 items of 10 s.
        """
        k, m = len(self._items), len(query)
        least = round(LEAST_OVERLAP_SECONDS / ITEM_SECONDS)
        if min(k, m) < least or self.count == 0:
            return None
        if len(np.unique(query)) < least // 2 or np.mean(query == SILENCE) > 0.5:
            return None
        best: Agreement | None = None
        for shift in range(least - m, k - least + 1):
            first, last = max(0, -shift), min(m, k - shift)
            overlap = self._items[first + shift : last + shift] ^ query[first:last, None]
            wrong = np.bitwise_count(overlap).sum(axis=0, dtype=np.uint16)
            row = int(np.argmin(wrong))
            share = max(0.0, 1.0 - 2.0 * int(wrong[row]) / (32 * (last - first)))
            if best is None or share > best.share:
                best = Agreement(
                    share=share,
                    row=row,
                    query_start=first,
                    query_end=last,
                    item_start=first + shift,
                )
        return best


def _surprisal(rows: Bars) -> Floats:
    """Learn -log2 p(symbol | place in the bar, note before); shape (slots, 32, 32)."""
    slots = rows.shape[2]
    counts = np.full((slots, _SYMBOLS, _SYMBOLS), 0.1)
    contexts = _contexts(rows)
    for slot in range(slots):
        key = contexts[:, :, slot].astype(np.int64) * _SYMBOLS + rows[:, :, slot]
        counts[slot] += np.bincount(key.reshape(-1), minlength=_SYMBOLS**2).reshape(
            _SYMBOLS, _SYMBOLS
        )
    return np.asarray(-np.log2(counts / counts.sum(axis=2, keepdims=True)), dtype=np.float64)


def _contexts(rows: Bars) -> Bars:
    """The note before each slot, across bar lines; chords see nothing. Shape as the rows."""
    n, bars, slots = rows.shape
    context = np.zeros_like(rows)
    last = np.zeros(n, dtype=np.uint8)
    for bar in range(bars):
        for slot in range(slots - 1):
            context[:, bar, slot] = last
            note = rows[:, bar, slot]
            last = np.where(note >= _FIRST_NOTE, note, last)
    return context


def _places(query: Bars) -> npt.NDArray[np.int64]:
    return np.broadcast_to(np.arange(query.shape[1]), query.shape)


def _changes(query: Codes) -> Floats:
    """1 where a token differs from the one before."""
    return np.concatenate([[1.0], (np.diff(query) != 0).astype(np.float64)])


def _windows(values: npt.NDArray[np.float64]) -> Floats:
    """Sums over every window of ``WINDOW_FRAMES``; shape (n - WINDOW_FRAMES + 1,)."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    return np.asarray(total[WINDOW_FRAMES:] - total[:-WINDOW_FRAMES], dtype=np.float64)
