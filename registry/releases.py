"""What was judged, what did each check say, and what became of it?

An output is written once, with its checks and matches, in the same transaction as
its log entry (a stream twice: when it is opened, without a file, and when it has
ended); afterwards only its state and path move on, and only forward:

    prepared -> released | blocked | quarantined | void
    quarantined -> released | void
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from registry.catalog import CHUNK, NewFingerprint
from registry.errors import ConflictError, NotFoundError
from registry.scope import AuditScope
from registry.tables import (
    Check,
    Model,
    Output,
    OutputFingerprint,
    OutputMatch,
    TrainingManifest,
)

_NAMESPACE: Final = uuid.UUID("4f2b7d0a-15b7-5f5e-93e0-1a9a50c3a8a4")
_NEXT_STATES: Final[Mapping[str, frozenset[str]]] = {
    "prepared": frozenset({"released", "blocked", "quarantined", "void"}),
    "quarantined": frozenset({"released", "void"}),
}
_TINIEST: Final = 1e-300
"""Smallest p-value that is stored; PostgreSQL refuses denormal numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewModel:
    """A model at one version of its weights; the hashes are empty where unknown."""

    name: str
    version: str
    license: str
    weights_sha256: str
    training_manifest_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewManifest:
    """What a model was trained on."""

    sha256: str
    name: str
    item_count: int
    license: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRow:
    """What one check said; the same shape goes in and comes out.

    Attributes:
        outcome: One of ``registry.tables.CHECK_OUTCOMES``.
        score: What was measured, None where nothing was.
        threshold: What it was compared with.
        detail: A sentence for people.
        evidence: Numbers for programs; must be standard JSON (no NaN).
    """

    name: str
    outcome: str
    score: float | None = None
    threshold: float | None = None
    detail: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchRow:
    """A stretch of the output that quotes a stretch of a work.

    Attributes:
        license_id: The license in force that covered the quote, None if none did.
        votes: Postings that agree, 0 where the engine counts none.
        error_rate: Share of bits that differ, None where the engine knows none.
        rescan_log_index: Log entry of the re-scan that found it; None if it was found
            when the output was judged.
        heard_in: The sound that went into the output and quotes the work, "melody"; empty
            if the output does.
    """

    work_id: str
    engine: str
    query_start_seconds: float
    query_end_seconds: float
    reference_start_seconds: float
    reference_end_seconds: float
    score: float
    p_value: float
    semitones: float = 0.0
    speed: float = 1.0
    license_id: str | None = None
    votes: int = 0
    error_rate: float | None = None
    rescan_log_index: int | None = None
    heard_in: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOutput:
    """One judged file, to be written together with its log entry.

    Attributes:
        output_id: The record id, UUIDv7 text.
        kind: "release" or "screening".
        state: "prepared" for a release under way, else where it ends at once.
        decision: The policy's action: "release", "block", ...
        created_at: Aware.
        model_id: From ``record_model``; None for audio made elsewhere.
        file_name: As people know it.
        path: Where it is, "" while nowhere.
        sha256: Of the final file, "" if none was made, or not yet: an open stream.
        watermark_payload: 16 hex digits, unique; None if not marked.
        fingerprint: Little-endian uint32 items of the output, b"" if none.
        record: The canonical bytes that were logged.
        log_index: Their position in the log.
        other_fingerprints: Of other engines than the one of ``fingerprint``.
    """

    output_id: str
    kind: str
    state: str
    decision: str
    created_at: datetime
    policy_name: str
    policy_sha256: str
    model_id: str | None
    file_name: str
    path: str
    sha256: str
    seconds: float
    watermark_payload: str | None
    watermark_key_id: str
    fingerprint: bytes
    record: bytes
    log_index: int
    checks: tuple[CheckRow, ...] = ()
    matches: tuple[MatchRow, ...] = ()
    other_fingerprints: tuple[NewFingerprint, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputRow:
    """A stored output; fields as in ``NewOutput``."""

    output_id: str
    kind: str
    state: str
    decision: str
    created_at: datetime
    policy_name: str
    policy_sha256: str
    model_id: str | None
    model_name: str
    model_version: str
    file_name: str
    path: str
    sha256: str
    seconds: float
    watermark_payload: str | None
    watermark_key_id: str
    fingerprint: bytes
    record: bytes
    log_index: int
    checks: tuple[CheckRow, ...]
    matches: tuple[MatchRow, ...]


def record_model(session: Session, model: NewModel, *, at: datetime) -> str:
    """Write a model down once and name its id."""
    key = f"{model.name}\n{model.version}\n{model.weights_sha256}"
    model_id = str(uuid.uuid5(_NAMESPACE, key))
    if session.get(Model, model_id) is None:
        session.add(
            Model(
                id=model_id,
                name=model.name,
                version=model.version,
                license=model.license,
                weights_sha256=model.weights_sha256,
                training_manifest_sha256=model.training_manifest_sha256,
                recorded_at=at,
            )
        )
        session.flush()
    return model_id


def record_manifest(session: Session, manifest: NewManifest, *, at: datetime) -> None:
    """Write a training manifest down once."""
    if session.get(TrainingManifest, manifest.sha256) is None:
        session.add(
            TrainingManifest(
                sha256=manifest.sha256,
                name=manifest.name,
                item_count=manifest.item_count,
                license=manifest.license,
                recorded_at=at,
            )
        )
        session.flush()


def insert_output(session: Session, new: NewOutput) -> None:
    """Write an output with its checks and matches.

    Raises:
        ConflictError: If the id or the watermark payload is taken (raised when the
            transaction ends, or here on the flush).
    """
    session.add(
        Output(
            id=new.output_id,
            kind=new.kind,
            state=new.state,
            decision=new.decision,
            created_at=new.created_at,
            policy_name=new.policy_name,
            policy_sha256=new.policy_sha256,
            model_id=new.model_id,
            file_name=new.file_name,
            path=new.path,
            sha256=new.sha256,
            seconds=new.seconds,
            watermark_payload=new.watermark_payload,
            watermark_key_id=new.watermark_key_id,
            fingerprint=new.fingerprint,
            record=new.record,
            log_index=new.log_index,
        )
    )
    session.flush()
    _add_findings(session, new)


def complete_output(session: Session, new: NewOutput) -> None:
    """Write down how a stream ended that was opened under the same id, and what was found.

    Raises:
        NotFoundError: If it was not opened.
        ConflictError: If it has ended already.
    """
    output = session.get(Output, new.output_id)
    if output is None:
        raise NotFoundError(_no_output(new.output_id))
    if output.state != "prepared" or output.sha256:
        msg = f"output {new.output_id} is {output.state} and no open stream"
        raise ConflictError(msg)
    output.state, output.decision = new.state, new.decision
    output.file_name, output.path, output.sha256 = new.file_name, new.path, new.sha256
    output.seconds, output.fingerprint = new.seconds, new.fingerprint
    output.record, output.log_index = new.record, new.log_index
    session.flush()
    _add_findings(session, new)


def note_heard(session: Session, output_id: str, *, seconds: float, fingerprint: bytes) -> None:
    """Note how much of a stream that never ended had left, and what it was.

    Raises:
        NotFoundError: If there is no such output.
        ConflictError: If it is no open stream.
    """
    output = session.get(Output, output_id)
    if output is None:
        raise NotFoundError(_no_output(output_id))
    if output.state != "prepared" or output.sha256:
        msg = f"output {output_id} is {output.state} and no open stream"
        raise ConflictError(msg)
    output.seconds, output.fingerprint = seconds, fingerprint
    session.flush()


def _add_findings(session: Session, new: NewOutput) -> None:
    for check in new.checks:
        session.add(
            Check(
                output_id=new.output_id,
                name=check.name,
                outcome=check.outcome,
                score=check.score,
                threshold=check.threshold,
                detail=check.detail,
                evidence=dict(check.evidence),
            )
        )
    for heard in new.other_fingerprints:
        session.add(
            OutputFingerprint(output_id=new.output_id, engine=heard.engine, items=heard.items)
        )
    for match in new.matches:
        insert_match(session, new.output_id, match)
    session.flush()


def insert_match(session: Session, output_id: str, match: MatchRow) -> None:
    """Write one match of an output; with its other rows, or when a re-scan found it."""
    session.add(
        OutputMatch(
            output_id=output_id,
            work_id=match.work_id,
            engine=match.engine,
            query_start_seconds=match.query_start_seconds,
            query_end_seconds=match.query_end_seconds,
            reference_start_seconds=match.reference_start_seconds,
            reference_end_seconds=match.reference_end_seconds,
            score=match.score,
            p_value=max(match.p_value, _TINIEST),
            semitones=match.semitones,
            speed=match.speed,
            license_id=match.license_id,
            votes=match.votes,
            error_rate=match.error_rate,
            rescan_log_index=match.rescan_log_index,
            heard_in=match.heard_in,
        )
    )


def set_state(session: Session, output_id: str, state: str, *, path: str | None = None) -> None:
    """Move an output on; setting the state it has already is no change.

    Args:
        session: A writer's.
        output_id: The output.
        state: The next state.
        path: Where the file is now; None leaves it.

    Raises:
        NotFoundError: If there is no such output.
        ConflictError: If the step is not one of the module's picture.
    """
    output = session.get(Output, output_id)
    if output is None:
        raise NotFoundError(_no_output(output_id))
    if state != output.state and state not in _NEXT_STATES.get(output.state, frozenset()):
        msg = f"output {output_id} is {output.state} and cannot become {state}"
        raise ConflictError(msg)
    output.state = state
    if path is not None:
        output.path = path
    session.flush()


def get_output(session: Session, output_id: str) -> OutputRow:
    """Read one output with its checks and matches.

    Raises:
        NotFoundError: If there is no such output.
    """
    output = session.get(Output, output_id)
    if output is None:
        raise NotFoundError(_no_output(output_id))
    return _rows(session, [output], AuditScope.everything())[0]


def find_by_payload(session: Session, payload_hex: str) -> OutputRow | None:
    """Read the output that was given this watermark payload, 16 hex digits."""
    return _first(session, Output.watermark_payload == payload_hex.lower())


def find_by_sha256(session: Session, sha256: str) -> OutputRow | None:
    """Read the newest output whose final file had this hash."""
    return _first(session, Output.sha256 == sha256)


def created_between(session: Session, since: datetime, until: datetime) -> tuple[OutputRow, ...]:
    """List the outputs made from one moment until before another, in the order of the log."""
    query = select(Output).where(Output.created_at >= since).where(Output.created_at < until)
    outputs = list(session.scalars(query.order_by(Output.log_index)))
    return tuple(_rows(session, outputs, AuditScope.everything()))


def prepared(session: Session) -> tuple[OutputRow, ...]:
    """List the releases that were interrupted, oldest first, for recovery."""
    query = select(Output).where(Output.state == "prepared").order_by(Output.log_index)
    return tuple(_rows(session, list(session.scalars(query)), AuditScope.everything()))


def outputs_matching(
    session: Session,
    scope: AuditScope,
    *,
    work_id: str | None = None,
    rights_holder_id: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> tuple[OutputRow, ...]:
    """List outputs that quote works, in the order of the log.

    Only matches inside the scope and the filters are listed, so one rights-holder
    does not see what an output took from another. ``record`` still holds everything:
    show it only to a scope of everything, or its hash and proof to the others.

    Args:
        session: A reader's.
        scope: Whose works may be seen.
        work_id: Only quotes of this work.
        rights_holder_id: Only quotes of this holder's works.
        since: Only outputs made at this moment or later.
        until: Only outputs made before this moment.
    """
    wanted = scope.covers_work(OutputMatch.work_id.expression)
    if work_id is not None:
        wanted &= OutputMatch.work_id == work_id
    if rights_holder_id is not None:
        wanted &= AuditScope.of(rights_holder_id).covers_work(OutputMatch.work_id.expression)
    query = select(Output).where(Output.id.in_(select(OutputMatch.output_id).where(wanted)))
    if since is not None:
        query = query.where(Output.created_at >= since)
    if until is not None:
        query = query.where(Output.created_at < until)
    outputs = list(session.scalars(query.order_by(Output.log_index)))
    return tuple(_rows(session, outputs, scope, work_id=work_id, rights_holder_id=rights_holder_id))


def list_outputs(
    session: Session, *, kind: str | None = None, state: str | None = None, limit: int
) -> tuple[OutputRow, ...]:
    """List the newest outputs, newest first."""
    query = select(Output).order_by(Output.log_index.desc()).limit(limit)
    if kind is not None:
        query = query.where(Output.kind == kind)
    if state is not None:
        query = query.where(Output.state == state)
    return tuple(_rows(session, list(session.scalars(query)), AuditScope.everything()))


def _first(session: Session, condition: ColumnElement[bool]) -> OutputRow | None:
    query = select(Output).where(condition).order_by(Output.log_index.desc()).limit(1)
    rows = _rows(session, list(session.scalars(query)), AuditScope.everything())
    return rows[0] if rows else None


def _rows(
    session: Session,
    outputs: list[Output],
    scope: AuditScope,
    *,
    work_id: str | None = None,
    rights_holder_id: str | None = None,
) -> list[OutputRow]:
    """Read the checks, matches and models of many outputs with three queries a chunk."""
    checks: dict[str, list[CheckRow]] = {}
    matches: dict[str, list[MatchRow]] = {}
    ids = [output.id for output in outputs]
    for start in range(0, len(ids), CHUNK):
        chunk = ids[start : start + CHUNK]
        for check in session.scalars(
            select(Check).where(Check.output_id.in_(chunk)).order_by(Check.output_id, Check.name)
        ):
            checks.setdefault(check.output_id, []).append(_check_row(check))
        wanted = OutputMatch.output_id.in_(chunk) & scope.covers_work(
            OutputMatch.work_id.expression
        )
        if work_id is not None:
            wanted &= OutputMatch.work_id == work_id
        if rights_holder_id is not None:
            wanted &= AuditScope.of(rights_holder_id).covers_work(OutputMatch.work_id.expression)
        for match in session.scalars(select(OutputMatch).where(wanted).order_by(OutputMatch.id)):
            matches.setdefault(match.output_id, []).append(_match_row(match))
    models = {
        model.id: model
        for model_id in {output.model_id for output in outputs if output.model_id}
        if (model := session.get(Model, model_id)) is not None
    }
    return [
        OutputRow(
            output_id=output.id,
            kind=output.kind,
            state=output.state,
            decision=output.decision,
            created_at=output.created_at,
            policy_name=output.policy_name,
            policy_sha256=output.policy_sha256,
            model_id=output.model_id,
            model_name=models[output.model_id].name if output.model_id in models else "",
            model_version=models[output.model_id].version if output.model_id in models else "",
            file_name=output.file_name,
            path=output.path,
            sha256=output.sha256,
            seconds=output.seconds,
            watermark_payload=output.watermark_payload,
            watermark_key_id=output.watermark_key_id,
            fingerprint=output.fingerprint,
            record=output.record,
            log_index=output.log_index,
            checks=tuple(checks.get(output.id, ())),
            matches=tuple(matches.get(output.id, ())),
        )
        for output in outputs
    ]


def _check_row(check: Check) -> CheckRow:
    return CheckRow(
        name=check.name,
        outcome=check.outcome,
        score=check.score,
        threshold=check.threshold,
        detail=check.detail,
        evidence=check.evidence,
    )


def _match_row(match: OutputMatch) -> MatchRow:
    return MatchRow(
        work_id=match.work_id,
        engine=match.engine,
        query_start_seconds=match.query_start_seconds,
        query_end_seconds=match.query_end_seconds,
        reference_start_seconds=match.reference_start_seconds,
        reference_end_seconds=match.reference_end_seconds,
        score=match.score,
        p_value=match.p_value,
        semitones=match.semitones,
        speed=match.speed,
        license_id=match.license_id,
        votes=match.votes,
        error_rate=match.error_rate,
        rescan_log_index=match.rescan_log_index,
        heard_in=match.heard_in,
    )


def _no_output(output_id: str) -> str:
    return (
        f"{output_id}: no output under that id\nRun `safegen audit matches` to see what there is."
    )
