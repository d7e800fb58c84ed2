import numpy as np
import pytest

from safegen.evaluation.generation_bench.frechet import between, frechet


def cloud(*, n: int, mean: float = 0.0, scale: float = 1.0, seed: int = 0) -> np.ndarray:
    return mean + scale * np.random.default_rng(seed).normal(size=(n, 4))


def test_a_cloud_is_at_no_distance_from_itself() -> None:
    assert frechet(cloud(n=50), cloud(n=50)) == pytest.approx(0.0, abs=1e-9)


def test_moved_clouds_are_as_far_apart_as_they_were_moved() -> None:
    one = cloud(n=50)

    assert frechet(one, one + 3.0) == pytest.approx(4 * 9.0)


def test_stretched_gaussians_have_the_distance_of_the_formula() -> None:
    one = cloud(n=50)

    # tr(C + 4C - 2 * 2C) = tr(C)
    assert frechet(one, one.mean(axis=0) + 2 * (one - one.mean(axis=0))) == pytest.approx(
        float(np.trace(np.cov(one, rowvar=False)))
    )


def test_it_does_not_matter_which_set_comes_first() -> None:
    one, other = cloud(n=60, seed=1), cloud(n=40, mean=0.5, scale=1.7, seed=2)

    assert frechet(one, other) == pytest.approx(frechet(other, one))


def test_few_points_in_many_dimensions_give_a_number_and_not_a_complex_one() -> None:
    dice = np.random.default_rng(0)

    assert frechet(dice.normal(size=(5, 200)), dice.normal(size=(6, 200))) > 0


def test_the_larger_set_is_cut_to_the_smaller_and_both_numbers_are_told() -> None:
    small = [cloud(n=3, seed=seed) for seed in range(4)]
    found = between(small, [cloud(n=3, seed=seed) for seed in range(9)])

    assert (found.sounds, found.embeddings) == (4, 12)
    assert found.value == pytest.approx(0.0, abs=1e-9)


def test_a_single_point_has_no_spread() -> None:
    with pytest.raises(ValueError, match="no spread"):
        frechet(cloud(n=1), cloud(n=5))
