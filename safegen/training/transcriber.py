"""Recipe: train the transcriber on excerpts of the training items.

    seed -> plan -> attributes; phases, pitch classes and drums of every frame
    latents of the codec, noisy, quantized one time in three --transcriber--> the same
    loss = cross-entropy of the attributes (a tempo one beat away is nearly right)
         + squared error of the phases + cross-entropy of pitch classes and drums

Excerpts start anywhere and last from three seconds up; a step holds as many as make the
same number of frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F  # noqa: N812

from safegen.generation.codec import Codec
from safegen.generation.compose import HEADER_TOKENS, compose, to_tokens
from safegen.generation.transcriber import (
    PHASES,
    STRIDE,
    Transcriber,
    TranscriberConfig,
    frame_targets,
)
from safegen.training.loop import Progress, Run, save_module, started_from
from safegen.training.text_plan import near_entropy

LEARNING_RATE: Final = 2e-3
LENGTHS: Final = (75, 75, 75, 125, 200)
"""Frames of an excerpt, drawn for a step: 3, 5 or 8 s."""
QUANTIZED: Final = 1 / 3
NOISE: Final = 0.3
"""Most that is added to latents of unit variance: other sounds than those heard are met."""
HEADER_WEIGHT: Final = 2.0
PHASE_WEIGHT: Final = 2.0


def train(
    latents: npt.NDArray[np.float16],
    seeds: range,
    *,
    codec: Codec,
    folder: Path,
    steps: int,
    batch: int = 48,
    config: TranscriberConfig | None = None,
    lengths: tuple[int, ...] = LENGTHS,
    seed: int = 21,
    save_every: int = 200,
) -> Iterator[Progress]:
    """Train a transcriber, or continue the run found in the folder.

    Args:
        latents: Of the training items, shape (items, frames, latent).
        seeds: Of the same items.
        codec: That made the latents; only its quantizer is used.
        folder: Where the run is kept; the result is ``transcriber.safetensors``.
        steps: Optimizer steps of the whole run.
        batch: Excerpts of the shortest length per step, fewer of longer ones.
        config: Sizes; the shipped ones if None.
        lengths: Frames of an excerpt, one of them drawn for each step.
        seed: Of the run.
        save_every: Steps between checkpoints.

    Yields:
        The loss of each step.
    """
    with started_from(seed):
        transcriber = Transcriber(config or TranscriberConfig())
    frames = latents.shape[1]
    plans = [compose(s) for s in seeds]
    headers = torch.tensor([to_tokens(plan)[:HEADER_TOKENS] for plan in plans])
    targets = np.stack([frame_targets(plan, frames=frames).astype(np.float16) for plan in plans])
    run = Run(transcriber, steps=steps, learning_rate=LEARNING_RATE, seed=seed)
    run.resume(folder)
    while run.step < steps:
        dice = run.generator()
        length = lengths[int(torch.randint(len(lengths), (), generator=dice))]
        count = max(1, batch * min(lengths) // length)
        items = torch.randint(len(plans), (count,), generator=dice).tolist()
        starts = torch.randint(frames - length + 1, (count,), generator=dice).tolist()
        z = cut(latents, items, starts, length)
        if float(torch.rand((), generator=dice)) < QUANTIZED:
            with torch.no_grad():
                z = codec.quantizer.decode(codec.quantizer.encode(z))
        noise = torch.randn(z.shape, generator=dice)
        z = z + NOISE * torch.rand((count, 1, 1), generator=dice) * noise
        wanted = cut(targets, items, starts, length)[:, ::STRIDE]
        with torch.autocast("cpu", torch.bfloat16):
            heard = transcriber(z)
        header = near_entropy(heard.header, headers[items])
        phases = F.mse_loss(heard.frames[..., :PHASES], wanted[..., :PHASES])
        events = F.binary_cross_entropy_with_logits(
            heard.frames[..., PHASES:], wanted[..., PHASES:]
        )
        loss = HEADER_WEIGHT * header + PHASE_WEIGHT * phases + events
        parts = {"attributes": header, "phases": phases, "events": events}
        yield run.update(loss, **{name: float(part.detach()) for name, part in parts.items()})
        if run.step % save_every == 0 or run.step == steps:
            run.save(folder)
    save_module(run.averaged(), folder / "transcriber.safetensors", prefix="")


def cut(
    rows: npt.NDArray[np.float16], items: list[int], starts: list[int], length: int
) -> torch.Tensor:
    """Cut excerpts out of items of shape (items, frames, c); shape (b, length, c)."""
    parts = [rows[item, start : start + length] for item, start in zip(items, starts, strict=True)]
    return torch.from_numpy(np.stack(parts).astype(np.float32))
