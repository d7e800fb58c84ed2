"""``safegen audit``: what was done with a rights-holder's works?"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from safegen.cli.options import config, emit, format_option, moment, place_text
from safegen.errors import InputError

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from registry.scope import AuditScope
    from safegen.audit import AuditedOutput, Window
    from safegen.provenance.log import Log

_SUFFIXES = (".jsonl", ".csv")
_holder_option = click.option(
    "--rights-holder",
    "holder",
    metavar="NAME",
    help="See what this rights-holder may see. Without it: everything, as the operator.",
)
_since_option = click.option("--since", metavar="DAY|TIME", help="Made at this moment or later.")
_until_option = click.option("--until", metavar="DAY|TIME", help="Made before this moment.")
_as_of_option = click.option(
    "--as-of",
    "as_of",
    metavar="DAY|TIME",
    help="Answer with what was on record at this moment: outputs, shares, licenses, takedowns.",
)


@click.group()
def audit_command() -> None:
    """Answer a rights-holder from the registry and the log.

    Every answer is compared with the log and comes with an inclusion proof that was
    verified against the current signed checkpoint. A rights-holder sees matches of
    their own works only; co-owners are a count.

    \b
    Exit status:
      0  answered
      1  could not answer
      2  wrong use
      4  a record is not what was logged, or cannot be proved

    \b
    Example:
      safegen audit matches --rights-holder "Acme Records" --since 2026-11-01
    """


@audit_command.command()
@_holder_option
@_as_of_option
@format_option
def works(holder: str | None, as_of: str | None, format_: str) -> None:
    """List the works and how often outputs and uploads matched each.

    \b
    Exit status:
      0  answered
      1  there is no such rights-holder

    \b
    Example:
      safegen audit works --rights-holder "Acme Records"
    """
    from safegen import audit

    with _opened(holder, as_of) as asked:
        for found in audit.works(asked.session, asked.scope):
            row = found.to_json(asked.scope)
            counts = ", ".join(f"{count} {state}" for state, count in row["outputs"].items())
            text = f"{row['work_id']}  {row['title']} ({row['rights_holder']}"
            text += f" and {row['other_holders']} more" if row["other_holders"] else ""
            text += "), removed" if row["removed_at"] else ")"
            emit(row, f"{text}: {counts or 'no match'}", format_)


@audit_command.command()
@_holder_option
@click.option("--work", "work_id", metavar="ID", help="Only matches of this work.")
@_since_option
@_until_option
@_as_of_option
@format_option
def matches(
    holder: str | None,
    work_id: str | None,
    since: str | None,
    until: str | None,
    as_of: str | None,
    format_: str,
) -> None:
    """List released, blocked, quarantined and screened items that matched works.

    Each with the seconds on both sides, license, policy, decision, record and proof;
    also what `safegen catalog rescan` found later, with the entry that logged it.

    \b
    Exit status:
      0  answered; no line means no match
      1  there is no such rights-holder or work
      4  a record is not what was logged, or cannot be proved

    \b
    Example:
      safegen audit matches --rights-holder "Acme Records" --format jsonl
    """
    from safegen import audit

    window = _window(since, until)
    with _opened(holder, as_of) as asked:
        for found in audit.matches(
            asked.session, asked.log, asked.scope, window=window, work_id=work_id
        ):
            row = found.to_json(asked.scope)
            emit(row, _text(row), format_)


@audit_command.command()
@click.argument("record_id")
@_holder_option
@_as_of_option
@format_option
def record(record_id: str, holder: str | None, as_of: str | None, format_: str) -> None:
    """Print everything about one record; its bytes are compared with the log.

    \b
    Exit status:
      0  answered
      1  there is no such record
      4  it is not what was logged, or cannot be proved

    \b
    Example:
      safegen audit record 0193b0a2-7c00-7000-8000-000000000000
    """
    import json

    from safegen import audit

    with _opened(holder, as_of) as asked:
        found = audit.record(asked.session, asked.log, asked.scope, record_id)
        row = found.to_json(asked.scope)
        row["events"] = list(audit.later_events(asked.session, found, as_of=asked.scope.as_of))
        row["checkpoint"] = found.proof.checkpoint.note
        if asked.scope.is_everything:
            row["checks"] = _checks(found)
        lines = [_text(row)]
        lines += [
            f"  {check['name']:16} {check['outcome']:8} {check['detail']}"
            for check in row.get("checks", [])
        ]
        lines += [
            f"  then      {event['type']} at {event['time']}, entry {event['index']}"
            for event in row["events"]
        ]
        if found.record is None:
            lines.append("  the record names other parties and is withheld")
        else:
            lines.append(json.dumps(found.record, ensure_ascii=False, indent=2))
        lines.append(f"checkpoint\n{row['checkpoint'].rstrip()}")
        emit(row, "\n".join(lines), format_)


@audit_command.command()
@click.option("--work", "work_id", metavar="ID", required=True, help="The work.")
@click.option("--model", "model_name", metavar="NAME", help="Only this model.")
@_holder_option
@format_option
def training(work_id: str, model_name: str | None, holder: str | None, format_: str) -> None:
    """Compare a work's fingerprint with what each model was trained on.

    \b
    Exit status:
      0  compared with at least one model
      1  there is no such work, or no model's training manifest is known here

    \b
    Example:
      safegen audit training --work 8c0a1f6e-5d2b-5b0e-9d53-0f6f4f3f3f3f
    """
    from functools import partial

    from safegen import audit, memorization
    from safegen.generation import known, own
    from safegen.generation.cards import CARDS

    folder = config().models
    cards = (
        [*CARDS, *(x.card for x in own.installed(folder))]
        if model_name is None
        else [known.any_card(model_name, models=folder)]
    )
    models = [card.facts for card in cards]
    was_compared = False
    with _opened(holder) as asked:
        for answer in audit.training(
            asked.session,
            asked.scope,
            work_id=work_id,
            models=models,
            items_of=partial(memorization.for_model, models=folder),
        ):
            was_compared |= answer.is_available
            name = answer.model.name
            if not answer.is_available:
                text = f"{name}: not available ({answer.reason})"
            else:
                found = "resembles" if answer.is_found else "no more than chance resembles"
                text = (
                    f"{name}: {found} {answer.nearest_item}, agreement {answer.score:.2f}, limit "
                    f"0.5, among {answer.items} training items ({answer.reason})"
                )
            emit({"work_id": work_id} | answer.to_json(), text, format_)
    raise SystemExit(0 if was_compared else 1)


@audit_command.command()
@click.option("--rights-holder", "holder", metavar="NAME", required=True, help="Whose matches.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    metavar="FILE",
    help="Ends in .jsonl (with proofs, can be checked offline) or .csv (for spreadsheets).",
)
@_since_option
@_until_option
@_as_of_option
@click.option("--overwrite", is_flag=True, help="Replace FILE if it exists.")
@format_option
def export(
    holder: str,
    out: Path,
    since: str | None,
    until: str | None,
    as_of: str | None,
    overwrite: bool,
    format_: str,
) -> None:
    """Write a rights-holder's matches to a file to hand over.

    \b
    Exit status:
      0  written
      1  there is no such rights-holder, or the log is empty
      2  the file exists, or its suffix is not .jsonl or .csv
      4  a record is not what was logged, or cannot be proved; nothing was written

    \b
    Example:
      safegen audit export --rights-holder "Acme Records" --out acme.jsonl
    """
    import hashlib

    from safegen import audit, audit_export
    from safegen.provenance.keys import KeyStore
    from safegen.recording import now

    if out.suffix not in _SUFFIXES:
        raise InputError(
            f"{out}: an export ends in {' or '.join(_SUFFIXES)}", remedy="Name it export.jsonl."
        )
    if out.exists() and not overwrite:
        raise InputError(f"{out}: exists already", remedy="Add --overwrite to replace it.")
    window = _window(since, until)
    with _opened(holder, as_of) as asked:
        # All of it before the file is made: a broken proof must not leave half an export.
        found = tuple(audit.matches(asked.session, asked.log, asked.scope, window=window))
        if out.suffix == ".csv":
            text = "".join(audit_export.to_csv(found, asked.scope))
        else:
            lines = audit_export.to_jsonl(
                found,
                asked.scope,
                rights_holder=holder,
                window=window,
                checkpoint=asked.log.checkpoint(asked.session),
                public_key=KeyStore(config().keys).log_public_key(),
                at=now(),
            )
            text = "".join(lines)
    out.write_text(text, encoding="utf-8", newline="")
    row = {
        "file": str(out),
        "outputs": len(found),
        "matches": sum(len(each.quotations) for each in found),
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
    }
    emit(row, f"{out}: {row['outputs']} outputs, {row['matches']} matches", format_)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """An opened snapshot and what may be seen in it."""

    session: "Session"
    log: "Log"
    scope: "AuditScope"


@contextmanager
def _opened(holder: str | None, as_of: str | None = None) -> Iterator[_Asked]:
    from registry import catalog, schema
    from registry.scope import AuditScope
    from safegen.provenance.keys import KeyStore
    from safegen.provenance.log import open_log

    then = moment("--as-of", as_of)
    settings = config()
    keys = KeyStore(settings.keys)
    database = schema.open_database(settings.database_url)
    try:
        log = open_log(database, keys)
        with database.read() as session:
            scope = (
                AuditScope.everything(as_of=then)
                if holder is None
                else AuditScope.of(catalog.find_rights_holder(session, holder), as_of=then)
            )
            yield _Asked(session=session, log=log, scope=scope)
    finally:
        database.close()


def _window(since: str | None, until: str | None) -> "Window":
    from safegen.audit import Window

    window = Window(since=moment("--since", since), until=moment("--until", until))
    if window.since and window.until and window.until <= window.since:
        raise InputError(f"--until {until} is not after --since {since}", remedy="Swap them.")
    return window


def _checks(found: "AuditedOutput") -> list[dict[str, Any]]:
    return [
        {
            "name": check.name,
            "outcome": check.outcome,
            "score": check.score,
            "threshold": check.threshold,
            "detail": check.detail,
        }
        for check in found.output.checks
    ]


def _text(row: dict[str, Any]) -> str:
    """Write one output for people: what, why, where, and the proof."""
    rules = ", ".join(reason["rule"] for reason in row["reasons"])
    because = f" ({rules})" if rules else ""
    lines = [
        f"{row['kind']} {row['record_id']}: {row['state']}, {row['decision']}{because}",
        f"  made      {row['time']} under {row['policy']['name']} "
        f"{row['policy']['sha256'][:16]}, model {row['model']['name'] or '-'}",
    ]
    lines += [
        f"  quotes    {match['title']} ({match['rights_holder']}"
        + (f" and {match['other_holders']} more" if match["other_holders"] else "")
        + "): "
        + (
            f"in the {match['heard_in'].replace('_', ' ')} that was given, "
            if match["heard_in"] != "output"
            else ""
        )
        + f"{place_text(match)}, score {match['score']:.2f}, "
        + (f"license {match['license']['name']}" if match["license"] else "no license")
        + (f", found later, entry {match['rescan']['log']['index']}" if match["rescan"] else "")
        for match in row["matches"]
    ]
    log = row["log"]
    if row["scan"]:
        lines.append(f"  scan      {row['scan']['kind']}, {row['scan']['variants']} variants")
    lines.append(
        f"  log       entry {log['index']} of {log['tree_size']}, leaf {log['leaf_hash'][:16]}, "
        f"proof of {len(log['proof'])} hashes verified against root {log['root'][:16]}"
    )
    return "\n".join(lines)
