"""What throws the phase away and makes another: the proxies for neural vocoders.

No weights are needed. Griffin-Lim keeps the magnitudes, ``mel`` keeps only as many
mel bands as text-to-speech vocoders are given, and both find phases by iteration.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from safegen.audio import Audio, resample
from safegen.evaluation.attacks.base import Floats, fit, generator, like
from safegen.evaluation.attacks.spectra import analyze, synthesize

_WINDOW: Final = 1024
_HOP: Final = 256
_MOMENTUM: Final = 0.99
_MEL_RATE: Final = 24_000
"""Rate in Hz at which neural vocoders commonly work; faster sounds lose what is above."""


def griffin_lim(audio: Audio, *, rounds: int) -> Audio:
    """Keep the magnitudes and find phases anew, starting from random ones.

    Source: Perraudin, Balazs and Sondergaard 2013, the fast variant.
    """
    random = generator(audio)
    out = [
        _phases(np.abs(analyze(channel, window=_WINDOW, hop=_HOP)), rounds, len(channel), random)
        for channel in audio.waveform
    ]
    return like(np.stack(out), audio)


def mel(audio: Audio, *, bands: int, rounds: int) -> Audio:
    """Keep the power in ``bands`` mel bands, spread it back and find phases."""
    low = resample(audio, min(_MEL_RATE, audio.sample_rate))
    matrix = _mel_matrix(low.sample_rate, bands)
    # The transpose, weighted by how much each bin is seen, spreads a band over its bins.
    spread = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1e-9)
    random = generator(audio)
    out = []
    for channel in low.waveform:
        power = np.abs(analyze(channel, window=_WINDOW, hop=_HOP)) ** 2
        weight = np.maximum(matrix.sum(axis=0), 1e-9)
        coarse = (power @ spread.T) @ matrix / weight
        out.append(_phases(np.sqrt(coarse), rounds, len(channel), random))
    back = resample(like(np.stack(out), low), audio.sample_rate)
    return fit(back.waveform, audio)


def _phases(
    size: npt.NDArray[np.floating[Any]], rounds: int, samples: int, random: np.random.Generator
) -> Floats:
    """Find a sound whose magnitudes are close to ``size``."""
    size = size.astype(np.float32)
    turn = random.uniform(-np.pi, np.pi, size.shape).astype(np.float32)
    spectrum = (size * np.exp(1j * turn)).astype(np.complex64)
    previous = np.zeros_like(spectrum)
    for _ in range(rounds):
        sound = synthesize(spectrum, window=_WINDOW, hop=_HOP, samples=samples)
        found = analyze(sound, window=_WINDOW, hop=_HOP)
        ahead = found + _MOMENTUM * (found - previous)
        previous = found
        spectrum = (size * ahead / np.maximum(np.abs(ahead), 1e-9)).astype(np.complex64)
    return synthesize(spectrum, window=_WINDOW, hop=_HOP, samples=samples)


def _mel_matrix(sample_rate: int, bands: int) -> npt.NDArray[np.float32]:
    """Triangles on the mel scale from 0 to half the rate, shape (bands, bins).

    Source: O'Shaughnessy 1987, 2595 log10(1 + f / 700).
    """
    hertz = np.fft.rfftfreq(_WINDOW, 1 / sample_rate)
    edges = 700 * (
        10 ** (np.linspace(0, 2595 * np.log10(1 + sample_rate / 1400), bands + 2) / 2595) - 1
    )
    left, center, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    up, down = (hertz - left) / (center - left), (right - hertz) / (right - center)
    triangles = np.maximum(np.minimum(up, down), 0.0)
    # The lowest bands are narrower than a bin: each takes at least the bin nearest to it.
    nearest = np.argmin(np.abs(hertz - center), axis=1)
    triangles[np.arange(bands), nearest] = np.maximum(triangles[np.arange(bands), nearest], 0.1)
    return triangles.astype(np.float32)
