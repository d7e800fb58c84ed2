"""Matching: what was quoted is found where it was cut; what was not is left alone.

Fingerprints here are computed from melodies or drawn at random; the rates on real
music are measured by ``safegen eval fingerprint``.
"""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors import fingerprint as matching
from detectors.chromaprint import (
    ITEM_SECONDS,
    QUERY_SHIFTS,
    SAMPLE_RATE,
    SILENCE,
    SPAN_SECONDS,
    Items,
    fingerprint,
    query_fingerprints,
)
from detectors.errors import DetectorError
from detectors.fingerprint import (
    COMMON_POSTINGS,
    KEY_MASK,
    Evidence,
    Numbers,
    Rule,
    chance,
    find_evidence,
    find_matches,
    same_limit,
    same_recording,
    similarity,
)
from tests.detectors.test_chromaprint import melody


def noise(count: int, *, seed: int) -> Items:
    """Items without any relation; real ones agree far more often by accident."""
    return np.random.default_rng(seed).integers(0, 2**32, count, dtype=np.uint32)


def worn(items: Items, *, rate: float, seed: int) -> Items:
    """Flip each bit with the probability ``rate``, as a codec does."""
    bits = np.random.default_rng(seed).random((len(items), 32)) < rate
    flips = (bits * (np.uint64(1) << np.arange(32, dtype=np.uint64))).sum(axis=1)
    return np.asarray(items ^ flips.astype(np.uint32), dtype=np.uint32)


def asked(items: Items) -> tuple[Items, ...]:
    """A query of which every shift hears the same."""
    return (items,) * len(QUERY_SHIFTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    rows: Numbers
    works: Numbers
    positions: Numbers


class Shelf:
    """The smallest index: it compares every key with every item."""

    def __init__(self, **works: Items) -> None:
        self.works = works

    @property
    def item_count(self) -> int:
        return sum(map(len, self.works.values()))

    def lookup(self, keys: Items, *, limit: int) -> Found:
        mask = np.uint32(KEY_MASK)
        found = [np.zeros((0, 3), np.int64)]
        for number, items in enumerate(self.works.values()):
            row, place = np.nonzero((keys & mask)[:, np.newaxis] == items & mask)
            found.append(np.stack((row, np.full_like(row, number), place), axis=1))
        table = np.concatenate(found)
        counts = np.bincount(table[:, 0], minlength=len(keys))
        table = table[counts[table[:, 0]] <= limit]
        return Found(rows=table[:, 0], works=table[:, 1], positions=table[:, 2])

    def items(self, work: int) -> Items:
        return list(self.works.values())[work]

    def work_id(self, work: int) -> str:
        return list(self.works)[work]


# Found


@settings(max_examples=40, deadline=None)
@given(
    start=st.integers(0, 300),
    length=st.integers(40, 100),
    rate=st.floats(0.0, 0.06),
    seed=st.integers(0, 99),
)
def test_an_excerpt_is_found_where_it_was_cut(
    start: int, length: int, rate: float, seed: int
) -> None:
    work = noise(400, seed=seed)
    query = worn(work[start : start + length], rate=rate, seed=seed)

    (match,) = find_matches(asked(query), Shelf(a=work, b=noise(400, seed=seed + 100)))
    assert match.work_id == "a"
    found = match.reference_start_seconds - match.query_start_seconds
    assert found == pytest.approx(start * ITEM_SECONDS, abs=0.13)
    assert match.query_end_seconds - match.query_start_seconds > 0.9 * (length * ITEM_SECONDS)
    assert match.p_value <= 1e-3
    assert match.speed == 1.0


def test_a_melody_cut_between_hops_is_found_within_a_hop() -> None:
    wave = melody(40.0, seed=1)
    shelf = Shelf(
        song=fingerprint(wave, SAMPLE_RATE), other=fingerprint(melody(40.0, seed=2), SAMPLE_RATE)
    )
    start = 12.345
    excerpt = wave[:, round(start * SAMPLE_RATE) :][:, : 10 * SAMPLE_RATE]

    (match,) = find_matches(query_fingerprints(excerpt, SAMPLE_RATE), shelf)
    assert match.work_id == "song"
    assert match.reference_start_seconds - match.query_start_seconds == pytest.approx(
        start, abs=0.05
    )
    assert match.query_start_seconds == pytest.approx(0.0, abs=0.4)
    assert match.query_end_seconds == pytest.approx(10.0, abs=0.4)
    assert match.score > 0.9


def test_a_quotation_inside_other_music_is_found_with_its_ends() -> None:
    work = noise(400, seed=3)
    query = np.concatenate((noise(150, seed=4), work[100:180], noise(150, seed=5)))

    # In sound, the first item that agrees is a second of other music yet, the last one more.
    before, after = matching._STRANGE_BEFORE, matching._STRANGE_AFTER
    (match,) = find_matches(asked(query), Shelf(a=work))
    assert match.query_start_seconds == pytest.approx(150 * ITEM_SECONDS + before, abs=0.3)
    end = 229 * ITEM_SECONDS + SPAN_SECONDS - after
    assert match.query_end_seconds == pytest.approx(end, abs=0.3)
    lead = match.reference_start_seconds - match.query_start_seconds
    assert lead == pytest.approx((100 - 150) * ITEM_SECONDS, abs=0.01)
    assert match.reference_end_seconds - match.query_end_seconds == pytest.approx(lead, abs=0.01)


def test_a_query_that_is_all_quotation_is_told_from_end_to_end() -> None:
    work = noise(400, seed=3)
    (match,) = find_matches(asked(work[100:180]), Shelf(a=work))

    assert match.query_start_seconds == 0.0
    assert match.query_end_seconds == pytest.approx(79 * ITEM_SECONDS + SPAN_SECONDS)


def test_two_works_in_one_recording_are_two_matches_best_first() -> None:
    a, b = noise(200, seed=6), noise(200, seed=7)
    query = np.concatenate((worn(a[:90], rate=0.05, seed=0), b[50:150]))

    found = find_matches(asked(query), Shelf(a=a, b=b))
    assert [match.work_id for match in found] == ["b", "a"]


def test_a_quotation_with_a_gap_is_one_match() -> None:
    work = noise(300, seed=8)
    query = work[50:200].copy()
    query[60:80] = noise(20, seed=9)

    (match,) = find_matches(asked(query), Shelf(a=work))
    assert match.query_end_seconds - match.query_start_seconds > 18.0


def test_a_faster_copy_is_chained_and_its_speed_is_named() -> None:
    work = noise(600, seed=10)
    # 3 % faster: every 33 items of the query one item of the work is left out.
    query = work[100 + (np.arange(300) * 1.03).astype(int)]

    (match,) = find_matches(asked(query), Shelf(a=work))
    assert match.speed == pytest.approx(1.03, abs=0.005)
    assert match.query_end_seconds - match.query_start_seconds > 34.0
    assert match.reference_end_seconds == pytest.approx(
        (100 + 299 * 1.03) * ITEM_SECONDS + SPAN_SECONDS, abs=1.0
    )


def test_every_copy_of_a_recording_in_the_catalog_is_reported() -> None:
    work = noise(200, seed=11)

    found = find_matches(asked(work[20:100]), Shelf(first=work, second=work.copy()))
    assert {match.work_id for match in found} == {"first", "second"}


# Left alone


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 500))
def test_other_music_is_never_matched(seed: int) -> None:
    shelf = Shelf(**{f"w{i}": noise(300, seed=1000 + i) for i in range(4)})

    assert find_matches(asked(noise(80, seed=seed)), shelf) == ()


def test_another_melody_is_not_matched() -> None:
    shelf = Shelf(**{f"w{i}": fingerprint(melody(20.0, seed=i), SAMPLE_RATE) for i in range(6)})
    stranger = query_fingerprints(melody(10.0, seed=77), SAMPLE_RATE)

    assert find_matches(stranger, shelf) == ()


def test_silence_matches_nothing_not_even_silence() -> None:
    silence = np.full(100, SILENCE, np.uint32)

    assert find_matches(asked(silence), Shelf(quiet=silence)) == ()


def test_a_low_error_rate_alone_does_not_decide() -> None:
    # A drone: one item for ever, and a query that is near it by accident but never equal.
    drone = np.full(200, 0b1010 << 12, np.uint32)
    near = drone[:80] ^ np.uint32(1 << 26)
    near[:2] = drone[0]

    evidence = find_evidence(asked(near), Shelf(drone=drone))
    assert evidence
    assert evidence[0].error_rate < 0.04
    assert not evidence[0].satisfies(Rule())


def test_a_key_that_is_everywhere_brings_no_vote() -> None:
    everywhere = np.full(COMMON_POSTINGS + 1, 7 << 13, np.uint32)

    assert find_evidence(asked(everywhere[:80]), Shelf(a=everywhere)) == ()


def test_in_a_big_catalog_a_key_need_not_be_as_common_to_bring_no_vote(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    repeated = np.full(matching.BIG_COMMON_POSTINGS + 1, 7 << 13, np.uint32)

    assert find_evidence(asked(repeated[:80]), Shelf(a=repeated)) != ()

    monkeypatch.setattr(matching, "BIG_ITEMS", 0)

    assert find_evidence(asked(repeated[:80]), Shelf(a=repeated)) == ()


def test_numbers_too_large_to_be_packed_give_the_same_evidence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    work = noise(400, seed=1)
    query = asked(worn(work[100:200], rate=0.02, seed=2))
    packed = find_evidence(query, Shelf(a=noise(400, seed=3), b=work))
    monkeypatch.setattr(matching, "_NUMBER_BITS", 0)

    assert find_evidence(query, Shelf(a=noise(400, seed=3), b=work)) == packed
    assert packed[0].work == 1


def test_an_alignment_never_straddles_two_works() -> None:
    # Two halves of one sound in two works: each may only explain its own half.
    sound = noise(120, seed=12)
    shelf = Shelf(a=sound[:60], b=sound[60:])

    for match in find_matches(asked(sound), shelf):
        assert (
            match.query_end_seconds - match.query_start_seconds < 61 * ITEM_SECONDS + SPAN_SECONDS
        )
        assert match.reference_start_seconds >= 0


# The rule


def evidence(**changes: float) -> Evidence:
    facts: dict[str, float] = {
        "work": 0, "first": 0, "last": 58, "offset": 0, "drift": 0, "shift": 0,
        "error_rate": 0.04, "votes": 30, "windows": 3, "diversity": 0.9,
        "local_score": 18.0, "p_value": 1e-9,
    }  # fmt: skip
    return Evidence(**(facts | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "is_match"),
    [
        ({}, True),
        ({"error_rate": 0.26}, False),
        ({"votes": 2}, False),
        ({"votes": 7, "error_rate": 0.1}, False),
        ({"votes": 8, "error_rate": 0.1}, True),
        ({"votes": 4, "windows": 2, "error_rate": 0.05}, True),
        ({"votes": 4, "windows": 1, "error_rate": 0.05}, False),
        ({"votes": 4, "windows": 3, "error_rate": 0.075}, False),
        ({"last": 1999, "votes": 40, "error_rate": 0.2}, True),
        ({"p_value": 2e-3}, False),
        ({"last": 9, "votes": 10}, False),
    ],
    ids=[
        "ten clean seconds",
        "too many errors",
        "two exact keys",
        "too few exact keys for ten seconds",
        "just enough exact keys",
        "a copied tone",
        "a copied tone in one window",
        "a similar tone",
        "a long worn copy",
        "chance too high",
        "under four seconds",
    ],
)
def test_the_rule_asks_for_a_second_witness(changes: dict[str, float], is_match: bool) -> None:
    assert evidence(**changes).satisfies(Rule()) is is_match


@given(st.floats(0.0, 40.0), st.floats(0.0, 40.0), st.integers(1, 10**12))
def test_a_higher_score_is_never_more_likely_by_chance(a: float, b: float, search: int) -> None:
    low, high = sorted((a, b))

    assert 1e-12 <= chance(high, search) <= chance(low, search) <= 1.0


def test_a_larger_catalog_asks_for_more_evidence() -> None:
    assert chance(8.0, 10**9) > 10 * chance(8.0, 10**7)


def test_a_recording_too_short_to_compare_is_an_error_and_not_an_all_clear() -> None:
    empty = np.zeros(0, np.uint32)

    with pytest.raises(DetectorError, match=r"at least 2\.72 s"):
        find_matches(asked(empty), Shelf(a=noise(10, seed=0)))


def test_an_empty_catalog_matches_nothing() -> None:
    assert find_matches(asked(noise(60, seed=0)), Shelf()) == ()


# Comparison without an index


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(3, 220),
    lead=st.integers(0, 3),
    rate=st.floats(0.0, 0.08),
    seed=st.integers(0, 99),
)
def test_one_recording_is_the_same_at_any_length_from_three_seconds(
    n: int, lead: int, rate: float, seed: int
) -> None:
    a = noise(n + 3, seed=seed)
    b = worn(a[lead : lead + n], rate=min(rate, 0.6 * same_limit(n)), seed=seed)

    found = same_recording(a, b)
    assert found.same
    assert found.overlap_seconds == pytest.approx((n - 1) * ITEM_SECONDS + SPAN_SECONDS)
    assert similarity(a, b).shift_seconds == pytest.approx(lead * ITEM_SECONDS)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(3, 220), m=st.integers(3, 220), seed=st.integers(0, 99))
def test_other_recordings_are_different(n: int, m: int, seed: int) -> None:
    found = same_recording(noise(n, seed=seed), noise(m, seed=seed + 1000))

    assert not found.same
    assert found.bit_error_rate > 0.2


def test_an_excerpt_of_a_recording_is_the_same_recording() -> None:
    whole = noise(240, seed=1)

    assert same_recording(whole, worn(whole[100:160], rate=0.05, seed=1)).same
    assert same_recording(worn(whole[100:160], rate=0.05, seed=1), whole).same


def test_two_recordings_that_share_a_part_are_different() -> None:
    a, b = noise(240, seed=1), noise(240, seed=2)
    b[:100] = a[:100]

    assert not same_recording(a, b).same


def test_two_hours_are_compared_without_trying_every_shift() -> None:
    hour = noise(29_000, seed=1)

    found = similarity(hour, worn(hour[500:], rate=0.03, seed=1))
    assert found.shift_seconds == pytest.approx(500 * ITEM_SECONDS)
    assert found.bit_error_rate == pytest.approx(0.03, abs=0.005)


def test_nothing_is_not_the_same_as_anything() -> None:
    empty = np.zeros(0, np.uint32)

    assert not same_recording(empty, noise(40, seed=0)).same
    assert similarity(empty, empty).overlap_seconds == 0.0


@pytest.mark.parametrize(("items", "limit"), [(3, 0.14), (5, 0.19), (7, 0.20), (59, 0.20)])
def test_the_limit_is_as_documented(items: int, limit: float) -> None:
    assert same_limit(items) == pytest.approx(limit, abs=0.005)
