"""Recipes: train the two stages of the cascade on the training items.

    seed -> plan -> roll, caption -> pooled prompt      (each dropped one time in ten)
    noise --generator--> coarse mel, 12.5 frames a second
    coarse mel + some noise, roll; noise --U-Net--> latents of the codec, 25 a second
    loss = squared error of the velocity, in both

The stages never meet in training: the U-Net reads coarse mels of real items, made noisy
so that it will bear with those of the generator. Codec and text encoder stay as they are.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from safegen.generation.captions import caption
from safegen.generation.cascade import GENERATOR, coarse_roll
from safegen.generation.codec import FRAME_RATE, Codec
from safegen.generation.compose import Plan, compose
from safegen.generation.renderer import Conditions, Renderer, RendererConfig
from safegen.generation.rolls import roll
from safegen.generation.text import TextEncoder
from safegen.generation.unet import (
    LATENTS_PER_COARSE,
    MELS_PER_COARSE,
    UNet,
    UNetConfig,
    coarsen,
)
from safegen.training.flow import DROPPED_CAPTIONS, DROPPED_PLANS, encode_items, pooled
from safegen.training.loop import Progress, Run, save_module, started_from
from safegen.training.manifests import ITEM_SECONDS

GENERATOR_LEARNING_RATE: Final = 1.5e-3
UNET_LEARNING_RATE: Final = 1.5e-3


def train_generator(
    mels: npt.NDArray[np.float16],
    seeds: range,
    *,
    text: TextEncoder,
    folder: Path,
    steps: int,
    batch: int = 40,
    frames: int = 80,
    config: RendererConfig = GENERATOR,
    seed: int = 11,
    save_every: int = 100,
) -> Iterator[Progress]:
    """Train the generator of coarse mels, or continue the run found in the folder.

    Args:
        mels: Log-mel of the training items, shape (items, mel frames, MELS).
        seeds: Of the same items.
        text: Finished.
        folder: Where the run is kept; the result is ``cascade-generator.safetensors``.
        steps: Optimizer steps of the whole run.
        batch: Excerpts per step.
        frames: Coarse frames per excerpt.
        config: Sizes.
        seed: Of the run.
        save_every: Steps between checkpoints.

    Yields:
        The loss of each step.
    """
    with started_from(seed):
        generator = Renderer(config)
    items = _Items(mels, seeds)
    generator.mean.copy_(items.mean)
    generator.scale.copy_(items.scale)
    run = Run(generator, steps=steps, learning_rate=GENERATOR_LEARNING_RATE, seed=seed)
    run.resume(folder)
    while run.step < steps:
        dice = run.generator()
        words = random.Random(seed * 1_000_003 + run.step)  # noqa: S311
        drawn = items.draw(batch, frames=frames, dice=dice)
        conditions = Conditions(
            roll=coarse_roll(drawn.roll),
            text=pooled(text, [caption(plan, words) for plan in drawn.plans]),
            place=torch.tensor([(s, ITEM_SECONDS) for s in drawn.start_seconds]),
            has_plan=torch.rand(batch, generator=dice) >= DROPPED_PLANS,
            has_text=torch.rand(batch, generator=dice) >= DROPPED_CAPTIONS,
        )
        with torch.autocast("cpu", torch.bfloat16):
            loss = generator.loss(drawn.coarse, conditions, dice)
        yield run.update(loss)
        if run.step % save_every == 0 or run.step == steps:
            run.save(folder)
    save_module(run.averaged(), folder / "cascade-generator.safetensors", prefix="")


def train_unet(
    mels: npt.NDArray[np.float16],
    seeds: range,
    *,
    codec: Codec,
    folder: Path,
    steps: int,
    batch: int = 24,
    frames: int = 64,
    config: UNetConfig | None = None,
    seed: int = 12,
    save_every: int = 100,
) -> Iterator[Progress]:
    """Train the U-Net, or continue the run found in the folder.

    Args:
        mels: Log-mel of the training items, shape (items, mel frames, MELS).
        seeds: Of the same items.
        codec: Finished.
        folder: Where the run is kept; the result is ``cascade-unet.safetensors``.
        steps: Optimizer steps of the whole run.
        batch: Excerpts per step.
        frames: Coarse frames per excerpt; twice as many latents.
        config: Sizes; the shipped ones if None.
        seed: Of the run.
        save_every: Steps between checkpoints.

    Yields:
        The loss of each step.
    """
    with started_from(seed):
        unet = UNet(config or UNetConfig())
    items = _Items(mels, seeds)
    latents = encode_items(codec, mels)
    unet.mean.copy_(latents[::7].float().mean(dim=(0, 1)))
    unet.scale.copy_(latents[::7].float().std(dim=(0, 1)))
    unet.coarse_mean.copy_(items.mean)
    unet.coarse_scale.copy_(items.scale)
    run = Run(unet, steps=steps, learning_rate=UNET_LEARNING_RATE, seed=seed)
    run.resume(folder)
    while run.step < steps:
        dice = run.generator()
        drawn = items.draw(batch, frames=frames, dice=dice)
        z = [
            latents[i, LATENTS_PER_COARSE * s : LATENTS_PER_COARSE * (s + frames)].float()
            for i, s in zip(drawn.items, drawn.starts, strict=True)
        ]
        has_plan = torch.rand(batch, generator=dice) >= DROPPED_PLANS
        with torch.autocast("cpu", torch.bfloat16):
            loss = unet.loss(torch.stack(z), drawn.coarse, drawn.roll, has_plan, dice)
        yield run.update(loss)
        if run.step % save_every == 0 or run.step == steps:
            run.save(folder)
    save_module(run.averaged(), folder / "cascade-unet.safetensors", prefix="")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drawn:
    """Excerpts of b training items.

    Attributes:
        items: Which items.
        starts: First coarse frame of each.
        plans: Of the items.
        coarse: Shape (b, frames, MELS).
        roll: Shape (b, ``LATENTS_PER_COARSE`` * frames, ROLL_CHANNELS).
    """

    items: list[int]
    starts: list[int]
    plans: list[Plan]
    coarse: Tensor
    roll: Tensor

    @property
    def start_seconds(self) -> list[float]:
        """Where each excerpt starts in its item."""
        return [s * LATENTS_PER_COARSE / FRAME_RATE for s in self.starts]


class _Items:
    """Coarse mels and rolls of the training items; a roll is laid out when first drawn."""

    def __init__(self, mels: npt.NDArray[np.float16], seeds: range) -> None:
        self.plans = [compose(s) for s in seeds]
        parts = []
        for i in range(0, len(mels), 50):
            part = torch.from_numpy(mels[i : i + 50].astype(np.float32))
            whole = part.shape[1] // MELS_PER_COARSE * MELS_PER_COARSE
            parts.append(coarsen(part[:, :whole]).half())
        self.coarse = torch.cat(parts)
        some = self.coarse[::7].float()
        self.mean, self.scale = some.mean(dim=(0, 1)), some.std(dim=(0, 1))
        self._rolls: dict[int, npt.NDArray[np.float16]] = {}

    def draw(self, count: int, *, frames: int, dice: torch.Generator) -> _Drawn:
        """Cut excerpts of so many coarse frames out of random items."""
        items: list[int] = torch.randint(len(self.plans), (count,), generator=dice).tolist()
        room = self.coarse.shape[1] - frames + 1
        starts: list[int] = torch.randint(room, (count,), generator=dice).tolist()
        pairs = list(zip(items, starts, strict=True))
        rows = [
            self._roll(i)[LATENTS_PER_COARSE * s : LATENTS_PER_COARSE * (s + frames)]
            for i, s in pairs
        ]
        return _Drawn(
            items=items,
            starts=starts,
            plans=[self.plans[i] for i in items],
            coarse=torch.stack([self.coarse[i, s : s + frames].float() for i, s in pairs]),
            roll=torch.from_numpy(np.stack(rows).astype(np.float32)),
        )

    def _roll(self, item: int) -> npt.NDArray[np.float16]:
        if item not in self._rolls:
            frames = LATENTS_PER_COARSE * self.coarse.shape[1]
            self._rolls[item] = roll(self.plans[item], frames=frames).astype(np.float16)
        return self._rolls[item]
