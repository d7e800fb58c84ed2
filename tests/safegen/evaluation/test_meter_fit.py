import numpy as np

from safegen.evaluation.meter_fit import fit


def test_a_separable_set_is_separated() -> None:
    dice = np.random.default_rng(0)
    drums = (np.arange(60) % 2).astype(np.float64)
    features = dice.normal(size=(60, 6))
    features[:, 3] += 6.0 * drums
    found = fit(features, drums)

    assert found.accuracy == 1.0
    assert int(np.abs(found.weights).argmax()) == 3
