"""How far have past outputs been compared with the works that were added later?

A run is one row that says what it compares and how far it got; its cursor moves in the
transaction that writes what was found, so that a crash loses nothing and repeats
nothing. An output and a work are joined once: who finds the pair again writes no row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session

from registry.errors import ConflictError
from registry.releases import MatchRow, insert_match
from registry.tables import (
    CatalogChange,
    Output,
    OutputFingerprint,
    OutputMatch,
    Rescan,
    Work,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RescanRow:
    """One run.

    Attributes:
        rescan_id: Of the run.
        finished_at: None while it is to be resumed.
        change_from: Works of later catalog changes are new to every output ...
        change_to: ... up to this change.
        outputs_from: Log index from which on outputs were not there at the run before.
        outputs_until: Log index after the last output of this run.
        cursor: Log index of the last output that was compared, -1 before the first.
        compared: Outputs compared so far.
        findings: Pairs of output and work found so far.
    """

    rescan_id: int
    started_at: datetime
    finished_at: datetime | None
    change_from: int
    change_to: int
    outputs_from: int
    outputs_until: int
    cursor: int
    compared: int
    findings: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """When a work in force was last added."""

    work_id: str
    change: int
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PastOutput:
    """What is kept of an output to compare it again.

    Attributes:
        fingerprint: Little-endian uint32 items, b"" if none were kept.
        others: Of other engines, by name.
        known_works: Works that it was matched with before.
    """

    output_id: str
    kind: str
    created_at: datetime
    log_index: int
    sha256: str
    fingerprint: bytes
    others: Mapping[str, bytes]
    known_works: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMatches:
    """What a re-scan found of one work in one output, and where it was logged."""

    output_id: str
    matches: tuple[MatchRow, ...]


def unfinished(session: Session) -> RescanRow | None:
    """Read the run that is to be resumed."""
    return _row(session.scalar(_newest().where(Rescan.finished_at.is_(None))))


def last_finished(session: Session) -> RescanRow | None:
    """Read the newest run that reached its end."""
    return _row(session.scalar(_newest().where(Rescan.finished_at.is_not(None))))


def total_findings(session: Session) -> int:
    """Count the pairs of output and work that all runs have found."""
    return int(session.scalar(select(func.sum(Rescan.findings))) or 0)


def get(session: Session, rescan_id: int) -> RescanRow:
    """Read a run.

    Raises:
        ConflictError: If it is gone.
    """
    row = _row(session.get(Rescan, rescan_id, populate_existing=True))
    if row is None:
        msg = f"re-scan {rescan_id} is gone\nRun `safegen catalog rescan` again."
        raise ConflictError(msg)
    return row


def next_output(session: Session) -> int:
    """Log index after the newest output, 0 if there is none."""
    newest = session.scalar(select(func.max(Output.log_index)))
    return 0 if newest is None else int(newest) + 1


def start(session: Session, *, change_to: int, at: datetime) -> RescanRow:
    """Write a new run that goes on where the last one ended, over every output there is."""
    before = last_finished(session)
    outputs_from = before.outputs_until if before else 0
    run = Rescan(
        started_at=at,
        finished_at=None,
        change_from=before.change_to if before else 0,
        change_to=change_to,
        outputs_from=outputs_from,
        outputs_until=next_output(session),
        cursor=-1,
        compared=0,
        findings=0,
    )
    session.add(run)
    session.flush()
    return _copy(run)


def additions(session: Session, *, until_change: int) -> dict[str, Addition]:
    """Tell of every work in force when it was last added, up to a catalog change, in order."""
    query = (
        select(CatalogChange)
        .join(Work, Work.id == CatalogChange.work_id)
        .where(CatalogChange.event == "added", Work.removed_at.is_(None))
        .order_by(CatalogChange.sequence)
    )
    newest: dict[str, Addition] = {}
    for row in session.scalars(query):
        newest.pop(row.work_id, None)
        newest[row.work_id] = Addition(work_id=row.work_id, change=row.sequence, at=row.at)
    # A work that came back after the change belongs to the next run as a whole.
    return {work: each for work, each in newest.items() if each.change <= until_change}


def count_outputs(session: Session, run: RescanRow) -> int:
    """Count the outputs of a run that are still to come."""
    query = select(func.count()).select_from(Output).where(*_ahead(run))
    return int(session.scalar(query) or 0)


def outputs_ahead(session: Session, run: RescanRow, *, limit: int) -> tuple[PastOutput, ...]:
    """Read the next outputs of a run, in the order of the log."""
    query = select(Output).where(*_ahead(run)).order_by(Output.log_index).limit(limit)
    outputs = list(session.scalars(query))
    ids = [output.id for output in outputs]
    others: dict[str, dict[str, bytes]] = {}
    for kept in session.scalars(
        select(OutputFingerprint).where(OutputFingerprint.output_id.in_(ids))
    ):
        others.setdefault(kept.output_id, {})[kept.engine] = kept.items
    known: dict[str, set[str]] = {}
    for output_id, work_id in session.execute(
        select(OutputMatch.output_id, OutputMatch.work_id)
        .where(OutputMatch.output_id.in_(ids))
        .where(OutputMatch.heard_in == "")
    ):
        known.setdefault(output_id, set()).add(work_id)
    return tuple(
        PastOutput(
            output_id=output.id,
            kind=output.kind,
            created_at=output.created_at,
            log_index=output.log_index,
            sha256=output.sha256,
            fingerprint=output.fingerprint,
            others=others.get(output.id, {}),
            known_works=frozenset(known.get(output.id, ())),
        )
        for output in outputs
    )


def known_works(session: Session, output_id: str) -> frozenset[str]:
    """Name the works that an output was matched with."""
    query = select(OutputMatch.work_id).where(
        OutputMatch.output_id == output_id, OutputMatch.heard_in == ""
    )
    return frozenset(session.scalars(query))


def advance(
    session: Session,
    run: RescanRow,
    *,
    cursor: int,
    compared: int,
    found: Sequence[NewMatches],
) -> RescanRow:
    """Write what a batch found and move the cursor behind it.

    Args:
        session: A writer's, the one that logged the findings.
        run: As it was when the batch was read.
        cursor: Log index of the batch's last output.
        compared: Outputs of the batch.
        found: Each pair of output and work once.

    Raises:
        ConflictError: If somebody else moved the cursor meanwhile; nothing is written.
    """
    row = session.get(Rescan, run.rescan_id, populate_existing=True)
    if row is None or row.cursor != run.cursor or row.finished_at is not None:
        msg = "another process re-scans the same outputs\nLet it finish, then run it again."
        raise ConflictError(msg)
    for each in found:
        for match in each.matches:
            insert_match(session, each.output_id, match)
    row.cursor = cursor
    row.compared += compared
    row.findings += len(found)
    session.flush()
    return _copy(row)


def finish(session: Session, run: RescanRow, *, at: datetime) -> RescanRow:
    """Close a run; finishing twice changes nothing."""
    row = session.get(Rescan, run.rescan_id, populate_existing=True)
    if row is not None and row.finished_at is None:
        row.finished_at = at
        session.flush()
    return get(session, run.rescan_id)


def _newest() -> "Select[Rescan]":
    return select(Rescan).order_by(Rescan.id.desc()).limit(1)


def _ahead(run: RescanRow) -> tuple[ColumnElement[bool], ...]:
    """Build the SQL conditions of the outputs still to be compared; void ones never were."""
    return (
        Output.log_index > run.cursor,
        Output.log_index < run.outputs_until,
        Output.state != "void",
    )


def _row(row: Rescan | None) -> RescanRow | None:
    return None if row is None else _copy(row)


def _copy(row: Rescan) -> RescanRow:
    return RescanRow(
        rescan_id=row.id,
        started_at=row.started_at,
        finished_at=row.finished_at,
        change_from=row.change_from,
        change_to=row.change_to,
        outputs_from=row.outputs_from,
        outputs_until=row.outputs_until,
        cursor=row.cursor,
        compared=row.compared,
        findings=row.findings,
    )
