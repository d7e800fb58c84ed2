"""Lines at the multiples of one frequency."""

import numpy as np
import pytest

from detectors.synthetic import comb
from detectors.synthetic.traces import (
    BIN_HZ,
    FIRST_BIN,
    SAMPLE_RATE,
    WINDOW_SAMPLES,
    Floats,
    residual,
)

SPACING = 22_050 / 256


def noise(seed: int) -> Floats:
    return np.random.default_rng(seed).standard_normal(WINDOW_SAMPLES).astype(np.float32) * 0.1


def with_lines(spacing_hz: float, *, level: float = 0.002, seed: int = 1) -> Floats:
    """Noise with weak steady lines, of random phases, at the multiples of a spacing."""
    time = np.arange(WINDOW_SAMPLES) / SAMPLE_RATE
    dice = np.random.default_rng(seed + 100)
    lines = sum(
        np.sin(2 * np.pi * k * spacing_hz * time + dice.uniform(0, 6.28))
        for k in range(1, int(7_900 / spacing_hz))
    )
    return np.asarray(noise(seed) + level * lines, dtype=np.float32)


def test_a_comb_far_below_the_noise_stands_out_at_its_spacing_alone() -> None:
    heard = residual(with_lines(SPACING))

    assert comb.measure(heard, SPACING).z > comb.STANDS_OUT
    assert abs(comb.measure(heard, 93.75).z) < 3.0
    assert abs(comb.measure(residual(noise(2)), SPACING).z) < 3.0


def test_known_decoders_are_named_by_stride_and_rate() -> None:
    found = comb.known(residual(with_lines(SPACING)))

    assert found[0].spacing_hz == pytest.approx(SPACING)
    assert "stride 256 at 22050 Hz" in found[0].reading
    assert comb.known(residual(noise(3))) == ()


@pytest.mark.parametrize("spacing", [86.1328125, 75.0, 137.3])
def test_the_blind_search_proposes_the_spacing_of_a_comb_that_nobody_named(spacing: float) -> None:
    found = comb.search(residual(with_lines(spacing, level=0.003)))

    assert found is not None
    ratio = found.spacing_hz / spacing
    assert ratio == pytest.approx(round(ratio), abs=0.003)


def test_the_blind_search_finds_nothing_in_noise() -> None:
    assert comb.search(residual(noise(4))) is None


def test_hum_of_the_mains_is_no_comb() -> None:
    time = np.arange(WINDOW_SAMPLES) / SAMPLE_RATE
    hum = sum(0.02 / k * np.sin(2 * np.pi * 50 * k * time) for k in range(1, 30))
    heard = residual(np.asarray(noise(5) + hum, dtype=np.float32))

    assert comb.measure(heard, 50.0).z < comb.STANDS_OUT
    assert comb.measure(heard, 100.0).z < comb.STANDS_OUT


def test_peaks_tell_which_comb_they_lie_on() -> None:
    sound = with_lines(SPACING, level=0.003)
    tone = 0.01 * np.sin(2 * np.pi * 3_000 * np.arange(WINDOW_SAMPLES) / SAMPLE_RATE)
    heard = residual(np.asarray(sound + tone, dtype=np.float32))
    found = comb.peaks(heard, comb.known(heard))
    alone = next(p for p in found if abs(p.hz - 3_000) < 2 * BIN_HZ)
    rest = [p for p in found if p.stride is not None]

    assert alone.stride is None
    assert rest
    assert all(p.stride == 256 for p in rest)
    assert all(abs(p.hz / SPACING - round(p.hz / SPACING)) * SPACING <= BIN_HZ for p in rest)
    assert [p.excess_db for p in found] == sorted((p.excess_db for p in found), reverse=True)


def test_the_template_weighs_what_the_measure_compares() -> None:
    heard = np.clip(residual(with_lines(SPACING)), -3.0, 5.0)
    weights = comb.template(SPACING)
    line = round(10 * SPACING / BIN_HZ) - FIRST_BIN

    assert weights.sum() == pytest.approx(0.0, abs=1e-9)
    assert weights[line] > 0
    assert weights @ heard > 3 * abs(weights @ residual(noise(6)))


def test_a_buzz_of_odd_harmonics_is_told_from_a_decoder_whose_lines_meet_the_mains() -> None:
    time = np.arange(WINDOW_SAMPLES) / SAMPLE_RATE
    dice = np.random.default_rng(7)
    odd = sum(
        0.003 * np.sin(2 * np.pi * 50 * k * time + dice.uniform(0, 6)) for k in range(1, 156, 2)
    )
    buzz = residual(np.asarray(noise(8) + odd, dtype=np.float32))
    decoder = residual(with_lines(50.0, level=0.003))

    assert comb.is_hum(buzz, 50.0)
    assert not comb.is_hum(decoder, 50.0)
    assert not comb.is_hum(buzz, SPACING)
    assert all(abs(c.spacing_hz - 50.0) > 1.0 for c in comb.known(buzz))
