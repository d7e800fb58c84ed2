"""Which marks are measured, and how is each of them asked?

The keyed mark is the one that promises are made for. Perth and AudioSeal stand beside it
where they are installed: the same clips, the same attacks, the same matched negatives.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final, Protocol

from detectors.audioseal import AudioSeal
from detectors.base import Interval
from safegen import second_mark, watermark
from safegen.audio import Audio
from safegen.config import Config, from_environment
from safegen.errors import SafegenError
from safegen.evaluation import perth

KEYED: Final = "keyed"
PERTH: Final = "perth"
AUDIOSEAL: Final = "audioseal"

_KEY: Final = hashlib.sha256(b"safegen benchmark key, public").digest()
_FOREIGN_KEY: Final = hashlib.sha256(b"safegen benchmark key of an attacker, public").digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What a mark's detector said.

    Attributes:
        detected: At the mark's own limit.
        payload: The id, if the mark carries one and it was read.
        p_value: In [0, 1]; 1 for marks that give none.
        score: z of the keyed mark, confidence of Perth.
        intervals: Marked stretches, if the mark names them.
    """

    detected: bool
    payload: int | None
    p_value: float
    score: float
    intervals: tuple[Interval, ...] = ()


class Marker(Protocol):
    """A mark under test; hashable, so that its work can be kept."""

    @property
    def name(self) -> str:
        """As in the state file."""

    def __hash__(self) -> int:
        """Be the same for the same settings."""

    def mark(self, audio: Audio, identity: int) -> Audio:
        """Mark as the owner does, with the id that belongs to a number."""

    def foreign(self, audio: Audio) -> Audio:
        """Mark as somebody does who has the program but not the key."""

    def hear(self, audio: Audio) -> Heard:
        """Listen as the owner does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyed:
    """The keyed mark of ``safegen.watermark``."""

    strength: float
    name: str = KEYED

    def mark(self, audio: Audio, identity: int) -> Audio:
        """Mark with the benchmark's key."""
        return watermark.embed(
            audio, payload=payload_of(identity), key=_KEY, strength=self.strength
        )

    def foreign(self, audio: Audio) -> Audio:
        """Mark with a key of the attacker's own."""
        return watermark.embed(
            audio, payload=payload_of(-1), key=_FOREIGN_KEY, strength=self.strength
        )

    def hear(self, audio: Audio, *, search: bool = True) -> Heard:
        """Listen for the benchmark's key."""
        found = watermark.detect(audio, keys={"bench": _KEY}, search=search)
        return Heard(
            detected=found.detected,
            payload=found.payload,
            p_value=found.p_value,
            score=found.z,
            intervals=found.intervals,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Perth:
    """Perth: one bit and no key, so an attacker marks exactly as the owner does."""

    name: str = PERTH

    def mark(self, audio: Audio, identity: int) -> Audio:
        """Mark; there is no id."""
        del identity
        return perth.embed(audio)

    def foreign(self, audio: Audio) -> Audio:
        """Mark as anybody can."""
        return perth.embed(audio)

    def hear(self, audio: Audio) -> Heard:
        """Listen, at the original's limit of one half."""
        score = perth.detect(audio)
        return Heard(detected=score >= perth.THRESHOLD, payload=None, p_value=1.0, score=score)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """AudioSeal with the weights that are installed under a state folder."""

    home: Path
    name: str = AUDIOSEAL

    def mark(self, audio: Audio, identity: int) -> Audio:
        """Mark with 16 bits of the id."""
        return self._mark(audio, payload_of(identity), _KEY)

    def foreign(self, audio: Audio) -> Audio:
        """Mark with another message; there is no key to the mark itself."""
        return self._mark(audio, payload_of(-1), _FOREIGN_KEY)

    def hear(self, audio: Audio) -> Heard:
        """Listen; nothing is made of the message."""
        found = _seal(self.home).detect(audio.waveform, audio.sample_rate, keys={"bench": _KEY})
        return Heard(
            detected=found.detected,
            payload=None,
            p_value=found.p_value,
            score=found.z,
            intervals=found.intervals,
        )

    def _mark(self, audio: Audio, payload: int, key: bytes) -> Audio:
        waveform = _seal(self.home).embed(
            audio.waveform, audio.sample_rate, payload=payload, key=key
        )
        return Audio(waveform=waveform, sample_rate=audio.sample_rate)


def rivals(home: Path) -> tuple[tuple[Marker, ...], tuple[str, ...]]:
    """Find what can stand beside the keyed mark.

    Returns:
        The marks that are installed, and one sentence for each that is not.
    """
    found: list[Marker] = []
    missing: list[str] = []
    if perth.is_installed():
        found.append(Perth())
    else:
        missing.append("Perth: the package resemble-perth is not installed")
    if second_mark.installed(_config(home)) is not None:
        found.append(Seal(home=home))
    else:
        missing.append("AudioSeal: no weights are installed (safegen models pull audioseal)")
    return tuple(found), tuple(missing)


def payload_of(identity: int) -> int:
    """Give each number an id with as many ones as zeros on average."""
    return int.from_bytes(hashlib.sha256(b"benchmark id %d" % identity).digest()[:8], "big")


def _config(home: Path) -> Config:
    return from_environment({"SAFEGEN_HOME": str(home)})


@lru_cache(maxsize=1)
def _seal(home: Path) -> AudioSeal:
    """Load the networks once a process."""
    found = second_mark.from_home(_config(home))
    if found is None:
        raise SafegenError(
            f"{home}: AudioSeal's weights are gone",
            remedy="Install them with `safegen models pull audioseal`, or measure without.",
        )
    return found
