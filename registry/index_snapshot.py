"""Which works of this state hold a key, and where in them?

A state of the catalog as one object that never changes: segments on disk or in
memory, each with the works that are still in force. A posting is a work and a place
in it, so that no answer straddles two works.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from registry.index_folder import NamedSegment
from registry.segment_writing import Source
from registry.segments import Keys, Mask, Numbers, Segment

Items = npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPostings:
    """Where keys occur; three columns of equal length, in no particular order.

    Attributes:
        rows: Which of the keys asked for.
        works: Number of the work inside the index.
        positions: Place inside the work, from 0.
    """

    rows: Numbers
    works: Numbers
    positions: Numbers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """A segment, and which of its works are in force.

    Attributes:
        file: Its name in the index's folder, "" if it is in memory.
        items: Of the works in force.
        dead_items: Of the others.
    """

    segment: Segment
    alive: Mask
    file: str
    items: int
    dead_items: int

    @classmethod
    def of(cls, segment: Segment, alive: Mask, file: str, *, item_bytes: int) -> "Part":
        """Count the items."""
        sizes = segment.blob_sizes() // item_bytes
        items = int(sizes[alive].sum())
        dead = int(sizes.sum()) - items
        return cls(segment=segment, alive=alive, file=file, items=items, dead_items=dead)

    @property
    def source(self) -> Source:
        """What a merge takes."""
        return Source(segment=self.segment, alive=self.alive)

    @property
    def named(self) -> NamedSegment:
        """What a manifest says of it."""
        dead = tuple(np.flatnonzero(~self.alive).tolist())
        return NamedSegment(file=self.file, sum=self.segment.sum, dead=dead)


class CatalogIndex:
    """The works in force at one catalog change, searchable by key. Immutable.

    Works have numbers that hold within this object only, and have gaps.

    Attributes:
        change: Number of the catalog change.
        anchor: Digest of that change.
        item_count: Items of all works together.
        work_count: Works in force.
    """

    def __init__(self, parts: Sequence[Part], *, change: int, anchor: str) -> None:
        self.parts = tuple(parts)
        self.change = change
        self.anchor = anchor
        counts = [part.segment.work_count for part in self.parts]
        self._bases = [sum(counts[:place]) for place in range(len(counts))]
        self._dead = sum(part.dead_items for part in self.parts)
        self.item_count = sum(part.items for part in self.parts)
        self.work_count = sum(int(part.alive.sum()) for part in self.parts)

    def lookup(self, keys: Keys, *, limit: int) -> KeyPostings:
        """Find the postings of ``keys``.

        Args:
            keys: Shape (n,), made by the engine's rule.
            limit: A key with more postings than this is left out: it is everywhere.

        Raises:
            IndexDamagedError: If what was touched on disk is not what was written.
        """
        keys = np.asarray(keys, dtype=np.uint32)
        spans = [part.segment.find(keys) for part in self.parts]
        total = np.zeros(len(keys), np.int64)
        for span in spans:
            total += span.count
        wanted = total <= limit
        # Postings of works no longer in force do not count, but are found with the others.
        for row in np.flatnonzero(~wanted & (total - self._dead <= limit)).tolist():
            living = 0
            for part, span in zip(self.parts, spans, strict=True):
                places = part.segment.places(span.first[row : row + 1], span.count[row : row + 1])
                living += int(part.alive[part.segment.works_at(places)].sum())
            wanted[row] = living <= limit
        found = [
            _gathered(part, base, span.first, np.where(wanted, span.count, 0))
            for part, base, span in zip(self.parts, self._bases, spans, strict=True)
        ]
        if len(found) == 1:
            return found[0]
        nothing = np.zeros(0, np.int64)
        return KeyPostings(
            rows=np.concatenate([nothing, *(each.rows for each in found)]),
            works=np.concatenate([nothing, *(each.works for each in found)]),
            positions=np.concatenate([nothing, *(each.positions for each in found)]),
        )

    def blob(self, work: int) -> memoryview:
        """Give what the engine heard of one work.

        Raises:
            IndexDamagedError: If it is not what was written.
        """
        place = bisect_right(self._bases, work) - 1
        return self.parts[place].segment.blob(work - self._bases[place])

    def items(self, work: int) -> Items:
        """Give the blob of one work as uint32 items, not to be written to.

        Raises:
            IndexDamagedError: If it is not what was written.
        """
        return np.frombuffer(self.blob(work), dtype="<u4")

    def work_id(self, work: int) -> str:
        """Name a work by its id."""
        place = bisect_right(self._bases, work) - 1
        return self.parts[place].segment.ids[work - self._bases[place]]

    def number(self, work_id: str) -> int | None:
        """Give the number of a work in force, None if it is not here."""
        for base, part in zip(self._bases, self.parts, strict=True):
            place = part.segment.number(work_id)
            if place is not None and part.alive[place]:
                return base + place
        return None

    def works(self) -> Iterator[int]:
        """Give the numbers of the works in force, ascending."""
        for base, part in zip(self._bases, self.parts, strict=True):
            yield from (base + np.flatnonzero(part.alive)).tolist()


def _gathered(part: Part, base: int, first: Numbers, count: Numbers) -> KeyPostings:
    rows = np.repeat(np.arange(len(count)), count)
    places = part.segment.places(first, count)
    works = part.segment.works_at(places)
    positions = places - part.segment.starts[works]
    if part.dead_items:
        alive = part.alive[works]
        rows, works, positions = rows[alive], works[alive], positions[alive]
    return KeyPostings(rows=rows, works=works + base, positions=positions)


EMPTY: Final = CatalogIndex((), change=0, anchor="")
