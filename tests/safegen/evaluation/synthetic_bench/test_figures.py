import math

import numpy as np
import pytest

from detectors.synthetic.finding import SynthesisVerdict as V
from safegen.evaluation.synthetic_bench import figures
from safegen.evaluation.synthetic_bench.heard import Judgement
from tests.safegen.evaluation.synthetic_bench.rosters import judgement, piece


def test_a_likelihood_ratio_that_says_nothing_costs_one_bit() -> None:
    assert figures.cllr([0.0, 0.0], [0.0]) == pytest.approx(1.0)


def test_ratios_that_are_right_and_sure_cost_nothing_and_wrong_ones_more_than_a_bit() -> None:
    right, wrong = figures.cllr([20.0], [-20.0]), figures.cllr([-20.0], [20.0])

    assert right is not None
    assert right < 1e-6
    assert wrong == pytest.approx(20.0 / math.log(2.0), rel=1e-6)


def test_a_coin_has_a_brier_score_of_a_quarter_whatever_the_counts() -> None:
    assert figures.brier([0.5] * 9, [0.5]) == pytest.approx(0.25)


def test_both_classes_weigh_the_same_in_the_brier_score() -> None:
    assert figures.brier([1.0] * 99, [1.0]) == pytest.approx(0.5)


def test_ties_count_half_in_the_area_under_the_curve() -> None:
    assert figures.area([1.0, 0.0], [0.0, 0.0]) == pytest.approx(0.75)


def test_without_one_of_the_classes_there_is_no_figure() -> None:
    empty = np.zeros(0)

    assert figures.area([], [1.0]) is None
    assert figures.cllr([1.0], []) is None
    assert figures.brier([], []) is None
    assert figures.eer(empty, empty) is None
    assert figures.called([]) is None


def test_misses_fall_as_more_false_alarms_are_allowed() -> None:
    real, synthetic = np.arange(100.0), np.arange(50.0, 150.0)

    few, many = figures.miss_at(synthetic, real, np.array([0.01, 0.40]))

    assert few == pytest.approx(0.49, abs=0.02)
    assert many == pytest.approx(0.10, abs=0.02)


def test_only_verdicts_that_say_so_count_as_called_synthetic() -> None:
    rate = figures.called([judgement(verdict) for verdict in V])

    assert rate is not None
    assert (rate.hits, rate.n) == (3, 5)


def test_every_verdict_is_counted_and_they_add_up() -> None:
    rates = figures.verdicts([judgement(V.INCONCLUSIVE), judgement(V.SYNTHETIC_LIKELY)])

    assert sum(rate.hits for rate in rates.values()) == 2
    assert rates["inconclusive"].hits == 1


def _bunch(generator: str, shift: float) -> list[Judgement]:
    made = []
    for seed in range(20):
        each = piece(generator, source=f"{generator} {seed % 5}", seed=seed + 50 * bool(generator))
        each.trivial[:] += shift
        finding = judgement(V.INCONCLUSIVE).finding
        made.append(Judgement(pieces=(each,), seconds=4.0, finding=finding))
    return made


def test_the_probe_tells_classes_apart_that_differ_in_level_and_not_those_that_do_not() -> None:
    real = _bunch("", 0.0)
    louder, alike = figures.probe(_bunch("first", 3.0), real), figures.probe(real, real)

    assert louder is not None
    assert louder.auc > 0.95
    assert alike is not None
    assert alike.auc < 0.7


def test_a_handful_of_sounds_is_not_probed() -> None:
    assert figures.probe(_bunch("first", 3.0)[:5], _bunch("", 0.0)) is None
