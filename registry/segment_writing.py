"""How is a segment of the index made, and how are several made into one?

``write`` sorts the postings of some works in memory; ``merge`` joins segments of any
size, one range of keys after another, in memory that does not grow with them. Both
write the blocks' checksums as the bytes go by and the header at the very end.

Cost: 20 bytes of memory per posting in ``write``; in ``merge`` about 400 MB, and 8
bytes per distinct key.
"""

import hashlib
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

import numpy as np
import numpy.typing as npt

from registry.segments import (
    BLOCK,
    MOST_PLACES,
    PAGE,
    STRIDE,
    Header,
    Keys,
    Mask,
    Numbers,
    PostingsOf,
    Segment,
    aligned,
)

Packed = npt.NDArray[np.uint64]

_AT_ONCE: Final = 8_000_000
"""Postings that ``merge`` sorts in one piece."""
_SHIFT: Final = np.uint64(32)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEntry:
    """A work to be indexed."""

    work_id: str
    blob: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A segment to be merged, and which of its works are still in force."""

    segment: Segment
    alive: Mask


def scheme_digest(scheme: str) -> bytes:
    """Give the 32 bytes by which a segment names the rule that made its keys."""
    return hashlib.sha256(scheme.encode()).digest()


def write(
    stream: BinaryIO, entries: Iterable[NewEntry], *, postings_of: PostingsOf, scheme: str
) -> None:
    """Write a segment of works that fit into memory.

    Args:
        stream: Empty, seekable.
        entries: Each work once.
        postings_of: The engine's.
        scheme: Name of the rule that ``postings_of`` follows.

    Raises:
        ValueError: If the works need more places than 32 bits can number.
    """
    body = _Body(stream)
    works = _Works()
    packed: list[Packed] = []
    for entry in entries:
        found = postings_of(entry.blob)
        keys = np.asarray(found.keys, dtype=np.uint64)
        positions = np.asarray(found.positions, dtype=np.uint64)
        packed.append((keys << _SHIFT) | (positions + np.uint64(works.span)))
        works.add(entry.work_id, len(entry.blob), int(positions.max()) + 1 if len(keys) else 0)
        body.write(entry.blob)
    postings = np.concatenate(packed) if packed else np.zeros(0, np.uint64)
    packed.clear()
    postings.sort()
    _finish(body, works, (postings,), scheme=scheme)


def merge(
    stream: BinaryIO, sources: Sequence[Source], *, scheme: str, at_once: int = _AT_ONCE
) -> None:
    """Write one segment with the works in force of several.

    Args:
        stream: Empty, seekable.
        sources: No work may be in force in two of them.
        scheme: As in ``write``.
        at_once: Postings sorted in one piece, unless a single stretch of 64 keys has more.

    Raises:
        IndexDamagedError: If a source is not what was written.
        ValueError: If the works need more places than 32 bits can number.
    """
    body = _Body(stream)
    works = _Works()
    moves = []
    for source in sources:
        segment = source.segment
        lengths = np.diff(segment.starts)
        sizes = segment.blob_sizes()
        begin = works.span
        for work in np.flatnonzero(source.alive).tolist():
            body.write(segment.blob(work))
            works.add(segment.ids[work], int(sizes[work]), int(lengths[work]))
        moves.append(_Move.of(source, begin))
    _finish(body, works, _merged(sources, moves, at_once), scheme=scheme)


def fitting(sources: Sequence[Source]) -> list[list[Source]]:
    """Group segments so that the places of each group can be numbered with 32 bits."""
    groups: list[list[Source]] = [[]]
    span = postings = 0
    for source in sources:
        span += source.segment.header.span
        postings += source.segment.header.postings
        if groups[-1] and max(span, postings) > MOST_PLACES:
            groups.append([])
            span, postings = source.segment.header.span, source.segment.header.postings
        groups[-1].append(source)
    return groups


@dataclass(frozen=True, slots=True, kw_only=True)
class _Move:
    """How far the places of a source go, by stretches of works in force and not in force."""

    starts: Numbers
    shifts: Numbers
    alive: Mask

    @classmethod
    def of(cls, source: Source, begin: int) -> "_Move":
        alive = source.alive
        if not len(alive):
            nothing = np.zeros(1, np.int64)
            return cls(starts=nothing, shifts=nothing, alive=np.ones(1, np.bool_))
        lengths = np.diff(source.segment.starts)
        targets = begin + np.cumsum(np.where(alive, lengths, 0)) - np.where(alive, lengths, 0)
        first = np.flatnonzero(np.concatenate(([True], alive[1:] != alive[:-1])))
        starts = source.segment.starts[:-1]
        return cls(starts=starts[first], shifts=(targets - starts)[first], alive=alive[first])

    def apply(self, keys: Keys, places: Numbers) -> Packed:
        if len(self.starts) == 1:
            moved = places + self.shifts[0]
            kept = keys if self.alive[0] else keys[:0]
            moved = moved[: len(kept)]
        else:
            stretch = np.searchsorted(self.starts, places, side="right") - 1
            keep = self.alive[stretch]
            moved = (places + self.shifts[stretch])[keep]
            kept = keys[keep]
        packed: Packed = (kept.astype(np.uint64) << _SHIFT) | moved.astype(np.uint64)
        return packed


def _merged(sources: Sequence[Source], moves: Sequence[_Move], at_once: int) -> Iterator[Packed]:
    """Give the postings of all sources, a range of keys at a time."""
    segments = [source.segment for source in sources]
    cuts = _cuts(segments, at_once)
    rows = [
        np.concatenate(([0], segment.term_row(cuts), [segment.header.terms]))
        for segment in segments
    ]
    for part in range(len(cuts) + 1):
        packed = []
        for segment, move, row in zip(segments, moves, rows, strict=True):
            low, high = int(row[part]), int(row[part + 1])
            if low < high:
                bounds = segment.term_bounds(low, high)
                keys = np.repeat(segment.term_keys(low, high), np.diff(bounds))
                places = segment.places(bounds[:1], bounds[-1:] - bounds[:1])
                packed.append(move.apply(keys, places))
        if packed:
            postings = np.concatenate(packed)
            postings.sort()
            yield postings


def _cuts(segments: Sequence[Segment], at_once: int) -> Keys:
    """Choose the keys at which the ranges begin, ascending."""
    total = sum(segment.header.postings for segment in segments)
    if total <= at_once:
        return np.zeros(0, np.uint32)
    fences = np.unique(np.concatenate([segment.fence_keys() for segment in segments]))
    # Enough keys to cut well, few enough to be looked up one by one.
    fences = fences[:: max(1, len(fences) // (32 * (1 + total // at_once)))]
    before = np.zeros(len(fences), np.int64)
    for segment in segments:
        rows = segment.term_row(fences)
        bounds = segment.term_bounds(0, segment.header.terms)
        before += bounds[rows]
    pieces = before // at_once
    return fences[np.flatnonzero(np.diff(pieces, prepend=0))]


class _Works:
    """Where the works lie, as they come."""

    def __init__(self) -> None:
        self.span = 0
        self._starts = [0]
        self._blob_ends = [0]
        self._id_ends = [0]
        self._ids: list[bytes] = []

    def add(self, work_id: str, blob_bytes: int, span: int) -> None:
        text = work_id.encode()
        self.span += span
        if self.span > MOST_PLACES:
            msg = f"{self.span} places cannot be numbered with 32 bits"
            raise ValueError(msg)
        self._ids.append(text)
        self._starts.append(self.span)
        self._blob_ends.append(self._blob_ends[-1] + blob_bytes)
        self._id_ends.append(self._id_ends[-1] + len(text))

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def blob_bytes(self) -> int:
        return self._blob_ends[-1]

    def numbers(self) -> bytes:
        rows = (self._starts, self._blob_ends, self._id_ends)
        return b"".join(np.array(row, dtype="<u8").tobytes() for row in rows)

    def ids(self) -> bytes:
        return b"".join(self._ids)


class _Body:
    """Writes what lies between header and tables, and the checksum of every block."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.sums: list[int] = []
        self._sum = 0
        self._filled = 0
        self._place = PAGE
        stream.write(bytes(PAGE))

    def write(self, data: bytes | memoryview) -> None:
        """Write bytes; a block is summed up as soon as it is full."""
        view = memoryview(data)
        self.stream.write(view)
        self._place += len(view)
        done = 0
        while done < len(view):
            part = view[done : done + BLOCK - self._filled]
            self._sum = zlib.crc32(part, self._sum)
            self._filled += len(part)
            done += len(part)
            if self._filled == BLOCK:
                self.close()

    def align(self) -> None:
        """Fill up to where a section may begin."""
        self.write(bytes(aligned(self._place) - self._place))

    def close(self) -> None:
        """End the block."""
        if self._filled:
            self.sums.append(self._sum)
            self._sum = self._filled = 0


def _finish(body: _Body, works: _Works, parts: Iterable[Packed], *, scheme: str) -> None:
    """Write postings, terms, tables and, last of all, the header."""
    body.align()
    keys: list[Keys] = []
    counts: list[Numbers] = []
    postings = 0
    for packed in parts:
        body.write(packed.astype("<u4").tobytes())  # the low half of each
        high = (packed >> _SHIFT).astype(np.uint32)
        first = np.flatnonzero(np.concatenate(([True], high[1:] != high[:-1])))[: len(high)]
        keys.append(high[first])
        counts.append(np.diff(first, append=len(high)))
        postings += len(packed)
    if postings > MOST_PLACES:
        msg = f"{postings} postings cannot be numbered with 32 bits"
        raise ValueError(msg)
    body.align()
    flat = np.concatenate([*keys, np.zeros(0, np.uint32)])
    terms = np.zeros((len(flat) + 1, 2), dtype="<u4")
    terms[:-1, 0], terms[-1, 0] = flat, 2**32 - 1
    terms[1:, 1] = np.cumsum(np.concatenate([*counts, np.zeros(0, np.int64)]))
    body.write(terms.tobytes())
    body.align()
    body.close()
    tables = b"".join(
        (
            works.numbers(),
            terms[:-1:STRIDE, 0].tobytes(),
            np.array(body.sums, dtype="<u4").tobytes(),
            works.ids(),
        )
    )
    body.stream.write(tables)
    head = Header(
        scheme=scheme_digest(scheme),
        works=len(works),
        postings=postings,
        terms=len(flat),
        span=works.span,
        blob_bytes=works.blob_bytes,
        id_bytes=len(works.ids()),
        tables_sum=zlib.crc32(tables),
    )
    body.stream.seek(0)
    body.stream.write(head.packed())
