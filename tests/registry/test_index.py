"""The derived index: it finds every posting, keeps works apart, and follows the catalog."""

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from registry import catalog, index
from registry.index import GUARD_ITEMS, CatalogIndex, Items
from registry.session import Database
from tests.registry.samples import NOON, a_work

MASK = 0xFFFFFF00
ENGINE = "chromaprint"


def add(database: Database, number: int, items: list[int]) -> str:
    blob = np.array(items, dtype="<u4").tobytes()
    with database.begin() as session:
        return catalog.add_work(session, a_work(number, items=blob), at=NOON).work_id


def build(database: Database) -> CatalogIndex:
    with database.read() as session:
        return index.build(session, engine=ENGINE, key_mask=MASK)


def refresh(old: CatalogIndex, database: Database) -> CatalogIndex:
    with database.read() as session:
        return index.refresh(old, session, engine=ENGINE, key_mask=MASK)


def works_with(found: CatalogIndex, key: int) -> set[str]:
    postings = found.lookup(np.array([key], dtype=np.uint32), limit=100)
    return {found.work_id(work) for work in postings.works.tolist()}


@settings(max_examples=60, deadline=None)
@given(
    works=st.dictionaries(
        st.text("abc", min_size=1), st.lists(st.integers(0, 5), min_size=1), max_size=5
    ),
    keys=st.lists(st.integers(0, 6), max_size=8),
    limit=st.integers(1, 20),
)
def test_every_posting_is_found_and_nothing_else(
    works: dict[str, list[int]], keys: list[int], limit: int
) -> None:
    high = {name: np.array(items, np.uint32) << np.uint32(8) for name, items in works.items()}
    found = CatalogIndex(high, key_mask=MASK, change=1)
    postings = found.lookup(np.array(keys, np.uint32) << np.uint32(8) | np.uint32(3), limit=limit)

    expected = sorted(
        (row, name, place)
        for row, key in enumerate(keys)
        for name, items in works.items()
        for place, item in enumerate(items)
        if item == key and sum(list(x).count(key) for x in works.values()) <= limit
    )
    rows = zip(
        postings.rows.tolist(),
        map(found.work_id, postings.works.tolist()),
        postings.positions.tolist(),
        strict=True,
    )
    assert sorted(rows) == expected
    assert found.item_count == sum(map(len, works.values()))


def test_works_lie_further_apart_than_a_query_is_long() -> None:
    works: dict[str, Items] = {name: np.zeros(10, np.uint32) for name in "ab"}
    found = CatalogIndex(works, key_mask=MASK, change=1)

    assert np.diff(found._places).max() > GUARD_ITEMS


def test_an_empty_catalog_answers_nothing(sqlite_database: Database) -> None:
    found = build(sqlite_database)

    assert (found.item_count, found.work_count, found.change) == (0, 0, 0)
    assert len(found.lookup(np.array([1, 2], np.uint32), limit=10).rows) == 0


def test_a_new_work_appears_and_a_removed_one_is_gone_at_once(database: Database) -> None:
    first = add(database, 1, [0x100, 0x200])
    old = build(database)
    second = add(database, 2, [0x200, 0x300])
    grown = refresh(old, database)

    assert works_with(old, 0x200) == {first}
    assert works_with(grown, 0x200) == {first, second}

    with database.begin() as session:
        catalog.remove_work(session, first, at=NOON + timedelta(days=1))
    shrunk = refresh(grown, database)

    assert works_with(shrunk, 0x200) == {second}
    assert works_with(shrunk, 0x100) == set()
    assert shrunk.work_count == 1
    assert works_with(build(database), 0x200) == {second}


def test_a_revived_work_is_back(sqlite_database: Database) -> None:
    work_id = add(sqlite_database, 1, [0x100])
    with sqlite_database.begin() as session:
        catalog.remove_work(session, work_id, at=NOON)
    gone = build(sqlite_database)
    with sqlite_database.begin() as session:
        blob = np.array([0x100], dtype="<u4").tobytes()
        catalog.add_work(session, a_work(1, items=blob), at=NOON + timedelta(days=1), revive=True)

    assert works_with(gone, 0x100) == set()
    assert works_with(refresh(gone, sqlite_database), 0x100) == {work_id}


def test_an_unchanged_catalog_costs_nothing(sqlite_database: Database) -> None:
    add(sqlite_database, 1, [0x100])
    found = build(sqlite_database)

    assert refresh(found, sqlite_database) is found


def test_only_changed_works_are_read_again(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 4):
        add(sqlite_database, number, [number << 8])
    found = build(sqlite_database)
    added = add(sqlite_database, 4, [4 << 8])
    read: list[str] = []
    original = catalog.get_fingerprint

    def spy(session: Session, work_id: str, engine: str) -> catalog.FingerprintRow | None:
        read.append(work_id)
        return original(session, work_id, engine)

    monkeypatch.setattr(index, "get_fingerprint", spy)
    refresh(found, sqlite_database)

    assert read == [added]


def test_a_restored_older_database_is_read_anew(sqlite_database: Database) -> None:
    work_id = add(sqlite_database, 1, [0x100])
    ahead = CatalogIndex({"ghost": np.array([0x900], np.uint32)}, key_mask=MASK, change=99)
    found = refresh(ahead, sqlite_database)

    assert works_with(found, 0x900) == set()
    assert works_with(found, 0x100) == {work_id}
