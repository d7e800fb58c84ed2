"""In which column does the decoder say which code?

Column 0 holds the start token in every codebook. The code of frame ``f`` in a codebook of
delay ``d`` stands in column ``f + 1 + d``; where no frame falls, the start token stands. In
mono the delay is the number of the codebook; in stereo the codebooks of the left and the
right channel alternate, and a pair shares a delay.

Source: arXiv 2306.05284, section 2.2; transformers, ``build_delay_pattern_mask``.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

TO_DRAW: Final = -1
"""What a column holds until the decoder has said it."""


def delays_of(codebooks: int, channels: int) -> Tensor:
    """Tell how many columns each codebook is late, shape (codebooks,)."""
    return torch.arange(codebooks) // channels


def laid_out(beginning: Tensor, *, frames: int, delays: Tensor, start: int) -> Tensor:
    """Lay a clip out in columns: what is known, and what is to be drawn.

    Args:
        beginning: Codes that are given, shape (codebooks, frames of the beginning).
        frames: Of the whole clip.
        delays: Of the codebooks.
        start: Token that stands where no frame falls.

    Returns:
        Shape (codebooks, frames + 1 + longest delay), ``TO_DRAW`` where a code is missing.
    """
    columns = frames + 1 + int(delays.max())
    frame = torch.arange(columns) - 1 - delays[:, None]
    given = torch.full((len(delays), frames), TO_DRAW, dtype=torch.int64)
    given[:, : beginning.shape[1]] = beginning
    found = given.gather(1, frame.clamp(0, frames - 1))
    return found.where((frame >= 0) & (frame < frames), start)


def frames_in(columns: Tensor, *, delays: Tensor, frames: int) -> Tensor:
    """Read the first frames of a clip out of its columns, shape (codebooks, frames)."""
    late = delays.to(columns.device)
    at = torch.arange(1, frames + 1, device=columns.device) + late[:, None]
    return columns.gather(1, at)
