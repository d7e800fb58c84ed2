"""A change made piece by piece is the change made to the whole."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.base import Waveform
from safegen import watermark
from safegen.overlapping import Overlapping
from tests.safegen.conftest import tones

KEY = bytes(range(32))


def smooth(waveform: Waveform, _: int) -> Waveform:
    """Average each sample with the ten to either side."""
    padded = np.pad(waveform, ((0, 0), (10, 10)))
    rows = np.lib.stride_tricks.sliding_window_view(padded, 21, axis=1)
    return np.asarray(rows.mean(axis=2), dtype=np.float32)


def fed(change: Overlapping, waveform: Waveform, cuts: list[int]) -> Waveform:
    """Feed a waveform in pieces that end at the cuts."""
    places = [0, *sorted(cuts), waveform.shape[1]]
    parts = [change.feed(waveform[:, a:b]) for a, b in pairwise(places)]
    return np.concatenate([*parts, change.finish()], axis=1)


@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(0, 400), max_size=6), grid=st.sampled_from([1, 7, 32]))
def test_pieces_of_any_size_give_what_the_whole_gives(cuts: list[int], grid: int) -> None:
    sound = np.random.default_rng(1).standard_normal((2, 400)).astype(np.float32)

    found = fed(Overlapping(smooth, margin=10, grid=grid), sound, cuts)

    assert found.shape == sound.shape
    np.testing.assert_array_equal(found, smooth(sound, 0))


def test_too_small_a_margin_would_be_noticed() -> None:
    sound = np.random.default_rng(1).standard_normal((1, 400)).astype(np.float32)

    found = fed(Overlapping(smooth, margin=5), sound, [100, 200, 300])

    assert not np.array_equal(found, smooth(sound, 0))


@pytest.mark.parametrize("rate", [16_000, 22_050, 32_000, 44_100, 48_000])
def test_a_mark_made_in_pieces_is_the_mark_of_the_whole(rate: int) -> None:
    audio = tones(5, seconds=4.0, sample_rate=rate)
    loud = np.clip(audio.waveform * 4.0, -1.0, 1.0)  # where the mark must give way to peaks
    whole = watermark.embed(
        type(audio)(waveform=loud, sample_rate=rate), payload=0xABCD, key=KEY, epoch=7
    )

    marks = watermark.embed_pieces(rate, payload=0xABCD, key=KEY, epoch=7)
    found = fed(marks, loud, [1, 1000, 1001, rate, rate + 4321, 3 * rate])

    assert found.shape == loud.shape
    assert not np.allclose(found, loud, atol=1e-3)
    np.testing.assert_allclose(found, whole.waveform, atol=1e-5)


def test_a_mark_in_pieces_refuses_a_word_out_of_range_before_the_first() -> None:
    with pytest.raises(ValueError, match=r"epoch|word|range"):
        watermark.embed_pieces(32_000, payload=1, key=KEY, epoch=1 << 16)


def test_nothing_fed_is_an_error() -> None:
    with pytest.raises(ValueError, match="no samples"):
        Overlapping(smooth, margin=1).finish()
