"""What is this upload: clear, flagged, inconclusive or undecodable?

Every file goes the same way:

1. listen: all ears, in a worker if there are several jobs
2. judge: the policy's rules for uploads (R12 to R18)
3. log: record, log entry and rows in one transaction, written by one committer
4. answer: only what was committed is told

The record never holds the upload's file name, which belongs to whoever uploaded it;
the SHA-256 says which file it was.
"""

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.orm import Session

from registry import releases
from registry.releases import CheckRow, NewOutput
from registry.screenings import find_screening
from registry.session import Database
from safegen.audio import sha256_file
from safegen.kept import others_of, plain_of
from safegen.licensing import licensed_compositions, licensed_matches
from safegen.listening import Heard
from safegen.matching import Scan, logged_scan
from safegen.policy import (
    COMPOSITION,
    RULES,
    Policy,
    UploadDecision,
    Verdict,
    judge_upload,
    undecodable,
)
from safegen.provenance import record
from safegen.provenance.log import Log
from safegen.recording import (
    MAX_HINTS,
    MAX_MATCHES,
    LicensedComposition,
    LicensedMatch,
    hints_json,
    intervals_json,
    mark_json,
)
from safegen.synthesis import Origin, origin_of, synthesis_json

if TYPE_CHECKING:
    from detectors.base import WatermarkFinding
    from detectors.decoder_mark import DecoderMarkFinding
    from safegen.provenance.c2pa import C2paFinding

_MAX_REASONS: Final = 32
_MAX_SEGMENTS: Final = 64
_CHECKS: Final = (
    *(rule.check for rule in RULES if rule.check.startswith("upload_")),
    COMPOSITION,
)

Listener = Callable[[Iterable[Path]], Iterator[tuple[Heard, ...]]]
"""Hears files in their order and hands the results over in groups."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Screening:
    """The answer about one upload, as it was logged.

    Attributes:
        file: As named by the caller.
        body: The record, the log's leaf as JSON values.
        position: Of the record in the log.
        is_resumed: Whether the answer is an earlier one, under the same policy.
        size_bytes: Of the file, for progress.
        picture: A spectrogram as PNG, b"" if none was asked for.
        explanation: Why the classifier says what it says, as PNG; b"" likewise.
    """

    file: str
    body: Mapping[str, Any]
    position: int
    is_resumed: bool
    size_bytes: int
    picture: bytes
    explanation: bytes = b""

    @property
    def verdict(self) -> Verdict:
        """What the upload is."""
        return Verdict(self.body["verdict"])

    def to_json(self) -> dict[str, Any]:
        """Give the object that ``screen`` prints."""
        body = self.body
        names = ("sha256", "verdict", "reasons", "synthetic", "watermark", "matches", "c2pa")
        return {
            "file": self.file,
            **{name: body[name] for name in names},
            # Records from before this ear was opened do not speak of it.
            "decoder_mark": body.get("decoder_mark", _decoder_mark_json(None)),
            "compositions": body.get("compositions", []),
            "scan": logged_scan(body),
            "seconds": body["seconds"],
            "record_id": body["record_id"],
            "policy": body["policy"],
            "log": {"index": self.position},
            "resumed": self.is_resumed,
        }


class Screener:
    """Judges and logs uploads under one policy.

    Args:
        database: Holds the catalog, the screenings and the log.
        log: Appends inside this class's transactions.
        policy: Judges.
        now: Gives the current UTC time.
        version: Of safegen, for the record.
        entropy: Gives that many random bytes.
    """

    def __init__(
        self,
        *,
        database: Database,
        log: Log,
        policy: Policy,
        now: Callable[[], datetime],
        version: str,
        entropy: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._database = database
        self._log = log
        self._policy = policy
        self._now = now
        self._version = version
        self._entropy = entropy

    def screen(
        self,
        paths: Sequence[Path],
        listener: Listener,
        *,
        resume: bool,
        scan: Scan = Scan.PLAIN,
    ) -> Iterator[Screening]:
        """Judge files; with ``resume``, answers that are in the log come first.

        A file that cannot be decoded or kills its worker is an answer, too, and never
        stops the others.

        Args:
            paths: Files, not folders.
            listener: Hears them.
            resume: Do not judge again what was judged under this very policy and scan.
            scan: How thoroughly the listener's ears compare with the catalog.
        """
        todo = list(paths)
        if resume:
            todo = []
            for path in paths:
                known = self._known(path, scan)
                if known is None:
                    todo.append(path)
                else:
                    yield known
        for group in listener(todo):
            yield from self._commit(group)

    def _known(self, path: Path, scan: Scan) -> Screening | None:
        try:
            sha256, size_bytes = sha256_file(path), path.stat().st_size
        except OSError:
            return None
        with self._database.read() as session:
            row = find_screening(session, sha256=sha256, policy_sha256=self._policy.sha256)
        if row is None:
            return None
        body = record.parse(row.record)
        if logged_scan(body) not in (None, scan.to_json()):
            return None
        return Screening(
            file=str(path),
            body=body,
            position=row.log_index,
            is_resumed=True,
            size_bytes=size_bytes,
            picture=b"",
        )

    def _commit(self, group: Sequence[Heard]) -> Iterator[Screening]:
        """Judge a group and write it in one transaction, then tell."""
        if not group:
            return
        done: list[Screening] = []
        with self._database.begin() as session:
            at = self._now()
            cases = [self._judge(session, heard, at) for heard in group]
            entries = [record.seal(case.body, private=()) for case in cases]
            positions = self._log.append(session, entries)
            for case, entry, position in zip(cases, entries, positions, strict=True):
                releases.insert_output(session, _row(case, self._policy, at, entry, position))
                done.append(
                    Screening(
                        file=str(case.heard.path),
                        body=case.body,
                        position=position,
                        is_resumed=False,
                        size_bytes=case.heard.size_bytes,
                        picture=case.heard.picture,
                        explanation=case.heard.explanation,
                    )
                )
        yield from done

    def _judge(self, session: Session, heard: Heard, at: datetime) -> "_Case":
        matches: tuple[LicensedMatch, ...] = ()
        hints: tuple[LicensedComposition, ...] = ()
        if heard.findings is None:
            decision = undecodable(heard.problem)
        else:
            found = sorted(heard.findings.matches, key=lambda match: -match.score)
            every = licensed_matches(session, found, at=at, policy=self._policy)
            matches = every[:MAX_MATCHES]
            hints = licensed_compositions(
                session, heard.findings.compositions, at=at, policy=self._policy
            )
            covered = {each.match.work_id for each in every if each.terms}
            covered |= {each.match.work_id for each in hints if each.terms}
            decision = judge_upload(self._policy, heard.findings, covered)
        record_id = record.new_record_id(at, self._entropy(10))
        while True:
            body = _body(
                heard,
                decision,
                matches,
                hints,
                policy=self._policy,
                record_id=record_id,
                at=at,
                version=self._version,
            )
            is_small = len(matches) <= 1 and len(hints) <= 1
            if len(record.canonical(body)) <= record.MAX_ENTRY_BYTES or is_small:
                break
            # The strongest fit the log; hints are the first to go.
            if len(hints) > 1:
                hints = hints[: min(len(hints), MAX_HINTS) // 2]
            else:
                matches = matches[: len(matches) // 2]
        return _Case(heard=heard, decision=decision, matches=matches, body=body)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """One upload between judgement and commit."""

    heard: Heard
    decision: UploadDecision
    matches: tuple[LicensedMatch, ...]
    body: dict[str, Any]


def _body(
    heard: Heard,
    decision: UploadDecision,
    matches: Sequence[LicensedMatch],
    hints: Sequence[LicensedComposition],
    *,
    policy: Policy,
    record_id: str,
    at: datetime,
    version: str,
) -> dict[str, Any]:
    """Write the record as JSON values; the same shape whatever was found."""
    findings = heard.findings
    return {
        "v": 1,
        "type": "screening",
        "record_id": record_id,
        "time": at.isoformat(timespec="milliseconds"),
        "code": {"name": "safegen", "version": version},
        "policy": {"name": policy.name, "version": policy.version, "sha256": policy.sha256},
        "sha256": heard.sha256,
        "size_bytes": heard.size_bytes,
        "seconds": round(heard.seconds, 3),
        "verdict": decision.verdict.value,
        "reasons": [
            {
                "rule": reason.rule,
                "check": reason.check,
                "verdict": reason.verdict.value,
                "problem": reason.problem,
            }
            for reason in decision.reasons[:_MAX_REASONS]
        ],
        "synthetic": synthesis_json(findings.synthetic if findings else None, _origin(heard)),
        "watermark": _watermark_json(findings.watermark if findings else None),
        "decoder_mark": _decoder_mark_json(findings.decoder_mark if findings else None),
        "scan": heard.scan.to_json() if findings else None,
        "matches": [match.to_json() for match in matches],
        "compositions": hints_json(hints),
        "c2pa": _c2pa_json(findings.c2pa if findings else None),
    }


def _origin(heard: Heard) -> Origin:
    """Say who made an upload; nothing is looked up, so a mark is taken at its word."""
    found = heard.findings
    if found is None:
        return Origin()
    return origin_of(
        found.synthetic, mark=found.watermark, root=found.decoder_mark, manifest=found.c2pa
    )


def _watermark_json(finding: "WatermarkFinding | None") -> dict[str, Any]:
    if finding is None:
        return {"detected": None, "payload": None, "p_value": None, "key_id": "", "intervals": []}
    heard = mark_json(finding)
    return {**heard, "intervals": heard["intervals"][:_MAX_SEGMENTS]}


def _decoder_mark_json(finding: "DecoderMarkFinding | None") -> dict[str, Any]:
    if finding is None:
        return {"detected": None, "p_value": None, "intervals": []}
    return {
        "detected": finding.detected,
        "p_value": finding.p_value,
        "intervals": intervals_json(finding.intervals[:_MAX_SEGMENTS]),
    }


def _c2pa_json(finding: "C2paFinding | None") -> dict[str, Any]:
    if finding is None:
        return {"state": "unreadable", "issuer": "", "generator": "", "source_type": ""}
    return {
        "state": finding.state,
        "issuer": finding.issuer[:200],
        "generator": finding.generator[:200],
        "source_type": finding.source_type[:200],
    }


def _row(case: _Case, policy: Policy, at: datetime, entry: bytes, position: int) -> NewOutput:
    """Give the registry's row; the mark found is evidence, not the row's own payload."""
    return NewOutput(
        output_id=str(case.body["record_id"]),
        kind="screening",
        state="screened",
        decision=case.decision.verdict.value,
        created_at=at,
        policy_name=policy.name,
        policy_sha256=policy.sha256,
        model_id=None,
        file_name=case.heard.path.name,
        path="",
        sha256=case.heard.sha256,
        seconds=case.heard.seconds,
        watermark_payload=None,
        watermark_key_id="",
        fingerprint=plain_of(case.heard.kept),
        other_fingerprints=others_of(case.heard.kept),
        record=entry,
        log_index=position,
        checks=_checks(case),
        matches=tuple(found.to_row() for found in case.matches),
    )


def _is_unheard(case: _Case) -> bool:
    """Whether the ear for compositions broke, instead of having nothing to compare."""
    faults = case.heard.findings.faults if case.heard.findings else ()
    return any(fault.ear in ("catalog", "composition") for fault in faults)


def _checks(case: _Case) -> tuple[CheckRow, ...]:
    """Say for each rule how it ended; a rule without a reason has passed."""
    rows: list[CheckRow] = []
    not_compared = case.heard.findings.not_compared if case.heard.findings else ""
    for check in _CHECKS:
        reasons = [reason for reason in case.decision.reasons if reason.check == check]
        if reasons:
            outcome = "error" if check in ("upload_ears", "upload_decode") else "fail"
        elif case.heard.findings is None and check != "upload_decode":
            outcome = "skipped"
        elif check == COMPOSITION and not_compared:
            outcome = "error" if _is_unheard(case) else "not_applicable"
        else:
            outcome = "pass"
        detail = "; ".join(reason.problem for reason in reasons)[:1000]
        if check == COMPOSITION and not reasons:
            detail = not_compared
        rows.append(CheckRow(name=check, outcome=outcome, detail=detail))
    return tuple(rows)
