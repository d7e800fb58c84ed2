"""Which rule speaks about which check? The ids are those of POLICY.md.

A check is something that runs and has an outcome; a rule is a sentence that a
rights-holder can read and that gives an outcome its consequence. ``FLOOR`` holds
the checks that no policy file can switch off or soften.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One numbered rule.

    Attributes:
        id: As printed in POLICY.md, "R1".
        check: Name of the check it judges, empty for rules about the run itself.
        title: As printed in POLICY.md.
    """

    id: str
    check: str
    title: str


RULES: Final = tuple(
    Rule(id=f"R{number}", check=check, title=title)
    for number, (check, title) in enumerate(
        (
            ("prompt", "No named artist or rights-holder in the prompt"),
            ("prompt", "No request to clone a voice"),
            ("model_license", "The model's license allows the release"),
            ("catalog_match", "No unlicensed quotation of a cataloged work"),
            ("memorization", "No copy of a training item"),
            ("synthetic", "The output is recognizable as synthetic"),
            ("watermark", "The watermark is read back from the final file"),
            ("c2pa", "The signed manifest is read back from the final file"),
            ("readback", "The final file holds what was judged"),
            ("", "Every required check ran and gave an answer"),
            ("", "Nothing is released before its record is in the log"),
            ("upload_match", "Upload: unlicensed quotation of a cataloged work"),
            ("upload_synthetic", "Upload: synthetic score"),
            ("upload_watermark", "Upload: one of our watermarks"),
            ("upload_c2pa", "Upload: Content Credentials"),
            ("upload_ears", "Upload: every ear gave an answer"),
            ("upload_decode", "Upload: the file can be decoded"),
            ("composition", "A hint: the composition of a cataloged work, played by others"),
            ("input_match", "No unlicensed work as input"),
        ),
        start=1,
    )
)
"""In the order of POLICY.md. R1 to R11 and R19 judge releases, R12 to R17 uploads, R18 both."""

RULES_BY_ID: Final = {rule.id: rule for rule in RULES}
CHECK_NAMES: Final = (
    "prompt",
    "model_license",
    "catalog_match",
    "memorization",
    "synthetic",
    "watermark",
    "c2pa",
    "readback",
)
FLOOR: Final = frozenset({"watermark", "c2pa", "readback"})
"""Checks that every release must pass, whatever the policy file says."""

SECOND_MARK: Final = "audioseal"
"""The check of the second mark: part of the floor wherever its weights are installed, absent
elsewhere. The watermark's rule judges it."""

COMPOSITION: Final = "composition"
"""The check that only gives hints: it never blocks, and no answer of it has no consequence
beyond that of a hint."""

INPUT_MATCH: Final = "input_match"
"""The check of the sounds that are given to a generator; absent where none is given."""

INPUT_COMPOSITION: Final = "input_composition"
"""The check of a given melody that only gives hints; the rule of compositions judges it."""

HINTS: Final = frozenset({COMPOSITION, INPUT_COMPOSITION})

INCOMPLETE: Final = "R10"
"""The rule that answers for checks that are missing, broken, late or unknown."""

LOGGED: Final = "R11"
"""The rule of the gate itself: log first, release after."""


def rules_of(check: str) -> tuple[str, ...]:
    """Name the rules that judge one check; empty for a check nobody knows."""
    judged = {SECOND_MARK: "watermark", INPUT_COMPOSITION: COMPOSITION}.get(check, check)
    return tuple(rule.id for rule in RULES if judged and rule.check == judged)
