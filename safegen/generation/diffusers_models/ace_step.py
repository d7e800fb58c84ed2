"""How does ACE-Step 1.5 make music? A flow over latents, told tags, lyrics and the length.

The turbo checkpoints go eight steps without guidance; base and sft go fifty with it. The
language model that plans songs is no part of the pipeline.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from safegen.generation.base import Request
from safegen.generation.diffusers_models.loading import load_pipeline, number
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

STEPS_OF_TURBO: Final = 8
STEPS: Final = 50
"""Source: README of ace-step/ACE-Step-1.5, the table of its checkpoints."""
GUIDANCE: Final = 7.0
SHIFT: Final = 3.0
"""Source: diffusers 0.42, AceStepPipeline, its defaults; turbo ignores the guidance."""
PEAK: Final = 10 ** (-1 / 20)
"""Source: the same: every piece is brought to a peak of -1 dBFS."""
INSTRUMENTAL: Final = "[Instrumental]"
"""Source: ACE-Step-1.5, docs/en/INFERENCE.md: what stands for lyrics where nobody sings."""
TOKENS: Final = 256
"""Source: diffusers 0.42, AceStepPipeline, ``max_text_length``."""
SHORTEST_SECONDS: Final = 10.0
LONGEST_SECONDS: Final = 600.0
"""Source: README of ace-step/ACE-Step-1.5: 10 seconds to 10 minutes."""


def describe(folder: Path) -> Described:
    """Read a checkpoint's settings; see ``safegen.generation.public_families``."""
    path = folder / "vae" / "config.json"
    vae = settings(path)
    return Described(
        summary="Instrumental music from tags or a sentence, up to ten minutes.",
        sample_rate=number(vae, "sampling_rate", path),
        channels=number(vae, "audio_channels", path),
        shortest_seconds=SHORTEST_SECONDS,
        longest_seconds=LONGEST_SECONDS,
        limits="Nobody sings: lyrics are not taken here.",
    )


def load(folder: Path, card: ModelCard, *, device: Device, precision: Precision) -> AceStep:
    """Build it; see ``safegen.generation.public_families``."""
    with room_for_weights(card, device=device, precision=precision):
        pipeline = load_pipeline("AceStepPipeline", folder, device=device, precision=precision)
    # Minutes of music are decoded in overlapping pieces; whole they take tens of gigabytes.
    pipeline.vae.enable_tiling()
    return AceStep(card, pipeline, device=device, precision=precision)


class AceStep(Diffuser):
    """ACE-Step 1.5 as a generator of instrumental music."""

    def refuse(self, request: Request) -> None:
        """Refuse a prompt that would be cut off."""
        text = self._text(request)
        refuse_long_text(self.card, self.pipeline.tokenizer, [text], most=TOKENS)

    def shape(self, request: Request) -> Hashable:
        """Let those run together whose prompts have as many tokens.

        The pipeline pads to the longest prompt and its transformer attends to the padding:
        among longer prompts an item would be another one than alone.
        """
        return request.seconds, len(self.pipeline.tokenizer(self._text(request)).input_ids)

    def steps(self, request: Request) -> int:
        """Count the steps."""
        return STEPS_OF_TURBO if self.pipeline.is_turbo else STEPS

    def make(
        self, requests: Sequence[Request], dices: list[torch.Generator], on_step: OnStep
    ) -> Tensor:
        """Run the pipeline; see ``Diffuser.make``."""
        pipe, first = self.pipeline, requests[0]
        size = pipe.transformer.config
        frames = math.ceil(first.seconds * pipe.latents_per_second)
        like = torch.empty(
            frames, size.audio_acoustic_hidden_dim, dtype=pipe.transformer.dtype, device=self.device
        )

        def callback(_pipe: Any, step: int, _time: Any, found: dict[str, Any]) -> dict[str, Any]:
            on_step(step + 1)
            return found

        pipe.scheduler = seeded(self.scheduler, dices)
        latents = pipe(
            [x.prompt for x in requests],
            lyrics=[INSTRUMENTAL] * len(requests),
            audio_duration=first.seconds,
            num_inference_steps=self.steps(first),
            guidance_scale=GUIDANCE,
            shift=SHIFT,
            generator=dices,
            latents=drawn(dices, like),
            callback_on_step_end=callback,
            output_type="latent",
        ).audios
        with in_float32(pipe.vae):
            made: Tensor = pipe.vae.decode(latents.float().transpose(1, 2)).sample
        return made * (PEAK / made.abs().amax(dim=(1, 2), keepdim=True).clamp(min=1e-6))

    def _text(self, request: Request) -> str:
        """Write what the text encoder reads: the prompt within the checkpoint's template."""
        told: str = self.pipeline._format_prompt(request.prompt, audio_duration=request.seconds)[0]
        return told
