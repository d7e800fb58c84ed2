"""Votes: places with many are kept, single ones go before they cost time."""

import numpy as np
import pytest

from detectors import votes


def test_votes_that_are_alone_are_left_out_unsorted() -> None:
    random = np.random.default_rng(0)
    works = random.integers(0, 100_000, 500_000)
    diagonals = random.integers(0, 15_000, 500_000)
    # Six votes for one place, three on each side of the edge of a bucket.
    works[:6], diagonals[:6] = 77, (8 * 500 - 1, 8 * 500 - 1, 8 * 500 - 1, *[8 * 500] * 3)
    kept = votes._crowded(works, diagonals)

    assert kept[:6].all()
    assert kept.mean() < 0.1


@pytest.mark.parametrize("count", [1, 3, 7, 20])
def test_the_largest_values_come_first_and_ties_in_their_order(count: int) -> None:
    values = np.array([3, 1, 4, 1, 5, 9, 2, 6, 5, 3])

    expected = np.argsort(-values, kind="stable")[:count]
    np.testing.assert_array_equal(votes._largest(values, count), expected)
