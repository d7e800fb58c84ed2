"""Documents that speak about the code are compared with it."""

import re
from pathlib import Path

import pytest

from safegen.policy import RULES, SHIPPED, Policy, load

ROOT = Path(__file__).parents[1]
POLICY = (ROOT / "POLICY.md").read_text(encoding="utf-8")

# What the last words of a row mean in a policy.
FIELDS = {
    ("R1", "a registered name"): "prompt.named_artist",
    ("R2", "a request for a voice"): "prompt.voice_clone",
    ("R3", "license on the list"): "model_license.on_fail",
    ("R3", "license accepted by the operator"): "model_license.on_accepted",
    ("R4, R12", "least quoted seconds"): "catalog_match.min_match_seconds",
    ("R4, R12", "largest p-value of a match"): "catalog_match.max_p_value",
    ("R4, R12", "least score of a match"): "catalog_match.min_score",
    ("R4", "unlicensed quotation"): "catalog_match.on_fail",
    ("R11", "seconds of a stream that are held back"): "streaming.hold_back_seconds",
    ("R4", "licensed quotation"): "catalog_match.on_licensed",
    ("R5", "largest agreement with a training item"): "memorization.max_score",
    ("R5", "more than that"): "memorization.on_fail",
    ("R6", "least synthetic probability"): "synthetic.min_probability",
    ("R6", "not recognizable"): "synthetic.on_fail",
    ("R6", "recognizable by its watermark only"): "synthetic.on_mark_only",
    ("R7", "largest p-value of the mark"): "watermark.max_p_value",
    ("R7", "largest chance of AudioSeal's bits agreeing by luck"): "watermark.max_second_p_value",
    ("R7", "mark not read back"): "watermark.on_fail",
    ("R8", "accepted states"): "c2pa.states",
    ("R8", "any other state"): "c2pa.on_fail",
    ("R9", "least agreement with what was judged"): "readback.min_agreement",
    ("R9", "less than that"): "readback.on_fail",
    ("R10", "a check broke"): "defaults.error",
    ("R10", "a check ran out of time"): "defaults.timeout",
    ("R10", "a required check is missing"): "defaults.missing",
    ("R10", "required beside R7, R8, R9"): "required",
    ("R10", "may not apply, then"): "not_applicable",
    ("R12", "unlicensed quotation"): "screening.on_unlicensed_match",
    ("R13", "flagged from"): "screening.flag_probability",
    ("R13", "clear below"): "screening.clear_probability",
    ("R13", "synthetic verdict"): "screening.on_synthetic",
    ("R13", "classifier abstains"): "screening.on_abstained",
    ("R14", "our watermark"): "screening.on_watermark",
    ("R15", "manifest declares a trained model"): "screening.on_c2pa_synthetic",
    ("R15", "manifest does not validate"): "screening.on_c2pa_invalid",
    ("R18", "largest p-value of a hint"): "composition.max_p_value",
    ("R18", "a hint in an output"): "composition.on_match",
    ("R18", "a hint in an upload"): "composition.on_upload",
    ("R19", "unlicensed work as input"): "input_match.on_fail",
    ("R19", "licensed work as input"): "input_match.on_licensed",
}
UNLISTED = {
    *("schema", "name", "version", "description", "model_license.denied_licenses"),
    *("catalog_match.territory", "catalog_match.use", "synthetic.accept_mark"),
}


def _value(policy: Policy, path: str) -> str:
    value: object = policy
    for name in path.split("."):
        value = getattr(value, name)
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, dict):
        return f"{', '.join(value)}: {', '.join(sorted({str(v) for v in value.values()}))}"
    if isinstance(value, float):
        return f"{value:.12f}".rstrip("0").rstrip(".")
    return str(value)


def test_policy_md_has_the_rules_of_the_code_in_order() -> None:
    headings = re.findall(r"^### (R\d+) (.+)$", POLICY, flags=re.MULTILINE)

    assert headings == [(rule.id, rule.title) for rule in RULES]


def test_policy_md_names_no_rule_that_does_not_exist() -> None:
    known = {rule.id for rule in RULES}

    assert set(re.findall(r"\bR\d+\b", POLICY)) <= known


@pytest.mark.parametrize("key", FIELDS, ids=" ".join)
def test_policy_md_prints_the_numbers_of_the_shipped_policies(key: tuple[str, str]) -> None:
    shown = [_value(load(name), FIELDS[key]) for name in SHIPPED]

    assert f"| {key[0]} | {key[1]} | {' | '.join(shown)} |" in POLICY


def test_policy_md_leaves_no_value_out() -> None:
    dumped = load("strict").model_dump(by_alias=True)
    paths = {
        f"{section}.{name}" if isinstance(values, dict) and section != "not_applicable" else section
        for section, values in dumped.items()
        for name in (values if isinstance(values, dict) else [""])
    }

    assert paths == {*FIELDS.values(), *UNLISTED}
