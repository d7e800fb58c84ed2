"""What moves a sound in time: cuts, shuffles, speed, tempo and pitch.

Tempo and pitch come in two makes, because they break different things: FFmpeg's
``atempo`` (overlap-add of similar waveforms, what video players do) and a phase
vocoder (what older editors do). FFmpeg's ``rubberband`` is not in PyAV's builds.
"""

from fractions import Fraction
from typing import Final

import numpy as np
from scipy.signal import resample_poly

from safegen.audio import Audio
from safegen.evaluation.attacks import ffmpeg
from safegen.evaluation.attacks.base import Floats, fit, generator, like
from safegen.evaluation.attacks.spectra import Spectrum, analyze, synthesize

_MAX_DENOMINATOR: Final = 400
"""Ratios are rounded to fractions this fine: a twentieth of a cent at a semitone."""


def crop(audio: Audio, *, start: float, end: float) -> Audio:
    """Keep the stretch between two shares of the length, 0 <= start < end <= 1."""
    return audio.cut(start * audio.seconds, end * audio.seconds)


def crop_to(audio: Audio, *, seconds: float) -> Audio:
    """Keep ``seconds``, or all if it is shorter, from a place that lots decide."""
    room = max(0.0, audio.seconds - seconds)
    start = float(generator(audio).uniform(0.0, room)) if room else 0.0
    samples = min(round(seconds * audio.sample_rate), audio.waveform.shape[1])
    first = min(round(start * audio.sample_rate), audio.waveform.shape[1] - samples)
    return like(audio.waveform[:, first : first + samples].copy(), audio)


def cut_start(audio: Audio, *, seconds: float) -> Audio:
    """Drop the first ``seconds``, at most half of the sound."""
    return audio.cut(min(seconds, audio.seconds / 2), audio.seconds)


def cut_middle(audio: Audio, *, seconds: float) -> Audio:
    """Drop ``seconds`` from the middle, at most half, and close the gap."""
    samples = audio.waveform.shape[1]
    gone = min(round(seconds * audio.sample_rate), samples // 2)
    first = (samples - gone) // 2
    parts = [audio.waveform[:, :first], audio.waveform[:, first + gone :]]
    return like(np.concatenate(parts, axis=1), audio)


def shuffle(audio: Audio, *, seconds: float) -> Audio:
    """Cut into pieces of ``seconds`` and put them together in an order that lots decide."""
    size = max(1, round(seconds * audio.sample_rate))
    count = audio.waveform.shape[1] // size
    order = generator(audio).permutation(count)
    pieces = [audio.waveform[:, place * size : (place + 1) * size] for place in order]
    return like(np.concatenate([*pieces, audio.waveform[:, count * size :]], axis=1), audio)


def shush(audio: Audio, *, share: float) -> Audio:
    """Silence the first ``share`` of the sound."""
    out = audio.waveform.copy()
    out[:, : round(share * out.shape[1])] = 0.0
    return like(out, audio)


def jitter(audio: Audio, *, samples: float) -> Audio:
    """Read each sample at a moment that is off by ``samples`` (one standard deviation)."""
    count = audio.waveform.shape[1]
    at = np.arange(count) + samples * generator(audio).standard_normal(count)
    out = [np.interp(at, np.arange(count), channel) for channel in audio.waveform]
    return like(np.stack(out), audio)


def drop_samples(audio: Audio, *, share: float) -> Audio:
    """Leave out single samples, ``share`` of them, where lots fall."""
    lots = generator(audio).random(audio.waveform.shape[1])
    is_kept = np.asarray(lots >= share)
    is_kept[0] = True
    return like(audio.waveform[:, is_kept], audio)


def speed(audio: Audio, *, factor: float) -> Audio:
    """Play faster (> 1) or slower, tempo and pitch together; the length changes."""
    return like(_faster(audio.waveform, factor), audio)


def tempo(audio: Audio, *, factor: float) -> Audio:
    """Play faster (> 1) or slower at the same pitch, as FFmpeg does it."""
    samples = round(audio.waveform.shape[1] / factor)
    return like(_length(ffmpeg.filtered(audio, "atempo", f"{factor:.6f}").waveform, samples), audio)


def pitch(audio: Audio, *, semitones: float) -> Audio:
    """Shift the pitch at the same tempo: FFmpeg's tempo change, undone by playing faster."""
    ratio = _ratio(2 ** (semitones / 12))
    slowed = ffmpeg.filtered(audio, "atempo", f"{float(1 / ratio):.6f}")
    return fit(_faster(slowed.waveform, float(ratio)), audio)


def vocoder_tempo(audio: Audio, *, factor: float) -> Audio:
    """Play faster (> 1) or slower at the same pitch, by phase vocoder."""
    samples = round(audio.waveform.shape[1] / factor)
    return like(np.stack([_stretch(one, factor, samples) for one in audio.waveform]), audio)


def vocoder_pitch(audio: Audio, *, semitones: float) -> Audio:
    """Shift the pitch at the same tempo, by phase vocoder."""
    ratio = float(_ratio(2 ** (semitones / 12)))
    return fit(_faster(vocoder_tempo(audio, factor=1 / ratio).waveform, ratio), audio)


def _ratio(value: float) -> Fraction:
    return Fraction(value).limit_denominator(_MAX_DENOMINATOR)


def _faster(waveform: Floats, factor: float) -> Floats:
    """Resample to a length divided by ``factor``."""
    ratio = _ratio(factor)
    return np.asarray(resample_poly(waveform, ratio.denominator, ratio.numerator, axis=1))


def _length(waveform: Floats, samples: int) -> Floats:
    """Cut or pad with silence; FFmpeg's filters end within a few milliseconds."""
    missing = max(0, samples - waveform.shape[1])
    return np.pad(waveform, ((0, 0), (0, missing)))[:, :samples]


def _stretch(channel: Floats, factor: float, samples: int) -> Floats:
    """Step through the spectra at another pace and let each bin's phase turn as it did.

    Source: Flanagan and Golden 1966, the phase vocoder.
    """
    window, hop = 1024, 256
    spectrum = analyze(channel, window=window, hop=hop)
    steps = np.arange(0, len(spectrum) - 1, factor)
    before = steps.astype(int)
    share = (steps - before)[:, None]
    size = (1 - share) * np.abs(spectrum[before]) + share * np.abs(spectrum[before + 1])
    expected = 2 * np.pi * hop * np.arange(spectrum.shape[1]) / window
    turned = np.angle(spectrum[before + 1]) - np.angle(spectrum[before]) - expected
    turned -= 2 * np.pi * np.round(turned / (2 * np.pi))
    advance = expected + turned
    phase = np.cumsum(np.concatenate([np.angle(spectrum[:1]), advance[:-1]]), axis=0)
    out: Spectrum = (size * np.exp(1j * phase)).astype(np.complex64)
    return synthesize(out, window=window, hop=hop, samples=samples)
