"""What passes between the ears and whoever asks them.

Every detector takes ``(waveform, sample_rate)`` and says in its own module what
else it needs. Nothing here reads files, knows a database or judges.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

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
        score: Agreement in [0, 1]; for Chromaprint 1 - 2 * bit error rate, for landmarks
            s / (s + 40) where s is the evidence in nats: 0.5 is what one of 40 searches of
            unrelated music finds by chance, 0.6 the least that is reported.
        p_value: Chance of so good a match with no relation at all, after
            correction for everything that was tried.
        semitones: Transposition of the query against the work, 0 if untested.
        speed: Query speed relative to the work, 1.0 if untested.
        votes: Distinct keys or peaks of the work that were found again; 0 if not counted.
        error_rate: Share of differing bits, in [0, 1]; None where the engine has no bits.
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
    votes: int = 0
    error_rate: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyed:
    """What an engine is looked up by; two columns of equal length.

    Attributes:
        keys: Shape (n,).
        positions: Where in the sound each key stands; the unit is the engine's.
    """

    keys: npt.NDArray[np.uint32]
    positions: npt.NDArray[np.uint32]


class Postings(Protocol):
    """Where keys occur in an index; three columns of equal length."""

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """Which of the keys asked for."""

    @property
    def works(self) -> npt.NDArray[np.int64]:
        """Number of the work inside the index."""

    @property
    def positions(self) -> npt.NDArray[np.int64]:
        """Item or frame inside the work, from 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatermarkFinding:
    """What was heard of a watermark.

    Attributes:
        detected: Whether the mark is there, at the detector's own limit of false alarms.
        payload: The id, in [0, 2**64); None unless detected and the id could be read.
        p_value: Chance of this finding in a sound without the mark, corrected for all
            alignments, speeds, windows, keys and ids that were tried, in [0, 1].
        z: The statistic of the best alignment; its scale is the detector's.
        key_id: Name of the key that fits best; empty if no key was tried.
        intervals: Marked stretches; scores are the statistic over the stretch.
        epoch: The 16-bit word of the presence layer; None if it was not read.
        speed: Tempo of what was heard relative to what was marked, 1.0 if unchanged.
        semitones: Transposition of what was heard against what was marked.
        method: Which mark: "keyed" or "audioseal".
    """

    detected: bool
    payload: int | None
    p_value: float
    z: float
    key_id: str
    intervals: tuple[Interval, ...]
    epoch: int | None = None
    speed: float = 1.0
    semitones: float = 0.0
    method: str = "keyed"


class Watermarker(Protocol):
    """Anything that can write an id into a sound and hear it again."""

    method: str

    def embed(self, waveform: Waveform, sample_rate: int, *, payload: int, key: bytes) -> Waveform:
        """Mark every channel.

        Args:
            waveform: Shape (channels, samples), float32 in [-1, 1].
            sample_rate: In Hz.
            payload: The id, in [0, 2**64). There is no default: an id that nobody chose
                names nothing.
            key: The secret, at least 16 bytes.

        Returns:
            The same shape and rate; only the mark is added, nothing is resampled.
        """

    def detect(
        self, waveform: Waveform, sample_rate: int, *, keys: Mapping[str, bytes]
    ) -> WatermarkFinding:
        """Listen for every key; the finding is the best key's, corrected for all tried."""
