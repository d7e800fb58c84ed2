"""Recipe: train the joint embedding of sound and words, and the style.

    excerpt of a training item --transcriber, audio tower--> point on the sphere
    caption of its plan        --text encoder, text tower--> point on the sphere
    the same caption of a plan with one attribute changed    --> must lie further away
    audio's point, with noise  --style, planner-->           plan tokens of the item

    loss = contrastive, both ways + cross-entropy of the plan

Transcriber, text encoder and planner stay as they are; the style sees sound only.
Captions are drawn afresh at every step. The noise is as wide as the distance between
sound and words, so that the style knows how exact a prompt's point is.

Source: contrastive loss, Radford et al., CLIP (2021), figure 3.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from safegen.generation.captions import caption
from safegen.generation.compose import (
    COMPS,
    DRUM_STYLES,
    HEADER_TOKENS,
    INSTRUMENTS,
    MAX_TEMPO_BPM,
    MIN_TEMPO_BPM,
    MODES,
    MOODS,
    ROOTS,
    Plan,
    compose,
    to_tokens,
)
from safegen.generation.joint import Joint, JointConfig
from safegen.generation.planner import Planner
from safegen.generation.transcriber import Transcriber, sharpened
from safegen.training.loop import Progress, Run, save_module, started_from
from safegen.training.text_plan import HEADER_WEIGHT, NOTES_EVERY, near_entropy
from safegen.training.transcriber import cut

LEARNING_RATE: Final = 2e-3
TEMPERATURE: Final = 0.07
LENGTHS: Final = (125, 150, 200)
"""Frames of an excerpt, drawn for a step: 5 to 8 s."""
DROPPED_STYLES: Final = 0.1
NEAREST_TEMPO: Final = 1.12
"""A tempo that is this much faster or slower is another tempo."""
MEAN_DECAY: Final = 0.98
STYLED: Final = 2
"""One pair in so many also trains the style; of those with chords and melody one in eight."""
_AT_ONCE: Final = 32


def train(
    latents: npt.NDArray[np.float16],
    seeds: range,
    *,
    transcriber: Transcriber,
    planner: Planner,
    folder: Path,
    steps: int,
    batch: int = 64,
    config: JointConfig | None = None,
    lengths: tuple[int, ...] = LENGTHS,
    seed: int = 22,
    save_every: int = 100,
) -> Iterator[Progress]:
    """Train towers and style, or continue the run found in the folder.

    Args:
        latents: Of the training items, shape (items, frames, latent).
        seeds: Of the same items.
        transcriber: Finished; reads the latents.
        planner: Finished; its text encoder reads captions, its language model styles.
        folder: Where the run is kept; the result is ``joint.safetensors``.
        steps: Optimizer steps of the whole run.
        batch: Pairs per step.
        config: Sizes; the shipped ones if None.
        lengths: Frames of an excerpt, one of them drawn for each step.
        seed: Of the run.
        save_every: Steps between checkpoints.

    Yields:
        The loss of each step, with the share of captions found by their sound.
    """
    with started_from(seed):
        joint = Joint(config or JointConfig())
    frames = latents.shape[1]
    plans = [compose(s) for s in seeds]
    tokens = torch.tensor([to_tokens(plan) for plan in plans])
    run = Run(joint, steps=steps, learning_rate=LEARNING_RATE, seed=seed)
    run.resume(folder)
    while run.step < steps:
        dice = run.generator()
        words = random.Random(seed * 1_000_003 + run.step)  # noqa: S311
        length = lengths[int(torch.randint(len(lengths), (), generator=dice))]
        items = torch.randint(len(plans), (batch,), generator=dice).tolist()
        starts = torch.randint(frames - length + 1, (batch,), generator=dice).tolist()
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            heard = sharpened(transcriber(cut(latents, items, starts, length)))
        said, changed = zip(*(_captions(plans[i], words) for i in items), strict=True)
        sound = joint.hear(heard)
        word, wrong = _read(joint, planner, [*said, *changed]).chunk(2)
        same = torch.tensor([a == b for a, b in zip(said, changed, strict=True)])
        contrast, found = _contrast(sound, word, wrong, same)
        _follow(joint, sound.detach(), word.detach())
        notes = run.step % NOTES_EVERY == NOTES_EVERY - 1
        part = slice(0, max(1, batch // (4 * STYLED if notes else STYLED)))
        style = _style_loss(
            joint, planner, sound.detach()[part], tokens[items][part], dice, notes=notes
        )
        parts = {"contrast": float(contrast.detach()), "style": float(style.detach())}
        yield run.update(contrast + style, found=found, **parts)
        if run.step % save_every == 0 or run.step == steps:
            run.save(folder)
    save_module(run.averaged(), folder / "joint.safetensors", prefix="")


def with_another(plan: Plan, dice: random.Random) -> Plan:
    """Change one attribute of a plan, to a value that a listener would tell apart."""
    name = dice.choice(("tempo_bpm", "tempo_bpm", "root", "root", "mode", "instrument", "drums"))
    if dice.random() < 0.2:
        name = dice.choice(("mood", "comp", "density", "bass"))
    values: dict[str, list[object]] = {
        "tempo_bpm": [
            x
            for x in range(MIN_TEMPO_BPM, MAX_TEMPO_BPM + 1)
            if max(x / plan.tempo_bpm, plan.tempo_bpm / x) >= NEAREST_TEMPO
        ],
        "root": list(range(len(ROOTS))),
        "mode": list(MODES),
        "instrument": [x.name for x in INSTRUMENTS],
        "drums": list(DRUM_STYLES),
        "mood": [x.name for x in MOODS],
        "comp": [x.name for x in COMPS],
        "density": [0, 1, 2],
        "bass": [False, True],
    }
    others = [x for x in values[name] if x != getattr(plan, name)]
    return dataclasses.replace(plan, **{name: dice.choice(others)})  # type: ignore[arg-type]


def _captions(plan: Plan, dice: random.Random) -> tuple[str, str]:
    """Describe a plan, and in the same way a plan that differs in one attribute."""
    manner = dice.getrandbits(32)
    other = with_another(plan, dice)
    return (
        caption(plan, random.Random(manner)),  # noqa: S311
        caption(other, random.Random(manner)),  # noqa: S311
    )


def _read(joint: Joint, planner: Planner, prompts: list[str]) -> Tensor:
    """Place prompts on the sphere, those of like length together, which are padded least."""
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    groups = [order[i : i + _AT_ONCE] for i in range(0, len(order), _AT_ONCE)]
    read = torch.cat([joint.read(planner, [prompts[i] for i in group]) for group in groups])
    return read[torch.tensor(order).argsort()]


def _contrast(sound: Tensor, word: Tensor, wrong: Tensor, same: Tensor) -> tuple[Tensor, float]:
    """Rate pairs (b, embedding) against all others and against changed captions.

    Args:
        sound: Of the excerpts.
        word: Of their captions.
        wrong: Of captions with one attribute changed.
        same: True where the change was not mentioned, so nothing is wrong; shape (b,).
    """
    alike = sound @ word.T / TEMPERATURE
    hard = (sound * wrong).sum(dim=1, keepdim=True) / TEMPERATURE
    hard = hard.masked_fill(same[:, None], float("-inf"))
    right = torch.arange(len(sound))
    by_sound = F.cross_entropy(torch.cat([alike, hard], dim=1), right)
    by_word = F.cross_entropy(alike.T, right)
    found = (alike.argmax(dim=1) == right).double().mean()
    return 0.5 * (by_sound + by_word), float(found)


@torch.no_grad()
def _follow(joint: Joint, sound: Tensor, word: Tensor) -> None:
    """Average where the two sides lie and how far pairs stray."""
    gap = word - sound
    measured = (
        (joint.sound_mean, sound.mean(dim=0)),
        (joint.word_mean, word.mean(dim=0)),
        (joint.spread, gap.std(dim=0)),
    )
    for kept, new in measured:
        kept.lerp_(new, 1.0 - MEAN_DECAY)


def _style_loss(
    joint: Joint,
    planner: Planner,
    sound: Tensor,
    tokens: Tensor,
    dice: torch.Generator,
    *,
    notes: bool,
) -> Tensor:
    """Cross-entropy of plans (b, PLAN_TOKENS) written from noisy points (b, embedding)."""
    width = torch.rand((len(sound), 1), generator=dice) * joint.spread
    points = sound + width * torch.randn(sound.shape, generator=dice)
    points = points * (torch.rand((len(sound), 1), generator=dice) >= DROPPED_STYLES)
    states = joint.styled(points)
    mask = torch.ones(states.shape[:2], dtype=torch.bool)
    known = tokens[:, :-1] if notes else tokens[:, : HEADER_TOKENS - 1]
    with torch.autocast("cpu", torch.bfloat16):
        logits = planner(states, mask, known)
    loss = HEADER_WEIGHT * near_entropy(logits[:, :HEADER_TOKENS], tokens[:, :HEADER_TOKENS])
    if notes:
        rest = logits[:, HEADER_TOKENS:]
        loss = loss + F.cross_entropy(
            rest.reshape(-1, rest.shape[-1]), tokens[:, HEADER_TOKENS:].reshape(-1)
        )
    return loss
