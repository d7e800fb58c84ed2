"""How often is a sound that nobody marked called marked, and is the promised bound kept?

The p-value of the watermark is a bound that holds for any sound (``detectors.watermark``).
A proof can be wrong where a program is, so it is checked: unmarked sounds are listened to
with keys that marked nothing, and the share of p-values below each level is held against the
level. Where the share is larger beyond doubt, the statistic's scale is inflated until the
measured tail lies under the bound again; a scale below 1 is never used.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from math import log
from typing import Final

from scipy.stats import beta

from detectors.errors import DetectorError

LEVELS: Final = (0.1, 0.01, 1e-3, 1e-4, 1e-5, 1e-6)
"""P-values at which the tail is counted."""
_DOUBT: Final = 0.05
_LEAST_TRIED: Final = 512
"""Alignments of one block: the fewest that a p-value was corrected for."""
_SHIPPED: Final = "watermark-tail.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """What was counted on unmarked sound of one kind.

    Attributes:
        content: Name of the kind: "speech", "music", ...
        windows: Windows times keys that were listened to.
        at_most: How many p-values were at most each of ``LEVELS``.
    """

    content: str
    windows: int
    at_most: tuple[int, ...]

    @property
    def inflation(self) -> float:
        """Scale of the statistic that brings the counted tail under the bound, >= 1."""
        worst = 1.0
        for level, count in zip(LEVELS, self.at_most, strict=True):
            share = _least_share(count, self.windows)
            if share > level:
                tried = log(_LEAST_TRIED)
                worst = max(worst, ((tried - log(level)) / (tried - log(share))) ** 0.5)
        return worst


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The tails of all kinds of sound.

    Attributes:
        version: Names the watermark's code that was listened with.
        tails: One a kind.
    """

    version: str
    tails: tuple[Tail, ...]

    @property
    def inflation(self) -> float:
        """The worst of all kinds: which kind a sound is, is not known when it is heard."""
        return max((tail.inflation for tail in self.tails), default=1.0)

    @property
    def windows(self) -> int:
        """How many windows were listened to."""
        return sum(tail.windows for tail in self.tails)

    def to_json(self) -> str:
        """Write it as text."""
        rows = [
            {
                "content": tail.content,
                "windows": tail.windows,
                "p_at_most": {f"{p:g}": n for p, n in zip(LEVELS, tail.at_most, strict=True)},
                "inflation": round(tail.inflation, 4),
            }
            for tail in self.tails
        ]
        return json.dumps({"version": self.version, "tails": rows}, indent=1)


def counted(content: str, log_p: Iterable[float]) -> Tail:
    """Count natural logarithms of p-values of one kind of sound."""
    values = list(log_p)
    return Tail(
        content=content,
        windows=len(values),
        at_most=tuple(sum(value <= log(level) for value in values) for level in LEVELS),
    )


def parse(text: str) -> Calibration:
    """Read what ``Calibration.to_json`` wrote.

    Raises:
        DetectorError: If the text is not a calibration.
    """
    try:
        found = json.loads(text)
        return Calibration(
            version=str(found["version"]),
            tails=tuple(_tail(row) for row in found["tails"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DetectorError(f"the calibration of the watermark is damaged ({error})") from error


@lru_cache(maxsize=1)
def shipped() -> Calibration:
    """Give the calibration that comes with the package."""
    return parse(files("detectors").joinpath("weights", _SHIPPED).read_text("utf-8"))


def _tail(row: Mapping[str, object]) -> Tail:
    counts = row["p_at_most"]
    windows = int(str(row["windows"]))
    if not isinstance(counts, Mapping):
        raise TypeError("p_at_most is not a table")
    at_most = tuple(int(counts[f"{level:g}"]) for level in LEVELS)
    if windows < 0 or any(not 0 <= count <= windows for count in at_most):
        msg = f"{at_most} of {windows} windows"
        raise ValueError(msg)
    return Tail(content=str(row["content"]), windows=windows, at_most=at_most)


def _least_share(count: int, windows: int) -> float:
    """The share that the count shows beyond doubt (Clopper and Pearson 1934)."""
    return float(beta.ppf(_DOUBT, count, windows - count + 1)) if count else 0.0
