"""How does the cascade make music? A coarse picture of the sound first, then the details.

1. text: the prompt becomes vectors;
2. plan: a language model writes a score, token by token;
3. generate: a flow moves noise toward a coarse mel, 12.5 frames a second;
4. cascade: a U-Net moves noise toward codec latents that sound like the coarse mel;
5. decode: latents become marked magnitudes, magnitudes a waveform.

After Noise2Music: a generator of a low-rate representation, then a cascader of 1-D U-Nets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from safegen.generation.base import Generation, Pieces, Request
from safegen.generation.cards import WEIGHTS, ModelCard, load_tensors
from safegen.generation.codec import FRAME_RATE, MELS, SAMPLE_RATE, Codec
from safegen.generation.compose import Plan, to_json, to_tokens
from safegen.generation.parts import codec_of, planner_of
from safegen.generation.planner import Planner
from safegen.generation.renderer import LONGEST_SECONDS, Conditions, Renderer, RendererConfig
from safegen.generation.requests import check, check_seconds
from safegen.generation.rolls import ROLL_CHANNELS, roll
from safegen.generation.rows import PlannedRow, frozen
from safegen.generation.samplers import FlowSettings, sample_latents
from safegen.generation.stages import dice, ended, one_thread, stepwise
from safegen.generation.streams import PieceMaker, frames_of, segments
from safegen.generation.unet import LATENTS_PER_COARSE, UNet, UNetConfig, sample_details

GENERATOR: Final = RendererConfig(
    latent=MELS,
    width=144,
    layers=4,
    heads=4,
    reach=32,
    roll_channels=LATENTS_PER_COARSE * ROLL_CHANNELS,
    predicts_end=True,
    time_shift=0.5,
)
"""The first stage: the renderer of ``music-flow`` with coarse frames for latents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CascadeSettings:
    """How both flows are followed.

    Attributes:
        generator: Of the coarse mel.
        details: Euler steps of the U-Net.
        noise: Level of the noise on the coarse mel, in [0, 1].
    """

    generator: FlowSettings = field(default_factory=lambda: FlowSettings(steps=16))
    details: int = 8
    noise: float = 0.2


class MusicCascade(PlannedRow):
    """Plan, then a coarse mel, then latents.

    Args:
        card: What is reported about it.
        codec: Trained.
        planner: Trained, with its text encoder.
        generator: Trained on coarse mels.
        unet: Trained on latents of the same codec.
        settings: How the flows are followed.
    """

    def __init__(
        self,
        card: ModelCard,
        *,
        codec: Codec,
        planner: Planner,
        generator: Renderer,
        unet: UNet,
        settings: CascadeSettings | None = None,
    ) -> None:
        super().__init__(card, codec=codec, planner=planner)
        self.generator = frozen(generator)
        self.unet = frozen(unet)
        self.settings = settings or CascadeSettings()

    def generate(
        self, request: Request, *, progress: Callable[[float], None] | None = None
    ) -> Generation:
        """Make one item; see ``safegen.generation.base.Generator``.

        Raises:
            InputError: If the request is outside what the card allows.
        """
        check(request, self.card)
        return self.render(self.plan(request), request, progress=progress)

    def stream(
        self, request: Request, *, progress: Callable[[float], None] | None = None
    ) -> Pieces:
        """Make one item piece by piece; see ``base.StreamingGenerator``.

        Raises:
            InputError: As ``generate``.
        """
        check(request, self.card)
        return stepwise(self._pieces(request, progress))

    def _pieces(self, request: Request, progress: Callable[[float], None] | None) -> Pieces:
        plan = self._plan(request, quick=True)
        frames = frames_of(request.seconds)
        rows = self._rows(plan, frames=frames)
        whole = self._conditions(request, rows)
        pieces = PieceMaker(
            self.codec,
            seconds=request.seconds,
            plan_json=to_json(plan),
            plan_tokens=to_tokens(plan),
            progress=progress,
        )
        coarse_luck, luck = dice(request.seed, "coarse"), dice(request.seed, "details")
        coarse = torch.zeros(0, self.generator.config.latent)
        z = torch.zeros(0, self.unet.config.latent)
        half = LATENTS_PER_COARSE
        for part in segments(len(rows)):
            coarse = sample_latents(
                self.generator,
                whole.cut(part.start // half, part.end // half, rate=FRAME_RATE / half),
                coarse_luck,
                settings=self.settings.generator,
                given=part.given(coarse, every=half),
            )
            z = sample_details(
                self.unet,
                coarse,
                rows[part.start : part.end],
                luck,
                steps=self.settings.details,
                noise=self.settings.noise,
                given=part.given(z),
            )
            new = z[part.known : frames - part.start]
            yield from pieces.feed(new, self.codec.quantizer.encode(new).T)
        yield from pieces.finish()

    def render(
        self,
        plan: Plan,
        request: Request,
        *,
        progress: Callable[[float], None] | None = None,
    ) -> Generation:
        """Make the sound of a score.

        Raises:
            InputError: If the length is outside what the card allows.
        """
        check_seconds(request, self.card)
        samples = round(request.seconds * SAMPLE_RATE)
        frames = frames_of(request.seconds)
        rows = self._rows(plan, frames=frames)
        with one_thread(), torch.inference_mode():
            coarse = sample_latents(
                self.generator,
                self._conditions(request, rows),
                dice(request.seed, "coarse"),
                settings=self.settings.generator,
                progress=_share(progress, start=0.0),
            )
            z = sample_details(
                self.unet,
                coarse,
                rows,
                dice(request.seed, "details"),
                steps=self.settings.details,
                noise=self.settings.noise,
                progress=_share(progress, start=0.5),
            )[:frames]
            codes = self.codec.quantizer.encode(z)
            audio = self.codec.decode(z)
        return Generation(
            audio=ended(audio, samples),
            plan_json=to_json(plan),
            plan_tokens=np.array(to_tokens(plan), dtype=np.int64),
            codes=np.ascontiguousarray(codes.T.numpy().astype(np.int64)),
        )

    def _rows(self, plan: Plan, *, frames: int) -> Tensor:
        """Lay the plan out over at least so many frames; shape (t, ROLL_CHANNELS)."""
        # Both stages make a little more than is kept: the U-Net halves its frames evenly.
        multiple = self.unet.config.multiple
        return torch.from_numpy(roll(plan, frames=-(-frames // multiple) * multiple))

    def _conditions(self, request: Request, rows: Tensor) -> Conditions:
        return Conditions(
            roll=coarse_roll(rows[None]),
            text=self._pooled(request.prompt)[None],
            # Training items are ten seconds cut from longer pieces, so a shorter clip is
            # the beginning of one of these.
            place=torch.tensor([[0.0, max(request.seconds, LONGEST_SECONDS)]]),
            has_plan=torch.ones(1, dtype=torch.bool),
            has_text=torch.ones(1, dtype=torch.bool),
        )


def coarse_roll(rows: Tensor) -> Tensor:
    """Put the rolls of both halves of a coarse frame side by side.

    Args:
        rows: Shape (b, 2t, ROLL_CHANNELS).

    Returns:
        Shape (b, t, 2 * ROLL_CHANNELS).
    """
    b, t, channels = rows.shape
    return rows.reshape(b, t // LATENTS_PER_COARSE, LATENTS_PER_COARSE * channels)


def load_music_cascade(found: ModelCard, *, folder: Path = WEIGHTS) -> MusicCascade:
    """Build the cascade from a folder of weights.

    Raises:
        IntegrityError: If a weight file is not the one the card names.
    """
    codec = codec_of(found, folder=folder)
    planner = planner_of(found, folder=folder)
    generator = Renderer(GENERATOR)
    generator.load_state_dict(load_tensors(found.file("generator"), folder=folder))
    unet = UNet(UNetConfig())
    unet.load_state_dict(load_tensors(found.file("cascader"), folder=folder))
    return MusicCascade(found, codec=codec, planner=planner, generator=generator, unet=unet)


def _share(
    progress: Callable[[float], None] | None, *, start: float
) -> Callable[[float], None] | None:
    """Report the progress of one of the two stages as that of the whole."""
    if progress is None:
        return None
    return lambda done: progress(start + 0.5 * done)
