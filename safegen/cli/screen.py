"""``safegen screen``: what are these uploads?"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from safegen.cli.options import (
    config,
    emit,
    format_option,
    picture_name,
    place_text,
    prepare_pictures,
    quiet_option,
    scan_option,
)
from safegen.errors import InputError

if TYPE_CHECKING:
    from safegen.screening import Screening

_REPORTS = (".html", ".csv")


@click.command()
@click.argument(
    "paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option("--policy", "policy_name", default="standard", show_default=True, metavar="NAME|FILE")
@click.option(
    "--jobs",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    metavar="N",
    help="Processes that decode and listen.",
)
@click.option(
    "--engine",
    type=click.Choice(["local"]),
    default="local",
    show_default=True,
    help="Where the processes run.",
)
@click.option(
    "--report",
    "report",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write a report for people, too: .html or .csv.",
)
@click.option(
    "--explain",
    "explain",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Draw why the classifier says what it says: a PNG for each file.",
)
@click.option(
    "--overwrite", is_flag=True, help="Replace the report, and pictures in DIR, if they exist."
)
@click.option(
    "--resume",
    is_flag=True,
    help="Skip files that were judged before under the same policy and scan.",
)
@scan_option
@format_option
@quiet_option
def screen(
    paths: tuple[Path, ...],
    policy_name: str,
    jobs: int,
    engine: str,
    report: Path | None,
    explain: Path | None,
    overwrite: bool,
    resume: bool,
    scan_name: str,
    format_: str,
    quiet: bool,
) -> None:
    """Judge uploads: synthetic, marked, signed, quoting a licensed work?

    Folders are walked. A file is clear, flagged, inconclusive or undecodable; clear
    means that nothing was found, never that a human made it. Every answer is logged
    before it is printed.

    \b
    Exit status:
      0  every file is clear
      1  something failed before all files were judged; --resume goes on
      2  bad arguments, or nothing to judge
      3  at least one file is not clear

    \b
    Example:
      safegen screen uploads/ --jobs 4 --report report.html --format jsonl > verdicts.jsonl
    """
    import importlib.metadata
    from functools import partial

    from registry import schema
    from safegen import policy
    from safegen.audio import walk
    from safegen.listening import listen_here, listen_in_pool, open_ears
    from safegen.matching import Scan
    from safegen.provenance.keys import KeyStore
    from safegen.provenance.log import open_log
    from safegen.recording import now
    from safegen.screening import Screener

    _refuse_report(report, overwrite=overwrite)
    if explain is not None:
        if resume:
            raise InputError(
                "--resume answers from the log, and --explain needs the sound",
                remedy="Leave one of them out.",
            )
        prepare_pictures(explain, overwrite=overwrite)
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder", remedy="Check the path.")
    files = tuple(walk(paths))
    if not files:
        raise InputError(
            f"{', '.join(map(str, paths))}: no audio file found", remedy="Name another folder."
        )
    settings = config()
    judge = policy.load(policy_name, settings.policies)
    keys = KeyStore(settings.keys)
    database = schema.open_database(settings.database_url)
    screener = Screener(
        database=database,
        log=open_log(database, keys),
        policy=judge,
        now=now,
        version=importlib.metadata.version("safegen"),
    )
    scan = Scan(scan_name)
    open_all = partial(open_ears, scan=scan)
    pictures = report is not None and report.suffix == ".html"
    if jobs == 1:
        ears = open_all(settings)
        results = screener.screen(
            files,
            lambda todo: listen_here(
                todo, ears, with_picture=pictures, with_explanation=explain is not None
            ),
            resume=resume,
            scan=scan,
        )
    else:
        results = screener.screen(
            files,
            lambda todo: listen_in_pool(
                todo,
                open_all,
                settings,
                jobs=jobs,
                with_picture=pictures,
                with_explanation=explain is not None,
            ),
            resume=resume,
            scan=scan,
        )
    sizes = sum(path.stat().st_size for path in files if path.exists())
    hidden = quiet or not sys.stderr.isatty()
    kept: list[Screening] = []
    is_clear = True
    try:
        with click.progressbar(
            length=max(1, sizes),
            label=f"Screening {len(files)} files",
            file=sys.stderr,
            hidden=hidden,
        ) as bar:
            for found in results:
                if not hidden:
                    click.echo("\r\033[K", nl=False, err=True)
                row = found.to_json()
                if explain is not None and found.explanation:
                    drawn = explain / picture_name(found.file, row["sha256"])
                    drawn.write_bytes(found.explanation)
                    row["explanation"] = str(drawn)
                emit(row, _text(found), format_)
                bar.update(found.size_bytes)
                is_clear &= found.verdict.value == "clear"
                if report is not None:
                    kept.append(found)
    finally:
        if report is not None and kept:
            from safegen.screening_report import write_report

            write_report(kept, report, policy=judge, at=now())
        database.close()
    raise SystemExit(0 if is_clear else 3)


def _refuse_report(report: Path | None, *, overwrite: bool) -> None:
    if report is None:
        return
    if report.suffix not in _REPORTS:
        raise InputError(
            f"{report}: a report ends in {' or '.join(_REPORTS)}, not {report.suffix or 'nothing'}",
            remedy="Name it report.html.",
        )
    if report.exists() and not overwrite:
        raise InputError(f"{report}: exists already", remedy="Add --overwrite to replace it.")
    if not report.absolute().parent.is_dir():
        raise InputError(f"{report}: its folder does not exist", remedy="Make the folder first.")


def _licensed_text(match: dict[str, Any]) -> str:
    """Say that a quotation is licensed, and what that license asks for."""
    license_ = match.get("license")  # records from before obligations have none
    if not license_:
        return ", licensed" if match["license_id"] else ""
    owed = [
        f"attribution: {license_['attribution']}" if name == "attribution" else "share-alike"
        for name in license_["obligations"]
    ]
    return ", licensed" + (f", owes {' and '.join(owed)}" if owed else "")


def _text(found: "Screening") -> str:
    """Write one answer for people: the verdict, then why, then where."""
    from safegen.synthesis_words import headline

    row = found.to_json()
    lines = [f"{row['verdict']:12} {row['file']}"]
    lines += [f"  {reason['rule']:4} {reason['problem']}" for reason in row["reasons"]]
    # What the classifier heard stands among the reasons.
    if row["synthetic"].get("because") not in (None, "", "classifier"):
        lines.append(f"  origin: {headline(row['synthetic'])}")
    lines += [
        f"  quotes {match['title']} ({match['rights_holder']}): {place_text(match)}"
        + _licensed_text(match)
        for match in row["matches"]
    ]
    return "\n".join(lines)
