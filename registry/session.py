"""How is the memory opened, and who may write at one time?

One writer at a time, everywhere: the log's positions have no gaps, so its writers
must be serial. SQLite gets there with BEGIN IMMEDIATE, PostgreSQL with a
transaction-scoped advisory lock. Readers never wait: they see one snapshot.
"""

import importlib.util
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, StatementError
from sqlalchemy.orm import Session
from sqlalchemy.pool import QueuePool

from registry.errors import ConflictError, InvalidError, RegistryError, UnavailableError

LOCK_SECONDS: Final = 30
"""How long a writer waits for the writer before it."""

_WRITER: Final = "safegen_writer"
_ADVISORY_KEY: Final = 0x5AFE6E4  # any constant will do; PostgreSQL scopes it to the database


class Database:
    """An opened database; cheap to keep, safe to share between threads.

    Open it after a fork, not before: connections do not survive one.
    """

    def __init__(self, engine: Engine, *, name: str) -> None:
        self._readers = engine
        self._writers = engine.execution_options(**{_WRITER: True})
        self.name = name

    @property
    def is_sqlite(self) -> bool:
        """Whether this is the embedded database."""
        return self._readers.dialect.name == "sqlite"

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """Open the one write transaction; commit at the end, roll back on any exception.

        Raises:
            ConflictError: If a write breaks a constraint.
        InvalidError: If a time is naive or a number in JSON is not finite.
            UnavailableError: If another writer kept the lock too long, or the database
                cannot be reached, or the disk is full.
        """
        with (
            _translated(self.name),
            Session(self._writers, expire_on_commit=False) as session,
            session.begin(),
        ):
            session.connection()  # take the lock now, not at the first statement
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a read-only snapshot: everything asked inside is of one moment.

        Raises:
            UnavailableError: If the database cannot be reached.
        """
        with (
            _translated(self.name),
            Session(self._readers, expire_on_commit=False, autoflush=False) as session,
        ):
            yield session

    @contextmanager
    def ddl(self) -> Iterator[Connection]:
        """Open a write transaction for the schema; all of it or nothing happens."""
        with _translated(self.name), self._writers.begin() as connection:
            yield connection

    def __enter__(self) -> "Database":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection; on SQLite this folds the write-ahead log back."""
        self._readers.dispose()


def connect(url: str) -> Database:
    """Open a database that exists; nothing is created or checked here.

    Args:
        url: An SQLAlchemy URL of SQLite (a file) or PostgreSQL. A plain
            ``postgresql://`` uses psycopg where it is installed, else pg8000.

    Raises:
        RegistryError: If the URL is not of those two, or lacks a driver.
    """
    parsed = parse_url(url)
    name = parsed.render_as_string(hide_password=True)
    if parsed.get_backend_name() == "sqlite":
        return Database(_sqlite_engine(Path(parsed.database or "")), name=name)
    try:
        engine = create_engine(parsed, pool_pre_ping=True, json_serializer=_json)
    except ModuleNotFoundError as error:
        msg = f"{name}: the driver {error.name} is not installed\nRun `pip install pg8000`."
        raise RegistryError(msg) from error
    event.listen(engine, "begin", _begin_postgresql)
    return Database(engine, name=name)


def parse_url(url: str) -> URL:
    """Read a database URL and choose the driver.

    Raises:
        RegistryError: If it is no URL, of another database, or SQLite without a file.
    """
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except ArgumentError as error:
        msg = f"the database URL cannot be read: {error}\nUse sqlite:///FILE or postgresql://..."
        raise RegistryError(msg) from error
    if backend == "sqlite":
        if parsed.database in (None, "", ":memory:") or parsed.query:
            msg = f"{url}: the registry needs a plain file\nUse sqlite:///FILE."
            raise RegistryError(msg)
        return parsed
    if backend in ("postgresql", "postgres"):
        return _with_driver(parsed.set(drivername=parsed.drivername.replace("postgres:", "", 1)))
    msg = f"{backend}: the registry works on SQLite and PostgreSQL\nUse one of them."
    raise RegistryError(msg)


def _with_driver(url: URL) -> URL:
    """Give a plain PostgreSQL URL its driver, and pg8000 its spelling of a socket folder."""
    if url.drivername in ("postgresql", "postgres"):
        driver = "psycopg" if importlib.util.find_spec("psycopg") else "pg8000"
        url = url.set(drivername=f"postgresql+{driver}")
    if url.drivername != "postgresql+pg8000":
        return url
    query = dict(url.query)
    folder = query.pop("host", "")
    if folder:
        if not isinstance(folder, str) or not folder.startswith("/"):
            msg = f"host={folder!r} in a database URL must be one absolute folder of sockets"
            raise RegistryError(msg)
        port = query.pop("port", None) or url.port or 5432
        query["unix_sock"] = f"{folder.rstrip('/')}/.s.PGSQL.{port}"
    if query.pop("sslmode", "disable") not in ("disable", "allow", "prefer"):
        msg = "sslmode needs the driver psycopg\nRun `pip install psycopg[binary]`."
        raise RegistryError(msg)
    return url.set(query=query)


def _sqlite_engine(path: Path) -> Engine:
    address = f"file:{quote(str(path.absolute()))}?mode=rw"

    def open_file() -> sqlite3.Connection:
        # No implicit transactions: `_begin_sqlite` says which kind each one is.
        return sqlite3.connect(
            address, uri=True, timeout=LOCK_SECONDS, isolation_level=None, check_same_thread=False
        )

    engine = create_engine(
        "sqlite://", creator=open_file, poolclass=QueuePool, json_serializer=_json
    )
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _json(value: object) -> str:
    """Write standard JSON only: NaN would be accepted here and refused by PostgreSQL."""
    return json.dumps(value, allow_nan=False, ensure_ascii=False)


def _configure_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    """Make commits durable and references binding; every connection needs to be told."""
    for pragma in (
        f"busy_timeout = {LOCK_SECONDS * 1000}",
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
        "trusted_schema = OFF",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    is_writer = bool(connection.get_execution_options().get(_WRITER))
    connection.exec_driver_sql(f"PRAGMA query_only = {'OFF' if is_writer else 'ON'}")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writer else "BEGIN")


def _begin_postgresql(connection: Connection) -> None:
    if connection.get_execution_options().get(_WRITER):
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_KEY})")
    else:
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")


@contextmanager
def _translated(name: str) -> Iterator[None]:
    """Raise the registry's errors for what the driver says."""
    try:
        yield
    except DBAPIError as error:
        if isinstance(error, IntegrityError) or _sqlstate(error).startswith("23"):
            msg = f"{name}: the write contradicts what is stored ({_first_line(error)})"
            raise ConflictError(msg) from error
        msg = (
            f"{name}: the database did not answer ({_first_line(error)})\n"
            "Run `safegen db status` to see whether it exists and is up to date."
        )
        raise UnavailableError(msg) from error
    except StatementError as error:  # a value was refused before it reached the driver
        raise InvalidError(str(error.orig)) from error


def _sqlstate(error: DBAPIError) -> str:
    """PostgreSQL's error code; pg8000 calls only one of class 23 an IntegrityError."""
    code = getattr(error.orig, "sqlstate", None) or _pg8000_fields(error).get("C", "")
    return str(code or "")


def _first_line(error: DBAPIError) -> str:
    message = _pg8000_fields(error).get("M") or str(error.orig) or type(error.orig).__name__
    return message.splitlines()[0][:300]


def _pg8000_fields(error: DBAPIError) -> dict[str, str]:
    arguments = getattr(error.orig, "args", ())
    return arguments[0] if arguments and isinstance(arguments[0], dict) else {}
