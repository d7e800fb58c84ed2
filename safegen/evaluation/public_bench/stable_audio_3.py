"""Stable Audio 3 through ``diffusers``' own pipeline, as its documentation calls it."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from safegen.evaluation.public_bench.checkpoints import Size, save_tokenizer
from safegen.evaluation.public_bench.contender import Run
from safegen.generation.base import Request
from safegen.generation.diffusers_models.loading import diffusers, quiet
from safegen.generation.public_families import Device, Precision
from safegen.generation.transformers_models.loading import DTYPES

TINY_RATE: Final = 8000
_WIDTH: Final[dict[Size, int]] = {"tiny": 24, "small": 768}
_TINY_CODEC: Final = {
    "patch_size": 16,
    "encoder_channels": 8,
    "encoder_c_mults": [2],
    "encoder_strides": [4],
    "encoder_transformer_depths": [1],
    "latent_dim": 8,
    "dim_heads": 8,
    "sampling_rate": TINY_RATE,
}
_TINY_STEPS: Final = {
    "io_channels": 8,
    "embed_dim": 32,
    "depth": 2,
    "num_heads": 2,
    "cond_token_dim": _WIDTH["tiny"],
    "global_cond_dim": _WIDTH["tiny"],
    "local_add_cond_dim": 9,
    "timestep_features_dim": 16,
    "num_memory_tokens": 4,
}
_SMALL_STEPS: Final = {"embed_dim": 1024, "depth": 16, "num_heads": 16}
"""433 million numbers, as its authors tell of the small checkpoints."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StableAudio3:
    """Stable Audio 3, distilled.

    Attributes:
        name: What rows call it.
    """

    name: str = "stable-audio-3"

    def save(self, folder: Path, size: Size) -> None:
        """Write a checkpoint with random weights."""
        save_stable_audio_3(folder, size=size)

    def theirs(self, folder: Path, *, device: Device, precision: Precision) -> Run:
        """Load it with the library, and call it for all requests at once."""
        with quiet():
            pipeline = diffusers().StableAudio3Pipeline.from_pretrained(
                folder,
                torch_dtype=DTYPES[precision],
                local_files_only=True,
                use_safetensors=True,
            )
            pipeline.to(device)
        pipeline.set_progress_bar_config(disable=True)

        def run(requests: Sequence[Request]) -> Any:
            dice = torch.Generator(device).manual_seed(requests[0].seed)
            with quiet():
                prompts = [x.prompt for x in requests]
                sound = pipeline(prompts, duration=requests[0].seconds, generator=dice).audios
            return sound.float().cpu()

        return run


def save_stable_audio_3(folder: Path, *, size: Size = "tiny", distilled: bool = True) -> Path:
    """Save a Stable Audio 3: as large as the small ones, or of at most 8 s that cost nothing.

    T5Gemma has its shape but not its words, of which there are few here.
    """
    import transformers

    library, is_tiny = diffusers(), size == "tiny"
    own: Any = importlib.import_module("diffusers.pipelines.stable_audio_3")
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(2)
        words = save_tokenizer(folder / "tokenizer")
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            folder / "tokenizer", model_max_length=64 if is_tiny else 256
        )
        embedder = {"fourier_dim": 16, "max_val": 8.0} if is_tiny else {"max_val": 120.0}
        library.StableAudio3Pipeline(
            vae=stirred(library.AutoencoderSAME(**(_TINY_CODEC if is_tiny else {}))),
            text_encoder=_t5gemma(words, size),
            tokenizer=tokenizer,
            duration_embedder=own.StableAudio3DurationEmbedder(output_dim=_WIDTH[size], **embedder),
            transformer=stirred(
                library.StableAudio3DiTModel(**(_TINY_STEPS if is_tiny else _SMALL_STEPS))
            ),
            scheduler=library.FlowMatchEulerDiscreteScheduler(stochastic_sampling=distilled),
        ).save_pretrained(folder)
    return folder


def _t5gemma(words: int, size: Size) -> Any:
    import transformers

    shape = (768, 2048, 12, 12, 12, 64) if size == "small" else (_WIDTH[size], 32, 2, 2, 1, 8)
    names = (
        *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
        *("num_key_value_heads", "head_dim"),
    )
    half = dict(zip(names, shape, strict=True)) | {"vocab_size": words}
    config: Any = transformers.T5GemmaConfig
    model: Any = transformers.T5GemmaEncoderModel
    return model(config(encoder=half, decoder=half, is_encoder_decoder=False, vocab_size=words))


def stirred(model: Any) -> Any:
    """Give noise to what starts near zero, so that a random model lets its input through."""
    for weights in model.parameters():
        if weights.ndim > 1 and weights.abs().max() < 1e-3:
            torch.nn.init.normal_(weights, std=0.5 / weights.shape[-1] ** 0.5)
    return model
