"""What does the record of one output say, and in which bytes?

The record is the log's leaf: canonical JSON of public facts, with a commitment where
a private value (the prompt) would stand. The rows of the registry repeat parts of it
for questions in SQL; the record is what proofs speak about.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from detectors.base import Match, WatermarkFinding
from detectors.composition import CompositionMatch
from detectors.memorization import MemorizationFinding
from detectors.synthetic.finding import SyntheticFinding
from registry.catalog import NewFingerprint
from registry.releases import CheckRow, MatchRow, NewModel, NewOutput
from safegen import watermark
from safegen.generation.base import ModelFacts
from safegen.kept import others_of, plain_of
from safegen.matching import Scan
from safegen.policy import Action, CheckResult, Decision, Policy
from safegen.provenance.c2pa import C2paFinding
from safegen.provenance.record import Json
from safegen.requested import Build
from safegen.synthesis import origin_of, summary_json

WATERMARK_ALGORITHM: Final = "safegen-keyed-spread-spectrum-2"
UNLOGGED: Final = -1
"""Log index of a row that is not written yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """Who asked for what, before anything was heard.

    Attributes:
        record_id: UUIDv7 made by the gate.
        time: Of admission, aware UTC.
        facts: About the model.
        prompt_commitment: Salted SHA-256 of the prompt, hex; "" without a prompt.
        seed: Of the item; None if the generator told none.
        seconds: Of the sound; 0 if it was refused before there was one.
        source_name: File name of a foreign file, "" for an own generation.
        pcm_sha256: Of the judged sound before it was marked (float32, channel by
            channel), lower-case hex; the same for the same seed. "" before there is one.
        request: What else is told of it, from ``requested.public``; empty if nobody told.
        build: That generated it; None for sound that was made elsewhere.
    """

    record_id: str
    time: datetime
    facts: ModelFacts
    prompt_commitment: str
    seed: int | None
    seconds: float
    source_name: str
    pcm_sha256: str = ""
    request: Mapping[str, Json] = field(default_factory=dict)
    build: Build | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The license in force that covers a match, and what it obliges to.

    Attributes:
        license_id: Of the registry.
        name: As people call it.
        terms_sha256: Of the license document or its fields.
        obligations: Some of ``registry.licensing.OBLIGATIONS``.
        attribution: The line to be shown, "" unless attribution is owed.
    """

    license_id: str
    name: str
    terms_sha256: str
    obligations: tuple[str, ...]
    attribution: str

    def to_json(self) -> dict[str, Any]:
        """Give the part of a match's row that says what covers it."""
        return {
            "name": self.name,
            "terms_sha256": self.terms_sha256,
            "obligations": list(self.obligations),
            "attribution": self.attribution,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class LicensedMatch:
    """A match and the license in force that covers it.

    Attributes:
        match: Where it is.
        terms: Of the license in force; None if the work is not licensed for this.
        title: Of the work.
        isrc: Of the work, "" if unknown.
        rights_holder: Names joined by ", ".
    """

    match: Match
    terms: Terms | None
    title: str
    isrc: str
    rights_holder: str

    @property
    def license_id(self) -> str:
        """Id of the license in force, "" if there is none."""
        return self.terms.license_id if self.terms else ""

    def to_row(self, *, rescan_log_index: int | None = None, heard_in: str = "") -> MatchRow:
        """Give the registry's row.

        Args:
            rescan_log_index: Of a match found later, the log entry that says so.
            heard_in: Of a match of a sound that was given, its kind.
        """
        return MatchRow(
            work_id=self.match.work_id,
            engine=self.match.engine,
            query_start_seconds=self.match.query_start_seconds,
            query_end_seconds=self.match.query_end_seconds,
            reference_start_seconds=self.match.reference_start_seconds,
            reference_end_seconds=self.match.reference_end_seconds,
            score=self.match.score,
            p_value=self.match.p_value,
            semitones=self.match.semitones,
            speed=self.match.speed,
            license_id=self.license_id or None,
            votes=self.match.votes,
            error_rate=self.match.error_rate,
            rescan_log_index=rescan_log_index,
            heard_in=heard_in,
        )

    def to_json(self) -> dict[str, Any]:
        """Give the row that every command prints for a match."""
        return {
            "work_id": self.match.work_id,
            "isrc": self.isrc,
            "title": self.title,
            "rights_holder": self.rights_holder,
            "engine": self.match.engine,
            "query_start_seconds": round(self.match.query_start_seconds, 3),
            "query_end_seconds": round(self.match.query_end_seconds, 3),
            "reference_start_seconds": round(self.match.reference_start_seconds, 3),
            "reference_end_seconds": round(self.match.reference_end_seconds, 3),
            "score": round(self.match.score, 4),
            "p_value": self.match.p_value,
            "semitones": self.match.semitones,
            "speed": self.match.speed,
            "votes": self.match.votes,
            "error_rate": None
            if self.match.error_rate is None
            else round(self.match.error_rate, 4),
            "status": "licensed" if self.terms else "unlicensed",
            "license_id": self.license_id,
            "license": self.terms.to_json() if self.terms else None,
        }


MAX_MATCHES: Final = 64
"""Strongest matches that a record holds; the decision rests on all, the entry must fit the log."""
MAX_HINTS: Final = 16
"""Hints at compositions that a record holds, those without a license first; it must fit the log."""
MAX_INPUT_MATCHES: Final = 6
"""Strongest matches that a record holds of each sound that was given; for the same reason."""
_MAX_FAILURES: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class LicensedComposition:
    """A hint that a work's notes are played, and the license in force that covers the work.

    Attributes:
        match: Where, perhaps.
        terms: Of the license in force; None if the work is not licensed for this.
        title: Of the work.
        rights_holder: Names joined by ", ".
    """

    match: CompositionMatch
    terms: Terms | None
    title: str
    rights_holder: str

    def to_json(self) -> dict[str, Any]:
        """Give the row that records and commands show for a hint."""
        return {
            "work_id": self.match.work_id,
            "title": self.title,
            "rights_holder": self.rights_holder,
            "query_start_seconds": round(self.match.query_start_seconds, 2),
            "query_end_seconds": round(self.match.query_end_seconds, 2),
            "work_start_seconds": round(self.match.work_start_seconds, 2),
            "work_end_seconds": round(self.match.work_end_seconds, 2),
            "semitones": self.match.semitones,
            "speed": self.match.speed,
            "agreement": round(self.match.agreement, 4),
            "score": round(self.match.score, 2),
            "p_value": self.match.p_value,
            "status": "licensed" if self.terms else "unlicensed",
            "license_id": self.terms.license_id if self.terms else "",
        }


def hints_json(hints: Sequence[LicensedComposition]) -> list[dict[str, Any]]:
    """Write the hints that a record holds."""
    return [hint.to_json() for hint in hints[:MAX_HINTS]]


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFinding:
    """What was found of a sound that was given to the model.

    Attributes:
        kind: Field of the request: "melody", "continue_from", "source".
        matches: Where it quotes works.
        compositions: Hints at works whose notes it plays.
        basis: What leads to a release of ours: "watermark", "sha256", "c2pa"; "" if nothing.
        record_id: Of that release.
        file_sha256: Of the file it was read from, "" if there was none.
        manifest: What that file's manifest amounts to; None if there was no file.
    """

    kind: str
    matches: tuple[LicensedMatch, ...] = ()
    compositions: tuple[LicensedComposition, ...] = ()
    basis: str = ""
    record_id: str = ""
    file_sha256: str = ""
    manifest: C2paFinding | None = None

    def stretches_json(self) -> list[dict[str, Any]]:
        """Give the rows of its matches, the strongest."""
        return [match.to_json() for match in self.matches[:MAX_INPUT_MATCHES]]

    def to_json(self) -> dict[str, Any]:
        """Give the row of the record."""
        manifest = self.manifest
        return {
            "kind": self.kind,
            "matches": self.stretches_json(),
            "compositions": hints_json(self.compositions[:MAX_INPUT_MATCHES]),
            "release": {"basis": self.basis, "record_id": self.record_id} if self.basis else None,
            "file": None
            if manifest is None
            else {
                "sha256": self.file_sha256,
                "c2pa": {
                    "state": manifest.state,
                    "failures": list(manifest.failures[:_MAX_FAILURES]),
                    # Of a manifest that is not ours, nothing else is believed.
                    "record_id": manifest.record_id if manifest.state == "trusted" else "",
                },
            },
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The file that is about to be visible.

    Attributes:
        path: Its name in the output folder.
        sha256: Of its bytes, lower-case hex.
        file_format: "wav", "flac" or "mp3".
        sample_rate: In Hz.
        channels: Count.
        payload: The 64-bit id in the watermark.
        key_id: Which watermark key carries it.
        mark: What was read back; None if nothing was.
        c2pa_state: As validated after signing.
        fingerprint: Chromaprint items of the decoded file, shape (n,), uint32.
    """

    path: Path
    sha256: str
    file_format: str
    sample_rate: int
    channels: int
    payload: int
    key_id: str
    mark: WatermarkFinding | None
    c2pa_state: str
    fingerprint: np.ndarray[tuple[int], np.dtype[np.uint32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """All that was found about one output, and what follows from it.

    Attributes:
        policy: What it was judged by.
        decision: What follows.
        checks: In the order in which they ran.
        matches: Where works are quoted.
        memorization: None if it was not examined.
        scan: How the matches were looked for.
        compositions: Hints at works whose notes are played; no evidence of copying.
        synthetic: What the classifier heard before the mark; None if it gave no answer.
        inputs: What was found of the sounds that the model was given.
    """

    policy: Policy
    decision: Decision
    checks: tuple[CheckResult, ...]
    matches: tuple[LicensedMatch, ...]
    memorization: MemorizationFinding | None
    scan: Scan = Scan.PLAIN
    compositions: tuple[LicensedComposition, ...] = ()
    synthetic: SyntheticFinding | None = None
    inputs: tuple[InputFinding, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamFacts:
    """What left the gate while the sound was still being made.

    Attributes:
        opened: Log index of the entry that was written before the first sample left.
        hold_back_seconds: How far what left stayed behind what was compared.
        emitted_seconds: Length of what had left when the decision fell; all of it leaves
            after a release.
        is_whole: Whether the sound was made to its end.
    """

    opened: int
    hold_back_seconds: float
    emitted_seconds: float
    is_whole: bool

    def to_json(self) -> dict[str, Any]:
        """Give the part of the record."""
        return {
            "opened": self.opened,
            "hold_back_seconds": self.hold_back_seconds,
            "emitted_seconds": round(self.emitted_seconds, 3),
            "is_whole": self.is_whole,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What the gate did with one output; refusals included.

    Attributes:
        item: What was asked.
        judgement: What was found and decided.
        finished: The file; None if it was refused.
        position: Of the record in the log.
        tree_size: Of the log after the last entry about this output.
        receipt: Path of the sidecar; None if refused.
        timings_ms: Wall time of each step, milliseconds.
        stream: What had left before the decision; None if the sound was judged as a whole.
    """

    item: Item
    judgement: Judgement
    finished: Finished | None
    position: int
    tree_size: int
    receipt: Path | None
    timings_ms: Mapping[str, float]
    stream: StreamFacts | None = None

    @property
    def is_released(self) -> bool:
        """Whether the file lies in the output folder."""
        return self.finished is not None

    def to_json(self) -> dict[str, Any]:
        """Give the object that ``generate`` and ``release`` print."""
        finished, mark = self.finished, self.finished.mark if self.finished else None
        return {
            "record_id": self.item.record_id,
            "decision": self.judgement.decision.action.value,
            "path": str(finished.path) if finished else None,
            "sha256": finished.sha256 if finished else None,
            "model": self.item.facts.name,
            "seed": self.item.seed,
            "seconds": round(self.item.seconds, 3),
            "pcm_sha256": self.item.pcm_sha256,
            "inputs": _inputs_json(self.item, self.judgement),
            "watermark": {
                "payload": payload_hex(finished.payload) if finished else None,
                "detected": mark is not None and mark.detected,
                "p_value": mark.p_value if mark else None,
            },
            "checks": [check_json(check) for check in self.judgement.checks],
            "reasons": [
                {"rule": reason.rule, "check": reason.check, "problem": reason.problem}
                for reason in self.judgement.decision.reasons
            ],
            "scan": self.judgement.scan.to_json(),
            "matches": [match.to_json() for match in self.judgement.matches],
            "compositions": hints_json(self.judgement.compositions),
            "memorization": memorization_json(self.judgement.memorization),
            "synthetic": _synthetic_json(self.judgement, self.finished),
            "stream": self.stream.to_json() if self.stream else None,
            "log": {"index": self.position, "tree_size": self.tree_size},
            "timings_ms": {name: round(ms, 1) for name, ms in self.timings_ms.items()},
        }


def body(
    item: Item,
    judgement: Judgement,
    finished: Finished | None,
    *,
    version: str,
    stream: StreamFacts | None = None,
) -> dict[str, Any]:
    """Write the record as JSON values, ready for ``canonical``.

    Args:
        item: What was asked.
        judgement: What was decided and why.
        finished: The file, None if the output was refused before there was one.
        version: Of safegen.
        stream: What had left before; None if the sound was judged as a whole.
    """
    policy = judgement.policy
    return {
        "v": 1,
        "type": "output",
        "record_id": item.record_id,
        "time": item.time.isoformat(timespec="milliseconds"),
        "code": {"name": "safegen", "version": version},
        "model": model_json(item.facts),
        "request": {
            "prompt_commitment": item.prompt_commitment,
            # JSON numbers hold 53 bits; a seed has up to 63.
            "seed": None if item.seed is None else str(item.seed),
            "seconds": item.seconds,
            "pcm_sha256": item.pcm_sha256,
            **item.request,
        },
        # Records of foreign sound and of earlier versions have none.
        **({} if item.build is None else {"build": item.build.to_json()}),
        **({} if stream is None else {"stream": stream.to_json()}),
        "policy": {"name": policy.name, "version": policy.version, "sha256": policy.sha256},
        "decision": {
            "action": judgement.decision.action.value,
            "reasons": [
                {
                    "rule": reason.rule,
                    "check": reason.check,
                    "action": reason.action.value,
                    "problem": reason.problem,
                }
                for reason in judgement.decision.reasons
            ],
        },
        "checks": [check_json(check) for check in judgement.checks],
        "scan": judgement.scan.to_json(),
        "matches": [match.to_json() for match in judgement.matches[:MAX_MATCHES]],
        "compositions": hints_json(judgement.compositions),
        # Only of a model that was given sounds; records of earlier versions have none.
        **({"inputs": [each.to_json() for each in judgement.inputs]} if judgement.inputs else {}),
        "memorization": memorization_json(judgement.memorization),
        "synthetic": _synthetic_json(judgement, finished),
        "output": None if finished is None else _output(finished),
    }


def row(
    item: Item,
    judgement: Judgement,
    finished: Finished | None,
    *,
    state: str,
    kept: Sequence[NewFingerprint],
    entry: bytes,
) -> NewOutput:
    """Give the registry's row of one output, with its checks and matches.

    Model id and log index are only known inside the transaction that writes the row;
    ``Publisher`` fills them in.
    """
    return NewOutput(
        output_id=item.record_id,
        kind="release",
        state=state,
        decision=judgement.decision.action.value,
        created_at=item.time,
        policy_name=judgement.policy.name,
        policy_sha256=judgement.policy.sha256,
        model_id=None,
        file_name=finished.path.name if finished else item.source_name,
        path=str(finished.path) if finished else "",
        sha256=finished.sha256 if finished else "",
        seconds=item.seconds,
        watermark_payload=payload_hex(finished.payload) if finished else None,
        watermark_key_id=finished.key_id if finished else "",
        fingerprint=plain_of(kept),
        other_fingerprints=others_of(kept),
        record=entry,
        log_index=UNLOGGED,
        checks=tuple(
            CheckRow(
                name=check.name,
                outcome=check.outcome.value,
                score=check.score,
                threshold=check.threshold,
                detail=check.detail,
                evidence=check.evidence,
            )
            for check in judgement.checks
        ),
        matches=(
            *(found.to_row() for found in judgement.matches),
            *(x.to_row(heard_in=each.kind) for each in judgement.inputs for x in each.matches),
        ),
    )


def opening(
    item: Item, judgement: Judgement, stream: StreamFacts, *, payload: int, version: str
) -> dict[str, Any]:
    """Write the entry that opens a stream: what is known before its first sample leaves.

    It is laid out like a record, for whoever finds a stream that never ended; its action is
    to block, because nothing was released yet.

    Args:
        item: What was asked.
        judgement: Of what was made so far.
        stream: Of this stream.
        payload: The id in its watermark.
        version: Of safegen.
    """
    written = body(item, judgement, None, version=version, stream=stream)
    return {
        **written,
        "type": "stream",
        "decision": {"action": Action.BLOCK.value, "reasons": []},
        "watermark": {"algorithm": WATERMARK_ALGORITHM, "payload": payload_hex(payload)},
    }


def opening_row(
    item: Item, judgement: Judgement, *, path: Path, payload: int, key_id: str, entry: bytes
) -> NewOutput:
    """Give the registry's row of a stream that is opened; its checks come with its end."""
    return replace(
        row(item, judgement, None, state="prepared", kept=(), entry=entry),
        decision=Action.BLOCK.value,
        file_name=path.name,
        path=str(path),
        watermark_payload=payload_hex(payload),
        watermark_key_id=key_id,
        checks=(),
        matches=(),
    )


def model_json(facts: ModelFacts) -> dict[str, str]:
    """Give what the record says about the model."""
    return {
        "name": facts.name,
        "version": facts.version,
        "license": facts.license,
        "weights_sha256": facts.weights_sha256,
        "training_manifest_sha256": facts.training_manifest_sha256,
        # Records of models whose license asks for no consent have none.
        **({"license_accepted": facts.license_accepted} if facts.license_accepted else {}),
        # Records of all others, and of earlier versions, name no package.
        **({"package": facts.package} if facts.package else {}),
    }


def model_row(facts: ModelFacts) -> NewModel:
    """Give the registry's row of the model."""
    return NewModel(
        name=facts.name,
        version=facts.version,
        license=facts.license,
        weights_sha256=facts.weights_sha256,
        training_manifest_sha256=facts.training_manifest_sha256,
    )


def check_json(check: CheckResult) -> dict[str, Any]:
    """Give the row that every command prints for a check."""
    return {
        "name": check.name,
        "outcome": check.outcome.value,
        "score": check.score,
        "threshold": check.threshold,
        "detail": check.detail,
    }


def memorization_json(finding: MemorizationFinding | None) -> dict[str, Any]:
    """Give the memorization part of a record; ``flag`` is null if it was not examined."""
    if finding is None:
        return {"flag": None, "score": None, "nearest_item": ""}
    return {
        "flag": finding.flag,
        "score": round(finding.score, 4),
        "nearest_item": finding.nearest_item,
    }


def _inputs_json(item: Item, judgement: Judgement) -> list[Any]:
    """Give what is told of each input, with what was found of it."""
    told = item.request.get("inputs", [])
    found = {each.kind: each.to_json() for each in judgement.inputs}
    rows = told if isinstance(told, list) else []
    return [{**row, **found.get(str(row["kind"]), {})} for row in rows if isinstance(row, dict)]


def _synthetic_json(judgement: Judgement, finished: Finished | None) -> dict[str, Any]:
    """Say who made the output, as whoever hears the file later would be told."""
    mark = finished.mark if finished else None
    return summary_json(judgement.synthetic, origin_of(judgement.synthetic, mark=mark))


def now() -> datetime:
    """Tell the time of a record: aware, UTC."""
    return datetime.now(UTC)


def mark_json(finding: WatermarkFinding) -> dict[str, Any]:
    """Give what was heard of the watermark, with the day it tells and the speed it plays at."""
    day = watermark.day_of_epoch(finding.epoch or 0)
    return {
        "detected": finding.detected,
        "payload": None if finding.payload is None else payload_hex(finding.payload),
        "p_value": finding.p_value,
        "key_id": finding.key_id,
        "marked_on": day.isoformat() if day else None,
        "speed": round(finding.speed, 4),
        "semitones": round(finding.semitones, 3),
        "intervals": intervals_json(finding.intervals),
    }


def payload_hex(payload: int) -> str:
    """Write a watermark's 64-bit id as 16 hex digits, as the registry stores it."""
    return f"{payload:016x}"


def _output(finished: Finished) -> Mapping[str, Any]:
    mark = finished.mark
    return {
        "file_name": finished.path.name,
        "sha256": finished.sha256,
        "file_format": finished.file_format,
        "sample_rate": finished.sample_rate,
        "channels": finished.channels,
        "watermark": {
            "algorithm": WATERMARK_ALGORITHM,
            "key_id": finished.key_id,
            "payload": payload_hex(finished.payload),
            "detected": mark is not None and mark.detected,
            "p_value": None if mark is None else mark.p_value,
        },
        "c2pa": {"state": finished.c2pa_state},
        "fingerprint": {"engine": "chromaprint", "items": len(finished.fingerprint)},
    }


def intervals_json(intervals: Sequence[Any]) -> list[dict[str, float]]:
    """Give intervals as rows of seconds."""
    return [
        {
            "start_seconds": round(interval.start_seconds, 3),
            "end_seconds": round(interval.end_seconds, 3),
            "score": round(interval.score, 4),
        }
        for interval in intervals
    ]
