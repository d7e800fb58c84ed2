"""What shapes the spectrum: filters, equalizers, rooms, and what phones and rooms do together."""

from collections.abc import Callable

import numpy as np
from scipy.fft import next_fast_len
from scipy.ndimage import uniform_filter1d
from scipy.signal import butter, fftconvolve, hilbert, sosfilt, sosfiltfilt, tf2sos

from safegen.audio import Audio, resample
from safegen.evaluation.attacks.base import Floats, fit, generator, like, power
from safegen.evaluation.attacks.noise import pink_noise
from safegen.evaluation.attacks.spectra import analyze, synthesize


def low_pass(audio: Audio, *, cutoff_hz: float) -> Audio:
    """Cut above ``cutoff_hz``, 8th-order Butterworth, no phase shift."""
    return _filter(audio, cutoff_hz, "lowpass")


def high_pass(audio: Audio, *, cutoff_hz: float) -> Audio:
    """Cut below ``cutoff_hz``, 8th-order Butterworth, no phase shift."""
    return _filter(audio, cutoff_hz, "highpass")


def band_pass(audio: Audio, *, low_hz: float, high_hz: float) -> Audio:
    """Keep what lies between, with the same slopes as the two filters."""
    return low_pass(high_pass(audio, cutoff_hz=low_hz), cutoff_hz=high_hz)


def smooth(audio: Audio, *, width_seconds: float) -> Audio:
    """Replace each sample by the mean around it; an odd number of samples, at least 3."""
    width = max(3, round(width_seconds * audio.sample_rate) | 1)
    return like(uniform_filter1d(audio.waveform, width, axis=1, mode="constant"), audio)


def tilt(audio: Audio, *, db_per_octave: float) -> Audio:
    """Turn up on one side of 1 kHz and down on the other, at most 15 dB."""

    def curve(octaves: Floats) -> Floats:
        return np.asarray(np.clip(db_per_octave * octaves, -15.0, 15.0))

    return _equalize(audio, curve)


def random_equalizer(audio: Audio, *, level_db: float) -> Audio:
    """Turn each octave up or down by as much as ``level_db``, by lot."""
    centers = np.arange(-5.0, 5.0)
    gains = generator(audio).uniform(-level_db, level_db, len(centers))
    return _equalize(audio, lambda octaves: np.interp(octaves, centers, gains))


def shelves(audio: Audio, *, level_db: float) -> Audio:
    """Turn up below 250 Hz and down above 4 kHz, by the whole level one octave farther.

    As the two knobs of a simple amplifier; levels are in dB over octaves.
    """
    octaves = np.log2([0.125, 0.25, 4.0, 8.0])
    gains = [level_db, 0.0, 0.0, -level_db]
    return _equalize(audio, lambda at: np.interp(at, octaves, gains))


def phase_shift(audio: Audio, *, degrees: float) -> Audio:
    """Turn the phase of every frequency by the same angle; magnitudes stay."""
    samples = audio.waveform.shape[1]
    analytic = hilbert(audio.waveform.astype(np.float64), _even(samples), axis=1)
    turned = np.real(analytic * np.exp(1j * np.deg2rad(degrees)))
    return like(turned[:, :samples], audio)


def all_pass(audio: Audio, *, stages: int) -> Audio:
    """Smear the phase with second-order all-pass filters between 200 Hz and 4 kHz."""
    out = audio.waveform.astype(np.float64)
    for center_hz in np.geomspace(200.0, 4_000.0, stages):
        angle = 2 * np.pi * min(center_hz / audio.sample_rate, 0.45)
        radius = 0.9
        poles = [1.0, -2 * radius * np.cos(angle), radius**2]
        out = sosfilt(tf2sos(poles[::-1], poles), out, axis=1)
    return like(out, audio)


def resample_round_trip(audio: Audio, *, sample_rate: int) -> Audio:
    """Convert to ``sample_rate`` and back, losing everything above half of it."""
    return fit(resample(resample(audio, sample_rate), audio.sample_rate).waveform, audio)


def echo(audio: Audio, *, delay_seconds: float, level: float) -> Audio:
    """Add one repetition at ``level`` times the amplitude."""
    out = audio.waveform.copy()
    delay = round(delay_seconds * audio.sample_rate)
    if 0 < delay < out.shape[1]:
        out[:, delay:] += level * audio.waveform[:, :-delay]
    return like(out, audio)


def reverb(audio: Audio, *, rt60_seconds: float, direct_db: float) -> Audio:
    """Play it in a room: the direct sound, and noise that decays by 60 dB in ``rt60_seconds``.

    Args:
        audio: Any channels; each hears its own tail.
        rt60_seconds: > 0.
        direct_db: How far the tail lies below the direct sound, in energy.
    """
    samples = audio.waveform.shape[1]
    length = max(2, round(1.2 * rt60_seconds * audio.sample_rate))
    seconds = np.arange(length) / audio.sample_rate
    decay = 10 ** (-3 * seconds / rt60_seconds)
    tails = generator(audio).standard_normal((audio.waveform.shape[0], length)) * decay
    # The first reflection comes after 5 ms: 1.7 m farther than the direct way.
    tails[:, : round(0.005 * audio.sample_rate)] = 0.0
    tails *= 10 ** (-direct_db / 20) / np.sqrt(np.sum(tails**2, axis=1, keepdims=True))
    tails[:, 0] = 1.0
    return like(fftconvolve(audio.waveform, tails, axes=1)[:, :samples], audio)


def re_record(audio: Audio, *, rt60_seconds: float, snr_db: float) -> Audio:
    """Play it through a small speaker in a room and record it with a phone.

    In order: the speaker's band and mild overdrive, the room, its noise, the phone's
    band, and a level control that follows within half a second.
    """
    speaker = band_pass(audio, low_hz=180.0, high_hz=9_000.0)
    peak = max(float(np.abs(speaker.waveform).max()), 1e-9)
    driven = like(peak * np.tanh(1.5 * speaker.waveform / peak) / np.tanh(1.5), audio)
    room = reverb(driven, rt60_seconds=rt60_seconds, direct_db=3.0)
    phone = band_pass(pink_noise(room, snr_db=snr_db), low_hz=120.0, high_hz=7_000.0)
    return _leveled(phone)


def denoise(audio: Audio, *, level_db: float) -> Audio:
    """Gate the spectrum: what is near each band's floor is turned down by ``level_db``."""
    window = 1024 if audio.sample_rate > 24_000 else 512
    hop = window // 4
    out = []
    for channel in audio.waveform:
        spectrum = analyze(channel, window=window, hop=hop)
        size = np.abs(spectrum)
        floor = np.quantile(size, 0.2, axis=0, keepdims=True)
        is_kept = (size > 2.5 * floor).astype(np.float32)
        # Gates flutter unless they are smoothed over some 50 ms and 100 Hz.
        share = uniform_filter1d(uniform_filter1d(is_kept, 5, axis=0), 5, axis=1)
        gain = 10 ** (-(1.0 - share) * level_db / 20)
        out.append(
            synthesize(
                (spectrum * gain).astype(np.complex64), window=window, hop=hop, samples=len(channel)
            )
        )
    return like(np.stack(out), audio)


def _filter(audio: Audio, cutoff_hz: float, kind: str) -> Audio:
    """Run an 8th-order Butterworth filter forward and backward."""
    nyquist = audio.sample_rate / 2
    if not 0 < cutoff_hz < nyquist:
        return audio
    sections = butter(4, cutoff_hz / nyquist, kind, output="sos")
    pad = min(3 * 9, audio.waveform.shape[1] - 1)
    return like(sosfiltfilt(sections, audio.waveform.astype(np.float64), padlen=pad), audio)


def _equalize(audio: Audio, curve: Callable[[Floats], Floats]) -> Audio:
    """Multiply the whole spectrum by a gain in dB over octaves from 1 kHz, no phase shift."""
    samples = audio.waveform.shape[1]
    padded = _even(samples + audio.sample_rate // 4)
    spectrum = np.fft.rfft(audio.waveform, padded, axis=1)
    hertz = np.maximum(np.fft.rfftfreq(padded, 1 / audio.sample_rate), 20.0)
    gain = 10 ** (curve(np.log2(hertz / 1_000.0)) / 20)
    return like(np.fft.irfft(spectrum * gain, padded, axis=1)[:, :samples], audio)


def _leveled(audio: Audio) -> Audio:
    """Follow the level over half a second and bring it halfway to the mean."""
    width = max(1, round(0.5 * audio.sample_rate))
    level = uniform_filter1d(audio.waveform.astype(np.float64) ** 2, width, axis=1)
    mean = power(audio.waveform)
    gain = ((mean + 1e-12) / (np.maximum(level, 0.0) + 0.01 * mean + 1e-12)) ** 0.25
    out = audio.waveform * gain
    peak = max(float(np.abs(out).max()), 1e-9)
    return like(out * min(1.0, 0.99 / peak), audio)


def _even(samples: int) -> int:
    """Round up to a length that transforms fast."""
    return int(next_fast_len(samples, real=True))
