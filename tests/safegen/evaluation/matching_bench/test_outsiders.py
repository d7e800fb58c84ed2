"""What is named of music outside the catalog is right, doubtful or wrong, each counted once."""

from dataclasses import replace

import pytest

from safegen.evaluation.matching_bench.outsiders import chances, outsiders
from safegen.evaluation.matching_bench.trials import Named, pack
from safegen.evaluation.state import Row
from tests.safegen.evaluation.matching_bench.test_report import named

NAMES = {"id-a": "a.ogg", "id-b": "b.ogg"}


def row(*found: Named, track: str = "a.ogg", likeliest: tuple[Named, ...] = ()) -> Row:
    return {
        "works": 2,
        "track": track,
        "n": 10,
        "named": pack(found),
        "chances": pack(likeliest),
        "search": 1e9,
    }


def test_the_same_sound_is_right_and_elsewhere_in_the_same_works_doubtful() -> None:
    (found,) = outsiders([row(named(start=1.0, is_shared=True), named(start=9.0))], NAMES)

    assert (found.rate.hits, found.shared, found.related) == (0, 1, 1)
    assert found.pairs == ("a.ogg and b.ogg",)


def test_works_that_hold_nothing_in_common_are_wrong() -> None:
    rows = [row(named(start=1.0, is_shared=True)), row(named(start=2.0), track="c.ogg")]
    (found,) = outsiders(rows, NAMES)

    assert (found.rate.hits, found.rate.n, found.shared) == (1, 20, 1)
    (sentence,) = found.which
    assert sentence.startswith("c.ogg at 2.0 s: b.ogg (landmarks, p 1e-06")


def test_a_query_with_one_wrong_work_is_wrong_whatever_else_it_is_named() -> None:
    other = named(start=1.0)
    good = named(start=1.0, is_shared=True)
    (found,) = outsiders([row(good, track="c.ogg"), row(good, other, track="d.ogg")], {})

    assert found.rate.hits == 0  # related by the same sound

    stranger = replace(other, work_id="id-z")
    (found,) = outsiders([row(good, stranger, track="d.ogg")], {})

    assert (found.rate.hits, found.shared) == (1, 0)


def test_chances_are_counted_at_each_level_without_works_that_share_sound() -> None:
    likeliest = (
        named(start=1.0, p_value=0.6),
        named(start=2.0, p_value=0.05),
        named(start=3.0, p_value=2e-4),
    )
    rows = [row(likeliest=likeliest, track="c.ogg")]
    found = chances(rows, NAMES)

    assert found is not None
    assert found.queries == 3
    assert (found.levels[0.5], found.levels[0.1], found.levels[0.001]) == (2, 2, 1)
    assert found.levels[1e-4] == 0
    # Scores of 0.6 are 60 nats, 25 above where the tail begins.
    assert found.null_lambda == pytest.approx(1 / 25)

    assert chances([row(named(start=1.0, is_shared=True), likeliest=likeliest)], NAMES) is None
