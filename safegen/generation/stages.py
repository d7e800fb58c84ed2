"""What do the stages of every system share?

Every stage draws from its own generator, seeded by the item's seed and the stage's
name, and runs on one thread: sums are then taken in the same order whatever else the
machine does, so an item has the same bits alone and inside a batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np
import torch

from safegen.audio import Audio

FADE_SECONDS: Final = 0.02


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


def ended(audio: Audio, samples: int) -> Audio:
    """Cut to length and fade the last moment, so that the cut does not click."""
    waveform = audio.waveform[:, :samples].copy()
    fade = min(samples, round(FADE_SECONDS * audio.sample_rate))
    waveform[:, samples - fade :] *= np.linspace(1.0, 0.0, fade, dtype=np.float32)
    return Audio(waveform=waveform, sample_rate=audio.sample_rate)
