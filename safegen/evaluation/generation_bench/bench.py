"""One run: which models are measured, and beside what?

Every model gets what its task asks (``safegen.evaluation.generation_bench.tasks``), with
the same seeds, lengths and meters. Everything that was made or heard stays in a work
folder, so that a stopped run goes on and another model only costs its own time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from safegen.audio import Audio, sha256_file
from safegen.evaluation.generation_bench import frechet
from safegen.evaluation.generation_bench.adherence import Adherence
from safegen.evaluation.generation_bench.anchors import Anchor, Anchors
from safegen.evaluation.generation_bench.items import Item, made
from safegen.evaluation.generation_bench.musicnn import Musicnn, find_musicnn
from safegen.evaluation.generation_bench.readings import Readings
from safegen.evaluation.generation_bench.scenes_task import (
    ScenesTask,
    find_samples,
    read_sound_prompts,
)
from safegen.evaluation.generation_bench.speed import Cost, cost
from safegen.evaluation.generation_bench.tasks import (
    Ceiling,
    ContinuationTask,
    MusicTask,
    Task,
    Watch,
)
from safegen.evaluation.generation_bench.wishes import Wish
from safegen.generation.cards import DEFAULT_MODEL, ModelCard, card
from safegen.generation.parts import codec_of
from safegen.generation.systems import load, load_codec

_CONTINUING: Final = "AudioLM"
_SOUNDING: Final = ("AudioGen", "Diffsound")
"""Systems after which a model continues sound, or makes sound effects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one model reached.

    Attributes:
        card: Of the model.
        task: Name of what it was asked.
        attributes: What the task counts.
        items: How many sounds were made.
        rates: By attribute, of the sound.
        planned: By attribute, of the score the model wrote; empty if it wrote none.
        distance: To rendered scores; None without musicnn, or if it makes no music.
        cost: In a process of its own.
        item_cpu_seconds: Processor time per second of sound over all items.
    """

    card: ModelCard
    task: str
    attributes: tuple[str, ...]
    items: int
    rates: Mapping[str, Adherence]
    planned: Mapping[str, Adherence]
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
    """One run; see the module.

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
        self._assets = assets
        self._anchors = Anchors(assets, load_codec(), seconds=conditions.seconds)
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
        found = card(model)
        task = self._task(found)
        items = self._made(model, task)
        readings = Readings(self._work / model, version="", musicnn=self._musicnn)
        timed = task.requests()[: self._conditions.timed]
        return Row(
            card=found,
            task=task.name,
            attributes=task.attributes,
            items=len(items),
            rates=task.judged(items, readings),
            planned=task.planned([item.plan_json for item in items]),
            distance=(
                None if task.name == ScenesTask.name else self._to_renders(items, readings, model)
            ),
            cost=cost(model, timed, device=self._conditions.device),
            item_cpu_seconds=sum(x.cpu_seconds for x in items) / sum(x.seconds for x in items),
        )

    def sounds(self, model: str) -> Iterator[Audio]:
        """Give the sounds of a model, in the order of what was asked."""
        for item in self._made(model, self._task(card(model))):
            yield item.audio()

    def ceilings(self, models: Sequence[str]) -> tuple[Ceiling, ...]:
        """Judge sounds that no model made, as many as there are prompts, once for each task."""
        tasks = {task.name: task for task in (self._task(card(model)) for model in models)}
        return tuple(
            ceiling
            for task in tasks.values()
            for ceiling in task.ceilings(self._readings, self._watch)
        )

    def distances(self) -> dict[str, frechet.Distance]:
        """Measure sets that no model made against rendered scores; empty without musicnn."""
        count, name = len(self._conditions.wishes), self._anchors.reference
        others = range(count, 2 * count)
        sets = {
            f"other scores, {name}": self._anchors.rendered(name, others, coded=False),
            f"other scores, {name}, through the codec": self._anchors.rendered(
                name, others, coded=True
            ),
            **{
                f"other scores, {font}": self._anchors.rendered(font, others, coded=False)
                for font in self._anchors.renderers[1:]
            },
            "recordings of game music": self._anchors.recordings(count),
        }
        found = {
            label: self._to_renders(anchors, self._readings, label)
            for label, anchors in sets.items()
        }
        return {label: distance for label, distance in found.items() if distance is not None}

    def _task(self, found: ModelCard) -> Task:
        wishes, seconds = self._conditions.wishes, self._conditions.seconds
        if any(name in found.after for name in _SOUNDING):
            asked = read_sound_prompts()[: len(wishes)]
            samples = find_samples(self._assets)
            return ScenesTask(asked, codec_of(found), samples=samples, seconds=seconds)
        if _CONTINUING in found.after:
            return ContinuationTask(len(wishes), self._anchors, seconds=seconds)
        return MusicTask(wishes, self._anchors, seconds=seconds)

    def _made(self, model: str, task: Task) -> list[Item]:
        requests = task.requests()
        generator = load(model, device=self._conditions.device)
        steps = made(generator, requests, folder=self._work / model)
        return list(self._watch(steps, len(requests), model))

    @cached_property
    def _readings(self) -> Readings:
        """Of anchors; their sounds depend on the codec, the soundfonts and the length."""
        codec = card(DEFAULT_MODEL).file("codec").sha256
        fonts = [sha256_file(path)[:12] for path in self._anchors.soundfonts]
        version = " ".join((f"{self._conditions.seconds:g}", codec[:12], *fonts))
        return Readings(self._work / "anchors", version=version, musicnn=self._musicnn)

    @cached_property
    def _renders(self) -> list[frechet.Floats]:
        """Embeddings of rendered scores, which every distance is measured to."""
        count, name = len(self._conditions.wishes), self._anchors.reference
        anchors = self._anchors.rendered(name, range(count), coded=False)
        return self._embedded(anchors, self._readings, f"scores, {name}")

    def _embedded(
        self, sounds: Iterable[Anchor | Item], readings: Readings, label: str
    ) -> list[frechet.Floats]:
        steps = self._watch(sounds, len(self._conditions.wishes), label)
        return [readings.embedded(sound.name, sound.audio) for sound in steps]

    def _to_renders(
        self, sounds: Iterable[Anchor | Item], readings: Readings, label: str
    ) -> frechet.Distance | None:
        if self._musicnn is None:
            return None
        embedded = self._embedded(sounds, readings, f"{label}, embedded")
        return frechet.between(embedded, self._renders) if embedded else None
