"""What must the watermark withstand, and how well? The numbers that were asked, in one table."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What is asked of one attack.

    Attributes:
        detected: Least share of clips whose mark is heard at p < 1e-6.
        exact: Least share whose 64-bit id comes back exactly; None if it is not asked.
    """

    detected: float
    exact: float | None = None


_EVERYDAY: Final = Promise(detected=0.98, exact=0.90)
_HARD: Final = Promise(detected=0.90)
_MOVED: Final = Promise(detected=0.95)

PROMISES: Final[Mapping[str, Promise]] = {
    "clean": _EVERYDAY,
    "mp3-128k": _EVERYDAY,
    "mp3-64k": _EVERYDAY,
    "mp3-32k": _EVERYDAY,
    "aac-64k": _EVERYDAY,
    "opus-32k": _EVERYDAY,
    "resample-8k": _EVERYDAY,
    "noise-30db": _EVERYDAY,
    "pink-20db": _EVERYDAY,
    "lowpass-3500": _EVERYDAY,
    "gain-12db": _EVERYDAY,
    "invert": _EVERYDAY,
    "compand": _EVERYDAY,
    "echo": _EVERYDAY,
    "opus-16k": _HARD,
    "noise-20db": _HARD,
    "crop-5s": Promise(detected=0.95, exact=0.80),
    "speed-0.93": _MOVED,
    "speed-0.95": _MOVED,
    "speed-0.98": _MOVED,
    "speed-1.02": _MOVED,
    "speed-1.05": _MOVED,
    "tempo-0.95": _MOVED,
    "tempo-0.98": _MOVED,
    "tempo-1.02": _MOVED,
    "tempo-1.05": _MOVED,
    "pitch-1": _MOVED,
    "pitch+1": _MOVED,
    "average-41s": _MOVED,
}
"""Attack -> promise. Tempo and pitch are promised as FFmpeg's atempo makes them."""

LOCALIZED: Final = "splice-4s"
"""The attack by which localization is measured."""

LEAST_OVERLAP: Final = 0.85
"""Intersection over union of the stretch that is marked and the one that is found, mean."""
LEAST_PESQ: Final = 4.1
MOST_PLAIN: Final = 0.01
MOST_SEARCH: Final = 0.15
"""Seconds of one core for one second of sound: without and with the search for speed and pitch."""
ASKED_P: Final = 1e-6
"""Chance of a false alarm in one clip."""
