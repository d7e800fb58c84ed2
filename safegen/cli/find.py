"""``safegen catalog find``: which works of the catalog does this file quote?"""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from safegen.cli.options import (
    config,
    emit,
    format_option,
    moment,
    place_text,
    quiet_option,
    scan_option,
)
from safegen.errors import InputError

if TYPE_CHECKING:
    from safegen.audio import Audio
    from safegen.recording import LicensedMatch


@click.command()
@click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@scan_option
@click.option(
    "--at",
    metavar="DAY|TIME",
    help="Tell the license in force at this moment, as it is on record now; works that were "
    "taken out are not searched.  [default: now]",
)
@click.option(
    "--policy",
    "policy_name",
    default="standard",
    show_default=True,
    metavar="NAME|FILE",
    help="Names the territory and the use for which a license is asked.",
)
@format_option
@quiet_option
def find(
    files: tuple[Path, ...],
    scan_name: str,
    at: str | None,
    policy_name: str,
    format_: str,
    quiet: bool,
) -> None:
    """Ask which works of the catalog each FILE quotes, and under which license.

    Everything that the engines find is told, also what is too short to count under a
    policy. Nothing is judged, logged or kept; `safegen screen` does that.

    \b
    Exit status:
      0  no work is quoted
      1  the catalog cannot be read
      2  bad arguments, or a file that cannot be read or is too short to compare
      3  at least one work is quoted, licensed or not

    \b
    Example:
      safegen catalog find upload.mp3 --scan deep
    """
    from registry import schema
    from safegen import policy
    from safegen.licensing import licensed_matches
    from safegen.matching import CatalogMatcher, Scan

    scan = Scan(scan_name)
    then = moment("--at", at) or datetime.now(UTC)
    settings = config()
    judge = policy.load(policy_name, settings.policies)
    is_found = False
    unreadable = 0
    hidden = quiet or not sys.stderr.isatty() or sys.stdout.isatty()
    with (
        schema.open_database(settings.database_url) as database,
        click.progressbar(files, label="Comparing", file=sys.stderr, hidden=hidden) as bar,
    ):
        matcher = CatalogMatcher(database, index_folder=settings.index)
        for path in bar:
            try:
                audio = _audio(path)
            except InputError as error:
                unreadable += 1
                click.echo(f"Error: {error}", err=True)
                continue
            heard = matcher.match(audio, deep=scan is Scan.DEEP)
            with database.read() as session:
                matches = licensed_matches(session, heard, at=then, policy=judge)
            is_found |= bool(matches)
            row = {
                "file": str(path),
                "seconds": round(audio.seconds, 3),
                "scan": scan.to_json(),
                "at": then.isoformat(timespec="seconds"),
                "matches": [match.to_json() for match in matches],
            }
            emit(row, _text(row, matches), format_)
    if unreadable:
        raise SystemExit(InputError.exit_code)
    raise SystemExit(3 if is_found else 0)


def _audio(path: Path) -> "Audio":
    from safegen.audio import load
    from safegen.matching import LEAST_SECONDS

    audio = load(path)
    if audio.seconds < LEAST_SECONDS:
        raise InputError(
            f"{path}: {audio.seconds:.2f} s of sound, at least {LEAST_SECONDS:g} s are compared",
            remedy="Name a longer recording.",
        )
    return audio


def _text(row: dict[str, Any], matches: "Sequence[LicensedMatch]") -> str:
    """Write one answer for people: each work, where, how sure, and what covers it."""
    from safegen.policy import p_text

    scan = row["scan"]
    looked = f"{scan['kind']} scan, {scan['variants']} variant{'s' * (scan['variants'] > 1)}"
    found = f"{len(matches)} stretch{'es' * (len(matches) > 1)}" if matches else "nothing"
    lines = [f"{row['file']}: {found} ({looked})"]
    for match, each in zip(matches, row["matches"], strict=True):
        wrong = each["error_rate"]
        bits = "" if wrong is None else f", bit errors {wrong:.3f}"
        terms = match.terms
        license_ = f"license {terms.name}" if terms else "no license in force"
        owed = "" if terms is None else ", ".join(terms.obligations)
        lines += [
            f"  {each['title']} ({each['rights_holder']}) {each['work_id']}",
            f"    {place_text(each)}",
            f"    {each['engine']}: votes {each['votes']}{bits}, p {p_text(each['p_value'])}",
            f"    {license_}" + (f", owes {owed}" if owed else ""),
        ]
    return "\n".join(lines)
