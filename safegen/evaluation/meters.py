"""What do tempo, key and drums of a recording seem to be?

Three meters built from signal processing alone, so that they owe nothing to the
models they judge. Each has a *ceiling*: how often it is right about recordings whose
tempo, key and drums are known exactly (``safegen.evaluation.generation`` prints both).

* tempo: autocorrelation of the onset strength, summed over a comb of four beats;
  right when within 4 % of the named tempo, its half or its double.
* key: correlation of the mean chroma with key profiles; right when root and mode are.
* drums: a linear score over how much sudden broadband energy there is.

Source: key profiles from Krumhansl, Cognitive Foundations of Musical Pitch (1990),
and Temperley, Music and Probability (2007).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.signal import stft

from safegen.audio import Audio, resample

Floats = npt.NDArray[np.float64]

SAMPLE_RATE: Final = 16_000
TEMPO_TOLERANCE: Final = 0.04
OCTAVES: Final = (0.5, 1.0, 2.0)
ROOTS: Final = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
_FLATS: Final = {"DB": "C#", "EB": "D#", "GB": "F#", "AB": "G#", "BB": "A#", "CB": "B", "FB": "E",
                 "E#": "F", "B#": "C"}  # fmt: skip
PROFILES: Final = {
    "krumhansl": (
        (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
        (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
    ),
    "temperley": (
        (0.748, 0.060, 0.488, 0.082, 0.670, 0.460, 0.096, 0.715, 0.104, 0.366, 0.057, 0.400),
        (0.712, 0.084, 0.474, 0.618, 0.049, 0.460, 0.105, 0.747, 0.404, 0.067, 0.133, 0.330),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the meters say about a recording.

    Attributes:
        tempo_bpm: Beats a minute; right up to an octave.
        key: Root and mode, such as "F# minor".
        drums: Whether drums seem to play.
    """

    tempo_bpm: float
    key: str
    drums: bool


def read(audio: Audio) -> Reading:
    """Read all three meters; the sound should last at least 4 s."""
    mono = np.asarray(resample(audio, SAMPLE_RATE).mono(), dtype=np.float64)
    return Reading(tempo_bpm=tempo(mono), key=key(mono), drums=drums_score(mono) > 0.0)


def same_tempo(measured_bpm: float, named_bpm: float) -> bool:
    """Compare tempi, forgiving an octave and ``TEMPO_TOLERANCE``."""
    return any(abs(measured_bpm / (named_bpm * o) - 1.0) <= TEMPO_TOLERANCE for o in OCTAVES)


def same_key(measured: str, named: str) -> bool:
    """Compare keys by sound: "Gb major" is "F# major"."""
    return canonical_key(measured) == canonical_key(named)


def canonical_key(name: str) -> str:
    """Spell a key with sharps: "Gb major" becomes "F# major".

    Raises:
        ValueError: If the name is not a root and a mode.
    """
    root, _, mode = name.partition(" ")
    root = root.replace("♭", "b").replace("♯", "#").upper()
    root = _FLATS.get(root, root)
    if root not in ROOTS or mode not in ("major", "minor"):
        msg = f"{name!r} is not a key such as 'F# minor'"
        raise ValueError(msg)
    return f"{root} {mode}"


def onset_strength(mono: Floats, *, hop: int = 160) -> Floats:
    """Sum the rises of log energy over 40 bands; one value per ``hop`` samples at 16 kHz."""
    _, _, spectrum = stft(mono, nperseg=1024, noverlap=1024 - hop, boundary="zeros", padded=False)
    bands = _bands(40, 1024) @ np.abs(spectrum)
    level = np.log10(bands + 1e-4 * bands.max(initial=1e-9) + 1e-9)
    rise = np.maximum(0.0, level[:, 2:] - level[:, :-2])
    strength: Floats = rise.mean(axis=0)
    width = 51
    local = np.convolve(strength, np.ones(width) / width, mode="same")
    return np.maximum(0.0, strength - local)


def tempo(mono: Floats) -> float:
    """Estimate beats a minute, up to an octave, of mono sound at 16 kHz."""
    rate = SAMPLE_RATE / 160
    strength = onset_strength(mono)
    strength = strength - strength.mean()
    n = len(strength)
    spectrum = np.fft.rfft(strength, 2 * n)
    correlation = np.fft.irfft(np.abs(spectrum) ** 2)[:n] / np.arange(n, 0, -1)
    correlation /= correlation[0] + 1e-12
    tempi = np.arange(60.0, 182.0, 0.25)
    scores = np.zeros(len(tempi))
    lags = np.arange(n)
    for beats, weight in ((0.5, 0.5), (1, 1.0), (2, 1.0), (3, 0.5), (4, 1.0)):
        at = 60.0 / tempi * rate * beats
        scores += weight * np.interp(at, lags[: n * 3 // 4], correlation[: n * 3 // 4], right=0.0)
    return float(tempi[int(np.argmax(scores))])


def chroma(mono: Floats) -> Floats:
    """Mean energy of the twelve pitch classes between 60 and 2000 Hz, shape (12,), C first."""
    n_fft = 8192
    frequencies, _, spectrum = stft(mono, SAMPLE_RATE, nperseg=n_fft, noverlap=n_fft * 3 // 4)
    magnitude = np.abs(spectrum)
    use = (frequencies > 60) & (frequencies < 2000)
    pitch = 69 + 12 * np.log2(frequencies[use] / 440.0)
    sharpness = np.exp(-0.5 * ((pitch - np.round(pitch)) / 0.25) ** 2)
    energy = magnitude[use] ** 0.5 * sharpness[:, None]
    # Peaks only: skirts of loud partials would fill the neighboring classes.
    inner = magnitude[use]
    above = np.vstack([inner[1:], inner[-1:]])
    below = np.vstack([inner[:1], inner[:-1]])
    energy = energy * ((inner >= above) & (inner >= below))
    classes = np.round(pitch).astype(int) % 12
    return np.array([energy[classes == c].sum() for c in range(12)])


def key(mono: Floats, *, profile: str = "temperley") -> str:
    """Estimate the key of mono sound at 16 kHz; ties go to the lower root, then to major."""
    heard = chroma(mono)
    return key_of_chroma(heard, profile=profile)


def key_of_chroma(heard: Floats, *, profile: str = "temperley") -> str:
    """Find the key whose profile correlates best with a chroma of shape (12,)."""
    best, name = -2.0, "C major"
    for root in range(12):
        for mode, weights in zip(("major", "minor"), PROFILES[profile], strict=True):
            r = float(np.corrcoef(np.roll(heard, -root), np.asarray(weights))[0, 1])
            if r > best:
                best, name = r, f"{ROOTS[root]} {mode}"
    return name


def drums_features(mono: Floats) -> Floats:
    """Describe suddenness: quantiles of frame-to-frame rises in three bands, shape (6,)."""
    _, _, spectrum = stft(mono, nperseg=512, noverlap=352, boundary=None, padded=False)
    power = np.abs(spectrum) ** 2
    total = power.sum(axis=0).mean() + 1e-12
    frequencies = np.arange(257) * SAMPLE_RATE / 512
    features = []
    for low, high in ((30, 150), (1500, 4000), (5000, 8000)):
        band = power[(frequencies >= low) & (frequencies < high)].sum(axis=0) / total
        level = np.log10(band + 1e-5)
        rise = level[2:] - level[:-2]
        features += [np.quantile(rise, 0.95), np.log10(np.quantile(band, 0.95) + 1e-6)]
    return np.array(features)


def drums_score(mono: Floats) -> float:
    """Score the presence of drums in mono sound at 16 kHz; above 0 means drums."""
    return float(drums_features(mono) @ DRUMS_WEIGHTS + DRUMS_BIAS)


# Fitted by safegen.evaluation.meter_fit on training items, clean and through the codec.
DRUMS_WEIGHTS: Final[Floats] = np.array([0.336, 3.470, 0.577, 0.358, 2.322, 2.711])
DRUMS_BIAS: Final = 3.987


def _bands(count: int, n_fft: int) -> Floats:
    """Triangular bands, equally wide on the mel scale from 30 Hz to 8 kHz."""
    edges = 700 * (
        10 ** (np.linspace(np.log10(1 + 30 / 700), np.log10(1 + 8000 / 700), count + 2)) - 1
    )
    bins = np.arange(n_fft // 2 + 1) * SAMPLE_RATE / n_fft
    low, center, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    up, down = (bins - low) / (center - low), (high - bins) / (high - center)
    return np.maximum(0.0, np.minimum(up, down))
