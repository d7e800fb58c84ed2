"""Which sound effects does a model make when a prompt asks for them?

Prompts in people's words, each with the sounds it names. ``surest``: the sound that the
meter is surest of is one of them. ``all``: asked for n sounds, they are the n surest.
Ceilings are scenes rendered without a model, clean and through the codec; their sounds are
asked for as a prompt would.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, Final

import numpy as np

from safegen.audio import Audio
from safegen.errors import InputError
from safegen.evaluation.generation_bench.adherence import Adherence, counted
from safegen.evaluation.generation_bench.anchors import NOTHING, Anchor
from safegen.evaluation.generation_bench.readings import Readings
from safegen.evaluation.generation_bench.tasks import Ceiling, Sound, Watch
from safegen.evaluation.sound_meter_fit import labels
from safegen.generation.base import Request
from safegen.generation.codec import Codec
from safegen.generation.scenes import Scene, compose_scene, render_scene
from safegen.generation.sounds import NAMES, sound

PROMPTS: Final = Path(__file__).parent.parent / "heldout_sounds.jsonl"
SEEDS: Final = range(9_600_000, 9_700_000)
"""Scenes of the ceilings; no training seed, and none of the meter's, is among them."""
MOST_SOUNDS: Final = 2
SAMPLES: Final = "sonic-pi-samples"


@dataclass(frozen=True, slots=True, kw_only=True)
class SoundWish:
    """What a prompt asks for.

    Attributes:
        prompt: As typed.
        sounds: Some of ``sounds.NAMES``, at least one.
    """

    prompt: str
    sounds: tuple[str, ...]


def read_sound_prompts(path: Path = PROMPTS) -> tuple[SoundWish, ...]:
    """Read prompts, one JSON object a line.

    Raises:
        InputError: If a line is not a prompt with known sounds.
    """
    wishes = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            wish = SoundWish(prompt=str(row["prompt"]), sounds=tuple(row["sounds"]))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path.name}, line {number}: not a prompt: {error}") from error
        unknown = [x for x in wish.sounds if x not in NAMES]
        if unknown or not wish.sounds:
            raise InputError(f"{path.name}, line {number}: sounds {unknown} are unknown")
        wishes.append(wish)
    return tuple(wishes)


class ScenesTask:
    """Prompts for sound effects; see ``tasks.Task``.

    Args:
        wishes: What is asked for; item i has seed i.
        codec: The ceilings pass through it.
        samples: Folder with the CC0 recordings that some sounds need; scenes with such
            sounds are left out of the ceilings if None.
        seconds: Length of every item.
    """

    name: ClassVar[str] = "sounds"
    attributes: ClassVar[tuple[str, ...]] = ("surest", "all")

    def __init__(
        self,
        wishes: Sequence[SoundWish],
        codec: Codec,
        *,
        samples: Path | None,
        seconds: float,
    ) -> None:
        self._wishes, self._codec = tuple(wishes), codec
        self._samples, self._seconds = samples, seconds

    def requests(self) -> Sequence[Request]:
        """One per prompt."""
        return [
            Request(prompt=wish.prompt, seconds=self._seconds, seed=seed)
            for seed, wish in enumerate(self._wishes)
        ]

    def judged(self, sounds: Sequence[Sound], readings: Readings) -> Mapping[str, Adherence]:
        """Hold the surest sounds against the prompts."""
        ranked = [_ranked(sound, readings) for sound in sounds]
        return _rates([wish.sounds for wish in self._wishes], ranked)

    def planned(self, scores: Sequence[str]) -> Mapping[str, Adherence]:
        """Say nothing: a scene is not held against the prompt by itself."""
        del scores
        return {}

    def ceilings(self, readings: Readings, watch: Watch) -> Iterator[Ceiling]:
        """Read the meter on rendered scenes."""
        count = len(self._wishes)
        for coded in (False, True):
            wanted, ranked = [], []
            label = f"scenes{' coded' if coded else ''}"
            for seed in watch(self._seeds(count), count, label):
                scene = compose_scene(seed)
                way = "coded" if coded else "clean"
                render = partial(self._render, scene, coded=coded)
                wanted.append(self._heard_in(scene))
                anchor = Anchor(f"scene-{way}-{seed}", NOTHING, render)
                ranked.append(_ranked(anchor, readings))
            yield Ceiling(
                task=self.name, source="scenes", coded=coded, rates=_rates(wanted, ranked)
            )

    def _seeds(self, count: int) -> Iterator[int]:
        found = 0
        for seed in SEEDS:
            scene = compose_scene(seed)
            needs = any(sound(layer.sound).source == "samples" for layer in scene.layers)
            if self._samples is None and needs:
                continue
            if 1 <= len(self._heard_in(scene)) <= MOST_SOUNDS:
                yield seed
                found += 1
                if found == count:
                    return

    def _heard_in(self, scene: Scene) -> tuple[str, ...]:
        present = labels(scene, seconds=self._seconds).nonzero().flatten().tolist()
        return tuple(NAMES[place] for place in present)

    def _render(self, scene: Scene, *, coded: bool) -> Audio:
        audio = render_scene(scene, seconds=self._seconds, samples=self._samples)
        return self._codec.decode_codes(self._codec.encode(audio)) if coded else audio


def find_samples(assets: Path | None) -> Path | None:
    """Find the CC0 recordings below an assets folder; None if they were not fetched."""
    if assets is None or not (assets / SAMPLES).is_dir():
        return None
    return assets / SAMPLES


def _ranked(found: Sound, readings: Readings) -> tuple[str, ...]:
    """Names of the sounds, the surest first."""
    probabilities = readings.sounds(found.name, found.audio)
    return tuple(sorted(probabilities, key=lambda name: -probabilities[name]))


def _rates(
    wanted: Sequence[tuple[str, ...]], ranked: Sequence[tuple[str, ...]]
) -> dict[str, Adherence]:
    surest = np.array([[names[0] in wish for wish in wanted] for names in ranked])
    every = np.array([[{*names[: len(wish)]} == {*wish} for wish in wanted] for names in ranked])
    return {"surest": counted(surest, chance=None), "all": counted(every, chance=None)}
