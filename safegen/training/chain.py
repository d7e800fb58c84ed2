"""What happens to every clip, real or fake, so that only the generator tells them apart?

    mono, 22.05 kHz -> trim silence -> join with gaps
    -> for fakes: synthesis, and the codec that the recordings went through
    -> 16 kHz -> level -> noise -> fades -> the other codec

In the end each clip of speech went through Vorbis once and through G.722 once since it
was made, fakes in the order of the recordings they are compared with. Synthesis wipes a
codec's traces out, so a copy gets its source's codec again where the original had it.
All rates meet at 22.05 kHz, that of most vocoders. Rates are changed without a
transition band: an ordinary filter takes more from what passes it more often, and the
highest 700 Hz would tell the classes apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import gcd
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import scipy.signal

from safegen.audio import Audio, Waveform, resample
from safegen.evaluation.attacks import through_codec, through_g722, through_vorbis

TOP_HZ: Final = 7_800.0
"""Above, encoders of G.722 differ; finished speech has only noise there."""
DRY_RATE: Final = 22_050
"""Rate in Hz at which phrases are joined and copied."""
SAMPLE_RATE: Final = 16_000
"""Rate in Hz of finished speech."""
LEVEL_DB: Final = -26.0
LEVEL_SPREAD_DB: Final = 6.0
SNR_DB: Final = (28.0, 48.0)
GAP_SECONDS: Final = (0.1, 0.3)
FADE_SECONDS: Final = 0.01
SPEECH_CODECS: Final = ("g722", "vorbis")
MUSIC_CODECS: Final = ("vorbis", "opus")

_SOURCE_RATES: Final = {"g722": 16_000}
_PAD_SECONDS: Final = 0.05
_FRAME_SECONDS: Final = 0.02
_SILENT_DB: Final = -35.0
"""Frames this far under the loudest are silence."""
_LEAST_PHRASE_SECONDS: Final = 0.15
_LEAST_PEAK: Final = 1e-3
_MOST_PEAK: Final = 0.98

Floats = npt.NDArray[np.floating[Any]]


def phrase(audio: Audio) -> Audio | None:
    """Bring a recording to mono at ``DRY_RATE`` without silence at its ends.

    Returns:
        None if less than .15 s of sound is left.
    """
    low = _at_rate(Audio(waveform=audio.mono()[None], sample_rate=audio.sample_rate), DRY_RATE)
    samples = low.waveform[0]
    size = round(_FRAME_SECONDS * DRY_RATE)
    power = _frame_power(samples, size)
    if len(power) == 0 or float(np.abs(samples).max()) < _LEAST_PEAK:
        return None
    loud = np.flatnonzero(power > power.max() * 10 ** (_SILENT_DB / 10))
    kept = samples[loud[0] * size : (loud[-1] + 1) * size]
    if len(kept) < _LEAST_PHRASE_SECONDS * DRY_RATE:
        return None
    return Audio(waveform=kept[None].copy(), sample_rate=DRY_RATE)


def joined(
    phrases: Iterable[Audio], *, seconds: float, dice: np.random.Generator
) -> Iterator[Audio]:
    """Join phrases of one speaker, .1 to .3 s apart, into clips of ``seconds``.

    A phrase that reaches over the end of a clip is cut there, and its rest is dropped; so
    are the phrases at the end that fill no clip.
    """
    wanted = round(seconds * DRY_RATE)
    parts: list[Waveform] = []
    held = 0
    for part in phrases:
        samples = part.waveform[0]
        if parts:
            gap = np.zeros(round(float(dice.uniform(*GAP_SECONDS)) * DRY_RATE), np.float32)
            parts.append(gap)
            held += len(gap)
        parts.append(samples)
        held += len(samples)
        if held >= wanted:
            whole = np.concatenate(parts)[:wanted]
            yield Audio(waveform=np.ascontiguousarray(whole[None]), sample_rate=DRY_RATE)
            parts, held = [], 0


def finished_speech(
    dry: Audio, *, before: Sequence[str], after: Sequence[str], seconds: float, seed: Sequence[int]
) -> Audio:
    """Take a clip from its phrases to its last codec.

    Args:
        dry: The clip, or a copy of it, mono.
        before: Codecs in place of those its recording went through; none for recordings.
        after: Codecs at the end.
        seconds: Its length; shorter ones are filled with silence under the noise.
        seed: Same seed, same level and noise: a clip and its copies share it.

    Returns:
        Mono at ``SAMPLE_RATE``.
    """
    dice = np.random.default_rng(seed)
    audio = _at_level(dry, LEVEL_DB)
    for codec in before:
        audio = through(_at_rate(audio, _SOURCE_RATES.get(codec, DRY_RATE)), codec)
    audio = _below(_of_length(_at_rate(audio, SAMPLE_RATE), seconds), TOP_HZ)
    audio = _at_level(audio, LEVEL_DB + float(dice.uniform(-LEVEL_SPREAD_DB, LEVEL_SPREAD_DB)))
    audio = _with_fades(_with_noise(audio, dice))
    for codec in after:
        audio = through(audio, codec)
    return audio


def finished_music(
    dry: Audio, *, sample_rate: int, before: Sequence[str], after: Sequence[str], seconds: float
) -> Audio:
    """Take an excerpt, or a copy of one, through its codecs at the rate of the recording."""
    audio = _of_length(resample(dry, sample_rate), seconds)
    for codec in (*before, *after):
        audio = through(audio, codec)
    return audio


def history(codec: str, codecs: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Divide what a clip must have gone through.

    Args:
        codec: Of the recordings.
        codecs: What every clip goes through once.

    Returns:
        What the recordings have behind them, and what is still to come.
    """
    return (codec,), tuple(name for name in codecs if name != codec)


def through(audio: Audio, codec: str) -> Audio:
    """Encode and decode once: G.722, Vorbis q4, Opus 64k or MP3 128k."""
    match codec:
        case "g722":
            return through_g722(audio)
        case "vorbis":
            return through_vorbis(audio, quality=0.4)
        case "opus":
            return through_codec(audio, "opus", bitrate=64_000)
        case "mp3":
            return through_codec(audio, "mp3", bitrate=128_000)
        case _:
            msg = f"no codec {codec!r} in a history"
            raise ValueError(msg)


def active_level_db(audio: Audio) -> float:
    """Mean power in dB of full scale, without the frames that are silent."""
    power = _frame_power(audio.mono(), round(_FRAME_SECONDS * audio.sample_rate))
    loud = power[power >= power.max() * 10 ** (_SILENT_DB / 10)]
    return float(10 * np.log10(max(1e-12, float(loud.mean()))))


def _at_rate(audio: Audio, sample_rate: int) -> Audio:
    """Change the rate of a mono sound by its spectrum: all below the lower half rate stays."""
    if audio.sample_rate == sample_rate:
        return audio
    samples = audio.mono().astype(np.float64)
    common = gcd(audio.sample_rate, sample_rate)
    unit = audio.sample_rate // common
    # The spectrum takes the sound for periodic; silence keeps its ends apart.
    units = -(-(len(samples) + round(_PAD_SECONDS * audio.sample_rate)) // unit)
    padded = np.pad(samples, (0, units * unit - len(samples)))
    made = scipy.signal.resample(padded, units * (sample_rate // common))
    kept = made[: round(len(samples) * sample_rate / audio.sample_rate)]
    return Audio(
        waveform=np.ascontiguousarray(kept[None], dtype=np.float32), sample_rate=sample_rate
    )


def _below(audio: Audio, top_hz: float) -> Audio:
    """Take away what is above a frequency."""
    samples = audio.mono()
    spectrum = np.fft.rfft(samples)
    spectrum[np.fft.rfftfreq(len(samples), 1 / audio.sample_rate) > top_hz] = 0.0
    kept = np.fft.irfft(spectrum, n=len(samples)).astype(np.float32)
    return Audio(waveform=kept[None], sample_rate=audio.sample_rate)


def _frame_power(samples: Waveform, size: int) -> Floats:
    frames = samples[: len(samples) // size * size].reshape(-1, size).astype(np.float64)
    return np.asarray(np.mean(frames**2, axis=1))


def _of_length(audio: Audio, seconds: float) -> Audio:
    count = round(seconds * audio.sample_rate)
    samples = audio.mono()[:count]
    filled = np.pad(samples, (0, count - len(samples)))
    return Audio(waveform=np.ascontiguousarray(filled[None]), sample_rate=audio.sample_rate)


def _at_level(audio: Audio, level_db: float) -> Audio:
    """Set the active level; a peak that would clip keeps it lower."""
    gain = 10 ** ((level_db - active_level_db(audio)) / 20)
    peak = float(np.abs(audio.waveform).max())
    gain = min(gain, _MOST_PEAK / max(peak, 1e-9))
    return Audio(waveform=audio.waveform * np.float32(gain), sample_rate=audio.sample_rate)


def _with_noise(audio: Audio, dice: np.random.Generator) -> Audio:
    """Add white or pink noise, by the toss of a coin, under the active level."""
    is_pink = bool(dice.random() < 0.5)
    under_db = float(dice.uniform(*SNR_DB))
    count = audio.waveform.shape[1]
    noise = np.asarray(dice.standard_normal(count))
    if is_pink:
        spectrum = np.fft.rfft(noise)
        spectrum /= np.sqrt(np.maximum(1, np.arange(len(spectrum))))
        noise = np.fft.irfft(spectrum, n=count)
    wanted = 10 ** ((active_level_db(audio) - under_db) / 20)
    noise *= wanted / np.sqrt(np.mean(noise**2))
    return Audio(
        waveform=audio.waveform + noise[None].astype(np.float32), sample_rate=audio.sample_rate
    )


def _with_fades(audio: Audio) -> Audio:
    size = round(FADE_SECONDS * audio.sample_rate)
    ramp = np.linspace(0.0, 1.0, size, dtype=np.float32)
    shape = np.ones(audio.waveform.shape[1], dtype=np.float32)
    shape[:size], shape[-size:] = ramp, ramp[::-1]
    return Audio(waveform=audio.waveform * shape, sample_rate=audio.sample_rate)
