"""``safegen catalog``: the licensed works that outputs and uploads are compared with."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from safegen.cli.catalog_in import (
    add,
    as_cells,
    asked,
    fingerprint,
    import_,
    license_options,
    progress,
)
from safegen.cli.find import find
from safegen.cli.options import config, emit, format_option, moment, quiet_option
from safegen.cli.reassign import reassign
from safegen.cli.reindex import reindex
from safegen.cli.rescan import rescan
from safegen.errors import InputError

if TYPE_CHECKING:
    from registry.catalog import RightRow, WorkRow
    from registry.licensing import LicenseRow
    from safegen.duplicates import Duplicate


@click.group()
def catalog_command() -> None:
    """Keep the licensed works that outputs are compared with.

    \b
    Exit status:
      0  done
      1  could not
      2  wrong use, or at least one file or line was not added
      3  the catalog has what was asked for (find), or quotes it unlicensed (rescan)

    \b
    Example:
      safegen catalog add music/ --rights-holder "Acme Records" --license CC0-1.0
      safegen catalog find upload.mp3
      safegen catalog import works.csv
      safegen catalog list
    """


for _command in (add, import_, fingerprint, find, reassign, reindex, rescan):
    catalog_command.add_command(_command)


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
@click.option(
    "--as-of",
    metavar="DAY|TIME",
    help="Show what was on record at this moment. [default: now]",
)
@format_option
def show(work_id: str, as_of: str | None, format_: str) -> None:
    """Show one work with its rights and licenses, now or at an earlier moment.

    \b
    Exit status:
      0  shown
      1  no such work, or it was not in the catalog yet
      2  --as-of is neither a day nor a time

    \b
    Example:
      safegen catalog show e535483f-ddbc-5a44-a2d6-03da1f58548b --as-of 2026-10-31
    """
    from registry import catalog, schema
    from registry.licensing import holds

    then = moment("--as-of", as_of)
    with schema.open_database(config().database_url) as database, database.read() as session:
        work = catalog.get_work(session, work_id, as_of=then)
    at = then or datetime.now(UTC)
    in_force = [row for row in work.licenses if holds(at, row.valid_from, row.valid_until)]
    row = _work_json(work) | {
        "as_of": _time(at),
        "licenses_in_force": [license_.license_id for license_ in in_force],
    }
    names = ", ".join(license_.name for license_ in in_force) or "no license"
    emit(row, f"{_work_page(work)}\n{'in force':<8} {names} at {_time(at)}", format_)


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
@license_options
@format_option
def relicense(work_ids: tuple[str, ...], format_: str, **words: str | tuple[str, ...]) -> None:
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

    cells = as_cells(words)
    cells["license_name"] = asked("License", "--license", cells["license_name"])
    license_ = parse_license(**cells)
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
        **{f"works_{engine}": count for engine, count in held.works_heard.items()},
        "last_change": held.last_change,
    }
    width = max(len(name) for name in row)
    text = "\n".join(f"{name.replace('_', ' '):<{width}}  {value}" for name, value in row.items())
    emit(row, text, format_)


@catalog_command.command()
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.html|FILE.csv",
    help="Also write the families of versions for people.",
)
@click.option("--overwrite", is_flag=True, help="Replace the report if it is there.")
@format_option
@quiet_option
def dedupe(report: Path | None, overwrite: bool, format_: str, quiet: bool) -> None:
    """List pairs of works that share sound: copies, edits, remasters, samples.

    Every work is searched for like an upload, by both engines. Pairs that are the same,
    or of which one contains the other, make families of versions. Nothing is changed;
    take the one that should go out with `catalog remove`.

    \b
    Exit status:
      0  listed, maybe none
      1  the database cannot be read
      2  the report cannot be written there

    \b
    Example:
      safegen catalog dedupe --report duplicates.html
    """
    from registry import catalog, schema
    from safegen.duplicates import find_duplicates
    from safegen.duplicates_report import write_report

    _refuse_report(report, overwrite=overwrite)
    settings = config()
    pairs: list[Duplicate] = []
    done = 0
    with schema.open_database(settings.database_url) as database:
        with database.read() as session:
            length = catalog.stats(session).works
        try:
            with progress("Comparing", length, quiet=quiet) as advance:
                for compared in find_duplicates(database, index_folder=settings.index):
                    for pair in compared.duplicates:
                        pairs.append(pair)
                        emit(_pair_json(pair), _pair_text(pair), format_)
                    done += 1
                    advance(1)
        finally:  # what was found before an interruption took its time, too
            if report is not None:
                write_report(pairs, report, works=done, at=datetime.now(UTC))
    if not quiet:
        click.echo(f"{len(pairs)} pairs among {length} works", err=True)


def _refuse_report(report: Path | None, *, overwrite: bool) -> None:
    if report is None:
        return
    if report.suffix not in (".html", ".csv"):
        raise InputError(f"{report}: a report ends in .html or .csv", remedy="Name it so.")
    if report.exists() and not overwrite:
        raise InputError(f"{report}: exists already", remedy="Add --overwrite to replace it.")
    if not report.absolute().parent.is_dir():
        raise InputError(f"{report}: its folder does not exist", remedy="Make the folder first.")


def _pair_json(pair: "Duplicate") -> dict[str, Any]:
    return {
        "work_id": pair.work.work_id,
        "title": pair.work.title,
        "rights_holder": pair.work.rights_holder,
        "other_work_id": pair.other.work_id,
        "other_title": pair.other.title,
        "other_rights_holder": pair.other.rights_holder,
        "relation": pair.relation,
        "shared_seconds": round(pair.shared_seconds, 1),
        "score": round(pair.score, 4),
    }


def _pair_text(pair: "Duplicate") -> str:
    return (
        f"{pair.relation:8}  {pair.shared_seconds:6.1f} s  {pair.score:.2f}  "
        f"{pair.work.work_id} {pair.work.title}  =  {pair.other.work_id} {pair.other.title}"
    )


def _work_json(work: "WorkRow") -> dict[str, Any]:
    return {
        "work_id": work.work_id,
        "title": work.title,
        "artist": work.artist,
        "isrc": work.isrc,
        "iswc": work.iswc,
        "rights_holder": work.rights_holder,
        "musicbrainz_id": work.musicbrainz_id,
        "source": work.source,
        "rights": [_right_json(right) for right in work.rights],
        "licenses": [_license_json(license_) for license_ in work.licenses],
        "seconds": round(work.seconds, 3),
        "sha256": work.content_sha256,
        "source_name": work.source_name,
        "added_at": _time(work.added_at),
        "removed_at": None if work.removed_at is None else _time(work.removed_at),
    }


def _right_json(right: "RightRow") -> dict[str, Any]:
    return {
        "rights_holder": right.rights_holder,
        "share_percent": right.share_percent,
        "ipi": right.ipi,
        "isni": right.isni,
        "territories": list(right.territories),
    }


def _license_json(license_: "LicenseRow") -> dict[str, Any]:
    return {
        "license_id": license_.license_id,
        "name": license_.name,
        "territories": list(license_.territories),
        "uses": list(license_.uses),
        "obligations": list(license_.obligations),
        "attribution": license_.attribution_text,
        "valid_from": _time(license_.valid_from),
        "valid_until": None if license_.valid_until is None else _time(license_.valid_until),
    }


def _work_text(work: "WorkRow") -> str:
    by = f" by {work.artist}" if work.artist else ""
    gone = "" if work.removed_at is None else f"  (removed {work.removed_at:%Y-%m-%d})"
    return f"{work.work_id}  {_clock(work.seconds)}  {work.title}{by} - {work.rights_holder}{gone}"


def _work_page(work: "WorkRow") -> str:
    rights = ", ".join(_right_text(right) for right in work.rights)
    lines = [
        ("work", work.work_id),
        ("title", work.title),
        ("artist", work.artist),
        ("isrc", work.isrc),
        ("iswc", work.iswc),
        ("mbid", work.musicbrainz_id),
        ("length", _clock(work.seconds).strip()),
        ("rights", rights),
        ("file", work.source_name + " (fingerprints only)" * (work.source == "fingerprint")),
        ("sha256", work.content_sha256),
        ("added", _time(work.added_at)),
        ("removed", "" if work.removed_at is None else _time(work.removed_at)),
    ]
    for license_ in work.licenses:
        until = "open" if license_.valid_until is None else _time(license_.valid_until)
        uses = ", ".join(license_.uses) or "nothing"
        where = " ".join(license_.territories)
        window = f"[{_time(license_.valid_from)}, {until})"
        owed = f", owes {' and '.join(license_.obligations)}" if license_.obligations else ""
        lines.append(("license", f"{license_.name}: {uses} in {where} {window}{owed}"))
    return "\n".join(f"{name:<8} {value}" for name, value in lines if value)


def _right_text(right: "RightRow") -> str:
    codes = f" (IPI {right.ipi})" * bool(right.ipi) + f" (ISNI {right.isni})" * bool(right.isni)
    where = "" if right.territories == ("*",) else f" in {' '.join(right.territories)}"
    return f"{right.rights_holder}{codes} {right.share_percent:g}%{where}"


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60:3d}:{int(seconds) % 60:02d}"


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
