"""May this sound be given to a model? Judged before anything is made, by the numbers of R4."""

from collections.abc import Collection, Iterable, Mapping

from detectors.base import Match
from safegen.policy.judges import judge_matches
from safegen.policy.model import CheckResult, Outcome, Policy
from safegen.policy.rules import INPUT_MATCH


def judge_inputs(
    policy: Policy,
    heard: Mapping[str, Iterable[Match]],
    *,
    licensed: Collection[str],
    unheard: Mapping[str, float],
    least_seconds: float,
) -> CheckResult:
    """Apply R19 to the sounds that a generator is given.

    Args:
        policy: Gives the numbers of R4, which decide what is quoted here, too.
        heard: Kind of input -> everything the matcher found in it.
        licensed: The works with a license in force for this use, place and time.
        unheard: Kind of input -> its seconds, of those too short to compare. One that could
            not quote a work for long enough anyway has passed; any other has no answer.
        least_seconds: Length from which on sounds can be compared.
    """
    limit = policy.catalog_match.min_match_seconds
    found = {kind: judge_matches(policy, matches, licensed) for kind, matches in heard.items()}
    quoting = {kind: each for kind, each in found.items() if each.outcome is Outcome.FAIL}
    unknown = {kind: length for kind, length in unheard.items() if not length < limit}
    named = {kind: each.evidence for kind, each in found.items()}
    scores = [each.score for each in found.values() if each.score is not None]
    parts = [f"the {_called(kind)}: {each.detail}" for kind, each in quoting.items()]
    parts += [
        f"the {_called(kind)}: {length:.2f} s are too short to compare with the catalog, "
        f"and long enough to quote {limit:g} s; give at least {least_seconds:g} s, or less than "
        f"{limit:g} s"
        for kind, length in unknown.items()
    ]
    outcome = Outcome.FAIL if quoting else Outcome.ERROR if unknown else Outcome.PASS
    if quoting and unknown and policy.defaults.error > policy.input_match.on_fail:
        outcome = Outcome.ERROR  # the worse consequence of the two
    owners = sorted({work for each in named.values() for work in _listed(each, "licensed")})
    short = ", ".join(f"{length:.2f} s" for length in unheard.values())
    return CheckResult(
        name=INPUT_MATCH,
        outcome=outcome,
        score=max(scores, default=None),
        threshold=limit,
        detail="; ".join(parts)
        or (f"made from {len(owners)} licensed works" if owners else "no input quotes a work")
        + (f"; {short} could not be compared and cannot quote {limit:g} s" if short else ""),
        evidence={"inputs": named, "unheard": dict(unheard)},
        obligations=tuple(f"made from work {work} under a license in force" for work in owners),
    )


def _called(kind: str) -> str:
    return kind.replace("continue_from", "sound to continue")


def _listed(evidence: Mapping[str, object], name: str) -> list[str]:
    found = evidence.get(name)
    return found if isinstance(found, list) else []
