"""How does Stable Audio Open make sound? Latent diffusion that is told where it starts and ends.

The pipeline always makes its longest clip and cuts it, so a short clip costs as much as a
long one.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from safegen.audio import Audio
from safegen.generation.base import Request
from safegen.generation.diffusers_models.loading import amount, load_pipeline, number, numbers
from safegen.generation.diffusers_models.running import (
    Diffuser,
    OnStep,
    drawn,
    fitted,
    in_float32,
    refuse_long_text,
    seeded,
)
from safegen.generation.memory import room_for_weights
from safegen.generation.model_card import ModelCard
from safegen.generation.public_families import Described, Device, Precision, settings

STEPS: Final = 200
"""Source: model card of stabilityai/stable-audio-open-1.0, its example with diffusers."""
GUIDANCE: Final = 7.0
"""Source: diffusers 0.42, StableAudioPipeline, its default."""
SHORTEST_SECONDS: Final = 0.5
_FEWEST_STEPS: Final = 2


def describe(folder: Path) -> Described:
    """Read a checkpoint's settings; see ``safegen.generation.public_families``."""
    path = folder / "vae" / "config.json"
    vae = settings(path)
    size, told = folder / "transformer" / "config.json", folder / "projection_model" / "config.json"
    scheduler = settings(folder / "scheduler" / "scheduler_config.json")
    rate, channels = number(vae, "sampling_rate", path), number(vae, "audio_channels", path)
    samples = number(settings(size), "sample_size", size)
    samples *= math.prod(numbers(vae, "downsampling_ratios", path))
    varies = "sigma_max" in scheduler
    return Described(
        summary="Sound effects and music from text: latent diffusion that is told the length.",
        sample_rate=rate,
        channels=channels,
        shortest_seconds=SHORTEST_SECONDS,
        longest_seconds=min(samples / rate, amount(settings(told), "max_value", told)),
        accepts=("negative_prompt", "source") if varies else ("negative_prompt",),
        limits="No voices that can be understood; a short clip takes as long as the longest.",
    )


def load(folder: Path, card: ModelCard, *, device: Device, precision: Precision) -> StableAudio:
    """Build it; see ``safegen.generation.public_families``."""
    with room_for_weights(card, device=device, precision=precision):
        pipeline = load_pipeline("StableAudioPipeline", folder, device=device, precision=precision)
    return StableAudio(card, pipeline, device=device, precision=precision)


class StableAudio(Diffuser):
    """Stable Audio Open as a generator.

    A source is varied: noise is added up to the level at which the share ``strength`` of
    the way to silence is left, and removed again. At 1 next to nothing is left of it.
    """

    def refuse(self, request: Request) -> None:
        """Refuse a prompt that would be cut off."""
        pipe = self.pipeline
        refuse_long_text(
            self.card,
            pipe.tokenizer,
            [request.prompt, request.negative_prompt],
            most=pipe.tokenizer.model_max_length,
        )

    def shape(self, request: Request) -> Hashable:
        """Let those run together that share length and kind: the pipeline takes one of each."""
        sigma = request.strength if request.source is not None else None
        return request.seconds, bool(request.negative_prompt), sigma

    def steps(self, request: Request) -> int:
        """Count the steps: as many as the part of the way that a varied source goes."""
        if request.source is None:
            return STEPS
        return max(_FEWEST_STEPS, math.ceil(STEPS * request.strength))

    def make(
        self, requests: Sequence[Request], dices: list[torch.Generator], on_step: OnStep
    ) -> Tensor:
        """Run the pipeline; see ``Diffuser.make``."""
        pipe, first = self.pipeline, requests[0]
        size = pipe.transformer.config
        like = torch.empty(
            size.in_channels, size.sample_size, dtype=pipe.transformer.dtype, device=self.device
        )
        options: dict[str, Any] = {}
        changes: dict[str, float] = {}
        noise = drawn(dices, like)
        sources = [x.source for x in requests if x.source is not None]
        if sources:
            sigma = _sigma(self.scheduler.config, first.strength)
            changes = {"sigma_max": sigma}
            # The pipeline scales noise as if it were all there is; beside a source it is not.
            noise *= sigma / math.sqrt(sigma**2 + 1)
            options["initial_audio_waveforms"] = self._heard(sources)
            options["initial_audio_sampling_rate"] = self.card.sample_rate
        if first.negative_prompt:
            options["negative_prompt"] = [x.negative_prompt for x in requests]
        pipe.scheduler = seeded(self.scheduler, dices, **changes)
        latents = pipe(
            [x.prompt for x in requests],
            audio_end_in_s=first.seconds,
            num_inference_steps=self.steps(first),
            guidance_scale=GUIDANCE,
            generator=dices,
            latents=noise,
            callback=lambda step, _t, _latents: on_step(step + 1),
            output_type="latent",
            **options,
        ).audios
        with in_float32(pipe.vae):
            made: Tensor = pipe.vae.decode(latents.float()).sample
        return made

    def _heard(self, sources: list[Audio]) -> Tensor:
        vae, size = self.pipeline.vae, self.pipeline.transformer.config
        like = torch.empty(
            vae.config.audio_channels,
            size.sample_size * vae.hop_length,
            dtype=vae.dtype,
            device=self.device,
        )
        return fitted(sources, like, sample_rate=self.card.sample_rate)


def _sigma(told: Any, strength: float) -> float:
    """Find the noise level at a share of the way, which is even in the level's logarithm."""
    lowest, highest = math.log(told.sigma_min), math.log(told.sigma_max)
    return math.exp(lowest + (highest - lowest) * strength)
