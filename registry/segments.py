"""What does a file of the index look like, and is it whole?

One segment holds some works of one engine, for good: their blobs, and for every key
the places where it occurs. It is mapped, not read, so that all processes of a machine
share its pages, and nothing in it is believed before a checksum was compared: header
and tables when it is opened, which takes milliseconds for 100,000 works, and each
block of 16 KiB when it is touched first. Whatever does not fit raises
``IndexDamagedError``; a segment never answers wrongly.

    header    one page: magic, version, counts, sha256 of the scheme, checksums
    blobs     of all works, one after another
    places    uint32, sorted by key, then place; a work's places follow the work's before
    terms     (key, number of the first place) as uint32 pairs, and one pair that ends them
    tables    first places and blob ends of the works, every 64th key, checksums of the
              blocks of all that lies between header and tables, the works' ids

All numbers are little-endian. ``registry.segment_writing`` makes segments.
"""

import mmap
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from registry.errors import RegistryError

Keys = npt.NDArray[np.uint32]
Numbers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Number = TypeVar("Number", bound=np.generic)

MOST_PLACES: Final = 2**32 - 1
"""Places and postings are numbered with 32 bits."""
BLOCK: Final = 1 << 14
"""Bytes under one checksum: 5 microseconds to compare when first touched."""
STRIDE: Final = 64
"""Keys between two that are kept in the tables."""
PAGE: Final = 4096
FORMAT: Final = 1

_MAGIC: Final = b"sgindex\n"
_HEADER: Final = struct.Struct("<8sII32sQQQQQQQI")
_SUM: Final = struct.Struct("<I")
_ALIGNMENT: Final = 64
_MOST_STEPS: Final = 8


class IndexDamagedError(RegistryError):
    """A file of the index is not what was written; it must be made again."""


class Keyed(Protocol):
    """What an engine makes of a blob: where its keys occur, columns of equal length."""

    @property
    def keys(self) -> Keys:
        """What is looked up."""

    @property
    def positions(self) -> Keys:
        """Place of each key inside the work."""


PostingsOf = Callable[[bytes], Keyed]


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Counts of a segment; every section's place follows from them.

    Attributes:
        scheme: sha256 of the name of the rule by which keys were made.
        works: Works in it.
        postings: Places of keys.
        terms: Distinct keys.
        span: Places of all works together, occupied or not.
        blob_bytes: Of all works together.
        id_bytes: Of all ids, in UTF-8.
        tables_sum: Checksum of the tables.
    """

    scheme: bytes
    works: int
    postings: int
    terms: int
    span: int
    blob_bytes: int
    id_bytes: int
    tables_sum: int

    @property
    def places_start(self) -> int:
        """Byte where the places begin."""
        return aligned(PAGE + self.blob_bytes)

    @property
    def terms_start(self) -> int:
        """Byte where the terms begin."""
        return aligned(self.places_start + 4 * self.postings)

    @property
    def tables_start(self) -> int:
        """Byte where the tables begin."""
        return aligned(self.terms_start + 8 * (self.terms + 1))

    @property
    def blocks(self) -> int:
        """Number of checksums."""
        return -(-(self.tables_start - PAGE) // BLOCK)

    @property
    def fences(self) -> int:
        """Number of keys that the tables repeat."""
        return -(-self.terms // STRIDE)

    @property
    def file_bytes(self) -> int:
        """Size of the whole file."""
        numbers = 3 * 8 * (self.works + 1) + 4 * (self.fences + self.blocks)
        return self.tables_start + numbers + self.id_bytes

    def packed(self) -> bytes:
        """Write the page."""
        body = _HEADER.pack(
            _MAGIC, FORMAT, BLOCK, self.scheme, self.works, self.postings, self.terms,
            self.span, self.blob_bytes, self.id_bytes, self.file_bytes, self.tables_sum,
        )  # fmt: skip
        body = body.ljust(PAGE - _SUM.size, b"\0")
        return body + _SUM.pack(zlib.crc32(body))


def aligned(place: int) -> int:
    """Round up to where a section may begin."""
    return -(-place // _ALIGNMENT) * _ALIGNMENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Spans:
    """For each key asked for, its run among the segment's postings; count 0 if absent."""

    first: Numbers
    count: Numbers


class Segment:
    """An opened segment.

    Args:
        data: The whole file.
        name: Of the file, for messages.
        is_trusted: True for what this process has just made in its own memory: blocks
            are then not compared with their checksums.

    Raises:
        IndexDamagedError: If header or tables are not what was written.
    """

    def __init__(self, data: "bytes | mmap.mmap", *, name: str, is_trusted: bool = False) -> None:
        self.name = name
        self._data = data
        self.header = head = self._read_header(data)
        tables = self._section(np.uint8, head.tables_start, head.file_bytes - head.tables_start)
        if zlib.crc32(tables.data) != head.tables_sum:
            raise self._damaged("the tables' checksum")
        place = head.tables_start
        count = head.works + 1
        self.starts = self._section(np.uint64, place, count).astype(np.int64)
        self._blob_ends = self._section(np.uint64, place + 8 * count, count).astype(np.int64)
        id_ends = self._section(np.uint64, place + 16 * count, count).astype(np.int64)
        place += 24 * count
        self._fences = self._section(np.uint32, place, head.fences)
        self._sums = self._section(np.uint32, place + 4 * head.fences, head.blocks)
        place += 4 * (head.fences + head.blocks)
        for ends, last in (
            (self.starts, head.span),
            (self._blob_ends, head.blob_bytes),
            (id_ends, head.id_bytes),
        ):
            if ends[0] != 0 or ends[-1] != last or bool((np.diff(ends) < 0).any()):
                raise self._damaged("the tables' order")
        text = bytes(data[place : place + head.id_bytes])
        try:
            self.ids = tuple(text[low:high].decode() for low, high in pairwise(id_ends.tolist()))
        except UnicodeDecodeError as error:
            raise self._damaged("the ids") from error
        self._numbers: dict[str, int] | None = None
        self._coarse_bits = (head.span // (4 * head.works + 1)).bit_length()
        stretches = np.arange(0, head.span, 1 << self._coarse_bits)
        self._coarse = np.searchsorted(self.starts, stretches, side="right") - 1
        self._places = self._section(np.uint32, head.places_start, head.postings)
        terms = self._section(np.uint32, head.terms_start, 2 * (head.terms + 1))
        self._terms = terms.reshape(-1, 2)
        self._checked = np.full(head.blocks, is_trusted, dtype=np.bool_)

    @property
    def sum(self) -> int:
        """Checksum of the header, which names the tables' and so all others."""
        return int(_SUM.unpack_from(self._data, PAGE - _SUM.size)[0])

    @property
    def work_count(self) -> int:
        """Works in it, in force or not."""
        return self.header.works

    def number(self, work_id: str) -> int | None:
        """Find a work's number in this segment."""
        if self._numbers is None:
            self._numbers = {name: number for number, name in enumerate(self.ids)}
        return self._numbers.get(work_id)

    def blob_sizes(self) -> Numbers:
        """Bytes of each work's blob."""
        return np.diff(self._blob_ends)

    def blob(self, work: int) -> memoryview:
        """Give what the engine heard of one work.

        Raises:
            IndexDamagedError: If it is not what was written.
        """
        low, high = int(self._blob_ends[work]), int(self._blob_ends[work + 1])
        self._compare_range(PAGE + low, PAGE + high)
        return memoryview(self._data)[PAGE + low : PAGE + high]

    def find(self, keys: Keys) -> Spans:
        """Find where each key's postings lie; the keys need no order.

        Raises:
            IndexDamagedError: If what was touched is not what was written.
        """
        if not self.header.terms or not len(keys):
            nothing = np.zeros(len(keys), dtype=np.int64)
            return Spans(first=nothing, count=nothing)
        low = np.maximum(np.searchsorted(self._fences, keys, side="right") - 1, 0) * STRIDE
        high = np.minimum(low + STRIDE, self.header.terms)
        base = self.header.terms_start
        self._compare(base + 8 * low, base + 8 * (high + 1))
        row = low
        reach = STRIDE
        while reach := reach // 2:  # all keys bisect at once, to the last term not above each
            further = row + reach
            is_above = further >= high
            is_above |= self._terms[np.where(is_above, 0, further), 0] > keys
            row = np.where(is_above, row, further)
        first = self._terms[row, 1].astype(np.int64)
        count = self._terms[row + 1, 1].astype(np.int64) - first
        if bool((count <= 0).any()) or bool((first + count > self.header.postings).any()):
            raise self._damaged("the order of the postings")
        return Spans(first=first, count=np.where(self._terms[row, 0] == keys, count, 0))

    def places(self, first: Numbers, count: Numbers) -> Numbers:
        """Give the places of runs of postings, one run after another.

        Raises:
            IndexDamagedError: If what was touched is not what was written.
        """
        base = self.header.places_start
        some = count > 0
        self._compare(base + 4 * first[some], base + 4 * (first + count)[some])
        ends = np.cumsum(count)
        total = int(ends[-1]) if len(ends) else 0
        found = self._places[np.repeat(first - (ends - count), count) + np.arange(total)]
        if total and int(found.max()) >= self.header.span:
            raise self._damaged("a place of the postings")
        return found.astype(np.int64)

    def works_at(self, places: Numbers) -> Numbers:
        """Say in which work each place lies.

        A table of equal stretches names a work at or just before it; bisection, which
        takes five times as long, is left for catalogs of very unequal works.
        """
        works: Numbers = self._coarse[places >> self._coarse_bits]
        for _ in range(_MOST_STEPS):
            is_before = self.starts[works + 1] <= places
            if not is_before.any():
                return works
            works += is_before
        return np.searchsorted(self.starts, places, side="right") - 1

    def term_row(self, keys: Keys) -> Numbers:
        """Give the number of the first term not below each key."""
        fence = np.maximum(np.searchsorted(self._fences, keys, side="left") - 1, 0)
        rows = np.zeros(len(keys), dtype=np.int64)
        for place, (low, key) in enumerate(zip((fence * STRIDE).tolist(), keys, strict=True)):
            terms = self.term_keys(low, min(low + STRIDE, self.header.terms))
            rows[place] = low + np.searchsorted(terms, key, side="left")
        return rows

    def term_keys(self, low: int, high: int) -> Keys:
        """Give the keys of terms ``low`` to ``high``, ascending."""
        base = self.header.terms_start
        self._compare_range(base + 8 * low, base + 8 * high)
        return self._terms[low:high, 0]

    def term_bounds(self, low: int, high: int) -> Numbers:
        """Give the first posting of terms ``low`` to ``high``, and the end of the last."""
        base = self.header.terms_start
        self._compare_range(base + 8 * low, base + 8 * (high + 1))
        bounds = self._terms[low : high + 1, 1].astype(np.int64)
        if bool((np.diff(bounds) < 0).any()) or int(bounds[-1]) > self.header.postings:
            raise self._damaged("the order of the postings")
        return bounds

    def fence_keys(self) -> Keys:
        """Give every ``STRIDE``-th key."""
        return self._fences

    def verify(self) -> None:
        """Compare every block with its checksum.

        Raises:
            IndexDamagedError: If one is not what was written.
        """
        self._compare_range(PAGE, self.header.tables_start)

    def _compare_range(self, low: int, high: int) -> None:
        """Compare the blocks of one stretch of bytes, unless that was done before."""
        if high > low:
            first, last = (low - PAGE) // BLOCK, (high - 1 - PAGE) // BLOCK + 1
            if not self._checked[first:last].all():
                self._compare_blocks(np.arange(first, last))

    def _compare(self, low: Numbers, high: Numbers) -> None:
        """Compare the blocks of many stretches, none of them empty."""
        first, last = (low - PAGE) // BLOCK, (high - 1 - PAGE) // BLOCK
        count = last - first + 1
        ends = np.cumsum(count)
        if len(ends):
            total = int(ends[-1])
            self._compare_blocks(np.repeat(first - (ends - count), count) + np.arange(total))

    def _compare_blocks(self, blocks: Numbers) -> None:
        """Two threads may compare one block at one time; both then say the same."""
        fresh = blocks[~self._checked[blocks]]
        if not len(fresh):
            return
        view = memoryview(self._data)
        for block in np.unique(fresh).tolist():
            start = PAGE + block * BLOCK
            stop = min(start + BLOCK, self.header.tables_start)
            if zlib.crc32(view[start:stop]) != self._sums[block]:
                raise self._damaged(f"the checksum of block {block}")
            self._checked[block] = True

    def _read_header(self, data: "bytes | mmap.mmap") -> Header:
        if len(data) < PAGE:
            raise self._damaged(f"its size, {len(data)} bytes")
        page = bytes(data[:PAGE])
        magic, version, block, *rest, tables_sum = _HEADER.unpack_from(page)
        if _SUM.unpack_from(page, PAGE - _SUM.size)[0] != zlib.crc32(page[: PAGE - _SUM.size]):
            raise self._damaged("the header's checksum")
        if (magic, version, block) != (_MAGIC, FORMAT, BLOCK):
            raise self._damaged(f"its format, {version}")
        scheme, works, postings, terms, span, blob_bytes, id_bytes, file_bytes = rest
        head = Header(
            scheme=scheme, works=works, postings=postings, terms=terms, span=span,
            blob_bytes=blob_bytes, id_bytes=id_bytes, tables_sum=tables_sum,
        )  # fmt: skip
        # Sizes first: every count below is then bounded by bytes that are there.
        if not file_bytes == head.file_bytes == len(data):
            raise self._damaged(f"its size, {len(data)} of {head.file_bytes} bytes")
        if max(postings, span) > MOST_PLACES or terms > postings:
            raise self._damaged("its counts")
        return head

    def _section(self, kind: type[Number], start: int, count: int) -> npt.NDArray[Number]:
        little = np.dtype(kind).newbyteorder("<")
        return np.frombuffer(self._data, dtype=little, count=count, offset=start)

    def _damaged(self, what: str) -> IndexDamagedError:
        return IndexDamagedError(f"{self.name}: a file of the index is damaged: {what}")


def open_segment(path: Path) -> Segment:
    """Map a file; it stays readable while the segment lives, also when it is deleted.

    Raises:
        FileNotFoundError: If it was replaced meanwhile: read the manifest again.
        IndexDamagedError: If header or tables are not what was written.
    """
    with path.open("rb") as file:
        try:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError as error:  # an empty file cannot be mapped
            raise IndexDamagedError(f"{path.name}: a file of the index is empty") from error
    return Segment(data, name=path.name)
