"""What does four seconds of sound look like to the synthetic-audio classifier?

Two groups of numbers, kept apart on purpose:

* *Evidence* describes how a waveform was made, not what it plays: how steadily the
  phase of each partial turns, how far partials stand out of their surroundings, how
  ragged their neighborhood is, and whether the energy flickers at the frame rate of
  a codec. A vocoder that guesses phase leaves traces in all of them.
* *Domain* describes what kind of sound it is: cepstra of linear-frequency bands, as a
  mean, a spread and a speed. It never votes on the verdict. It only tells whether the
  classifier has heard anything like this before.

Everything is measured below 10 kHz at 22 050 Hz, so that a sample rate or the low-pass
of a lossy codec is not an argument, and nothing depends on the level of the sound.

Source: LFCC as in Sahidullah, Kinnunen and Hanilçi (Interspeech 2015); phase steadiness
is the second difference of phase that McAulay and Quatieri (1986) assume to vanish for
a steady partial.
"""

from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.fft import dct, rfft
from scipy.ndimage import median_filter, uniform_filter1d
from scipy.signal import resample_poly

from detectors.base import Waveform

Floats = npt.NDArray[np.float64]

SAMPLE_RATE: Final = 22_050
SEGMENT_SECONDS: Final = 4.0
SEGMENT_SAMPLES: Final = 88_200
BAND_EDGES_HZ: Final = (100, 300, 600, 1_000, 1_600, 2_400, 3_400, 4_800, 6_600, 9_000)
"""Bands of the evidence features; narrow where partials are dense and loud."""
FLICKER_HZ: Final = (12.5, 25.0, 37.5, 50.0, 75.0, 100.0, 150.0)
CEPSTRA: Final = 20

_N_FFT: Final = 1024
_HOP: Final = 256
_FINE_N_FFT: Final = 256
_FINE_HOP: Final = 64
_LINEAR_BANDS: Final = 40
_FLOOR: Final = 1e-7


def names() -> tuple[str, ...]:
    """Name the evidence features, in the order of ``evidence``."""
    bands = [f"{low}-{high}" for low, high in pairwise(BAND_EDGES_HZ)]
    per_band = [
        f"{kind} {band} Hz"
        for kind in ("phase", "phase spread", "contrast", "raggedness", "turbulence")
        for band in bands
    ]
    return (*per_band, *(f"flicker {hz:g} Hz" for hz in FLICKER_HZ))


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


def evidence(segment: Floats) -> Floats:
    """Measure how a segment was made.

    Args:
        segment: Mono at ``SAMPLE_RATE``, shape (samples,), at least one second, not silent.

    Returns:
        Shape (len(names()),), finite.
    """
    spectrum = _stft(_leveled(segment), _N_FFT, _HOP)
    magnitude = np.abs(spectrum)
    frequencies = np.arange(magnitude.shape[1]) * SAMPLE_RATE / _N_FFT
    # Second difference of phase, as the product of unit vectors: 1 where phase turns evenly.
    unit = spectrum / np.maximum(magnitude, 1e-12)
    turn = unit[2:] * np.conj(unit[1:-1]) ** 2 * unit[:-2]
    steady = turn.real
    inner = magnitude[1:-1]
    peak = np.zeros(inner.shape, dtype=bool)
    peak[:, 1:-1] = (inner[:, 1:-1] > inner[:, :-2]) & (inner[:, 1:-1] > inner[:, 2:])
    log_level = np.log10(inner + _FLOOR)
    around = uniform_filter1d(log_level, 9, axis=1, mode="nearest")
    flux = np.abs(np.diff(np.log10(magnitude + _FLOOR), n=2, axis=0))
    columns: list[list[float]] = [[], [], [], [], []]
    for low, high in pairwise(BAND_EDGES_HZ):
        band = (frequencies >= low) & (frequencies < high)
        loud = _loud(inner[:, band])
        chosen = peak[:, band] & loud
        columns[0].append(_mean(steady[:, band], chosen))
        columns[1].append(_spread(steady[:, band], chosen))
        columns[2].append(_mean((log_level - around)[:, band], chosen))
        columns[3].append(_spread((log_level - around)[:, band], loud))
        columns[4].append(_mean(flux[:, band], loud))
    values = [value for column in columns for value in column]
    return np.array([*values, *_flicker(segment)])


def domain(segment: Floats) -> Floats:
    """Measure what kind of sound a segment is; same argument as ``evidence``.

    Returns:
        Shape (3 * CEPSTRA - 1,): mean without the level, spread, and speed of the cepstra.
    """
    magnitude = np.abs(_stft(_leveled(segment), _N_FFT, _HOP))
    top = round(10_000 / SAMPLE_RATE * _N_FFT)
    edges = np.linspace(2, top, _LINEAR_BANDS + 1).astype(int)
    bands = np.add.reduceat(magnitude[:, :top] ** 2, edges[:-1], axis=1) / np.diff(edges)
    cepstra = dct(np.log10(bands + 1e-8), type=2, norm="ortho", axis=1)[:, :CEPSTRA]
    speed = cepstra[4:] - cepstra[:-4]
    return np.concatenate([cepstra.mean(axis=0)[1:], cepstra.std(axis=0), speed.std(axis=0)])


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


def _leveled(segment: Floats) -> Floats:
    """Bring a segment to one root mean square."""
    rms = float(np.sqrt(np.mean(segment**2)))
    return segment / max(rms, 1e-9) * 0.1


def _loud(magnitude: Floats) -> npt.NDArray[np.bool_]:
    """Keep the louder half of a band's cells and nothing near digital silence."""
    limit = max(float(np.median(magnitude)), 1e-4)
    return np.asarray(magnitude >= limit)


def _mean(values: Floats, chosen: npt.NDArray[np.bool_]) -> float:
    return float(values[chosen[: len(values)]].mean()) if chosen[: len(values)].any() else 0.0


def _spread(values: Floats, chosen: npt.NDArray[np.bool_]) -> float:
    return float(values[chosen[: len(values)]].std()) if chosen[: len(values)].any() else 0.0


def _flicker(segment: Floats) -> Floats:
    """How far envelope modulation stands out at codec frame rates, mean over bands, in log10."""
    magnitude = np.abs(_stft(_leveled(segment), _FINE_N_FFT, _FINE_HOP))
    frequencies = np.arange(magnitude.shape[1]) * SAMPLE_RATE / _FINE_N_FFT
    lines = []
    for low, high in ((300, 1_000), (1_000, 2_400), (2_400, 4_800), (4_800, 9_000)):
        band = (frequencies >= low) & (frequencies < high)
        envelope = np.log10(magnitude[:, band].mean(axis=1) + 1e-5)
        envelope = envelope - envelope.mean()
        lines.append(np.abs(rfft(envelope * np.hanning(len(envelope)))))
    modulation = np.log10(np.mean(lines, axis=0) + 1e-9)
    around = median_filter(modulation, 41, mode="nearest")
    step = SAMPLE_RATE / _FINE_HOP / (2 * (len(modulation) - 1))
    out = []
    for hz in FLICKER_HZ:
        center = round(hz / step)
        out.append(float((modulation - around)[center - 1 : center + 2].max()))
    return np.array(out)
