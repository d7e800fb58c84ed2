"""Which codec tokens fit these conditions?

One transformer over the codec's tokens serves two ways of making sound, told apart by a
*task*:

* ``AUTOREGRESSIVE``: each frame sees earlier ones only; codebook k lags k frames behind
  the first (the delay pattern), so every token is drawn knowing the coarser ones of its
  frame. After MusicGen and AudioGen.
* ``MASKED``: frames see both ways; tokens are hidden and guessed, coarse codebooks
  before fine ones. After Diffsound and MAGNeT.

What it is told stands frame by frame: the roll of a score in three groups that may be
missing (what is played, the beat, the instruments), the melody as one pitch class a
frame, or the roll of a sound scene. A pooled prompt steers every layer.

Source: delay pattern, Copet et al., Simple and Controllable Music Generation (2023),
section 2.2; masking level by level, Ziv et al., MAGNeT (2024), section 3.1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from safegen.generation.backbone import Stepper, Transformer
from safegen.generation.quick import QuickStepper, quick_linear
from safegen.generation.rolls import NOTES, RHYTHM, ROLL_CHANNELS, SOUNDS
from safegen.generation.scenes import SCENE_CHANNELS

AUTOREGRESSIVE: Final = 0
MASKED: Final = 1
UNKNOWN: Final = -1
"""Stands for a token that is hidden, or not there yet."""
PITCH_CLASSES: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenConfig:
    """Sizes of a token model.

    Attributes:
        codebooks: Of the codec.
        codes: Entries of each codebook.
        latent: Dimensions of a codebook entry.
        text_width: Dimensions of the pooled prompt.
        width: Channels.
        layers: How many.
        heads: Of each layer.
        reach: Frames of 40 ms seen to either side by each layer.
    """

    codebooks: int = 4
    codes: int = 1024
    latent: int = 64
    text_width: int = 160
    width: int = 256
    layers: int = 6
    heads: int = 8
    reach: int = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameConditions:
    """What the token model is told about b excerpts of t frames.

    Attributes:
        roll: Shape (b, t, ROLL_CHANNELS).
        has_notes: False hides what is played, shape (b,).
        has_rhythm: False hides drums and beat, shape (b,).
        has_sounds: False hides the instruments, shape (b,).
        chroma: Pitch class of the melody, one-hot or all zero, shape (b, t, 12).
        has_chroma: False hides the melody, shape (b,).
        scene: Roll of a sound scene, shape (b, t, SCENE_CHANNELS).
        has_scene: False hides the scene, shape (b,).
        text: Pooled prompts, shape (b, text_width).
        has_text: False hides the prompt, shape (b,).
    """

    roll: Tensor
    has_notes: Tensor
    has_rhythm: Tensor
    has_sounds: Tensor
    chroma: Tensor
    has_chroma: Tensor
    scene: Tensor
    has_scene: Tensor
    text: Tensor
    has_text: Tensor

    @classmethod
    def of(
        cls,
        frames: int,
        *,
        roll: Tensor | None = None,
        notes: bool = True,
        rhythm: bool = True,
        chroma: Tensor | None = None,
        scene: Tensor | None = None,
        text: Tensor | None = None,
        text_width: int = 160,
    ) -> FrameConditions:
        """Describe one excerpt by what is known of it; what is None is hidden.

        Args:
            frames: t.
            roll: Shape (t, ROLL_CHANNELS).
            notes: Whether what is played is told.
            rhythm: Whether drums and beat are told.
            chroma: Shape (t, 12).
            scene: Shape (t, SCENE_CHANNELS).
            text: Pooled prompt, shape (text_width,).
            text_width: Of the model.
        """

        def flag(value: bool) -> Tensor:
            return torch.tensor([value])

        def rows(value: Tensor | None, channels: int) -> Tensor:
            return torch.zeros(1, frames, channels) if value is None else value[None].float()

        told = roll is not None
        return cls(
            roll=rows(roll, ROLL_CHANNELS),
            has_notes=flag(told and notes),
            has_rhythm=flag(told and rhythm),
            has_sounds=flag(told),
            chroma=rows(chroma, PITCH_CLASSES),
            has_chroma=flag(chroma is not None),
            scene=rows(scene, SCENE_CHANNELS),
            has_scene=flag(scene is not None),
            text=torch.zeros(1, text_width) if text is None else text[None],
            has_text=flag(text is not None),
        )

    def unconditional(self) -> FrameConditions:
        """The same excerpts with everything hidden."""
        none = torch.zeros_like(self.has_text)
        hidden = {x.name: none for x in dataclasses.fields(self) if x.name.startswith("has_")}
        return dataclasses.replace(self, **hidden)

    def and_also(self, other: FrameConditions) -> FrameConditions:
        """Both sets of excerpts in one batch."""
        names = [x.name for x in dataclasses.fields(self)]
        return FrameConditions(
            **{name: torch.cat([getattr(self, name), getattr(other, name)]) for name in names}
        )

    def cut(self, start: int, end: int) -> FrameConditions:
        """The same of frames start .. end - 1."""
        rows = {name: getattr(self, name)[:, start:end] for name in ("roll", "chroma", "scene")}
        return dataclasses.replace(self, **rows)

    def to(self, device: torch.device) -> FrameConditions:
        """The same conditions on another device."""
        names = [x.name for x in dataclasses.fields(self)]
        return FrameConditions(**{name: getattr(self, name).to(device) for name in names})


class TokenModel(nn.Module):
    """Log-odds of codec tokens.

    Args:
        config: Sizes.
        codebook: Entries of the codec the tokens belong to, shape (codebooks, codes,
            latent). A token is read as its entry, so what sounds alike starts alike.
    """

    entries: Tensor

    def __init__(self, config: TokenConfig, *, codebook: Tensor) -> None:
        super().__init__()
        self.config = config
        width = config.width
        spread = codebook.std(dim=(1, 2), keepdim=True).clamp_min(1e-6)
        # One more entry, all zero, stands for an unknown token.
        entries = torch.cat([codebook / spread, torch.zeros_like(codebook[:, :1])], dim=1)
        self.register_buffer("entries", entries.clone(), persistent=False)
        self.inlets = nn.ModuleList(
            nn.Linear(config.latent, width) for _ in range(config.codebooks)
        )
        self.hidden = nn.Parameter(torch.randn(config.codebooks, width) * 0.1)
        self.notes = nn.Linear(NOTES.stop - NOTES.start, width)
        self.rhythm = nn.Linear(RHYTHM.stop - RHYTHM.start, width)
        self.sounds = nn.Linear(SOUNDS.stop - SOUNDS.start, width)
        self.chroma = nn.Linear(PITCH_CLASSES, width)
        self.scene = nn.Linear(SCENE_CHANNELS, width)
        self.text = nn.Linear(config.text_width, width)
        self.task = nn.Embedding(2, width)
        self.backbone = Transformer(
            width=width,
            layers=config.layers,
            heads=config.heads,
            causal=True,
            reach=config.reach,
            steered=True,
        )
        self.outlet = nn.Linear(width, config.codebooks * config.codes)

    def forward(self, tokens: Tensor, conditions: FrameConditions, *, task: int) -> Tensor:
        """Score every token of every frame.

        Args:
            tokens: What each frame may read, ``UNKNOWN`` where nothing, shape
                (b, t, codebooks); for ``AUTOREGRESSIVE`` from ``delayed``.
            conditions: Of the same excerpts.
            task: ``AUTOREGRESSIVE`` or ``MASKED``.

        Returns:
            Log-odds, shape (b, t, codebooks, codes).
        """
        x = self.read(tokens) + self.told(conditions)
        steer = self.steer(conditions, task=task)
        y = self.backbone(x, steer=steer, causal=task == AUTOREGRESSIVE)
        return self.score(y)

    def read(self, tokens: Tensor) -> Tensor:
        """Turn tokens of shape (..., codebooks) into vectors of shape (..., width)."""
        total = torch.zeros((), device=tokens.device)
        for k, inlet in enumerate(self.inlets):
            index = tokens[..., k]
            known = index >= 0
            entry = self.entries[k, torch.where(known, index, self.config.codes)]
            read = torch.where(known[..., None], inlet(entry), self.hidden[k])
            total = total + read
        return total

    def told(self, conditions: FrameConditions) -> Tensor:
        """Turn what is told frame by frame into vectors of shape (b, t, width)."""
        roll = conditions.roll
        parts = (
            (self.notes, roll[..., NOTES], conditions.has_notes),
            (self.rhythm, roll[..., RHYTHM], conditions.has_rhythm),
            (self.sounds, roll[..., SOUNDS], conditions.has_sounds),
            (self.chroma, conditions.chroma, conditions.has_chroma),
            (self.scene, conditions.scene, conditions.has_scene),
        )
        total = torch.zeros((), device=roll.device)
        for inlet, rows, told in parts:
            total = total + inlet(rows) * told[:, None, None]
        return total

    def steer(self, conditions: FrameConditions, *, task: int) -> Tensor:
        """Turn prompt and task into vectors of shape (b, width)."""
        text = self.text(conditions.text) * conditions.has_text[:, None]
        out: Tensor = text + self.task.weight[task]
        return out

    def score(self, y: Tensor) -> Tensor:
        """Turn frames of shape (..., width) into log-odds of shape (..., codebooks, codes)."""
        out: Tensor = self.outlet(y)
        return out.reshape(*y.shape[:-1], self.config.codebooks, self.config.codes)

    def score_level(self, y: Tensor, *, level: int) -> Tensor:
        """Score one codebook only; shapes (..., width) and (..., codes)."""
        rows = slice(level * self.config.codes, (level + 1) * self.config.codes)
        return F.linear(y, self.outlet.weight[rows], self.outlet.bias[rows])

    def tables(self) -> Tensor:
        """Look every token up once; shape (codebooks, codes + 1, width), the last is unknown."""
        read = [inlet(self.entries[k]) for k, inlet in enumerate(self.inlets)]
        table = torch.stack(read)
        table[:, -1] = self.hidden
        return table

    def stepper(self, conditions: FrameConditions, *, longest: int) -> Stepper:
        """Prepare to score one frame after the other; see ``Transformer.stepper``."""
        steer = self.steer(conditions, task=AUTOREGRESSIVE)
        return self.backbone.stepper(rows=len(steer), longest=longest, steer=steer)

    def scorer(
        self,
        conditions: FrameConditions,
        *,
        longest: int,
        levels: int,
        quick: bool,
        before: Tensor | None = None,
    ) -> Callable[[Tensor], Tensor]:
        """Prepare to score one frame after the other, and only the first codebooks.

        Args:
            conditions: Of b rows.
            longest: Most frames that will come.
            levels: How many codebooks.
            quick: Whether sums may be taken in another order; see ``safegen.generation.quick``.
            before: Vectors of the first frames, which are only read, shape (b, t, width),
                t >= 1; for quick scorers.

        Returns:
            Vectors of the next frame, shape (b, width), to its log-odds, shape
            (b, levels, codes), on the CPU.
        """
        if not quick:
            step = self.stepper(conditions, longest=longest)
            return lambda x: self.score(step(x))[:, :levels].float().cpu()
        steer = self.steer(conditions, task=AUTOREGRESSIVE)
        hop = QuickStepper(self.backbone, rows=len(steer), longest=longest, steer=steer)
        if before is not None:
            hop.read(before)
        outlet = quick_linear(self.outlet, outlets=levels * self.config.codes)
        return lambda x: outlet(hop(x)).reshape(len(x), levels, -1).float().cpu()


def delayed(codes: Tensor) -> Tensor:
    """Lay codes out so that codebook k lags k frames behind the first.

    Args:
        codes: Shape (b, t, codebooks).

    Returns:
        Targets of the autoregressive task, same shape: place s holds the token of
        codebook k at frame s - k, ``UNKNOWN`` before the first frame.
    """
    out = torch.full_like(codes, UNKNOWN)
    for k in range(codes.shape[2]):
        out[:, k:, k] = codes[:, : codes.shape[1] - k, k]
    return out


def shifted(targets: Tensor) -> Tensor:
    """Move targets of shape (b, t, codebooks) one place later: what may be read there."""
    out = torch.full_like(targets, UNKNOWN)
    out[:, 1:] = targets[:, :-1]
    return out
