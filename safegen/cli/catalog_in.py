"""The ways into the catalog: ``add``, ``import`` of a table or of fingerprints, ``fingerprint``."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from safegen.cli.options import config, emit, format_option, quiet_option
from safegen.errors import InputError

if TYPE_CHECKING:
    from registry.session import Database
    from safegen.catalog import Added
    from safegen.declarations import Declaration, Terms
    from safegen.handover import Written

Command = TypeVar("Command", bound=Callable[..., Any])
_MOST_ERRORS = 200
"""Lines of errors on stderr; a hostile file may have a quarter of a million."""


def license_options(command: Command) -> Command:
    """Add the options that say what is allowed with works, as the keywords of ``as_cells``."""
    for option in (
        click.option(
            "--attribution", default="", metavar="TEXT", help="The line to show, if owed."
        ),
        click.option(
            "--obligation",
            "obligations",
            multiple=True,
            type=click.Choice(["attribution", "share_alike"]),
            help="What is owed for every use; repeat for several. [default: nothing]",
        ),
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


def _holder_options(command: Command) -> Command:
    """Add the options that say who holds works."""
    for option in (
        click.option("--isni", default="", metavar="ISNI", help="Of the rights-holder; or A; B."),
        click.option("--ipi", default="", metavar="IPI", help="Of the rights-holder; or A; B."),
        click.option(
            "--rights-holder",
            default="",
            metavar="NAME",
            help='Who holds the works, or shares: "Acme (60%); Bob (40%)".',
        ),
    ):
        command = option(command)
    return command


_rescan_option = click.option(
    "--rescan/--no-rescan",
    "with_rescan",
    default=True,
    show_default=True,
    help="Compare past outputs with the new works, in the background.",
)


def as_cells(words: "dict[str, str | tuple[str, ...]]") -> dict[str, str]:
    """Write options as the cells of a table are written."""
    return {
        name: given if isinstance(given, str) else " ".join(given) for name, given in words.items()
    }


def asked(question: str, option: str, given: str) -> str:
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


def _terms(words: "dict[str, str | tuple[str, ...]]") -> "Terms":
    from safegen.declarations import parse_terms

    cells = as_cells(words)
    cells["rights_holder"] = asked("Rights-holder", "--rights-holder", cells["rights_holder"])
    cells["license_name"] = asked("License", "--license", cells["license_name"])
    return parse_terms(**cells)


@click.command()
@click.argument(
    "paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH..."
)
@_holder_options
@license_options
@click.option("--title", default="", help="For a single file. [default: its tags, else its name]")
@click.option("--artist", default="", help="[default: from the tags]")
@click.option("--isrc", default="", help="For a single file. [default: from the tags]")
@click.option("--revive", is_flag=True, help="Bring works back that were removed before.")
@_rescan_option
@click.option("-j", "--jobs", type=click.IntRange(1, 64), help="Processes. [default: the cores]")
@format_option
@quiet_option
def add(
    paths: tuple[Path, ...],
    title: str,
    artist: str,
    isrc: str,
    revive: bool,
    with_rescan: bool,
    jobs: int | None,
    format_: str,
    quiet: bool,
    **words: str | tuple[str, ...],
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
    from safegen.identifiers import parse_isrc

    declarations = declare(
        paths, _terms(words), title=title.strip(), artist=artist.strip(), isrc=parse_isrc(isrc)
    )
    raise SystemExit(
        _ingest(
            declarations,
            0,
            jobs,
            revive=revive,
            with_rescan=with_rescan,
            format_=format_,
            quiet=quiet,
        )
    )


@click.command("import")
@click.argument(
    "source", type=click.Path(path_type=Path), metavar="FILE.csv|FILE.sfp", required=False
)
@_holder_options
@license_options
@click.option("--template", is_flag=True, help="Print a table with every column, and stop.")
@click.option("--strict", is_flag=True, help="Add nothing if anything is bad.")
@click.option("--revive", is_flag=True, help="Bring works back that were removed before.")
@_rescan_option
@click.option("-j", "--jobs", type=click.IntRange(1, 64), help="Processes. [default: the cores]")
@format_option
@quiet_option
def import_(
    source: Path | None,
    template: bool,
    strict: bool,
    revive: bool,
    with_rescan: bool,
    jobs: int | None,
    format_: str,
    quiet: bool,
    **words: str | tuple[str, ...],
) -> None:
    """Add the recordings that a CSV file lists, or the works of a .sfp file.

    In a CSV file the first line names the columns. Only `file` is required there;
    options stand in for empty cells. Every bad cell is reported with its line and
    column.

    A .sfp file holds fingerprints that a rights-holder made with `safegen catalog
    fingerprint`; the audio stays there. The rights-holder and the license are given
    here. It is read entry by entry, nothing in it is trusted, and bad entries are
    reported with their place.

    What is good is added, unless --strict is given. Repeating an interrupted import
    finishes it.

    \b
    Columns (docs/catalog.md has them in full, --template an example):
      file           path of the recording, relative to the CSV file's folder
      title artist   default: from the file's tags
      isrc iswc      with or without hyphens; check digits are checked
      musicbrainz_id of the recording
      rights_holder  a name, or shares: Acme (60%); Bob (40%)
      ipi isni holder_territories   of each of them, in that order: A; B
      license        the license's name
      territories    codes separated by spaces; * is the world; * -US is without one
      uses           of train style_reference sample sync; empty allows nothing
      valid_from     a day (midnight UTC) or a time with its zone; default: now
      valid_until    first moment without the license; default: open-ended
      obligations    of attribution share_alike
      attribution    the line to show, if attribution is owed

    \b
    Exit status:
      0  every recording is in the catalog
      1  failed before all were tried; what was printed is stored
      2  bad arguments, or at least one line or entry was not added

    \b
    Example:
      safegen catalog import works.csv --license "Acme blanket 2026" --format jsonl
      safegen catalog import acme.sfp --rights-holder "Acme Records" --license Acme-2026
    """
    from safegen.exchange import SUFFIX
    from safegen.works_csv import template as table_template

    if template:
        click.echo(table_template(), nl=False)
        return
    if source is None:
        raise InputError("no file is named", remedy="Name a .csv or .sfp file, or --template.")
    if source.suffix.lower() == SUFFIX:
        status = _import_fingerprints(
            source,
            words,
            strict=strict,
            revive=revive,
            with_rescan=with_rescan,
            format_=format_,
            quiet=quiet,
        )
    else:
        status = _import_table(
            source,
            words,
            jobs,
            strict=strict,
            revive=revive,
            with_rescan=with_rescan,
            format_=format_,
            quiet=quiet,
        )
    raise SystemExit(status)


def _import_table(
    table: Path,
    words: "dict[str, str | tuple[str, ...]]",
    jobs: int | None,
    *,
    strict: bool,
    revive: bool,
    with_rescan: bool,
    format_: str,
    quiet: bool,
) -> int:
    from safegen.works_csv import BadCell, read_csv

    defaults = as_cells(words)
    defaults["license"] = defaults.pop("license_name")
    lines = tuple(read_csv(table, defaults=defaults))
    bad = tuple(line for line in lines if isinstance(line, BadCell))
    good = tuple(line for line in lines if not isinstance(line, BadCell))
    bad_lines = len({cell.source for cell in bad})
    problems = _Problems()
    for cell in bad:
        problems.add(str(cell))
    problems.finish()
    if strict and bad:
        raise InputError(
            f"{table}: {bad_lines} of {bad_lines + len(good)} lines are bad, nothing was added",
            remedy="Mend them, or leave --strict out to add the others.",
        )
    if strict:
        return _import_whole(
            table, good, jobs, revive=revive, with_rescan=with_rescan, format_=format_, quiet=quiet
        )
    return _ingest(
        good, bad_lines, jobs, revive=revive, with_rescan=with_rescan, format_=format_, quiet=quiet
    )


def _import_whole(
    table: Path,
    declarations: Sequence["Declaration"],
    jobs: int | None,
    *,
    revive: bool,
    with_rescan: bool,
    format_: str,
    quiet: bool,
) -> int:
    import hashlib

    from safegen.catalog import default_jobs, total_bytes
    from safegen.whole_import import add_whole

    folder = config().home / "imports"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = hashlib.sha256(str(table.resolve()).encode(errors="surrogateescape")).hexdigest()[:16]

    def rows(database: "Database") -> Iterator["Added"]:
        return add_whole(
            database,
            declarations,
            stage=folder / f"{name}.sfp",
            now=lambda: datetime.now(UTC),
            jobs=jobs or default_jobs(len(declarations)),
            revive=revive,
        )

    size = total_bytes(declarations)
    return _show(
        rows, size, bad=0, is_late=True, with_rescan=with_rescan, format_=format_, quiet=quiet
    )


def _import_fingerprints(
    file: Path,
    words: "dict[str, str | tuple[str, ...]]",
    *,
    strict: bool,
    revive: bool,
    with_rescan: bool,
    format_: str,
    quiet: bool,
) -> int:
    from safegen.exchange import read_head
    from safegen.handover import take_over, take_over_whole

    read_head(file)  # before anything is asked
    terms = _terms(words)

    def rows(database: "Database") -> Iterator["Added"]:
        take = take_over_whole if strict else take_over
        return take(database, file, terms, now=lambda: datetime.now(UTC), revive=revive)

    size = file.stat().st_size
    return _show(
        rows, size, bad=0, is_late=strict, with_rescan=with_rescan, format_=format_, quiet=quiet
    )


@click.command()
@click.argument(
    "paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH..."
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    metavar="FILE.sfp",
    help="The file to write.",
)
@click.option("--overwrite", is_flag=True, help="Replace it if it is there.")
@click.option("-j", "--jobs", type=click.IntRange(1, 64), help="Processes. [default: the cores]")
@format_option
@quiet_option
def fingerprint(
    paths: tuple[Path, ...],
    out: Path,
    overwrite: bool,
    jobs: int | None,
    format_: str,
    quiet: bool,
) -> None:
    """Write fingerprints of recordings into one .sfp file, for someone else's catalog.

    For rights-holders: the audio stays here, nothing is sent anywhere, and no catalog
    or database is needed. The file holds titles, artists and ISRCs from the files'
    tags, lengths, hashes and fingerprints; sound cannot be made from them. Send it to
    whoever keeps the catalog, who takes it over with `safegen catalog import`.

    An interrupted run leaves FILE.sfp.part; repeating the command continues there.

    \b
    Exit status:
      0  every recording is in the file
      1  failed before all were tried; repeat the command to go on
      2  bad arguments, or at least one recording could not be heard

    \b
    Example:
      safegen catalog fingerprint music/ --out acme.sfp
    """
    import importlib.metadata

    from safegen.catalog import default_jobs, find_files, size_of
    from safegen.handover import write_file

    files = find_files(paths)
    rows = write_file(
        paths,
        out,
        jobs=jobs or default_jobs(len(files)),
        made_by=f"safegen {importlib.metadata.version('safegen')}",
        now=datetime.now(UTC),
        overwrite=overwrite,
    )
    problems = _Problems()
    written = before = 0
    try:
        with progress("Listening", sum(map(size_of, files)), quiet=quiet) as advance:
            for row in rows:
                if row.problem:
                    problems.add(row.problem)
                elif row.created:
                    written += 1
                else:
                    before += 1
                emit(_written_json(row), _written_text(row), format_)
                advance(row.size_bytes)
    except KeyboardInterrupt:
        click.echo(f"\n{out}.part is kept. Repeat the command to go on.", err=True)
        raise
    problems.finish()
    if not quiet:
        size = out.stat().st_size
        click.echo(
            f"{out}: {written} written, {before} there before, {problems.count} left out, "
            f"{size} bytes",
            err=True,
        )
    raise SystemExit(2 if problems.count else 0)


def _ingest(
    declarations: Sequence["Declaration"],
    bad: int,
    jobs: int | None,
    *,
    revive: bool,
    with_rescan: bool,
    format_: str,
    quiet: bool,
) -> int:
    """Add recordings that are here, and give the exit status."""
    from safegen.catalog import add as add_works
    from safegen.catalog import default_jobs, total_bytes

    def rows(database: "Database") -> Iterator["Added"]:
        return add_works(
            database,
            declarations,
            now=lambda: datetime.now(UTC),
            jobs=jobs or default_jobs(len(declarations)),
            revive=revive,
        )

    size = total_bytes(declarations)
    return _show(
        rows, size, bad=bad, is_late=False, with_rescan=with_rescan, format_=format_, quiet=quiet
    )


def _show(
    add_to: Callable[["Database"], Iterator["Added"]],
    size_bytes: int,
    *,
    bad: int,
    is_late: bool,
    with_rescan: bool,
    format_: str,
    quiet: bool,
) -> int:
    """Add with a progress bar, print a row each, and give the exit status.

    Args:
        add_to: Starts adding.
        size_bytes: Of all that will be added, for progress.
        bad: Lines that were refused before.
        is_late: Nothing is stored before the end, so nothing is printed before it.
        with_rescan: Compare past outputs with what is new, in the background.
        format_: Of the rows.
        quiet: Without progress and without the counts.
    """
    from registry import schema

    failed, created, present, differing = bad, 0, 0, 0
    kept: list[Added] = []
    problems = _Problems()
    try:
        with (
            schema.open_database(config().database_url) as database,
            progress("Adding", size_bytes, quiet=quiet) as advance,
        ):
            for row in add_to(database):
                advance(row.size_bytes)
                if not row.work_id and not row.problem:
                    continue  # heard, not added yet
                if row.problem:
                    failed += 1
                    name = "" if row.source == str(row.file) else f"{row.source}: "
                    problems.add(f"{name}{row.problem}")
                elif row.created:
                    created += 1
                else:
                    present += 1
                    differing += row.license_differs
                if is_late:
                    kept.append(row)
                else:
                    emit(_added_json(row), _added_text(row), format_)
    finally:
        problems.finish()
    for row in kept:
        emit(_added_json(row), _added_text(row), format_)
    if not quiet:
        click.echo(f"{created} added, {present} there before, {failed} not added", err=True)
    if differing:
        click.echo(
            f"{differing} of those there before are under other license terms, which were kept.\n"
            "Run `safegen catalog relicense WORK_ID --license NAME` to change them.",
            err=True,
        )
    if with_rescan:
        _compare_past_outputs(quiet=quiet)
    return 2 if failed else 0


def _compare_past_outputs(*, quiet: bool) -> None:
    """Start a re-scan in the background if past outputs are behind the catalog."""
    from registry import schema
    from safegen import background
    from safegen.provenance.keys import KeyStore
    from safegen.rescan import standing

    settings = config()
    with schema.open_database(settings.database_url) as database, database.read() as session:
        is_behind = standing(session).is_behind
    # Findings are logged, and without keys there is no log: nothing was released either.
    if not is_behind or not KeyStore(settings.keys).exists:
        return
    try:
        started = background.start_rescan(settings)
    except OSError as error:
        # What was added is added; only the comparison is still to be made.
        click.echo(
            f"Past outputs are not compared yet: {error}\nRun `safegen catalog rescan`.", err=True
        )
        return
    if quiet:
        return
    say = (
        f"Past outputs are compared in the background (process {started.process_id})"
        if started
        else "The re-scan that is running compares past outputs with what is new, too"
    )
    click.echo(f"{say}, see {background.log_of(settings)}", err=True)


class _Problems:
    """Prints problems on stderr as they come, the first some of them."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, problem: str) -> None:
        """Print one, over a progress bar that may be there."""
        self.count += 1
        if self.count <= _MOST_ERRORS:
            click.echo(
                f"\rError: {problem}" if sys.stderr.isatty() else f"Error: {problem}", err=True
            )

    def finish(self) -> None:
        """Say how many were not printed."""
        if self.count > _MOST_ERRORS:
            click.echo(f"... and {self.count - _MOST_ERRORS} more", err=True)


@contextmanager
def progress(label: str, length: int, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Draw how far it is, works a second and the time left; give what moves it on."""
    started = time.monotonic()
    works = 0
    hidden = quiet or not sys.stderr.isatty()
    with click.progressbar(
        length=length,
        label=label,
        file=sys.stderr,
        hidden=hidden,
        item_show_func=lambda count: pace(count or 0, time.monotonic() - started),
    ) as bar:

        def advance(size_bytes: int) -> None:
            nonlocal works
            works += 1
            bar.update(size_bytes, works)

        yield advance


def pace(works: int, seconds: float) -> str:
    """Say how fast it goes."""
    rate = works / max(seconds, 1e-3)
    return f"{works} works, {rate:.1f} works/s" if works else ""


def _written_json(row: "Written") -> dict[str, Any]:
    return {
        "file": str(row.file),
        "title": row.title,
        "isrc": row.isrc,
        "seconds": round(row.seconds, 3),
        "sha256": row.content_sha256,
        "created": row.created,
        "error": row.problem or None,
    }


def _written_text(row: "Written") -> str:
    if row.problem:
        return f"left out  {row.file}"
    return f"{'written ' if row.created else 'there   '}  {row.file}"


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
    minutes, seconds = divmod(int(row.seconds), 60)
    return f"{row.work_id}  {minutes:3d}:{seconds:02d}  {row.title} - {row.rights_holder}{note}"
