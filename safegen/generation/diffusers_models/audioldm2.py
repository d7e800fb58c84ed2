"""How does AudioLDM 2 make sound? Latent diffusion of a mel spectrogram, then a vocoder.

Two text encoders feed a small language model, whose states steer the diffusion.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from safegen.errors import InputError
from safegen.generation.base import Request
from safegen.generation.diffusers_models.loading import load_pipeline, number, numbers
from safegen.generation.diffusers_models.running import (
    Diffuser,
    OnStep,
    drawn,
    in_float32,
    refuse_long_text,
    seeded,
)
from safegen.generation.memory import room_for_weights
from safegen.generation.model_card import ModelCard
from safegen.generation.public_families import Described, Device, Precision, settings

STEPS: Final = 200
GUIDANCE: Final = 3.5
"""Source: model card of cvssp/audioldm2 and diffusers 0.42, AudioLDM2Pipeline, its defaults."""
SHORTEST_SECONDS: Final = 0.5
_INSTEAD: Final = {"GPT2Model": "GPT2LMHeadModel"}
"""Published folders name the class without ``generate``, which transformers 5 keeps apart
from the helper that the pipeline calls; both hold the same weights."""


def describe(folder: Path) -> Described:
    """Read a checkpoint's settings; see ``safegen.generation.public_families``."""
    path, unet = folder / "vocoder" / "config.json", folder / "unet" / "config.json"
    vae = folder / "vae" / "config.json"
    vocoder = settings(path)
    if settings(folder / "text_encoder_2" / "config.json").get("model_type") == "vits":
        raise InputError(
            f"{folder}: a checkpoint that speaks a transcription, which is not read here",
            remedy="Choose cvssp/audioldm2, cvssp/audioldm2-large or cvssp/audioldm2-music.",
        )
    rate = number(vocoder, "sampling_rate", path)
    hop = math.prod(numbers(vocoder, "upsample_rates", path))
    halvings = len(numbers(settings(vae), "block_out_channels", vae)) - 1
    frames = number(settings(unet), "sample_size", unet) * 2**halvings
    return Described(
        summary="Sound effects and music from text: diffusion of a spectrogram, then a vocoder.",
        sample_rate=rate,
        channels=1,
        shortest_seconds=SHORTEST_SECONDS,
        longest_seconds=frames * hop / rate,
        accepts=("negative_prompt",),
        limits="Mono; no voices that can be understood.",
    )


def load(folder: Path, card: ModelCard, *, device: Device, precision: Precision) -> AudioLDM2:
    """Build it; see ``safegen.generation.public_families``."""
    with room_for_weights(card, device=device, precision=precision):
        pipeline = load_pipeline(
            "AudioLDM2Pipeline", folder, device=device, precision=precision, instead=_INSTEAD
        )
    return AudioLDM2(card, pipeline, device=device, precision=precision)


class AudioLDM2(Diffuser):
    """AudioLDM 2 as a generator."""

    def refuse(self, request: Request) -> None:
        """Refuse a prompt that would be cut off."""
        pipe = self.pipeline
        for tokenizer in (pipe.tokenizer, pipe.tokenizer_2):
            texts = [request.prompt, request.negative_prompt]
            refuse_long_text(self.card, tokenizer, texts, most=tokenizer.model_max_length)

    def shape(self, request: Request) -> Hashable:
        """Let those run together whose prompts have as many tokens.

        The pipeline pads to the longest prompt, and its language model goes on from the
        padding: among longer prompts an item would be another one than alone.
        """
        tokens = len(self.pipeline.tokenizer_2(request.prompt).input_ids)
        return self._frames(request), request.seconds, tokens

    def steps(self, request: Request) -> int:
        """Count the steps."""
        return STEPS

    def make(
        self, requests: Sequence[Request], dices: list[torch.Generator], on_step: OnStep
    ) -> Tensor:
        """Run the pipeline; see ``Diffuser.make``."""
        pipe, frames = self.pipeline, self._frames(requests[0])
        scale = pipe.vae_scale_factor
        like = torch.empty(
            pipe.unet.config.in_channels,
            frames // scale,
            pipe.vocoder.config.model_in_dim // scale,
            dtype=pipe.unet.dtype,
            device=self.device,
        )
        hop = math.prod(pipe.vocoder.config.upsample_rates)
        pipe.scheduler = seeded(self.scheduler, dices)
        latents = pipe(
            [x.prompt for x in requests],
            # Half a frame more, or division rounds the count of frames down.
            audio_length_in_s=(frames + 0.5) * hop / self.card.sample_rate,
            num_inference_steps=self.steps(requests[0]),
            guidance_scale=GUIDANCE,
            negative_prompt=[x.negative_prompt for x in requests],
            generator=dices,
            latents=drawn(dices, like),
            callback=lambda step, _t, _latents: on_step(step + 1),
            output_type="latent",
        ).audios
        with in_float32(pipe.vae), in_float32(pipe.vocoder):
            mel = pipe.vae.decode(latents.float() / pipe.vae.config.scaling_factor).sample
            made: Tensor = pipe.vocoder(mel[:, 0])
        return made[:, None]

    def _frames(self, request: Request) -> int:
        """Count the spectrogram's frames, whole steps of the autoencoder."""
        vocoder: Any = self.pipeline.vocoder.config
        scale: int = self.pipeline.vae_scale_factor
        hop: int = math.prod(vocoder.upsample_rates)
        return math.ceil(self.samples(request) / (hop * scale)) * scale
