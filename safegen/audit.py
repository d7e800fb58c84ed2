"""What was done with my works? Answers for rights-holders, from the registry and the log.

A work may be quoted by an output, or by a sound that went into the model: both are matches.

Every question takes an ``AuditScope``. A rights-holder sees the matches of their own
works only: co-owners and other parties become a count, uploads lose their file name,
and a record that names other parties' works is withheld, its hash and proof are not.

A scope may ask as of an earlier moment. Then only outputs made by then are told, with
the rights, licenses, takedowns and re-scans that were on record.

An answer is only as good as its evidence: each one is checked against the log, byte
for byte, and comes with an inclusion proof that was verified against the current
signed checkpoint. What a proof cannot show is that nothing was left out; for that a
rights-holder compares the counts of two exports with their checkpoints.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
from sqlalchemy.orm import Session

from detectors.chromaprint import ENGINE, ITEM_SECONDS, SPAN_SECONDS
from detectors.memorization import FLAG_SCORE, Query, TrainingItems
from detectors.memorization import examine as compare
from registry import catalog, releases
from registry import log as log_rows
from registry.catalog import WorkRow
from registry.errors import NotFoundError
from registry.releases import MatchRow, OutputRow
from registry.scope import AuditScope
from safegen.errors import InputError, IntegrityError, SafegenError
from safegen.generation.base import ModelFacts
from safegen.licensing import terms_of
from safegen.matching import logged_scan
from safegen.provenance import record as records
from safegen.provenance.log import InclusionProof, Log

_WINDOW_ITEMS: Final = 80
"""Items of the ten seconds that training items are long."""
RESCAN: Final = "rescan"
"""Type of the log entries that tell of matches found later."""

_QUOTATION_RULES: Final = ("R4", "R12", "R19")
_SCAN_ENTRIES: Final = 100_000
_BATCH: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A stretch of time, half-open; None is unbounded."""

    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditedWork:
    """A work and how often it was matched.

    Attributes:
        work: As cataloged; names of co-owners are not for a rights-holder's eyes.
        other_holders: Number of further rights-holders.
        outputs: State or verdict -> number of outputs that matched the work.
    """

    work: WorkRow
    other_holders: int
    outputs: Mapping[str, int]

    def to_json(self, scope: AuditScope) -> dict[str, Any]:
        """Give the object that ``audit works`` prints."""
        work = self.work
        return {
            "work_id": work.work_id,
            "title": work.title,
            "isrc": work.isrc,
            "rights_holder": _own_names(work, scope),
            "other_holders": self.other_holders,
            "seconds": round(work.seconds, 3),
            "added_at": _time(work.added_at),
            "removed_at": None if work.removed_at is None else _time(work.removed_at),
            "licenses": [
                {
                    "license_id": row.license_id,
                    "name": row.name,
                    "terms_sha256": row.terms_sha256,
                    "territories": list(row.territories),
                    "uses": list(row.uses),
                    "valid_from": _time(row.valid_from),
                    "valid_until": None if row.valid_until is None else _time(row.valid_until),
                    "obligations": list(row.obligations),
                    "attribution_text": row.attribution_text,
                }
                for row in work.licenses
            ],
            "outputs": dict(self.outputs),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class LaterFinding:
    """The log entry of a re-scan that found a match after the output was judged.

    Attributes:
        time: When, as logged.
        catalog_change: Number of the change that brought the work.
        proof: That the entry is in the log of the current checkpoint; verified.
    """

    time: str
    catalog_change: int
    proof: InclusionProof

    def to_json(self) -> dict[str, Any]:
        """Give the part of a match's row that says where it is logged."""
        return {
            "time": self.time,
            "catalog_change": self.catalog_change,
            "log": {
                "index": self.proof.position,
                "leaf_hash": self.proof.leaf_hash.hex(),
                "proof": [item.hex() for item in self.proof.hashes],
                "verified": True,
            },
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotation:
    """One stretch of an output, or of its input, that matches one of a work in the scope.

    Attributes:
        match: Where, and how well.
        work: The work, with its licenses.
        other_holders: Number of rights-holders that the scope does not show.
        later: The re-scan that found it; None if the output's record has it.
    """

    match: MatchRow
    work: WorkRow
    other_holders: int
    later: LaterFinding | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditedOutput:
    """An output as a scope may see it, with its evidence in the log.

    Attributes:
        output: The registry's row; matches outside the scope are not in it.
        quotations: Of works in the scope.
        reasons: Of the decision, as logged. For a rights-holder only their rules.
        proof: That the record is in the log of the current checkpoint; verified.
        record: What was logged; None where it names other parties' works.
        scan: How its matches were looked for, as logged; None if they were not.
    """

    output: OutputRow
    quotations: tuple[Quotation, ...]
    reasons: tuple[Mapping[str, Any], ...]
    proof: InclusionProof
    record: Mapping[str, Any] | None
    scan: Mapping[str, Any] | None

    def to_json(self, scope: AuditScope) -> dict[str, Any]:
        """Give the object that ``audit matches`` prints."""
        output, proof = self.output, self.proof
        is_own = output.kind == "release"
        return {
            "record_id": output.output_id,
            "kind": output.kind,
            "time": _time(output.created_at),
            "state": output.state,
            "decision": output.decision,
            "reasons": [dict(reason) for reason in self.reasons],
            "policy": {"name": output.policy_name, "sha256": output.policy_sha256},
            "model": {"name": output.model_name, "version": output.model_version},
            "file": output.file_name if is_own or scope.is_everything else None,
            "sha256": output.sha256,
            "seconds": round(output.seconds, 3),
            "scan": self.scan,
            "matches": [_quotation_json(each, scope) for each in self.quotations],
            "log": {
                "index": proof.position,
                "tree_size": proof.checkpoint.size,
                "leaf_hash": proof.leaf_hash.hex(),
                "proof": [item.hex() for item in proof.hashes],
                "root": proof.checkpoint.root.hex(),
                "verified": True,
            },
            "record": self.record,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingAnswer:
    """Whether a work resembles what a model was trained on.

    Attributes:
        model: The model asked about.
        is_available: Whether there is a manifest to compare with.
        reason: Why not, or how the comparison was made.
        score: Highest agreement on the scale on which 0.5 is the limit of chance; None
            if it was not compared.
        nearest_item: The training item of that agreement.
        work_start_seconds: Where in the work it is.
        items: Number of training items compared with.
    """

    model: ModelFacts
    is_available: bool
    reason: str
    score: float | None
    nearest_item: str
    work_start_seconds: float | None
    items: int

    @property
    def is_found(self) -> bool:
        """Whether the agreement is more than chance allows."""
        return self.score is not None and self.score > FLAG_SCORE

    def to_json(self) -> dict[str, Any]:
        """Give the object that ``audit training`` prints."""
        return {
            "model": {"name": self.model.name, "version": self.model.version},
            "training_manifest_sha256": self.model.training_manifest_sha256,
            "available": self.is_available,
            "found": self.is_found if self.is_available else None,
            "score": None if self.score is None else round(self.score, 4),
            "limit": FLAG_SCORE,
            "nearest_item": self.nearest_item,
            "work_start_seconds": self.work_start_seconds,
            "items": self.items,
            "reason": self.reason,
        }


def works(session: Session, scope: AuditScope) -> Iterator[AuditedWork]:
    """List the works in a scope, removed ones too, and how often each was matched.

    With a scope as of an earlier moment, as all of this was known then.
    """
    counts: dict[str, dict[str, int]] = {}
    for output in releases.outputs_matching(session, scope, until=_closed(scope, None)):
        for work_id in {match.work_id for match in _known_then(session, scope, output).matches}:
            state = _standing(output)
            of_work = counts.setdefault(work_id, {})
            of_work[state] = of_work.get(state, 0) + 1
    for work in catalog.list_works(session, scope, include_removed=True):
        yield AuditedWork(
            work=work,
            other_holders=_other_holders(work, scope),
            outputs=dict(sorted(counts.get(work.work_id, {}).items())),
        )


def matches(
    session: Session,
    log: Log,
    scope: AuditScope,
    *,
    window: Window,
    work_id: str | None = None,
) -> Iterator[AuditedOutput]:
    """List every output that matched works in the scope, in the order of the log.

    Released, blocked, quarantined and screened ones alike.

    Args:
        session: A reader's.
        log: Proves.
        scope: Whose works may be seen.
        window: When the outputs were made.
        work_id: Only matches of this work.

    Raises:
        NotFoundError: If the work is not in the scope.
        IntegrityError: If a record is not what was logged, or cannot be proved.
    """
    known: dict[str, WorkRow] = {}
    if work_id is not None:
        known[work_id] = _work_in_scope(session, scope, work_id)
    for output in releases.outputs_matching(
        session,
        scope,
        work_id=work_id,
        since=window.since,
        until=_closed(scope, window.until),
    ):
        then = _known_then(session, scope, output)
        if then.matches:
            yield _audited(session, log, scope, then, known)


def record(session: Session, log: Log, scope: AuditScope, record_id: str) -> AuditedOutput:
    """Show one record, its bytes compared with the log.

    Raises:
        NotFoundError: If there is none, or it matched nothing in the scope; the two
            cannot be told apart from outside.
        IntegrityError: If it is not what was logged, or cannot be proved.
    """
    output = releases.get_output(session, record_id)
    if not scope.is_everything:
        found = releases.outputs_matching(session, scope, until=_closed(scope, None))
        output = next((each for each in found if each.output_id == record_id), output)
        if output not in found:
            raise NotFoundError(
                f"{record_id}: no output under that id\n"
                "Run `safegen audit matches` to see what there is."
            )
    return _audited(session, log, scope, _known_then(session, scope, output), {})


def later_events(
    session: Session, found: AuditedOutput, *, as_of: datetime | None
) -> Iterator[Mapping[str, Any]]:
    """Find what the log says about a record after it was written: released, void, rescan.

    Of re-scans only those that found works in the scope, and nothing after ``as_of``.

    Cost: reads entries from ``position`` on, at most 100,000.
    """
    record_id, position = found.output.output_id, found.output.log_index
    shown = {each.match.rescan_log_index for each in found.quotations}
    size = log_rows.size(session)
    end = min(size, position + 1 + _SCAN_ENTRIES)
    needle = record_id.encode()
    for start in range(position + 1, end, _BATCH):
        for row in log_rows.entries(session, start=start, end=min(end, start + _BATCH)):
            if needle in row.entry:
                entry = records.parse(row.entry)
                is_seen = entry.get("type") != RESCAN or row.position in shown
                is_past = as_of is None or _moment(entry) <= as_of
                if entry.get("record_id") == record_id and is_seen and is_past:
                    yield {
                        "type": entry.get("type"),
                        "time": entry.get("time"),
                        "index": row.position,
                    }


def training(
    session: Session,
    scope: AuditScope,
    *,
    work_id: str,
    models: Iterable[ModelFacts],
    items_of: Callable[[ModelFacts], TrainingItems | None],
) -> Iterator[TrainingAnswer]:
    """Compare a work's fingerprint with what each model was trained on.

    Args:
        session: A reader's.
        scope: The work must be in it.
        work_id: The work.
        models: Whom to ask about.
        items_of: Gives a model's training items, None if they are not known here;
            ``safegen.memorization.for_model``.

    Raises:
        NotFoundError: If the work is not in the scope.
        InputError: If the work has no fingerprint.
    """
    _work_in_scope(session, scope, work_id)
    row = catalog.get_fingerprint(session, work_id, ENGINE)
    if row is None:
        raise InputError(f"work {work_id} has no {ENGINE} fingerprint", remedy="Add it again.")
    heard = np.frombuffer(row.items, dtype="<u4").astype(np.uint32)
    for model in models:
        try:
            items = items_of(model)
        except SafegenError as error:
            yield _unavailable(model, error.problem)
            continue
        if items is None or items.fingerprints is None:
            yield _unavailable(model, "no training manifest of this model is known here")
        else:
            yield _compare(model, heard, items)


def _audited(
    session: Session,
    log: Log,
    scope: AuditScope,
    output: OutputRow,
    known: dict[str, WorkRow],
) -> AuditedOutput:
    """Check an output against the log and cut it down to the scope."""
    if log.entry(session, output.log_index) != output.record:
        raise IntegrityError(
            f"record {output.output_id} is not what was logged at {output.log_index}",
            remedy="Run `safegen log verify` and restore the registry from a backup.",
        )
    proof = log.prove_inclusion(session, output.log_index)
    logged = records.parse(output.record)
    quotations: list[Quotation] = []
    for match in output.matches:
        if match.work_id not in known:
            known[match.work_id] = catalog.get_work(session, match.work_id, as_of=scope.as_of)
        work = known[match.work_id]
        quotations.append(
            Quotation(
                match=match,
                work=work,
                other_holders=_other_holders(work, scope),
                later=_later(session, log, output, match),
            )
        )
    return AuditedOutput(
        output=output,
        quotations=tuple(quotations),
        reasons=tuple(_reasons(logged, scope, quotations)),
        proof=proof,
        record=logged if scope.is_everything or _is_only_theirs(logged, quotations) else None,
        scan=logged_scan(logged),
    )


def _later(session: Session, log: Log, output: OutputRow, match: MatchRow) -> LaterFinding | None:
    """Check a match that a re-scan found against the entry that logged it."""
    if match.rescan_log_index is None:
        return None
    entry = records.parse(log.entry(session, match.rescan_log_index))
    named = (entry.get("type"), entry.get("record_id"), entry.get("work_id"))
    logged = entry.get("matches")
    stretches = {_stretch(each) for each in logged} if isinstance(logged, Sequence) else set()
    if named != (RESCAN, output.output_id, match.work_id) or _row_stretch(match) not in stretches:
        raise IntegrityError(
            f"a match of record {output.output_id} with work {match.work_id} is not what was "
            f"logged at {match.rescan_log_index}",
            remedy="Run `safegen log verify` and restore the registry from a backup.",
        )
    of_catalog = entry.get("catalog")
    change = of_catalog.get("change") if isinstance(of_catalog, Mapping) else None
    return LaterFinding(
        time=str(entry.get("time")),
        catalog_change=change if isinstance(change, int) else 0,
        proof=log.prove_inclusion(session, match.rescan_log_index),
    )


def _stretch(logged: object) -> tuple[object, ...]:
    """Name a logged stretch by what cannot be told differently of it later."""
    found = logged if isinstance(logged, Mapping) else {}
    return (
        found.get("engine"),
        found.get("query_start_seconds"),
        found.get("query_end_seconds"),
        found.get("license_id") or None,
    )


def _row_stretch(match: MatchRow) -> tuple[object, ...]:
    return (
        match.engine,
        round(match.query_start_seconds, 3),
        round(match.query_end_seconds, 3),
        match.license_id,
    )


def _known_then(session: Session, scope: AuditScope, output: OutputRow) -> OutputRow:
    """Leave out what re-scans found after the moment that the scope asks about."""
    if scope.as_of is None:
        return output
    kept = tuple(
        match
        for match in output.matches
        if match.rescan_log_index is None
        or _moment(_entry(session, match.rescan_log_index)) <= scope.as_of
    )
    return replace(output, matches=kept)


def _entry(session: Session, position: int) -> Mapping[str, Any]:
    rows = log_rows.entries(session, start=position, end=position + 1)
    return {} if not rows else records.parse(rows[0].entry)


def _moment(entry: Mapping[str, Any]) -> datetime:
    """Read when an entry was logged; one without a time was never so."""
    try:
        return datetime.fromisoformat(str(entry.get("time")))
    except ValueError:
        return datetime.max.replace(tzinfo=UTC)


def _closed(scope: AuditScope, until: datetime | None) -> datetime | None:
    """End a window behind the moment that the scope asks about."""
    if scope.as_of is None:
        return until
    behind = scope.as_of + timedelta(microseconds=1)
    return behind if until is None else min(until, behind)


def _reasons(
    logged: Mapping[str, Any], scope: AuditScope, quotations: Sequence[Quotation]
) -> Iterator[Mapping[str, Any]]:
    """Give the logged reasons; a rights-holder gets the rules, whose texts may name others.

    A quotation rule is not theirs to know of if all their own works were licensed.
    """
    is_theirs = any(each.match.license_id is None and not each.later for each in quotations)
    for reason in _logged_reasons(logged):
        if scope.is_everything:
            yield reason
        elif is_theirs or reason["rule"] not in _QUOTATION_RULES:
            yield {"rule": reason["rule"], "check": reason["check"]}


def _logged_reasons(logged: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    decision = logged.get("decision")
    found = decision.get("reasons") if isinstance(decision, Mapping) else logged.get("reasons")
    return found or ()


def _is_only_theirs(logged: Mapping[str, Any], quotations: Sequence[Quotation]) -> bool:
    """Whether the record names no work but those shown, and no holder but the one asking."""
    if any(each.other_holders for each in quotations):
        return False
    shown = {each.work.work_id for each in quotations}
    inputs = logged.get("inputs", [])
    rows = [*logged.get("matches", []), *(m for each in inputs for m in each["matches"])]
    named = {row["work_id"] for row in (*rows, *(h for x in inputs for h in x["compositions"]))}
    rules = {reason["rule"] for reason in _logged_reasons(logged)}
    # R1 quotes names out of a prompt, which are not this party's business.
    return named <= shown and "R1" not in rules


def _quotation_json(found: Quotation, scope: AuditScope) -> dict[str, Any]:
    match, work = found.match, found.work
    held = next((row for row in work.licenses if row.license_id == match.license_id), None)
    return {
        "heard_in": match.heard_in or "output",
        "work_id": work.work_id,
        "isrc": work.isrc,
        "title": work.title,
        "rights_holder": _own_names(work, scope),
        "other_holders": found.other_holders,
        "engine": match.engine,
        "query_start_seconds": match.query_start_seconds,
        "query_end_seconds": match.query_end_seconds,
        "reference_start_seconds": match.reference_start_seconds,
        "reference_end_seconds": match.reference_end_seconds,
        "score": match.score,
        "p_value": match.p_value,
        "semitones": match.semitones,
        "speed": match.speed,
        "votes": match.votes,
        "error_rate": match.error_rate,
        "status": "unlicensed" if match.license_id is None else "licensed",
        "license": None
        if held is None
        else {
            "id": held.license_id,
            "name": held.name,
            "terms_sha256": held.terms_sha256,
            "obligations": list(held.obligations),
            "attribution": terms_of(work, held).attribution,
        },
        "rescan": None if found.later is None else found.later.to_json(),
    }


def _own_names(work: WorkRow, scope: AuditScope) -> str:
    return ", ".join(
        right.rights_holder
        for right in work.rights
        if scope.is_everything or right.rights_holder_id == scope.rights_holder_id
    )


def _other_holders(work: WorkRow, scope: AuditScope) -> int:
    if scope.is_everything:
        return 0
    return sum(right.rights_holder_id != scope.rights_holder_id for right in work.rights)


def _work_in_scope(session: Session, scope: AuditScope, work_id: str) -> WorkRow:
    """Read a work; one that is not in the scope is as if it did not exist."""
    work = catalog.get_work(session, work_id, as_of=scope.as_of)
    holders = {right.rights_holder_id for right in work.rights}
    if not scope.is_everything and scope.rights_holder_id not in holders:
        raise NotFoundError(f"{work_id}: no work\nRun `safegen audit works` to see them.")
    return work


def _standing(output: OutputRow) -> str:
    """Say what became of a release, or what an upload was judged to be."""
    return output.decision if output.kind == "screening" else output.state


def _compare(
    model: ModelFacts, heard: "np.ndarray[Any, np.dtype[np.uint32]]", items: TrainingItems
) -> TrainingAnswer:
    """Slide over the work in steps of half a training item and keep the best agreement."""
    count = items.fingerprints.index.count if items.fingerprints else 0
    best, nearest, at = -math.inf, "", 0.0
    step = _WINDOW_ITEMS // 2
    for start in range(0, max(1, len(heard) - step), step):
        query = Query(
            bars=None, bar_seconds=0.0, codes=None, items=heard[start : start + _WINDOW_ITEMS]
        )
        found = compare(query, items)
        if found.nearest_item and found.score > best:
            best, nearest, at = found.score, found.nearest_item, start * ITEM_SECONDS
    if not nearest:
        return _unavailable(model, "the work is too short or too uniform to be compared")
    return TrainingAnswer(
        model=model,
        is_available=True,
        reason="compared by fingerprint, in windows of "
        f"{_WINDOW_ITEMS * ITEM_SECONDS + SPAN_SECONDS - ITEM_SECONDS:.0f} s; "
        "a transposed or re-recorded copy would not be found",
        score=best,
        nearest_item=nearest,
        work_start_seconds=round(at, 3),
        items=count,
    )


def _unavailable(model: ModelFacts, reason: str) -> TrainingAnswer:
    return TrainingAnswer(
        model=model,
        is_available=False,
        reason=reason,
        score=None,
        nearest_item="",
        work_start_seconds=None,
        items=0,
    )


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")
