"""What does each engine say alone, and how long does it take?

``CatalogMatcher.match`` asks all engines and tells each quotation once; here each is asked
for itself, in the same indexes and by the same rules.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from detectors import chromaprint, constellations, fingerprint, landmarks
from detectors.base import Match
from detectors.chromaprint import QUERY_SHIFTS, Items, items_of, pcm
from safegen import matching
from safegen.audio import Audio
from safegen.matching import CatalogMatcher

ENGINES: Final = tuple(matching.ENGINES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A recording as every engine hears it.

    Attributes:
        items: From each of Chromaprint's shifts.
        peaks: Landmarks.
        milliseconds: Engine -> time it took to hear.
    """

    items: tuple[Items, ...]
    peaks: constellations.Query
    milliseconds: Mapping[str, float]


def hear(audio: Audio) -> Query:
    """Fingerprint a query for every engine; the resampling counts for Chromaprint."""
    begun = time.perf_counter()
    samples = pcm(audio.waveform, audio.sample_rate)
    items = tuple(items_of(samples[shift:]) for shift in QUERY_SHIFTS)
    between = time.perf_counter()
    peaks = constellations.query_of(samples)
    ended = time.perf_counter()
    return Query(
        items=items,
        peaks=peaks,
        milliseconds={
            chromaprint.ENGINE: 1e3 * (between - begun),
            landmarks.ENGINE: 1e3 * (ended - between),
        },
    )


def _by_items(matcher: CatalogMatcher, query: Query) -> tuple[Match, ...]:
    return matcher.search(
        chromaprint.ENGINE, lambda index: fingerprint.find_matches(query.items, index)
    )


def _by_landmarks(matcher: CatalogMatcher, query: Query) -> tuple[Match, ...]:
    return matcher.search(
        landmarks.ENGINE, lambda index: constellations.find_matches(query.peaks, index)
    )


ALONE: Final[Mapping[str, Callable[[CatalogMatcher, Query], tuple[Match, ...]]]] = {
    chromaprint.ENGINE: _by_items,
    landmarks.ENGINE: _by_landmarks,
}
"""Engine -> how to ask it."""
