"""What is asked of a model, and how is its sound judged?

* music: the prompts, and whether the sound has the tempo, key, drums and instrument that
  the prompt names.
* continuation: beginnings of rendered scores. Judged is what comes after them: does it go
  on in their tempo and key, with their drums and instrument?

Each task also judges sounds that no model made, which are its ceilings. Sound effects
have a file of their own (``safegen.evaluation.generation_bench.scenes_task``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Protocol

from safegen.audio import Audio
from safegen.evaluation.generation_bench.adherence import (
    ATTRIBUTES,
    Adherence,
    Heard,
    Judged,
    rates,
)
from safegen.evaluation.generation_bench.anchors import SEEDS, Anchors, wish_of
from safegen.evaluation.generation_bench.readings import Readings
from safegen.evaluation.generation_bench.wishes import Wish
from safegen.generation.base import Request
from safegen.generation.compose import Plan, compose, from_json

Watch = Callable[[Iterable[Any], int, str], Iterator[Any]]

BEGINNING_SECONDS: Final = 3.0
BEGINNINGS: Final = range(50_000, 60_000)
"""Scores whose beginnings are continued, counted as in ``anchors.SEEDS``."""


class Sound(Protocol):
    """A sound with a name that no other sound of its folder has."""

    @property
    def name(self) -> str:
        """For readings."""

    def audio(self) -> Audio:
        """Load or make it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """How often the meters are right about sounds no model made.

    Attributes:
        task: Whose ceiling it is.
        source: What played the scores.
        coded: Whether the sounds went through the codec.
        rates: By attribute.
    """

    task: str
    source: str
    coded: bool
    rates: Mapping[str, Adherence]

    @property
    def name(self) -> str:
        """As people read it."""
        return f"{self.source}, {'through the codec' if self.coded else 'clean'}"


class Task(Protocol):
    """One kind of asking and judging."""

    name: ClassVar[str]
    attributes: ClassVar[tuple[str, ...]]

    def requests(self) -> Sequence[Request]:
        """What is asked for, always the same."""

    def judged(self, sounds: Sequence[Sound], readings: Readings) -> Mapping[str, Adherence]:
        """Judge the sounds of ``requests``, in their order."""

    def planned(self, scores: Sequence[str]) -> Mapping[str, Adherence]:
        """Judge the scores that a model wrote before there was sound; as JSON, all or none."""

    def ceilings(self, readings: Readings, watch: Watch) -> Iterator[Ceiling]:
        """Judge as many sounds that no model made; clean first, then through the codec."""


class MusicTask:
    """Prompts in people's words; see ``Task``.

    Args:
        wishes: What is asked for; item i has seed i.
        anchors: Renders the ceilings.
        seconds: Length of every item.
    """

    name: ClassVar[str] = "music"
    attributes: ClassVar[tuple[str, ...]] = tuple(ATTRIBUTES)
    start_seconds: ClassVar[float] = 0.0

    def __init__(self, wishes: Sequence[Wish], anchors: Anchors, *, seconds: float) -> None:
        self._wishes, self._anchors, self._seconds = tuple(wishes), anchors, seconds

    def requests(self) -> Sequence[Request]:
        """One per prompt."""
        return [
            Request(prompt=wish.prompt, seconds=self._seconds, seed=seed)
            for seed, wish in enumerate(self._wishes)
        ]

    def judged(self, sounds: Sequence[Sound], readings: Readings) -> Mapping[str, Adherence]:
        """Hold what the meters hear against the prompts."""
        return self._held(self._wishes, sounds, readings)

    def planned(self, scores: Sequence[str]) -> Mapping[str, Adherence]:
        """Hold what the scores say against the prompts."""
        if not all(scores):
            return {}
        pairs = zip(self._wishes, scores, strict=True)
        return rates([Judged(wish=wish, heard=_written(score)) for wish, score in pairs])

    def ceilings(self, readings: Readings, watch: Watch) -> Iterator[Ceiling]:
        """Read the meters on rendered scores, with every soundfont there is."""
        count = len(self._wishes)
        for source in self._anchors.renderers:
            for coded in (False, True):
                anchors = self._anchors.rendered(source, range(count), coded=coded)
                label = f"{source}{' coded' if coded else ''}"
                # One at a time: a sound is let go when it has been read.
                rows = [
                    Judged(wish=anchor.wish, heard=self._hear(anchor, readings))
                    for anchor in watch(anchors, count, label)
                ]
                yield Ceiling(task=self.name, source=source, coded=coded, rates=rates(rows))

    def _held(
        self, wishes: Sequence[Wish], sounds: Sequence[Sound], readings: Readings
    ) -> Mapping[str, Adherence]:
        pairs = zip(wishes, sounds, strict=True)
        return rates(
            [Judged(wish=wish, heard=self._hear(sound, readings)) for wish, sound in pairs]
        )

    def _hear(self, sound: Sound, readings: Readings) -> Heard:
        return readings.heard(sound.name, sound.audio, start_seconds=self.start_seconds)


class ContinuationTask(MusicTask):
    """Beginnings of rendered scores; see ``Task``.

    Args:
        count: How many.
        anchors: Renders beginnings and ceilings.
        seconds: Length of every item, with its beginning.
    """

    name: ClassVar[str] = "continuation"
    start_seconds: ClassVar[float] = BEGINNING_SECONDS

    def __init__(self, count: int, anchors: Anchors, *, seconds: float) -> None:
        self._plans = [compose(SEEDS[number]) for number in BEGINNINGS[:count]]
        super().__init__([wish_of(plan) for plan in self._plans], anchors, seconds=seconds)

    def requests(self) -> Sequence[Request]:
        """One per beginning, without words."""
        return [
            Request(
                prompt="", seconds=self._seconds, seed=seed, continue_from=self._beginning(plan)
            )
            for seed, plan in enumerate(self._plans)
        ]

    def _beginning(self, plan: Plan) -> Audio:
        source = self._anchors.reference
        return self._anchors.play(plan, renderer=source, seconds=BEGINNING_SECONDS)


def _written(score: str) -> Heard:
    """Read a score as the meters would if they were never wrong."""
    plan = from_json(score)
    return Heard(
        tempo_bpm=float(plan.tempo_bpm),
        key=plan.key,
        drums=plan.has_drums,
        instrument=plan.instrument,
    )
