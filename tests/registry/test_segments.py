"""A segment finds every posting and nothing else, and says so when it is not whole."""

import io
import struct
import tracemalloc
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.index_snapshot import CatalogIndex, Part
from registry.segment_writing import NewEntry, Source, fitting, merge, write
from registry.segments import BLOCK, PAGE, IndexDamagedError, Segment, open_segment

SCHEME = "item / 256"
SILENCE = 7


@dataclass(frozen=True, kw_only=True)
class Postings:
    keys: npt.NDArray[np.uint32]
    positions: npt.NDArray[np.uint32]


def postings_of(blob: bytes) -> Postings:
    """The rule of these tests: a key is an item without its low byte; 7 has none."""
    items = np.frombuffer(blob, dtype="<u4")
    heard = np.flatnonzero(items != SILENCE)
    return Postings(keys=items[heard] >> np.uint32(8), positions=heard.astype(np.uint32))


def entry(work_id: str, items: Sequence[int]) -> NewEntry:
    return NewEntry(work_id=work_id, blob=np.array(items, dtype="<u4").tobytes())


def written(works: dict[str, list[int]]) -> bytes:
    stream = io.BytesIO()
    entries = [entry(name, items) for name, items in works.items()]
    write(stream, entries, postings_of=postings_of, scheme=SCHEME)
    return stream.getvalue()


def segment_of(works: dict[str, list[int]]) -> Segment:
    return Segment(written(works), name="test")


def part(segment: Segment, dead: set[str] = frozenset()) -> Part:  # type: ignore[assignment]
    alive = np.array([work_id not in dead for work_id in segment.ids], dtype=np.bool_)
    return Part.of(segment, alive, "", item_bytes=4)


def answers(index: CatalogIndex, keys: list[int], *, limit: int) -> list[tuple[int, str, int]]:
    found = index.lookup(np.array(keys, np.uint32), limit=limit)
    names = [index.work_id(work) for work in found.works.tolist()]
    return sorted(zip(found.rows.tolist(), names, found.positions.tolist(), strict=True))


def expected(
    works: dict[str, list[int]], keys: list[int], *, limit: int
) -> list[tuple[int, str, int]]:
    """Answer as a dictionary would."""
    places: dict[int, list[tuple[str, int]]] = {}
    for name, items in works.items():
        for position, item in enumerate(items):
            if item != SILENCE:
                places.setdefault(item >> 8, []).append((name, position))
    return sorted(
        (row, name, position)
        for row, key in enumerate(keys)
        if len(places.get(key, [])) <= limit
        for name, position in places.get(key, [])
    )


ITEMS = st.one_of(
    st.integers(0, 6).map(lambda key: key << 8 | 3),
    st.integers(0, 2**32 - 1),
    st.just(SILENCE),
    st.just(2**32 - 1),
)
WORKS = st.dictionaries(st.text("abcé", min_size=1), st.lists(ITEMS, min_size=1), max_size=6)
KEYS = st.lists(st.one_of(st.integers(0, 7), st.integers(0, 2**24)), max_size=8)


@settings(max_examples=100, deadline=None)
@given(works=WORKS, keys=KEYS, limit=st.integers(1, 20))
def test_every_posting_is_found_and_nothing_else(
    works: dict[str, list[int]], keys: list[int], limit: int
) -> None:
    keys += [item >> 8 for items in works.values() for item in items[:2]]
    segment = segment_of(works)
    index = CatalogIndex([part(segment)], change=1, anchor="")

    assert answers(index, keys, limit=limit) == expected(works, keys, limit=limit)
    assert index.item_count == sum(map(len, works.values()))
    assert {index.work_id(w): index.items(w).tolist() for w in index.works()} == works


@settings(max_examples=100, deadline=None)
@given(
    works=WORKS,
    keys=KEYS,
    limit=st.integers(1, 20),
    split=st.randoms(use_true_random=False),
    at_once=st.integers(1, 40),
)
def test_merged_segments_answer_as_one_without_the_removed_works(
    works: dict[str, list[int]], keys: list[int], limit: int, split: object, at_once: int
) -> None:
    rng = np.random.default_rng(split.getrandbits(32))  # type: ignore[attr-defined]
    side = {name: int(rng.integers(3)) for name in works}
    dead = {name for name in works if rng.random() < 0.3}
    keys += [item >> 8 for items in works.values() for item in items[:2]]
    parts = [
        part(segment_of({n: items for n, items in works.items() if side[n] == place}), dead)
        for place in range(3)
    ]
    stream = io.BytesIO()
    merge(stream, [each.source for each in parts], scheme=SCHEME, at_once=at_once)
    whole = part(Segment(stream.getvalue(), name="merged"))
    living = {name: items for name, items in works.items() if name not in dead}
    wanted = expected(living, keys, limit=limit)

    assert answers(CatalogIndex(parts, change=1, anchor=""), keys, limit=limit) == wanted
    assert answers(CatalogIndex([whole], change=1, anchor=""), keys, limit=limit) == wanted
    assert set(whole.segment.ids) == set(living)


def test_a_large_segment_finds_what_numpy_finds() -> None:
    rng = np.random.default_rng(1)
    items = rng.zipf(1.3, 200_000) % 2**24 << 8
    works = {f"w{n}": items[n * 2000 : (n + 1) * 2000].tolist() for n in range(100)}
    index = CatalogIndex([part(segment_of(works))], change=1, anchor="")
    halves = [
        part(segment_of(dict(list(works.items())[:70]))),
        part(segment_of(dict(list(works.items())[70:]))),
    ]
    stream = io.BytesIO()
    merge(stream, [half.source for half in halves], scheme=SCHEME, at_once=10_000)
    merged = CatalogIndex([part(Segment(stream.getvalue(), name="m"))], change=1, anchor="")
    keys = np.concatenate((items[:500] >> 8, rng.integers(0, 2**24, 500))).tolist()

    assert answers(index, keys, limit=300) == expected(works, keys, limit=300)
    assert answers(merged, keys, limit=300) == expected(works, keys, limit=300)


def test_works_of_very_unequal_length_are_told_apart() -> None:
    works = {f"short {n}": [n << 8] for n in range(300)} | {"long": [2**20 << 8] * 90_000}
    works |= {f"last {n}": [(400 + n) << 8] for n in range(300)}
    index = CatalogIndex([part(segment_of(works))], change=1, anchor="")
    keys = [*range(0, 300, 7), *range(400, 700, 11), 2**20]

    assert answers(index, keys, limit=100_000) == expected(works, keys, limit=100_000)


def test_a_work_of_silence_has_items_but_no_postings() -> None:
    index = CatalogIndex([part(segment_of({"a": [SILENCE] * 3}))], change=1, anchor="")

    assert answers(index, [0], limit=100) == []
    assert (index.item_count, index.work_count) == (3, 1)


def test_more_places_than_32_bits_can_number_are_not_merged() -> None:
    class Far:
        keys = np.zeros(1, np.uint32)
        positions = np.array([2**32 - 2], np.uint32)

    stream = io.BytesIO()
    write(stream, [entry("a", [1])], postings_of=lambda _: Far(), scheme=SCHEME)
    far = part(Segment(stream.getvalue(), name="far"))

    assert [len(group) for group in fitting([far.source, far.source])] == [1, 1]
    with pytest.raises(ValueError, match="32 bits"):
        merge(io.BytesIO(), [far.source, far.source], scheme=SCHEME)


# What is not whole


WORKS_ON_DISK = {f"work {n}": [(n * 37 + i) % 512 << 8 for i in range(900)] for n in range(8)}


def ask_everything(segment: Segment) -> None:
    index = CatalogIndex([part(segment)], change=1, anchor="")
    keys = list(range(512))
    assert answers(index, keys, limit=10**6) == expected(WORKS_ON_DISK, keys, limit=10**6)
    for work in index.works():
        assert index.items(work).tolist() == WORKS_ON_DISK[index.work_id(work)]
    segment.verify()


def test_a_flipped_bit_anywhere_is_noticed() -> None:
    whole = written(WORKS_ON_DISK)
    places = {0, 8, 12, PAGE - 1, PAGE, len(whole) - 1, *range(3, len(whole), 997)}
    ask_everything(Segment(whole, name="whole"))

    for place in sorted(places):
        broken = bytearray(whole)
        broken[place] ^= 1 << (place % 8)
        with pytest.raises(IndexDamagedError, match="broken"):
            ask_everything(Segment(bytes(broken), name="broken"))


def test_only_what_is_touched_is_compared() -> None:
    whole = bytearray(written(WORKS_ON_DISK))
    head = Segment(bytes(whole), name="whole").header
    blocks_of_blobs = (head.places_start - PAGE) // BLOCK
    whole[PAGE + 5] ^= 1
    segment = Segment(bytes(whole), name="broken")

    assert blocks_of_blobs >= 1
    found = len(expected(WORKS_ON_DISK, [1], limit=100))
    assert segment.find(np.array([1], np.uint32)).count.tolist() == [found]
    with pytest.raises(IndexDamagedError, match="block 0"):
        segment.blob(0)


@pytest.mark.parametrize("kept", [0, 1, PAGE - 1, PAGE, PAGE + 1, -8, -1])
def test_a_truncated_file_is_noticed_when_it_is_opened(kept: int, tmp_path: Path) -> None:
    path = tmp_path / "cut.segment"
    path.write_bytes(written(WORKS_ON_DISK)[:kept])

    with pytest.raises(IndexDamagedError, match=r"cut\.segment"):
        open_segment(path)


def test_an_appended_byte_is_noticed() -> None:
    with pytest.raises(IndexDamagedError, match="size"):
        Segment(written(WORKS_ON_DISK) + b"\0", name="long")


@pytest.mark.parametrize("field", range(7))
@pytest.mark.parametrize("value", [2**63 - 1, 2**40, 2**32, 10**6])
def test_a_hostile_count_takes_no_memory(field: int, value: int) -> None:
    page = bytearray(written({"a": [256]}))
    struct.pack_into("<Q", page, 48 + 8 * field, value)
    struct.pack_into("<I", page, PAGE - 4, zlib.crc32(page[: PAGE - 4]))

    tracemalloc.start()
    try:
        with pytest.raises(IndexDamagedError):
            Segment(bytes(page), name="hostile").verify()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 200_000


def test_another_version_is_refused() -> None:
    page = bytearray(written({"a": [256]}))
    struct.pack_into("<I", page, 8, 2)
    struct.pack_into("<I", page, PAGE - 4, zlib.crc32(page[: PAGE - 4]))

    with pytest.raises(IndexDamagedError, match="format, 2"):
        Segment(bytes(page), name="new")


def test_a_deleted_file_stays_readable_where_it_is_open(tmp_path: Path) -> None:
    path = tmp_path / "x.segment"
    path.write_bytes(written(WORKS_ON_DISK))
    segment = open_segment(path)
    path.unlink()

    ask_everything(segment)


def test_a_source_that_is_damaged_is_not_merged() -> None:
    broken = bytearray(written(WORKS_ON_DISK))
    broken[Segment(bytes(broken), name="x").header.places_start + 9] ^= 4
    alive = np.ones(8, np.bool_)
    source = Source(segment=Segment(bytes(broken), name="broken"), alive=alive)

    with pytest.raises(IndexDamagedError, match="broken"):
        merge(io.BytesIO(), [source], scheme=SCHEME)
