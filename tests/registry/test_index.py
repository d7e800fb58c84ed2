"""The index follows the catalog, in memory and on disk, and never answers wrongly."""

import contextlib
import multiprocessing
import os
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry import catalog, index, index_folder, reindexing, schema, segment_writing
from registry.index import CatalogIndex, IndexKeeper
from registry.index_folder import BUILDING, MANIFEST, read_manifest
from registry.index_source import Engine, entries_after
from registry.reindexing import Progress, rebuild
from registry.segment_writing import NewEntry
from registry.segments import IndexDamagedError, open_segment
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


def test_a_work_is_found_by_its_id_while_it_is_in_force(
    sqlite_database: Database, folder: Path | None
) -> None:
    keeper = IndexKeeper(sqlite_database, ENGINE, folder=folder)
    first = add(sqlite_database, 1, [0x100])
    second = add(sqlite_database, 2, [0x200])
    old = keeper.current()
    number = old.number(second)

    assert number is not None
    assert old.work_id(number) == second

    remove(sqlite_database, second)

    assert keeper.current().number(second) is None
    assert keeper.current().number(first) is not None
    assert keeper.current().number("nobody") is None


def test_an_unchanged_catalog_costs_nothing(sqlite_database: Database) -> None:
    add(sqlite_database, 1, [0x100])
    keeper = IndexKeeper(sqlite_database, ENGINE)

    assert keeper.current() is keeper.current()


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=12))
def test_whatever_comes_and_goes_memory_and_disk_agree_with_the_registry(
    steps: list[tuple[int, bool]], sqlite_template: Path, small: None
) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "index"
        with schema.open_database(
            f"sqlite:///{shutil.copy(sqlite_template, Path(place) / 'c.db')}"
        ) as database:
            kept = IndexKeeper(database, ENGINE, folder=folder)
            in_memory = IndexKeeper(database, ENGINE)
            for number, merges in steps:
                toggle(database, number)
                with database.read() as session:
                    truth = {e.work_id: e.blob for e in entries_after(session, NAME, "")}
                for keeper in (kept, in_memory, IndexKeeper(database, ENGINE, folder=folder)):
                    found = keeper.current()
                    assert contents(found) == truth
                    assert found.work_count == len(truth)
                    for key in range(4):
                        assert works_with(found, key) == {
                            work_id
                            for work_id, items in truth.items()
                            if key in np.frombuffer(items, "<u4") >> np.uint32(8)
                        }
                    if merges:
                        keeper.wait()
            kept.wait()


def toggle(database: Database, number: int) -> None:
    """Add a work, or remove it, or bring it back."""
    with database.read() as session:
        found = catalog.find_by_sha256(session, f"{number:064x}")
    if found is not None and found.removed_at is None:
        remove(database, found.work_id)
    else:
        at = datetime.now(UTC)
        new = a_work(number, items=blob([number % 3 << 8, 3 << 8, number << 8]))
        with database.begin() as session:
            catalog.add_work(session, new, at=at, revive=True)


def test_a_grown_delta_is_folded_into_a_segment_that_others_open(
    sqlite_database: Database, tmp_path: Path, small: None
) -> None:
    folder = tmp_path / "index"
    keeper = IndexKeeper(sqlite_database, ENGINE, folder=folder)
    ids = {add(sqlite_database, number, [number << 8]) for number in range(5)}
    keeper.current()
    keeper.wait()
    folded = keeper.current()
    other = IndexKeeper(sqlite_database, ENGINE, folder=folder).current()

    assert [bool(part.file) for part in folded.parts] == [True]
    assert [part.file for part in other.parts] == [part.file for part in folded.parts]
    assert set(contents(other)) == ids
    assert sorted(path.suffix for path in folder.iterdir()) == ["", ".json", ".segment"]


def test_a_large_segment_is_not_written_again_for_a_few_works(
    sqlite_database: Database, tmp_path: Path, small: None
) -> None:
    folder = tmp_path / "index"
    large = add(sqlite_database, 1, list(range(0x100, 0x10000, 0x100)))
    rebuild(sqlite_database, ENGINE, folder)
    keeper = IndexKeeper(sqlite_database, ENGINE, folder=folder)
    (first,) = keeper.current().parts
    works = {add(sqlite_database, n, [(n * 100 + i) << 8 for i in range(30)]) for n in range(2, 4)}
    keeper.current()
    keeper.wait()
    found = keeper.current()

    assert len(found.parts) == 2
    assert first.segment in [part.segment for part in found.parts]
    assert set(contents(found)) == works | {large}


@pytest.fixture
def on_disk(sqlite_database: Database, tmp_path: Path) -> Path:
    """Give the folder of an index with three works."""
    for number in range(1, 4):
        add(sqlite_database, number, [number << 8, 9 << 8])
    rebuild(sqlite_database, ENGINE, tmp_path / "index")
    return tmp_path / "index"


@pytest.mark.parametrize("place", ["manifest", "header", "tables", "places", "gone", "empty"])
def test_a_damaged_index_is_made_again_and_never_answers_wrongly(
    place: str, sqlite_database: Database, on_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    truth = contents(IndexKeeper(sqlite_database, ENGINE).current())
    path = next(on_disk.glob("*.segment"))
    head = open_segment(path).header
    if place == "gone":
        path.unlink()
    elif place == "empty":
        path.write_bytes(b"")
    else:
        offset = {"header": 60, "tables": head.tables_start + 9, "places": head.places_start}
        damage(on_disk / MANIFEST if place == "manifest" else path, offset.get(place, 40))
    keeper = IndexKeeper(sqlite_database, ENGINE, folder=on_disk)
    index = keeper.current()
    with contextlib.suppress(IndexDamagedError):
        assert works_with(index, 9) == set(truth)
    if place == "places":
        index = keeper.repair(index)

    assert works_with(index, 9) == set(truth)
    assert contents(index) == truth

    keeper.wait()
    assert contents(keeper.current()) == truth
    for part in IndexKeeper(sqlite_database, ENGINE, folder=on_disk).current().parts:
        part.segment.verify()
        assert part.file


def damage(path: Path, offset: int) -> None:
    """Flip a bit in a new file of the same name, as a disk does."""
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.unlink()
    path.write_bytes(data)


def test_damage_found_by_a_merge_is_mended_at_the_next_question(
    sqlite_database: Database, on_disk: Path, small: None
) -> None:
    path = next(on_disk.glob("*.segment"))
    damage(path, open_segment(path).header.places_start)
    keeper = IndexKeeper(sqlite_database, ENGINE, folder=on_disk)
    added = add(sqlite_database, 4, [9 << 8, 8 << 8])
    keeper.current()
    keeper.wait()

    assert added in works_with(keeper.current(), 9)
    assert len(works_with(keeper.current(), 9)) == 4
    keeper.wait()


def test_segments_of_another_rule_are_not_used(sqlite_database: Database, on_disk: Path) -> None:
    def shifted(blob_: bytes) -> Postings:
        found = postings_of(blob_)
        return Postings(keys=found.keys + np.uint32(100), positions=found.positions)

    newer = Engine(name=NAME, scheme="another", item_bytes=4, postings_of=shifted)
    found = IndexKeeper(sqlite_database, newer, folder=on_disk).current()

    assert works_with(found, 9) == set()
    assert len(works_with(found, 109)) == 3


def test_the_index_of_another_database_is_not_used(
    sqlite_database: Database, on_disk: Path, sqlite_template: Path, tmp_path: Path
) -> None:
    url = f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'other.db')}"
    with schema.open_database(url) as other:
        ids = {add(other, number, [number << 8]) for number in range(11, 14)}
        found = IndexKeeper(other, ENGINE, folder=on_disk).current()

        assert set(contents(found)) == ids


def test_a_restored_older_database_is_read_anew(
    sqlite_database: Database, sqlite_template: Path, tmp_path: Path, folder: Path | None
) -> None:
    add(sqlite_database, 1, [0x900])
    saved = tmp_path / "saved.db"
    with (
        contextlib.closing(sqlite3.connect(saved)) as copy,
        contextlib.closing(sqlite3.connect(tmp_path / "s.db")) as source,
    ):
        source.backup(copy)
    keeper = IndexKeeper(sqlite_database, ENGINE, folder=folder)
    ghost = add(sqlite_database, 2, [0x900])
    assert ghost in works_with(keeper.current(), 9)
    keeper._database = schema.open_database(f"sqlite:///{saved}")

    assert ghost not in works_with(keeper.current(), 9)
    assert keeper.current().work_count == 1
    keeper._database.close()


# Processes that die, and processes that share


def in_a_child(work: Callable[[], None]) -> int:
    """Run something in a forked process and give its exit status."""
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join(30)
    assert child.exitcode is not None
    return child.exitcode


@pytest.mark.parametrize("point", ["fsync", "rename", "replace", "unlink"])
@pytest.mark.parametrize("writer", ["merge", "rebuild"])
def test_a_process_killed_while_it_writes_leaves_a_whole_index(
    point: str, writer: str, sqlite_database: Database, on_disk: Path, tmp_path: Path, small: None
) -> None:
    added = add(sqlite_database, 4, [9 << 8, 8 << 8])
    before = read_manifest(on_disk / MANIFEST)

    def die() -> None:
        def killed(*_: object, **__: object) -> None:
            os._exit(9)

        with schema.open_database(f"sqlite:///{tmp_path / 's.db'}") as database:
            keeper = IndexKeeper(database, ENGINE, folder=on_disk)
            setattr(os if point == "fsync" else Path, point, killed)
            if writer == "merge":
                keeper.current()
                keeper.wait()
            else:
                rebuild(database, ENGINE, on_disk)
        os._exit(0)

    status = in_a_child(die)
    after = read_manifest(on_disk / MANIFEST)
    fresh = IndexKeeper(sqlite_database, ENGINE, folder=on_disk)

    assert status == 9
    assert after == before or point == "unlink"
    with index_folder.writing(on_disk, wait=False) as is_held:
        assert is_held
        assert list(on_disk.glob("*.new")) == []
    assert len(works_with(fresh.current(), 9)) == 4
    assert added in works_with(fresh.current(), 9)

    rebuild(sqlite_database, ENGINE, on_disk)
    assert len(list(on_disk.iterdir())) == 3
    assert len(works_with(fresh.current(), 9)) == 4
    fresh.wait()


def test_a_reader_keeps_its_state_while_another_process_replaces_the_files(
    sqlite_database: Database, on_disk: Path, tmp_path: Path
) -> None:
    keeper = IndexKeeper(sqlite_database, ENGINE, folder=on_disk)
    old = keeper.current()
    files = {path.name for path in on_disk.glob("*.segment")}

    def replace() -> None:
        with schema.open_database(f"sqlite:///{tmp_path / 's.db'}") as database:
            remove(database, old.work_id(0))
            rebuild(database, ENGINE, on_disk)
        os._exit(0)

    assert in_a_child(replace) == 0
    assert files.isdisjoint(path.name for path in on_disk.glob("*.segment"))
    assert len(works_with(old, 9)) == 3
    assert len(works_with(keeper.current(), 9)) == 2


def test_only_one_process_merges_at_a_time(
    sqlite_database: Database, on_disk: Path, small: None
) -> None:
    keeper = IndexKeeper(sqlite_database, ENGINE, folder=on_disk)
    added = add(sqlite_database, 4, [9 << 8])
    before = read_manifest(on_disk / MANIFEST)
    with index_folder.writing(on_disk, wait=True) as is_held:
        found = keeper.current()
        keeper.wait()

    assert is_held
    assert added in works_with(found, 9)
    assert read_manifest(on_disk / MANIFEST) == before


def test_questions_do_not_wait_for_a_merge(
    sqlite_database: Database, on_disk: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = threading.Event()
    original = index_folder.write_segment

    def slow(folder: Path, fill: Callable[[BinaryIO], None]) -> str:
        assert goes_on.wait(30)
        return original(folder, fill)

    monkeypatch.setattr(index_folder, "write_segment", slow)
    keeper = IndexKeeper(sqlite_database, ENGINE, folder=on_disk)
    for number in range(4, 8):
        added = add(sqlite_database, number, [9 << 8])
        assert added in works_with(keeper.current(), 9)
    goes_on.set()
    keeper.wait()

    assert len(works_with(keeper.current(), 9)) == 7
    keeper.wait()


def test_a_folder_that_cannot_be_written_leaves_the_index_in_memory(
    sqlite_database: Database, tmp_path: Path, small: None
) -> None:
    (tmp_path / "file").write_text("")
    keeper = IndexKeeper(sqlite_database, ENGINE, folder=tmp_path / "file" / "index")
    added = add(sqlite_database, 1, [9 << 8])

    assert works_with(keeper.current(), 9) == {added}
    keeper.wait()
    assert works_with(keeper.current(), 9) == {added}


# Whole catalogs


def test_many_new_works_are_written_to_disk_before_they_are_searched(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "BULK_WORKS", 3)
    ids = {add(database, number, [9 << 8, number << 8]) for number in range(6)}
    found = IndexKeeper(database, ENGINE, folder=tmp_path / "index").current()

    assert all(part.file for part in found.parts)
    assert works_with(found, 9) == ids


def test_a_delta_that_memory_should_not_hold_goes_to_disk_at_once(
    sqlite_database: Database, on_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "MOST_MEMORY", 3)
    monkeypatch.setattr(index, "CHUNK", 2)
    keeper = IndexKeeper(sqlite_database, ENGINE, folder=on_disk)
    for number in range(4, 10):
        add(sqlite_database, number, [9 << 8, number << 8])
    found = keeper.current()

    assert len(works_with(found, 9)) == 9
    assert all(part.file for part in found.parts)


def test_a_rebuild_that_was_stopped_goes_on_where_it_was(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = {add(database, number, [9 << 8, number << 8]) for number in range(7)}
    folder = tmp_path / "index"
    original = segment_writing.write
    written: list[int] = []

    def counted(stream: BinaryIO, entries: list[NewEntry], **options: Any) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(len(entries))
        original(stream, entries, **options)

    monkeypatch.setattr(reindexing, "write", counted)
    with pytest.raises(KeyboardInterrupt):
        rebuild(database, ENGINE, folder, chunk_items=4)
    assert not (folder / MANIFEST).exists()
    monkeypatch.setattr(reindexing, "write", original)
    late = add(database, 8, [9 << 8])
    seen: list[Progress] = []
    rebuild(database, ENGINE, folder, chunk_items=4, on_progress=seen.append)
    found = IndexKeeper(database, ENGINE, folder=folder).current()

    assert written == [2, 2]
    assert [seen[0].done, seen[0].total] == [4, 8]
    assert [(p.stage, p.done) for p in seen[-2:]] == [("merge", 0), ("merge", 4)]
    assert works_with(found, 9) == ids | {late}
    assert not (folder / BUILDING).exists()
    assert len(found.parts) <= 2


def test_readers_use_the_old_index_until_the_new_one_is_whole(
    sqlite_database: Database, on_disk: Path
) -> None:
    seen: list[int] = []

    def look(_: Progress) -> None:
        reader = IndexKeeper(sqlite_database, ENGINE, folder=on_disk)
        seen.append(len(works_with(reader.current(), 9)))

    rebuild(sqlite_database, ENGINE, on_disk, chunk_items=1, on_progress=look)

    assert len(seen) > 4
    assert set(seen) == {3}
