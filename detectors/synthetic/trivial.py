"""Which eight numbers prove nothing? The probe for confounded data sets.

Level, silences and bandwidth say how a recording was made and kept, not who made the
sound. A classifier that does not beat them has learned its data set; a data set that they
tell apart teaches little else.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.fft import rfft
from scipy.signal import resample_poly

from detectors.base import Waveform

Floats = npt.NDArray[np.float64]

SAMPLE_RATE: Final = 22_050
SEGMENT_SECONDS: Final = 4.0
SEGMENT_SAMPLES: Final = 88_200

_N_FFT: Final = 1024
_HOP: Final = 256


def trivial_names() -> tuple[str, ...]:
    """Name the trivial features, in the order of ``trivial``."""
    return ("level", "crest", "quiet share", "zero crossings", "centroid", "rolloff", "tilt", "top")


def prepare(waveform: Waveform, sample_rate: int) -> Floats:
    """Mix to mono at ``SAMPLE_RATE``.

    Args:
        waveform: Shape (channels, samples).
        sample_rate: In Hz.

    Returns:
        Shape (samples,).
    """
    mono: Floats = np.asarray(waveform, dtype=np.float64).mean(axis=0)
    if sample_rate == SAMPLE_RATE:
        return mono
    divisor = int(np.gcd(sample_rate, SAMPLE_RATE))
    return np.asarray(
        resample_poly(mono, SAMPLE_RATE // divisor, sample_rate // divisor), dtype=np.float64
    )


def trivial(segment: Floats) -> Floats:
    """Measure eight things that prove nothing: the probe for confounded data sets.

    Returns:
        Shape (8,): see ``trivial_names``.
    """
    rms = float(np.sqrt(np.mean(segment**2))) + 1e-9
    frames = segment[: len(segment) // 512 * 512].reshape(-1, 512)
    level = 20 * np.log10(np.sqrt((frames**2).mean(axis=1)) + 1e-7)
    power = (np.abs(_stft(segment / rms, _N_FFT, _HOP)) ** 2).mean(axis=0) + 1e-12
    frequencies = np.arange(len(power)) * SAMPLE_RATE / _N_FFT
    share = np.cumsum(power) / power.sum()
    return np.array(
        [
            20 * np.log10(rms),
            20 * np.log10(float(np.abs(segment).max()) / rms + 1e-9),
            float((level < level.max() - 40).mean()),
            float((np.diff(np.signbit(segment)) != 0).mean()),
            float((frequencies * power).sum() / power.sum()),
            float(frequencies[np.searchsorted(share, 0.95)]),
            float(np.polyfit(np.log10(frequencies[4:]), np.log10(power[4:]), 1)[0]),
            float(np.log10(power[frequencies > 8_000].mean() / power.mean())),
        ]
    )


def _stft(mono: Floats, n_fft: int, hop: int) -> npt.NDArray[np.complex128]:
    """Transform with a Hann window; shape (frames, n_fft // 2 + 1), frames whole."""
    frames = np.lib.stride_tricks.sliding_window_view(mono, n_fft)[::hop]
    window = np.hanning(n_fft + 1)[:-1]
    return np.asarray(rfft(frames * window, axis=1), dtype=np.complex128)
