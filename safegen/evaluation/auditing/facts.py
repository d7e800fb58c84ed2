"""What is a file like, apart from whether it is real?

Nothing measured here says how a sound was made. That is the point: if these figures tell
the classes of a data set apart, so can a model that has learned nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from detectors import chromaprint
from detectors.synthetic import trivial
from safegen.audio import Audio, load, sha256_file
from safegen.encodings import encoding
from safegen.errors import InputError

SILENT_DB: Final = -40.0
"""Below the loudest 10 ms of the file, as the trivial feature "quiet share" has it."""
CEILING_DB: Final = -75.0
"""A band this far below the loudest band of 100 Hz holds nothing: dither lies at about -90 dB."""
LEAST_SECONDS: Final = 0.5
DUPLICATE_SECONDS: Final = 5.0
"""Shorter sounds have too few fingerprint items to be told from similar ones."""
HEARD_SECONDS: Final = 60.0
"""Spectral figures and fingerprints are of the first minute."""
_LOSSLESS: Final = ("PCM", "FLAC")
_FLOOR_DB: Final = -100.0
_FRAME_SECONDS: Final = 0.01
_BAND_HZ: Final = 100.0

UNITS: Final[Mapping[str, str]] = {
    "duration": "s",
    "leading silence": "s",
    "trailing silence": "s",
    "peak": "dBFS",
    "loudness": "LUFS",
    "DC offset": "dBFS",
    "digital zeros": "of samples",
    "bandwidth ceiling": "Hz",
    "bit rate": "kbit/s",
    "level": "dBFS",
    "crest": "dB",
    "quiet share": "of frames",
    "zero crossings": "a sample",
    "centroid": "Hz",
    "rolloff": "Hz",
    "tilt": "a decade",
    "top": "decades",
}
"""Name of a number -> its unit; the last eight are the classifier's trivial features."""
NUMBERS: Final = tuple(UNITS)
CATEGORIES: Final = ("sample rate", "channels", "bit depth", "container", "codec")
UNHEARD: Final = "container"
"""No model that is given samples sees it; it only tells that the classes came different ways."""

MEANINGS: Final[Mapping[str, str]] = {
    "duration": "length of the file",
    "leading silence": "silence before the sound begins",
    "trailing silence": "silence after it ends",
    "peak": "the largest sample",
    "loudness": "as broadcasters measure it",
    "DC offset": "how far the waveform sits off zero",
    "digital zeros": "samples that are exactly zero",
    "bandwidth ceiling": "above it there is nothing",
    "bit rate": "size over length; 0 for lossless files",
    "level": "root mean square",
    "crest": "peak above the level",
    "quiet share": "time spent 40 dB below the loudest moment",
    "zero crossings": "how often the waveform changes sign",
    "centroid": "the spectrum's center",
    "rolloff": "95 % of the energy is below it",
    "tilt": "how fast the spectrum falls",
    "top": "energy above 8 kHz, against the mean",
}
"""Name of a number -> what it is, for people."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What was measured of one file.

    Attributes:
        sha256: Of its bytes, hex.
        numbers: By the names of ``NUMBERS``, all finite.
        categories: By the names of ``CATEGORIES``.
        prints: Chromaprint items of the first minute, none below ``DUPLICATE_SECONDS``.
    """

    sha256: str
    numbers: Mapping[str, float]
    categories: Mapping[str, str]
    prints: chromaprint.Items


def measure(path: Path) -> Facts:
    """Read a file and measure it.

    Raises:
        InputError: If it cannot be read as audio, is damaged, silent throughout, or
            shorter than ``LEAST_SECONDS``.

    Cost: about 20 ms of one core per second of sound.
    """
    audio = load(path)
    if audio.seconds < LEAST_SECONDS:
        raise InputError(f"{path}: {audio.seconds:.2f} s long, at least {LEAST_SECONDS:g} s")
    mono = audio.mono().astype(np.float64)
    if not np.abs(mono).max() > 0.0:
        raise InputError(f"{path}: digital silence from beginning to end")
    stored = encoding(path)
    is_lossless = stored.codec in _LOSSLESS
    start = audio.cut(0.0, HEARD_SECONDS)
    leading, trailing = _silences(mono, audio.sample_rate)
    probed = trivial.trivial(trivial.prepare(start.waveform, start.sample_rate))
    numbers = {
        "duration": audio.seconds,
        "leading silence": leading,
        "trailing silence": trailing,
        "peak": _db(float(np.abs(audio.waveform).max())),
        "loudness": _loudness(start),
        "DC offset": _db(abs(float(mono.mean()))),
        "digital zeros": float((mono == 0.0).mean()),
        "bandwidth ceiling": _ceiling(start.mono().astype(np.float64), audio.sample_rate),
        "bit rate": 0.0 if is_lossless else path.stat().st_size * 8 / audio.seconds / 1000,
        **dict(zip(trivial.trivial_names(), probed.tolist(), strict=True)),
    }
    is_long = audio.seconds >= DUPLICATE_SECONDS
    return Facts(
        sha256=sha256_file(path),
        numbers=numbers,
        categories={
            "sample rate": f"{audio.sample_rate} Hz",
            "channels": f"{audio.waveform.shape[0]}",
            "bit depth": f"{stored.bit_depth} bit" if stored.bit_depth else "none (lossy)",
            "container": stored.container,
            # One sound, whichever of them stores it.
            "codec": "lossless" if is_lossless else stored.codec,
        },
        prints=chromaprint.fingerprint(start.waveform, start.sample_rate)
        if is_long
        else np.zeros(0, np.uint32),
    )


def _db(amplitude: float) -> float:
    return max(_FLOOR_DB, 20.0 * float(np.log10(max(amplitude, 1e-12))))


def _silences(mono: Floats, sample_rate: int) -> tuple[float, float]:
    """Seconds before the first and after the last 10 ms that are not silent."""
    frame = max(1, round(_FRAME_SECONDS * sample_rate))
    whole = mono[: len(mono) // frame * frame].reshape(-1, frame)
    level = (whole**2).mean(axis=1)
    loud = np.flatnonzero(level >= level.max() * 10 ** (SILENT_DB / 10))
    seconds = frame / sample_rate
    return float(loud[0] * seconds), float((len(level) - 1 - loud[-1]) * seconds)


def _loudness(audio: Audio) -> float:
    """Integrated loudness of ITU-R BS.1770-4, of the mono mix; ``_FLOOR_DB`` if gated away."""
    import torch
    import torchaudio

    mono = torch.from_numpy(audio.mono()[None])
    with torch.inference_mode():
        value = float(torchaudio.functional.loudness(mono, audio.sample_rate))
    return max(_FLOOR_DB, value) if np.isfinite(value) else _FLOOR_DB


def _ceiling(mono: Floats, sample_rate: int) -> float:
    """Upper edge of the highest band of 100 Hz that holds anything, in Hz."""
    n_fft = 1 << round(np.log2(sample_rate / 12.0))
    frames = np.lib.stride_tricks.sliding_window_view(
        np.pad(mono, (0, max(0, n_fft - len(mono)))), n_fft
    )[:: n_fft // 2]
    # Blackman-Harris leaks less than the 75 dB that are looked for; Hann does not.
    from scipy.signal.windows import blackmanharris

    power = np.zeros(n_fft // 2 + 1)
    window = blackmanharris(n_fft)
    for first in range(0, len(frames), 256):
        block = np.fft.rfft(frames[first : first + 256] * window, axis=1)
        power += (np.abs(block) ** 2).sum(axis=0)
    per_band = max(1, round(_BAND_HZ * n_fft / sample_rate))
    bands = power[: len(power) // per_band * per_band].reshape(-1, per_band).mean(axis=1)
    held = np.flatnonzero(bands >= bands.max() * 10 ** (CEILING_DB / 10))
    return float((held[-1] + 1) * per_band * sample_rate / n_fft)
