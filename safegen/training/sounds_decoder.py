"""Recipe: teach the codec's decoder what sound effects look like.

    seed -> scene -> log-mel -> codes of the shipped codec -> decoder -> log-mel
    loss = L1 on log-mel

The codec learned from music, which has no bare tones and little noise. Its tokens tell
such sounds apart, its decoder blurs them; so encoder and codebooks stay, all rows keep
one token vocabulary, and the rows of sound effects decode with weights of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from safegen.audio import Audio
from safegen.generation.codec import HOP, MELS, STACK, Codec, LogMel
from safegen.training.loop import Progress, Run, save_module

LEARNING_RATE: Final = 8e-4
DECODER: Final = ("from_latent", "decoder", "outlet")
"""Modules of the codec that are trained and saved."""


def render_mels(
    sound_of: Callable[[int], Audio], seeds: range, *, seconds: float, path: Path
) -> Iterator[int]:
    """Keep the log-mel of the sounds of a range of seeds, unless it is there.

    Args:
        sound_of: Makes the sound of a seed, at the codec's rate and loudness.
        seeds: Which sounds.
        seconds: Of each sound.
        path: Of the array, shape (sounds, mel frames, MELS), float16.

    Yields:
        How many sounds are done.
    """
    if path.exists():
        yield len(seeds)
        return
    temporary = path.with_suffix(".part")
    frames = round(seconds * 32_000) // HOP
    cache = np.lib.format.open_memmap(
        temporary, mode="w+", dtype=np.float16, shape=(len(seeds), frames, MELS)
    )
    log_mel = LogMel()
    for row, seed in enumerate(seeds):
        with torch.inference_mode():
            cache[row] = log_mel(torch.from_numpy(sound_of(seed).waveform))[0].numpy()
        yield row + 1
    cache.flush()
    temporary.replace(path)


def train(
    mels: npt.NDArray[np.float16],
    *,
    codec: Codec,
    folder: Path,
    steps: int,
    batch: int = 24,
    frames: int = 128,
    seed: int = 6,
    save_every: int = 100,
) -> Iterator[Progress]:
    """Train the decoder, or continue the run found in the folder.

    Args:
        mels: Log-mel of sounds, shape (sounds, mel frames, MELS).
        codec: Finished; its decoder is where training starts.
        folder: Where the run is kept; the result is ``sounds-decoder.safetensors``.
        steps: Optimizer steps of the whole run.
        batch: Excerpts per step.
        frames: Codec frames per excerpt.
        seed: Of the run.
        save_every: Steps between checkpoints.

    Yields:
        The mean error of each step, in log10 of mel magnitude.
    """
    model = _Decoder(codec)
    run = Run(model, steps=steps, learning_rate=LEARNING_RATE, seed=seed)
    run.resume(folder)
    length = frames * STACK
    while run.step < steps:
        dice = run.generator()
        items = torch.randint(len(mels), (batch,), generator=dice).tolist()
        # Whole codec frames, so that training sees the tokens that generation draws.
        starts = torch.randint((mels.shape[1] - length) // STACK + 1, (batch,), generator=dice)
        rows = [
            mels[i, s * STACK : s * STACK + length]
            for i, s in zip(items, starts.tolist(), strict=True)
        ]
        wanted = torch.from_numpy(np.stack(rows).astype(np.float32))
        with torch.no_grad():
            z = codec.quantizer.decode(codec.quantizer.encode(codec.encode_mel(wanted)))
        with torch.autocast("cpu", torch.bfloat16):
            made = codec.decode_mel(z).float()
        yield run.update((made - wanted).abs().mean())
        if run.step % save_every == 0 or run.step == steps:
            run.save(folder)
    save_module(run.averaged(), folder / "sounds-decoder.safetensors", prefix="")


class _Decoder(nn.Module):
    """The part of a codec that is trained, under the codec's own names."""

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        for name in DECODER:
            self.add_module(name, codec.get_submodule(name).requires_grad_(True))
