"""Yardsticks: what a score is worth."""

import math

import numpy as np
import pytest

from detectors.errors import DetectorError
from detectors.synthetic.calibration import (
    Calibration,
    Yardstick,
    of_json,
    probability,
    to_json,
    yardstick,
)

DICE = np.random.default_rng(1)
REAL = DICE.normal(0.0, 1.0, 400)
FAKE = DICE.normal(3.0, 1.0, 300)


def test_the_p_value_counts_the_real_sound_that_scores_as_high() -> None:
    made = yardstick(list(range(99)))

    assert made.p_value(1000.0) == pytest.approx(1 / 100)
    assert made.p_value(-1.0) == 1.0
    assert made.p_value(49.0) == pytest.approx(51 / 100)


def test_p_values_of_fresh_real_sound_are_as_frequent_as_they_say() -> None:
    made = yardstick(REAL)
    fresh = np.random.default_rng(2).normal(0.0, 1.0, 2000)
    p = np.array([made.p_value(score) for score in fresh])

    assert np.mean(p <= 0.05) == pytest.approx(0.05, abs=0.02)
    assert np.mean(p <= 0.5) == pytest.approx(0.5, abs=0.06)


def test_the_likelihood_ratio_of_two_known_normals_is_recovered() -> None:
    made = yardstick(REAL, FAKE)

    # ln N(s; 3, 1) - ln N(s; 0, 1) = 3 s - 4.5.
    assert made.llr(1.5) == pytest.approx(0.0, abs=0.5)
    assert made.llr(2.0) - made.llr(1.0) == pytest.approx(3.0, abs=0.9)


def test_no_likelihood_ratio_is_larger_than_the_counts_support() -> None:
    made = yardstick(REAL, FAKE)

    assert made.llr(1e6) == pytest.approx(math.log(301))
    assert made.llr(-1e6) == pytest.approx(-math.log(301))


def test_without_synthetic_sound_a_p_value_bounds_the_likelihood_ratio() -> None:
    made = yardstick(REAL)

    assert made.llr(float(REAL.mean())) == 0.0
    p = made.p_value(1e9)
    assert made.llr(1e9) == pytest.approx(-math.log(-math.e * p * math.log(p)))


def test_classes_that_do_not_overlap_give_finite_ratios() -> None:
    made = yardstick(np.linspace(0, 1, 40), np.linspace(9, 10, 40))

    assert math.isfinite(made.slope)
    assert made.llr(9.5) > 1.0 > -1.0 > made.llr(0.5)


@pytest.mark.parametrize(
    ("real", "fake", "problem"),
    [
        (REAL[:29], (), "at least 30"),
        (REAL, FAKE[:3], "none or at least 10"),
        ([*REAL[:40], math.nan], (), "finite"),
    ],
)
def test_too_little_to_calibrate_with_is_refused(
    real: list[float], fake: list[float], problem: str
) -> None:
    with pytest.raises(DetectorError, match=problem):
        yardstick(real, fake)


def test_a_sound_is_measured_by_the_longest_yardstick_that_it_reaches() -> None:
    made = Calibration(yardsticks=(yardstick(REAL, seconds=4.0), yardstick(REAL / 2, seconds=20.0)))

    assert made.at(3.0).seconds == 4.0
    assert made.at(19.9).seconds == 4.0
    assert made.at(20.0).seconds == 20.0


def test_a_calibration_survives_json() -> None:
    made = Calibration(yardsticks=(yardstick(REAL, FAKE, seconds=4.0),))

    again = of_json(to_json(made))

    assert again.at(4.0).llr(1.2) == pytest.approx(made.at(4.0).llr(1.2))
    assert again.at(4.0).p_value(1.2) == pytest.approx(made.at(4.0).p_value(1.2), abs=1e-3)


@pytest.mark.parametrize(
    "rows",
    [
        [],
        {},
        [{"seconds": 4.0}],
        [{"seconds": 4.0, "slope": 1.0, "offset": 0.0, "limit": 1.0, "real": [1.0]}],
        [{"seconds": 4.0, "slope": math.inf, "offset": 0.0, "limit": 1.0, "real": [1.0] * 40}],
        [{"seconds": "a", "slope": 1.0, "offset": 0.0, "limit": 1.0, "real": [1.0] * 40}],
    ],
)
def test_a_calibration_that_somebody_changed_is_refused(rows: object) -> None:
    with pytest.raises(DetectorError, match="not a calibration"):
        of_json(rows)


def test_a_likelihood_ratio_and_a_prior_make_a_probability() -> None:
    assert probability(0.0, 0.5) == 0.5
    assert probability(0.0, 0.01) == pytest.approx(0.01)
    assert probability(math.log(99), 0.01) == pytest.approx(0.5)
    assert probability(-800.0, 0.5) == 0.0


def test_yardsticks_are_ascending() -> None:
    made: Yardstick = yardstick(REAL[::-1])

    assert np.all(np.diff(made.real) >= 0)
