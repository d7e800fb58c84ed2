"""Recipe: train the token model that the rows music-ar, sfx-ar and sfx-masked share.

    seed -> score -> roll, caption -> pooled prompt       codes of the sound
    seed -> scene -> roll of the scene                    codes of the sound
    loss = cross-entropy of the tokens that the task hides

Three steps in five are autoregressive, two are masked. What is told is hidden at
random: everything one time in ten (for classifier-free guidance), what is played one
time in five, and then the melody is told instead three times in four. One excerpt in
four shows the two coarse codebooks only, which is the coarse stage of ``continue``.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from safegen.generation.captions import caption
from safegen.generation.compose import compose
from safegen.generation.melody import one_hot
from safegen.generation.rolls import ROLL_CHANNELS, roll
from safegen.generation.scenes import SCENE_CHANNELS, compose_scene, scene_roll
from safegen.generation.text import TextEncoder, pool, to_batch
from safegen.generation.tokens import (
    AUTOREGRESSIVE,
    MASKED,
    PITCH_CLASSES,
    UNKNOWN,
    FrameConditions,
    TokenConfig,
    TokenModel,
    delayed,
    shifted,
)
from safegen.training.loop import Progress, Run, save_module, started_from
from safegen.training.token_items import TokenItems

LEARNING_RATE: Final = 1.2e-3
FRAMES: Final = 160
"""Codec frames of an excerpt."""
MUSIC_SHARE: Final = 0.5
MASKED_STEPS: Final = (1, 3)
"""Of every five."""
COARSE_SHARE: Final = 0.25
HIDE_ALL: Final = 0.1
HIDE_NOTES: Final = 0.2
HIDE_RHYTHM: Final = 0.1
HIDE_SOUNDS: Final = 0.05
HIDE_TEXT: Final = 0.1
TELL_MELODY: Final = 0.75
LEVEL_SHARES: Final = (0.5, 0.2, 0.15, 0.15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Excerpt:
    """A stretch of a training item.

    Attributes:
        codes: Shape (codebooks, t).
        roll: Of a score, None without one.
        melody: Shape (t, 12), None for a scene.
        scene: Of a scene, None without one.
        prompt: Caption, "" if hidden.
    """

    codes: npt.NDArray[np.int16]
    roll: npt.NDArray[np.float16] | None
    melody: npt.NDArray[np.float32] | None
    scene: npt.NDArray[np.float16] | None
    prompt: str


class Source:
    """Excerpts of music and of scenes, drawn by dice.

    Args:
        music: Items whose seeds are scores.
        scenes: Items whose seeds are sound scenes; None trains on music alone.
        frames: Length of an excerpt, at most that of the items.
    """

    def __init__(self, music: TokenItems, scenes: TokenItems | None, *, frames: int) -> None:
        self._music, self._scenes, self._frames = music, scenes, frames
        self._rolls: dict[int, npt.NDArray[np.float16]] = {}
        self._scene_rolls: dict[int, npt.NDArray[np.float16]] = {}

    def draw(self, dice: random.Random) -> Excerpt:
        """Draw an excerpt of music or of a scene."""
        if self._scenes is None or dice.random() < MUSIC_SHARE:
            return self._of_music(self._music, dice)
        return self._of_scene(self._scenes, dice)

    def _of_music(self, items: TokenItems, dice: random.Random) -> Excerpt:
        row = dice.randrange(len(items.seeds))
        plan = compose(items.seeds[row])
        length = items.codes.shape[2]
        if row not in self._rolls:
            self._rolls[row] = roll(plan, frames=length).astype(np.float16)
        start = dice.randrange(length - self._frames + 1)
        part = slice(start, start + self._frames)
        return Excerpt(
            codes=items.codes[row, :, part],
            roll=self._rolls[row][part],
            melody=one_hot(items.melody[row, part]),
            scene=None,
            prompt="" if dice.random() < HIDE_TEXT else caption(plan, dice),
        )

    def _of_scene(self, items: TokenItems, dice: random.Random) -> Excerpt:
        row = dice.randrange(len(items.seeds))
        length = items.codes.shape[2]
        if row not in self._scene_rolls:
            rows = scene_roll(compose_scene(items.seeds[row]), frames=length)
            self._scene_rolls[row] = rows.astype(np.float16)
        start = dice.randrange(length - self._frames + 1)
        part = slice(start, start + self._frames)
        return Excerpt(
            codes=items.codes[row, :, part],
            roll=None,
            melody=None,
            scene=self._scene_rolls[row][part],
            prompt="",
        )


def train(
    source: Source,
    *,
    codebook: Tensor,
    text: TextEncoder,
    folder: Path,
    steps: int,
    batch: int = 24,
    config: TokenConfig | None = None,
    seed: int = 4,
    save_every: int = 100,
) -> Iterator[Progress]:
    """Train a token model, or continue the run found in the folder.

    Args:
        source: Of the excerpts.
        codebook: Entries of the finished codec, shape (codebooks, codes, latent).
        text: Finished.
        folder: Where the run is kept; the result is ``tokens.safetensors``.
        steps: Optimizer steps of the whole run.
        batch: Excerpts per step.
        config: Sizes; the shipped ones if None.
        seed: Of the run.
        save_every: Steps between checkpoints.

    Yields:
        The loss of each step; of autoregressive steps also as ``autoregressive``, of
        masked ones as ``masked``.
    """
    with started_from(seed):
        model = TokenModel(config or TokenConfig(), codebook=codebook)
    run = Run(model, steps=steps, learning_rate=LEARNING_RATE, seed=seed)
    run.resume(folder)
    while run.step < steps:
        dice = random.Random(seed * 1_000_003 + run.step)  # noqa: S311
        excerpts = [source.draw(dice) for _ in range(batch)]
        codes = torch.from_numpy(np.stack([x.codes for x in excerpts]).astype(np.int64))
        codes = codes.transpose(1, 2)
        conditions = conditions_of(excerpts, text, dice, text_width=model.config.text_width)
        masked = run.step % 5 in MASKED_STEPS
        loss = (masked_loss if masked else autoregressive_loss)(
            model, codes, conditions, run.generator()
        )
        figures = {"masked" if masked else "autoregressive": float(loss.detach())}
        yield run.update(loss, **figures)
        if run.step % save_every == 0 or run.step == steps:
            run.save(folder)
    save_module(run.averaged(), folder / "tokens.safetensors", prefix="")


def autoregressive_loss(
    model: TokenModel, codes: Tensor, conditions: FrameConditions, dice: torch.Generator
) -> Tensor:
    """Cross-entropy of every next token along the delay pattern; codes (b, t, codebooks).

    A token that is ``UNKNOWN`` is not asked for.
    """
    targets = delayed(codes)
    coarse = torch.rand(len(codes), generator=dice) < COARSE_SHARE
    targets[coarse, :, 2:] = UNKNOWN
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(shifted(targets), conditions, task=AUTOREGRESSIVE)
    return F.cross_entropy(logits.flatten(0, 2).float(), targets.flatten(), ignore_index=UNKNOWN)


def masked_loss(
    model: TokenModel, codes: Tensor, conditions: FrameConditions, dice: torch.Generator
) -> Tensor:
    """Cross-entropy of the hidden tokens of one codebook per excerpt."""
    b, t, _ = codes.shape
    levels = torch.multinomial(torch.tensor(LEVEL_SHARES), b, replacement=True, generator=dice)
    share = torch.cos(torch.pi / 2 * torch.rand(b, 1, generator=dice))
    hide = torch.rand(b, t, generator=dice) < share.clamp_min(1.0 / t)
    hide[:, 0] |= ~hide.any(dim=1)
    seen = codes.clone()
    for row, level in enumerate(levels.tolist()):
        seen[row, hide[row], level] = UNKNOWN
        seen[row, :, level + 1 :] = UNKNOWN
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(seen, conditions, task=MASKED)
    rows = torch.arange(b)
    targets = torch.where(hide, codes[rows, :, levels], UNKNOWN)
    chosen = logits[rows, :, levels].float()
    return F.cross_entropy(chosen.flatten(0, 1), targets.flatten(), ignore_index=UNKNOWN)


def conditions_of(
    excerpts: list[Excerpt], text: TextEncoder | None, dice: random.Random, *, text_width: int
) -> FrameConditions:
    """Lay out what is told about excerpts, and hide some of it.

    Args:
        excerpts: At least one, of one length.
        text: Reads the prompts; None for excerpts without.
        dice: Of the step.
        text_width: Of the model.
    """
    frames = excerpts[0].codes.shape[1]
    rows: dict[str, list[bool]] = {
        name: [] for name in ("notes", "rhythm", "sounds", "melody", "scene", "text")
    }
    for x in excerpts:
        told = dice.random() >= HIDE_ALL
        music = told and x.roll is not None
        led = told and x.melody is not None
        notes = music and dice.random() >= HIDE_NOTES
        rows["notes"].append(notes)
        rows["rhythm"].append(music and dice.random() >= (HIDE_RHYTHM if notes else 0.6))
        rows["sounds"].append(music and dice.random() >= HIDE_SOUNDS)
        rows["melody"].append(led and not notes and dice.random() < TELL_MELODY)
        rows["scene"].append(told and x.scene is not None)
        rows["text"].append(told and x.prompt != "")
    pooled = torch.zeros(len(excerpts), text_width)
    if text is not None:
        batch = to_batch([x.prompt for x in excerpts])
        with torch.no_grad():
            pooled = pool(text(batch), batch.mask)

    def stack(parts: list[npt.NDArray[np.float16] | None], channels: int) -> Tensor:
        empty = np.zeros((frames, channels), dtype=np.float16)
        filled = np.stack([empty if x is None else x for x in parts])
        return torch.from_numpy(filled.astype(np.float32))

    return FrameConditions(
        roll=stack([x.roll for x in excerpts], ROLL_CHANNELS),
        has_notes=torch.tensor(rows["notes"]),
        has_rhythm=torch.tensor(rows["rhythm"]),
        has_sounds=torch.tensor(rows["sounds"]),
        chroma=stack(
            [None if x.melody is None else x.melody.astype(np.float16) for x in excerpts],
            PITCH_CLASSES,
        ),
        has_chroma=torch.tensor(rows["melody"]),
        scene=stack([x.scene for x in excerpts], SCENE_CHANNELS),
        has_scene=torch.tensor(rows["scene"]),
        text=pooled,
        has_text=torch.tensor(rows["text"]),
    )
