"""What is a policy, and what do checks hand to it?

A policy is numbers and consequences, nothing else: a closed set of fields, read
strictly, frozen, and identified by the SHA-256 of its RFC 8785 form. Whether
marking, signing and logging happen is not among the fields; ``rules.FLOOR`` is
code.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from functools import total_ordering
from typing import Annotated, Final, Literal, Self

import rfc8785
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from safegen.policy.rules import FLOOR

SCHEMA: Final = "safegen.policy/1"


@total_ordering
class Action(Enum):
    """What happens to a file, from mildest to worst; the worst action of all rules wins."""

    RELEASE = "release"
    LABEL = "label"
    REDACT = "redact"
    REVIEW = "review"
    QUARANTINE = "quarantine"
    BLOCK = "block"

    def __lt__(self, other: object) -> bool:
        """Order by severity."""
        if not isinstance(other, Action):
            return NotImplemented
        order = list(Action)
        return order.index(self) < order.index(other)

    def __str__(self) -> str:
        """Print as written in policy files."""
        return str(self.value)

    @property
    def is_release(self) -> bool:
        """Whether the file leaves the gate: plain, or with its obligations as a label."""
        return self <= Action.LABEL


MILDEST_ON_FLOOR: Final = Action.QUARANTINE
"""What a failed floor check leads to at the very least."""


class Outcome(StrEnum):
    """How a check ended. Only ``PASS`` clears anything."""

    PASS = "pass"  # noqa: S105 - an outcome, not a password
    FAIL = "fail"
    ERROR = "error"
    TIMEOUT = "timeout"
    SKIPPED = "skipped"
    NOT_APPLICABLE = "not_applicable"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What one check said about one file.

    Attributes:
        name: One of ``rules.CHECK_NAMES``.
        outcome: How it ended.
        score: The measured value, finite, or None if there is no number.
        threshold: The limit it was compared with, or None.
        detail: One sentence for people, the measured value and the limit in that order.
        evidence: JSON-able facts for the record.
        failed_rules: Which of the check's rules failed; empty means all of them.
        obligations: Sentences that a release must carry as a label.
        owed: Sentences that a license demands; a label under every policy.
    """

    name: str
    outcome: Outcome
    score: float | None = None
    threshold: float | None = None
    detail: str = ""
    evidence: Mapping[str, object] = field(default_factory=dict)
    failed_rules: tuple[str, ...] = ()
    obligations: tuple[str, ...] = ()
    owed: tuple[str, ...] = ()


Consequence = Annotated[Action, Field(strict=False)]
Share = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0.0, le=600.0, allow_inf_nan=False)]
PValue = Annotated[float, Field(gt=0.0, le=0.01, allow_inf_nan=False)]
Name = Annotated[str, StringConstraints(max_length=100, pattern=r"^[a-z0-9][a-z0-9._-]*$")]
Territory = Annotated[str, StringConstraints(pattern=r"^(\*|[A-Z]{2})$")]
Use = Literal["train", "style_reference", "sample", "sync"]
Pattern = Annotated[str, StringConstraints(min_length=2, max_length=100)]
Judged = Literal["prompt", "model_license", "catalog_match", "memorization", "synthetic"]
MayNotApply = Literal["prompt", "model_license", "memorization"]
ScreeningVerdict = Literal["clear", "inconclusive", "flagged"]


class _Section(BaseModel):
    """A closed, frozen group of fields; an unknown key or a wrong type is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Defaults(_Section):
    """Consequences of checks that gave no answer."""

    error: Consequence
    missing: Consequence
    timeout: Consequence


class PromptRules(_Section):
    """R1 and R2."""

    named_artist: Consequence
    voice_clone: Consequence


class ModelRules(_Section):
    """R3. Patterns are matched without case against the license text; ``*`` is anything.

    ``on_accepted`` is what follows, instead of ``on_fail``, where the operator accepted a
    license that binds whoever passes an output on.
    """

    denied_licenses: Annotated[tuple[Pattern, ...], Field(strict=False)]
    on_fail: Consequence
    on_accepted: Consequence


class CatalogRules(_Section):
    """R4 and R12. A work is quoted when its counted stretches last long enough together.

    A license covers the quotation if it is in force in ``territory`` for ``use``, in the
    words of ``registry.licensing``.
    """

    min_match_seconds: Seconds
    max_p_value: PValue
    min_score: Share
    territory: Territory
    use: Use
    on_fail: Consequence
    on_licensed: Consequence


class InputRules(_Section):
    """R19. What counts as quoted, and which license covers it, say the numbers of R4."""

    on_fail: Consequence
    on_licensed: Consequence


class CompositionRules(_Section):
    """R18. A hint for people, so nothing is worse than ``quarantine``, and no upload flagged."""

    max_p_value: PValue
    on_match: Consequence
    on_upload: Literal["clear", "inconclusive"]


class MemorizationRules(_Section):
    """R5."""

    max_score: Share
    on_fail: Consequence


class SyntheticRules(_Section):
    """R6."""

    min_probability: Share
    accept_mark: bool
    on_fail: Consequence
    on_mark_only: Consequence


class WatermarkRules(_Section):
    """R7. ``max_second_p_value`` is the chance of agreement by luck of AudioSeal's 16 bits."""

    max_p_value: PValue
    max_second_p_value: PValue
    on_fail: Consequence


class C2paRules(_Section):
    """R8."""

    states: Annotated[tuple[Literal["trusted", "valid"], ...], Field(strict=False, min_length=1)]
    on_fail: Consequence


class ReadBackRules(_Section):
    """R9."""

    min_agreement: Annotated[float, Field(ge=0.5, le=1.0, allow_inf_nan=False)]
    on_fail: Consequence


class StreamingRules(_Section):
    """How far a stream that leaves the gate stays behind what was made and compared."""

    hold_back_seconds: Annotated[float, Field(ge=1.5, le=60.0, allow_inf_nan=False)]


class ScreeningRules(_Section):
    """R12 to R17, beside R18: what makes an upload flagged or inconclusive."""

    flag_probability: Share
    clear_probability: Share
    on_unlicensed_match: ScreeningVerdict
    on_synthetic: ScreeningVerdict
    on_abstained: ScreeningVerdict
    on_watermark: ScreeningVerdict
    on_c2pa_synthetic: ScreeningVerdict
    on_c2pa_invalid: ScreeningVerdict


class Policy(_Section):
    """A whole policy, as read from one file.

    Raises:
        pydantic.ValidationError: If a value is missing, unknown, out of range, or
            would soften what no file may soften.
    """

    schema_: Annotated[Literal["safegen.policy/1"], Field(alias="schema")]
    name: Name
    version: Annotated[int, Field(ge=1)]
    description: Annotated[str, StringConstraints(min_length=1, max_length=2000)]
    defaults: Defaults
    required: Annotated[tuple[Judged, ...], Field(strict=False)]
    not_applicable: dict[MayNotApply, Consequence]
    prompt: PromptRules
    model_license: ModelRules
    catalog_match: CatalogRules
    input_match: InputRules
    composition: CompositionRules
    memorization: MemorizationRules
    synthetic: SyntheticRules
    watermark: WatermarkRules
    c2pa: C2paRules
    readback: ReadBackRules
    streaming: StreamingRules
    screening: ScreeningRules

    @property
    def sha256(self) -> str:
        """Hash of every value in canonical form, as lower-case hex; goes into each record."""
        return hashlib.sha256(self.canonical()).hexdigest()

    def canonical(self) -> bytes:
        """Write all values as RFC 8785 JSON."""
        return rfc8785.dumps(self.model_dump(mode="json", by_alias=True))

    @property
    def required_checks(self) -> frozenset[str]:
        """The checks that must pass: the file's and the floor."""
        return FLOOR | frozenset(self.required)

    def on_fail(self, rule: str) -> Action:
        """Look up what a failed rule leads to; never milder than the floor allows."""
        action = {
            "R1": self.prompt.named_artist,
            "R2": self.prompt.voice_clone,
            "R3": self.model_license.on_fail,
            "R4": self.catalog_match.on_fail,
            "R5": self.memorization.on_fail,
            "R6": self.synthetic.on_fail,
            "R7": max(self.watermark.on_fail, MILDEST_ON_FLOOR),
            "R8": max(self.c2pa.on_fail, MILDEST_ON_FLOOR),
            "R9": max(self.readback.on_fail, MILDEST_ON_FLOOR),
            "R18": self.composition.on_match,
            "R19": self.input_match.on_fail,
        }.get(rule)
        return self.defaults.error if action is None else action

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        """Refuse what would make not running a check better than failing it, or lie about it."""
        if len(set(self.required)) != len(self.required):
            msg = "required names a check twice"
            raise ValueError(msg)
        for section in ("watermark", "c2pa", "readback"):
            action = getattr(self, section).on_fail
            if action < MILDEST_ON_FLOOR:
                msg = f"{section}.on_fail is {action}; a file cannot go below {MILDEST_ON_FLOOR}"
                raise ValueError(msg)
        if min(self.defaults.error, self.defaults.missing, self.defaults.timeout) < Action.LABEL:
            msg = "defaults cannot be release: a check that could not run has not passed"
            raise ValueError(msg)
        if min(self.defaults.error, self.defaults.timeout) < self.defaults.missing:
            msg = "defaults.error and defaults.timeout cannot be milder than defaults.missing"
            raise ValueError(msg)
        by_check = {
            "prompt": min(self.prompt.named_artist, self.prompt.voice_clone),
            "model_license": self.model_license.on_fail,
            "catalog_match": self.catalog_match.on_fail,
            "memorization": self.memorization.on_fail,
            "synthetic": self.synthetic.on_fail,
        }
        for check in self.required:
            if by_check[check] < self.defaults.missing:
                msg = (
                    f"{check} is required, but failing it ({by_check[check]}) would be milder "
                    f"than not running it ({self.defaults.missing})"
                )
                raise ValueError(msg)
        if self.input_match.on_fail < self.defaults.missing:
            msg = (
                f"input_match.on_fail is {self.input_match.on_fail}, milder than not comparing "
                f"({self.defaults.missing})"
            )
            raise ValueError(msg)
        for check, action in self.not_applicable.items():
            if action < Action.LABEL:
                msg = f"not_applicable.{check} is {action}; it must be label or worse"
                raise ValueError(msg)
        if self.composition.on_match > Action.QUARANTINE:
            msg = f"composition.on_match is {self.composition.on_match}; a hint never blocks"
            raise ValueError(msg)
        if self.screening.clear_probability > self.screening.flag_probability:
            msg = "screening.clear_probability is above screening.flag_probability"
            raise ValueError(msg)
        return self
