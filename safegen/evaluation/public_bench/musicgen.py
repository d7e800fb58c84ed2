"""MusicGen through ``transformers``' own ``generate``, as its documentation calls it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from safegen.evaluation.public_bench.checkpoints import Size, save_musicgen
from safegen.evaluation.public_bench.contender import Run
from safegen.generation.base import Request
from safegen.generation.public_families import Device, Precision
from safegen.generation.transformers_models.code_music import TOP_K
from safegen.generation.transformers_models.loading import (
    load_model,
    load_tokenizer,
    quiet,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MusicGen:
    """MusicGen, mono.

    Attributes:
        name: What rows call it.
    """

    name: str = "musicgen"

    def save(self, folder: Path, size: Size) -> None:
        """Write a checkpoint with random weights."""
        save_musicgen(folder, size=size)

    def theirs(self, folder: Path, *, device: Device, precision: Precision) -> Run:
        """Load it with the library, and draw with its ``generate``."""
        model = load_model(
            "MusicgenForConditionalGeneration", folder, device=device, precision=precision
        )
        tokenizer = load_tokenizer(folder)

        def run(requests: Sequence[Request]) -> Any:
            codec = model.config.audio_encoder
            frames = math.ceil(requests[0].seconds * codec.sampling_rate / codec.hop_length)
            words = tokenizer([x.prompt for x in requests], padding=True, return_tensors="pt")
            with quiet():
                torch.manual_seed(requests[0].seed)
                sound = model.generate(
                    **words.to(device),
                    do_sample=True,
                    guidance_scale=3.0,
                    top_k=TOP_K,
                    max_new_tokens=frames + model.decoder.num_codebooks - 1,
                )
            return sound.float().cpu()

        return run
