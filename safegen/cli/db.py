"""``safegen db``: create or upgrade the database."""

import click

from safegen.cli.options import config, emit, format_option


@click.group()
def db_command() -> None:
    """Create, upgrade and look at the database.

    \b
    Exit status:
      0  done
      1  the database cannot be reached, or is not up to date
      2  bad arguments

    \b
    Example:
      safegen db upgrade
      SAFEGEN_DATABASE_URL=postgresql://safegen@db/safegen safegen db upgrade
    """


@db_command.command()
@format_option
def upgrade(format_: str) -> None:
    """Create the database if need be and bring it to this version's shape.

    Safe to repeat, and safe to run from two machines at once. An upgrade happens
    whole or not at all.

    \b
    Exit status:
      0  the database is up to date
      1  it could not be upgraded; it is as it was

    \b
    Example:
      safegen db upgrade
    """
    from registry import schema

    url = config().database_url
    before = schema.upgrade(url)
    name = schema.display_name(url)
    row = {"database": name, "before": before, "revision": schema.HEAD}
    if before == schema.HEAD:
        text = f"{name}: already at revision {before}"
    else:
        text = f"{name}: {before or 'empty'} -> revision {schema.HEAD}"
    emit(row, text, format_)


@db_command.command()
@format_option
def status(format_: str) -> None:
    """Say at which revision the database is, and how much it holds.

    \b
    Exit status:
      0  up to date
      1  missing, empty, older or newer; the message names the command to run

    \b
    Example:
      safegen db status --format jsonl
    """
    from registry import catalog, schema

    url = config().database_url
    database = schema.open_database(url)
    with database.read() as session:
        held = catalog.stats(session)
    row = {
        "database": database.name,
        "revision": schema.HEAD,
        "works": held.works,
        "last_change": held.last_change,
    }
    text = f"{database.name}: revision {schema.HEAD}, up to date; {held.works} works"
    database.close()
    emit(row, text, format_)
