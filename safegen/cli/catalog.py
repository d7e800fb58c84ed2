"""``safegen catalog``: the licensed works that outputs and uploads are compared with."""

import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from safegen.cli.options import config, emit, format_option, quiet_option
from safegen.errors import InputError

if TYPE_CHECKING:
    from registry.catalog import WorkRow
    from registry.licensing import LicenseRow
    from safegen.catalog import Added
    from safegen.declarations import Declaration

Command = TypeVar("Command", bound=Callable[..., Any])


@click.group()
def catalog_command() -> None:
    """Keep the licensed works that outputs are compared with.

    \b
    Exit status:
      0  done
      1  could not
      2  wrong use, or at least one file or line was not added

    \b
    Example:
      safegen catalog add music/ --rights-holder "Acme Records" --license CC0-1.0
      safegen catalog import works.csv
      safegen catalog list
    """


def _license_options(command: Command) -> Command:
    """Add the options that say who holds a work and what is allowed with it."""
    for option in (
        click.option(
            "--valid-until",
            default="",
            metavar="TIME",
            help="First day or moment without the license. [default: open-ended]",
        ),
        click.option(
            "--valid-from",
            default="",
            metavar="TIME",
            help="First day or moment with the license, UTC. [default: now]",
        ),
        click.option(
            "--use",
            "uses",
            multiple=True,
            type=click.Choice(["train", "style_reference", "sample", "sync"]),
            help="What is allowed; repeat for several. [default: nothing]",
        ),
        click.option(
            "--territory",
            "territories",
            multiple=True,
            metavar="CODE",
            help='ISO 3166 code; "*" is the world, "-US" beside it all but one. [default: *]',
        ),
        click.option("--license", "license_name", default="", metavar="NAME", help="Its name."),
    ):
        command = option(command)
    return command


@catalog_command.command()
@click.argument(
    "paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH..."
)
@click.option(
    "--rights-holder",
    default="",
    metavar="NAME",
    help='Who holds the works, or shares: "Acme (60%); Bob (40%)".',
)
@_license_options
@click.option("--title", default="", help="For a single file. [default: its tags, else its name]")
@click.option("--artist", default="", help="[default: from the tags]")
@click.option("--isrc", default="", help="For a single file. [default: from the tags]")
@click.option("--revive", is_flag=True, help="Bring works back that were removed before.")
@click.option("-j", "--jobs", type=click.IntRange(1, 64), help="Processes. [default: the cores]")
@format_option
@quiet_option
def add(
    paths: tuple[Path, ...],
    rights_holder: str,
    license_name: str,
    territories: tuple[str, ...],
    uses: tuple[str, ...],
    valid_from: str,
    valid_until: str,
    title: str,
    artist: str,
    isrc: str,
    revive: bool,
    jobs: int | None,
    format_: str,
    quiet: bool,
) -> None:
    """Add the recordings named, and those below the folders named.

    Titles, artists and ISRCs come from the files' tags. The rights-holder and the
    license are asked for if they are not given and stdin is a terminal. Adding a
    file twice changes nothing, so an interrupted run is finished by repeating it. A
    file that cannot be added is reported and the rest go on.

    \b
    Exit status:
      0  every recording is in the catalog
      1  failed before all were tried; what was printed is stored
      2  bad arguments, or at least one recording was not added

    \b
    Example:
      safegen catalog add music/ --rights-holder "Acme Records" \\
        --license "Acme blanket 2026" --use sync --territory DE --valid-until 2027-01-01
    """
    from safegen.catalog import declare
    from safegen.declarations import parse_isrc, parse_terms

    terms = parse_terms(
        rights_holder=_asked("Rights-holder", "--rights-holder", rights_holder),
        license_name=_asked("License", "--license", license_name),
        territories=" ".join(territories),
        uses=" ".join(uses),
        valid_from=valid_from,
        valid_until=valid_until,
    )
    declarations = declare(
        paths, terms, title=title.strip(), artist=artist.strip(), isrc=parse_isrc(isrc)
    )
    raise SystemExit(_ingest(declarations, (), jobs, revive=revive, format_=format_, quiet=quiet))


@catalog_command.command("import")
@click.argument("table", type=click.Path(dir_okay=False, path_type=Path), metavar="CSV")
@click.option("--rights-holder", default="", metavar="NAME", help="Where the column is empty.")
@_license_options
@click.option("--strict", is_flag=True, help="Add nothing if any line is bad.")
@click.option("--revive", is_flag=True, help="Bring works back that were removed before.")
@click.option("-j", "--jobs", type=click.IntRange(1, 64), help="Processes. [default: the cores]")
@format_option
@quiet_option
def import_(
    table: Path,
    rights_holder: str,
    license_name: str,
    territories: tuple[str, ...],
    uses: tuple[str, ...],
    valid_from: str,
    valid_until: str,
    strict: bool,
    revive: bool,
    jobs: int | None,
    format_: str,
    quiet: bool,
) -> None:
    """Add the recordings that a CSV file lists, one a line.

    The first line names the columns. Only `file` is required there; options stand in
    for empty cells. Bad lines are reported with their number, good ones are added
    unless --strict is given.

    \b
    Columns:
      file           path of the recording, relative to the CSV file's folder
      title artist   default: from the file's tags
      isrc iswc      with or without hyphens
      rights_holder  a name, or shares: Acme (60%); Bob (40%)
      license        the license's name
      territories    codes separated by spaces; * is the world; * -US is without one
      uses           of train style_reference sample sync; empty allows nothing
      valid_from     a day (midnight UTC) or a time with its zone; default: now
      valid_until    first moment without the license; default: open-ended

    \b
    Exit status:
      0  every recording is in the catalog
      1  failed before all were tried; what was printed is stored
      2  bad arguments, or at least one line was not added

    \b
    Example:
      safegen catalog import works.csv --license "Acme blanket 2026" --format jsonl
    """
    from safegen.declarations import BadLine, read_csv

    defaults = {
        "rights_holder": rights_holder,
        "license": license_name,
        "territories": " ".join(territories),
        "uses": " ".join(uses),
        "valid_from": valid_from,
        "valid_until": valid_until,
    }
    lines = tuple(read_csv(table, defaults=defaults))
    bad = tuple(line for line in lines if isinstance(line, BadLine))
    good = tuple(line for line in lines if not isinstance(line, BadLine))
    if strict and bad:
        for line in bad:
            click.echo(f"Error: {line.source}: {line.problem}", err=True)
        raise InputError(
            f"{table}: {len(bad)} of {len(lines)} lines are bad, nothing was added",
            remedy="Mend them, or leave --strict out to add the others.",
        )
    problems = tuple(f"{line.source}: {line.problem}" for line in bad)
    raise SystemExit(_ingest(good, problems, jobs, revive=revive, format_=format_, quiet=quiet))


@catalog_command.command("list")
@click.option("--rights-holder", default="", metavar="NAME", help="Only this one's works.")
@click.option("--removed", is_flag=True, help="Also works that were removed.")
@format_option
def list_(rights_holder: str, removed: bool, format_: str) -> None:
    """List the works by artist and title.

    \b
    Exit status:
      0  listed, maybe none
      1  no such rights-holder, or the database cannot be read

    \b
    Example:
      safegen catalog list --rights-holder "Acme Records" --format jsonl
    """
    from registry import catalog, schema
    from registry.scope import AuditScope

    with schema.open_database(config().database_url) as database, database.read() as session:
        scope = AuditScope.everything()
        if rights_holder:
            scope = AuditScope.of(catalog.find_rights_holder(session, rights_holder))
        works = catalog.list_works(session, scope, include_removed=removed)
    for work in works:
        emit(_work_json(work), _work_text(work), format_)


@catalog_command.command()
@click.argument("work_id", metavar="WORK_ID")
@format_option
def show(work_id: str, format_: str) -> None:
    """Show one work with its rights and licenses.

    \b
    Exit status:
      0  shown
      1  no such work

    \b
    Example:
      safegen catalog show e535483f-ddbc-5a44-a2d6-03da1f58548b
    """
    from registry import catalog, schema

    with schema.open_database(config().database_url) as database, database.read() as session:
        work = catalog.get_work(session, work_id)
    emit(_work_json(work), _work_page(work), format_)


@catalog_command.command()
@click.argument("work_ids", nargs=-1, required=True, metavar="WORK_ID...")
@format_option
def remove(work_ids: tuple[str, ...], format_: str) -> None:
    """Take works out of the catalog; nothing is compared with them from now on.

    Their rows stay, with the time of removal, because past decisions refer to them.
    `catalog add --revive` brings a work back. All of WORK_ID are removed, or none.

    \b
    Exit status:
      0  removed
      1  one of them is not in the catalog; nothing was removed

    \b
    Example:
      safegen catalog remove e535483f-ddbc-5a44-a2d6-03da1f58548b
    """
    from registry import catalog, schema

    at = datetime.now(UTC)
    with schema.open_database(config().database_url) as database, database.begin() as session:
        for work_id in work_ids:
            catalog.remove_work(session, work_id, at=at)
    for work_id in work_ids:
        emit({"work_id": work_id, "removed_at": _time(at)}, f"{work_id}  removed", format_)


@catalog_command.command()
@click.argument("work_ids", nargs=-1, required=True, metavar="WORK_ID...")
@_license_options
@format_option
def relicense(
    work_ids: tuple[str, ...],
    license_name: str,
    territories: tuple[str, ...],
    uses: tuple[str, ...],
    valid_from: str,
    valid_until: str,
    format_: str,
) -> None:
    """End the licenses of works now, and record a new one.

    What was allowed until now stays on record for past decisions.

    \b
    Exit status:
      0  recorded
      1  one of them is not in the catalog; nothing was changed
      2  bad arguments

    \b
    Example:
      safegen catalog relicense e535483f-ddbc-5a44-a2d6-03da1f58548b \\
        --license "Acme blanket 2027" --use sync --valid-until 2028-01-01
    """
    from registry import catalog, schema
    from safegen.declarations import parse_license

    license_ = parse_license(
        license_name=_asked("License", "--license", license_name),
        territories=" ".join(territories),
        uses=" ".join(uses),
        valid_from=valid_from,
        valid_until=valid_until,
    )
    at = datetime.now(UTC)
    with schema.open_database(config().database_url) as database, database.begin() as session:
        for work_id in work_ids:
            catalog.relicense(session, work_id, (license_,), at=at)
    for work_id in work_ids:
        emit(
            {"work_id": work_id, "license": license_.name, "recorded_at": _time(at)},
            f"{work_id}  {license_.name}",
            format_,
        )


@catalog_command.command()
@format_option
def stats(format_: str) -> None:
    """Count works, hours, rights-holders and fingerprints.

    \b
    Exit status:
      0  counted
      1  the database cannot be read

    \b
    Example:
      safegen catalog stats
    """
    from registry import catalog, schema

    with schema.open_database(config().database_url) as database, database.read() as session:
        held = catalog.stats(session)
    row = {
        "works": held.works,
        "removed": held.removed,
        "hours": round(held.seconds / 3600, 3),
        "rights_holders": held.rights_holders,
        "artists": held.artists,
        "fingerprints": held.fingerprints,
        "fingerprint_bytes": held.fingerprint_bytes,
        "last_change": held.last_change,
    }
    width = max(len(name) for name in row)
    text = "\n".join(f"{name.replace('_', ' '):<{width}}  {value}" for name, value in row.items())
    emit(row, text, format_)


@catalog_command.command()
@format_option
@quiet_option
def dedupe(format_: str, quiet: bool) -> None:
    """List pairs of works that share sound: copies, edits, remasters.

    Nothing is changed; take the one that should go out with `catalog remove`.

    \b
    Exit status:
      0  listed, maybe none
      1  the database cannot be read

    \b
    Example:
      safegen catalog dedupe --format jsonl
    """
    from registry import catalog, schema
    from safegen.duplicates import find_duplicates

    hidden = quiet or not sys.stderr.isatty()
    with schema.open_database(config().database_url) as database:
        with database.read() as session:
            length = catalog.stats(session).works
        pairs = 0
        with click.progressbar(
            length=length, label="Comparing", file=sys.stderr, hidden=hidden
        ) as bar:
            for compared in find_duplicates(database):
                for pair in compared.duplicates:
                    pairs += 1
                    with database.read() as session:
                        one = catalog.get_work(session, pair.work_id)
                        other = catalog.get_work(session, pair.other_work_id)
                    row = {
                        "work_id": one.work_id,
                        "title": one.title,
                        "rights_holder": one.rights_holder,
                        "other_work_id": other.work_id,
                        "other_title": other.title,
                        "other_rights_holder": other.rights_holder,
                        "shared_seconds": round(pair.shared_seconds, 1),
                        "score": round(pair.score, 4),
                    }
                    text = (
                        f"{pair.shared_seconds:6.1f} s  {pair.score:.2f}  "
                        f"{one.work_id} {one.title}  =  {other.work_id} {other.title}"
                    )
                    emit(row, text, format_)
                bar.update(1)
    if not quiet:
        click.echo(f"{pairs} pairs among {length} works", err=True)


def _asked(question: str, option: str, given: str) -> str:
    """Take an option's value, else ask for it on a terminal, else name the option."""
    if given.strip():
        return given.strip()
    if not _is_terminal():
        raise InputError(
            f"{option} is missing and there is no terminal to ask on",
            remedy=f"Give {option} NAME.",
        )
    return str(click.prompt(question, err=True)).strip()


def _is_terminal() -> bool:
    return sys.stdin.isatty()


def _ingest(
    declarations: Sequence["Declaration"],
    problems: Sequence[str],
    jobs: int | None,
    *,
    revive: bool,
    format_: str,
    quiet: bool,
) -> int:
    """Add with a progress bar, print a row each, and give the exit status."""
    from registry import schema
    from safegen.catalog import add as add_works
    from safegen.catalog import default_jobs, total_bytes

    for problem in problems:
        click.echo(f"Error: {problem}", err=True)
    failed, created, present, differing = len(problems), 0, 0, 0
    # On a terminal that shows the rows too, the rows are the progress.
    hidden = quiet or not sys.stderr.isatty()
    with (
        schema.open_database(config().database_url) as database,
        click.progressbar(
            length=total_bytes(declarations), label="Adding", file=sys.stderr, hidden=hidden
        ) as bar,
    ):
        rows: Iterator[Added] = add_works(
            database,
            declarations,
            now=lambda: datetime.now(UTC),
            jobs=jobs or default_jobs(len(declarations)),
            revive=revive,
        )
        for row in rows:
            if row.problem:
                failed += 1
                name = "" if row.source == str(row.file) else f"{row.source}: "
                click.echo(f"\rError: {name}{row.problem}", err=True)
            elif row.created:
                created += 1
            else:
                present += 1
                differing += row.license_differs
            emit(_added_json(row), _added_text(row), format_)
            bar.update(row.size_bytes)
    if not quiet:
        click.echo(f"{created} added, {present} there before, {failed} not added", err=True)
    if differing:
        click.echo(
            f"{differing} of those there before are under other license terms, which were kept.\n"
            "Run `safegen catalog relicense WORK_ID --license NAME` to change them.",
            err=True,
        )
    return 2 if failed else 0


def _added_json(row: "Added") -> dict[str, Any]:
    return {
        "file": str(row.file),
        "work_id": row.work_id or None,
        "title": row.title,
        "isrc": row.isrc,
        "rights_holder": row.rights_holder,
        "seconds": round(row.seconds, 3),
        "created": row.created,
        "license_differs": row.license_differs,
        "error": row.problem or None,
    }


def _added_text(row: "Added") -> str:
    if row.problem:
        return f"{'not added':<36}  {row.file}"
    note = "" if row.created else "  (there before)"
    return f"{row.work_id}  {_clock(row.seconds)}  {row.title} - {row.rights_holder}{note}"


def _work_json(work: "WorkRow") -> dict[str, Any]:
    return {
        "work_id": work.work_id,
        "title": work.title,
        "artist": work.artist,
        "isrc": work.isrc,
        "iswc": work.iswc,
        "rights_holder": work.rights_holder,
        "rights": [
            {"rights_holder": right.rights_holder, "share_percent": right.share_percent}
            for right in work.rights
        ],
        "licenses": [_license_json(license_) for license_ in work.licenses],
        "seconds": round(work.seconds, 3),
        "sha256": work.content_sha256,
        "source_name": work.source_name,
        "added_at": _time(work.added_at),
        "removed_at": None if work.removed_at is None else _time(work.removed_at),
    }


def _license_json(license_: "LicenseRow") -> dict[str, Any]:
    return {
        "license_id": license_.license_id,
        "name": license_.name,
        "territories": list(license_.territories),
        "uses": list(license_.uses),
        "valid_from": _time(license_.valid_from),
        "valid_until": None if license_.valid_until is None else _time(license_.valid_until),
    }


def _work_text(work: "WorkRow") -> str:
    by = f" by {work.artist}" if work.artist else ""
    gone = "" if work.removed_at is None else f"  (removed {work.removed_at:%Y-%m-%d})"
    return f"{work.work_id}  {_clock(work.seconds)}  {work.title}{by} - {work.rights_holder}{gone}"


def _work_page(work: "WorkRow") -> str:
    rights = ", ".join(f"{right.rights_holder} {right.share_percent:g}%" for right in work.rights)
    lines = [
        ("work", work.work_id),
        ("title", work.title),
        ("artist", work.artist),
        ("isrc", work.isrc),
        ("iswc", work.iswc),
        ("length", _clock(work.seconds).strip()),
        ("rights", rights),
        ("file", work.source_name),
        ("sha256", work.content_sha256),
        ("added", _time(work.added_at)),
        ("removed", "" if work.removed_at is None else _time(work.removed_at)),
    ]
    for license_ in work.licenses:
        until = "open" if license_.valid_until is None else _time(license_.valid_until)
        uses = ", ".join(license_.uses) or "nothing"
        where = " ".join(license_.territories)
        window = f"[{_time(license_.valid_from)}, {until})"
        lines.append(("license", f"{license_.name}: {uses} in {where} {window}"))
    return "\n".join(f"{name:<8} {value}" for name, value in lines if value)


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60:3d}:{int(seconds) % 60:02d}"


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
