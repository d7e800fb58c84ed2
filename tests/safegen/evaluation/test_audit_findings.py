"""What is said of a data set by its table alone."""

from pathlib import Path

import numpy as np
import pytest

from safegen.evaluation.auditing.duplicates import Duplicate
from safegen.evaluation.auditing.findings import Finding, findings
from safegen.evaluation.auditing.manifest import Item
from safegen.evaluation.auditing.probe import TOGETHER, Column, Groups, Separation, separations


def items(label: str, group: str, count: int, *, split: str = "", source: str = "") -> list[Item]:
    """So many files of a source (real) or a generator (fake)."""
    is_fake = label == "fake"
    return [
        Item(
            file=f"{label}-{group}-{number}",
            path=Path("none"),
            is_fake=is_fake,
            source=source if is_fake else group,
            generator=group if is_fake else "",
            split=split,
            declared={},
        )
        for number in range(count)
    ]


FAIR = [
    *(item for group in "abcd" for item in items("real", group, 25)),
    *(item for group in "wxyz" for item in items("fake", group, 25)),
]


def found(every: list[Item], *pairs: Duplicate, columns: tuple[Column, ...] = ()) -> list[Finding]:
    return list(findings(every, columns, (), pairs))


def pair(first: int, second: int) -> Duplicate:
    return Duplicate(first=first, second=second, kind="near", bit_error_rate=0.1)


def test_a_fair_set_has_nothing_to_say() -> None:
    assert found(FAIR) == []


@pytest.mark.parametrize(
    ("every", "kind", "severity"),
    [
        ([*FAIR, *items("real", "e", 500)], "imbalance", "note"),
        ([*FAIR, *items("fake", "v", 3)], "small generators", "note"),
        ([*FAIR, *items("real", "", 30)], "no source", "note"),
        ([item for item in FAIR if item.generator not in ("y", "z")], "few generators", "note"),
        (
            [
                *items("real", "a", 30, split="train"),
                *items("fake", "v", 30, split="train"),
                *items("fake", "w", 30, split="test"),
            ],
            "one class in a split",
            "note",
        ),
        (
            [
                *items("real", "a", 30, split="train"),
                *items("real", "a", 30, split="test"),
                *items("fake", "w", 30, split="train"),
            ],
            "source on both sides",
            "leak",
        ),
        (
            [
                *items("real", "a", 30, split="train"),
                *items("fake", "w", 30, split="train"),
                *items("fake", "w", 30, split="test"),
            ],
            "generator on both sides",
            "leak",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_groups_are_counted(every: list[Item], kind: str, severity: str) -> None:
    (mine,) = [each for each in found(every) if each.kind == kind]

    assert mine.severity == severity
    assert mine.title[0].isupper() or mine.title[0].isdigit()
    assert mine.remedy.endswith(".")


def test_a_fake_made_from_a_real_file_is_noted_and_parted_by_a_split_is_a_leak() -> None:
    (same_side,) = found(FAIR, pair(0, 100))
    train = items("real", "a", 30, split="train")
    parted = [*train, *items("fake", "w", 30, split="test", source="a")]

    assert (same_side.kind, same_side.severity) == ("duplicate near classes", "note")
    assert same_side.items == ("real-a-0 = fake-w-0",)
    assert "duplicate near splits" in [each.kind for each in found(parted, pair(0, 30))]


def test_sample_rates_of_one_generator_of_four_are_unbalanced() -> None:
    rates = np.array(["16000 Hz" if item.generator != "z" else "24000 Hz" for item in FAIR])
    (mine,) = found(FAIR, columns=(Column(name="sample rate", unit="", values=rates),))

    assert (mine.kind, mine.severity) == ("unbalanced", "confound")
    assert "fake files: 16000 Hz 75 %, 24000 Hz 25 %" in mine.detail


def test_no_share_is_rounded_up_to_always() -> None:
    almost = Separation(
        name=TOGETHER, auc=0.9991, low=0.99, high=1.0, auc_random=1.0, p_value=0.0, scored=200
    )
    (mine,) = findings(FAIR, (), (almost,), ())

    assert mine.title == "Without listening, the fake is picked more than 99 times in 100"


def test_fakes_made_from_the_real_files_sources_are_all_compared() -> None:
    # Copy-synthesis: every speaker is in both classes.
    is_fake = np.repeat([False, True], 60)
    sources = np.array([f"speaker-{number % 6}" for number in range(120)])
    generators = np.where(is_fake, [f"generator-{number // 15}" for number in range(120)], "")
    level = np.random.default_rng(1).normal(size=120) + 3.0 * is_fake
    speaker = Column(name="speaker", unit="", values=sources)
    columns = (Column(name="level", unit="dB", values=level), speaker)
    separated = separations(columns, is_fake, Groups(sources=sources, generators=generators))
    by_name = {each.name: each for each in separated}

    assert by_name["level"].scored == 120
    assert by_name["level"].is_confound
    assert by_name["speaker"].auc == pytest.approx(0.5)
