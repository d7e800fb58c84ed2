"""Merging: one quotation is told once, with the better engine's words and an honest chance."""

from dataclasses import replace

import pytest

from detectors.base import Match
from detectors.evidence import merged

MATCH = Match(
    work_id="a",
    engine="landmarks",
    query_start_seconds=2.0,
    query_end_seconds=9.0,
    reference_start_seconds=32.0,
    reference_end_seconds=39.0,
    score=0.7,
    p_value=1e-9,
    votes=80,
)
BITS = replace(
    MATCH,
    engine="chromaprint",
    query_start_seconds=0.0,
    reference_start_seconds=30.0,
    score=0.9,
    p_value=1e-6,
    votes=30,
    error_rate=0.05,
)


def test_two_engines_on_one_stretch_are_one_match_over_all_its_seconds() -> None:
    (match,) = merged([BITS, MATCH], tried=2)

    assert (match.engine, match.votes, match.error_rate) == ("landmarks", 80, 0.05)
    assert (match.query_start_seconds, match.query_end_seconds) == (0.0, 9.0)
    assert (match.reference_start_seconds, match.reference_end_seconds) == (30.0, 39.0)
    assert match.score == 0.9
    assert match.p_value == pytest.approx(2e-9)


def test_the_order_of_the_engines_does_not_matter() -> None:
    assert merged([BITS, MATCH], tried=2) == merged([MATCH, BITS], tried=2)


def test_a_chance_is_multiplied_by_all_that_was_tried_and_stays_a_probability() -> None:
    (many,) = merged([MATCH], tried=70)
    (surely,) = merged([replace(MATCH, p_value=0.5)], tried=70)

    assert many.p_value == pytest.approx(7e-8)
    assert surely.p_value == 1.0


def test_two_works_on_one_stretch_are_two_matches() -> None:
    found = merged([MATCH, replace(MATCH, work_id="b", p_value=1e-3)], tried=1)

    assert [match.work_id for match in found] == ["a", "b"]


def test_two_stretches_of_one_work_are_two_matches() -> None:
    later = replace(MATCH, query_start_seconds=20.0, query_end_seconds=28.0)

    assert len(merged([MATCH, later], tried=1)) == 2


def test_a_work_that_repeats_itself_is_told_at_its_best_place_only() -> None:
    elsewhere = replace(
        MATCH, reference_start_seconds=64.0, reference_end_seconds=71.0, p_value=1e-4
    )
    (match,) = merged([elsewhere, MATCH], tried=1)

    assert match.reference_start_seconds == 32.0


def test_nothing_found_is_nothing_told() -> None:
    assert merged([], tried=2) == ()
