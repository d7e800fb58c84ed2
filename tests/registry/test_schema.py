"""The database gets its shape from the migrations, and says so when it has another one."""

import os
import stat
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from registry import catalog, schema
from registry.catalog import NewRight
from registry.errors import RegistryError, SchemaOutdatedError, UnavailableError
from registry.session import Database, connect, parse_url
from registry.tables import Base
from tests.registry.samples import NOON, a_work


def test_migrations_and_tables_describe_the_same_shape(database: Database) -> None:
    with database.ddl() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        difference = compare_metadata(context, Base.metadata)

    assert difference == []


def test_check_constraints_are_migrated_too(database: Database) -> None:
    # Alembic's comparison does not look at them.
    with database.ddl() as connection:
        found = {
            str(check["name"])
            for table in Base.metadata.tables
            for check in inspect(connection).get_check_constraints(table)
        }
    expected = {
        str(constraint.name)
        for table in Base.metadata.tables.values()
        for constraint in table.constraints
        if type(constraint).__name__ == "CheckConstraint"
    }

    assert expected
    assert found == expected


def test_the_newest_script_is_the_revision_that_the_code_needs() -> None:
    scripts = ScriptDirectory.from_config(schema.alembic_config())

    assert scripts.get_heads() == [schema.HEAD]


def test_an_upgrade_can_be_repeated(empty_url: str) -> None:
    assert schema.upgrade(empty_url) == ""
    assert schema.upgrade(empty_url) == schema.HEAD
    with connect(empty_url) as database:
        assert schema.revision(database) == schema.HEAD


def test_a_downgrade_leaves_nothing_behind_and_can_be_undone(database_url: str) -> None:
    schema.downgrade(database_url, to="base")
    with connect(database_url) as database, database.ddl() as connection:
        tables = set(inspect(connection).get_table_names())
    schema.upgrade(database_url)

    assert tables <= {"alembic_version"}
    schema.open_database(database_url).close()


def test_two_upgrades_at_once_both_succeed(empty_url: str) -> None:
    failures: list[Exception] = []

    def run() -> None:
        try:
            schema.upgrade(empty_url)
        except Exception as error:  # noqa: BLE001, whatever it is fails the test
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    with connect(empty_url) as database:
        schema.check(database)


def test_a_failed_upgrade_changes_nothing(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import alembic.op

    def explode(*_: object, **__: object) -> None:
        raise RuntimeError("power cut")

    monkeypatch.setattr(alembic.op, "create_index", explode)
    with pytest.raises(RuntimeError, match="power cut"):
        schema.upgrade(empty_url)

    with connect(empty_url) as database, database.ddl() as connection:
        assert inspect(connection).get_table_names() == []


@pytest.mark.parametrize(
    ("found", "words"),
    [("", "empty"), ("0000", "at revision 0000"), ("9999", "knows up to")],
    ids=["empty", "older", "newer"],
)
def test_a_database_of_another_shape_is_refused_with_the_command(
    database_url: str, found: str, words: str
) -> None:
    with connect(database_url) as database, database.ddl() as connection:
        connection.execute(text("DELETE FROM alembic_version"))
        if found:
            connection.execute(text("INSERT INTO alembic_version VALUES (:v)"), {"v": found})

    with pytest.raises(SchemaOutdatedError, match=words) as caught:
        schema.open_database(database_url)
    assert "safegen db upgrade" in str(caught.value)


def test_a_newer_database_is_not_touched_by_an_upgrade(database_url: str) -> None:
    with connect(database_url) as database, database.ddl() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(SchemaOutdatedError, match="9999"):
        schema.upgrade(database_url)
    with connect(database_url) as database:
        assert schema.revision(database) == "9999"


def test_a_missing_file_is_named_and_not_created(tmp_path: Path) -> None:
    path = tmp_path / "none" / "safegen.db"

    with pytest.raises(SchemaOutdatedError, match="safegen db upgrade"):
        schema.open_database(f"sqlite:///{path}")
    assert not path.parent.exists()


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "song.db"
    path.write_bytes(b"RIFF" * 500)

    with pytest.raises(UnavailableError, match=r"song\.db"):
        schema.open_database(f"sqlite:///{path}")


def test_the_state_folder_and_the_database_are_private(tmp_path: Path) -> None:
    path = tmp_path / "state" / "safegen.db"
    before = os.umask(0)
    try:
        schema.upgrade(f"sqlite:///{path}")
        database = schema.open_database(f"sqlite:///{path}")
        with database.begin():
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(before)

    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert modes == {"safegen.db": 0o600, "safegen.db-wal": 0o600, "safegen.db-shm": 0o600}
    database.close()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("safegen.db", "cannot be read"),
        ("mysql://root@localhost/x", "SQLite and PostgreSQL"),
        ("sqlite://", "plain file"),
        ("sqlite:///:memory:", "plain file"),
        ("postgresql+pg8000:///x?host=relative", "absolute folder"),
        ("postgresql+pg8000://h/x?sslmode=require", "psycopg"),
    ],
)
def test_a_url_that_cannot_work_is_refused(url: str, words: str) -> None:
    with pytest.raises(RegistryError, match=words):
        connect(url)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://u@h:5/d", "postgresql+pg8000://u@h:5/d"),
        ("postgres://u@h/d", "postgresql+pg8000://u@h/d"),
        (
            "postgresql:///d?host=/run/pg",
            "postgresql+pg8000:///d?unix_sock=%2Frun%2Fpg%2F.s.PGSQL.5432",
        ),
        ("postgresql+psycopg://u@h/d", "postgresql+psycopg://u@h/d"),
    ],
)
def test_a_plain_postgresql_url_is_given_the_driver_that_is_installed(
    url: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.session.importlib.util.find_spec", lambda _: None)

    assert parse_url(url).render_as_string(hide_password=False) == expected


def test_a_password_is_not_printed() -> None:
    assert "hunter2" not in schema.display_name("postgresql://u:hunter2@h/d")


def test_shares_survive_the_way_down_and_up_again(database_url: str) -> None:
    shares = (
        NewRight(rights_holder="Acme", share_percent=60.0),
        NewRight(rights_holder="Bob", share_percent=40.0),
    )
    with connect(database_url) as database, database.begin() as writer:
        work = catalog.add_work(writer, a_work(1, rights=shares), at=NOON).work_id
    schema.downgrade(database_url, to="0001")
    schema.upgrade(database_url)

    with connect(database_url) as database:
        with database.read() as reader:
            row = catalog.get_work(reader, work)
        with database.begin() as writer:
            catalog.reassign(writer, work, shares[:1], at=NOON + timedelta(days=1))
        with database.read() as reader:
            later = catalog.get_work(reader, work)
    assert [(right.rights_holder, right.share_percent) for right in row.rights] == [
        ("Acme", 60.0),
        ("Bob", 40.0),
    ]
    assert {right.valid_from for right in row.rights} == {NOON}
    assert later.rights_holder == "Acme"
