"""Tiny random codecs of the real classes, saved as users have them."""

from pathlib import Path
from typing import Any

from safegen.audio import sha256_file
from safegen.generation.model_card import ModelCard, WeightFile
from safegen.generation.transformers_models.loading import quiet


def save_encodec(folder: Path, *, is_chunked: bool = False) -> Path:
    """Save an EnCodec like the one of 24 kHz, or like the one of 48 kHz with short chunks."""
    import transformers

    settings: dict[str, Any] = {
        "num_filters": 4,
        "hidden_size": 16,
        "codebook_size": 64,
        "upsampling_ratios": [8, 5, 4, 2],
        "num_lstm_layers": 1,
    }
    if is_chunked:
        settings |= {
            "sampling_rate": 48_000,
            "audio_channels": 2,
            "normalize": True,
            "chunk_length_s": 0.1,
            "overlap": 0.01,
            "norm_type": "time_group_norm",
            "use_causal_conv": False,
            "target_bandwidths": [1.8, 3.6],
        }
    else:
        settings |= {"sampling_rate": 24_000, "target_bandwidths": [0.9, 1.8]}
    config = transformers.EncodecConfig(**settings)
    # What an untrained encoder gives is small where nothing normalizes it.
    return _save(folder, transformers.EncodecModel, config, spread=0.2 if is_chunked else 0.02)


def save_dac(folder: Path) -> Path:
    """Save a DAC whose decoder gives fewer samples than its encoder got."""
    import transformers

    config = transformers.DacConfig(
        encoder_hidden_size=4,
        decoder_hidden_size=32,
        downsampling_ratios=[2, 4, 5, 8],
        n_codebooks=4,
        codebook_size=64,
        codebook_dim=4,
    )
    return _save(folder, transformers.DacModel, config)


def save_mimi(folder: Path) -> Path:
    """Save a Mimi of 12.5 frames a second."""
    import transformers

    config = transformers.MimiConfig(
        num_filters=4,
        hidden_size=16,
        codebook_size=64,
        codebook_dim=8,
        vector_quantization_hidden_dimension=8,
        num_quantizers=4,
        upsample_groups=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=32,
    )
    return _save(folder, transformers.MimiModel, config)


def _save(folder: Path, class_: Any, config: Any, *, spread: float = 0.2) -> Path:
    import torch

    with quiet(), torch.random.fork_rng():
        torch.manual_seed(2)
        model = class_(config)
        for name, buffer in model.named_buffers():
            if name.endswith(("embed", "embed_sum")):
                buffer.normal_(std=spread)
            if name.endswith("cluster_usage"):
                buffer.fill_(1.0)
        model.save_pretrained(folder)
    return folder


def card_of(folder: Path) -> ModelCard:
    """Write the card that the store would write for a folder."""
    files = tuple(
        WeightFile(role="weights", name=path.name, sha256=sha256_file(path))
        for path in sorted(folder.glob("*.safetensors"))
    )
    return ModelCard(
        name="owner/tiny",
        version="1",
        summary="Random.",
        license="MIT",
        sample_rate=16_000,
        shortest_seconds=0.02,
        longest_seconds=10.0,
        parameters=1,
        files=files,
        recipes=(),
        training_data="None.",
        limits="All.",
        mark="none",
    )
