import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors import agreement
from detectors.agreement import BarIndex, Bars, CodeIndex, Codes, ItemIndex
from detectors.chromaprint import ITEM_SECONDS, SPAN_SECONDS, Items
from detectors.memorization import (
    FLAG_SCORE,
    FRAME_SECONDS,
    Calibration,
    FingerprintRung,
    PlanRung,
    Query,
    TokenRung,
    calibrate,
    examine,
)

PIECES = 300
FRAMES = 250
SIZE = 1024
SCALE = Calibration(chance=0.2, limit=0.6, pieces=100)


def some_bars(count: int, *, seed: int) -> Bars:
    """Melodies that hold a third of their slots, over one of five chords."""
    dice = np.random.default_rng(seed)
    notes = dice.integers(2, 9, (count, 5, 8))
    rows = np.where(dice.random((count, 5, 8)) < 0.3, 1, notes)
    return np.concatenate([rows, dice.integers(0, 5, (count, 5, 1))], axis=2).astype(np.uint8)


def some_codes(count: int, *, seed: int) -> Codes:
    return np.random.default_rng(seed).integers(0, SIZE, (count, FRAMES)).astype(np.int16)


def some_items(count: int, *, seed: int) -> Items:
    return np.random.default_rng(seed).integers(0, 2**32, (count, 58), dtype=np.uint32)


class Memory:
    """A model that learned from 300 random pieces."""

    names = tuple(f"piece {i}" for i in range(PIECES))
    bars = some_bars(PIECES, seed=1)
    codes = some_codes(PIECES, seed=2)
    items = some_items(PIECES, seed=3)
    plans = PlanRung(index=BarIndex(bars), names=names, calibration=SCALE)
    tokens = TokenRung(index=CodeIndex(codes, size=SIZE), names=names, calibration=SCALE)
    fingerprints = FingerprintRung(index=ItemIndex(items), names=names, calibration=SCALE)


def query(
    *, bars: Bars | None = None, codes: Codes | None = None, items: Items | None = None
) -> Query:
    return Query(bars=bars, bar_seconds=2.0, codes=codes, items=items)


def damaged(codes: Codes, *, share: float, seed: int) -> Codes:
    """Replace a share of the codes by others."""
    dice = np.random.default_rng(seed)
    other = dice.integers(0, SIZE, codes.shape).astype(np.int16)
    return np.where(dice.random(codes.shape) < share, other, codes)


@pytest.mark.parametrize("piece", [0, 17, 299])
def test_a_copied_score_is_found_with_its_item(piece: int) -> None:
    finding = examine(query(bars=Memory.bars[piece]), Memory())

    assert finding.flag
    assert finding.score == pytest.approx(1.0)
    assert (finding.nearest_item, finding.rung) == (f"piece {piece}", "plan")
    assert finding.plan_agreement == pytest.approx(1.0)
    assert finding.token_agreement is None
    assert finding.fingerprint_agreement is None


def test_three_copied_bars_in_another_place_are_found_where_they_are() -> None:
    bars = some_bars(1, seed=99)[0]
    bars[2:5] = Memory.bars[7, 0:3]

    finding = examine(query(bars=bars), Memory())

    assert finding.nearest_item == "piece 7"
    assert [(x.start_seconds, x.end_seconds) for x in finding.intervals] == [(4.0, 10.0)]


@pytest.mark.parametrize(
    ("piece", "start", "share"), [(0, 0, 0.0), (7, 31, 0.2), (150, 100, 0.3), (299, 3, 0.3)]
)
def test_a_stretch_of_copied_tokens_is_found_at_any_offset(
    piece: int, start: int, share: float
) -> None:
    codes = some_codes(1, seed=50)[0]
    copied = Memory.codes[piece, start : start + 140]
    codes[60:200] = damaged(copied, share=share, seed=piece)

    finding = examine(query(codes=codes), Memory())

    assert finding.flag
    assert finding.nearest_item == f"piece {piece}"
    assert finding.token_agreement is not None
    assert finding.token_agreement >= 0.6
    assert 60 * 0.04 - 2.0 <= finding.intervals[0].start_seconds <= 75 * 0.04 + 2.0


def test_a_recording_with_a_fifth_of_its_bits_wrong_is_found_by_its_fingerprint() -> None:
    dice = np.random.default_rng(5)
    flips = np.packbits(dice.random((58, 32)) < 0.18, axis=1).view(np.uint32)[:, 0]

    finding = examine(query(items=Memory.items[42, 8:] ^ flips[8:]), Memory())

    assert finding.flag
    assert (finding.nearest_item, finding.rung) == ("piece 42", "fingerprint")
    assert finding.fingerprint_agreement == pytest.approx(1 - 2 * 0.18, abs=0.05)
    assert finding.intervals[0].start_seconds == 0.0
    assert finding.intervals[0].end_seconds == pytest.approx(49 * ITEM_SECONDS + SPAN_SECONDS)


def test_unrelated_pieces_are_not_flagged() -> None:
    bars, codes = some_bars(20, seed=11), some_codes(20, seed=12)
    items = some_items(20, seed=13)

    findings = [
        examine(query(bars=b, codes=c, items=i), Memory())
        for b, c, i in zip(bars, codes, items, strict=True)
    ]

    assert not any(finding.flag for finding in findings)
    assert max(finding.score for finding in findings) < FLAG_SCORE
    assert all(finding.intervals == () for finding in findings)


def test_ten_held_chords_are_no_evidence() -> None:
    # The false alarm this guards against: silence agrees with everybody's silence.
    index = CodeIndex(np.full((5, FRAMES), 3, dtype=np.int16), size=SIZE)

    assert index.best(np.full(FRAMES, 3, dtype=np.int16)) is None


def test_a_score_without_notes_is_no_evidence() -> None:
    rows = some_bars(50, seed=1)
    rows[:10, :, :8] = 1

    assert BarIndex(rows).best(rows[0]) is None


def test_silence_has_no_fingerprint_to_compare() -> None:
    assert ItemIndex(Memory.items).best(np.full(58, 627_964_279, dtype=np.uint32)) is None


def test_an_output_with_nothing_to_compare_scores_zero() -> None:
    finding = examine(query(), Memory())

    assert (finding.flag, finding.score, finding.nearest_item) == (False, 0.0, "")


def test_short_outputs_are_not_compared_by_token_or_fingerprint() -> None:
    short = query(codes=Memory.codes[0, :100], items=Memory.items[0, :20])

    finding = examine(short, Memory())

    assert finding.token_agreement is None
    assert finding.fingerprint_agreement is None


def test_the_highest_rung_decides_and_rungs_are_not_averaged() -> None:
    finding = examine(
        query(bars=Memory.bars[3], codes=some_codes(1, seed=8)[0], items=Memory.items[9]),
        Memory(),
    )

    assert finding.score == pytest.approx(1.0)
    assert finding.token_agreement is not None
    assert finding.token_agreement < 0.2


@given(share=st.floats(0, 1), more=st.floats(0, 1))
def test_more_agreement_never_scores_lower(share: float, more: float) -> None:
    low, high = sorted((share, more))

    assert SCALE.score(low) <= SCALE.score(high)
    assert SCALE.score(SCALE.limit) == pytest.approx(FLAG_SCORE)


def test_the_limit_lies_above_all_that_unrelated_pieces_reached() -> None:
    shares = np.random.default_rng(4).gumbel(0.3, 0.03, 500)

    scale = calibrate(shares)

    assert scale.limit == pytest.approx(shares.max() + shares.std() / 4)
    assert scale.chance == pytest.approx(0.311, abs=0.01)


def test_a_full_copy_is_flagged_even_where_chance_reaches_far() -> None:
    scale = calibrate(np.linspace(0.5, 1.0, 50))

    assert scale.score(1.0) > FLAG_SCORE


def test_too_few_pieces_do_not_calibrate() -> None:
    with pytest.raises(ValueError, match="19 unrelated pieces"):
        calibrate(np.zeros(19))


def test_frequent_tokens_weigh_less_than_rare_ones() -> None:
    codes = some_codes(50, seed=2)
    codes[:, ::2] = 7
    rare, frequent = codes[3].copy(), codes[3].copy()
    rare[1::2] = some_codes(1, seed=77)[0, 1::2]
    frequent[::2] = some_codes(1, seed=78)[0, ::2]
    index = CodeIndex(codes, size=SIZE)

    without_rare, without_frequent = index.best(rare), index.best(frequent)

    assert without_frequent is not None
    assert without_frequent.share > 0.4
    assert without_rare is None or without_rare.share < without_frequent.share


def test_windows_hold_five_seconds() -> None:
    assert pytest.approx(5.0) == agreement.WINDOW_FRAMES * FRAME_SECONDS
