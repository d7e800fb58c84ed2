"""How did this sound before it was played faster, slower, higher or lower?

A watermark is found at other speeds and pitches, and says at which; undoing them lets the
content be compared with what was released. The result is for fingerprints, not for ears.
"""

from fractions import Fraction
from typing import Final

import numpy as np
from scipy.signal import ShortTimeFFT, resample_poly

from safegen.audio import Audio, Waveform

_LEAST_CHANGE: Final = 0.002
"""Smaller changes do not disturb a fingerprint."""
_WINDOW: Final = 2048


def straighten(audio: Audio, *, speed: float, semitones: float) -> Audio:
    """Undo a change of tempo and pitch.

    Args:
        audio: As heard.
        speed: Tempo heard over tempo released, > 0.
        semitones: Transposition heard against released.

    Returns:
        The same rate and channels; the same object if there is nothing to undo.
    """
    ratio = 2.0 ** (semitones / 12.0)
    waveform = audio.waveform
    if abs(ratio - 1.0) > _LEAST_CHANGE:
        # Reading the samples more slowly lowers pitch and tempo together.
        exact = Fraction(ratio).limit_denominator(400)
        waveform = resample_poly(waveform, exact.numerator, exact.denominator, axis=1)
    if abs(speed / ratio - 1.0) > _LEAST_CHANGE:
        waveform = _stretch(np.asarray(waveform, np.float32), speed / ratio)
    if waveform is audio.waveform:
        return audio
    return Audio(
        waveform=np.ascontiguousarray(waveform, dtype=np.float32), sample_rate=audio.sample_rate
    )


def _stretch(waveform: Waveform, factor: float) -> Waveform:
    """Make it ``factor`` times as long at the same pitch, with a phase vocoder.

    Source: Flanagan and Golden 1966; phases add up by the measured frequency of each bin.
    """
    hop = _WINDOW // 4
    transform = ShortTimeFFT(np.hanning(_WINDOW), hop, fs=1)
    spectrum = transform.stft(waveform, axis=1)  # (channels, bins, frames)
    count = spectrum.shape[2]
    places = np.arange(0, count - 1, 1.0 / factor)
    left = places.astype(np.int64)
    part = places - left
    size = np.abs(spectrum[..., left]) * (1 - part) + np.abs(spectrum[..., left + 1]) * part
    turned = np.angle(spectrum[..., left + 1] * spectrum[..., left].conj())
    phase = np.cumsum(turned, axis=2)
    out = transform.istft(size * np.exp(1j * phase), k1=round(waveform.shape[1] * factor))
    return np.asarray(out, dtype=np.float32)
