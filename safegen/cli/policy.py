"""``safegen policy``: show, check, explain and compare policies."""

from typing import TYPE_CHECKING, Any

import click

from safegen.cli.options import config, emit, format_option

if TYPE_CHECKING:
    from safegen.policy import Policy


@click.group()
def policy_command() -> None:
    """Show, check, explain and compare policies.

    POLICY is strict, standard, permissive, the name of a file in SAFEGEN_HOME/policies,
    or the path of a .yaml file. The rules are explained in POLICY.md.

    \b
    Exit status:
      0  done, or the policies are the same
      2  there is no such policy, or the file is not a policy
      3  the policies differ (diff)

    \b
    Example:
      safegen policy diff strict standard
    """


@policy_command.command()
@click.argument("name", metavar="[POLICY]", required=False)
@format_option
def show(name: str | None, format_: str) -> None:
    """Print a policy with all its values, or list the policies there are.

    \b
    Exit status:
      0  printed
      2  there is no such policy, or the file is not a policy

    \b
    Example:
      safegen policy show strict
    """
    from safegen.policy import SHIPPED, available, load, text_of

    folder = config().policies
    if name is None:
        for each in available(folder):
            policy = load(each, folder)
            text = f"{policy.name:12} version {policy.version}  {policy.sha256[:16]}"
            emit(_head(policy), f"{text}  {policy.description}", format_)
        return
    policy = load(name, folder)
    text = text_of(name) if name in SHIPPED else _yaml(policy)
    emit(
        _head(policy) | {"values": policy.model_dump(mode="json", by_alias=True)},
        f"{text.rstrip()}\n# sha256 {policy.sha256}",
        format_,
    )


@policy_command.command()
@click.argument("names", metavar="POLICY...", nargs=-1, required=True)
@format_option
def check(names: tuple[str, ...], format_: str) -> None:
    """Read each POLICY strictly and print its hash, or say which field is wrong.

    \b
    Exit status:
      0  every POLICY is valid
      2  one is not; the message names the field

    \b
    Example:
      safegen policy check my-policy.yaml
    """
    from safegen.policy import load

    for name in names:
        policy = load(name, config().policies)
        text = f"{name}: valid; {policy.name} version {policy.version}, sha256 {policy.sha256}"
        emit(_head(policy), text, format_)


@policy_command.command()
@click.argument("name", metavar="POLICY", default="strict")
@format_option
def explain(name: str, format_: str) -> None:
    """Say for every rule what it checks and what follows under POLICY.

    \b
    Exit status:
      0  printed
      2  there is no such policy, or the file is not a policy

    \b
    Example:
      safegen policy explain standard
    """
    from safegen.policy import FLOOR, LOGGED, RULES, load

    policy = load(name, config().policies)
    for rule in RULES:
        is_floor = rule.check in FLOOR or rule.id == LOGGED
        row = {
            "rule": rule.id,
            "check": rule.check,
            "title": rule.title,
            "required": rule.check in policy.required_checks or rule.id == LOGGED,
            "fixed": is_floor,
            "consequence": _consequence(policy, rule.id),
        }
        text = f"{rule.id:4} {rule.title}\n     {row['consequence']}"
        if is_floor:
            text += " (no policy can switch this off)"
        emit(row, text, format_)


@policy_command.command()
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@format_option
def diff(old: str, new: str, format_: str) -> None:
    """Print every value in which two policies differ, one a line.

    \b
    Exit status:
      0  the policies have the same values
      2  there is no such policy, or a file is not a policy
      3  they differ

    \b
    Example:
      safegen policy diff strict my-policy.yaml
    """
    from safegen.policy import load

    folder = config().policies
    left = _flat(load(old, folder).model_dump(mode="json", by_alias=True))
    right = _flat(load(new, folder).model_dump(mode="json", by_alias=True))
    changed = [key for key in dict.fromkeys((*left, *right)) if left.get(key) != right.get(key)]
    for key in changed:
        row = {"field": key, "old": left.get(key), "new": right.get(key)}
        emit(row, f"{key}: {_word(left.get(key))} -> {_word(right.get(key))}", format_)
    raise SystemExit(3 if changed else 0)


def _head(policy: "Policy") -> dict[str, Any]:
    return {
        "name": policy.name,
        "version": policy.version,
        "sha256": policy.sha256,
        "description": policy.description,
    }


def _yaml(policy: "Policy") -> str:
    import yaml

    values = policy.model_dump(mode="json", by_alias=True)
    return str(yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


def _consequence(policy: "Policy", rule: str) -> str:
    """Say in one line what the rule leads to under this policy."""
    catalog, screening = policy.catalog_match, policy.screening
    limits = f"{catalog.min_match_seconds:g} s of one work (p <= {catalog.max_p_value:g}, "
    limits += f"score >= {catalog.min_score:g})"
    agreement = policy.memorization.max_score
    texts = {
        "R3": f"on the list of denied licenses: {policy.model_license.on_fail}; accepted by "
        f"the operator: {policy.model_license.on_accepted}",
        "R4": f"{limits} without a license: {catalog.on_fail}; with one: {catalog.on_licensed}",
        "R5": f"agreement above {agreement:g}: {policy.memorization.on_fail}",
        "R6": f"no synthetic verdict, or probability below {policy.synthetic.min_probability:g}"
        + (" and no watermark" if policy.synthetic.accept_mark else "")
        + f": {policy.synthetic.on_fail}",
        "R8": f"not {' or '.join(policy.c2pa.states)}: {policy.on_fail('R8')}",
        "R9": f"agreement below {policy.readback.min_agreement:g}: {policy.on_fail('R9')}",
        "R10": f"broke: {policy.defaults.error}; late: {policy.defaults.timeout}; "
        f"missing: {policy.defaults.missing}",
        "R11": "no record, no file",
        "R12": f"{limits} without a license: {screening.on_unlicensed_match}",
        "R13": "synthetic verdict with a probability "
        f"from {screening.flag_probability:g}: {screening.on_synthetic}; "
        f"below {screening.clear_probability:g}: clear; between: inconclusive; "
        f"inconclusive verdict: {screening.on_abstained}; no evidence: clear",
        "R14": f"found: {screening.on_watermark}",
        "R15": f"declares a trained model: {screening.on_c2pa_synthetic}; "
        f"does not validate: {screening.on_c2pa_invalid}",
        "R16": "an ear broke: inconclusive",
        "R17": "undecodable",
        "R18": f"p <= {policy.composition.max_p_value:g} without a license: "
        f"{policy.composition.on_match}; upload: {policy.composition.on_upload}",
        "R19": f"as R4, in a sound that is given to a model, without a license: "
        f"{policy.input_match.on_fail}; with one: {policy.input_match.on_licensed}",
    }
    return texts.get(rule) or f"not satisfied: {policy.on_fail(rule)}"


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _word(value: object) -> str:
    if value is None:
        return "-"
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
