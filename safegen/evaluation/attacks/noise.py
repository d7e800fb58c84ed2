"""What is added to a sound, and what is it mixed into?

Levels are against the mean power of the whole sound. A companion is brought to the
sound's rate and channels and repeated as often as needed.
"""

from collections.abc import Sequence

import numpy as np

from safegen.audio import Audio
from safegen.evaluation.attacks.base import add_below, generator, like, matched, power


def white_noise(audio: Audio, *, snr_db: float) -> Audio:
    """Add white noise ``snr_db`` below the sound's mean power."""
    return add_below(audio, generator(audio).standard_normal(audio.waveform.shape), snr_db)


def pink_noise(audio: Audio, *, snr_db: float) -> Audio:
    """Add noise that falls by 3 dB an octave, ``snr_db`` below the sound's mean power."""
    return add_below(audio, _pink(audio), snr_db)


def mix(audio: Audio, *, other: Audio, snr_db: float) -> Audio:
    """Add another sound ``snr_db`` below this one; 0 dB is equally loud."""
    samples = audio.waveform.shape[1]
    return add_below(audio, matched(other, audio, samples=samples), snr_db)


def under(audio: Audio, *, other: Audio, snr_db: float) -> Audio:
    """Mix as ``mix`` does and turn both down together where they would pass full scale."""
    mixed = mix(audio, other=other, snr_db=snr_db)
    peak = float(np.abs(mixed.waveform).max(initial=0.0))
    return like(mixed.waveform * min(1.0, 0.99 / max(peak, 1e-9)), audio)


def babble(voices: Sequence[Audio]) -> Audio:
    """Add voices up, each equally loud: many people who talk at once.

    Args:
        voices: At least one; the longest decides the length, the first the rate.

    Raises:
        ValueError: If there is no voice.
    """
    if not voices:
        msg = "babble needs at least one voice"
        raise ValueError(msg)
    first = voices[0]
    samples = max(round(voice.seconds * first.sample_rate) for voice in voices)
    mono = like(first.waveform[:1], first)
    total = np.zeros((1, samples), np.float64)
    for voice in voices:
        one = matched(voice, mono, samples=samples)
        total += one / np.sqrt(max(power(one), 1e-12))
    return like(0.1 * total / np.sqrt(len(voices)), first)


def splice(audio: Audio, *, other: Audio, seconds: float, total_seconds: float) -> Audio:
    """Put ``seconds`` from the middle of the sound into the middle of another, hard cuts.

    What is around it is made as loud as what is inside, or the seam would be heard.
    """
    rate = audio.sample_rate
    inside = audio.cut((audio.seconds - seconds) / 2, (audio.seconds + seconds) / 2).waveform
    samples = round(total_seconds * rate)
    begin = max(0, (samples - inside.shape[1]) // 2)
    out = matched(other, audio, samples=samples).astype(np.float64)
    out *= min(np.sqrt(power(inside) / max(power(out), 1e-12)), 1 / max(np.abs(out).max(), 1e-9))
    out[:, begin : begin + inside.shape[1]] = inside
    return like(out, audio)


def _pink(audio: Audio) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Draw noise with a power that falls as one over the frequency."""
    shape = audio.waveform.shape
    spectrum = np.fft.rfft(generator(audio).standard_normal(shape), axis=1)
    spectrum /= np.sqrt(np.maximum(np.arange(spectrum.shape[1]), 1.0))
    return np.fft.irfft(spectrum, shape[1], axis=1)
