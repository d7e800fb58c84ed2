"""What can be counted of answers about sounds whose maker is known?"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from detectors.synthetic import trivial
from detectors.synthetic.finding import SynthesisVerdict
from safegen.evaluation.auditing.probe import Column, Groups, Separation, separations
from safegen.evaluation.metrics import Rate, wilson
from safegen.evaluation.synthetic_bench.heard import Judgement
from safegen.training.heads import eer as _eer

Floats = npt.NDArray[np.float64]

SYNTHETIC: Final = (
    SynthesisVerdict.OWN_GENERATOR,
    SynthesisVerdict.KNOWN_GENERATOR,
    SynthesisVerdict.SYNTHETIC_LIKELY,
)
"""Verdicts that call a sound synthetic."""
NAMED: Final = SYNTHETIC[:2]
LEAST_PROBED: Final = 10
"""Sounds of each class; of fewer the probe says nothing."""


def share(flags: Sequence[bool]) -> Rate | None:
    """Count; None of nothing."""
    return wilson(sum(flags), len(flags)) if flags else None


def as_json(rate: Rate | None) -> dict[str, float | int] | None:
    """Round for the output."""
    return None if rate is None else rate.as_json()


def called(judgements: Sequence[Judgement]) -> Rate | None:
    """Count the sounds that are called synthetic."""
    return share([j.finding.verdict in SYNTHETIC for j in judgements])


def named(judgements: Sequence[Judgement]) -> Rate | None:
    """Count the sounds whose verdict names their own generator."""
    return share([j.finding.generator == j.clip.generator for j in judgements])


def verdicts(judgements: Sequence[Judgement]) -> dict[str, Rate]:
    """Count each verdict; nothing of no sounds."""
    found = [j.finding.verdict for j in judgements]
    return {v.value: wilson(found.count(v), len(found)) for v in SynthesisVerdict if found}


def score_of(judgement: Judgement, entry: str) -> float:
    """Give the score of one head; nan if it did not judge."""
    for answer in judgement.finding.answers:
        if answer.name == entry and answer.applied:
            return answer.score
    return float("nan")


def scores_of(judgements: Sequence[Judgement], entry: str) -> Floats:
    """Give the scores of one head of all sounds that it judged."""
    found = np.array([score_of(j, entry) for j in judgements], dtype=np.float64)
    return found[np.isfinite(found)]


def eer(synthetic: Floats, real: Floats) -> float | None:
    """Give the equal error rate; None without sounds of both classes."""
    return _eer(synthetic, real) if len(synthetic) and len(real) else None


def area(synthetic: Sequence[float] | Floats, real: Sequence[float] | Floats) -> float | None:
    """Chance that a synthetic sound scores above a real one, ties half; None without both."""
    high, low = np.asarray(synthetic, dtype=np.float64), np.asarray(real, dtype=np.float64)
    if not (len(high) and len(low)):
        return None
    return float((high[:, None] > low).mean() + (high[:, None] == low).mean() / 2)


def cllr(synthetic: Sequence[float] | Floats, real: Sequence[float] | Floats) -> float | None:
    """Cost of log likelihood ratios in bits, both classes alike: 0 is perfect, 1 says nothing.

    Source: Brummer and du Preez, Computer Speech and Language 20 (2006), equation 31.
    """
    if not (len(synthetic) and len(real)):
        return None
    high, low = np.asarray(synthetic, dtype=np.float64), np.asarray(real, dtype=np.float64)
    bits = np.logaddexp(0.0, -high).mean() + np.logaddexp(0.0, low).mean()
    return float(bits / (2.0 * np.log(2.0)))


def brier(synthetic: Sequence[float] | Floats, real: Sequence[float] | Floats) -> float | None:
    """Mean squared error of probabilities, both classes alike: .25 says nothing at even odds."""
    if not (len(synthetic) and len(real)):
        return None
    high, low = np.asarray(synthetic, dtype=np.float64), np.asarray(real, dtype=np.float64)
    return float((((1.0 - high) ** 2).mean() + (low**2).mean()) / 2.0)


def miss_at(synthetic: Floats, real: Floats, rates: Floats) -> Floats:
    """Give the share of synthetic sound that is missed where so much real sound is called."""
    limits = np.quantile(real, 1.0 - rates)
    return np.array([float((synthetic <= limit).mean()) for limit in limits])


def probe(synthetic: Sequence[Judgement], real: Sequence[Judgement]) -> Separation | None:
    """Say how well features that prove nothing tell the classes apart, sources left out.

    Returns:
        None of fewer than ``LEAST_PROBED`` sounds of a class.
    """
    if min(len(synthetic), len(real)) < LEAST_PROBED:
        return None
    both = [*synthetic, *real]
    numbers = np.stack([j.pieces[0].trivial for j in both])
    is_fake = np.arange(len(both)) < len(synthetic)
    columns = [
        Column(name=name, unit="", values=numbers[:, at])
        for at, name in enumerate(trivial.trivial_names())
    ]
    groups = Groups(
        sources=np.array([j.clip.source for j in both]),
        generators=np.array([j.clip.generator for j in both]),
    )
    found = separations(columns, is_fake, groups)
    return found[0] if found else None


def rounded(value: float | None, digits: int = 4) -> float | None:
    """Round what may not be there."""
    return None if value is None else round(value, digits)
