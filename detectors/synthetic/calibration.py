"""What is a score worth? Scores of known sound, as a yardstick for the next one.

Two readings, and neither needs the other. The *p-value* asks how much of the real
calibration sound scores as high: rank it, count it (split conformal prediction, Vovk,
Gammerman and Shafer 2005). The *likelihood ratio* asks how much likelier the score is
for synthetic than for real sound: logistic regression on the score with both classes
weighted the same (Brummer and du Preez 2006), and never more than the number of sounds
can support. Without synthetic sound to compare with there is only the bound that a
p-value puts on it (Vovk 1993; Sellke, Bayarri and Berger 2001).

A yardstick is for one length of sound: longer sound gives steadier scores.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from detectors.errors import DetectorError

Floats = npt.NDArray[np.float64]

LEAST_REAL: Final = 30
"""Fewer real sounds than this calibrate nothing."""
LEAST_SYNTHETIC: Final = 10
_STEPS: Final = 50
_RIDGE: Final = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Yardstick:
    """Scores of known sound of one length.

    Attributes:
        seconds: Least length of the sound it is for.
        real: Scores of real sound, ascending, shape (n,).
        slope: Log likelihood ratio per unit of score; 0 without synthetic sound.
        offset: Log likelihood ratio of score 0.
        limit: Largest log likelihood ratio, either way, that the counts support.
    """

    seconds: float
    real: Floats
    slope: float
    offset: float
    limit: float

    def p_value(self, score: float) -> float:
        """Say how much of real sound scores as high, in (0, 1]."""
        above = len(self.real) - int(np.searchsorted(self.real, score, side="left"))
        return (above + 1) / (len(self.real) + 1)

    def llr(self, score: float) -> float:
        """Say how much likelier the score is for synthetic than for real sound, as ln."""
        return float(np.clip(self.evidence(score), -self.limit, self.limit))

    def evidence(self, score: float) -> float:
        """Give the ratio before it is cut at ``limit``: to rank by, not to believe."""
        if self.slope > 0.0:
            return self.slope * score + self.offset
        return bound(self.p_value(score))


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Yardsticks of every length, shortest first; at least one."""

    yardsticks: tuple[Yardstick, ...]

    def at(self, seconds: float) -> Yardstick:
        """Choose the longest yardstick that a sound of ``seconds`` reaches, else the shortest."""
        reached = [y for y in self.yardsticks if y.seconds <= seconds + 1e-6]
        return reached[-1] if reached else self.yardsticks[0]


def to_json(calibration: Calibration) -> list[dict[str, object]]:
    """Put a calibration into words; ``of_json`` reads it back."""
    return [
        {
            "seconds": y.seconds,
            "slope": y.slope,
            "offset": y.offset,
            "limit": y.limit,
            "real": [round(float(score), 5) for score in y.real],
        }
        for y in calibration.yardsticks
    ]


def of_json(rows: object) -> Calibration:
    """Read what ``to_json`` wrote; it may come from a file that somebody changed.

    Raises:
        DetectorError: If it is not a calibration.
    """
    try:
        if not isinstance(rows, list) or not rows:
            msg = "it lists no yardsticks"
            raise TypeError(msg)
        made = [
            Yardstick(
                seconds=float(row["seconds"]),
                real=np.sort(np.asarray(row["real"], dtype=np.float64)),
                slope=float(row["slope"]),
                offset=float(row["offset"]),
                limit=float(row["limit"]),
            )
            for row in rows
        ]
    except (KeyError, TypeError, ValueError) as error:
        msg = f"not a calibration: {error}"
        raise DetectorError(msg) from error
    numbers = np.concatenate([[y.seconds, y.slope, y.offset, y.limit, *y.real] for y in made])
    if not np.isfinite(numbers).all() or any(len(y.real) < LEAST_REAL for y in made):
        msg = f"not a calibration: scores are missing (at least {LEAST_REAL}) or not finite"
        raise DetectorError(msg)
    return Calibration(yardsticks=tuple(sorted(made, key=lambda y: y.seconds)))


def yardstick(
    real: Sequence[float] | Floats,
    synthetic: Sequence[float] | Floats = (),
    *,
    seconds: float = 0.0,
) -> Yardstick:
    """Make a yardstick from scores of sounds that no model was fitted on.

    Args:
        real: Scores of real sound, one per independent sound.
        synthetic: Scores of synthetic sound; may be empty.
        seconds: Length of the sounds.

    Raises:
        DetectorError: If there are too few scores, or one is not finite.
    """
    low, high = np.asarray(real, dtype=np.float64), np.asarray(synthetic, dtype=np.float64)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        msg = "a calibration score is not a finite number"
        raise DetectorError(msg)
    if len(low) < LEAST_REAL:
        msg = f"{len(low)} real sounds calibrate nothing, at least {LEAST_REAL}"
        raise DetectorError(msg)
    if 0 < len(high) < LEAST_SYNTHETIC:
        msg = f"{len(high)} synthetic sounds are too few, none or at least {LEAST_SYNTHETIC}"
        raise DetectorError(msg)
    slope, offset = _logistic(low, high) if len(high) else (0.0, 0.0)
    fewest = min(len(low), len(high)) if len(high) else len(low)
    return Yardstick(
        seconds=seconds,
        real=np.sort(low),
        slope=slope,
        offset=offset,
        limit=math.log(fewest + 1),
    )


def bound(p_value: float) -> float:
    """Give the largest log likelihood ratio that a p-value alone can stand for, at least 0."""
    if p_value >= 1 / math.e:
        return 0.0
    return -math.log(-math.e * p_value * math.log(p_value))


def probability(llr: float, prior: float) -> float:
    """Turn a likelihood ratio into a probability.

    Args:
        llr: Natural logarithm of the likelihood ratio.
        prior: Share of synthetic sound among what is judged, in (0, 1).
    """
    odds = llr + math.log(prior / (1.0 - prior))
    return 1.0 / (1.0 + math.exp(-odds)) if odds >= 0 else math.exp(odds) / (1.0 + math.exp(odds))


def _logistic(low: Floats, high: Floats) -> tuple[float, float]:
    """Fit log-odds = slope * score + offset by Newton steps, classes weighted the same.

    Targets are Platt's (1999), a little inside 0 and 1, so that classes which do not
    overlap give a finite slope.
    """
    scores = np.concatenate([low, high])
    middle, scale = float(scores.mean()), float(scores.std()) or 1.0
    x = (scores - middle) / scale
    target = np.concatenate(
        [np.full(len(low), 1.0 / (len(low) + 2)), np.full(len(high), 1 - 1.0 / (len(high) + 2))]
    )
    weight = np.concatenate(
        [np.full(len(low), 0.5 / len(low)), np.full(len(high), 0.5 / len(high))]
    )
    design = np.stack([x, np.ones_like(x)], axis=1)
    beta = np.zeros(2)
    for _ in range(_STEPS):
        p = 1.0 / (1.0 + np.exp(-np.clip(design @ beta, -30, 30)))
        gradient = design.T @ (weight * (p - target)) + _RIDGE * beta * [1.0, 0.0]
        curvature = (design * (weight * p * (1 - p))[:, None]).T @ design
        curvature += np.diag([_RIDGE, 1e-9])
        step = np.linalg.solve(curvature, gradient)
        beta = beta - np.clip(step, -2.0, 2.0)
        if float(np.abs(step).max()) < 1e-9:
            break
    slope = float(beta[0]) / scale
    return slope, float(beta[1]) - slope * middle
