"""How do the staged systems draw codec tokens? Coarse first, then fine.

The first codebooks are drawn one frame after the other, the others are filled in at once
around them. What a sound begins with stays; it may be as long as one likes, since the
token model's reach is limited and no distance is new to it.

Source: Borsos et al., AudioLM (2022), section III-C, and Agostinelli et al., MusicLM
(2023), section 3.2, with the fine stage filled in parallel instead of drawn in order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor

from safegen.generation.token_samplers import (
    DrawSettings,
    FillSettings,
    sample_autoregressive,
    sample_masked,
)
from safegen.generation.tokens import UNKNOWN, FrameConditions, TokenModel

COARSE: Final = 2
"""Codebooks of the coarse stage."""
COARSE_SHARE: Final = 0.9
"""Of the time both stages take, for the progress bar."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSettings:
    """How the two stages draw.

    Attributes:
        coarse: Of the first codebooks.
        fine: Of the others; the passes of the first ones find nothing to fill.
    """

    coarse: DrawSettings = field(default_factory=DrawSettings)
    fine: FillSettings = field(default_factory=lambda: FillSettings(passes=(1, 1, 4, 2)))


def coarse_to_fine(
    model: TokenModel,
    conditions: FrameConditions,
    *,
    coarse_dice: torch.Generator,
    fine_dice: torch.Generator,
    settings: StageSettings,
    prefix: Tensor | None = None,
    unwanted: FrameConditions | None = None,
    progress: Callable[[float], None] | None = None,
) -> Tensor:
    """Draw the tokens of one item.

    Args:
        model: The token model.
        conditions: Of one item of t frames.
        coarse_dice: Randomness of the first stage.
        fine_dice: Randomness of the second stage.
        settings: How the stages draw.
        prefix: Tokens the item begins with, shape (codebooks, p), p <= t.
        unwanted: What guidance moves away from; the same without conditions if None.
        progress: Called with the share done.

    Returns:
        Shape (codebooks, t), int64, starting with the prefix.
    """

    def part(start: float, share: float) -> Callable[[float], None] | None:
        return None if progress is None else lambda done: progress(start + share * done)

    coarse = sample_autoregressive(
        model,
        conditions,
        coarse_dice,
        settings=settings.coarse,
        unwanted=unwanted,
        prefix=prefix,
        levels=COARSE,
        progress=part(0.0, COARSE_SHARE),
    )
    known = torch.full((model.config.codebooks, coarse.shape[1]), UNKNOWN, dtype=torch.long)
    known[:COARSE] = coarse
    if prefix is not None:
        known[:, : prefix.shape[1]] = prefix
    codes = sample_masked(
        model,
        conditions,
        fine_dice,
        settings=settings.fine,
        unwanted=unwanted,
        known=known,
        progress=part(COARSE_SHARE, 1.0 - COARSE_SHARE),
    )
    if progress is not None:
        progress(1.0)
    return codes
