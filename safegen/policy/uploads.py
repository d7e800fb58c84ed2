"""What is an upload to a platform: clear, inconclusive or flagged?

The same numbers as for releases, read from the other side: here a synthetic verdict
flags, and abstaining is an answer. The worst rule wins. ``CLEAR`` means that
nothing was found, never that a human made it.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from detectors.base import Match
from safegen.policy.judges import (
    SYNTHETIC,
    CompositionMatch,
    SyntheticFinding,
    WatermarkFinding,
    counted_matches,
    heard_text,
    hint,
    hinted_works,
    is_undecided,
    p_text,
)
from safegen.policy.judges import quoted_seconds as _quoted_seconds
from safegen.policy.model import Policy
from safegen.policy.rules import RULES_BY_ID


class Verdict(StrEnum):
    """What an upload is, mildest first; ``UNDECODABLE`` says nothing about the content."""

    CLEAR = "clear"
    INCONCLUSIVE = "inconclusive"
    FLAGGED = "flagged"
    UNDECODABLE = "undecodable"


class ManifestFinding(Protocol):
    """What is judged about Content Credentials somebody else may have written."""

    @property
    def state(self) -> str:
        """One of trusted, valid, invalid, absent, unreadable."""

    @property
    def failures(self) -> Sequence[str]:
        """Validation failure codes."""

    @property
    def issuer(self) -> str:
        """Organization of the signing certificate."""

    @property
    def source_type(self) -> str:
        """IPTC digital source type of the first action, "" if it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """An ear that gave no answer.

    Attributes:
        ear: "catalog", "composition", "synthetic", "watermark", "decoder_mark" or "c2pa".
        problem: Why not.
    """

    ear: str
    problem: str


class DecoderMarkFinding(Protocol):
    """What is judged about the mark of the shipped codec."""

    @property
    def detected(self) -> bool:
        """Whether it was heard."""

    @property
    def p_value(self) -> float:
        """Chance of such a finding in a sound the codec did not make."""


class Findings(Protocol):
    """What the ears said about one upload; None where an ear gave no answer."""

    @property
    def matches(self) -> Sequence[Match]:
        """What it quotes."""

    @property
    def compositions(self) -> Sequence[CompositionMatch]:
        """Whose notes it may play, best first."""

    @property
    def synthetic(self) -> SyntheticFinding | None:
        """The classifier's answer."""

    @property
    def watermark(self) -> WatermarkFinding | None:
        """The mark's."""

    @property
    def decoder_mark(self) -> DecoderMarkFinding | None:
        """What was heard of the shipped codec's own mark."""

    @property
    def c2pa(self) -> ManifestFinding | None:
        """The manifest's."""

    @property
    def faults(self) -> Sequence[Fault]:
        """The ears that failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadReason:
    """Why an upload is not clear.

    Attributes:
        rule: Id as in POLICY.md.
        check: Name of the check, "upload_match" and so on.
        verdict: What this reason alone would lead to.
        problem: One sentence, the measured value and the limit in that order.
    """

    rule: str
    check: str
    verdict: Verdict
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadDecision:
    """The judgement on one upload; reasons worst first, empty for ``CLEAR``."""

    verdict: Verdict
    reasons: tuple[UploadReason, ...]


def judge_upload(
    policy: Policy, findings: Findings, licensed_work_ids: Collection[str]
) -> UploadDecision:
    """Apply R12 to R16 and R18.

    Args:
        policy: Gives the limits and what follows.
        findings: Of every ear; one that is None and has no fault counts as broken.
        licensed_work_ids: The works with a license in force for this use, place and time.
    """
    reasons = [
        reason
        for reason in (
            *_quotations(policy, findings.matches, licensed_work_ids),
            *_compositions(policy, findings, licensed_work_ids),
            *_synthetic(policy, findings.synthetic),
            *_watermark(policy, findings.watermark),
            *_decoder_mark(policy, findings.decoder_mark),
            *_manifest(policy, findings.c2pa),
            *_broken(findings),
        )
        if reason.verdict is not Verdict.CLEAR
    ]
    reasons.sort(key=lambda r: (-list(Verdict).index(r.verdict), int(r.rule[1:]), r.problem))
    return UploadDecision(
        verdict=reasons[0].verdict if reasons else Verdict.CLEAR, reasons=tuple(reasons)
    )


def undecodable(problem: str) -> UploadDecision:
    """Apply R17: say that a file cannot be decoded, and why."""
    reason = _reason("R17", Verdict.UNDECODABLE, problem)
    return UploadDecision(verdict=Verdict.UNDECODABLE, reasons=(reason,))


def _quotations(
    policy: Policy, matches: Sequence[Match], licensed: Collection[str]
) -> Iterator[UploadReason]:
    limit = policy.catalog_match.min_match_seconds
    verdict = Verdict(policy.screening.on_unlicensed_match)
    for work, found in counted_matches(policy, matches).items():
        if work not in licensed:
            seconds = _quoted_seconds(found)
            problem = f"{seconds:.1f} s quote work {work} without a license, limit {limit:g} s"
            yield _reason("R12", verdict, problem)


def _compositions(
    policy: Policy, findings: Findings, licensed: Collection[str]
) -> Iterator[UploadReason]:
    rules = policy.composition
    quoted = counted_matches(policy, findings.matches)
    hints = hinted_works(policy, findings.compositions, licensed=licensed, quoted=quoted)
    for match in hints.values():
        yield _reason("R18", Verdict(rules.on_upload), hint(match, rules.max_p_value))


def _synthetic(policy: Policy, finding: SyntheticFinding | None) -> Iterator[UploadReason]:
    rules = policy.screening
    if finding is None:
        return
    if not math.isfinite(finding.probability):
        problem = f"synthetic probability {finding.probability:.2f} is not a number"
        yield _reason("R16", Verdict.INCONCLUSIVE, problem)
    elif is_undecided(finding):
        why = finding.reason or "no reason given"
        problem = f"the classifier abstained ({why}), no limit applies"
        yield _reason("R13", Verdict(rules.on_abstained), problem)
    elif finding.verdict not in SYNTHETIC:
        return
    elif finding.probability >= rules.flag_probability:
        problem = f"{heard_text(finding)}, flagged from {rules.flag_probability:g}"
        yield _reason("R13", Verdict(rules.on_synthetic), problem)
    elif finding.probability >= rules.clear_probability and rules.on_synthetic != "clear":
        problem = f"{heard_text(finding)}, clear below {rules.clear_probability:g}"
        yield _reason("R13", Verdict.INCONCLUSIVE, problem)


def _watermark(policy: Policy, finding: WatermarkFinding | None) -> Iterator[UploadReason]:
    if finding is not None and finding.detected:
        name = "an id that cannot be read" if finding.payload is None else f"{finding.payload:016x}"
        problem = f"it carries our watermark {name} (p {p_text(finding.p_value)})"
        yield _reason("R14", Verdict(policy.screening.on_watermark), problem)


def _decoder_mark(policy: Policy, finding: DecoderMarkFinding | None) -> Iterator[UploadReason]:
    if finding is not None and finding.detected:
        problem = f"it was made with the shipped safegen codec (p {p_text(finding.p_value)})"
        yield _reason("R14", Verdict(policy.screening.on_watermark), problem)


def _manifest(policy: Policy, finding: ManifestFinding | None) -> Iterator[UploadReason]:
    if finding is None:
        return
    if finding.state == "invalid":
        codes = ", ".join(finding.failures) or "no code"
        verdict = Verdict(policy.screening.on_c2pa_invalid)
        yield _reason("R15", verdict, f"its signed manifest does not validate ({codes})")
    elif (
        finding.state in ("trusted", "valid") and "algorithmicmedia" in finding.source_type.lower()
    ):
        kind = finding.source_type.rsplit("/", 1)[-1]
        verdict = Verdict(policy.screening.on_c2pa_synthetic)
        problem = f"its manifest, signed by {finding.issuer or 'somebody'}, declares {kind}"
        yield _reason("R15", verdict, problem)


def _broken(findings: Findings) -> Iterator[UploadReason]:
    for fault in findings.faults:
        yield _reason("R16", Verdict.INCONCLUSIVE, f"the {fault.ear} ear failed: {fault.problem}")
    known = {fault.ear for fault in findings.faults}
    silent = {
        "synthetic": findings.synthetic,
        "watermark": findings.watermark,
        "decoder_mark": findings.decoder_mark,
        "c2pa": findings.c2pa,
    }
    for ear, finding in silent.items():
        if finding is None and ear not in known:
            yield _reason("R16", Verdict.INCONCLUSIVE, f"the {ear} ear gave no answer")


def _reason(rule: str, verdict: Verdict, problem: str) -> UploadReason:
    check = RULES_BY_ID[rule].check
    return UploadReason(rule=rule, check=check, verdict=verdict, problem=problem)
