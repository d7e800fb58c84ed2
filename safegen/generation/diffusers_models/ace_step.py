"""How does ACE-Step 1.5 make music? A flow over latents, told tags, lyrics and the length.

The turbo checkpoints go eight steps without guidance; base and sft go fifty with it. The
language model that plans songs is no part of the pipeline.
"""

from __future__ import annotations

import itertools
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
LYRIC_TOKENS: Final = 2048
"""Source: diffusers 0.42, AceStepPipeline, ``max_text_length`` and ``max_lyric_length``."""
SHORTEST_SECONDS: Final = 10.0
LONGEST_SECONDS: Final = 600.0
"""Source: README of ace-step/ACE-Step-1.5: 10 seconds to 10 minutes."""


def describe(folder: Path) -> Described:
    """Read a checkpoint's settings; see ``safegen.generation.public_families``."""
    path = folder / "vae" / "config.json"
    vae = settings(path)
    return Described(
        summary="Music from tags or a sentence, with lyrics or without, up to ten minutes.",
        sample_rate=number(vae, "sampling_rate", path),
        channels=number(vae, "audio_channels", path),
        shortest_seconds=SHORTEST_SECONDS,
        longest_seconds=LONGEST_SECONDS,
        limits="Lyrics are what follows in the prompt from the first line in brackets on, as in "
        "[verse]; they are read as English.",
    )


def load(folder: Path, card: ModelCard, *, device: Device, precision: Precision) -> AceStep:
    """Build it; see ``safegen.generation.public_families``."""
    with room_for_weights(card, device=device, precision=precision):
        pipeline = load_pipeline("AceStepPipeline", folder, device=device, precision=precision)
    # Minutes of music are decoded in overlapping pieces; whole they take tens of gigabytes.
    pipeline.vae.enable_tiling()
    return AceStep(card, pipeline, device=device, precision=precision)


class AceStep(Diffuser):
    """ACE-Step 1.5 as a generator: music without a voice, or with one if the prompt has lyrics."""

    def refuse(self, request: Request) -> None:
        """Refuse a prompt that would be cut off."""
        for text, most in zip(self._texts(request), (TOKENS, LYRIC_TOKENS), strict=True):
            refuse_long_text(self.card, self.pipeline.tokenizer, [text], most=most)

    def shape(self, request: Request) -> Hashable:
        """Let those run together whose prompts have as many tokens.

        The pipeline pads to the longest prompt and its transformer attends to the padding:
        among longer prompts an item would be another one than alone.
        """
        texts = self._texts(request)
        return request.seconds, *(len(self.pipeline.tokenizer(x).input_ids) for x in texts)

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
            [tags(x.prompt) for x in requests],
            lyrics=[lyrics(x.prompt) for x in requests],
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

    def _texts(self, request: Request) -> tuple[str, str]:
        """Write what the text encoder reads: tags and lyrics in the checkpoint's template."""
        told: tuple[str, str] = self.pipeline._format_prompt(
            tags(request.prompt), lyrics=lyrics(request.prompt), audio_duration=request.seconds
        )
        return told


def tags(prompt: str) -> str:
    """Take what a prompt says of the music: what comes before its lyrics."""
    return "\n".join(itertools.takewhile(_is_no_bracket, prompt.split("\n"))).strip()


def lyrics(prompt: str) -> str:
    """Take what is sung: all from the first line in brackets on; a mark if nobody sings."""
    sung = "\n".join(itertools.dropwhile(_is_no_bracket, prompt.split("\n"))).strip()
    return sung or INSTRUMENTAL


def _is_no_bracket(line: str) -> bool:
    return not line.lstrip().startswith("[")
