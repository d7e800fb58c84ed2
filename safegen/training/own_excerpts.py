"""Which stretches of own items does a step see, and what is told about them?

Own recordings come without a score. Half of the excerpts are told by their caption alone;
the others also by a score that the planner writes for the caption, as it will for every
prompt: so the network meets in training what it will be given in use. What is dropped for
guidance is dropped here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from safegen.generation.compose import Plan
from safegen.generation.planner import Planner
from safegen.generation.rolls import ROLL_CHANNELS, roll
from safegen.generation.samplers import sample_plan
from safegen.generation.stages import dice as seeded
from safegen.training.own_items import FRAMES, OwnItems

KEPT_ROLLS: Final = 2000
"""150 kB each; those of more captions are laid out again when they are drawn."""
PLANNED_SHARE: Final = 0.5
"""Of the excerpts that are told by a score, too."""
DROPPED_SHARE: Final = 0.1
"""Of the excerpts that are told by nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Excerpts:
    """Stretches of own items, b of them.

    Attributes:
        items: Which items.
        starts: First frame of each.
        prompts: One of the captions of each.
        has_plan: Whether a score is told, shape (b,).
        has_text: Whether the caption is told, shape (b,).
    """

    items: list[int]
    starts: list[int]
    prompts: list[str]
    has_plan: Tensor
    has_text: Tensor


def draw(
    items: OwnItems, *, batch: int, frames: int, dice: torch.Generator, even: bool = False
) -> Excerpts:
    """Cut excerpts out of random items, of short ones from their beginning.

    Args:
        items: All items.
        batch: b.
        frames: Length of an excerpt, at most ``FRAMES``.
        dice: Of the step.
        even: Whether excerpts start at even frames only.
    """
    rows: list[int] = torch.randint(len(items.files), (batch,), generator=dice).tolist()
    luck: list[list[float]] = torch.rand(batch, 2, generator=dice).tolist()
    starts, prompts = [], []
    for row, (place, word) in zip(rows, luck, strict=True):
        start = int(place * (max(0, int(items.sounding[row]) - frames) + 1))
        starts.append(start - start % 2 if even else start)
        captions = items.files[row].captions
        prompts.append(captions[int(word * len(captions))] if captions else "")
    told = torch.rand(batch, generator=dice) >= DROPPED_SHARE
    planned = torch.rand(batch, generator=dice) < PLANNED_SHARE
    has_words = torch.tensor([prompt != "" for prompt in prompts])
    return Excerpts(
        items=rows,
        starts=starts,
        prompts=prompts,
        has_plan=told & planned & has_words,
        has_text=told & has_words,
    )


class Scores:
    """Rolls of the scores that a planner writes for captions; each is written once."""

    def __init__(self, planner: Planner) -> None:
        self._planner = planner
        self._plans: dict[str, Plan] = {}
        self._rolls: dict[str, Tensor] = {}

    def rows(self, drawn: Excerpts, *, frames: int) -> Tensor:
        """Lay out the scores of excerpts; zeros where none is told.

        Returns:
            Shape (b, frames, ROLL_CHANNELS).
        """
        out = torch.zeros(len(drawn.items), frames, ROLL_CHANNELS)
        for i, (prompt, start) in enumerate(zip(drawn.prompts, drawn.starts, strict=True)):
            if drawn.has_plan[i]:
                out[i] = self._roll(prompt)[start : start + frames].float()
        return out

    def _roll(self, prompt: str) -> Tensor:
        """Lay out the score of a caption; the first ``KEPT_ROLLS`` of them are kept."""
        if prompt in self._rolls:
            return self._rolls[prompt]
        if prompt not in self._plans:
            self._plans[prompt] = sample_plan(self._planner, prompt, seeded(0, prompt))
        rows = roll(self._plans[prompt], frames=FRAMES).astype(np.float16)
        laid = torch.from_numpy(rows)
        if len(self._rolls) < KEPT_ROLLS:
            self._rolls[prompt] = laid
        return laid
