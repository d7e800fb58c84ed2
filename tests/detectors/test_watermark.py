"""The searches and their bound; marking itself is tested in tests/safegen."""

import hashlib

import numpy as np
import pytest

from detectors import mark_search
from detectors import watermark as ear
from detectors.base import WatermarkFinding
from detectors.mark_pattern import pattern
from detectors.tiles import SAMPLE_RATE, listen

KEY = b"a secret of thirty-two bytes ..."
OTHER = b"another secret, 32 bytes long..."


def noise(seconds: float, *, seed: int, channels: int = 1) -> np.ndarray:
    generator = np.random.default_rng(seed)
    samples = round(seconds * SAMPLE_RATE)
    return 0.1 * generator.standard_normal((channels, samples)).astype(np.float32)


def pulsing(seconds: float) -> np.ndarray:
    """Strong rhythm and pitch, repeated to the sample every block: the hardest honest sound."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    tone = sum(np.sin(2 * np.pi * 220 * harmonic * time) / harmonic for harmonic in range(1, 20))
    block = (0.2 * tone * (np.sin(2 * np.pi * 4 * time) > 0))[: round(4.096 * SAMPLE_RATE)]
    block = block + noise(4.096, seed=3)[0] * 0.1
    return np.tile(block, -(-len(time) // len(block)))[None, : len(time)].astype(np.float32)


@pytest.mark.parametrize(
    ("waveform", "sample_rate"),
    [
        (np.zeros((1, 160_000), np.float32), 16_000),
        (np.full((2, 44_100), 0.5, np.float32), 44_100),
        (np.ones((1, 1), np.float32), 8_000),
        (noise(0.4, seed=1), 16_000),
        (noise(0.6, seed=1), 16_000),
        (noise(3, seed=1, channels=5), 1_000),
        (noise(3, seed=1), 384_000),
        (noise(2, seed=1), 22_051),
        (np.eye(1, 48_000, 24_000, dtype=np.float32), 16_000),
        (1e-20 * noise(3, seed=1), 16_000),
        (1e4 * noise(3, seed=1), 16_000),
    ],
    ids=[
        "silence",
        "constant",
        "one sample",
        "too short",
        "barely long enough",
        "five channels",
        "high rate",
        "prime rate",
        "one click",
        "tiny",
        "huge",
    ],
)
def test_odd_sounds_are_not_marked_and_raise_nothing(
    waveform: np.ndarray, sample_rate: int
) -> None:
    finding = ear.detect(waveform, sample_rate, keys={"a": KEY, "b": OTHER}, search=True)

    assert not finding.detected
    assert finding.payload is None
    assert finding.epoch is None
    assert finding.intervals == ()
    assert 1e-4 < finding.p_value <= 1.0


def test_without_keys_nothing_is_found() -> None:
    finding = ear.detect(noise(5, seed=1), 16_000, keys={}, search=True)

    assert finding == WatermarkFinding(
        detected=False, payload=None, p_value=1.0, z=0.0, key_id="", intervals=()
    )


@pytest.mark.parametrize("seconds", [8.0, 20.0])
def test_the_p_value_is_a_bound_on_unmarked_sound(seconds: float) -> None:
    grid = listen(pulsing(seconds), SAMPLE_RATE).grid()
    keys = [hashlib.sha256(b"%d" % number).digest() for number in range(150)]

    tried = [mark_search.aligned(grid, {"k": key}) for key in keys]

    p_values = np.array([np.exp(one.log_count - one.found[0].z ** 2 / 2) for one in tried])
    assert np.mean(p_values < 0.1) <= 0.1
    assert p_values.min() > 1e-4


def test_blocks_that_repeat_are_one_piece_of_evidence_not_many() -> None:
    # Ten identical blocks must give the same z as one: the coins are the same.
    used = pattern(KEY)
    tiles = np.random.default_rng(2).standard_normal((128, 37)).astype(np.float32)

    def laid(blocks: int) -> mark_search.Laid:
        return mark_search.Laid(
            values=np.tile(tiles, (blocks, 1)),
            frames=4.0 * np.arange(128 * blocks),
            first_slot=0,
        )

    once = mark_search.repeated(laid(1), used.presence).z
    assert mark_search.repeated(laid(10), used.presence).z == pytest.approx(once, rel=1e-5)


def test_searching_more_costs_evidence() -> None:
    grid = listen(noise(8, seed=1), SAMPLE_RATE).grid()
    spectrum = listen(noise(8, seed=1), SAMPLE_RATE)

    plain = mark_search.aligned(grid, {"a": KEY}).log_count
    two_keys = mark_search.aligned(grid, {"a": KEY, "b": OTHER}).log_count
    assert two_keys == pytest.approx(plain + np.log(2))
    assert mark_search.warped(spectrum, {"a": KEY}).log_count > plain + 9


def test_a_scale_that_would_make_p_values_smaller_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        ear.detect(noise(8, seed=4), SAMPLE_RATE, keys={"a": KEY}, search=False, inflation=0.9)
