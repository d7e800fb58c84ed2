"""What do the recipes that listen read? The training items as codec latents, encoded once.

The cache stands beside the log-mel frames it was made from and is named by the codec that
made it; it is derived data and may be deleted at any time.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from safegen.generation.codec import STACK, Codec

_AT_ONCE = 50


def read_latents(
    folder: Path, seeds: range, *, mels: npt.NDArray[np.float16], codec: Codec
) -> npt.NDArray[np.float16]:
    """Encode the training items, unless the cache is there.

    Args:
        folder: Where the cache is kept.
        seeds: Of the items; they name the cache.
        mels: Log-mel of the same items, shape (items, mel frames, MELS).
        codec: Finished.

    Returns:
        Shape (items, frames, latent).
    """
    path = folder / f"latents-{seeds.start}-{seeds.stop}-{fingerprint(codec)}.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".part")
        with temporary.open("wb") as file:
            np.save(file, encode(mels, codec))
        temporary.replace(path)
    return np.load(path)  # type: ignore[no-any-return]


def encode(mels: npt.NDArray[np.float16], codec: Codec) -> npt.NDArray[np.float16]:
    """Encode log-mel frames of shape (items, mel frames, MELS); see ``read_latents``."""
    frames = mels.shape[1] // STACK
    out = np.empty((len(mels), frames, codec.config.latent), dtype=np.float16)
    with torch.inference_mode():
        for i in range(0, len(mels), _AT_ONCE):
            part = torch.from_numpy(mels[i : i + _AT_ONCE, : frames * STACK].astype(np.float32))
            out[i : i + _AT_ONCE] = codec.encode_mel(part).numpy()
    return out


def fingerprint(codec: Codec) -> str:
    """Name a codec by its weights: the first 12 hex digits of their sha256."""
    digest = hashlib.sha256()
    for name, value in sorted(codec.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()[:12]
