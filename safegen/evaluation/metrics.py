"""What can be said of a rate that was counted on few clips?"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

_Z95 = 1.959963984540054


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A share with its 95 % Wilson score interval.

    Attributes:
        hits: How often it happened, 0 <= hits <= n.
        n: How often it was tried, > 0.
        rate: hits / n.
        low: Lower end of the interval, in [0, 1].
        high: Upper end of the interval, in [0, 1].
    """

    hits: int
    n: int
    rate: float
    low: float
    high: float

    def as_json(self) -> dict[str, float | int]:
        """Round for a report."""
        return {
            "n": self.n,
            "hits": self.hits,
            "rate": round(self.rate, 4),
            "low95": round(self.low, 4),
            "high95": round(self.high, 4),
        }


def wilson(hits: int, n: int) -> Rate:
    """Compute the 95 % score interval, which stays honest at 0 and at n.

    Raises:
        ValueError: If n < 1 or hits is not in [0, n].

    Source: Wilson 1927, JASA 22(158), equation for the score interval.
    """
    if n < 1 or not 0 <= hits <= n:
        msg = f"{hits} of {n} is not a rate"
        raise ValueError(msg)
    share = hits / n
    center = (share + _Z95**2 / (2 * n)) / (1 + _Z95**2 / n)
    half = _Z95 / (1 + _Z95**2 / n) * sqrt(share * (1 - share) / n + _Z95**2 / (4 * n * n))
    return Rate(
        hits=hits,
        n=n,
        rate=share,
        low=0.0 if hits == 0 else max(0.0, center - half),
        high=1.0 if hits == n else min(1.0, center + half),
    )


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Correct p-values for how many were looked at, in their order.

    The smallest is multiplied by their number, the next by one less, and none becomes
    smaller than one before it: whoever calls those below 5 % findings is wrong about any
    of them in 5 % of all audits.

    Source: Holm 1979, Scandinavian Journal of Statistics 6(2).
    """
    corrected = [1.0] * len(p_values)
    largest = 0.0
    for rank, at in enumerate(sorted(range(len(p_values)), key=lambda at: p_values[at])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[at]))
        corrected[at] = largest
    return tuple(corrected)


def percent(rate: Rate | None) -> str:
    """Write a rate as people read it; never 100 % where one was missed."""
    if rate is None:
        return "–"
    if 0 < rate.hits < rate.n:
        return f"{min(max(100 * rate.rate, 0.1), 99.9):.1f} %"
    return f"{100 * rate.rate:.0f} %"


def between(rate: Rate | None) -> str:
    """Write the interval and what was counted."""
    if rate is None:
        return ""
    return f"{100 * rate.low:.1f}–{100 * rate.high:.1f} %, {rate.hits}/{rate.n}"
