"""Where do the drum meter's weights come from?

A logistic regression over two hundred training items, each heard clean and through the
codec, so that the meter does not mistake the codec's softness for missing drums. The
numbers in ``safegen.evaluation.meters`` are what ``fit_drums`` gives; ceilings and
benchmarks use other seeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from safegen.audio import Audio, resample
from safegen.evaluation.meters import SAMPLE_RATE, Floats, drums_features
from safegen.generation.codec import Codec
from safegen.generation.compose import compose
from safegen.generation.soundfont import SoundfontRenderer

SEEDS: Final = range(1_000_000, 1_000_200)
_PENALTY: Final = 0.003
_ROUNDS: Final = 12_000
_RATE: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class DrumWeights:
    """A linear score over ``drums_features``; above 0 means drums.

    Attributes:
        weights: Shape (6,).
        bias: Added to the weighted sum.
        accuracy: Share of the fitted sounds that are judged right.
    """

    weights: Floats
    bias: float
    accuracy: float


def fit_drums(
    soundfont: Path, codec: Codec, *, seeds: range = SEEDS, seconds: float = 10.0
) -> DrumWeights:
    """Fit the drum meter.

    Cost: about half a second of one core per seed.
    """
    renderer = SoundfontRenderer(soundfont)
    rows, drums = [], []
    for seed in seeds:
        plan = compose(seed)
        clean = renderer.render(plan, seconds=seconds)
        for audio in (clean, codec.decode(codec.latents(clean)[0])):
            rows.append(_features(audio))
            drums.append(plan.has_drums)
    return fit(np.array(rows), np.array(drums, dtype=np.float64))


def fit(features: Floats, drums: Floats) -> DrumWeights:
    """Regress the presence of drums, shape (n,) of 0 and 1, on features, shape (n, 6)."""
    mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-9
    x = (features - mean) / deviation
    slope, bias = np.zeros(x.shape[1]), 0.0
    for _ in range(_ROUNDS):
        wrong = 1 / (1 + np.exp(-(x @ slope + bias))) - drums
        slope -= _RATE * (x.T @ wrong / len(drums) + _PENALTY * slope)
        bias -= _RATE * float(wrong.mean())
    weights = slope / deviation
    offset = bias - float(mean @ weights)
    right = (features @ weights + offset > 0) == (drums > 0.5)
    return DrumWeights(weights=weights, bias=offset, accuracy=float(right.mean()))


def _features(audio: Audio) -> Floats:
    return drums_features(np.asarray(resample(audio, SAMPLE_RATE).mono(), dtype=np.float64))
