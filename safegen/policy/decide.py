"""What happens to this file? The worst action of all rules wins.

A decision is a pure function of the policy and the results, so it can be
repeated years later from the record. Nothing here trusts a result more than it
says: a result with a NaN, an unknown name or an unknown rule counts as an error.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from safegen.policy.model import MILDEST_ON_FLOOR, Action, CheckResult, Outcome, Policy
from safegen.policy.rules import (
    FLOOR,
    HINTS,
    INCOMPLETE,
    INPUT_MATCH,
    RULES_BY_ID,
    SECOND_MARK,
    rules_of,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a decision is not a plain release.

    Attributes:
        rule: Id as in POLICY.md.
        check: Name of the check it comes from.
        action: What this reason alone would lead to.
        problem: One sentence, the measured value and the limit in that order.
    """

    rule: str
    check: str
    action: Action
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The judgement on one file.

    Attributes:
        action: The worst action among the reasons, ``RELEASE`` if there is none.
        reasons: Worst first, then in the order of the rules.
        obligations: Sentences the release must carry; empty unless it is released with a label.
    """

    action: Action
    reasons: tuple[Reason, ...]
    obligations: tuple[str, ...] = ()

    @property
    def is_release(self) -> bool:
        """Whether the file may leave the gate."""
        return self.action.is_release


def decide(policy: Policy, results: Iterable[CheckResult]) -> Decision:
    """Judge a finished file: every required check must be among the results and pass.

    A check that appears twice counts with its worst result. Adding a failure to the
    results never makes the action milder.
    """
    found = tuple(results)
    reasons = [reason for result in found for reason in _reasons(policy, result)]
    reasons += [
        Reason(
            rule=INCOMPLETE,
            check=check,
            action=_at_least_floor(check, policy.defaults.missing),
            problem=f"the required check {check} did not run",
        )
        for check in policy.required_checks - {result.name for result in found}
    ]
    return _worst(reasons)


def decide_early(policy: Policy, results: Iterable[CheckResult]) -> Decision:
    """Judge what is known so far, so that a lost cause is refused before it is marked.

    The same rules as ``decide``, except that missing checks are still to come. An early
    decision can only be confirmed or worsened; it never releases anything.
    """
    return _worst([reason for result in results for reason in _reasons(policy, result)])


def _reasons(policy: Policy, result: CheckResult) -> Iterator[Reason]:
    """Yield what one result leads to; nothing for a plain pass."""
    rules = rules_of(result.name)
    trouble = _trouble(policy, result, rules)
    if trouble is not None:
        yield trouble
    elif result.outcome is Outcome.FAIL:
        for rule in result.failed_rules or rules:
            yield Reason(
                rule=rule,
                check=result.name,
                action=_at_least_floor(result.name, policy.on_fail(rule)),
                problem=result.detail or f"{result.name} failed",
            )
    else:
        action = policy.synthetic.on_mark_only if result.name == "synthetic" else Action.LABEL
        if result.name == "model_license":
            action = policy.model_license.on_accepted
        if result.name == "catalog_match":
            action = policy.catalog_match.on_licensed
        elif result.name == INPUT_MATCH:
            action = policy.input_match.on_licensed
        for obligation in result.obligations:
            yield Reason(rule=rules[0], check=result.name, action=action, problem=obligation)
        # No policy can waive what a rights-holder's license demands.
        for demand in result.owed:
            yield Reason(rule=rules[0], check=result.name, action=Action.LABEL, problem=demand)


def _trouble(policy: Policy, result: CheckResult, rules: tuple[str, ...]) -> Reason | None:
    """Say why a result is no answer, or None if it is a pass or a failure."""
    defaults = policy.defaults
    action: Action | None = None
    problem = result.detail or f"{result.name} ended as {result.outcome.value}"
    numbers = [value for value in (result.score, result.threshold) if value is not None]
    if not rules:
        action, problem = defaults.error, f"{result.name} is not a check this version knows"
    elif not all(math.isfinite(value) for value in numbers):
        action, problem = defaults.error, f"{result.name} gave a score that is not a number"
    elif any(RULES_BY_ID.get(rule) is None or rule not in rules for rule in result.failed_rules):
        action, problem = defaults.error, f"{result.name} names a rule that is not its own"
    elif result.outcome is Outcome.ERROR:
        action = defaults.error
    elif result.outcome is Outcome.TIMEOUT:
        action = defaults.timeout
    elif result.outcome is Outcome.SKIPPED:
        action = defaults.missing
    elif result.outcome is Outcome.NOT_APPLICABLE and result.name not in HINTS:
        named = {str(check): on for check, on in policy.not_applicable.items()}
        action = named.get(result.name, defaults.missing)
    if action is None:
        return None
    if result.name in HINTS:
        action = min(action, policy.composition.on_match)
    return Reason(
        rule=INCOMPLETE,
        check=result.name,
        action=_at_least_floor(result.name, action),
        problem=problem,
    )


def _at_least_floor(check: str, action: Action) -> Action:
    return max(action, MILDEST_ON_FLOOR) if check in FLOOR | {SECOND_MARK} else action


def _worst(reasons: list[Reason]) -> Decision:
    ranked = sorted(
        (reason for reason in reasons if reason.action > Action.RELEASE),
        key=lambda reason: (
            -list(Action).index(reason.action),
            int(reason.rule.removeprefix("R")),
            reason.check,
            reason.problem,
        ),
    )
    action = ranked[0].action if ranked else Action.RELEASE
    labels = tuple(reason.problem for reason in ranked) if action is Action.LABEL else ()
    return Decision(action=action, reasons=tuple(ranked), obligations=labels)
