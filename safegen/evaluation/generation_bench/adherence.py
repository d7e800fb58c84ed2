"""How often is a wish fulfilled, and could that be luck?

Every rate has a Wilson interval and stands beside what luck gives. Whether it is better
than luck is decided by a permutation test: the sounds stay, the prompts are dealt anew,
and the p-value is the share of deals that fit as well as the true one. A model that always
plays drums gains nothing in it, however many prompts ask for drums.

Source: Phipson and Smyth, Permutation P-values should never be zero (2010), for counting
the true deal among the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from safegen.audio import Audio
from safegen.evaluation import instrument, meters
from safegen.evaluation.generation_bench.wishes import Wish
from safegen.evaluation.metrics import Rate, wilson

DEALS: Final = 9_999
LEVEL: Final = 0.01
"""A rate is called better than luck below this p-value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What the meters say about a recording.

    Attributes:
        tempo_bpm: Beats a minute; right up to an octave.
        key: Root and mode, such as "F# minor".
        drums: Whether drums seem to play.
        instrument: Which of ``compose.INSTRUMENTS`` seems to play the melody.
    """

    tempo_bpm: float
    key: str
    drums: bool
    instrument: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A wish and what a recording made of it.

    Attributes:
        wish: What was asked for.
        heard: What the meters say.
    """

    wish: Wish
    heard: Heard


@dataclass(frozen=True, slots=True, kw_only=True)
class Adherence:
    """How often one attribute is right.

    Attributes:
        rate: Over the prompts that name it.
        chance: What luck gives: 1/24 for keys, 1/20 for instruments, the share of the more
            frequent answer for drums, and what wrong prompts get for tempo and families.
        p_value: Of the permutation test, one-sided.
    """

    rate: Rate
    chance: float
    p_value: float

    @property
    def is_better_than_chance(self) -> bool:
        """Whether the p-value is below ``LEVEL``."""
        return self.p_value < LEVEL


def hear(audio: Audio) -> Heard:
    """Read all meters; the sound should last at least 4 s.

    Raises:
        IntegrityError: If the instrument meter's weights are not the ones that ship.
    """
    reading = meters.read(audio)
    return Heard(
        tempo_bpm=reading.tempo_bpm,
        key=reading.key,
        drums=reading.drums,
        instrument=instrument.heard(audio),
    )


def _tempo(wish: Wish, heard: Heard) -> bool | None:
    if wish.tempo_bpm is None:
        return None
    return meters.same_tempo(heard.tempo_bpm, wish.tempo_bpm)


def _key(wish: Wish, heard: Heard) -> bool | None:
    return None if wish.key is None else meters.same_key(heard.key, wish.key)


def _drums(wish: Wish, heard: Heard) -> bool | None:
    return None if wish.drums is None else heard.drums == wish.drums


def _instrument(wish: Wish, heard: Heard) -> bool | None:
    return None if wish.instrument is None else heard.instrument == wish.instrument


def _family(wish: Wish, heard: Heard) -> bool | None:
    if wish.instrument is None:
        return None
    return instrument.family(heard.instrument) == instrument.family(wish.instrument)


ATTRIBUTES: Final[Mapping[str, Callable[[Wish, Heard], bool | None]]] = {
    "tempo": _tempo,
    "key": _key,
    "drums": _drums,
    "instrument": _instrument,
    "family": _family,
}
"""Attribute -> is it right? None if the prompt does not name it."""


def adherence(judged: Sequence[Judged], attribute: str) -> Adherence | None:
    """Count one attribute; None if no prompt names it."""
    fits = ATTRIBUTES[attribute]
    named = [row for row in judged if fits(row.wish, row.heard) is not None]
    if not named:
        return None
    right = np.array([[bool(fits(b.wish, a.heard)) for b in named] for a in named])
    return counted(right, chance=_chance(attribute, named))


def counted(right: npt.NDArray[np.bool_], *, chance: float | None) -> Adherence:
    """Count how often a sound fulfils its own prompt, and test that against dealt prompts.

    Args:
        right: Shape (n, n); [i, j]: would the sound of prompt i have fulfilled prompt j?
        chance: What luck gives; what wrong prompts get if None.
    """
    n = len(right)
    hits = int(np.trace(right))
    wrong = (int(right.sum()) - hits) / (n * (n - 1)) if n > 1 else float(right[0, 0])
    rows = np.arange(n)
    dealt = np.random.default_rng(0).permuted(np.tile(rows, (DEALS, 1)), axis=1)
    deals = int((right[rows, dealt].sum(axis=1) >= hits).sum())
    return Adherence(
        rate=wilson(hits, n),
        chance=wrong if chance is None else chance,
        p_value=(1 + deals) / (1 + DEALS),
    )


def rates(judged: Sequence[Judged]) -> dict[str, Adherence]:
    """Count every attribute that some prompt names."""
    counted = {name: adherence(judged, name) for name in ATTRIBUTES}
    return {name: found for name, found in counted.items() if found is not None}


def _chance(attribute: str, named: Sequence[Judged]) -> float | None:
    if attribute == "key":
        return 1 / 24
    if attribute == "instrument":
        return 1 / len(instrument.NAMES)
    if attribute == "drums":
        wanted = sum(row.wish.drums is True for row in named) / len(named)
        return max(wanted, 1.0 - wanted)
    return None
