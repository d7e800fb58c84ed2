"""Is this finding within the policy's numbers? One function a check, each gives a ``CheckResult``.

The ears and the readers are known here only by the few attributes that are judged,
so a judge can be repeated from a record. Comparisons are written so that a NaN fails.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final, Protocol

from detectors.base import Match
from detectors.presence import AudioSealFinding, agreement_p
from detectors.synthetic.finding import SynthesisVerdict
from safegen.policy.model import CheckResult, Outcome, Policy
from safegen.policy.prompts import named_in, voice_clone_request
from safegen.policy.rules import COMPOSITION, SECOND_MARK

UNTOLD_LICENSES: Final = frozenset({"", "unknown", "untold", "none", "unspecified"})


class ModelFacts(Protocol):
    """What is judged about a model; ``safegen.generation.base.ModelFacts`` fits."""

    @property
    def name(self) -> str:
        """As users type it."""

    @property
    def license(self) -> str:
        """SPDX id or free text."""

    @property
    def weights_sha256(self) -> str:
        """Hex, empty for a generator whose weights are not ours to see."""

    @property
    def license_accepted(self) -> str:
        """Day on which the operator accepted the license, "" if none was accepted."""


class MemorizationFinding(Protocol):
    """What is judged about memorization."""

    @property
    def flag(self) -> bool:
        """The detector's own verdict."""

    @property
    def score(self) -> float:
        """In [0, 1]."""

    @property
    def nearest_item(self) -> str:
        """Id of the training item that is nearest."""


class SyntheticFinding(Protocol):
    """What is judged about the classifier's answer."""

    @property
    def verdict(self) -> SynthesisVerdict:
        """The answer."""

    @property
    def generator(self) -> str:
        """The one that the verdict names, "" if none."""

    @property
    def llr(self) -> float:
        """Natural logarithm of the likelihood ratio, synthetic against real."""

    @property
    def p_value(self) -> float:
        """Share of real calibration sound that looks as synthetic."""

    @property
    def probability(self) -> float:
        """That it is synthetic, at ``prior``, in [0, 1]."""

    @property
    def prior(self) -> float:
        """Share of synthetic sound that the probability assumes."""

    @property
    def abstained(self) -> bool:
        """Whether the classifier declined to answer."""

    @property
    def reason(self) -> str:
        """Why it abstained."""


class CompositionMatch(Protocol):
    """What is judged about a work whose notes are played, perhaps."""

    @property
    def work_id(self) -> str:
        """Of the catalog."""

    @property
    def query_start_seconds(self) -> float:
        """Where it begins in the sound."""

    @property
    def query_end_seconds(self) -> float:
        """Where it ends."""

    @property
    def p_value(self) -> float:
        """Chance of such agreement among unrelated works."""


class WatermarkFinding(Protocol):
    """What is judged about the mark in the final file."""

    @property
    def detected(self) -> bool:
        """Whether any mark was found."""

    @property
    def payload(self) -> int | None:
        """The 64-bit id, None if none was read."""

    @property
    def p_value(self) -> float:
        """Chance of such a finding in unmarked audio."""


class C2paFinding(Protocol):
    """What is judged about the manifest in the final file."""

    @property
    def state(self) -> str:
        """One of trusted, valid, invalid, absent, unreadable."""

    @property
    def failures(self) -> Sequence[str]:
        """Validation failure codes."""

    @property
    def record_id(self) -> str | None:
        """The record the manifest points to."""


def judge_prompt(
    policy: Policy, prompt: str | None, names: Iterable[str], *, others: Sequence[str] = ()
) -> CheckResult:
    """Apply R1 and R2.

    Args:
        policy: Its consequences for R1 and R2 are applied by ``decide``.
        prompt: The text, "" for a generation without one, None if nobody told it.
        names: Artists and rights-holders of the registry.
        others: Every other text the generator reads: a negative prompt, a story's chapters.
    """
    if prompt is None:
        return CheckResult(
            name="prompt",
            outcome=Outcome.NOT_APPLICABLE,
            detail="the prompt was not told, so it was not examined",
        )
    names = tuple(names)
    texts = (prompt, *others)
    named = tuple(dict.fromkeys(name for text in texts for name in named_in(text, names)))
    clone = any(voice_clone_request(text) for text in texts)
    failed: list[str] = []
    parts: list[str] = []
    if named:
        failed.append("R1")
        parts.append(f"the prompt names {', '.join(named)}, 0 registered names allowed")
    if clone:
        failed.append("R2")
        # Its words stay out: the detail is logged, and the prompt is private.
        parts.append("the prompt asks to imitate a voice, 0 such requests allowed")
    return CheckResult(
        name="prompt",
        outcome=Outcome.FAIL if failed else Outcome.PASS,
        detail="; ".join(parts) or "no registered name and no request for a voice",
        evidence={"named": list(named), "voice_clone": bool(clone)},
        failed_rules=tuple(failed),
    )


def judge_model(policy: Policy, facts: ModelFacts) -> CheckResult:
    """Apply R3: the license must be known for weights we hold, and must not be on the list.

    A license that the operator accepted passes, and binds whoever passes the output on; what
    follows is ``on_accepted``.
    """
    told, day = facts.license.strip(), facts.license_accepted
    evidence = {"model": facts.name, "license": told, **({"accepted": day} if day else {})}
    if told.lower() in UNTOLD_LICENSES:
        foreign = not facts.weights_sha256
        return CheckResult(
            name="model_license",
            outcome=Outcome.NOT_APPLICABLE if foreign else Outcome.FAIL,
            detail=f"the license of {facts.name} was not told"
            + ("; whoever releases answers for it" if foreign else ""),
            evidence=evidence,
        )
    # An expression such as "CC0-1.0 AND CC-BY-NC-4.0" denies what one of its parts denies.
    parts = (told, *told.replace("(", " ").replace(")", " ").split())
    if day:
        return CheckResult(
            name="model_license",
            outcome=Outcome.PASS,
            detail=f"{facts.name} is under {told}, accepted on {day}",
            evidence=evidence,
            obligations=(f"made by a model under {told}, which binds whoever passes this on",),
        )
    for pattern in policy.model_license.denied_licenses:
        if any(fnmatchcase(part.lower(), pattern.lower()) for part in parts):
            return CheckResult(
                name="model_license",
                outcome=Outcome.FAIL,
                detail=f"{facts.name} is under {told}, denied by {pattern}",
                evidence=evidence,
            )
    return CheckResult(
        name="model_license",
        outcome=Outcome.PASS,
        detail=f"{facts.name} is under {told}",
        evidence=evidence,
    )


def counted_matches(policy: Policy, matches: Iterable[Match]) -> Mapping[str, tuple[Match, ...]]:
    """Keep the works that are quoted for long enough, with their counted stretches.

    The stretches of one work are added up, overlaps once, so that a work quoted in
    several short pieces counts like one long piece.
    """
    rules = policy.catalog_match
    by_work: dict[str, list[Match]] = {}
    for match in matches:
        if match.p_value > rules.max_p_value or match.score < rules.min_score:
            continue
        by_work.setdefault(match.work_id, []).append(match)
    return {
        work: tuple(found)
        for work, found in by_work.items()
        if not quoted_seconds(found) < rules.min_match_seconds
    }


def quoted_seconds(matches: Iterable[Match]) -> float:
    """Add up the stretches of the query, counting overlaps once."""
    total, reached = 0.0, float("-inf")
    for match in sorted(matches, key=lambda match: match.query_start_seconds):
        start = max(match.query_start_seconds, reached)
        if not match.query_end_seconds <= start:
            total += match.query_end_seconds - start
            reached = match.query_end_seconds
    return total


def judge_matches(
    policy: Policy, matches: Iterable[Match], licensed_work_ids: Collection[str]
) -> CheckResult:
    """Apply R4.

    Args:
        policy: Gives the least length, the significance and the score that count.
        matches: Everything the matcher found.
        licensed_work_ids: The works with a license in force for this use, place and time.
    """
    counted = counted_matches(policy, matches)
    limit = policy.catalog_match.min_match_seconds
    unlicensed = {work: found for work, found in counted.items() if work not in licensed_work_ids}
    licensed = sorted(set(counted) - set(unlicensed))
    evidence = {"unlicensed": sorted(unlicensed), "licensed": licensed}
    if unlicensed:
        seconds, work = max((quoted_seconds(found), work) for work, found in unlicensed.items())
        return CheckResult(
            name="catalog_match",
            outcome=Outcome.FAIL,
            score=seconds,
            threshold=limit,
            detail=f"{seconds:.1f} s quote work {work} without a license in force, "
            f"limit {limit:g} s"
            + (f" ({len(unlicensed)} works in all)" if len(unlicensed) > 1 else ""),
            evidence=evidence,
        )
    return CheckResult(
        name="catalog_match",
        outcome=Outcome.PASS,
        score=max((quoted_seconds(found) for found in counted.values()), default=0.0),
        threshold=limit,
        detail=f"quotes {len(licensed)} licensed works" if licensed else "no work is quoted",
        evidence=evidence,
        obligations=tuple(f"quotes work {work} under a license in force" for work in licensed),
    )


def hinted_works(
    policy: Policy,
    found: Iterable[CompositionMatch],
    *,
    licensed: Collection[str],
    quoted: Collection[str],
) -> Mapping[str, CompositionMatch]:
    """Name the works whose notes are played, the likeliest first, as far as that asks for a look.

    Args:
        policy: Gives the largest chance that counts.
        found: Everything the ear told.
        licensed: The works with a license in force for this use, place and time.
        quoted: The works of which the very recording was found: nothing is left to hint at.
    """
    limit = policy.composition.max_p_value
    apart = {*licensed, *quoted}
    counted = (each for each in found if each.p_value <= limit)
    return {each.work_id: each for each in counted if each.work_id not in apart}


def hint(match: CompositionMatch, limit: float) -> str:
    """Write one hint for people."""
    return (
        f"{match.query_start_seconds:.0f} to {match.query_end_seconds:.0f} s may play the "
        f"composition of work {match.work_id} (p {p_text(match.p_value)}, limit {limit:g})"
    )


def judge_compositions(
    policy: Policy,
    found: Iterable[CompositionMatch],
    *,
    licensed: Collection[str],
    quoted: Collection[str],
) -> CheckResult:
    """Apply R18 to a sound that could be compared.

    Args:
        policy: Gives the largest chance that counts.
        found: Everything the ear told, best first.
        licensed: The works with a license in force for this use, place and time.
        quoted: The works of which the very recording was found, which R4 judges.
    """
    limit = policy.composition.max_p_value
    hints = hinted_works(policy, found, licensed=licensed, quoted=quoted)
    best = next(iter(hints.values()), None)
    if best is None:
        return CheckResult(
            name=COMPOSITION,
            outcome=Outcome.PASS,
            threshold=limit,
            detail="no composition of a work was noticed",
        )
    return CheckResult(
        name=COMPOSITION,
        outcome=Outcome.FAIL,
        score=best.p_value,
        threshold=limit,
        detail=hint(best, limit) + (f" ({len(hints)} works in all)" if len(hints) > 1 else ""),
        evidence={"works": list(hints)},
    )


def compositions_not_compared(why: str) -> CheckResult:
    """Say that R18 has nothing to judge, and why."""
    return CheckResult(name=COMPOSITION, outcome=Outcome.NOT_APPLICABLE, detail=why)


def judge_memorization(policy: Policy, finding: MemorizationFinding | None) -> CheckResult:
    """Apply R5; None means the generator's training items are not known here."""
    if finding is None:
        return CheckResult(
            name="memorization",
            outcome=Outcome.NOT_APPLICABLE,
            detail="the generator's training items are not known here",
        )
    limit = policy.memorization.max_score
    if not finding.nearest_item:
        return CheckResult(
            name="memorization",
            outcome=Outcome.SKIPPED,
            detail="nothing of the output could be compared with the training items",
        )
    return CheckResult(
        name="memorization",
        outcome=Outcome.PASS if finding.score <= limit else Outcome.FAIL,
        score=finding.score,
        threshold=limit,
        detail=f"agreement {finding.score:.2f} with training item {finding.nearest_item}, "
        f"limit {limit:g}",
        evidence={"nearest_item": finding.nearest_item, "flag": finding.flag},
    )


SYNTHETIC: Final = (
    SynthesisVerdict.OWN_GENERATOR,
    SynthesisVerdict.KNOWN_GENERATOR,
    SynthesisVerdict.SYNTHETIC_LIKELY,
)
"""The verdicts that say a machine made it."""


def is_undecided(finding: SyntheticFinding) -> bool:
    """Whether the classifier gave no answer."""
    return finding.abstained or finding.verdict is SynthesisVerdict.INCONCLUSIVE


def verdict_text(verdict: SynthesisVerdict, generator: str) -> str:
    """Write a verdict for people; none of them says that people made a sound."""
    return {
        SynthesisVerdict.OWN_GENERATOR: f"sounds like {generator or 'safegen'} (own generator)",
        SynthesisVerdict.KNOWN_GENERATOR: f"sounds like {generator} (known generator)",
        SynthesisVerdict.SYNTHETIC_LIKELY: "sounds synthetic, by no generator that is known here",
        SynthesisVerdict.INCONCLUSIVE: "inconclusive",
        SynthesisVerdict.NO_SYNTHESIS_EVIDENCE: "no evidence of synthesis was heard",
    }[verdict]


def heard_text(finding: SyntheticFinding) -> str:
    """Write what the classifier heard and how sure it is, in one sentence for people."""
    return (
        f"{verdict_text(finding.verdict, finding.generator)}: "
        f"log likelihood ratio {finding.llr:.1f}, p {p_text(finding.p_value)}, "
        f"synthetic probability {finding.probability:.2f} at a prior of {finding.prior:g}"
    )


def judge_synthetic(
    policy: Policy, finding: SyntheticFinding, *, marked: bool | None = None
) -> CheckResult:
    """Apply R6: whoever hears the file later must be able to tell that a machine made it.

    Args:
        policy: Gives the least probability, and whether the watermark may answer instead.
        finding: What the classifier said.
        marked: Whether the watermark was read back from the final file. None while
            there is none yet: R7, which every release must pass, then answers for it.
    """
    rules = policy.synthetic
    abstained = is_undecided(finding)
    recognized = (
        finding.verdict in SYNTHETIC
        and finding.probability >= rules.min_probability
        and not abstained
    )
    by_mark = rules.accept_mark and marked is not False
    if abstained:
        said = f"the classifier abstained ({finding.reason or 'no reason given'})"
    else:
        said = f"{heard_text(finding)}, limit {rules.min_probability:g}"
    if recognized:
        detail = said
    elif by_mark:
        detail = f"{said}; recognizable by its watermark"
    else:
        detail = f"{said}; the watermark {'may not answer' if marked else 'is not there'} instead"
    denied = not recognized and not abstained
    return CheckResult(
        name="synthetic",
        outcome=Outcome.PASS if recognized or by_mark else Outcome.FAIL,
        score=finding.probability,
        threshold=rules.min_probability,
        detail=detail,
        evidence={"abstained": abstained, "recognized": recognized},
        obligations=(f"{said}: recognizable by its watermark only",) if by_mark and denied else (),
    )


def judge_watermark(policy: Policy, finding: WatermarkFinding, payload: int) -> CheckResult:
    """Apply R7: the mark in the final file must carry this very output's id."""
    limit = policy.watermark.max_p_value
    if not finding.detected or finding.payload is None:
        detail, good = f"no watermark was read back (p {p_text(finding.p_value)})", False
    elif finding.payload != payload:
        detail = f"the watermark carries {finding.payload:016x}, not {payload:016x}"
        good = False
    else:
        good = finding.p_value <= limit
        detail = (
            f"watermark {payload:016x} read back with p {p_text(finding.p_value)}, limit {limit:g}"
        )
    return CheckResult(
        name="watermark",
        outcome=Outcome.PASS if good else Outcome.FAIL,
        score=finding.p_value,
        threshold=limit,
        detail=detail,
        evidence={"payload": f"{payload:016x}", "detected": finding.detected},
    )


def judge_second_mark(
    policy: Policy, finding: AudioSealFinding, *, message: int, weights_sha256: str
) -> CheckResult:
    """Apply R7 to AudioSeal where it is installed: a mark is heard, and it is this output's.

    Args:
        policy: Gives the largest chance of agreement by luck.
        finding: What was heard in the final file.
        message: The 16 bits that stand for this output's id.
        weights_sha256: Of the networks, for the record.
    """
    limit = policy.watermark.max_second_p_value
    by_luck = agreement_p(finding.bits, message)
    if finding.bits is None or not finding.finding.detected:
        detail, good = f"no AudioSeal mark was read back (presence {finding.presence:.2f})", False
    else:
        good = by_luck <= limit
        agree = 16 - (finding.bits ^ message).bit_count()
        detail = (
            f"AudioSeal read back with {agree} of 16 bits, p {p_text(by_luck)}, limit {limit:g}"
        )
    return CheckResult(
        name=SECOND_MARK,
        outcome=Outcome.PASS if good else Outcome.FAIL,
        score=by_luck,
        threshold=limit,
        detail=detail,
        evidence={
            "presence": round(finding.presence, 4),
            "message": f"{message:04x}",
            "heard": None if finding.bits is None else f"{finding.bits:04x}",
            "weights_sha256": weights_sha256,
        },
    )


def judge_c2pa(
    policy: Policy, finding: C2paFinding, *, record_id: str | None = None
) -> CheckResult:
    """Apply R8: the manifest must be in an accepted state and point to this record."""
    accepted = policy.c2pa.states
    good = finding.state in accepted
    detail = f"manifest is {finding.state}, accepted: {', '.join(accepted)}"
    if good and record_id is not None and finding.record_id != record_id:
        good, detail = False, f"the manifest names record {finding.record_id}, not {record_id}"
    if finding.failures and not good:
        detail += f" ({', '.join(finding.failures)})"
    return CheckResult(
        name="c2pa",
        outcome=Outcome.PASS if good else Outcome.FAIL,
        detail=detail,
        evidence={"state": finding.state, "failures": list(finding.failures)},
    )


def judge_readback(policy: Policy, agreement: float) -> CheckResult:
    """Apply R9: the file on disk must hold the sound that was judged.

    Args:
        policy: Gives the least agreement.
        agreement: Correlation of the decoded file with the judged sound, in [-1, 1];
            ``safegen.readback.agreement``.
    """
    limit = policy.readback.min_agreement
    return CheckResult(
        name="readback",
        outcome=Outcome.PASS if agreement >= limit else Outcome.FAIL,
        score=agreement,
        threshold=limit,
        detail=f"the final file agrees with what was judged by {agreement:.3f}, limit {limit:g}",
    )


def p_text(p_value: float) -> str:
    """Write a p-value for people; no chance is ever exactly 0."""
    return "< 1e-299" if p_value < 1e-299 else f"= {p_value:.1e}"
