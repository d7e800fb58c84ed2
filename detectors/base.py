"""What passes between the ears and whoever asks them.

Every detector takes ``(waveform, sample_rate)`` and says in its own module what
else it needs. Nothing here reads files, knows a database or judges.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Waveform = npt.NDArray[np.float32]
"""Shape (channels, samples), float32 in [-1, 1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A stretch of time in the listened file.

    Attributes:
        start_seconds: Inclusive, >= 0.
        end_seconds: Exclusive, > start_seconds.
        score: What the detector measured there; the range is the detector's.
    """

    start_seconds: float
    end_seconds: float
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """One stretch of the query that quotes one stretch of a known work.

    Attributes:
        work_id: Id of the work in whichever memory was searched.
        engine: "chromaprint", "landmarks", ...
        score: Agreement in [0, 1]; for Chromaprint 1 - 2 * bit error rate.
        p_value: Chance of so good a match with no relation at all, after
            correction for everything that was tried.
        semitones: Transposition of the query against the work, 0 if untested.
        speed: Query speed relative to the work, 1.0 if untested.
    """

    work_id: str
    engine: str
    query_start_seconds: float
    query_end_seconds: float
    reference_start_seconds: float
    reference_end_seconds: float
    score: float
    p_value: float
    semitones: float = 0.0
    speed: float = 1.0
