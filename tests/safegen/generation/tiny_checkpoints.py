"""Tiny random checkpoints of the real classes of ``transformers``, saved as users have them.

Each function writes a folder that the real code loads back; the libraries are imported
inside, because that costs seconds.
"""

from pathlib import Path
from typing import Any, Final

from safegen.generation.transformers_models.loading import quiet

WORDS: Final = (
    *("a", "the", "and", "with", "no", "in", "calm", "driving", "slow", "fast", "happy", "sad"),
    *("piano", "guitar", "drums", "strings", "piece", "song", "rock", "minor", "major"),
    *("rain", "noise", "voice", "dog", "barks", "low", "quality", "loud"),
)
SPECIAL: Final = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
SAMPLE_RATE: Final = 16_000
CODEBOOK_SIZE: Final = 64


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


def tiny_t5(words: int) -> dict[str, Any]:
    """Describe a text encoder of T5's kind."""
    return {
        "model_type": "t5",
        "vocab_size": words,
        "d_model": 24,
        "d_kv": 8,
        "d_ff": 32,
        "num_layers": 2,
        "num_heads": 2,
        "pad_token_id": 0,
    }


def tiny_encodec(*, codebooks: int = 4) -> dict[str, Any]:
    """Describe an EnCodec like MusicGen's: 50 frames a second, not causal, with an LSTM."""
    return {
        "model_type": "encodec",
        "sampling_rate": SAMPLE_RATE,
        "upsampling_ratios": [8, 5, 4, 2],
        "codebook_size": CODEBOOK_SIZE,
        "target_bandwidths": [codebooks * 50 * 6 / 1000],
        "num_filters": 4,
        "hidden_size": 16,
        "codebook_dim": 16,
        "num_lstm_layers": 2,
        "use_causal_conv": False,
    }


def save_musicgen(folder: Path, *, channels: int = 1, melody: bool = False) -> Path:
    """Save a MusicGen of 5 s, mono or stereo, or a MusicGen Melody of the same size."""
    import torch
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    codebooks, name = 4 * channels, "MusicgenMelody" if melody else "Musicgen"
    decoder = {
        "vocab_size": CODEBOOK_SIZE,
        "max_position_embeddings": 512 if melody else 256,
        "num_hidden_layers": 2,
        "ffn_dim": 48,
        "num_attention_heads": 2,
        "hidden_size": 32,
        "num_codebooks": codebooks,
        "audio_channels": channels,
        "pad_token_id": CODEBOOK_SIZE,
        "bos_token_id": CODEBOOK_SIZE,
        "initializer_factor": 0.3,
    }
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(1)
        config = getattr(transformers, f"{name}Config")(
            text_encoder=tiny_t5(save_tokenizer(folder)),
            audio_encoder=tiny_encodec(),
            decoder=decoder,
            **({"chroma_length": 20} if melody else {}),
        )
        model = getattr(transformers, f"{name}ForConditionalGeneration")(config)
        for layer in model.audio_encoder.quantizer.layers:  # the library begins with zeros
            layer.codebook.embed.normal_()
        for setting, value in {
            "decoder_start_token_id": CODEBOOK_SIZE,
            "do_sample": True,
            "guidance_scale": 3.0,
            "max_length": 256,
        }.items():
            setattr(model.generation_config, setting, value)
        model.save_pretrained(folder)
        if melody:
            extractor: Any = transformers.MusicgenMelodyFeatureExtractor
            extractor(
                sampling_rate=SAMPLE_RATE, hop_length=2048, n_fft=4096, chunk_length=5
            ).save_pretrained(folder)
    return folder
