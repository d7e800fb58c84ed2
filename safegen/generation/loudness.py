"""How loud is a sound, and how do its peaks stay within full scale while it is still made?"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.signal import freqz, stft

from safegen.audio import Audio, Waveform

PEAK: Final = 0.98
STRETCH: Final = 640
"""Samples that the limiter looks at together: 20 ms at 32 kHz."""

_FFT: Final = 2048
_PIECE: Final = 1 << 20
_SHELF: Final = (
    (1.53512485958697, -2.69169618940638, 1.19839281085285),
    (1.0, -1.69065929318241, 0.73248077421585),
)
_HIGH_PASS: Final = ((1.0, -2.0, 1.0), (1.0, -1.99004745483398, 0.99007225036621))
_WEIGHTING_RATE: Final = 48_000


def loudness(audio: Audio) -> float:
    """Measure the root mean square of the K-weighted sound, without gates; 0 is silence.

    Source: ITU-R BS.1770-4, tables 1 and 2, as weights on the bins of a spectrogram.
    """
    mono = audio.mono()
    weights = _weights(audio.sample_rate)
    energy = 0.0
    for at in range(0, len(mono), _PIECE):
        piece = mono[at : at + _PIECE]
        _, _, spectrum = stft(
            np.pad(piece, (0, max(0, _FFT - len(piece)))), nperseg=_FFT, scaling="psd"
        )
        # Half of the bins, at every half window: the two halves make one whole.
        energy += float((np.abs(spectrum) ** 2 * weights[:, None]).sum())
    return float(np.sqrt(energy / max(1, len(mono))))


def _weights(sample_rate: int) -> npt.NDArray[np.float64]:
    """Power of the K-weighting at each bin; shape (_FFT // 2 + 1,)."""
    hertz = np.linspace(0.0, sample_rate / 2, _FFT // 2 + 1)
    # Below the prototype's Nyquist frequency this is its response, above it its last value.
    angle = 2 * np.pi * np.minimum(hertz, 0.49 * _WEIGHTING_RATE) / _WEIGHTING_RATE
    response = freqz(*_SHELF, worN=angle)[1] * freqz(*_HIGH_PASS, worN=angle)[1]
    return np.asarray(np.abs(response) ** 2)


class Limiter:
    """Turns peaks above ``PEAK`` down, 20 ms at a time, with straight slopes between.

    Sound within the limit passes bit by bit. One stretch of 20 ms is held back.
    """

    def __init__(self) -> None:
        self._held = np.zeros(0, np.float32)
        self._before = self._gain = 1.0

    def feed(self, waveform: Waveform) -> Waveform:
        """Take samples of shape (n,); give those whose gain is certain."""
        x = np.concatenate([self._held, waveform])
        whole = len(x) // STRETCH
        if whole < 2:
            self._held = x
            return np.zeros(0, np.float32)
        rows = x[: whole * STRETCH].reshape(whole, STRETCH)
        gains = PEAK / np.maximum(np.abs(rows).max(axis=1), PEAK)
        out = self._shaped(rows[:-1], gains[:-1], after=float(gains[-1]))
        self._held = x[(whole - 1) * STRETCH :]
        return out

    def finish(self) -> Waveform:
        """Give the rest."""
        x = self._held
        short = -len(x) % STRETCH
        rows = np.pad(x, (0, short)).reshape(-1, STRETCH)
        if len(rows) == 0:
            return x
        gains = PEAK / np.maximum(np.abs(rows).max(axis=1), PEAK)
        return self._shaped(rows, gains, after=float(gains[-1]))[: len(x)]

    def _shaped(self, rows: Waveform, gains: Waveform, *, after: float) -> Waveform:
        around = np.concatenate([[self._before], gains, [after]])
        self._before = float(gains[-1])
        # A stretch is bounded by the smaller gain of the two that meet there.
        ends = np.minimum(around[:-1], around[1:])
        slope = np.linspace(0.0, 1.0, STRETCH, endpoint=False)[None]
        shape = ends[:-1, None] * (1.0 - slope) + ends[1:, None] * slope
        return np.asarray(rows * shape, dtype=np.float32).reshape(-1)
