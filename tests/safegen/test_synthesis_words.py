"""What an answer about synthetic sound says to people."""

from dataclasses import replace
from typing import Any

import pytest

from detectors.synthetic.finding import SynthesisVerdict, SyntheticFinding
from safegen.synthesis import origin_of, synthesis_json
from safegen.synthesis_words import cells, headline, sentences
from tests.safegen.synthesis_help import HIFIGAN, MARK, ROOT


def written(finding: SyntheticFinding = HIFIGAN, **leads: Any) -> dict[str, Any]:
    return synthesis_json(finding, origin_of(finding, **leads))


def test_a_known_generator_is_named_with_its_figures_and_the_comb_of_its_decoder() -> None:
    assert headline(written()) == "sounds like hifigan (known generator)"
    assert sentences(written()) == (
        "Log likelihood ratio 5.2, p = 1.0e-03 (1 in 1000 of real sound looks as synthetic); "
        "synthetic probability 0.99 at a prior of 0.5.",
        "Lines every 86.13 Hz stand out (z 8.2), as a decoder with stride 256 at 22050 Hz "
        "leaves them.",
        "Nothing shorter than 4 s is located.",
    )


@pytest.mark.parametrize(
    ("leads", "said"),
    [
        ({"is_logged": True}, "ours: these are the bytes of a logged release"),
        ({"mark": MARK}, "ours: it carries our watermark"),
        ({"root": ROOT}, "ours: it was made with the shipped safegen codec"),
    ],
)
def test_what_is_known_is_said_first_and_the_classifiers_word_after_it(
    leads: dict[str, Any], said: str
) -> None:
    found = written(**leads)

    assert headline(found) == said
    assert sentences(found)[0] == "The classifier alone: sounds like hifigan (known generator)."


def test_outside_its_domain_it_says_that_its_numbers_mean_little() -> None:
    why = "unlike the music it knows: 1.43 times the limit"
    finding = replace(
        HIFIGAN,
        verdict=SynthesisVerdict.INCONCLUSIVE,
        abstained=True,
        reason=why,
        out_of_domain=why,
        combs=(),
    )

    said = sentences(written(finding))

    assert said[0] == (
        "It abstains, because it has heard nothing like this (unlike the music it knows: "
        "1.43 times the limit): whatever it measured here means little."
    )
    assert not any("probability" in sentence for sentence in said)


def test_an_abstention_tells_its_reason() -> None:
    finding = replace(
        HIFIGAN,
        verdict=SynthesisVerdict.INCONCLUSIVE,
        abstained=True,
        reason="the evidence is weak",
    )

    assert sentences(written(finding))[0] == "It abstains: the evidence is weak."


def test_a_comb_of_no_known_decoder_is_told_as_such() -> None:
    finding = replace(HIFIGAN, combs=(replace(HIFIGAN.combs[0], reading=""),))

    assert "of no decoder known here" in sentences(written(finding))[1]


def test_old_records_say_what_they_hold() -> None:
    old = {"probability": 0.7, "abstained": False, "reason": "", "model": "m", "segments": []}

    assert headline(old) == ""
    assert sentences(old) == ("Synthetic probability 0.70.",)
    assert sentences({**old, "probability": None}) == ()


def test_overlapping_windows_become_stretches_side_by_side() -> None:
    windows = [
        {"start_seconds": start, "end_seconds": start + 4.0, "score": score}
        for start, score in ((0.0, 0.2), (2.0, 0.8), (10.0, 1.0))
    ]

    found = cells(windows)

    assert [(c.start_seconds, c.end_seconds, round(c.score, 3)) for c in found] == [
        (0.0, 2.0, 0.2),
        (2.0, 4.0, 0.5),
        (4.0, 6.0, 0.8),
        (10.0, 14.0, 1.0),
    ]
