"""What must the catalog match reach? The numbers that were asked, in one table."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What is asked of one distortion at one length.

    Attributes:
        recall: Least share of excerpts for which the right work is named.
        is_deep: Whether it is asked of the deep scan instead of the plain match.
    """

    recall: float
    is_deep: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell of the table: a distortion and the length of the excerpt."""

    distortion: str
    seconds: float


CODECS: Final = ("clean", "mp3-128k", "mp3-64k", "aac-64k", "opus-32k", "opus-12k-mono")
FILTERS: Final = ("lowpass-4000", "lowpass-1500", "highpass-500", "shelves-8db")
NOISES: Final = ("noise-20db", "noise-10db", "noise-0db")
ROOMS: Final = ("rerecord-near", "rerecord-far")
TEMPOS: Final = tuple(f"tempo-{each}" for each in ("0.96", "0.98", "0.99", "1.01", "1.02", "1.04"))
SPEEDS: Final = tuple(f"speed-{each}" for each in ("0.96", "0.98", "0.99", "1.01", "1.02", "1.04"))
PITCHES: Final = ("pitch-1", "pitch-50c", "pitch-25c", "pitch+25c", "pitch+50c", "pitch+1")
SPOKEN: Final = ("under-speech-0db", "under-speech-6db", "under-speech-12db")

TABLE: Final = (
    *(*CODECS, *FILTERS, *NOISES, "compressor-4", "eq-12db", *ROOMS),
    *(*TEMPOS, *SPEEDS, *PITCHES, *SPOKEN),
)
"""The distortions that are measured by default, in the order of the report."""

LENGTHS: Final = (3.0, 5.0, 7.0, 10.0, 20.0)
BY_LENGTH: Final = (
    *CODECS,
    *("noise-10db", "highpass-500", "rerecord-far", "tempo-1.04"),
    *("under-speech-0db", "under-speech-6db"),
)
"""The distortions that are measured at every length."""

_FOUND: Final = Promise(recall=0.99)
_MOVED: Final = Promise(recall=0.90, is_deep=True)

PROMISES: Final[Mapping[Cell, Promise]] = {
    **{
        Cell(distortion=name, seconds=10.0): _FOUND
        for name in (*CODECS, *FILTERS, *NOISES, *ROOMS, *TEMPOS)
    },
    **{Cell(distortion=name, seconds=5.0): Promise(recall=0.97) for name in CODECS},
    Cell(distortion="under-speech-0db", seconds=10.0): Promise(recall=0.95),
    Cell(distortion="under-speech-6db", seconds=10.0): Promise(recall=0.80),
    Cell(distortion="pitch-1", seconds=10.0): _MOVED,
    Cell(distortion="pitch+1", seconds=10.0): _MOVED,
    Cell(distortion="speed-1.04", seconds=10.0): _MOVED,
}

LEAST_TRACKS: Final = 130
LEAST_STRANGERS: Final = 5_000
"""Queries of music outside the catalog, of which none may match, at every catalog size."""
MOST_BOUNDARY_SECONDS: Final = 0.5
"""Between where a quoted stretch begins or ends and where it is said to, median."""
BIG: Final = 100_000
"""Works of the catalog at which cost is promised."""
MOST_CHROMAPRINT_MS: Final = 10.0
MOST_BOTH_MS: Final = 60.0
"""95 % of ten-second queries are searched within, on one core, after warm-up."""
MOST_CHROMAPRINT_BYTES: Final = 20_000
"""Of the Chromaprint index for a work of three minutes."""
MOST_OPEN_SECONDS: Final = 1.0
MOST_ADD_SECONDS: Final = 1.0
"""Until one more work is found."""
