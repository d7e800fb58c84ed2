"""How does Stable Audio 3 make sound? A rectified flow that is told the length.

Three pipelines share the same parts: from text, varying a sound, and filling in stretches.
The distilled checkpoints go eight steps and add fresh noise at each ("ping-pong"); the base
checkpoints go a hundred without, and are steered with a negative prompt.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import torch
from torch import Tensor

from safegen.audio import Audio
from safegen.errors import InputError
from safegen.generation.base import Request
from safegen.generation.diffusers_models.loading import amount, diffusers, load_pipeline, number
from safegen.generation.diffusers_models.running import (
    Diffuser,
    OnStep,
    drawn,
    fitted,
    in_float32,
    refuse_long_text,
    seeded,
    spliced,
)
from safegen.generation.memory import room_for_weights
from safegen.generation.model_card import ModelCard
from safegen.generation.public_families import Described, Device, Precision, settings

STEPS: Final = 8
STEPS_OF_BASE: Final = 100
"""Source: diffusers 0.42, StableAudio3Pipeline: its defaults by ``stochastic_sampling``."""
GUIDANCE_OF_BASE: Final = 7.0
"""Source: docs/workflows/inference.md of Stability-AI/stable-audio-3; the distilled
checkpoints are not guided."""
TOKENS: Final = 256
"""Source: diffusers 0.42, StableAudio3Pipeline.encode_prompt."""
SHORTEST_SECONDS: Final = 0.5

Kind = Literal["text", "vary", "fill"]


def describe(folder: Path) -> Described:
    """Read a checkpoint's settings; see ``safegen.generation.public_families``."""
    path = folder / "vae" / "config.json"
    vae = settings(path)
    told = folder / "duration_embedder" / "config.json"
    is_base = not _is_distilled(settings(folder / "scheduler" / "scheduler_config.json"))
    return Described(
        summary="Music and sound effects from text, and of a sound that is varied or filled in.",
        sample_rate=number(vae, "sampling_rate", path),
        channels=number(vae, "audio_channels", path),
        shortest_seconds=SHORTEST_SECONDS,
        longest_seconds=amount(settings(told), "max_val", told),
        accepts=(
            *(("negative_prompt",) if is_base else ()),
            "continue_from",
            "source",
            "inpaint",
        ),
        limits="No voices that can be understood. A strength and stretches to make anew exclude "
        "each other" + (", and a negative prompt works from text alone." if is_base else "."),
    )


def load(folder: Path, card: ModelCard, *, device: Device, precision: Precision) -> StableAudio3:
    """Build it; see ``safegen.generation.public_families``."""
    with room_for_weights(card, device=device, precision=precision):
        pipeline = load_pipeline("StableAudio3Pipeline", folder, device=device, precision=precision)
    return StableAudio3(card, pipeline, device=device, precision=precision)


class StableAudio3(Diffuser):
    """Stable Audio 3 as a generator.

    A source is varied (``strength``) or filled in: its stretches to make anew, and what
    comes after its end. What is kept of a sound is put back as it was given.
    """

    def __init__(
        self, card: ModelCard, pipeline: Any, *, device: Device, precision: Precision
    ) -> None:
        super().__init__(card, pipeline, device=device, precision=precision)
        library, parts = diffusers(), pipeline.components
        self._pipelines: dict[Kind, Any] = {
            "text": pipeline,
            "vary": library.StableAudio3AudioToAudioPipeline(**parts),
            "fill": library.StableAudio3InpaintPipeline(**parts),
        }
        for other in self._pipelines.values():
            other.set_progress_bar_config(disable=True)
        self._is_distilled = _is_distilled(pipeline.scheduler.config)

    def refuse(self, request: Request) -> None:
        """Refuse a prompt that would be cut off, and what the pipelines do not combine."""
        tokenizer = self.pipeline.tokenizer
        texts = [request.prompt, request.negative_prompt]
        most = min(TOKENS, tokenizer.model_max_length)
        refuse_long_text(self.card, tokenizer, texts, most=most)
        if _kind(request) == "fill" and request.strength < 1:
            raise InputError(
                f"a strength of {request.strength:g} and stretches to make anew",
                remedy=f"{self.card.name} makes them wholly anew: leave the strength out.",
            )
        if _kind(request) != "text" and request.negative_prompt:
            raise InputError(
                "a negative prompt and a sound to start from",
                remedy=f"{self.card.name} takes one of them at a time.",
            )

    def shape(self, request: Request) -> Hashable:
        """Let those run together that share length, kind and strength."""
        return request.seconds, _kind(request), request.strength

    def steps(self, request: Request) -> int:
        """Count the steps; a varied source takes as many as a new sound."""
        return STEPS if self._is_distilled else STEPS_OF_BASE

    def make(
        self, requests: Sequence[Request], dices: list[torch.Generator], on_step: OnStep
    ) -> Tensor:
        """Run a pipeline; see ``Diffuser.make``."""
        first, kind = requests[0], _kind(requests[0])
        pipe, vae = self._pipelines[kind], self.pipeline.vae
        duration = self.samples(first) / self.card.sample_rate
        # As the pipeline counts them, rounding of the division included.
        frames = math.ceil(duration * vae.config.sampling_rate / vae.downsampling_ratio)
        options: dict[str, Any] = {}
        sounds = [x for x in map(_given, requests) if x is not None]
        if sounds:
            shape = (vae.config.audio_channels, frames * vae.downsampling_ratio)
            like = torch.empty(shape, dtype=vae.dtype, device=self.device)
            options["audio"] = fitted(sounds, like, sample_rate=self.card.sample_rate)
        if kind == "vary":
            options["init_noise_level"] = first.strength
        if kind == "fill":
            keeps = [self._keep(x, frames * vae.downsampling_ratio) for x in requests]
            # A frame that holds any new sample is made anew.
            options["mask"] = torch.stack(
                [x.reshape(1, frames, -1).all(dim=-1).float() for x in keeps]
            )
        if kind == "text" and not self._is_distilled:
            options["guidance_scale"] = GUIDANCE_OF_BASE
            options["negative_prompt"] = [x.negative_prompt for x in requests]
        dtype = self.pipeline.transformer.dtype
        shape = (vae.config.latent_dim, frames)
        pipe.scheduler = seeded(self.scheduler, dices)
        latents = pipe(
            [x.prompt for x in requests],
            duration=duration,
            num_inference_steps=self.steps(first),
            generator=dices,
            latents=drawn(dices, torch.empty(shape, dtype=dtype, device=self.device)),
            callback_on_step_end=_counting(on_step),
            output_type="latent",
            **options,
        ).audios
        with in_float32(vae):
            made: Tensor = vae.decode(latents.float()).sample.clamp(-1.0, 1.0)
        if kind != "fill":
            return made
        return torch.cat(
            [
                spliced(x[None], y[None], keep, sample_rate=self.card.sample_rate)
                for x, y, keep in zip(made, options["audio"], keeps, strict=True)
            ]
        )

    def _keep(self, request: Request, samples: int) -> Tensor:
        """Say which samples of the given sound stay, shape (samples,), bool."""
        given, rate = _given(request), self.card.sample_rate
        keep = torch.zeros(samples, dtype=torch.bool)
        keep[: 0 if given is None else math.floor(given.seconds * rate)] = True
        for span in request.inpaint:
            keep[round(span.start_seconds * rate) : round(span.end_seconds * rate)] = False
        return keep


def _given(request: Request) -> Audio | None:
    return request.source if request.source is not None else request.continue_from


def _kind(request: Request) -> Kind:
    """Tell which pipeline does it: a sound that is to go on is filled in after its end."""
    given = _given(request)
    if given is None:
        return "text"
    goes_on = request.continue_from is not None or given.seconds < request.seconds
    return "fill" if request.inpaint or goes_on else "vary"


def _is_distilled(told: Any) -> bool:
    return bool(told.get("stochastic_sampling", False))


def _counting(on_step: OnStep) -> Any:
    """Make the library's callback after a step of one of ours."""

    def callback(_pipe: Any, step: int, _timestep: Any, found: dict[str, Any]) -> dict[str, Any]:
        on_step(step + 1)
        return found

    return callback
