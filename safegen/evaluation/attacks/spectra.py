"""How is a sound taken apart into short spectra and put together again?"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import fft

Spectrum = npt.NDArray[np.complex64]
"""Shape (frames, window // 2 + 1); frame t is centered on sample t * hop."""

_LEAST: Final = 1e-8


def analyze(channel: npt.NDArray[np.floating[Any]], *, window: int, hop: int) -> Spectrum:
    """Transform one channel under a periodic Hann window.

    Args:
        channel: Shape (samples,).
        window: Even number of samples.
        hop: In samples, at most a quarter of the window for a faithful way back.
    """
    padded = np.pad(channel.astype(np.float32), (window // 2, window // 2 + hop))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
    return np.asarray(fft.rfft(frames * _hann(window), axis=1), dtype=np.complex64)


def synthesize(spectrum: Spectrum, *, window: int, hop: int, samples: int) -> npt.NDArray[Any]:
    """Add the frames up again, each windowed once more: least squares (Griffin and Lim 1984).

    Returns:
        Shape (samples,), float32.
    """
    shape = _hann(window)
    pieces = fft.irfft(spectrum, window, axis=1).astype(np.float32) * shape
    frames, parts = len(pieces), -(-window // hop)
    pieces = np.pad(pieces, ((0, 0), (0, parts * hop - window)))
    weight = np.pad(shape**2, (0, parts * hop - window))
    out = np.zeros((frames + parts) * hop, np.float32)
    total = np.zeros_like(out)
    for part in range(parts):
        rows = slice(part * hop, (part + frames) * hop)
        cut = slice(part * hop, (part + 1) * hop)
        out[rows] += pieces[:, cut].reshape(-1)
        total[rows] += np.tile(weight[cut], frames)
    out /= np.maximum(total, _LEAST)
    begin = window // 2
    missing = max(0, begin + samples - len(out))
    return np.asarray(np.pad(out, (0, missing))[begin : begin + samples], dtype=np.float32)


def _hann(window: int) -> npt.NDArray[np.float32]:
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)).astype(np.float32)
