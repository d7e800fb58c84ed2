"""Is the finished file, decoded again, what was judged?

Everything before this looked at numbers in memory. A listener gets the file: encoded,
tagged, signed. So the gate opens it like a stranger would and compares.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from safegen.audio import Audio, load, resample, sha256_file

_RATE: Final = 16_000
_FRAME: Final = 800
"""50 ms: coarse enough that an MP3 encoder's delay does not matter."""
_BANDS: Final = 24
_LENGTH_TOLERANCE_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadBack:
    """The finished file as a stranger finds it.

    Attributes:
        audio: The decoded sound.
        sha256: Of the file's bytes, lower-case hex.
        size_bytes: Of the file.
        agreement: Correlation of band energies with the judged sound, in [-1, 1];
            1 is the same sound, MP3 at 64 kbit/s keeps more than 0.97.
    """

    audio: Audio
    sha256: str
    size_bytes: int
    agreement: float


def read_back(path: Path, judged: Audio) -> ReadBack:
    """Decode the file and compare it with the sound that was judged.

    Args:
        path: The finished file, under any name.
        judged: What was handed to the encoder.

    Raises:
        InputError: If the file does not decode.
    """
    audio = load(path)
    return ReadBack(
        audio=audio,
        sha256=sha256_file(path),
        size_bytes=path.stat().st_size,
        agreement=agreement(judged, audio),
    )


def agreement(a: Audio, b: Audio) -> float:
    """Correlate the log band energies of two sounds, frame by frame.

    Lengths that differ by more than 0.2 s count as no agreement at all, because
    then something was cut or appended.
    """
    if abs(a.seconds - b.seconds) > _LENGTH_TOLERANCE_SECONDS:
        return 0.0
    bands_a, bands_b = _bands(a), _bands(b)
    n = min(bands_a.shape[1], bands_b.shape[1])
    x, y = bands_a[:, :n].ravel(), bands_b[:, :n].ravel()
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((x @ x) * (y @ y)))
    if scale == 0.0:
        return 1.0 if np.array_equal(x, y) else 0.0
    return float(x @ y) / scale


def _bands(audio: Audio) -> npt.NDArray[np.float64]:
    """Log energy in bands spaced evenly on a log scale, shape (_BANDS, frames)."""
    mono = resample(audio, _RATE).mono()
    frames = max(1, len(mono) // _FRAME)
    padded = np.zeros(frames * _FRAME, dtype=np.float32)
    padded[: min(len(mono), len(padded))] = mono[: len(padded)]
    spectrum = np.abs(np.fft.rfft(padded.reshape(frames, _FRAME) * np.hanning(_FRAME))) ** 2
    edges = np.unique(np.geomspace(2, spectrum.shape[1], _BANDS + 1).astype(int))
    energy = np.add.reduceat(spectrum, edges[:-1], axis=1)
    floor = max(float(energy.max()) * 1e-6, 1e-12)
    return np.asarray(np.log(energy + floor).T, dtype=np.float64)
