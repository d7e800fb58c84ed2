"""How does a plan become latents of the codec?

A rectified-flow transformer. It reads the roll of the plan frame by frame, the pooled
prompt, and where in the piece it is, and moves noise toward latents in a few steps. Its
attention has a limited reach, so thirty seconds are no different from ten.

Source: Liu, Gong and Liu, Flow Straight and Fast (2022), equation 1; training times
from a logit-normal as in Esser et al. (2024), section 3.1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from safegen.generation.backbone import Transformer
from safegen.generation.rolls import ROLL_CHANNELS

LONGEST_SECONDS: Final = 10.0
"""Starts and totals are clipped to the length of the training items."""

LEAST_TIME_LEFT: Final = 0.05
"""What is left of a flow is never taken for less: velocities would grow without bound."""

LEVELED_TIME_LEFT: Final = 0.25
"""Errors count less in the loss once less than this is left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RendererConfig:
    """Sizes of a renderer.

    Attributes:
        latent: Dimensions of a codec latent.
        text_width: Dimensions of the pooled prompt.
        width: Channels.
        layers: How many.
        heads: Of each layer.
        reach: Frames seen to either side by each layer.
        roll_channels: Of the roll; more than one row of a plan may stand in one.
        predicts_end: Whether the network names where the flow ends instead of its
            velocity. Noise then need not pass through the network, which matters when
            ``latent`` is not much smaller than ``width``.
        time_shift: Moves training times toward noise, in logits.
    """

    latent: int = 64
    text_width: int = 160
    width: int = 256
    layers: int = 5
    heads: int = 8
    reach: int = 64
    roll_channels: int = ROLL_CHANNELS
    predicts_end: bool = False
    time_shift: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What the renderer is told about b excerpts of t frames.

    Attributes:
        roll: Shape (b, t, roll channels).
        text: Pooled prompts, shape (b, text_width).
        place: Start and total length in seconds, shape (b, 2).
        has_plan: False drops the roll, shape (b,).
        has_text: False drops the prompt, shape (b,).
    """

    roll: Tensor
    text: Tensor
    place: Tensor
    has_plan: Tensor
    has_text: Tensor

    def unconditional(self) -> Conditions:
        """The same excerpts with plan and prompt dropped."""
        none = torch.zeros_like(self.has_plan)
        return Conditions(
            roll=self.roll, text=self.text, place=self.place, has_plan=none, has_text=none
        )

    def cut(self, start: int, end: int, *, rate: float) -> Conditions:
        """The same of frames start .. end - 1, so many a second.

        It lies where it lies in the whole, but no later than excerpts of training did.
        """
        place = self.place.clone()
        latest = max(0.0, LONGEST_SECONDS - (end - start) / rate)
        place[:, 0] = (place[:, 0] + start / rate).clamp_max(latest)
        return replace(self, roll=self.roll[:, start:end], place=place)

    def to(self, device: torch.device) -> Conditions:
        """The same conditions on another device."""
        return Conditions(
            roll=self.roll.to(device),
            text=self.text.to(device),
            place=self.place.to(device),
            has_plan=self.has_plan.to(device),
            has_text=self.has_text.to(device),
        )

    def and_also(self, other: Conditions) -> Conditions:
        """Both sets of excerpts in one batch."""
        return Conditions(
            roll=torch.cat([self.roll, other.roll]),
            text=torch.cat([self.text, other.text]),
            place=torch.cat([self.place, other.place]),
            has_plan=torch.cat([self.has_plan, other.has_plan]),
            has_text=torch.cat([self.has_text, other.has_text]),
        )


class Renderer(nn.Module):
    """Velocity of latents on their way from noise to music."""

    mean: Tensor
    scale: Tensor

    def __init__(self, config: RendererConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.inlet = nn.Linear(config.latent, width)
        self.roll = nn.Linear(config.roll_channels, width)
        self.no_plan = nn.Parameter(torch.zeros(width))
        self.time = nn.Sequential(nn.Linear(128, width), nn.SiLU(), nn.Linear(width, width))
        self.text = nn.Linear(config.text_width, width)
        self.place = nn.Linear(2, width)
        self.backbone = Transformer(
            width=width,
            layers=config.layers,
            heads=config.heads,
            causal=False,
            reach=config.reach,
            steered=True,
        )
        self.outlet = nn.Linear(width, config.latent)
        nn.init.zeros_(self.outlet.weight)
        nn.init.zeros_(self.outlet.bias)
        # Mean and deviation of each latent dimension over the training items.
        self.register_buffer("mean", torch.zeros(config.latent))
        self.register_buffer("scale", torch.ones(config.latent))

    def forward(self, x: Tensor, time: Tensor, conditions: Conditions) -> Tensor:
        """Say where noisy, standardized latents should move.

        Args:
            x: Shape (b, t, latent).
            time: 0 = noise, 1 = music, shape (b,).
            conditions: For the same b excerpts.

        Returns:
            Velocity, shape (b, t, latent).
        """
        plan = self.roll(conditions.roll)
        plan = torch.where(conditions.has_plan[:, None, None], plan, self.no_plan.to(plan.dtype))
        place = (conditions.place / LONGEST_SECONDS).clamp(0.0, 1.0)
        steer = self.time(waves(time)) + self.place(place)
        steer = steer + self.text(conditions.text) * conditions.has_text[:, None]
        y = self.backbone(self.inlet(x) + plan, steer=steer)
        out: Tensor = self.outlet(y)
        return toward(out.float(), x, time) if self.config.predicts_end else out

    def loss(self, z: Tensor, conditions: Conditions, dice: torch.Generator) -> Tensor:
        """Mean squared error of the velocity at random times, for latents (b, t, latent)."""
        target = (z - self.mean) / self.scale
        noise = torch.randn(z.shape, generator=dice)
        time = (torch.randn(len(z), generator=dice) - self.config.time_shift).sigmoid()
        x = torch.lerp(noise, target, time[:, None, None])
        velocity = self(x, time, conditions).float()
        if self.config.predicts_end:
            return leveled_loss(velocity, target - noise, time)
        return F.mse_loss(velocity, target - noise)


def toward(end: Tensor, x: Tensor, time: Tensor) -> Tensor:
    """Velocity that leads from x, shape (b, ...), at a time in [0, 1], shape (b,), to an end.

    Source: Li and He, Back to Basics: Let Denoising Generative Models Denoise (2025).
    """
    left = (1.0 - time).clamp_min(LEAST_TIME_LEFT)
    return (end - x) / left.reshape(-1, *(1 for _ in x.shape[1:]))


def leveled_loss(velocity: Tensor, wanted: Tensor, time: Tensor) -> Tensor:
    """Mean squared error of velocities made by ``toward``, late ones weighing less.

    The last quarter of the flow would otherwise be most of the loss and all of its noise.
    """
    weight = ((1.0 - time) / LEVELED_TIME_LEFT).clamp_max(1.0)
    return F.mse_loss(
        velocity * weight.reshape(-1, *(1 for _ in velocity.shape[1:])),
        wanted * weight.reshape(-1, *(1 for _ in wanted.shape[1:])),
    )


def waves(time: Tensor) -> Tensor:
    """Sinusoids of a time in [0, 1]; shape (b, 128)."""
    rates = torch.exp(torch.arange(64, device=time.device) * (-math.log(1000.0) / 64))
    angles = 1000.0 * time[:, None] * rates[None]
    return torch.cat([angles.cos(), angles.sin()], dim=1)
