"""What would this recording have sounded like before somebody sped it up or retuned it?

The deep scan asks the same question many times: the query is played back at other
pitches and paces, and each variant is searched for as if it were the recording. Every
variant tried makes a chance agreement likelier, so every chance is multiplied by their
number.

What this module does not do: search (``detectors.fingerprint``,
``detectors.constellations``). Steps between the variants are those that the engines
bridge: a hundredth in speed, a semitone in pitch, and paces within a twentieth.
"""

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final

import numpy as np

from detectors.base import Match
from detectors.chromaprint import QUERY_SHIFTS, Items, Pcm, items_at_pace
from detectors.constellations import Query, query_of
from detectors.landmarks import Landmarks

_MAX_DENOMINATOR: Final = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """What may have been done to the recording.

    Attributes:
        pitch: Frequencies relative to the work, 1 if untouched.
        speed: Tempo relative to the work, 1 if untouched.
    """

    pitch: float
    speed: float

    @property
    def semitones(self) -> float:
        """The pitch, as musicians count."""
        return round(12 * math.log2(self.pitch), 2)


VARIANTS: Final = (
    # Retuned at the same tempo,
    *(Variant(pitch=2 ** (n / 12), speed=1.0) for n in range(-6, 7) if n),
    # played faster or slower, pitch and tempo together,
    *(Variant(pitch=1 + n / 100, speed=1 + n / 100) for n in range(-10, 11) if n),
    # and stretched further than the engines bridge by themselves.
    *(Variant(pitch=1.0, speed=speed) for speed in (0.9, 1.1)),
)


def retuned(samples: Pcm, variant: Variant) -> Pcm:
    """Play 16-bit sound so that its pitch is the work's again; its tempo changes with it."""
    from scipy.signal import resample_poly

    ratio = Fraction(variant.pitch).limit_denominator(_MAX_DENOMINATOR)
    if ratio == 1:
        return samples
    sound = resample_poly(samples.astype(np.float32), ratio.numerator, ratio.denominator)
    return np.asarray(np.rint(np.clip(sound, -32_767, 32_767)), dtype=np.int16)


def items(retuned_samples: Pcm, variant: Variant) -> tuple[Items, ...]:
    """Fingerprint a retuned query at the work's pace, from each sub-hop shift."""
    pace = variant.speed / variant.pitch
    return tuple(items_at_pace(retuned_samples[shift:], pace) for shift in QUERY_SHIFTS)


def constellation(retuned_samples: Pcm, variant: Variant) -> Query:
    """Find the landmarks of a retuned query, and write their frames at the work's pace."""
    query = query_of(retuned_samples)
    pace = variant.speed / variant.pitch
    if pace == 1.0:
        return query
    frames = np.rint(query.landmarks.frames * pace).astype(np.int64)
    return Query(
        landmarks=Landmarks(frames=frames, bins=query.landmarks.bins, ranks=query.landmarks.ranks),
        frames=math.ceil(query.frames * pace) + 1,
    )


def told(match: Match, variant: Variant) -> Match:
    """Tell a match of a variant as one of the recording itself."""
    return replace(
        match,
        query_start_seconds=match.query_start_seconds / variant.speed,
        query_end_seconds=match.query_end_seconds / variant.speed,
        speed=match.speed * variant.speed,
        semitones=variant.semitones,
    )
