"""Who made a sound: what is known goes before what is guessed."""

import json
import math
from dataclasses import replace

import pytest

from detectors.synthetic.finding import SynthesisVerdict, SyntheticFinding
from safegen.policy import verdict_text
from safegen.provenance.c2pa import C2paFinding
from safegen.served import judged_of
from safegen.synthesis import MAX_HEADS, MAX_SEGMENTS, Origin, origin_of, synthesis_json
from tests.safegen.synthesis_help import HIFIGAN, MANIFEST, MARK, ROOT


def test_without_a_mark_the_classifier_answers() -> None:
    found = origin_of(
        HIFIGAN, mark=replace(MARK, detected=False), root=replace(ROOT, detected=False)
    )

    assert (found.verdict, found.because, found.generator) == (
        "known_generator",
        "classifier",
        "hifigan",
    )


@pytest.mark.parametrize(
    ("leads", "because"),
    [
        ({"is_logged": True, "mark": MARK, "manifest": MANIFEST, "root": ROOT}, "log"),
        ({"mark": MARK, "manifest": MANIFEST, "root": ROOT}, "watermark"),
        ({"manifest": MANIFEST, "root": ROOT}, "manifest"),
        ({"root": ROOT}, "decoder_mark"),
    ],
)
@pytest.mark.parametrize("finding", [HIFIGAN, None])
def test_what_is_known_goes_before_what_is_guessed(
    finding: SyntheticFinding | None, leads: dict[str, object], because: str
) -> None:
    found = origin_of(finding, **leads)  # type: ignore[arg-type]

    assert (found.verdict, found.because, found.generator) == ("own_generator", because, "")


@pytest.mark.parametrize(
    "manifest",
    [replace(MANIFEST, state="valid"), replace(MANIFEST, record_id="")],
    ids=["signed by somebody else", "names no record"],
)
def test_a_manifest_that_is_not_ours_identifies_nothing(manifest: C2paFinding) -> None:
    assert origin_of(HIFIGAN, manifest=manifest).because == "classifier"


def test_the_classifiers_own_verdict_stays_beside_what_is_known() -> None:
    written = synthesis_json(HIFIGAN, origin_of(HIFIGAN, mark=MARK))
    heard = judged_of({"synthetic": written, "watermark": {"detected": True}})

    assert (written["verdict"], written["because"]) == ("own_generator", "watermark")
    assert written["classifier_verdict"] == heard.verdict == "known_generator"


def test_the_record_holds_the_evidence_with_its_units() -> None:
    written = synthesis_json(HIFIGAN, origin_of(HIFIGAN))

    assert written["segments"] == [{"start_seconds": 0.0, "end_seconds": 4.0, "score": 0.912}]
    assert written["peaks"] == [
        {"hz": 2756.2, "excess_db": 3.21, "stride": 256, "spacing_hz": 86.133}
    ]
    assert written["combs"][0]["reading"] == "stride 256 at 22050 Hz"
    assert [head["name"] for head in written["heads"]] == ["hifigan", "codec"]
    assert (written["llr"], written["prior"], written["p_value"]) == (5.2, 0.5, 0.001)
    assert (written["model"], written["calibration"], written["data_card"]) == (
        "roster-3-abc",
        "c",
        "d",
    )


def test_a_long_file_and_a_long_registry_are_cut_to_fit_the_log() -> None:
    many = replace(
        HIFIGAN,
        segments=HIFIGAN.segments * 500,
        answers=(
            *(replace(HIFIGAN.answers[0], llr=-float(n)) for n in range(40)),
            replace(HIFIGAN.answers[0], family="generic", llr=1.5),
        ),
    )

    written = synthesis_json(many, origin_of(many))

    assert len(written["segments"]) == MAX_SEGMENTS
    assert [head["llr"] for head in written["heads"]] == [0.0, -1.0, -2.0, -3.0, 1.5]
    assert len(written["heads"]) == MAX_HEADS


def test_an_entry_that_could_not_judge_is_not_among_the_best() -> None:
    silent = replace(HIFIGAN.answers[0], name="far", llr=9.0, applied=False, reason="it needs 20 s")
    finding = replace(HIFIGAN, answers=(silent, *HIFIGAN.answers))

    written = synthesis_json(finding, origin_of(finding))

    assert [head["name"] for head in written["heads"]] == ["hifigan", "codec"]


@pytest.mark.parametrize("finding", [None, replace(HIFIGAN, probability=math.nan)])
def test_no_answer_has_the_same_keys_and_says_nothing(finding: SyntheticFinding | None) -> None:
    written = synthesis_json(finding, origin_of(finding))

    assert set(written) == set(synthesis_json(HIFIGAN, Origin()))
    assert written["probability"] is written["verdict"] is written["abstained"] is None
    assert written["segments"] == written["heads"] == []


def test_a_number_that_is_not_finite_never_reaches_a_record() -> None:
    odd = replace(HIFIGAN, llr=math.inf, p_value=math.nan, distance=-math.inf)

    written = synthesis_json(odd, origin_of(odd))

    json.dumps(written, allow_nan=False)


def test_no_verdict_says_that_people_made_it() -> None:
    said = " ".join(verdict_text(verdict, "x") for verdict in SynthesisVerdict)

    assert "real" not in said
    assert "human" not in said
