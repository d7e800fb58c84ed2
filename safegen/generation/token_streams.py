"""How are the codec tokens of a stream drawn, if not simply one frame after the other?

Segment by segment (``safegen.generation.streams``): sfx-masked fills a segment at once;
the staged systems draw its coarse tokens in order and fill the fine ones around them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor

from safegen.generation.coarse_fine import COARSE, StageSettings
from safegen.generation.streams import segments
from safegen.generation.token_samplers import FillSettings, draw_frames, sample_masked
from safegen.generation.tokens import UNKNOWN, FrameConditions, TokenModel


def fill_segments(
    model: TokenModel,
    conditions: FrameConditions,
    dice: torch.Generator,
    *,
    settings: FillSettings,
) -> Iterator[Tensor]:
    """Fill hidden tokens, one segment after the other.

    Args:
        model: The token model.
        conditions: Of one item of t frames.
        dice: The item's own randomness.
        settings: As for ``sample_masked``.

    Yields:
        Tokens of consecutive frames, shape (codebooks, n), t in all.
    """
    codes = torch.empty((model.config.codebooks, 0), dtype=torch.long)
    for part in segments(conditions.roll.shape[1]):
        known = _known(codes, part.known, part.new)
        here = conditions.cut(part.start, part.end)
        codes = sample_masked(model, here, dice, settings=settings, known=known)
        yield codes[:, part.known :]


def coarse_to_fine_segments(
    model: TokenModel,
    conditions: FrameConditions,
    *,
    coarse_dice: torch.Generator,
    fine_dice: torch.Generator,
    settings: StageSettings,
    prefix: Tensor,
    unwanted: FrameConditions | None = None,
) -> Iterator[Tensor]:
    """Draw as ``coarse_to_fine``, giving each segment once its fine tokens are filled.

    The coarse tokens are those of the whole but for rare ties, the fine ones are not.

    Args:
        model: The token model.
        conditions: Of one item of t frames.
        coarse_dice: Randomness of the first stage.
        fine_dice: Randomness of the second stage.
        settings: How the stages draw.
        prefix: Tokens the item begins with, shape (codebooks, p), p <= t.
        unwanted: What guidance moves away from; the same without conditions if None.

    Yields:
        Tokens of the frames after the prefix, shape (codebooks, n), t - p in all.
    """
    first = prefix.shape[1]
    drawn = draw_frames(
        model,
        conditions,
        coarse_dice,
        settings=settings.coarse,
        unwanted=unwanted,
        prefix=prefix,
        levels=COARSE,
        quick=True,
    )
    # What the prefix says is drawn again to no effect, so that luck falls as in the whole.
    coarse = islice(drawn, first, None)
    codes = prefix
    for part in segments(conditions.roll.shape[1], first=first):
        known = _known(codes, part.known, part.new)
        known[:COARSE, part.known :] = torch.cat(list(islice(coarse, part.new)), dim=1)
        codes = sample_masked(
            model,
            conditions.cut(part.start, part.end),
            fine_dice,
            settings=settings.fine,
            unwanted=None if unwanted is None else unwanted.cut(part.start, part.end),
            known=known,
        )
        yield codes[:, part.known :]


def _known(codes: Tensor, known: int, new: int) -> Tensor:
    """The last known tokens of codes, and unknown ones after them."""
    hidden = torch.full((len(codes), new), UNKNOWN, dtype=torch.long)
    return torch.cat([codes[:, codes.shape[1] - known :], hidden], dim=1)
