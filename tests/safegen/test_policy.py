"""What a policy can and cannot do."""

import contextlib
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from detectors.base import Match
from detectors.synthetic.finding import SynthesisVerdict
from safegen.errors import InputError
from safegen.policy import (
    CHECK_NAMES,
    FLOOR,
    INPUT_COMPOSITION,
    INPUT_MATCH,
    SHIPPED,
    Action,
    CheckResult,
    Outcome,
    Policy,
    decide,
    decide_early,
    judge_c2pa,
    judge_inputs,
    judge_matches,
    judge_memorization,
    judge_model,
    judge_prompt,
    judge_readback,
    judge_synthetic,
    judge_watermark,
    load,
    parse,
    quoted_seconds,
    rules_of,
    text_of,
)

STRICT = load("strict")
POLICIES = [load(name) for name in SHIPPED]


@dataclass(frozen=True, kw_only=True)
class Facts:
    name: str = "model"
    license: str = "Apache-2.0"
    weights_sha256: str = "ab"
    license_accepted: str = ""


@dataclass(frozen=True, kw_only=True)
class Heard:
    verdict: SynthesisVerdict = SynthesisVerdict.KNOWN_GENERATOR
    generator: str = "hifigan"
    llr: float = 5.2
    p_value: float = 0.001
    prior: float = 0.5
    probability: float = 0.9
    abstained: bool = False
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Remembered:
    flag: bool = False
    score: float = 0.1
    nearest_item: str = "seed-7"


@dataclass(frozen=True, kw_only=True)
class Mark:
    detected: bool = True
    payload: int | None = 5
    p_value: float = 1e-30


@dataclass(frozen=True, kw_only=True)
class Manifest:
    state: str = "trusted"
    failures: tuple[str, ...] = ()
    record_id: str | None = "r"


def quote(start: float, end: float, *, work: str = "w", score: float = 0.9) -> Match:
    return Match(
        work_id=work,
        engine="chromaprint",
        query_start_seconds=start,
        query_end_seconds=end,
        reference_start_seconds=0.0,
        reference_end_seconds=end - start,
        score=score,
        p_value=1e-9,
    )


def passed() -> tuple[CheckResult, ...]:
    return tuple(CheckResult(name=name, outcome=Outcome.PASS) for name in CHECK_NAMES)


def raw(name: str = "strict") -> dict[str, Any]:
    loaded = yaml.safe_load(text_of(name))
    assert isinstance(loaded, dict)
    return loaded | {"name": "mine"}


def text(values: dict[str, Any]) -> str:
    return str(yaml.safe_dump(values))


results = st.builds(
    CheckResult,
    name=st.sampled_from([*CHECK_NAMES, INPUT_MATCH, INPUT_COMPOSITION, "unheard_of"]),
    outcome=st.sampled_from(list(Outcome)),
    score=st.none() | st.floats(),
    threshold=st.none() | st.floats(),
    failed_rules=st.sampled_from([(), ("R1",), ("R2",), ("R4",), ("R1", "R2"), ("R99",)]),
    obligations=st.sampled_from([(), ("quotes work w under a license",)]),
)


@given(
    policy=st.sampled_from(POLICIES),
    bad=st.sampled_from([o for o in Outcome if o is not Outcome.PASS]),
    found=st.lists(results, max_size=12),
    name=st.sampled_from(CHECK_NAMES),
)
@settings(max_examples=400)
def test_adding_anything_but_a_pass_never_makes_the_action_milder(
    policy: Policy, bad: Outcome, found: list[CheckResult], name: str
) -> None:
    # A check that does not apply is an answer, so it may stand in for a missing one.
    before = decide(policy, found)
    if bad is Outcome.NOT_APPLICABLE and name not in {result.name for result in found}:
        found = [*found, CheckResult(name=name, outcome=Outcome.PASS)]
        before = decide(policy, found)

    after = decide(policy, [*found, CheckResult(name=name, outcome=bad)])

    assert after.action >= before.action


@given(found=st.lists(results, max_size=14))
def test_strict_releases_plainly_only_with_every_required_pass(found: list[CheckResult]) -> None:
    decision = decide(STRICT, found)

    passes = {result.name for result in found if result.outcome is Outcome.PASS}
    if decision.action is Action.RELEASE:
        assert passes >= set(CHECK_NAMES)
        assert all(result.outcome is Outcome.PASS for result in found)


@given(policy=st.sampled_from(POLICIES), found=st.lists(results, max_size=14))
@settings(max_examples=300)
def test_no_policy_lets_a_file_out_without_mark_manifest_and_read_back(
    policy: Policy, found: list[CheckResult]
) -> None:
    decision = decide(policy, found)

    if decision.is_release:
        for name in FLOOR:
            outcomes = {result.outcome for result in found if result.name == name}
            assert outcomes == {Outcome.PASS}


@pytest.mark.parametrize("name", CHECK_NAMES)
def test_a_required_check_that_did_not_run_blocks_in_strict(name: str) -> None:
    found = [result for result in passed() if result.name != name]

    decision = decide(STRICT, found)

    assert decision.action is Action.BLOCK
    assert (decision.reasons[0].rule, decision.reasons[0].check) == ("R10", name)


@pytest.mark.parametrize(
    ("name", "expected"), [("strict", "block"), ("standard", "quarantine"), ("permissive", "label")]
)
def test_a_broken_ear_has_the_consequence_of_the_policy(name: str, expected: str) -> None:
    found = [r for r in passed() if r.name != "catalog_match"]
    found.append(CheckResult(name="catalog_match", outcome=Outcome.ERROR, detail="no index"))

    assert str(decide(load(name), found).action) == expected


@pytest.mark.parametrize(
    "odd",
    [
        CheckResult(name="unheard_of", outcome=Outcome.PASS),
        CheckResult(name="synthetic", outcome=Outcome.PASS, score=math.nan),
        CheckResult(name="synthetic", outcome=Outcome.PASS, threshold=math.inf),
        CheckResult(name="prompt", outcome=Outcome.FAIL, failed_rules=("R7",)),
    ],
    ids=["unknown check", "NaN score", "infinite threshold", "a rule of another check"],
)
def test_a_result_that_makes_no_sense_is_an_error(odd: CheckResult) -> None:
    found = [result for result in passed() if result.name != odd.name]

    decision = decide(STRICT, [*found, odd])

    assert decision.action is Action.BLOCK
    assert decision.reasons[0].rule == "R10"


def test_all_passes_release_in_every_policy() -> None:
    assert {decide(policy, passed()).action for policy in POLICIES} == {Action.RELEASE}


def test_what_does_not_apply_is_released_with_a_label_that_says_so() -> None:
    found = [result for result in passed() if result.name != "memorization"]
    found.append(judge_memorization(STRICT, None))

    decision = decide(STRICT, found)

    assert decision.action is Action.LABEL
    assert decision.obligations == ("the generator's training items are not known here",)


def test_a_check_of_the_floor_always_applies() -> None:
    found = [result for result in passed() if result.name != "watermark"]
    found.append(CheckResult(name="watermark", outcome=Outcome.NOT_APPLICABLE))

    assert decide(load("permissive"), found).action is Action.QUARANTINE


def test_the_early_decision_waits_for_what_has_not_run() -> None:
    assert decide_early(STRICT, passed()[:2]).action is Action.RELEASE
    assert decide(STRICT, passed()[:2]).action is Action.BLOCK


def test_the_worst_reason_comes_first_and_all_are_told() -> None:
    standard = load("standard")
    prompt = judge_prompt(standard, "in the style of Daft Punk, clone his voice", ["Daft Punk"])

    decision = decide_early(standard, [prompt, judge_matches(standard, [quote(0, 9)], ())])

    assert [r.rule for r in decision.reasons] == ["R2", "R4", "R1"]
    assert [str(r.action) for r in decision.reasons] == ["block", "block", "review"]


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_policy_hashes_the_same_every_time(name: str) -> None:
    assert load(name).sha256 == load(name).sha256
    assert len({policy.sha256 for policy in POLICIES}) == len(SHIPPED)


def test_the_hash_does_not_depend_on_how_the_file_is_written() -> None:
    values = raw()

    shuffled = text(dict(reversed(values.items())))

    assert parse(shuffled, source="a").sha256 == parse(text(values), source="b").sha256


def _paths(values: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(values, dict):
        return [path for key, value in values.items() for path in _paths(value, (*at, key))]
    return [at]


@pytest.mark.parametrize("path", _paths(raw()), ids=lambda path: ".".join(map(str, path)))
def test_the_hash_changes_with_every_value(path: tuple[str, ...]) -> None:
    # In permissive, because in strict many values can only be what they are.
    values = raw("permissive")
    values["defaults"] = {"error": "review", "timeout": "review", "missing": "label"}
    values["input_match"] = {"on_fail": "review", "on_licensed": "release"}
    before = Policy.model_validate(values).sha256
    inner = values
    for key in path[:-1]:
        inner = inner[key]
    old = inner[path[-1]]
    candidates = (
        "block",
        "review",
        "clear",
        "inconclusive",
        "flagged",
        "sync",
        "DE",
        0.9,
        1e-7,
        7,
        False,
    )
    changed = set()
    for new in (*candidates, ["valid"], ["prompt"], ["*-XX"]):
        inner[path[-1]] = new
        with contextlib.suppress(ValidationError):
            changed |= {Policy.model_validate(values).sha256} if new != old else set()

    assert before not in changed
    assert changed or path == ("schema",)


def _set(path: str, value: object) -> str:
    values = raw()
    inner = values
    *parents, last = path.split(".")
    for key in parents:
        inner = inner[key]
    inner[last] = value
    return text(values)


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        (_set("extra", 1), "extra"),
        (_set("watermark.enabled", False), "watermark.enabled"),
        (_set("log", "off"), "log"),
        (_set("watermark.on_fail", "label"), "watermark.on_fail"),
        (_set("c2pa.on_fail", "review"), "c2pa.on_fail"),
        (_set("readback.on_fail", "release"), "readback.on_fail"),
        (_set("c2pa.states", []), "c2pa.states"),
        (_set("c2pa.states", ["invalid"]), "c2pa.states"),
        (_set("watermark.max_p_value", 1.0), "watermark.max_p_value"),
        (_set("watermark.max_p_value", "0.001"), "watermark.max_p_value"),
        (_set("memorization.max_score", float("nan")), "memorization.max_score"),
        (_set("catalog_match.min_match_seconds", 1e9), "catalog_match.min_match_seconds"),
        (_set("catalog_match.territory", "World"), "catalog_match.territory"),
        (_set("defaults.error", "release"), "defaults"),
        (_set("defaults.error", "label"), "milder"),
        (_set("memorization.on_fail", "label"), "memorization is required"),
        (_set("not_applicable.watermark", "label"), "not_applicable.watermark"),
        (_set("not_applicable.prompt", "release"), "not_applicable.prompt"),
        (_set("required", ["prompt", "prompt"]), "twice"),
        (_set("version", True), "version"),
        (_set("schema", "safegen.policy/2"), "schema"),
        (_set("screening.clear_probability", 0.99), "clear_probability"),
        ("name: x\nname: y\n", "appears twice"),
        ("a: &x [1]\nb: *x\n", "aliases"),
        ("a: !!python/object/apply:os.system ['true']\n", "not a policy file"),
        ("[", "not a policy file"),
        ("", "not a valid policy"),
        ("\x00", "not a policy file"),
    ],
)
def test_a_file_that_is_not_a_policy_is_refused_with_the_field(bad: str, named: str) -> None:
    with pytest.raises(InputError, match=named.replace(".", r"\.")):
        parse(bad, source="bad.yaml")


@pytest.mark.parametrize("path", _paths(raw()), ids=lambda path: ".".join(map(str, path)))
def test_no_field_can_be_left_out(path: tuple[str, ...]) -> None:
    values = raw()
    inner = values
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]

    if path[0] == "not_applicable":
        # Leaving a check out there is the strictest thing to say about it.
        assert path[1] not in Policy.model_validate(values).not_applicable
    else:
        with pytest.raises(ValidationError, match=path[-1]):
            Policy.model_validate(values)


def test_an_own_file_cannot_take_a_shipped_name(tmp_path: Path) -> None:
    weak = text(raw("permissive") | {"name": "strict"})
    (tmp_path / "weak.yaml").write_text(weak)

    with pytest.raises(InputError, match="belongs to the shipped policy"):
        load(str(tmp_path / "weak.yaml"))


def test_a_shipped_name_means_the_shipped_file_whatever_lies_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "strict.yaml").write_text(text(raw("permissive")))

    assert load("strict", tmp_path).sha256 == STRICT.sha256


def test_an_own_policy_is_found_by_name_and_by_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text(raw()))

    assert load("mine", tmp_path).sha256 == load(str(path)).sha256


@pytest.mark.parametrize("name", ["nobody", "../strict", "/etc/passwd", ""])
def test_a_name_that_is_no_policy_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no policy is called"):
        load(name, tmp_path)


@pytest.mark.parametrize("folder", [None, Path("nowhere")])
def test_a_missing_file_is_an_input_error(folder: Path | None) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load("missing.yaml", folder)


def test_every_check_has_a_rule_and_every_rule_a_consequence() -> None:
    for name in CHECK_NAMES:
        assert rules_of(name)
        assert all(STRICT.on_fail(rule) is Action.BLOCK for rule in rules_of(name))


# R3


@pytest.mark.parametrize(
    ("license_", "weights", "outcome"),
    [
        ("Apache-2.0", "ab", Outcome.PASS),
        ("CC-BY-NC-4.0", "ab", Outcome.FAIL),
        ("cc-by-nc-sa-4.0", "", Outcome.FAIL),
        ("Free for Non-Commercial use", "", Outcome.FAIL),
        ("our own, in house", "", Outcome.PASS),
        ("unknown", "ab", Outcome.FAIL),
        ("", "", Outcome.NOT_APPLICABLE),
        ("unknown", "", Outcome.NOT_APPLICABLE),
    ],
)
def test_the_license_of_the_model_decides(license_: str, weights: str, outcome: Outcome) -> None:
    found = judge_model(STRICT, Facts(license=license_, weights_sha256=weights))

    assert found.outcome is outcome


@pytest.mark.parametrize(
    ("name", "action"), [("strict", Action.LABEL), ("standard", Action.LABEL), ("permissive", None)]
)
def test_an_accepted_license_is_a_label_that_binds_whoever_passes_the_sound_on(
    name: str, action: Action | None
) -> None:
    policy = load(name)
    facts = Facts(license="CC-BY-NC-4.0", license_accepted="2026-11-22")
    found = judge_model(policy, facts)
    decision = decide_early(policy, [found])

    assert found.outcome is Outcome.PASS
    assert decision.action is (action or Action.RELEASE)
    assert all("CC-BY-NC-4.0, which binds" in sentence for sentence in decision.obligations)
    assert bool(decision.obligations) is (action is not None)


def test_no_acceptance_covers_a_license_that_nobody_told() -> None:
    found = judge_model(STRICT, Facts(license="unknown", license_accepted="2026-11-22"))

    assert found.outcome is Outcome.FAIL


# R4


def test_an_unlicensed_quotation_fails_with_its_length_and_the_limit() -> None:
    found = judge_matches(STRICT, [quote(1, 5.5)], ())

    assert found.outcome is Outcome.FAIL
    assert (found.score, found.threshold) == (4.5, 3.0)
    assert "4.5 s quote work w" in found.detail


def test_short_stretches_of_one_work_add_up() -> None:
    pieces = [quote(0, 2), quote(10, 11), quote(10.5, 11.5)]

    assert quoted_seconds(pieces) == 3.5
    assert judge_matches(STRICT, pieces, ()).outcome is Outcome.FAIL
    assert judge_matches(STRICT, pieces[:2], ("w",)).obligations
    assert judge_matches(STRICT, pieces[:1], ()).outcome is Outcome.PASS


def test_stretches_of_different_works_do_not_add_up() -> None:
    pieces = [quote(0, 2, work="a"), quote(2, 4, work="b")]

    assert judge_matches(STRICT, pieces, ()).outcome is Outcome.PASS


def test_a_licensed_quotation_is_released_with_a_label() -> None:
    found = judge_matches(STRICT, [quote(0, 9)], {"w"})
    rest = [result for result in passed() if result.name != "catalog_match"]

    decision = decide(STRICT, [*rest, found])

    assert decision.action is Action.LABEL
    assert decision.obligations == ("quotes work w under a license in force",)


def test_one_licensed_work_does_not_cover_another() -> None:
    found = judge_matches(STRICT, [quote(0, 9, work="a"), quote(0, 9, work="b")], {"a"})

    assert found.outcome is Outcome.FAIL
    assert found.evidence == {"unlicensed": ["b"], "licensed": ["a"]}


def test_a_match_whose_score_is_not_a_number_counts() -> None:
    odd = replace(quote(0, 9), score=math.nan, p_value=math.nan)

    assert judge_matches(STRICT, [odd], ()).outcome is Outcome.FAIL


def test_a_match_whose_length_is_not_a_number_counts() -> None:
    assert judge_matches(STRICT, [quote(0, math.nan)], ()).outcome is Outcome.FAIL


@given(
    seconds=st.lists(st.floats(0.1, 60.0), min_size=1, max_size=5),
    more=st.floats(0.1, 60.0),
)
def test_quoting_more_never_helps(seconds: list[float], more: float) -> None:
    matches = [quote(100.0 * i, 100.0 * i + length) for i, length in enumerate(seconds)]
    longer = [*matches, quote(1000.0, 1000.0 + more)]

    before = decide_early(STRICT, [judge_matches(STRICT, matches, ())])
    after = decide_early(STRICT, [judge_matches(STRICT, longer, ())])

    assert after.action >= before.action


# R5


@pytest.mark.parametrize(
    ("finding", "outcome"),
    [
        (Remembered(), Outcome.PASS),
        (Remembered(score=0.51), Outcome.FAIL),
        (Remembered(score=0.0, nearest_item=""), Outcome.SKIPPED),
        (Remembered(score=math.nan), Outcome.FAIL),
    ],
    ids=["far", "near", "nothing compared", "not a number"],
)
def test_a_copy_of_a_training_item_fails(finding: Remembered, outcome: Outcome) -> None:
    assert judge_memorization(STRICT, finding).outcome is outcome


# R6


@pytest.mark.parametrize(
    ("finding", "marked", "outcome", "labels"),
    [
        (Heard(), None, Outcome.PASS, 0),
        (Heard(), False, Outcome.PASS, 0),
        (Heard(probability=0.2), True, Outcome.PASS, 1),
        (Heard(probability=0.2), None, Outcome.PASS, 1),
        (Heard(probability=0.2), False, Outcome.FAIL, 0),
        (Heard(abstained=True, reason="speech"), True, Outcome.PASS, 0),
        (Heard(abstained=True), False, Outcome.FAIL, 0),
        (Heard(probability=math.nan), False, Outcome.FAIL, 0),
    ],
)
def test_an_output_must_be_recognizable(
    finding: Heard, marked: bool | None, outcome: Outcome, labels: int
) -> None:
    found = judge_synthetic(STRICT, finding, marked=marked)

    assert found.outcome is outcome
    assert len(found.obligations) == labels


def test_a_recognized_output_is_told_with_generator_and_figures() -> None:
    found = judge_synthetic(STRICT, Heard(), marked=None)

    assert found.detail == (
        "sounds like hifigan (known generator): log likelihood ratio 5.2, p = 1.0e-03, "
        "synthetic probability 0.90 at a prior of 0.5, limit 0.5"
    )


def test_no_evidence_of_synthesis_recognizes_nothing_however_high_the_probability() -> None:
    finding = Heard(verdict=SynthesisVerdict.NO_SYNTHESIS_EVIDENCE, probability=0.6)

    found = judge_synthetic(STRICT, finding, marked=True)

    assert found.outcome is Outcome.PASS
    assert found.obligations[0].startswith("no evidence of synthesis was heard")


def test_an_inconclusive_verdict_is_an_abstention() -> None:
    finding = Heard(verdict=SynthesisVerdict.INCONCLUSIVE, reason="the evidence is weak")

    found = judge_synthetic(STRICT, finding, marked=False)

    assert found.outcome is Outcome.FAIL
    assert "abstained (the evidence is weak)" in found.detail


def test_a_policy_may_insist_on_the_classifier() -> None:
    policy = parse(_set("synthetic.accept_mark", False), source="own")

    found = judge_synthetic(policy, Heard(probability=0.2), marked=True)

    assert found.outcome is Outcome.FAIL


# R7, R8, R9


@pytest.mark.parametrize(
    ("finding", "outcome"),
    [
        (Mark(), Outcome.PASS),
        (Mark(payload=6), Outcome.FAIL),
        (Mark(payload=None), Outcome.FAIL),
        (Mark(detected=False), Outcome.FAIL),
        (Mark(p_value=1e-3), Outcome.FAIL),
        (Mark(p_value=math.nan), Outcome.FAIL),
    ],
)
def test_the_mark_must_carry_this_very_id(finding: Mark, outcome: Outcome) -> None:
    assert judge_watermark(STRICT, finding, 5).outcome is outcome


@pytest.mark.parametrize(
    ("finding", "record_id", "outcome"),
    [
        (Manifest(), "r", Outcome.PASS),
        (Manifest(), None, Outcome.PASS),
        (Manifest(), "other", Outcome.FAIL),
        (Manifest(state="valid"), "r", Outcome.FAIL),
        (Manifest(state="invalid", failures=("assertion.dataHash.mismatch",)), "r", Outcome.FAIL),
        (Manifest(state="absent"), "r", Outcome.FAIL),
    ],
)
def test_the_manifest_must_be_trusted_and_name_the_record(
    finding: Manifest, record_id: str | None, outcome: Outcome
) -> None:
    assert judge_c2pa(STRICT, finding, record_id=record_id).outcome is outcome


@pytest.mark.parametrize(
    ("agreement", "outcome"),
    [(1.0, Outcome.PASS), (0.95, Outcome.PASS), (0.94, Outcome.FAIL), (math.nan, Outcome.FAIL)],
)
def test_the_file_must_hold_what_was_judged(agreement: float, outcome: Outcome) -> None:
    assert judge_readback(STRICT, agreement).outcome is outcome


# R19


def inputs(
    policy: Policy = STRICT,
    *,
    heard: dict[str, list[Match]] | None = None,
    licensed: tuple[str, ...] = (),
    unheard: dict[str, float] | None = None,
) -> CheckResult:
    return judge_inputs(
        policy, heard or {}, licensed=licensed, unheard=unheard or {}, least_seconds=4.9
    )


INPUTS: dict[str, tuple[CheckResult, Outcome, str]] = {
    "nothing is quoted": (inputs(heard={"melody": []}), Outcome.PASS, "no input quotes a work"),
    "a work is quoted": (
        inputs(heard={"melody": [], "continue_from": [quote(0, 6)]}),
        Outcome.FAIL,
        "the sound to continue: 6.0 s quote work w without a license in force, limit 3 s",
    ),
    "under a license": (
        inputs(heard={"source": [quote(0, 6)]}, licensed=("w",)),
        Outcome.PASS,
        "made from 1 licensed works",
    ),
    "too short to quote": (
        inputs(unheard={"melody": 2.0}),
        Outcome.PASS,
        "no input quotes a work; 2.00 s could not be compared and cannot quote 3 s",
    ),
    "too short to compare": (inputs(unheard={"melody": 3.0}), Outcome.ERROR, "3.00 s are too"),
    "what helps then": (
        inputs(unheard={"melody": 4.0}),
        Outcome.ERROR,
        "give at least 4.9 s, or less than 3 s",
    ),
    "both": (
        inputs(heard={"source": [quote(0, 6)]}, unheard={"melody": 4.0}),
        Outcome.FAIL,
        "; the melody: 4.00 s are too short",
    ),
}


@pytest.mark.parametrize(("result", "outcome", "says"), INPUTS.values(), ids=INPUTS)
def test_inputs_are_judged_by_the_numbers_of_quotations(
    result: CheckResult, outcome: Outcome, says: str
) -> None:
    assert result.outcome is outcome
    assert says in result.detail


@pytest.mark.parametrize(
    ("name", "failed", "licensed", "unknown"),
    [
        ("strict", "block", "label", "block"),
        ("standard", "block", "label", "release"),
        ("permissive", "label", "release", "release"),
    ],
)
def test_the_policies_say_what_follows_for_an_input(
    name: str, failed: str, licensed: str, unknown: str
) -> None:
    policy = load(name)
    long = [quote(0, 20)]
    found = [
        inputs(policy, heard={"melody": long}),
        inputs(policy, heard={"melody": long}, licensed=("w",)),
        inputs(policy, unheard={"melody": 4.5}),
    ]

    actions = [str(decide(policy, [*passed(), each]).action) for each in found]
    assert actions == [failed, licensed, unknown]
    assert decide(policy, [found[0]]).reasons[0].rule in ("R10", "R19")


def test_what_is_unknown_of_one_input_is_not_hidden_by_a_milder_failure_of_another() -> None:
    mild = parse(
        text(
            raw()
            | {
                "input_match": {"on_fail": "quarantine", "on_licensed": "label"},
                "defaults": {"error": "block", "missing": "quarantine", "timeout": "block"},
                "required": [],
            }
        ),
        source="mine",
    )
    found = inputs(mild, heard={"source": [quote(0, 6)]}, unheard={"melody": 4.0})

    assert decide(mild, [found]).action is Action.BLOCK


def test_failing_as_input_cannot_be_milder_than_not_being_compared() -> None:
    with pytest.raises(InputError, match=r"input_match.on_fail is label, milder"):
        parse(
            text(raw() | {"input_match": {"on_fail": "label", "on_licensed": "label"}}), source="m"
        )


@pytest.mark.parametrize("outcome", list(Outcome))
def test_a_hint_at_a_given_melody_weighs_no_more_than_a_hint(outcome: Outcome) -> None:
    found = CheckResult(name=INPUT_COMPOSITION, outcome=outcome)

    for policy in POLICIES:
        worst = max(
            (
                each.action
                for each in decide(policy, [found]).reasons
                if each.check == INPUT_COMPOSITION
            ),
            default=Action.RELEASE,
        )
        assert worst <= policy.composition.on_match
