"""How did this sound before it was played faster, slower, higher or lower?

A watermark is found at other speeds and pitches, and says at which; undoing them lets the
content be compared with what was released. The result is for fingerprints, not for ears.
"""

from fractions import Fraction
from typing import Final

import numpy as np

from safegen.audio import Audio

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
        from scipy.signal import resample_poly

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


def _stretch(
    waveform: np.ndarray[tuple[int, ...], np.dtype[np.float32]], factor: float
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Make it ``factor`` times as long at the same pitch."""
    import torch
    import torchaudio

    hop = _WINDOW // 4
    window = torch.hann_window(_WINDOW)
    with torch.inference_mode():
        spectrum = torch.stft(
            torch.from_numpy(waveform),
            _WINDOW,
            hop,
            window=window,
            return_complex=True,
            pad_mode="constant",
        )
        advance = torch.linspace(0, torch.pi * hop, spectrum.shape[1])[:, None]
        slower = torchaudio.functional.phase_vocoder(spectrum, 1.0 / factor, advance)
        length = round(waveform.shape[1] * factor)
        out = torch.istft(slower, _WINDOW, hop, window=window, length=length)
    return np.asarray(out.numpy(), dtype=np.float32)
