"""Recipe: train the renderer on the latents of the training items.

    seed -> plan -> roll, caption -> pooled prompt      (each dropped one time in ten)
    noise --renderer--> latents of the codec
    loss = squared error of the velocity

Codec and text encoder stay as they are; latents are computed once and kept in memory.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from safegen.generation.captions import caption
from safegen.generation.codec import FRAME_RATE, STACK, Codec
from safegen.generation.compose import compose
from safegen.generation.renderer import Conditions, Renderer, RendererConfig
from safegen.generation.rolls import roll
from safegen.generation.text import TextEncoder, pool, to_batch
from safegen.training.loop import Progress, Run, save_module, started_from
from safegen.training.manifests import ITEM_SECONDS

LEARNING_RATE: Final = 1.2e-3
DROPPED_PLANS: Final = 0.1
DROPPED_CAPTIONS: Final = 0.1


def train(
    mels: npt.NDArray[np.float16],
    seeds: range,
    *,
    codec: Codec,
    text: TextEncoder,
    folder: Path,
    steps: int,
    batch: int = 24,
    frames: int = 192,
    config: RendererConfig | None = None,
    seed: int = 3,
    save_every: int = 100,
) -> Iterator[Progress]:
    """Train a renderer, or continue the run found in the folder.

    Args:
        mels: Log-mel of the training items, shape (items, mel frames, MELS).
        seeds: Of the same items.
        codec: Finished.
        text: Finished.
        folder: Where the run is kept; the result is ``renderer.safetensors``.
        steps: Optimizer steps of the whole run.
        batch: Excerpts per step.
        frames: Codec frames per excerpt.
        config: Sizes; the shipped ones if None.
        seed: Of the run.
        save_every: Steps between checkpoints.

    Yields:
        The loss of each step.
    """
    with started_from(seed):
        renderer = Renderer(config or RendererConfig())
    latents = encode_items(codec, mels)
    renderer.mean.copy_(latents[::7].float().mean(dim=(0, 1)))
    renderer.scale.copy_(latents[::7].float().std(dim=(0, 1)))
    plans = [compose(s) for s in seeds]
    rolls: dict[int, npt.NDArray[np.float16]] = {}
    run = Run(renderer, steps=steps, learning_rate=LEARNING_RATE, seed=seed)
    run.resume(folder)
    while run.step < steps:
        dice = run.generator()
        words = random.Random(seed * 1_000_003 + run.step)  # noqa: S311
        items = torch.randint(len(plans), (batch,), generator=dice).tolist()
        starts = torch.randint(latents.shape[1] - frames + 1, (batch,), generator=dice).tolist()
        z, rows = [], []
        for item, start in zip(items, starts, strict=True):
            if item not in rolls:
                rolls[item] = roll(plans[item], frames=latents.shape[1]).astype(np.float16)
            rows.append(rolls[item][start : start + frames])
            z.append(latents[item, start : start + frames].float())
        prompts = [caption(plans[item], words) for item in items]
        conditions = Conditions(
            roll=torch.from_numpy(np.stack(rows).astype(np.float32)),
            text=pooled(text, prompts),
            place=torch.tensor([(s / FRAME_RATE, ITEM_SECONDS) for s in starts]),
            has_plan=torch.rand(batch, generator=dice) >= DROPPED_PLANS,
            has_text=torch.rand(batch, generator=dice) >= DROPPED_CAPTIONS,
        )
        with torch.autocast("cpu", torch.bfloat16):
            loss = renderer.loss(torch.stack(z), conditions, dice)
        yield run.update(loss)
        if run.step % save_every == 0 or run.step == steps:
            run.save(folder)
    save_module(run.averaged(), folder / "renderer.safetensors", prefix="")


def encode_items(codec: Codec, mels: npt.NDArray[np.float16]) -> Tensor:
    """Encode all items; shape (items, frames, latent), float16."""
    parts = []
    with torch.inference_mode():
        for i in range(0, len(mels), 50):
            part = torch.from_numpy(mels[i : i + 50].astype(np.float32))
            part = part[:, : part.shape[1] // STACK * STACK]
            parts.append(codec.encode_mel(part).half())
    # Leave inference mode behind: these tensors take part in training.
    return torch.cat(parts).clone()


def pooled(text: TextEncoder, prompts: list[str]) -> Tensor:
    """Encode prompts and average their tokens; shape (b, text width)."""
    with torch.no_grad():
        batch = to_batch(prompts)
        return pool(text(batch), batch.mask)
