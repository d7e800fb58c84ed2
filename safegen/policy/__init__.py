"""The judgement's numbers and consequences: what may be released, and why not.

``load`` a policy, give each finding to its judge, and let ``decide`` take the worst.
"""

from safegen.policy.decide import Decision, Reason, decide, decide_early
from safegen.policy.files import SHIPPED, available, load, parse, text_of
from safegen.policy.judges import (
    counted_matches,
    judge_c2pa,
    judge_matches,
    judge_memorization,
    judge_model,
    judge_prompt,
    judge_readback,
    judge_second_mark,
    judge_synthetic,
    judge_watermark,
    p_text,
    quoted_seconds,
)
from safegen.policy.model import Action, CheckResult, Outcome, Policy
from safegen.policy.rules import (
    CHECK_NAMES,
    FLOOR,
    LOGGED,
    RULES,
    RULES_BY_ID,
    SECOND_MARK,
    Rule,
    rules_of,
)
from safegen.policy.uploads import (
    Fault,
    Findings,
    UploadDecision,
    UploadReason,
    Verdict,
    judge_upload,
    undecodable,
)

__all__ = [
    "CHECK_NAMES",
    "FLOOR",
    "LOGGED",
    "RULES",
    "RULES_BY_ID",
    "SECOND_MARK",
    "SHIPPED",
    "Action",
    "CheckResult",
    "Decision",
    "Fault",
    "Findings",
    "Outcome",
    "Policy",
    "Reason",
    "Rule",
    "UploadDecision",
    "UploadReason",
    "Verdict",
    "available",
    "counted_matches",
    "decide",
    "decide_early",
    "judge_c2pa",
    "judge_matches",
    "judge_memorization",
    "judge_model",
    "judge_prompt",
    "judge_readback",
    "judge_second_mark",
    "judge_synthetic",
    "judge_upload",
    "judge_watermark",
    "load",
    "p_text",
    "parse",
    "quoted_seconds",
    "rules_of",
    "text_of",
    "undecodable",
]
