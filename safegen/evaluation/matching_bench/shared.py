"""Is it really a false match, or do the two recordings hold the same sound?

Albums reuse their own loops, pads and phrases, so a stranger may quote the catalog in
truth. The judge knows nothing of the engines: it lays the two waveforms over each other
second by second as the match says, whitens them, and looks at the highest peak of their
correlation. Of sound that both hold it stands at the very place, and alone: some samples
wide, ten times what is around it. Of music that merely plays the same notes, or other
drums to the same beat, it is one of many.

Source: generalized cross-correlation with phase transform, Knapp and Carter, IEEE ASSP 24
(1976) 320.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np

from detectors.base import Match
from detectors.chromaprint import SAMPLE_RATE, Pcm, pcm
from safegen.audio import Audio, load

SHARED_PEAK: Final = 7.0
"""Height of the peak over the correlation within 50 ms, in deviations. Noise has 3 to 4.5,
the sharpest clicks of unrelated music 6.7, shared sound 6 to 70."""
_LEAST_ALIKE: Final = 2
_LEAST_SHARE: Final = 1 / 3
_NEAR_SECONDS: Final = 0.03
_AROUND: Final = round(0.05 * SAMPLE_RATE)
_PEAK_WIDTH: Final = 11
_REACH_SECONDS: Final = 0.5
_WINDOW: Final = SAMPLE_RATE


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """What two waveforms have in common.

    Attributes:
        seconds: How many were compared.
        alike: Of these, with a sharp peak within 30 ms of the place.
    """

    seconds: int
    alike: int

    @property
    def is_shared(self) -> bool:
        """Whether both hold the same sound, in two seconds at least and a third of all."""
        return self.alike >= _LEAST_ALIKE and self.alike >= _LEAST_SHARE * self.seconds


NOTHING: Final = Likeness(seconds=0, alike=0)


def likeness(query: Audio, work: Path, match: Match) -> Likeness:
    """Compare the waveforms of a query and a work where a match lays them over each other.

    Within a second a tempo that differs by some hundredths does no harm; copies that were
    retuned are unlike.
    """
    own, other = pcm(query.waveform, query.sample_rate), _decoded(work)
    compared = alike = 0
    last = match.query_end_seconds - 1.0
    for start in np.arange(match.query_start_seconds, last + 1e-6).tolist():
        under = match.reference_start_seconds + match.speed * (start - match.query_start_seconds)
        first = round((under - _REACH_SECONDS) * SAMPLE_RATE)
        if first < 0:
            continue  # the very beginning of a work has nothing around it
        window = own[round(start * SAMPLE_RATE) :][:_WINDOW]
        around = other[first:][: _WINDOW + round(2 * _REACH_SECONDS * SAMPLE_RATE)]
        if len(window) < _WINDOW or len(around) < 2 * _WINDOW:
            continue
        compared += 1
        height, lag = _peak(window, around)
        alike += height >= SHARED_PEAK and abs(lag) <= _NEAR_SECONDS
    return Likeness(seconds=compared, alike=alike)


def _peak(window: Pcm, around: Pcm) -> tuple[float, float]:
    """Give the height of the highest peak, and how far from the middle it stands, in seconds."""
    size = 1 << (len(window) + len(around) - 1).bit_length()
    spectra = [np.fft.rfft(each * np.hanning(len(each)), size) for each in (window, around)]
    cross = spectra[1] * np.conj(spectra[0])
    correlation = np.fft.irfft(cross / (np.abs(cross) + 1e-9), size)
    reached = np.abs(correlation[: len(around) - len(window) + 1])
    place = int(reached.argmax())
    low = max(0, place - _AROUND)
    beside = reached[low : place + _AROUND + 1].copy()
    beside[max(0, place - low - _PEAK_WIDTH) : place - low + _PEAK_WIDTH + 1] = 0.0
    if not beside.any():
        return 0.0, 0.0  # silence
    rest = float(np.sqrt(np.square(beside).sum() / np.count_nonzero(beside)))
    return float(reached[place] / rest), place / SAMPLE_RATE - _REACH_SECONDS


@lru_cache(maxsize=4)
def _decoded(path: Path) -> Pcm:
    audio = load(path)
    return pcm(audio.waveform, audio.sample_rate)
