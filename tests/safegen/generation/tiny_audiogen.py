"""A tiny AudioGen as audiocraft publishes it, beside the same model of transformers' class.

The layout is written module by module from audiocraft's ``LMModel``, ``SEANetEncoder``,
``SEANetDecoder`` and ``ResidualVectorQuantizer``: nothing here knows how the converter
names things.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safegen.audio import sha256_file
from safegen.generation.transformers_models.loading import quiet
from tests.safegen.generation.tiny_checkpoints import save_tokenizer, tiny_t5

LM_SETTINGS = """
lm_model: transformer_lm
channels: 1
sample_rate: 16000
dataset: {segment_duration: 2}
codebooks_pattern:
  modeling: delay
  delay: {delays: [0, 1, 2, 3], flatten_first: 0, empty_initial: 0}
classifier_free_guidance: {training_dropout: 0.1, inference_coef: 3.0}
conditioners: {description: {model: t5, t5: {name: t5-large, finetune: false}}}
fuser: {cross_attention_pos_emb: false, cross: [description]}
transformer_lm:
  dim: 32
  num_heads: 2
  num_layers: 2
  hidden_scale: 4
  n_q: 4
  card: 64
  norm_first: true
  activation: gelu
  positional_embedding: sin
"""
CODEC_SETTINGS = """
compression_model: encodec
sample_rate: 16000
channels: 1
encodec: {autoencoder: seanet, quantizer: rvq, causal: false, renormalize: false,
          sample_rate: '${sample_rate}', channels: '${channels}'}
seanet:
  dimension: 16
  channels: ${channels}
  causal: ${encodec.causal}
  n_filters: 4
  n_residual_layers: 1
  ratios: [8, 5, 4, 2]
  activation: ELU
  norm: weight_norm
  kernel_size: 7
  residual_kernel_size: 3
  last_kernel_size: 7
  dilation_base: 2
  pad_mode: constant
  true_skip: true
  compress: 2
  lstm: 2
  disable_norm_outer_blocks: 0
  decoder: {trim_right_ratio: 1.0, final_activation: null}
rvq: {n_q: 4, bins: 64}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioGen:
    """What is published, and what it came from.

    Attributes:
        model: The same weights in transformers' class.
        lm: ``state_dict.bin``.
        compression: ``compression_state_dict.bin``.
        text_encoder: Folder of the T5.
        sha256: Of the two files, by name.
    """

    model: Any
    lm: Path
    compression: Path
    text_encoder: Path
    sha256: dict[str, str]


def save_audiogen(folder: Path) -> AudioGen:
    """Save a random model of two layers in audiocraft's layout."""
    import torch
    import transformers

    text_encoder = folder / "t5"
    text_encoder.mkdir(parents=True)
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(5)
        model: Any = transformers.MusicgenForConditionalGeneration(
            transformers.MusicgenConfig(
                text_encoder=tiny_t5(save_tokenizer(text_encoder)),
                audio_encoder={
                    "model_type": "encodec",
                    "sampling_rate": 16_000,
                    "upsampling_ratios": [8, 5, 4, 2],
                    "num_filters": 4,
                    "hidden_size": 16,
                    "codebook_size": 64,
                    "target_bandwidths": [1.2],
                    "use_causal_conv": False,
                    "use_conv_shortcut": False,
                    "pad_mode": "constant",
                },
                decoder={
                    "vocab_size": 64,
                    "hidden_size": 32,
                    "num_hidden_layers": 2,
                    "num_attention_heads": 2,
                    "ffn_dim": 128,
                    "num_codebooks": 4,
                    "pad_token_id": 64,
                    "bos_token_id": 64,
                    "initializer_factor": 0.3,
                },
            )
        )
        for name, buffer in model.audio_encoder.named_buffers():
            if name.endswith(("embed", "embed_avg", "cluster_size")):
                buffer.normal_()
        model.eval().text_encoder.save_pretrained(text_encoder)
    with torch.no_grad():
        lm = save(folder / "state_dict.bin", dict(lm_state(model)), LM_SETTINGS)
        state = dict(codec_state(model.audio_encoder))
        compression = save(folder / "compression_state_dict.bin", state, CODEC_SETTINGS)
    return AudioGen(
        model=model,
        lm=lm,
        compression=compression,
        text_encoder=text_encoder,
        sha256={path.name: sha256_file(path) for path in (lm, compression)},
    )


def save(path: Path, state: dict[str, Any], settings: str) -> Path:
    """Save a file as audiocraft's ``utils/export.py`` does."""
    import torch

    package = {"best_state": state, "xp.cfg": settings, "version": "1.0.0", "exported": True}
    torch.save(package, path)
    return path


def lm_state(model: Any) -> Iterator[tuple[str, Any]]:
    """Lay the language model out as ``LMModel`` and ``T5Conditioner`` name it."""
    import torch

    decoder = model.decoder.model.decoder
    for k, embedding in enumerate(decoder.embed_tokens):
        yield f"emb.{k}.weight", embedding.weight.detach().clone()
    for k, head in enumerate(model.decoder.lm_heads):
        yield f"linears.{k}.weight", head.weight.detach().clone()
    for n, layer in enumerate(decoder.layers):
        at = f"transformer.layers.{n}"
        for name, attention in (
            ("self_attn", layer.self_attn),
            ("cross_attention", layer.encoder_attn),
        ):
            parts = (attention.q_proj, attention.k_proj, attention.v_proj)
            yield f"{at}.{name}.in_proj_weight", torch.cat([x.weight for x in parts]).detach()
            yield f"{at}.{name}.out_proj.weight", attention.out_proj.weight.detach().clone()
        yield f"{at}.linear1.weight", layer.fc1.weight.detach().clone()
        yield f"{at}.linear2.weight", layer.fc2.weight.detach().clone()
        for name, norm in (
            ("norm1", layer.self_attn_layer_norm),
            ("norm_cross", layer.encoder_attn_layer_norm),
            ("norm2", layer.final_layer_norm),
        ):
            yield from linear(f"{at}.{name}", norm)
    yield from linear("out_norm", decoder.layer_norm)
    yield from linear(
        "condition_provider.conditioners.description.output_proj", model.enc_to_dec_proj
    )


def codec_state(codec: Any) -> Iterator[tuple[str, Any]]:
    """Lay the EnCodec out as SEANet and the residual vector quantizer name it."""
    for half in ("encoder", "decoder"):
        for n, layer in enumerate(getattr(codec, half).layers):
            at, kind = f"{half}.model.{n}", type(layer).__name__
            if kind == "EncodecResnetBlock":
                for m in (1, 3):  # activations stand between them
                    yield from normed(f"{at}.block.{m}.conv.conv", layer.block[m].conv)
            elif kind == "EncodecConv1d":
                yield from normed(f"{at}.conv.conv", layer.conv)
            elif kind == "EncodecConvTranspose1d":
                yield from normed(f"{at}.convtr.convtr", layer.conv)
            elif kind == "EncodecLSTM":
                for name, tensor in layer.lstm.named_parameters():
                    yield f"{at}.lstm.{name}", tensor.detach().clone()
    for n, layer in enumerate(codec.quantizer.layers):
        for name in ("inited", "cluster_size", "embed", "embed_avg"):
            tensor = getattr(layer.codebook, name)
            yield f"quantizer.vq.layers.{n}._codebook.{name}", tensor.clone()


def linear(at: str, module: Any) -> Iterator[tuple[str, Any]]:
    """Name a weight and a bias."""
    yield f"{at}.weight", module.weight.detach().clone()
    yield f"{at}.bias", module.bias.detach().clone()


def normed(at: str, convolution: Any) -> Iterator[tuple[str, Any]]:
    """Name a convolution under weight normalization: its length, its direction, its bias."""
    norm = convolution.parametrizations.weight
    yield f"{at}.weight_g", norm.original0.detach().clone()
    yield f"{at}.weight_v", norm.original1.detach().clone()
    yield f"{at}.bias", convolution.bias.detach().clone()
