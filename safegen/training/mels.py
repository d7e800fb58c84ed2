"""What do the recipes read? The training items as log-mel frames, rendered once.

The cache is one array of float16, shape (items, 500, MELS), beside the renderer's
inputs in its name; it is derived data and may be deleted at any time.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from safegen.generation.codec import HOP, MELS, SAMPLE_RATE, LogMel
from safegen.generation.compose import compose
from safegen.generation.soundfont import SoundfontRenderer
from safegen.training.manifests import ITEM_SECONDS

FRAMES = int(ITEM_SECONDS * SAMPLE_RATE) // HOP


def cache_path(folder: Path, seeds: range) -> Path:
    """Name the cache file of a range of seeds."""
    return folder / f"mels-{seeds.start}-{seeds.stop}.npy"


def render_mels(soundfont: Path, seeds: range, *, folder: Path) -> Iterator[int]:
    """Render the items of a range of seeds into the cache, unless it is there.

    Yields:
        How many items are done.
    """
    path = cache_path(folder, seeds)
    if path.exists():
        yield len(seeds)
        return
    folder.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    shape = (len(seeds), FRAMES, MELS)
    cache = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float16, shape=shape)
    renderer, log_mel = SoundfontRenderer(soundfont), LogMel()
    for row, seed in enumerate(seeds):
        audio = renderer.render(compose(seed), seconds=ITEM_SECONDS)
        with torch.inference_mode():
            cache[row] = log_mel(torch.from_numpy(audio.waveform))[0].numpy()
        yield row + 1
    cache.flush()
    temporary.replace(path)


def read_mels(folder: Path, seeds: range) -> npt.NDArray[np.float16]:
    """Open the cache; shape (items, FRAMES, MELS)."""
    return np.load(cache_path(folder, seeds), mmap_mode="r")  # type: ignore[no-any-return]
