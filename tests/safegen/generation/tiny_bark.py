"""A tiny random Bark of the real class, saved as users have it."""

import json
from pathlib import Path
from typing import Any

from safegen.generation.transformers_models.loading import quiet
from tests.safegen.generation.tiny_checkpoints import save_tokenizer

SEMANTIC, CODES, WORDS = 40, 32, 8


def save_bark(folder: Path, *, do_sample: bool = True, says_much: bool = False) -> Path:
    """Save a Bark with windows of a few tokens, that says at most 1.2 s at once.

    The semantic tokens are 50 a second, the frames 75, the samples 150 a frame.
    """
    import torch
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    size = {"num_layers": 2, "num_heads": 2, "hidden_size": 16, "bias": False}
    # After the words come the pad of the text and the call for tokens.
    texts = SEMANTIC + 8 + save_tokenizer(folder) + 2
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(3)
        config = transformers.BarkConfig(
            semantic_config={
                **size,
                "block_size": WORDS + 60,
                "input_vocab_size": texts,
                "output_vocab_size": SEMANTIC + 8,
                "initializer_range": 0.4,
            },
            coarse_acoustics_config={
                **size,
                "block_size": 80,
                "input_vocab_size": SEMANTIC + 2 * CODES + 4,
                "output_vocab_size": SEMANTIC + 2 * CODES,
                "initializer_range": 0.4,
            },
            fine_acoustics_config={
                **size,
                "block_size": 32,
                "input_vocab_size": CODES + 1,
                "output_vocab_size": CODES + 1,
                "n_codes_total": 4,
                "n_codes_given": 1,
                "initializer_range": 0.4,
            },
            codec_config={
                "model_type": "encodec",
                "sampling_rate": 11_250,
                "upsampling_ratios": [15, 10],
                "num_filters": 2,
                "hidden_size": 8,
                "num_lstm_layers": 1,
                "codebook_size": CODES,
                "target_bandwidths": [1.5],
            },
        )
        model: Any = transformers.BarkModel(config)
        for name, buffer in model.codec_model.named_buffers():
            if name.endswith("embed"):
                buffer.normal_()
        if says_much:
            model.semantic.lm_head.weight.data[SEMANTIC] *= 0.1
        model.save_pretrained(folder)
    drawing = {"do_sample": do_sample, "temperature": 1.0 if not do_sample else 0.9}
    told = {
        "model_type": "bark",
        "sample_rate": 11_250,
        "codebook_size": CODES,
        "semantic_config": {
            **drawing,
            "eos_token_id": SEMANTIC,
            "semantic_vocab_size": SEMANTIC,
            "text_encoding_offset": SEMANTIC + 8,
            "text_pad_token": texts - 2,
            "semantic_infer_token": texts - 1,
            "max_input_semantic_length": WORDS,
            "max_new_tokens": 60,
            "semantic_rate_hz": 50.0,
        },
        "coarse_acoustics_config": {
            **drawing,
            "coarse_semantic_pad_token": SEMANTIC + 2 * CODES,
            "coarse_infer_token": SEMANTIC + 2 * CODES + 2,
            "coarse_rate_hz": 75,
            "n_coarse_codebooks": 2,
            "max_coarse_input_length": 16,
            "max_coarse_history": 42,
            "sliding_window_len": 12,
        },
        "fine_acoustics_config": {
            "temperature": 0.5 if do_sample else 1.0,
            "max_fine_history_length": 16,
            "max_fine_input_length": 32,
            "n_fine_codebooks": 4,
        },
    }
    (folder / "generation_config.json").write_text(json.dumps(told))
    return folder
