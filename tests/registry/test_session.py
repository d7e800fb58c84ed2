"""One writer at a time, readers see one moment, and drivers' errors become ours."""

import multiprocessing
import os
import sqlite3
import threading
from datetime import timedelta

import pytest
from sqlalchemy import insert as insert_into
from sqlalchemy import select, text

from registry import catalog, session
from registry.errors import ConflictError, InvalidError, UnavailableError
from registry.session import Database, connect
from registry.tables import RightsHolder, Work, WorkRight
from tests.registry.samples import NOON, a_work


def test_what_is_written_is_read_back(database: Database) -> None:
    with database.begin() as writer:
        writer.add(RightsHolder(id="r", name="Ünïcode ✓", created_at=NOON))

    with database.read() as reader:
        found = reader.get(RightsHolder, "r")
    assert found is not None
    assert (found.name, found.created_at) == ("Ünïcode ✓", NOON)


def test_an_exception_undoes_the_whole_transaction(database: Database) -> None:
    def fail() -> None:
        with database.begin() as writer:
            catalog.add_work(writer, a_work(1), at=NOON)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()

    with database.read() as reader:
        assert catalog.stats(reader).works == 0


def test_a_second_writer_waits_for_the_first(database: Database) -> None:
    order: list[str] = []
    is_inside = threading.Event()

    def second() -> None:
        is_inside.wait()
        with database.begin() as writer:
            order.append("second begins")
            catalog.add_work(writer, a_work(2), at=NOON)

    thread = threading.Thread(target=second)
    thread.start()
    with database.begin() as writer:
        is_inside.set()
        thread.join(timeout=0.3)
        catalog.add_work(writer, a_work(1), at=NOON)
        order.append("first ends")
    thread.join()

    assert order == ["first ends", "second begins"]


def count_up(url: str, times: int) -> None:
    """Read the highest number and write the next: loses counts unless writers are serial."""
    with connect(url) as database:
        for _ in range(times):
            with database.begin() as writer:
                done = len(writer.scalars(select(RightsHolder.id)).all())
                writer.add(RightsHolder(id=f"r{done}", name=f"r{done}", created_at=NOON))


def test_two_processes_do_not_lose_a_count(database_url: str) -> None:
    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=count_up, args=(database_url, 10)) for _ in range(2)]
    for other in others:
        other.start()
    for other in others:
        other.join()

    assert [other.exitcode for other in others] == [0, 0]
    with connect(database_url) as database, database.read() as reader:
        assert len(reader.scalars(select(RightsHolder.id)).all()) == 20


def test_a_reader_sees_one_moment(database: Database) -> None:
    with database.read() as reader:
        before = catalog.last_change(reader)
        with database.begin() as writer:
            catalog.add_work(writer, a_work(1), at=NOON)
        during = catalog.last_change(reader)
    with database.read() as reader:
        after = catalog.last_change(reader)

    assert (before, during, after) == (0, 0, 1)


def test_a_reader_cannot_write(database: Database) -> None:
    insert = insert_into(RightsHolder).values(id="r", name="Acme", created_at=NOON)
    with pytest.raises(UnavailableError, match=r"read-?only"), database.read() as reader:
        reader.execute(insert)


def test_a_connection_that_has_read_can_write_again(database: Database) -> None:
    for number in range(8):
        with database.read() as reader:
            catalog.stats(reader)
        with database.begin() as writer:
            catalog.add_work(writer, a_work(number), at=NOON)

    with database.read() as reader:
        assert catalog.stats(reader).works == 8


def test_references_are_enforced(database: Database) -> None:
    with pytest.raises(ConflictError), database.begin() as writer:
        writer.add(
            WorkRight(
                work_id="nobody",
                rights_holder_id="no one",
                share_percent=1.0,
                territories=["*"],
                valid_from=NOON,
                recorded_at=NOON,
            )
        )


def test_naive_times_are_refused(database: Database) -> None:
    with pytest.raises(InvalidError, match="naive time"), database.begin() as writer:
        catalog.add_work(writer, a_work(1), at=NOON.replace(tzinfo=None))


def test_times_come_back_in_utc(database: Database) -> None:
    from datetime import timezone

    local = NOON.astimezone(timezone(timedelta(hours=9)))
    with database.begin() as writer:
        work = catalog.add_work(writer, a_work(1), at=local)

    with database.read() as reader:
        found = reader.get_one(Work, work.work_id)
    assert found.added_at == NOON
    assert found.added_at.utcoffset() == timedelta(0)


def test_a_lock_that_is_kept_too_long_is_named(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "LOCK_SECONDS", 1)
    with (
        connect(database_url) as one,
        connect(database_url) as two,
        one.begin(),
        pytest.raises(UnavailableError, match="lock"),
        two.begin(),
    ):
        pass


def test_sqlite_is_durable_and_checked(sqlite_database: Database) -> None:
    names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
    with sqlite_database.begin() as writer:
        found = {name: writer.scalar(text(f"PRAGMA {name}")) for name in names}

    assert found == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 30_000,
    }


def test_a_full_disk_is_an_error_of_ours_and_loses_nothing(sqlite_database: Database) -> None:
    with sqlite_database.begin() as writer:
        catalog.add_work(writer, a_work(1), at=NOON)
        # The pool gives this one connection out again.
        pages = int(writer.scalar(text("PRAGMA page_count")) or 0)
        writer.execute(text(f"PRAGMA max_page_count = {pages}"))
    with pytest.raises(UnavailableError, match="full"), sqlite_database.begin() as writer:
        catalog.add_work(writer, a_work(2, items=os.urandom(4 << 18)), at=NOON)

    with sqlite_database.read() as reader:
        assert catalog.stats(reader).works == 1


def test_a_server_that_is_gone_is_named() -> None:
    gone = connect("postgresql+pg8000://u@/d?host=/nowhere")

    with pytest.raises(UnavailableError, match="did not answer"), gone.read() as reader:
        catalog.stats(reader)


def test_the_file_can_be_opened_by_plain_sqlite(sqlite_database: Database) -> None:
    with sqlite_database.begin() as writer:
        catalog.add_work(writer, a_work(1, title="Plain"), at=NOON)
    path = sqlite_database.name.removeprefix("sqlite:///")

    plain = sqlite3.connect(path)
    assert plain.execute("SELECT title FROM works").fetchall() == [("Plain",)]
    plain.close()
