"""The mark's pattern, code and bound; marking itself is tested in tests/safegen."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors import watermark as ear
from detectors.base import WatermarkFinding

KEY = b"a secret of thirty-two bytes ..."
OTHER = b"another secret, 32 bytes long..."

payloads = st.integers(0, 2**64 - 1)


def noise(seconds: float, *, seed: int, channels: int = 1) -> np.ndarray:
    generator = np.random.default_rng(seed)
    samples = round(seconds * ear.SAMPLE_RATE)
    return 0.1 * generator.standard_normal((channels, samples)).astype(np.float32)


@given(payload=payloads)
@settings(max_examples=25, deadline=None)
def test_every_id_is_decoded_from_its_own_code(payload: int) -> None:
    soft = 1.0 - 2.0 * ear.encode(payload)

    assert ear.decode(soft) == payload


@given(payload=payloads, seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_an_id_survives_noise_that_flips_a_tenth_of_its_code_bits(payload: int, seed: int) -> None:
    soft = 1.0 - 2.0 * ear.encode(payload)
    soft += 0.75 * np.random.default_rng(seed).standard_normal(len(soft))

    assert ear.decode(soft) == payload


def test_random_evidence_is_not_an_id() -> None:
    generator = np.random.default_rng(5)

    read = [ear.decode(generator.standard_normal(ear.CODE_BITS)) for _ in range(200)]

    assert read == [None] * 200


@pytest.mark.parametrize("payload", [-1, 2**64], ids=["negative", "65 bits"])
def test_an_id_out_of_range_is_refused(payload: int) -> None:
    with pytest.raises(ValueError, match="2\\*\\*64"):
        ear.encode(payload)


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="not 15"):
        ear.pattern(b"x" * 15)


def test_the_pattern_of_a_key_is_the_same_everywhere_and_forever() -> None:
    # Marked files outlive releases: if this fails, old marks can no longer be read.
    used = ear.pattern(KEY)

    digest = hashlib.sha256(used.signs.tobytes() + used.code_index.astype("<i2").tobytes())
    assert digest.hexdigest() == "c029931bcf2eb75352e4729d5abad324e2970d6b44ce3c7279ce6b0b17d77d58"


def test_a_pattern_is_balanced_and_every_code_bit_has_its_tiles() -> None:
    used = ear.pattern(KEY)

    uses = np.bincount(used.code_index[~used.is_sync], minlength=ear.CODE_BITS)
    assert used.is_sync.sum() == ear.SYNC_TILES
    assert uses.max() - uses.min() <= 1
    assert abs(float(used.signs.mean())) < 0.05


def test_two_keys_share_nothing_but_the_grid() -> None:
    one, other = ear.pattern(KEY), ear.pattern(OTHER)

    assert abs(float((one.signs * other.signs).mean())) < 0.05
    assert 0.05 < float((one.is_sync & other.is_sync).sum() / ear.SYNC_TILES) < 0.2


def test_ids_that_differ_in_one_bit_differ_in_many_tiles() -> None:
    used = ear.pattern(KEY)

    changed = ear.tile_signs(used, 0) != ear.tile_signs(used, 1)

    assert changed.mean() > 0.05
    assert not changed[used.is_sync].any()


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
    finding = ear.detect(waveform, sample_rate, keys={"a": KEY, "b": OTHER})

    assert not finding.detected
    assert finding.payload is None
    assert finding.intervals == ()
    assert 1e-4 < finding.p_value <= 1.0


def test_without_keys_nothing_is_found() -> None:
    finding = ear.detect(noise(5, seed=1), 16_000, keys={})

    assert finding == WatermarkFinding(
        detected=False, payload=None, p_value=1.0, z=0.0, key_id="", intervals=()
    )


def test_the_p_value_is_a_bound_on_unmarked_sound() -> None:
    # 400 independent keys on one sound with strong rhythm and pitch, the hardest case.
    seconds = np.arange(8 * ear.SAMPLE_RATE) / ear.SAMPLE_RATE
    tone = sum(np.sin(2 * np.pi * 220 * harmonic * seconds) / harmonic for harmonic in range(1, 20))
    sound = (0.2 * tone * (np.sin(2 * np.pi * 4 * seconds) > 0))[None].astype(np.float32)
    sound += 0.01 * noise(8, seed=3)
    keys = [hashlib.sha256(b"%d" % number).digest() for number in range(400)]
    windows = ear._windows(ear.listen(sound, ear.SAMPLE_RATE))

    best = np.array([ear._candidates(windows, {"k": key})[0].z for key in keys])
    p_values = ear.BLOCK_FRAMES * np.exp(-(best**2) / 2)

    assert np.mean(p_values < 0.1) <= 0.1
    assert p_values.min() > 1e-4
