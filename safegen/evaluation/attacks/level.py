"""What changes levels: gain, polarity, fewer bits, compressors and limiters."""

import numpy as np
from scipy.ndimage import maximum_filter1d, uniform_filter1d

from safegen.audio import Audio
from safegen.evaluation.attacks.base import Floats, like, power


def gain(audio: Audio, *, level_db: float) -> Audio:
    """Make it louder or quieter; what passes full scale is clipped."""
    return like(np.clip(audio.waveform * 10 ** (level_db / 20), -1.0, 1.0), audio)


def invert(audio: Audio) -> Audio:
    """Flip the polarity."""
    return like(-audio.waveform, audio)


def quantize(audio: Audio, *, bits: int) -> Audio:
    """Round to ``bits`` per sample."""
    steps = float(2 ** (bits - 1))
    return like(np.round(audio.waveform * steps) / steps, audio)


def compand(audio: Audio, *, bits: int) -> Audio:
    """Round to ``bits`` on the logarithmic scale of telephony, mu = 255.

    Source: ITU-T G.711, mu-law, without its piecewise lines.
    """
    mu, steps = 255.0, float(2 ** (bits - 1))
    clipped = np.clip(audio.waveform.astype(np.float64), -1.0, 1.0)
    code = np.sign(clipped) * np.log1p(mu * np.abs(clipped)) / np.log1p(mu)
    code = np.round(code * steps) / steps
    return like(np.sign(code) * np.expm1(np.abs(code) * np.log1p(mu)) / mu, audio)


def compress(audio: Audio, *, exponent: float) -> Audio:
    """Raise quiet parts against loud ones: a power law on the 20 ms envelope."""
    out = audio.waveform * np.maximum(_envelope(audio, 0.02), 1e-3) ** (exponent - 1.0)
    peak = max(float(np.abs(out).max()), 1e-9)
    return like(out * (float(np.abs(audio.waveform).max()) / peak), audio)


def compressor(audio: Audio, *, ratio: float) -> Audio:
    """From 10 dB under the mean level on, turn a change of ``ratio`` dB into one of 1 dB."""
    over = np.maximum(_level_db(audio) + 10.0, 0.0)
    return like(audio.waveform * 10 ** (-(1 - 1 / ratio) * over / 20), audio)


def expander(audio: Audio, *, ratio: float) -> Audio:
    """Turn down what is below the mean level, at most by 30 dB: 1 dB becomes ``ratio`` dB."""
    under = np.minimum(-np.minimum(_level_db(audio), 0.0) * (ratio - 1), 30.0)
    return like(audio.waveform * 10 ** (-under / 20), audio)


def limiter(audio: Audio, *, drive_db: float) -> Audio:
    """Bring the peak to ``drive_db`` over full scale and hold it there, looking 5 ms ahead."""
    peak = max(float(np.abs(audio.waveform).max()), 1e-9)
    driven = audio.waveform / peak * 10 ** (drive_db / 20)
    width = max(3, round(0.01 * audio.sample_rate) | 1)
    loudest = maximum_filter1d(np.abs(driven).max(axis=0), width)
    # The mean of gains that are each low enough is low enough in the middle.
    calm = uniform_filter1d(1.0 / np.maximum(loudest, 1.0), width)
    return like(np.clip(driven * calm, -1.0, 1.0), audio)


def _envelope(audio: Audio, seconds: float) -> Floats:
    """Root of the mean square over a sliding stretch."""
    width = max(1, round(seconds * audio.sample_rate))
    squares = uniform_filter1d(audio.waveform.astype(np.float64) ** 2, width, axis=1)
    # The running sum may end a rounding error below zero.
    return np.asarray(np.sqrt(np.maximum(squares, 0.0)))


def _level_db(audio: Audio) -> Floats:
    """Envelope over 20 ms against the mean level, at least -80."""
    mean = np.sqrt(power(audio.waveform)) + 1e-9
    return np.asarray(20 * np.log10(np.maximum(_envelope(audio, 0.02) / mean, 1e-4)))
