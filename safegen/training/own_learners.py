"""What does a step of training on own items ask of each network?

Every learner draws excerpts of own items (``own_excerpts``), tells its network what the
system that uses it will tell, and gives the loss of the network's recipe.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from safegen.generation.cascade import coarse_roll
from safegen.generation.codec import FRAME_RATE, STACK
from safegen.generation.melody import one_hot
from safegen.generation.planner import Planner
from safegen.generation.renderer import Conditions, Renderer
from safegen.generation.scene_reader import SceneReader, named_sounds, scene_of
from safegen.generation.scenes import scene_roll
from safegen.generation.tokens import TokenModel
from safegen.generation.unet import LATENTS_PER_COARSE, MELS_PER_COARSE, UNet, coarsen
from safegen.training import tokens
from safegen.training.codec import QUANTIZER_START, CodecTraining
from safegen.training.flow import pooled
from safegen.training.manifests import ITEM_SECONDS
from safegen.training.own_excerpts import Excerpts, Scores, draw
from safegen.training.own_items import FRAMES, OwnItems


class Learner(Protocol):
    """A network that learns from own items."""

    @property
    def model(self) -> nn.Module:
        """Trained in place."""

    def loss(self, step: int, dice: torch.Generator) -> Tensor:
        """Draw excerpts and rate the network on them.

        Args:
            step: Of the run, from 0.
            dice: Of the step.
        """


class RendererLearner:
    """Noise to latents, for ``music-flow``."""

    def __init__(
        self,
        model: Renderer,
        items: OwnItems,
        planner: Planner,
        *,
        batch: int = 24,
        frames: int = 192,
    ) -> None:
        self.model = model
        self._items, self._planner = items, planner
        self._scores = Scores(planner)
        self._batch, self._frames = batch, frames

    def loss(self, step: int, dice: torch.Generator) -> Tensor:
        """Squared error of the velocity; see ``Learner.loss``."""
        del step
        drawn = draw(self._items, batch=self._batch, frames=self._frames, dice=dice)
        z = _cut(self._items.latents, drawn.items, drawn.starts, self._frames)
        conditions = Conditions(
            roll=self._scores.rows(drawn, frames=self._frames),
            text=pooled(self._planner.text, drawn.prompts),
            place=_places(drawn),
            has_plan=drawn.has_plan,
            has_text=drawn.has_text,
        )
        with torch.autocast("cpu", torch.bfloat16):
            return self.model.loss(z, conditions, dice)


class CoarseLearner:
    """Noise to coarse mel frames, the first stage of ``music-cascade``."""

    def __init__(
        self,
        model: Renderer,
        items: OwnItems,
        planner: Planner,
        *,
        batch: int = 40,
        frames: int = 80,
    ) -> None:
        self.model = model
        self._items, self._planner = items, planner
        self._scores = Scores(planner)
        self._coarse = coarse_mels(items)
        self._batch, self._frames = batch, frames

    def loss(self, step: int, dice: torch.Generator) -> Tensor:
        """Squared error of the velocity; see ``Learner.loss``."""
        del step
        frames = LATENTS_PER_COARSE * self._frames
        drawn = draw(self._items, batch=self._batch, frames=frames, dice=dice, even=True)
        starts = [s // LATENTS_PER_COARSE for s in drawn.starts]
        conditions = Conditions(
            roll=coarse_roll(self._scores.rows(drawn, frames=frames)),
            text=pooled(self._planner.text, drawn.prompts),
            place=_places(drawn),
            has_plan=drawn.has_plan,
            has_text=drawn.has_text,
        )
        coarse = _cut(self._coarse, drawn.items, starts, self._frames)
        with torch.autocast("cpu", torch.bfloat16):
            return self.model.loss(coarse, conditions, dice)


class DetailLearner:
    """Coarse mel frames to latents, the second stage of ``music-cascade``."""

    def __init__(
        self, model: UNet, items: OwnItems, planner: Planner, *, batch: int = 24, frames: int = 64
    ) -> None:
        self.model = model
        self._items = items
        self._scores = Scores(planner)
        self._coarse = coarse_mels(items)
        self._batch, self._frames = batch, frames

    def loss(self, step: int, dice: torch.Generator) -> Tensor:
        """Squared error of the velocity; see ``Learner.loss``."""
        del step
        frames = LATENTS_PER_COARSE * self._frames
        drawn = draw(self._items, batch=self._batch, frames=frames, dice=dice, even=True)
        starts = [s // LATENTS_PER_COARSE for s in drawn.starts]
        with torch.autocast("cpu", torch.bfloat16):
            return self.model.loss(
                _cut(self._items.latents, drawn.items, drawn.starts, frames),
                _cut(self._coarse, drawn.items, starts, self._frames),
                self._scores.rows(drawn, frames=frames),
                drawn.has_plan,
                dice,
            )


class TokenLearner:
    """Hidden tokens from what is told, for the rows that draw codec tokens.

    Args:
        model: Of the tokens.
        items: With tokens of the same codec.
        planner: Reads captions and writes scores for them; None for sound effects.
        reader: Finds the known sounds that a caption names; None for music.
        batch: Excerpts per step.
        frames: Codec frames per excerpt.
    """

    def __init__(
        self,
        model: TokenModel,
        items: OwnItems,
        planner: Planner | None,
        reader: SceneReader | None,
        *,
        batch: int = 24,
        frames: int = 192,
    ) -> None:
        self.model = model
        self._items, self._planner, self._reader = items, planner, reader
        self._scores = None if planner is None else Scores(planner)
        self._scenes: dict[str, npt.NDArray[np.float16] | None] = {}
        self._batch, self._frames = batch, frames

    def loss(self, step: int, dice: torch.Generator) -> Tensor:
        """Cross-entropy of the tokens that the task hides; see ``Learner.loss``."""
        drawn = draw(self._items, batch=self._batch, frames=self._frames, dice=dice)
        rows = None if self._scores is None else self._scores.rows(drawn, frames=self._frames)
        excerpts = [
            tokens.Excerpt(
                codes=self._items.codes[item, :, start : start + self._frames],
                roll=rows[i].half().numpy() if rows is not None and drawn.has_plan[i] else None,
                melody=None
                if rows is None
                else one_hot(self._items.melody[item, start : start + self._frames]),
                scene=self._scene(drawn.prompts[i], start),
                prompt=drawn.prompts[i] if rows is not None and drawn.has_text[i] else "",
            )
            for i, (item, start) in enumerate(zip(drawn.items, drawn.starts, strict=True))
        ]
        codes = torch.from_numpy(np.stack([x.codes for x in excerpts]).astype(np.int64))
        conditions = tokens.conditions_of(
            excerpts,
            None if self._planner is None else self._planner.text,
            random.Random(int(torch.randint(2**31, (), generator=dice))),  # noqa: S311
            text_width=self.model.config.text_width,
        )
        is_masked = step % 5 in tokens.MASKED_STEPS
        rate = tokens.masked_loss if is_masked else tokens.autoregressive_loss
        return rate(self.model, codes.transpose(1, 2), conditions, dice)

    def _scene(self, prompt: str, start: int) -> npt.NDArray[np.float16] | None:
        """Lay out the known sounds that a caption names; None if it names none."""
        if self._reader is None or not prompt:
            return None
        if prompt not in self._scenes:
            readings = self._reader.readings(prompt)
            rows = None
            if named_sounds(readings):
                seed = int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:7], "big")
                scene = scene_of(readings, seed=seed)
                rows = scene_roll(scene, frames=FRAMES).astype(np.float16)
            self._scenes[prompt] = rows
        rows = self._scenes[prompt]
        return None if rows is None else rows[start : start + self._frames]


class CodecLearner:
    """Log-mel to latents and codes, and back.

    Args:
        model: Of the codec.
        items: With their log-mel.
        is_started: Whether the codebooks hold something to go on from.
        batch: Excerpts per step.
        frames: Latent frames per excerpt.
    """

    def __init__(
        self,
        model: CodecTraining,
        items: OwnItems,
        *,
        is_started: bool,
        batch: int = 32,
        frames: int = 128,
    ) -> None:
        self.model = model
        self._items = items
        self._first = QUANTIZER_START + 1 if is_started else 0
        self._batch, self._frames = batch, frames

    def loss(self, step: int, dice: torch.Generator) -> Tensor:
        """Error of the log-mel and distance to the codes; see ``Learner.loss``."""
        drawn = draw(self._items, batch=self._batch, frames=self._frames, dice=dice)
        starts = [STACK * s for s in drawn.starts]
        mels = _cut(mels_of(self._items), drawn.items, starts, STACK * self._frames)
        return self.model.losses(mels, dice, step=self._first + step).total


def mels_of(items: OwnItems) -> npt.NDArray[np.float16]:
    """Give the log-mel of items that have it.

    Raises:
        ValueError: If they were read without.
    """
    if items.mels is None:
        msg = "the items were encoded without their log-mel"
        raise ValueError(msg)
    return items.mels


def coarse_mels(items: OwnItems) -> npt.NDArray[np.float16]:
    """Average log-mel frames to coarse ones; shape (n, ``FRAMES`` / 2, MELS)."""
    parts = []
    mels = mels_of(items)
    for i in range(0, len(mels), 50):
        part = torch.from_numpy(mels[i : i + 50].astype(np.float32))
        whole = part.shape[1] // MELS_PER_COARSE * MELS_PER_COARSE
        parts.append(coarsen(part[:, :whole]).half().numpy())
    return np.concatenate(parts)


def _places(drawn: Excerpts) -> Tensor:
    return torch.tensor([(start / FRAME_RATE, ITEM_SECONDS) for start in drawn.starts])


def _cut(
    rows: npt.NDArray[np.float16],
    items: Sequence[int],
    starts: Sequence[int],
    length: int,
) -> Tensor:
    parts = [rows[i, s : s + length] for i, s in zip(items, starts, strict=True)]
    return torch.from_numpy(np.stack(parts).astype(np.float32))
