"""Which models are measured, on what, and beside what?

Models of music get the prompts. A model that continues sound gets beginnings of rendered
scores and is judged on what it adds: does it go on in their tempo and key, with their
drums and instrument? Everything that was made or heard stays in a work folder, so that a
stopped run goes on and another model only costs its own time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from safegen.audio import Audio, sha256_file
from safegen.evaluation.generation_bench import frechet
from safegen.evaluation.generation_bench.adherence import Adherence, Heard, Judged, rates
from safegen.evaluation.generation_bench.anchors import SEEDS, Anchor, Anchors, wish_of
from safegen.evaluation.generation_bench.items import made
from safegen.evaluation.generation_bench.musicnn import Musicnn, find_musicnn
from safegen.evaluation.generation_bench.readings import Readings
from safegen.evaluation.generation_bench.speed import Cost, cost
from safegen.evaluation.generation_bench.wishes import Wish
from safegen.generation.base import Request
from safegen.generation.cards import DEFAULT_MODEL, ModelCard, card
from safegen.generation.compose import compose, from_json
from safegen.generation.systems import load, load_codec

Watch = Callable[[Iterable[Any], int, str], Iterator[Any]]

BEGINNING_SECONDS: Final = 3.0
BEGINNINGS: Final = range(50_000, 60_000)
"""Scores whose beginnings are continued, counted as in ``anchors.SEEDS``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """How often the meters are right about sounds no model made.

    Attributes:
        renderer: What played the scores.
        coded: Whether the sounds went through the codec.
        start_seconds: What was left out at the beginning of each.
        rates: By attribute.
    """

    renderer: str
    coded: bool
    start_seconds: float
    rates: dict[str, Adherence]

    @property
    def name(self) -> str:
        """As people read it."""
        return f"{self.renderer}, {'through the codec' if self.coded else 'clean'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one model reached.

    Attributes:
        card: Of the model.
        task: "music" or "continuation".
        items: How many sounds were made.
        rates: By attribute, of the sound.
        planned: By attribute, of the score the model wrote; empty if it wrote none.
        distance: To rendered scores, None without musicnn.
        cost: In a process of its own.
        item_cpu_seconds: Processor time per second of sound over all items.
    """

    card: ModelCard
    task: str
    items: int
    rates: dict[str, Adherence]
    planned: dict[str, Adherence]
    distance: frechet.Distance | None
    cost: Cost
    item_cpu_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What is the same for every model of a run.

    Attributes:
        wishes: What is asked for; item i has seed i.
        seconds: Length of every item.
        device: "cpu" or "cuda".
        timed: How many items the cost is measured on.
    """

    wishes: tuple[Wish, ...]
    seconds: float
    device: str
    timed: int


class Bench:
    """One run: the same prompts, seeds, lengths and meters for every model.

    Args:
        work: Keeps what was made and heard.
        conditions: Of the run.
        assets: With soundfonts, musicnn and music, as far as they are there.
        watch: Wraps long loops, given their length and a label.
    """

    def __init__(
        self, work: Path, conditions: Conditions, *, assets: Path | None, watch: Watch
    ) -> None:
        self._work, self._conditions, self._watch = work, conditions, watch
        self.anchors = Anchors(assets, load_codec(), seconds=conditions.seconds)
        found = None if assets is None else find_musicnn(assets)
        self._musicnn = None if found is None else Musicnn(found)

    @property
    def hears_distance(self) -> bool:
        """Whether musicnn is there."""
        return self._musicnn is not None

    def row(self, model: str) -> Row:
        """Measure one model.

        Raises:
            InputError: If the model does not exist or cannot do what is asked.
        """
        facts = card(model)
        task = task_of(facts)
        start = BEGINNING_SECONDS if task == "continuation" else 0.0
        pairs = self._pairs(task)
        requests = [request for _, request in pairs]
        folder = self._work / model
        readings = Readings(folder, version="", musicnn=self._musicnn)
        generator = load(model, device=self._conditions.device)
        judged, planned, embedded, spent, length = [], [], [], 0.0, 0.0
        items = self._watch(made(generator, requests, folder=folder), len(pairs), model)
        for (wish, _), item in zip(pairs, items, strict=True):
            heard = readings.heard(item.name, item.audio, start_seconds=start)
            judged.append(Judged(wish=wish, heard=heard))
            if item.plan_json:
                planned.append(Judged(wish=wish, heard=_written(item.plan_json)))
            if self._musicnn is not None:
                embedded.append(readings.embedded(item.name, item.audio))
            spent, length = spent + item.cpu_seconds, length + item.seconds
        return Row(
            card=facts,
            task=task,
            items=len(pairs),
            rates=rates(judged),
            planned=rates(planned),
            distance=self._to_renders(embedded),
            cost=cost(model, requests[: self._conditions.timed], device=self._conditions.device),
            item_cpu_seconds=spent / length,
        )

    def sounds(self, model: str) -> Iterator[Audio]:
        """Give the sounds of a model that was measured, in the order of the prompts."""
        generator = load(model, device=self._conditions.device)
        requests = [request for _, request in self._pairs(task_of(card(model)))]
        for item in made(generator, requests, folder=self._work / model):
            yield item.audio()

    def ceilings(self, *, start_seconds: float = 0.0) -> Iterator[Ceiling]:
        """Read the meters on as many rendered scores as there are prompts."""
        count = len(self._conditions.wishes)
        for renderer in self.anchors.renderers:
            for coded in (False, True):
                anchors = self.anchors.rendered(renderer, range(count), coded=coded)
                label = f"{renderer}{' coded' if coded else ''}"
                judged = [
                    Judged(
                        wish=anchor.wish,
                        heard=self._read.heard(
                            anchor.name, anchor.audio, start_seconds=start_seconds
                        ),
                    )
                    for anchor in self._watch(anchors, count, label)
                ]
                yield Ceiling(
                    renderer=renderer,
                    coded=coded,
                    start_seconds=start_seconds,
                    rates=rates(judged),
                )

    def distances(self) -> dict[str, frechet.Distance]:
        """Measure sets that no model made against rendered scores; empty without musicnn."""
        count = len(self._conditions.wishes)
        others, name = range(count, 2 * count), self.anchors.reference
        sets = {
            f"other scores, {name}": self.anchors.rendered(name, others, coded=False),
            f"other scores, {name}, through the codec": self.anchors.rendered(
                name, others, coded=True
            ),
            **{
                f"other scores, {font}": self.anchors.rendered(font, others, coded=False)
                for font in self.anchors.renderers[1:]
            },
            "recordings of game music": self.anchors.recordings(count),
        }
        found = {
            label: self._to_renders(list(self._embedded(anchors, label)))
            for label, anchors in sets.items()
        }
        return {label: distance for label, distance in found.items() if distance is not None}

    def _pairs(self, task: str) -> list[tuple[Wish, Request]]:
        return list(self._continued() if task == "continuation" else self._asked())

    def _asked(self) -> Iterator[tuple[Wish, Request]]:
        for seed, wish in enumerate(self._conditions.wishes):
            yield (
                wish,
                Request(prompt=wish.prompt, seconds=self._conditions.seconds, seed=seed),
            )

    def _continued(self) -> Iterator[tuple[Wish, Request]]:
        for seed in range(len(self._conditions.wishes)):
            plan = compose(SEEDS[BEGINNINGS[seed]])
            beginning = self.anchors.play(
                plan, renderer=self.anchors.reference, seconds=BEGINNING_SECONDS
            )
            yield (
                wish_of(plan),
                Request(
                    prompt="",
                    seconds=self._conditions.seconds,
                    seed=seed,
                    continue_from=beginning,
                ),
            )

    @cached_property
    def _read(self) -> Readings:
        codec = card(DEFAULT_MODEL).file("codec").sha256
        fonts = [sha256_file(path)[:12] for path in self.anchors.soundfonts]
        version = " ".join((f"{self._conditions.seconds:g}", codec[:12], *fonts))
        return Readings(self._work / "anchors", version=version, musicnn=self._musicnn)

    @cached_property
    def _renders(self) -> list[frechet.Floats]:
        """Embeddings of rendered scores, which every distance is measured to."""
        count, name = len(self._conditions.wishes), self.anchors.reference
        anchors = self.anchors.rendered(name, range(count), coded=False)
        return list(self._embedded(anchors, f"scores, {name}"))

    def _embedded(self, anchors: Iterable[Anchor], label: str) -> Iterator[frechet.Floats]:
        if self._musicnn is not None:
            for anchor in self._watch(anchors, len(self._conditions.wishes), label):
                yield self._read.embedded(anchor.name, anchor.audio)

    def _to_renders(self, embedded: Sequence[frechet.Floats]) -> frechet.Distance | None:
        if not embedded or self._musicnn is None:
            return None
        return frechet.between(list(embedded), self._renders)


def task_of(found: ModelCard) -> str:
    """Say what a model is measured on: "music" or "continuation"."""
    return "continuation" if "AudioLM" in found.after else "music"


def _written(plan_json: str) -> Heard:
    """Read a score as the meters would if they were never wrong."""
    plan = from_json(plan_json)
    return Heard(
        tempo_bpm=float(plan.tempo_bpm),
        key=plan.key,
        drums=plan.has_drums,
        instrument=plan.instrument,
    )
