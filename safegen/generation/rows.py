"""What do the rows share that read a prompt, write a score and end in the codec?"""

from __future__ import annotations

from typing import Final, TypeVar

import torch
from torch import Tensor, nn

from safegen.generation.base import ModelFacts, Request
from safegen.generation.cards import ModelCard
from safegen.generation.codec import Codec
from safegen.generation.compose import Plan
from safegen.generation.planner import Planner
from safegen.generation.samplers import sample_plan
from safegen.generation.stages import dice, one_thread
from safegen.generation.text import pool, to_batch

_Network = TypeVar("_Network", bound=nn.Module)


def frozen(network: _Network) -> _Network:
    """Set a network up for use: nothing in it learns any more."""
    return network.eval().requires_grad_(False)


class Row:
    """A shipped row that ends in the codec.

    Args:
        card: What is reported about it.
        codec: Trained.
    """

    def __init__(self, card: ModelCard, *, codec: Codec) -> None:
        self.card: Final = card
        self.codec: Final = frozen(codec)

    @property
    def facts(self) -> ModelFacts:
        """What the record says about the model."""
        return self.card.facts


class PlannedRow(Row):
    """A row that writes a score first.

    Args:
        card: What is reported about it.
        codec: Trained.
        planner: Trained, with its text encoder.
    """

    def __init__(self, card: ModelCard, *, codec: Codec, planner: Planner) -> None:
        super().__init__(card, codec=codec)
        self.planner: Final = frozen(planner)

    def plan(self, request: Request) -> Plan:
        """Write the score of a request; no sound is made."""
        return self._plan(request, quick=False)

    def _plan(self, request: Request, *, quick: bool) -> Plan:
        """Write the score; quickly for a stream, whose bits are its own."""
        with one_thread():
            return sample_plan(
                self.planner,
                request.prompt,
                dice(request.seed, "plan"),
                negative_prompt=request.negative_prompt,
                quick=quick,
            )

    def _pooled(self, prompt: str) -> Tensor:
        """Read a prompt as one vector of shape (text width,)."""
        batch = to_batch([prompt])
        with torch.no_grad():
            return pool(self.planner.text(batch), batch.mask)[0]
