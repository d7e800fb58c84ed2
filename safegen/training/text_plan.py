"""Recipe: train the text encoder and the planner together.

    seed -> plan -> caption -> text encoder -> plan tokens, one after the other
    loss = cross-entropy of the attributes (planner and pooled guesses)
         + cross-entropy of chords and melody

Captions are drawn afresh at every step, so no wording is seen twice. Most steps stop
after the attributes, where following the prompt is decided; every sixth continues
through chords and melody. One caption in ten is emptied for classifier-free guidance.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from safegen.generation.captions import caption
from safegen.generation.compose import (
    HEADER_TOKENS,
    Plan,
    compose,
    header_names,
    legal_tokens,
    to_tokens,
)
from safegen.generation.planner import Planner, PlannerConfig
from safegen.generation.text import TextConfig, to_batch
from safegen.training.loop import Progress, Run, save_module, started_from
from safegen.training.manifests import PLAN_SEEDS

LEARNING_RATE: Final = 1.5e-3
DROPPED_CAPTIONS: Final = 0.1
NOTES_EVERY: Final = 6
HEADER_WEIGHT: Final = 2.0
TEMPO_BLUR_BPM: Final = 1.0


def train(
    *,
    folder: Path,
    steps: int,
    batch: int = 96,
    config: PlannerConfig | None = None,
    seeds: range = PLAN_SEEDS,
    seed: int = 2,
    save_every: int = 200,
) -> Iterator[Progress]:
    """Train text encoder and planner, or continue the run found in the folder.

    Args:
        folder: Where the run is kept; the result is ``planner.safetensors``.
        steps: Optimizer steps of the whole run.
        batch: Captions per step; half as many when notes are trained.
        config: Sizes; the shipped ones if None.
        seeds: Of the plans.
        seed: Of the run.
        save_every: Steps between checkpoints.

    Yields:
        The loss of each step, with the share of attributes predicted right.
    """
    with started_from(seed):
        planner = Planner(config or PlannerConfig(text=TextConfig()))
    run = Run(planner, steps=steps, learning_rate=LEARNING_RATE, seed=seed)
    run.resume(folder)
    while run.step < steps:
        notes = run.step % NOTES_EVERY == NOTES_EVERY - 1
        dice = random.Random(seed * 1_000_003 + run.step)  # noqa: S311
        plans = [compose(seeds[dice.randrange(len(seeds))]) for _ in range(batch)]
        plans = plans[: batch // 2] if notes else plans
        yield _step(run, planner, plans, dice, notes=notes)
        if run.step % save_every == 0 or run.step == steps:
            run.save(folder)
    save_module(run.averaged(), folder / "planner.safetensors", prefix="")


def _step(
    run: Run, planner: Planner, plans: list[Plan], dice: random.Random, *, notes: bool
) -> Progress:
    prompts = ["" if dice.random() < DROPPED_CAPTIONS else caption(plan, dice) for plan in plans]
    tokens = torch.tensor([to_tokens(plan) for plan in plans])
    text = to_batch(prompts)
    header = tokens[:, :HEADER_TOKENS]
    with torch.autocast("cpu", torch.bfloat16):
        states = planner.text(text)
        guesses = planner.guess(states, text.mask)
        known = tokens[:, :-1] if notes else tokens[:, : HEADER_TOKENS - 1]
        logits = planner(states, text.mask, known)
    written = near_entropy(logits[:, :HEADER_TOKENS], header)
    guessed = near_entropy(guesses, header)
    loss = HEADER_WEIGHT * written + guessed
    figures = {"guesses": float(guessed.detach()), "attributes": float(written.detach())}
    if notes:
        rest = _entropy(logits[:, HEADER_TOKENS:], tokens[:, HEADER_TOKENS:])
        loss = loss + rest
        figures["notes"] = float(rest.detach())
    return run.update(loss, **figures)


def _entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))


def near_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of the attributes in which a tempo one beat away is nearly right."""
    place = header_names().index("tempo_bpm")
    tempi = legal_tokens(place)
    odds = logits[:, place, tempi.start : tempi.stop].log_softmax(dim=-1)
    distance = torch.arange(len(tempi))[None] - (targets[:, place] - tempi.start)[:, None]
    weights = torch.exp(-0.5 * (distance / TEMPO_BLUR_BPM) ** 2)
    tempo = -(weights / weights.sum(dim=1, keepdim=True) * odds).sum(dim=1).mean()
    others = [i for i in range(HEADER_TOKENS) if i != place]
    rest = _entropy(logits[:, others], targets[:, others])
    return (rest * len(others) + tempo) / HEADER_TOKENS
