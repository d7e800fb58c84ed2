"""A tiny random CLAP of the real class, saved as users have it."""

from pathlib import Path
from typing import Any

from safegen.generation.transformers_models.loading import quiet
from tests.safegen.generation.tiny_checkpoints import save_tokenizer


def save_clap(folder: Path, *, is_fused: bool = False) -> Path:
    """Save a CLAP that hears a second at 8 kHz at once."""
    import torch
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    extractor: Any = transformers.ClapFeatureExtractor
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(4)
        config = transformers.ClapConfig(
            text_config={
                "vocab_size": save_tokenizer(folder),
                "hidden_size": 16,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "intermediate_size": 16,
                "max_position_embeddings": 34,
                "initializer_factor": 20.0,
            },
            audio_config={
                "spec_size": 64,
                "num_mel_bins": 16,
                "window_size": 4,
                "depths": [1, 1],
                "num_attention_heads": [2, 2],
                "patch_embeds_hidden_size": 8,
                "hidden_size": 16,
                "num_hidden_layers": 2,
                "enable_fusion": is_fused,
                "initializer_factor": 20.0,
            },
            projection_dim=12,
        )
        transformers.ClapModel(config).save_pretrained(folder)
        extractor(
            feature_size=16,
            sampling_rate=8000,
            hop_length=125,
            max_length_s=1,
            fft_window_size=256,
            frequency_max=4000,
            truncation="fusion" if is_fused else "rand_trunc",
        ).save_pretrained(folder)
    return folder
