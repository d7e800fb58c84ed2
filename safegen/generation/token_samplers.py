"""How do log-odds over codec tokens become one sound's tokens?

``sample_autoregressive`` goes frame by frame along the delay pattern, ``draw_frames``
gives the frames of the same way while it goes; ``sample_masked``
fills all frames at once, coarse codebooks first, the surest tokens of each pass first.
Both take the item's own ``torch.Generator`` and draw on the CPU, the same number of
draws for a frame whatever is known, so an item is the same alone and among others, and
a longer autoregressive clip starts with the shorter one.

Source: classifier-free guidance, Ho and Salimans (2022), equation 6; top-k as in
MusicGen; confidence-ordered filling, Chang et al., MaskGIT (2022), section 3.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from safegen.generation.tokens import MASKED, UNKNOWN, FrameConditions, TokenModel


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawSettings:
    """How freely tokens are drawn, one after the other.

    Attributes:
        temperature: 1 = as the model says, lower is safer.
        top_k: Only so many of the likeliest tokens may be drawn.
        guidance: 1 = none; more exaggerates what is asked for.
    """

    temperature: float = 0.85
    top_k: int = 60
    guidance: float = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FillSettings:
    """How hidden tokens are filled.

    Attributes:
        passes: Of each codebook, coarse to fine.
        temperature: As in ``DrawSettings``.
        top_k: As in ``DrawSettings``.
        guidance: Of the first codebook; the others follow it without.
        wandering: How much luck decides which token is settled early, in [0, ...).
    """

    passes: tuple[int, ...] = (8, 2, 1, 1)
    temperature: float = 0.9
    top_k: int = 60
    guidance: float = 1.0
    wandering: float = 2.0


def sample_autoregressive(
    model: TokenModel,
    conditions: FrameConditions,
    dice: torch.Generator,
    *,
    settings: DrawSettings,
    unwanted: FrameConditions | None = None,
    prefix: Tensor | None = None,
    levels: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> Tensor:
    """Draw tokens frame by frame, for one item.

    Args:
        model: The model.
        conditions: Of one item of t frames.
        dice: The item's own randomness.
        settings: Temperature, top-k and guidance.
        unwanted: What guidance moves away from; the same without conditions if None.
        prefix: Tokens the item begins with, shape (codebooks or more, p), p <= t.
        levels: Only so many codebooks are drawn; all if None.
        progress: Called with the share of frames done.

    Returns:
        Shape (levels, t), int64.
    """
    frames = conditions.roll.shape[1]
    columns = []
    with torch.inference_mode():
        for column in draw_frames(
            model,
            conditions,
            dice,
            settings=settings,
            unwanted=unwanted,
            prefix=prefix,
            levels=levels,
        ):
            columns.append(column)
            if progress is not None:
                progress(len(columns) / frames)
    return torch.cat(columns, dim=1)


def draw_frames(
    model: TokenModel,
    conditions: FrameConditions,
    dice: torch.Generator,
    *,
    settings: DrawSettings,
    unwanted: FrameConditions | None = None,
    prefix: Tensor | None = None,
    levels: int | None = None,
    quick: bool = False,
) -> Iterator[Tensor]:
    """Draw as ``sample_autoregressive`` and give each frame once all its tokens are drawn.

    Args:
        model: As there, like all others.
        conditions: Of one item of t frames.
        dice: The item's own randomness.
        settings: Temperature, top-k and guidance.
        unwanted: What guidance moves away from.
        prefix: Tokens the item begins with.
        levels: Only so many codebooks are drawn.
        quick: Whether sums may be taken in another order; see ``safegen.generation.quick``.

    Yields:
        Tokens of one frame, shape (levels, 1), int64; t times. To be read in inference mode.
    """
    books = levels or model.config.codebooks
    frames = conditions.roll.shape[1]
    steps = frames + books - 1
    guided = settings.guidance != 1.0
    other = conditions.unconditional() if unwanted is None else unwanted
    both = conditions.and_also(other) if guided else conditions
    codes = torch.full((books, frames), UNKNOWN, dtype=torch.long)
    given = 0 if prefix is None else min(prefix.shape[1], frames)
    if prefix is not None:
        codes[:, :given] = prefix[:books, :given]
    both = both.to(model.outlet.weight.device)
    told = model.told(both)
    tables = model.tables()
    absent = tables[books:, -1].sum(dim=0)
    rows = torch.arange(books)

    def vectors(s: int) -> Tensor:
        """What step s reads, shape (b, width): the tokens before it, and what it is told."""
        latest = [
            int(codes[k, s - 1 - k]) if 0 <= s - 1 - k < frames else UNKNOWN for k in range(books)
        ]
        read = tables[rows, torch.tensor(latest)].sum(dim=0)
        return read + absent + told[:, min(s, frames - 1)]

    # Nothing is drawn before the prefix ends, so a quick model need not go there step by step.
    skipped = given if quick else 0
    before = torch.stack([vectors(s) for s in range(skipped)], dim=1) if skipped else None
    step = model.scorer(both, longest=steps, levels=books, quick=quick, before=before)
    torch.rand((skipped, model.config.codebooks), generator=dice, dtype=torch.float64)
    for s in range(books - 1, skipped):
        yield codes[:, s - books + 1, None].clone()
    for s in range(skipped, steps):
        logits = step(vectors(s))
        if guided:
            wanted, away = logits.chunk(2)
            logits = away + settings.guidance * (wanted - away)
        luck = torch.rand(model.config.codebooks, generator=dice, dtype=torch.float64)
        drawn = draw(logits[0], luck[:books], settings.temperature, settings.top_k).tolist()
        for k in range(books):
            if given <= s - k < frames:
                codes[k, s - k] = drawn[k]
        if s >= books - 1:
            yield codes[:, s - books + 1, None].clone()


def sample_masked(
    model: TokenModel,
    conditions: FrameConditions,
    dice: torch.Generator,
    *,
    settings: FillSettings,
    unwanted: FrameConditions | None = None,
    known: Tensor | None = None,
    progress: Callable[[float], None] | None = None,
) -> Tensor:
    """Fill hidden tokens, coarse codebooks before fine ones, for one item.

    Args:
        model: The model.
        conditions: Of one item of t frames.
        dice: The item's own randomness.
        settings: Passes, temperature, top-k and guidance.
        unwanted: What guidance moves away from; the same without conditions if None.
        known: Tokens that stay, ``UNKNOWN`` elsewhere, shape (codebooks, t).
        progress: Called with the share of passes done.

    Returns:
        Shape (codebooks, t), int64.
    """
    books, frames = model.config.codebooks, conditions.roll.shape[1]
    codes = torch.full((books, frames), UNKNOWN, dtype=torch.long)
    if known is not None:
        codes = known.clone()
    device = model.outlet.weight.device
    other = conditions.unconditional() if unwanted is None else unwanted
    total, done = sum(settings.passes), 0
    with torch.inference_mode():
        alone = _Filler(model, conditions.to(device))
        guided = _Filler(model, conditions.and_also(other).to(device))
        for level, passes in enumerate(settings.passes):
            hidden = codes[level] == UNKNOWN
            count = int(hidden.sum())
            for i in range(passes):
                luck = torch.rand((2, frames), generator=dice, dtype=torch.float64)
                done += 1
                if count == 0:
                    continue
                if level == 0 and settings.guidance != 1.0:
                    wanted, away = guided.score(codes, level=level)
                    logits = away + settings.guidance * (wanted - away)
                else:
                    logits = alone.score(codes, level=level)[0]
                open_ = codes[level] == UNKNOWN
                drawn = draw(logits, luck[0], settings.temperature, settings.top_k)
                sure = logits.log_softmax(dim=-1).gather(1, drawn[:, None])[:, 0]
                left = 1.0 - (i + 1) / passes
                gumbel = -(-luck[1].clamp(1e-12, 1 - 1e-12).log()).log()
                rank = sure + settings.wandering * left * gumbel.float()
                rank = torch.where(open_, rank, torch.tensor(float("-inf")))
                # A cosine schedule: few tokens are settled at first, most at the end.
                keep_hidden = int(count * math.cos(math.pi / 2 * (i + 1) / passes))
                settle = int(open_.sum()) - (keep_hidden if i + 1 < passes else 0)
                chosen = rank.topk(max(settle, 0)).indices
                codes[level, chosen] = drawn[chosen]
                if progress is not None:
                    progress(done / total)
    return codes


class _Filler:
    """Scores of hidden tokens under fixed conditions."""

    def __init__(self, model: TokenModel, conditions: FrameConditions) -> None:
        self._model = model
        self._told = model.told(conditions)
        self._steer = model.steer(conditions, task=MASKED)

    def score(self, codes: Tensor, *, level: int) -> Tensor:
        """Score one codebook of codes (codebooks, t); shape (rows, t, codes)."""
        model = self._model
        seen = codes.clone()
        seen[level + 1 :] = UNKNOWN
        x = model.read(seen.T.to(self._told.device))[None] + self._told
        y = model.backbone(x, steer=self._steer, causal=False)
        return model.score_level(y, level=level).float().cpu()


def draw(logits: Tensor, luck: Tensor, temperature: float, top_k: int) -> Tensor:
    """Draw one token for each row.

    Args:
        logits: Shape (n, codes).
        luck: Uniform in [0, 1), shape (n,), float64.
        temperature: > 0.
        top_k: At least 1.

    Returns:
        Shape (n,), int64.
    """
    best, index = logits.topk(min(top_k, logits.shape[-1]), dim=-1)
    ranks = (best.double() / temperature).softmax(dim=-1).cumsum(dim=-1)
    point = (luck * ranks[:, -1])[:, None]
    place = torch.searchsorted(ranks, point, right=True).clamp_max(ranks.shape[1] - 1)
    return index.gather(1, place)[:, 0]
