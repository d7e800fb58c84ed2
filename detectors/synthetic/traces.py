"""What does a window of sound look like to the synthetic-audio classifier?

Four groups of numbers, from the sound below 8 kHz:

* *Residual*: the spectrum in decibels minus its own running median, mean of all frames.
  What a voice or a band plays moves about and averages out; what the decoder leaves
  stands still. A strided decoder draws lines here, at multiples of its rate over its stride.
* *Texture*: how steadily phases turn in time and across frequency, how far partials stand
  out, how ragged their surroundings are, and whether the energy flickers at the frame rate
  of a codec; loud and quiet cells apart.
* *Pulse*: the shape of the prediction error, which is a breath and a blow of the vocal
  folds in a voice and a filtered impulse in a vocoder.
* *Domain*: what kind of sound it is. It never votes; it only tells whether the classifier
  has heard anything like this before.

Nothing depends on the level of the sound. Sources: upsampling artifacts, Odena, Dumoulin
and Olah (Distill 2016) and Pons et al. (ICASSP 2021); LFCC, Sahidullah, Kinnunen and Hanilci
(Interspeech 2015); phase that turns evenly, McAulay and Quatieri (1986); shape of the
prediction error, Drugman and Dutoit (2012).
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.fft import dct, irfft, rfft
from scipy.linalg import solve_toeplitz
from scipy.ndimage import median_filter, uniform_filter1d
from scipy.signal import hilbert, resample_poly

from detectors.base import Waveform

Floats = npt.NDArray[np.float32]

SAMPLE_RATE: Final = 16_000
WINDOW_SECONDS: Final = 4.0
WINDOW_SAMPLES: Final = 64_000

RESIDUAL_FFT: Final = 4096
BIN_HZ: Final = SAMPLE_RATE / RESIDUAL_FFT
FIRST_BIN: Final = 80
LAST_BIN: Final = 1990
"""The residual reaches from 312 to 7770 Hz."""
RESIDUAL_RANGE_DB: Final = (-4.0, 6.0)
_MEDIAN_BINS: Final = 31
_DEAD_DB: Final = -90.0
"""Below the strongest bin by this much, there is nothing but rounding."""

TEXTURE_EDGES_HZ: Final = (100, 300, 600, 1_000, 1_600, 2_400, 3_400, 4_800, 6_000, 7_400)
FLICKER_HZ: Final = (12.5, 25.0, 37.5, 50.0, 62.5, 75.0, 86.13, 93.75, 100.0, 125.0)
_TEXTURE_KINDS: Final = (
    "phase",
    "phase spread",
    "contrast",
    "raggedness",
    "turbulence",
    "delay",
    "quiet delay",
    "quiet raggedness",
    "quiet turbulence",
    "quiet phase",
)
_PULSE_KINDS: Final = (
    "skew",
    "size of skew",
    "kurtosis",
    "spread of skew",
    "spread of kurtosis",
    "high kurtosis",
    "low kurtosis",
    "crest",
    "floor",
    "middle",
)
CEPSTRA: Final = 20
DOMAIN_SIZE: Final = 3 * CEPSTRA - 1

_LINEAR_BANDS: Final = 40
_PREDICTION_ORDER: Final = 18
_PULSE_FRAMES: Final = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One window, measured.

    Attributes:
        residual: In dB, shape (LAST_BIN - FIRST_BIN,).
        texture: Shape (len(texture_names()),).
        pulse: Shape (len(pulse_names()),).
        domain: Shape (DOMAIN_SIZE,).
    """

    residual: Floats
    texture: Floats
    pulse: Floats
    domain: Floats


def texture_names() -> tuple[str, ...]:
    """Name the texture numbers, in their order."""
    bands = [f"{low}-{high} Hz" for low, high in pairwise(TEXTURE_EDGES_HZ)]
    return (
        *(f"{kind} {band}" for band in bands for kind in _TEXTURE_KINDS),
        *(f"flicker {hz:g} Hz" for hz in FLICKER_HZ),
    )


def pulse_names() -> tuple[str, ...]:
    """Name the pulse numbers, in their order."""
    return _PULSE_KINDS


def prepare(waveform: Waveform, sample_rate: int) -> Floats:
    """Mix to mono at ``SAMPLE_RATE``.

    Args:
        waveform: Shape (channels, samples).
        sample_rate: In Hz.

    Returns:
        Shape (samples,).
    """
    mono: Floats = np.asarray(waveform, dtype=np.float32).mean(axis=0, dtype=np.float32)
    if sample_rate == SAMPLE_RATE:
        return mono
    divisor = int(np.gcd(sample_rate, SAMPLE_RATE))
    return np.asarray(
        resample_poly(mono, SAMPLE_RATE // divisor, sample_rate // divisor), dtype=np.float32
    )


def trace(window: Floats) -> Trace:
    """Measure a window.

    Args:
        window: Mono at ``SAMPLE_RATE``, shape (samples,), at least one second, not silent.

    Cost: about 10 ms of one core per second of sound.
    """
    leveled = _leveled(window)
    spectrum = _stft(leveled, 1024, 256)
    magnitude = np.abs(spectrum)
    return Trace(
        residual=residual(leveled),
        texture=np.concatenate([_texture(spectrum, magnitude), _flicker(leveled)]),
        pulse=_pulse(leveled),
        domain=_domain(magnitude),
    )


def residual(window: Floats) -> Floats:
    """Measure what stands out of the mean spectrum; shape (LAST_BIN - FIRST_BIN,), in dB.

    Args:
        window: As for ``trace``.
    """
    power = np.abs(_stft(window, RESIDUAL_FFT, 1024)) ** 2
    level = 10.0 * np.log10(power + 1e-10)
    # Frame by frame: a loud frame's harmonics must not draw the floor of a quiet one.
    floors = np.stack([median_filter(frame, _MEDIAN_BINS, mode="nearest") for frame in level])
    out = (level - floors).mean(axis=0)
    mean = level.mean(axis=0)
    out[mean < mean.max() + _DEAD_DB] = 0.0
    return np.asarray(np.clip(out, *RESIDUAL_RANGE_DB)[FIRST_BIN:LAST_BIN], dtype=np.float32)


def mean_power(window: Floats) -> npt.NDArray[np.float64]:
    """Give the mean power of the bins of a residual's transform; shape (bins,)."""
    spectrum = _stft(window, RESIDUAL_FFT, RESIDUAL_FFT)
    return np.asarray((np.abs(spectrum) ** 2).mean(axis=0), dtype=np.float64)


def _texture(spectrum: npt.NDArray[np.complex64], magnitude: Floats) -> Floats:
    unit = spectrum / np.maximum(magnitude, 1e-12)
    inner = magnitude[1:-1]
    # Second differences of phase as products of unit vectors: 1 where phase turns evenly.
    steady = (unit[2:] * np.conj(unit[1:-1]) ** 2 * unit[:-2]).real
    delay = np.zeros_like(inner)
    middle = unit[1:-1]
    delay[:, 1:-1] = -(middle[:, 2:] * np.conj(middle[:, 1:-1]) ** 2 * middle[:, :-2]).real
    peak = np.zeros(inner.shape, dtype=bool)
    peak[:, 1:-1] = (inner[:, 1:-1] > inner[:, :-2]) & (inner[:, 1:-1] > inner[:, 2:])
    log_level = np.log10(inner + 1e-7)
    contrast = log_level - uniform_filter1d(log_level, 9, axis=1, mode="nearest")
    flux = np.abs(np.diff(np.log10(magnitude + 1e-7), n=2, axis=0))
    frequencies = np.arange(magnitude.shape[1]) * SAMPLE_RATE / 1024
    out: list[float] = []
    for low, high in pairwise(TEXTURE_EDGES_HZ):
        band = (frequencies >= low) & (frequencies < high)
        loud = inner[:, band] >= max(float(np.median(inner[:, band])), 1e-4)
        quiet, tops = ~loud, peak[:, band] & loud
        out += [
            _mean(steady[:, band], tops),
            _spread(steady[:, band], tops),
            _mean(contrast[:, band], tops),
            _spread(contrast[:, band], loud),
            _mean(flux[:, band], loud),
            _mean(delay[:, band], loud),
            _mean(delay[:, band], quiet),
            _spread(contrast[:, band], quiet),
            _mean(flux[:, band], quiet),
            _mean(steady[:, band], quiet),
        ]
    return np.array(out, dtype=np.float32)


def _flicker(window: Floats) -> Floats:
    """How far envelope modulation stands out at codec frame rates, mean over bands, in log10."""
    magnitude = np.abs(_stft(window, 256, 64))
    frequencies = np.arange(magnitude.shape[1]) * SAMPLE_RATE / 256
    lines = []
    for low, high in ((300, 1_000), (1_000, 2_400), (2_400, 4_800), (4_800, 7_600)):
        band = (frequencies >= low) & (frequencies < high)
        envelope = np.log10(magnitude[:, band].mean(axis=1) + 1e-5)
        envelope = envelope - envelope.mean()
        lines.append(np.abs(rfft(envelope * np.hanning(len(envelope)))))
    modulation = np.log10(np.mean(lines, axis=0) + 1e-9)
    around = median_filter(modulation, 41, mode="nearest")
    step = SAMPLE_RATE / 64 / (2 * (len(modulation) - 1))
    out = []
    for hz in FLICKER_HZ:
        center = round(hz / step)
        out.append(float((modulation - around)[center - 1 : center + 2].max()))
    return np.array(out, dtype=np.float32)


def _pulse(window: Floats) -> Floats:
    """Describe the linear prediction error of the louder 40 ms frames."""
    frames = np.lib.stride_tricks.sliding_window_view(window, 640)[::320]
    energy = (frames**2).mean(axis=1)
    chosen = np.flatnonzero(energy >= np.quantile(energy, 0.6))
    chosen = chosen[np.linspace(0, len(chosen) - 1, min(_PULSE_FRAMES, len(chosen))).astype(int)]
    raw = frames[chosen].astype(np.float64)
    emphasized = np.concatenate([raw[:, :1], raw[:, 1:] - 0.95 * raw[:, :-1]], axis=1)
    emphasized = emphasized * np.hanning(640)
    spectra = rfft(emphasized, n=1280, axis=1)
    lags = irfft(np.abs(spectra) ** 2, axis=1)[:, : _PREDICTION_ORDER + 1]
    lags[:, 0] = lags[:, 0] * 1.0001 + 1e-12
    filters = np.stack([solve_toeplitz(row[:-1], row[1:]) for row in lags])
    whitener = rfft(np.concatenate([np.ones((len(filters), 1)), -filters], axis=1), n=1280, axis=1)
    error = irfft(spectra * whitener, axis=1)[:, :640]
    error = error / (error.std(axis=1, keepdims=True) + 1e-9)
    skew, kurtosis = (error**3).mean(axis=1), (error**4).mean(axis=1)
    envelope = np.abs(hilbert(error, axis=1))
    return np.array(
        [
            abs(float(np.median(skew))),
            np.median(np.abs(skew)),
            np.median(kurtosis),
            skew.std(),
            kurtosis.std(),
            np.quantile(kurtosis, 0.9),
            np.quantile(kurtosis, 0.1),
            np.median(envelope.max(axis=1)),
            np.median(np.quantile(envelope, 0.1, axis=1)),
            np.median(np.quantile(envelope, 0.5, axis=1)),
        ],
        dtype=np.float32,
    )


def _domain(magnitude: Floats) -> Floats:
    """Mean without the level, spread, and speed of linear-frequency cepstra."""
    edges = np.linspace(2, 512, _LINEAR_BANDS + 1).astype(int)
    bands = np.add.reduceat(magnitude[:, :512] ** 2, edges[:-1], axis=1) / np.diff(edges)
    cepstra = dct(np.log10(bands + 1e-8), type=2, norm="ortho", axis=1)[:, :CEPSTRA]
    speed = cepstra[4:] - cepstra[:-4]
    return np.concatenate(
        [cepstra.mean(axis=0)[1:], cepstra.std(axis=0), speed.std(axis=0)], dtype=np.float32
    )


def _stft(mono: Floats, n_fft: int, hop: int) -> npt.NDArray[np.complex64]:
    """Transform with a Hann window; shape (frames, n_fft // 2 + 1), frames whole."""
    frames = np.lib.stride_tricks.sliding_window_view(mono, n_fft)[::hop]
    window = np.hanning(n_fft + 1)[:-1].astype(np.float32)
    return np.asarray(rfft(frames * window, axis=1), dtype=np.complex64)


def _leveled(window: Floats) -> Floats:
    """Bring a window to one root mean square."""
    rms = float(np.sqrt(np.mean(window.astype(np.float64) ** 2)))
    return np.asarray(window / max(rms, 1e-9) * 0.1, dtype=np.float32)


def _mean(values: Floats, chosen: npt.NDArray[np.bool_]) -> float:
    return float(values[chosen].mean()) if chosen.any() else 0.0


def _spread(values: Floats, chosen: npt.NDArray[np.bool_]) -> float:
    return float(values[chosen].std()) if chosen.any() else 0.0
