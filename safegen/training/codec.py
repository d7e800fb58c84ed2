"""Recipe: train the mel-VQ codec.

    training items -> log-mel -> encoder -> latent -> (four codebooks | noise) -> decoder
    loss = L1 on log-mel + 0.25 * distance of the latent to its code

Two thirds of every batch pass the codebooks, one third skips them with a little noise,
so that the decoder serves token models and diffusion models alike. Codebooks start from
the data, follow it by moving average, and dead entries restart from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from safegen.generation.codec import STACK, Codec, CodecConfig, nearest
from safegen.training.loop import Progress, Run, save_module, started_from

LEARNING_RATE: Final = 1.5e-3
COMMITMENT: Final = 0.25
NOISE: Final = 0.15
CODEBOOK_DECAY: Final = 0.98
DEAD_USES: Final = 0.05
QUANTIZED_SHARE: Final = 2 / 3
QUANTIZER_START: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class CodecLosses:
    """What one batch says."""

    total: Tensor
    figures: dict[str, float]


def train(
    mels: npt.NDArray[np.float16],
    *,
    folder: Path,
    steps: int,
    batch: int = 32,
    frames: int = 128,
    config: CodecConfig | None = None,
    seed: int = 1,
    save_every: int = 200,
) -> Iterator[Progress]:
    """Train a codec, or continue the run found in the folder.

    Args:
        mels: Log-mel of the training items, shape (items, mel frames, MELS).
        folder: Where the run is kept; the finished codec is ``codec.safetensors``.
        steps: Optimizer steps of the whole run.
        batch: Excerpts per step.
        frames: Latent frames per excerpt.
        config: Sizes; the shipped ones if None.
        seed: Of the run.
        save_every: Steps between checkpoints.

    Yields:
        The loss of each step, with the log-mel error of both paths.
    """
    with started_from(seed):
        model = CodecTraining(config or CodecConfig())
    sample = np.asarray(mels[:: max(1, len(mels) // 64)], dtype=np.float32)
    model.codec.mean.copy_(torch.from_numpy(sample.mean(axis=(0, 1))))
    model.codec.scale.copy_(torch.tensor(sample.std()))
    run = Run(model, steps=steps, learning_rate=LEARNING_RATE, seed=seed)
    run.resume(folder)
    while run.step < steps:
        dice = run.generator()
        excerpts = _excerpts(mels, dice, batch=batch, length=frames * STACK)
        losses = model.losses(excerpts, dice, step=run.step)
        yield run.update(losses.total, **losses.figures)
        if run.step % save_every == 0 or run.step == steps:
            run.save(folder)
    save_module(run.averaged(), folder / "codec.safetensors", prefix="codec.")


class CodecTraining(nn.Module):
    """The codec with the statistics that move its codebooks."""

    uses: Tensor
    sums: Tensor

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.codec = Codec(config)
        shape = (config.codebooks, config.codes)
        self.register_buffer("uses", torch.ones(shape))
        self.register_buffer("sums", torch.zeros(*shape, config.latent))

    def go_on_from(self, codec: Codec) -> None:
        """Start from a finished codec, as if each entry of its codebooks had just been used."""
        self.codec.load_state_dict(codec.state_dict())
        self.uses.fill_(1.0)
        self.sums.copy_(self.codec.quantizer.codebook)

    def losses(self, mels: Tensor, dice: torch.Generator, *, step: int) -> CodecLosses:
        """Compare what comes out with what went in, for excerpts of shape (b, 2t, MELS)."""
        with torch.autocast("cpu", torch.bfloat16):
            z = self.codec.encode_mel(mels).float()
        quantized_rows = round(len(z) * QUANTIZED_SHARE) if step >= QUANTIZER_START else 0
        free = z[quantized_rows:]
        noise = torch.randn(free.shape, generator=dice) * NOISE
        passed, commitment = free + noise, z.new_zeros(())
        if step == QUANTIZER_START:
            self._start_codebooks(z.detach().reshape(-1, z.shape[-1]), dice)
        if quantized_rows:
            named = self._quantize(z[:quantized_rows], dice)
            commitment = F.mse_loss(z[:quantized_rows], named)
            passed = torch.cat([z[:quantized_rows] + (named - z[:quantized_rows]).detach(), passed])
        with torch.autocast("cpu", torch.bfloat16):
            rebuilt = self.codec.decode_mel(passed).float()
        error = (rebuilt - mels).abs().mean(dim=(1, 2))
        figures = {"latent": float(error[quantized_rows:].detach().mean())}
        if quantized_rows:
            figures["quantized"] = float(error[:quantized_rows].detach().mean())
            figures["codes_used"] = float((self.uses > DEAD_USES).float().mean())
        return CodecLosses(total=error.mean() + COMMITMENT * commitment, figures=figures)

    def _quantize(self, z: Tensor, dice: torch.Generator) -> Tensor:
        """Replace latents by their codes' sum and let the codebooks follow them."""
        residual = z.detach().reshape(-1, z.shape[-1])
        total = torch.zeros_like(residual)
        for i, book in enumerate(self.codec.quantizer.codebook):
            index = nearest(residual, book)
            chosen = book[index]
            total = total + chosen
            uses = torch.zeros(len(book)).index_add_(0, index, torch.ones(len(index)))
            sums = torch.zeros_like(book).index_add_(0, index, residual)
            self.uses[i].lerp_(uses, 1 - CODEBOOK_DECAY)
            self.sums[i].lerp_(sums, 1 - CODEBOOK_DECAY)
            residual_before = residual
            residual = residual - chosen
            book.copy_(self.sums[i] / self.uses[i].clamp_min(1e-3)[:, None])
            dead = (self.uses[i] < DEAD_USES).nonzero()[:, 0]
            fresh = torch.randint(len(residual), (len(dead),), generator=dice)
            book[dead] = residual_before[fresh]
            self.uses[i][dead] = 1.0
            self.sums[i][dead] = residual_before[fresh]
        return total.reshape(z.shape)

    def _start_codebooks(self, rows: Tensor, dice: torch.Generator) -> None:
        """Run a few rounds of k-means on one batch, book after book."""
        residual = rows
        for i, book in enumerate(self.codec.quantizer.codebook):
            book.copy_(residual[torch.randint(len(residual), (len(book),), generator=dice)])
            for _ in range(4):
                index = nearest(residual, book)
                uses = torch.zeros(len(book)).index_add_(0, index, torch.ones(len(index)))
                sums = torch.zeros_like(book).index_add_(0, index, residual)
                used = uses > 0
                book[used] = sums[used] / uses[used][:, None]
            self.uses[i].copy_(uses.clamp_min(0.5))
            self.sums[i].copy_(book * self.uses[i][:, None])
            residual = residual - book[nearest(residual, book)]


def _excerpts(
    mels: npt.NDArray[np.float16], dice: torch.Generator, *, batch: int, length: int
) -> Tensor:
    """Cut excerpts at random places; shape (batch, length, MELS)."""
    items = torch.randint(len(mels), (batch,), generator=dice)
    starts = torch.randint(mels.shape[1] - length + 1, (batch,), generator=dice)
    rows = [mels[i, s : s + length] for i, s in zip(items.tolist(), starts.tolist(), strict=True)]
    return torch.from_numpy(np.stack(rows).astype(np.float32))
