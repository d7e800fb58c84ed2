"""How does a coarse mel become latents of the codec?

The second stage of the cascade, a 1-D U-Net. It reads a mel at 12.5 frames a second
beside the roll of the plan and moves noise toward latents at 25 frames a second. The
coarse mel is noisy on purpose, in training by a random amount that the network is told:
so it forgives what the first stage gets wrong, and adds what the first stage left out.

It is convolutional from end to end and normalizes each frame by itself, so a frame
depends on a few seconds around it and a clip may have any length.

Source: noise on the condition, Ho et al., Cascaded Diffusion Models (2021), section 4;
a cascade of 1-D U-Nets for music, Huang et al., Noise2Music (2023), section 3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from safegen.generation.codec import MELS, STACK
from safegen.generation.renderer import leveled_loss, toward, waves
from safegen.generation.rolls import ROLL_CHANNELS
from safegen.generation.samplers import Given, flow_times

LATENTS_PER_COARSE: Final = 2
"""Codec latents in a coarse frame of 80 ms."""

MELS_PER_COARSE: Final = LATENTS_PER_COARSE * STACK
"""Mel frames in a coarse frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UNetConfig:
    """Sizes of a U-Net.

    Attributes:
        latent: Dimensions of a codec latent.
        coarse: Dimensions of a coarse frame.
        widths: Channels at each level; every level below the first has half the frames.
        blocks: Residual blocks at each level, on the way down and on the way up.
        steer: Dimensions of what times and noise levels become.
        most_noise: Largest noise level of the coarse mel in training, in [0, 1].
    """

    latent: int = 64
    coarse: int = MELS
    widths: tuple[int, ...] = (80, 96, 104)
    blocks: int = 2
    steer: int = 64
    most_noise: float = 0.6

    @property
    def multiple(self) -> int:
        """The number of frames must be divisible by this."""
        return int(2 ** (len(self.widths) - 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """What the U-Net is told about b excerpts of t latents.

    Attributes:
        coarse: Mel at half the rate, shape (b, t / 2, coarse), standardized and noisy.
        noise: How noisy: the noise's share of the deviation, in [0, 1], shape (b,).
        roll: Shape (b, t, ROLL_CHANNELS).
        has_plan: False drops the roll, shape (b,).
    """

    coarse: Tensor
    noise: Tensor
    roll: Tensor
    has_plan: Tensor


class UNet(nn.Module):
    """Velocity of latents on their way from noise to the sound of a coarse mel."""

    mean: Tensor
    scale: Tensor
    coarse_mean: Tensor
    coarse_scale: Tensor

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        first = config.widths[0]
        self.inlet = nn.Linear(config.latent, first)
        # One linear map a coarse frame to the channels of its two latents.
        self.coarse = nn.Linear(config.coarse, LATENTS_PER_COARSE * first)
        self.roll = nn.Linear(ROLL_CHANNELS, first)
        self.no_plan = nn.Parameter(torch.zeros(first))
        self.time = nn.Sequential(
            nn.Linear(256, config.steer), nn.SiLU(), nn.Linear(config.steer, config.steer)
        )
        self.down = nn.ModuleList(_level(config, width) for width in config.widths)
        self.up = nn.ModuleList(_level(config, width) for width in config.widths[:-1])
        pairs = list(zip(config.widths, config.widths[1:], strict=False))
        self.shrink = nn.ModuleList(nn.Conv1d(a, b, 2, stride=2) for a, b in pairs)
        self.grow = nn.ModuleList(nn.ConvTranspose1d(b, a, 2, stride=2) for a, b in pairs)
        self.outlet = nn.Linear(first, config.latent)
        nn.init.zeros_(self.outlet.weight)
        nn.init.zeros_(self.outlet.bias)
        # Mean and deviation of each dimension over the training items.
        self.register_buffer("mean", torch.zeros(config.latent))
        self.register_buffer("scale", torch.ones(config.latent))
        self.register_buffer("coarse_mean", torch.zeros(config.coarse))
        self.register_buffer("coarse_scale", torch.ones(config.coarse))

    def forward(self, x: Tensor, time: Tensor, outline: Outline) -> Tensor:
        """Say where noisy, standardized latents should move.

        Args:
            x: Shape (b, t, latent), t divisible by ``config.multiple``.
            time: 0 = noise, 1 = music, shape (b,).
            outline: Of the same b excerpts.

        Returns:
            Velocity, shape (b, t, latent).
        """
        b, t, _ = x.shape
        plan = self.roll(outline.roll)
        plan = torch.where(outline.has_plan[:, None, None], plan, self.no_plan.to(plan.dtype))
        y = self.inlet(x) + self.coarse(outline.coarse).reshape(b, t, -1) + plan
        steer = self.time(torch.cat([waves(time), waves(outline.noise)], dim=1))
        y = y.transpose(1, 2)
        skipped = []
        for i, level in enumerate(self.down):
            for block in level:  # type: ignore[attr-defined]
                y = block(y, steer)
            if i < len(self.shrink):
                skipped.append(y)
                y = self.shrink[i](y)
        for i in reversed(range(len(self.up))):
            y = self.grow[i](y) + skipped[i]
            for block in self.up[i]:  # type: ignore[attr-defined]
                y = block(y, steer)
        end: Tensor = self.outlet(_normalized(y).transpose(1, 2))
        return toward(end.float(), x, time)

    def loss(
        self, z: Tensor, coarse: Tensor, roll: Tensor, has_plan: Tensor, dice: torch.Generator
    ) -> Tensor:
        """Mean squared error of the velocity at random times and noise levels.

        Args:
            z: Latents, shape (b, t, latent).
            coarse: Clean mel of the same excerpts, shape (b, t / 2, coarse).
            roll: Shape (b, t, ROLL_CHANNELS).
            has_plan: False drops the roll, shape (b,).
            dice: Of the step.
        """
        target = (z - self.mean) / self.scale
        noise = torch.randn(z.shape, generator=dice)
        time = torch.randn(len(z), generator=dice).sigmoid()
        level = torch.rand(len(z), generator=dice) * self.config.most_noise
        outline = self.outline(coarse, roll, has_plan, noise=level, dice=dice)
        x = torch.lerp(noise, target, time[:, None, None])
        return leveled_loss(self(x, time, outline), target - noise, time)

    def outline(
        self,
        coarse: Tensor,
        roll: Tensor,
        has_plan: Tensor,
        *,
        noise: Tensor,
        dice: torch.Generator,
    ) -> Outline:
        """Standardize a coarse mel and make it as noisy as told.

        Args:
            coarse: Shape (b, t / 2, coarse).
            roll: Shape (b, t, ROLL_CHANNELS).
            has_plan: False drops the roll, shape (b,).
            noise: Levels in [0, 1], shape (b,).
            dice: Draws the noise.
        """
        clean = (coarse - self.coarse_mean) / self.coarse_scale
        level = noise[:, None, None]
        drawn = torch.randn(clean.shape, generator=dice)
        noisy = (1.0 - level.square()).sqrt() * clean + level * drawn
        return Outline(coarse=noisy, noise=noise, roll=roll, has_plan=has_plan)


class Block(nn.Module):
    """Two convolutions over three frames, residual, the first one steered."""

    def __init__(self, width: int, steer: int) -> None:
        super().__init__()
        self.steer = nn.Linear(steer, 2 * width)
        self.first = nn.Conv1d(width, width, 3, padding=1)
        self.second = nn.Conv1d(width, width, 3, padding=1)

    def forward(self, x: Tensor, steer: Tensor) -> Tensor:
        """Transform frames of shape (b, width, t)."""
        scale, shift = self.steer(F.silu(steer))[..., None].chunk(2, dim=1)
        y = self.first(F.gelu(_normalized(x) * (1 + scale) + shift))
        change: Tensor = self.second(F.gelu(_normalized(y)))
        return x + change


def sample_details(
    unet: UNet,
    coarse: Tensor,
    roll: Tensor,
    dice: torch.Generator,
    *,
    steps: int,
    noise: float,
    given: Given | None = None,
    progress: Callable[[float], None] | None = None,
) -> Tensor:
    """Follow the flow from noise to latents, for one item.

    Noise is drawn frame after frame, that of the coarse mel by a generator of its own, so
    a longer clip starts from the same noise.

    Args:
        unet: The model.
        coarse: Mel of shape (t / 2, coarse), t divisible by ``config.multiple``.
        roll: Shape (t, ROLL_CHANNELS).
        dice: The item's own randomness.
        steps: Euler steps.
        noise: Level of the noise on the coarse mel, in [0, 1].
        given: Latents of which some stay; none if None. Its strength is not used.
        progress: Called with the share of steps done.

    Returns:
        Latents of shape (t, latent).
    """
    own = torch.Generator().manual_seed(int(torch.randint(2**62, (), generator=dice)))
    level = torch.tensor([noise])
    here = torch.ones(1, dtype=torch.bool)
    with torch.inference_mode():
        outline = unet.outline(coarse[None], roll[None], here, noise=level, dice=own)
        drawn = x = torch.randn((1, len(roll), unet.config.latent), generator=dice)
        times = flow_times(steps)
        for i in range(steps):
            if given is not None:
                on_its_way = torch.lerp(drawn, (given.latents - unet.mean) / unet.scale, times[i])
                x = torch.where(given.keep[:, None], on_its_way, x)
            velocity = unet(x, times[i : i + 1], outline)
            x = x + float(times[i + 1] - times[i]) * velocity
            if progress is not None:
                progress((i + 1) / steps)
        return (x * unet.scale + unet.mean)[0]


def coarsen(log_mel: Tensor) -> Tensor:
    """Average mel frames of shape (b, 4t, MELS) to coarse ones of shape (b, t, MELS)."""
    b, t, bins = log_mel.shape
    return log_mel.reshape(b, t // MELS_PER_COARSE, MELS_PER_COARSE, bins).mean(dim=2)


def _level(config: UNetConfig, width: int) -> nn.ModuleList:
    return nn.ModuleList(Block(width, config.steer) for _ in range(config.blocks))


def _normalized(x: Tensor) -> Tensor:
    """Divide every frame of x, shape (b, width, t), by its own root mean square."""
    return F.rms_norm(x.transpose(1, 2), x.shape[1:2]).transpose(1, 2)
