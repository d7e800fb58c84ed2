"""Recipe: train the reader of scenes.

    seed -> scene -> caption -> sounds, their distance, order and rate
    loss = cross-entropy of every sound being named or not
         + cross-entropy of the traits of the sounds that are

Captions are drawn afresh at every step. One in eight names no sound of any scene, so
that the reader learns to say so.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from safegen.generation.scene_captions import caption, stranger
from safegen.generation.scene_reader import READER_TEXT, SceneReader
from safegen.generation.scenes import Scene, compose_scene
from safegen.generation.sounds import NAMES, RATES
from safegen.generation.text import TextConfig, to_batch
from safegen.training.loop import Progress, Run, save_module, started_from

LEARNING_RATE: Final = 2e-3
STRANGERS: Final = 0.125
TRAIT_WEIGHT: Final = 0.3
BEHIND_DB: Final = -6
"""A layer at or below this level counts as far."""
SCENE_SEEDS: Final = range(2_000_000, 2_040_000)
"""Scenes of every recipe for sound effects; held-out scenes have other seeds."""


def train(
    *,
    folder: Path,
    steps: int,
    batch: int = 96,
    config: TextConfig = READER_TEXT,
    seeds: range = SCENE_SEEDS,
    seed: int = 7,
    save_every: int = 200,
) -> Iterator[Progress]:
    """Train the reader, or continue the run found in the folder.

    Args:
        folder: Where the run is kept; the result is ``scene-reader.safetensors``.
        steps: Optimizer steps of the whole run.
        batch: Captions per step.
        config: Sizes of the text encoder.
        seeds: Of the scenes.
        seed: Of the run.
        save_every: Steps between checkpoints.

    Yields:
        The loss of each step, with the share of captions whose sounds were all read right.
    """
    with started_from(seed):
        reader = SceneReader(config)
    run = Run(reader, steps=steps, learning_rate=LEARNING_RATE, seed=seed)
    run.resume(folder)
    while run.step < steps:
        dice = random.Random(seed * 1_000_003 + run.step)  # noqa: S311
        yield _step(run, reader, [_item(seeds, dice) for _ in range(batch)])
        if run.step % save_every == 0 or run.step == steps:
            run.save(folder)
    save_module(run.averaged(), folder / "scene-reader.safetensors", prefix="")


def _item(seeds: range, dice: random.Random) -> tuple[str, Scene | None]:
    if dice.random() < STRANGERS:
        return stranger(dice), None
    scene = compose_scene(seeds[dice.randrange(len(seeds))])
    return caption(scene, dice), scene


def _step(run: Run, reader: SceneReader, items: list[tuple[str, Scene | None]]) -> Progress:
    present, traits = _targets([scene for _, scene in items])
    named, said = reader(to_batch([prompt for prompt, _ in items]))
    names = F.binary_cross_entropy_with_logits(named, present, reduction="sum") / len(items)
    mine = present.bool()
    said, traits = said[mine], traits[mine]
    flags = F.binary_cross_entropy_with_logits(said[:, :2], traits[:, :2])
    rates = F.cross_entropy(said[:, 2:], traits[:, 2].long())
    loss = names + TRAIT_WEIGHT * (flags + rates)
    right = ((named.detach() > 0) == mine).all(dim=1).float().mean()
    return run.update(loss, names=float(names.detach()), right=float(right))


def _targets(scenes: list[Scene | None]) -> tuple[Tensor, Tensor]:
    """Presence, shape (b, sounds), and far, later and rate of each, shape (b, sounds, 3)."""
    present = torch.zeros(len(scenes), len(NAMES))
    traits = torch.zeros(len(scenes), len(NAMES), 3)
    for row, scene in enumerate(scenes):
        for layer in scene.layers if scene else ():
            place = NAMES.index(layer.sound)
            present[row, place] = 1.0
            traits[row, place, 0] = float(layer.level_db <= BEHIND_DB)
            traits[row, place, 1] = float(layer.start_step > 0)
            traits[row, place, 2] = RATES.index(layer.rate)
    return present, traits
