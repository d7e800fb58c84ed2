"""How does a checkpoint of the real shape get onto this disk without a hub? With random weights.

Time and memory do not depend on what weights say, so a benchmark needs no download.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

from safegen.generation.transformers_models.loading import quiet

Size = Literal["tiny", "small"]

WORDS: Final = (
    *("a", "the", "and", "with", "no", "in", "calm", "driving", "slow", "fast", "happy", "sad"),
    *("piano", "guitar", "drums", "strings", "piece", "song", "rock", "minor", "major"),
    *("rain", "noise", "voice", "dog", "barks", "low", "quality", "loud"),
)
SPECIAL: Final = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}


def save_tokenizer(folder: Path, *, words: tuple[str, ...] = ()) -> int:
    """Save a tokenizer of whole words that ends every text with </s>; give its size."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    fast: Any = PreTrainedTokenizerFast
    known = [*SPECIAL.values(), *dict.fromkeys([*WORDS, *words])]
    vocabulary = {word: number for number, word in enumerate(known)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, SPECIAL["unk_token"]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    with quiet():
        fast(tokenizer_object=tokenizer, model_max_length=512, **SPECIAL).save_pretrained(folder)
    return len(known)


def t5(words: int, size: Size = "tiny") -> dict[str, Any]:
    """Describe a text encoder: T5-base, or one of its kind that costs nothing."""
    shape = (768, 64, 3072, 12, 12) if size == "small" else (24, 8, 32, 2, 2)
    names = ("d_model", "d_kv", "d_ff", "num_layers", "num_heads")
    told = dict(zip(names, shape, strict=True))
    return {"model_type": "t5", "vocab_size": words, "pad_token_id": 0, **told}


def encodec(size: Size = "tiny") -> dict[str, Any]:
    """Describe MusicGen's codec, 50 frames a second, or one of its kind at 16 kHz."""
    is_small = size == "small"
    return {
        "model_type": "encodec",
        "sampling_rate": 32_000 if is_small else 16_000,
        "upsampling_ratios": [8, 5, 4, 4] if is_small else [8, 5, 4, 2],
        "codebook_size": 2048 if is_small else 64,
        "target_bandwidths": [2.2] if is_small else [1.2],
        "num_filters": 64 if is_small else 4,
        "hidden_size": 128 if is_small else 16,
        "codebook_dim": 128 if is_small else 16,
        "num_lstm_layers": 2,
        "use_causal_conv": False,
    }


def save_musicgen(
    folder: Path, *, size: Size = "tiny", channels: int = 1, melody: bool = False
) -> Path:
    """Save a MusicGen: as large as the published small one, or one of 5 s that costs nothing."""
    import torch
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    codec, name = encodec(size), "MusicgenMelody" if melody else "Musicgen"
    start, positions = codec["codebook_size"], 512 if melody else 256
    decoder = {
        "vocab_size": start,
        "num_codebooks": 4 * channels,
        "audio_channels": channels,
        "pad_token_id": start,
        "bos_token_id": start,
    }
    if size == "tiny":
        decoder |= {
            "max_position_embeddings": positions,
            "num_hidden_layers": 2,
            "ffn_dim": 48,
            "num_attention_heads": 2,
            "hidden_size": 32,
            "initializer_factor": 0.3,
        }
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(1)
        config = getattr(transformers, f"{name}Config")(
            text_encoder=t5(save_tokenizer(folder), size),
            audio_encoder=codec,
            decoder=decoder,
            **({"chroma_length": 20} if melody and size == "tiny" else {}),
        )
        model = getattr(transformers, f"{name}ForConditionalGeneration")(config)
        for layer in model.audio_encoder.quantizer.layers:  # the library begins with zeros
            layer.codebook.embed.normal_()
        for setting, value in {
            "decoder_start_token_id": start,
            "do_sample": True,
            "guidance_scale": 3.0,
            "max_length": 1500 if size == "small" else 256,
        }.items():
            setattr(model.generation_config, setting, value)
        model.save_pretrained(folder)
        if melody:
            extractor: Any = transformers.MusicgenMelodyFeatureExtractor
            told = {} if size == "small" else {"hop_length": 2048, "n_fft": 4096, "chunk_length": 5}
            extractor(sampling_rate=codec["sampling_rate"], **told).save_pretrained(folder)
    return folder
