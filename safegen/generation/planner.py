"""Which piece fits this prompt?

A language model over plan tokens, reading the encoded prompt first. The attributes
come before chords and melody, so by the time notes are written the key is settled;
heads on the pooled prompt guess the same attributes during training, which teaches the
encoder what matters long before the language model does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from safegen.generation import compose
from safegen.generation.backbone import Transformer
from safegen.generation.quick import QuickStepper, quick_linear
from safegen.generation.text import MAX_TOKENS, TextConfig, TextEncoder, strongest

POSITION_OF_START: Final = MAX_TOKENS


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannerConfig:
    """Sizes of a planner.

    Attributes:
        text: Of the text encoder, whose width the language model shares.
        layers: Of the language model.
        heads: Of each layer.
    """

    text: TextConfig
    layers: int = 4
    heads: int = 4


class Planner(nn.Module):
    """Prompt to plan tokens."""

    legal: Tensor

    def __init__(self, config: PlannerConfig) -> None:
        super().__init__()
        self.config = config
        width = config.text.width
        self.text = TextEncoder(config.text)
        self.tokens = nn.Embedding(compose.VOCABULARY, width)
        nn.init.normal_(self.tokens.weight, std=0.5)
        self.places = nn.Parameter(torch.randn(compose.PLAN_TOKENS, width) * 0.1)
        self.backbone = Transformer(
            width=width, layers=config.layers, heads=config.heads, causal=True
        )
        self.outlet = nn.Linear(width, compose.VOCABULARY)
        self.guesses = nn.Linear(width, compose.VOCABULARY)
        legal = torch.zeros(compose.PLAN_TOKENS, compose.VOCABULARY, dtype=torch.bool)
        for position in range(compose.PLAN_TOKENS):
            tokens = compose.legal_tokens(position)
            legal[position, tokens.start : tokens.stop] = True
        self.register_buffer("legal", legal, persistent=False)

    def forward(self, states: Tensor, mask: Tensor, plans: Tensor) -> Tensor:
        """Score the next plan token after every prefix.

        Args:
            states: Encoded prompts, shape (b, t, width).
            mask: True where a prompt token is, shape (b, t).
            plans: The first p plan tokens, shape (b, p), 0 <= p < ``PLAN_TOKENS``.

        Returns:
            Log-odds of plan tokens 0 .. p, shape (b, p + 1, vocabulary); tokens that may
            not stand at their position are minus infinity.
        """
        b, p = plans.shape
        start = torch.full((b, 1), compose.START_TOKEN)
        x = self.tokens(torch.cat([start, plans], dim=1)) + self.places[: p + 1]
        t = states.shape[1]
        positions = torch.cat([torch.arange(t), POSITION_OF_START + torch.arange(p + 1)])
        keys = torch.cat([mask, torch.ones(b, p + 1, dtype=torch.bool)], dim=1)
        y = self.backbone(torch.cat([states, x], dim=1), keys=keys, positions=positions)
        return self._restrict(self.outlet(y[:, t:]).float(), p + 1)

    def scorer(
        self, states: Tensor, mask: Tensor, *, quick: bool
    ) -> Callable[[Sequence[int], int], Tensor]:
        """Prepare to score one plan token after the other.

        Args:
            states: Encoded prompts, shape (b, t, width).
            mask: True where a prompt token is, shape (b, t); they come first.
            quick: Whether sums may be taken in another order; see ``safegen.generation.quick``.

        Returns:
            The plan tokens so far and a number of rows to the log-odds of the next token
            after each of the first rows, shape (rows, vocabulary). Quick scorers want no
            token to change that they have seen.
        """
        if quick:
            return _Reader(self, states, mask)

        def score(tokens: Sequence[int], rows: int) -> Tensor:
            known = torch.tensor([list(tokens)] * rows, dtype=torch.long).reshape(rows, -1)
            return self(states[:rows], mask[:rows], known)[:, -1]  # type: ignore[no-any-return]

        return score

    def guess(self, states: Tensor, mask: Tensor) -> Tensor:
        """Guess the attributes from the pooled prompt; shape (b, ``HEADER_TOKENS``, vocabulary)."""
        logits = self.guesses(strongest(states, mask)).float()
        n = compose.HEADER_TOKENS
        return self._restrict(logits[:, None].expand(-1, n, -1), n)

    def _restrict(self, logits: Tensor, count: int) -> Tensor:
        return logits.masked_fill(~self.legal[:count], float("-inf"))


class _Reader:
    """A planner that has read prompts, and reads on one plan token at a time.

    Args:
        planner: The model.
        states: Of the prompts' tokens, shape (b, t, width).
        mask: True where a prompt token is, shape (b, t).
    """

    def __init__(self, planner: Planner, states: Tensor, mask: Tensor) -> None:
        self._planner = planner
        self._states, self._mask = states, mask
        self._step: QuickStepper | None = None
        self._last = states[:, -1]
        self._outlet = quick_linear(planner.outlet, outlets=compose.VOCABULARY)
        self._read = 0

    def __call__(self, tokens: Sequence[int], rows: int) -> Tensor:
        """Score the token after these; shape (rows, vocabulary), never more than at first."""
        read = [compose.START_TOKEN, *tokens][self._read :]
        x = self._planner.tokens.weight[read] + self._planner.places[self._read : len(tokens) + 1]
        if self._step is None:
            states = self._states[:rows]
            self._step = self._stepper(rows)
            x = torch.cat([states, x.expand(rows, -1, -1)], dim=1)
            self._last = self._step.read(x)[:, -1]
        else:
            for place in x:
                self._last = self._step(place.expand(len(self._last), -1))
        self._read = len(tokens) + 1
        logits = self._outlet(self._last)[:rows]
        return logits.masked_fill(~self._planner.legal[len(tokens)], float("-inf"))

    def _stepper(self, rows: int) -> QuickStepper:
        t = self._states.shape[1]
        places = POSITION_OF_START + torch.arange(compose.PLAN_TOKENS)
        written = torch.ones(rows, compose.PLAN_TOKENS, dtype=torch.bool)
        return QuickStepper(
            self._planner.backbone,
            rows=rows,
            longest=t + compose.PLAN_TOKENS,
            positions=torch.cat([torch.arange(t), places]),
            keys=torch.cat([self._mask[:rows], written], dim=1),
        )
