"""Attackers with more than one sound: what they can do to a mark of known strength.

The marks here are toys with the real grid, so that an attack is measured and not the mark.
"""

import numpy as np
import pytest
from scipy.signal import fftconvolve

from safegen import watermark
from safegen.audio import Audio
from safegen.evaluation.attacks.adversarial import (
    KEYED_GRID,
    collude,
    copy_residual,
    estimate_signs,
    mark_and_subtract,
    overwrite,
    remove_signs,
)
from safegen.evaluation.attacks.base import Floats, like

SIGNS = np.random.default_rng(99).choice([-1.0, 1.0], (KEYED_GRID.slots, KEYED_GRID.bands))
STRENGTH = 0.3


def noise(seed: int, *, seconds: float = 10.0, sample_rate: int = 16_000) -> Audio:
    """Noise that swells and fades, colored like a voice."""
    random = np.random.default_rng(seed)
    samples = round(seconds * sample_rate)
    color = np.exp(-np.arange(40) / 4.0)
    swell = 0.3 + np.abs(np.sin(np.arange(samples) / sample_rate * (2 + seed % 3)))
    waveform = 0.05 * swell * fftconvolve(random.standard_normal(samples), color, mode="same")
    return Audio(waveform=waveform.astype(np.float32)[None], sample_rate=sample_rate)


def toy(audio: Audio, signs: Floats = SIGNS) -> Audio:
    """Mark with the real grid: removing the opposite of a pattern writes it."""
    return remove_signs(audio, -np.asarray(signs, np.float64), KEYED_GRID, strength=STRENGTH)


def agreement(audio: Audio, signs: Floats) -> float:
    """Correlate the tiles with a pattern: about a standard normal without the mark."""
    found = estimate_signs([audio], KEYED_GRID)
    return float((found * signs).sum() / np.sqrt((found**2).sum()))


def test_the_grid_is_the_detectors() -> None:
    # Of clips under one key and id, what repeats on this grid is the mark.
    ids = [watermark.embed(noise(seed), payload=5, key=b"a key of 16 byte") for seed in range(5)]
    bare = [noise(seed) for seed in range(5)]

    marked, unmarked = (
        float(np.mean(estimate_signs(clips, KEYED_GRID) ** 2)) for clips in (ids, bare)
    )

    assert KEYED_GRID.block_seconds == pytest.approx(4.096)
    assert marked > 1.3 * unmarked


def test_averaging_many_blocks_of_one_pattern_tells_its_signs() -> None:
    clips = [toy(noise(seed)) for seed in range(5)]

    few = np.mean(np.sign(estimate_signs(clips[:1], KEYED_GRID)) == SIGNS)
    many = np.mean(np.sign(estimate_signs(clips, KEYED_GRID)) == SIGNS)

    assert many > few > 0.6
    assert many > 0.8


def test_what_averaging_learned_removes_the_pattern_from_another_sound() -> None:
    learned = estimate_signs([toy(noise(seed)) for seed in range(5)], KEYED_GRID)
    victim = toy(noise(77))

    washed = remove_signs(victim, learned, KEYED_GRID, strength=STRENGTH)

    assert agreement(victim, SIGNS) > 15
    assert agreement(washed, SIGNS) < agreement(victim, SIGNS) / 3


def test_averaging_unmarked_sound_learns_nothing() -> None:
    learned = estimate_signs([noise(seed) for seed in range(5)], KEYED_GRID)

    assert np.mean(np.sign(learned) == SIGNS) == pytest.approx(0.5, abs=0.03)


def test_averaging_needs_a_whole_block() -> None:
    with pytest.raises(ValueError, match=r"at least 4\.10 s"):
        estimate_signs([noise(1, seconds=4.0)], KEYED_GRID)


@pytest.mark.parametrize("sample_rate", [16_000, 22_050])
def test_removing_signs_keeps_the_shape(sample_rate: int) -> None:
    sound = noise(3, seconds=5.0, sample_rate=sample_rate)

    after = remove_signs(sound, SIGNS, KEYED_GRID, strength=STRENGTH)

    assert after.waveform.shape == sound.waveform.shape


def test_a_pasted_residual_is_heard_in_the_recording_it_was_pasted_on() -> None:
    original, target = noise(1), noise(2)

    forged = copy_residual(toy(original), original, target=target)

    assert forged.waveform.shape == target.waveform.shape
    assert agreement(forged, SIGNS) > agreement(target, SIGNS) + 1


def test_a_residual_is_fitted_to_the_rate_channels_and_length_of_the_target() -> None:
    original = noise(1, seconds=5.0)
    target = like(np.repeat(noise(2, sample_rate=44_100).waveform, 2, axis=0), noise(2))
    target = Audio(waveform=target.waveform, sample_rate=44_100)

    forged = copy_residual(toy(original), original, target=target)

    assert forged.waveform.shape == (2, 220_500)


def test_the_mean_of_two_copies_weakens_both_marks() -> None:
    sound = noise(4)
    other = np.random.default_rng(7).choice([-1.0, 1.0], SIGNS.shape)
    copies = [toy(sound), toy(sound, other)]

    mean = collude(copies)

    for copy, signs in zip(copies, (SIGNS, other), strict=True):
        assert agreement(mean, signs) < agreement(copy, signs)


@pytest.mark.parametrize("copies", [[noise(1)], [noise(1), noise(1, seconds=5.0)]])
def test_collusion_needs_two_copies_of_one_shape(copies: list[Audio]) -> None:
    with pytest.raises(ValueError, match="two or more copies of one shape"):
        collude(copies)


def test_subtracting_a_second_mark_undoes_a_mark_without_a_key() -> None:
    marked = toy(noise(5))

    washed = mark_and_subtract(marked, toy)

    assert agreement(washed, SIGNS) < agreement(marked, SIGNS) / 2


def test_overwriting_adds_the_attackers_mark_to_ours() -> None:
    other = np.random.default_rng(8).choice([-1.0, 1.0], SIGNS.shape)

    both = overwrite(toy(noise(6)), lambda audio: toy(audio, other))

    assert agreement(both, SIGNS) > 8
    assert agreement(both, other) > 8
