"""``safegen catalog rescan``: do past outputs and uploads quote works that came later?"""

import sys
from typing import TYPE_CHECKING

import click

from safegen.cli.options import config, emit, format_option, place_text, quiet_option
from safegen.errors import SafegenError

if TYPE_CHECKING:
    from safegen.rescan import Finding, Progress


@click.command()
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
def rescan(policy_name: str, format_: str, quiet: bool) -> None:
    """Compare past outputs and uploads with the works added since they were judged.

    What is kept of each is compared, never the sound, and only with works that are new
    to it. A finding is logged as an entry of its own, printed here, and told by `safegen
    audit matches`; the record of the output stays as it was. `catalog add` and `catalog
    import` start it in the background; with nothing new it ends at once. A run that was
    stopped goes on where it was, and works that are added meanwhile are compared, too.

    \b
    Exit status:
      0  all are compared; nothing new is quoted, or it was all licensed
      1  failed before all were compared, or another one is running
      3  at least one past output quotes a later work without a license

    \b
    Example:
      safegen catalog rescan --quiet --format jsonl >> findings.jsonl
    """
    import importlib.metadata

    from registry import schema
    from safegen import background, policy
    from safegen.matching import CatalogMatcher
    from safegen.provenance.keys import KeyStore
    from safegen.provenance.log import open_log
    from safegen.recording import now
    from safegen.rescan import Rescanner, standing

    settings = config()
    judge = policy.load(policy_name, settings.policies)
    keys = KeyStore(settings.keys)
    hidden = quiet or not sys.stderr.isatty()
    compared = findings = unlicensed = 0

    def report(step: "Progress") -> None:
        nonlocal compared, findings, unlicensed
        if step.findings and not hidden:
            click.echo("\r\033[K", nl=False, err=True)
        for found in step.findings:
            emit(found.to_json(), _text(found), format_)
            unlicensed += not found.is_licensed
        findings += len(step.findings)
        compared += step.compared

    with schema.open_database(settings.database_url) as database:
        rescanner = Rescanner(
            database=database,
            log=open_log(database, keys),
            matcher=CatalogMatcher(database, index_folder=settings.index),
            policy=judge,
            now=now,
            version=importlib.metadata.version("safegen"),
        )
        is_first = is_behind = True
        while is_behind:
            with background.alone(settings) as is_alone:
                if not is_alone and is_first:
                    raise SafegenError(
                        "another re-scan is running",
                        remedy="It compares what is new, too; `safegen doctor` says how far it is.",
                    )
                if not is_alone:
                    break
                with click.progressbar(
                    length=max(1, rescanner.remaining()),
                    label="Comparing past outputs",
                    file=sys.stderr,
                    hidden=hidden,
                ) as bar:
                    for step in rescanner.run():
                        report(step)
                        bar.update(step.compared)
            # Asked after the lock is free: who found it held left its works to this process.
            with database.read() as session:
                is_first, is_behind = False, standing(session).is_behind
    if not quiet:
        click.echo(
            f"{compared} past outputs compared, {findings} quote later works, "
            f"{unlicensed} without a license",
            err=True,
        )
    raise SystemExit(3 if unlicensed else 0)


def _text(found: "Finding") -> str:
    """Write one finding for people: what, which work, where, and the log entry."""
    row = found.to_json()
    name = "upload" if row["kind"] == "screening" else "output"
    lines = [
        f"{name} {row['record_id']} quotes {row['title']} ({row['rights_holder']}), "
        f"added {row['catalog']['added_at'][:10]}, log entry {row['log']['index']}"
    ]
    lines += [
        f"  {place_text(match)}, p {match['p_value']:.1g}, {match['status']}"
        for match in row["matches"]
    ]
    return "\n".join(lines)
