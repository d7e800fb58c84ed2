"""``safegen detectors drift``: do the scores of what is uploaded still lie where they lay?"""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from safegen.cli.options import config, emit, format_option, moment
from safegen.errors import InputError

if TYPE_CHECKING:
    from safegen.drift import Beyond, Comparison, Share, Shift
    from safegen.served import Judged, Period

DAYS: Final = 7
REFERENCE_DAYS: Final = 28
_MOST_REFERENCE_BYTES: Final = 10_000_000


@click.command()
@click.option(
    "--since",
    metavar="DAY|TIME",
    help=f"Judge what was screened from here on. [default: {DAYS} days before --until]",
)
@click.option("--until", metavar="DAY|TIME", help="... and before this moment. [default: now]")
@click.option(
    "--against",
    metavar="DAY..DAY",
    help="Compare with what was screened in this period, its second end left out. "
    f"[default: the {REFERENCE_DAYS} days before --since]",
)
@click.option(
    "--reference",
    metavar="FILE.json",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Compare with a saved reference instead.",
)
@click.option(
    "--save-reference",
    "saved",
    metavar="FILE.json",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Save the period as a reference; compares only if --against or --reference is there.",
)
@click.option(
    "--report",
    metavar="FILE.html",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write a page for people, with plots.",
)
@click.option("--overwrite", is_flag=True, help="Replace files that are there.")
@format_option
def drift(
    since: str | None,
    until: str | None,
    against: str | None,
    reference: Path | None,
    saved: Path | None,
    report: Path | None,
    overwrite: bool,
    format_: str,
) -> None:
    """Compare the classifier's answers of late with those of a reference period.

    Scores, distances from known sound, verdicts and abstentions of all screenings; each
    file counts once. At least 100 files must have been heard in each period. Only answers
    of one model are compared, the one that answered most of late.

    \b
    Exit status:
      0  no drift, or the reference was saved
      2  bad arguments, or too few files in a period
      3  something moved beyond chance, and enough to matter

    \b
    Example:
      safegen detectors drift --until 2026-10-01 --since 2026-09-01 --save-reference september.json
      safegen detectors drift --reference september.json --report drift.html
    """
    from registry import schema
    from safegen.drift import LEAST_FILES, compare
    from safegen.recording import now
    from safegen.served import model_of, parse_reference, period

    if against is not None and reference is not None:
        raise InputError(
            "--against and --reference are two references", remedy="Leave one of them out."
        )
    for path, suffix in ((report, ".html"), (saved, ".json")):
        if path is not None:
            _refuse_output(path, suffix, overwrite=overwrite)
    is_compared = saved is None or against is not None or reference is not None
    if report is not None and not is_compared:
        raise InputError(
            "--report shows a comparison, and --save-reference alone makes none",
            remedy="Add --against or --reference, or leave --report out.",
        )
    end = moment("--until", until) or now()
    start = moment("--since", since) or end - timedelta(days=DAYS)
    if start >= end:
        raise InputError(f"--since {start} is not before --until {end}", remedy="Swap them.")
    kept = None if reference is None else parse_reference(_read(reference))
    first, last = _against(against, start)
    with schema.open_database(config().database_url) as database:
        judged = _judged(database, start, end)
        model = model_of(judged)
        current = period(judged, since=start, until=end, model=model)
        if current.answered < LEAST_FILES:
            raise InputError(
                f"too few: {current.answered} files were heard from {start} to {end}, at least "
                f"{LEAST_FILES} are needed",
                remedy="Take a longer period.",
            )
        if is_compared and kept is None:
            kept = period(_judged(database, first, last), since=first, until=last, model=model)
    comparison = None if kept is None else compare(kept, current)
    if saved is not None:
        saved.write_text(json.dumps(current.to_json(), indent=1) + "\n", encoding="utf-8")
    if comparison is None:
        row = {"verdict": "reference saved", "current": _period_json(current)}
        emit(row, f"saved {current.answered} files of {model} as a reference", format_)
        return
    if report is not None:
        from safegen.drift_report import html

        report.write_text(html(comparison, at=now()), encoding="utf-8", newline="")
    emit(_row(comparison), _text(comparison), format_)
    raise SystemExit(3 if comparison.has_drifted else 0)


def _judged(database: Any, since: datetime, until: datetime) -> "list[Judged]":
    from registry.screenings import records_between
    from safegen.provenance import record
    from safegen.served import judged_of

    with database.read() as session:
        return [judged_of(record.parse(entry)) for entry in records_between(session, since, until)]


def _against(text: str | None, start: datetime) -> tuple[datetime, datetime]:
    """Read the reference period, which must end before the current one begins."""
    if text is None:
        return start - timedelta(days=REFERENCE_DAYS), start
    first, dots, last = text.partition("..")
    since, until = moment("--against", first or None), moment("--against", last or None)
    if not dots or since is None or until is None or since >= until:
        raise InputError(
            f"--against {text!r} is not a period", remedy="Write 2026-09-01..2026-10-01."
        )
    if until > start:
        raise InputError(
            f"--against ends at {until}, after the current period began at {start}",
            remedy="Compare periods that do not overlap.",
        )
    return since, until


def _read(path: Path) -> object:
    try:
        if path.stat().st_size > _MOST_REFERENCE_BYTES:
            raise InputError(
                f"{path}: {path.stat().st_size} bytes, a reference has at most "
                f"{_MOST_REFERENCE_BYTES}",
                remedy="Write one with --save-reference.",
            )
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: cannot be read as JSON ({error})", remedy="Write one with --save-reference."
        ) from error


def _refuse_output(path: Path, suffix: str, *, overwrite: bool) -> None:
    if path.suffix != suffix:
        raise InputError(f"{path}: this file ends in {suffix}", remedy="Name it so.")
    if path.exists() and not overwrite:
        raise InputError(f"{path}: exists already", remedy="Add --overwrite to replace it.")
    if not path.absolute().parent.is_dir():
        raise InputError(f"{path}: its folder does not exist", remedy="Make the folder first.")


def _row(comparison: "Comparison") -> dict[str, Any]:
    from safegen.drift import ALPHA, LEAST_FILES, alerts

    return {
        "verdict": "drift" if comparison.has_drifted else "no drift",
        "alerts": [
            {
                "what": each.what,
                "title": each.title,
                "detail": each.detail,
                "remedy": each.remedy,
            }
            for each in alerts(comparison)
        ],
        "reference": _period_json(comparison.reference),
        "current": _period_json(comparison.current),
        "measures": [_shift_json(each) for each in comparison.shifts],
        "shares": [_share_json(each) for each in comparison.shares],
        "least_files": LEAST_FILES,
        "alpha": ALPHA,
    }


def _period_json(period: "Period") -> dict[str, Any]:
    return {
        "since": period.since.isoformat(),
        "until": period.until.isoformat(),
        "model": period.model,
        "files": period.files,
        "heard": period.answered,
        "of_other_models": period.others,
    }


def _shift_json(shift: "Shift") -> dict[str, Any]:
    row: dict[str, Any] = {
        "measure": shift.measure,
        "status": shift.status,
        "reference_files": shift.before,
        "current_files": shift.now,
    }
    if shift.status != "judged":
        return row
    return row | {
        "moved": shift.has_moved,
        "ks": round(shift.ks, 4),
        "ks_p_value": _short(shift.ks_p_value),
        "least_ks_seen": round(shift.least_ks, 4),
        "psi": round(shift.psi, 4),
        "psi_by_chance": round(shift.psi_by_chance, 4),
        "psi_p_value": _short(shift.psi_p_value),
        "quantiles": [_beyond_json(each) for each in shift.beyond],
    }


def _beyond_json(each: "Beyond") -> dict[str, Any]:
    return {
        "quantile": each.quantile,
        "value": _short(each.value),
        "up_to_it_before": each.before.as_json(),
        "up_to_it_now": each.now.as_json(),
        "p_value": _short(each.p_value),
        "moved": each.has_moved,
    }


def _share_json(each: "Share") -> dict[str, Any]:
    return {
        "share": each.table,
        "of": each.word,
        "before": each.before.as_json(),
        "now": each.now.as_json(),
        "p_value": _short(each.p_value),
        "moved": each.has_moved,
    }


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _text(comparison: "Comparison") -> str:
    from safegen.drift import alerts

    then, now = comparison.reference, comparison.current
    lines = [
        f"{'drift' if comparison.has_drifted else 'no drift'}: {now.answered} files since "
        f"{now.since:%Y-%m-%d} against {then.answered} since {then.since:%Y-%m-%d}, "
        f"judged by {now.model}"
    ]
    for each in alerts(comparison):
        lines += [f"  {each.title}", f"    {each.detail}", f"    {each.remedy}"]
    lines += [
        f"  not judged: the {each.measure}, {each.status} ({each.before} and {each.now} files)"
        for each in comparison.shifts
        if each.status != "judged"
    ]
    return "\n".join(lines)
