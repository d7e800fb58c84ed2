"""Is the database of the shape this version expects, and how does it get there?

Migrations are Alembic scripts in the package ``migrations``, found beside this
package, so they work from an installed wheel without an ``alembic.ini``.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import inspect, text

from registry.errors import SchemaOutdatedError, UnavailableError
from registry.session import Database, connect, parse_url

if TYPE_CHECKING:
    from alembic.config import Config

HEAD: Final = "0003"
"""The revision this version works with; a test compares it with the scripts."""

MIGRATIONS: Final = Path(__file__).resolve().parent.parent / "migrations"
_REMEDY: Final = "Run `safegen db upgrade`."


def open_database(url: str) -> Database:
    """Connect and check: what every command but ``db`` does first.

    Raises:
        SchemaOutdatedError: If the database is missing, empty, older or newer.
    """
    database = connect(url)
    try:
        check(database)
    except BaseException:
        database.close()
        raise
    return database


def upgrade(url: str, *, to: str = HEAD) -> str:
    """Create the database if need be and bring it to ``to``, in one transaction.

    Two processes may do this at once: the second waits and finds nothing to do.

    Returns:
        The revision it was at before, "" for an empty database.

    Raises:
        SchemaOutdatedError: If the database is newer than this version.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        _create_file(Path(str(parsed.database)))
    with connect(url) as database:
        before = revision(database)
        if before > HEAD:
            raise SchemaOutdatedError(_newer(database, before))
        _run(database, to, is_upgrade=True)
    return before


def downgrade(url: str, *, to: str) -> None:
    """Go back to revision ``to``, or "base" for nothing; for tests of the migrations."""
    with connect(url) as database:
        _run(database, to, is_upgrade=False)


def revision(database: Database) -> str:
    """Name the revision a database is at; "" when it is empty."""
    with database.read() as session:
        if not inspect(session.connection()).has_table("alembic_version"):
            return ""
        return str(session.scalar(text("SELECT version_num FROM alembic_version")) or "")


def check(database: Database) -> None:
    """Refuse to work on a database of another shape.

    Raises:
        SchemaOutdatedError: If it is missing, empty, older or newer; the message
            names the command to run.
        UnavailableError: If a PostgreSQL server does not answer.
    """
    try:
        found = revision(database)
    except UnavailableError as error:
        if database.is_sqlite and "unable to open database file" in str(error):
            msg = f"{database.name}: there is no database yet\n{_REMEDY}"
            raise SchemaOutdatedError(msg) from error
        raise
    if found == HEAD:
        return
    if found > HEAD:
        raise SchemaOutdatedError(_newer(database, found))
    state = f"at revision {found}" if found else "empty"
    msg = f"{database.name}: the database is {state}, this version needs revision {HEAD}\n{_REMEDY}"
    raise SchemaOutdatedError(msg)


def display_name(url: str) -> str:
    """Write a database's URL without its password."""
    return parse_url(url).render_as_string(hide_password=True)


def alembic_config() -> "Config":
    """Point Alembic at the installed scripts; ``env.py`` reads ``attributes``."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


def _run(database: Database, to: str, *, is_upgrade: bool) -> None:
    from alembic import command

    config = alembic_config()
    with database.ddl() as connection:
        config.attributes["connection"] = connection
        (command.upgrade if is_upgrade else command.downgrade)(config, to)


def _create_file(path: Path) -> None:
    """Make an empty private file in a private folder; SQLite's side files inherit its mode."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))


def _newer(database: Database, found: str) -> str:
    return (
        f"{database.name}: the database is at revision {found}, this version knows up to {HEAD}\n"
        "Install the newer safegen that wrote it, then run `safegen db upgrade`."
    )
