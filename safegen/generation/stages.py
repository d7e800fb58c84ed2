"""What do the stages of every system share?

Every stage draws from its own generator, seeded by the item's seed and the stage's
name, and runs on one thread: sums are then taken in the same order whatever else the
machine does, so an item has the same bits alone and inside a batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from typing import Final, TypeVar

import numpy as np
import torch

from safegen.audio import Audio, Waveform

FADE_SECONDS: Final = 0.02

_T = TypeVar("_T")


def dice(seed: int, stage: str) -> torch.Generator:
    """Give a stage its own randomness: the seed and the stage's name, hashed."""
    digest = hashlib.sha256(f"{seed}:{stage}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread, whatever the number was before."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def stepwise(steps: Generator[_T, None, None]) -> Generator[_T, None, None]:
    """Take every step on one thread in inference mode, and leave neither on between them."""
    with closing(steps):
        while True:
            with one_thread(), torch.inference_mode():
                try:
                    step = next(steps)
                except StopIteration:
                    return
            yield step


def ended(audio: Audio, samples: int) -> Audio:
    """Cut to length and fade the last moment, so that the cut does not click."""
    waveform = faded(audio.waveform[:, :samples], at=0, samples=samples, rate=audio.sample_rate)
    return Audio(waveform=waveform, sample_rate=audio.sample_rate)


def faded(waveform: Waveform, *, at: int, samples: int, rate: int) -> Waveform:
    """Fade what a part of a sound has of the last moment of the whole.

    Args:
        waveform: The part, shape (..., n).
        at: Where it begins in the whole.
        samples: Of the whole, at least ``at + n``.
        rate: In Hz.
    """
    fade = min(samples, round(FADE_SECONDS * rate))
    out = waveform.copy()
    begin = max(at, samples - fade)
    end = at + waveform.shape[-1]
    if begin < end:
        falling = np.linspace(1.0, 0.0, fade, dtype=np.float32)
        out[..., begin - at :] *= falling[begin - samples + fade : end - samples + fade]
    return out
