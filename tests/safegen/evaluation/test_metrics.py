"""Rates carry the interval that their count allows."""

import pytest

from safegen.evaluation.metrics import wilson


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(0, 24, 0.0, 0.1380), (40, 40, 0.9124, 1.0), (5, 10, 0.2366, 0.7634)],
    ids=["none", "all", "half"],
)
def test_the_interval_is_the_published_one(hits: int, n: int, low: float, high: float) -> None:
    rate = wilson(hits, n)

    assert (rate.low, rate.high) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize(("hits", "n"), [(0, 0), (3, 2), (-1, 5)])
def test_what_is_no_share_is_refused(hits: int, n: int) -> None:
    with pytest.raises(ValueError, match="not a rate"):
        wilson(hits, n)
