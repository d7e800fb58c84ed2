"""The index follows the catalog, in memory and on disk, and never answers wrongly."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from registry import catalog, index
from registry.index import CatalogIndex, IndexKeeper
from registry.index_source import Engine
from registry.session import Database
from tests.registry.samples import NOON, a_work

NAME = "chromaprint"
SILENCE = 7


@dataclass(frozen=True, kw_only=True)
class Postings:
    keys: npt.NDArray[np.uint32]
    positions: npt.NDArray[np.uint32]


def postings_of(blob: bytes) -> Postings:
    items = np.frombuffer(blob, dtype="<u4")
    heard = np.flatnonzero(items != SILENCE)
    return Postings(keys=items[heard] >> np.uint32(8), positions=heard.astype(np.uint32))


ENGINE = Engine(name=NAME, scheme="item / 256", item_bytes=4, postings_of=postings_of)


def blob(items: list[int]) -> bytes:
    return np.array(items, dtype="<u4").tobytes()


def add(database: Database, number: int, items: list[int], *, revive: bool = False) -> str:
    with database.begin() as session:
        new = a_work(number, items=blob(items))
        at = NOON + timedelta(days=2) if revive else NOON
        return catalog.add_work(session, new, at=at, revive=revive).work_id


def remove(database: Database, work_id: str) -> None:
    with database.begin() as session:
        catalog.remove_work(session, work_id, at=NOON + timedelta(days=1))


def works_with(found: CatalogIndex, key: int, *, limit: int = 100) -> set[str]:
    postings = found.lookup(np.array([key], dtype=np.uint32), limit=limit)
    return {found.work_id(work) for work in postings.works.tolist()}


def contents(found: CatalogIndex) -> dict[str, bytes]:
    return {found.work_id(work): bytes(found.blob(work)) for work in found.works()}


@pytest.fixture(params=["in memory", "on disk"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    """Give a place for segments, or none."""
    return tmp_path / "index" / NAME if request.param == "on disk" else None


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every change be worth a merge."""
    monkeypatch.setattr(index, "LEAST_DELTA", 0)


def test_an_empty_catalog_answers_nothing(sqlite_database: Database, folder: Path | None) -> None:
    found = IndexKeeper(sqlite_database, ENGINE, folder=folder).current()

    assert (found.item_count, found.work_count, found.change) == (0, 0, 0)
    assert len(found.lookup(np.array([1, 2], np.uint32), limit=10).rows) == 0


def test_a_new_work_appears_and_a_removed_one_is_gone_at_once(
    database: Database, folder: Path | None
) -> None:
    keeper = IndexKeeper(database, ENGINE, folder=folder)
    first = add(database, 1, [0x100, 0x200])
    old = keeper.current()
    second = add(database, 2, [0x200, 0x300])
    grown = keeper.current()

    assert works_with(old, 2) == {first}
    assert works_with(grown, 2) == {first, second}
    assert (grown.work_count, grown.item_count) == (2, 4)

    remove(database, first)
    shrunk = keeper.current()

    assert works_with(shrunk, 2) == {second}
    assert works_with(shrunk, 1) == set()
    assert (shrunk.work_count, shrunk.item_count) == (1, 2)
    assert works_with(grown, 2) == {first, second}
    assert contents(IndexKeeper(database, ENGINE).current()) == contents(shrunk)
    keeper.wait()


def test_a_revived_work_is_back(sqlite_database: Database, folder: Path | None) -> None:
    keeper = IndexKeeper(sqlite_database, ENGINE, folder=folder)
    work_id = add(sqlite_database, 1, [0x100])
    keeper.current()
    remove(sqlite_database, work_id)

    assert works_with(keeper.current(), 1) == set()

    add(sqlite_database, 1, [0x100], revive=True)

    assert works_with(keeper.current(), 1) == {work_id}


def test_an_unchanged_catalog_costs_nothing(sqlite_database: Database) -> None:
    add(sqlite_database, 1, [0x100])
    keeper = IndexKeeper(sqlite_database, ENGINE)

    assert keeper.current() is keeper.current()
