"""How does a checkpoint that audiocraft published become one that transformers reads?

AudioGen is published in audiocraft's layout alone: ``state_dict.bin`` with the language
model, ``compression_state_dict.bin`` with the EnCodec, each beside its settings as YAML
(``xp.cfg``). Both are the same networks as MusicGen's, so ``MusicgenForConditionalGeneration``
runs them; MusicGen's own text models are published in this layout, too. Neither file holds
the text encoder, a T5 that was not trained along: it comes from a folder of its own.

Every tensor of the wanted model asks for its source by name. One that is missing, of
another shape, or left over is an error, and so is a setting that transformers' classes
cannot follow. Tensors keep their precision.

Source: the names are those of the modules in audiocraft's ``models/lm.py``,
``modules/seanet.py`` and ``quantization/core_vq.py``; the settings those of its
``config/model``.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from safegen.checkpoints import Package, read_package
from safegen.errors import InputError
from safegen.generation.transformers_models.loading import load_model, load_tokenizer, quiet

_LM_NAMES: Final = (
    ("model.decoder.embed_tokens.", "emb."),
    ("model.decoder.layers.", "transformer.layers."),
    ("model.decoder.layer_norm.", "out_norm."),
    ("lm_heads.", "linears."),
    (".self_attn_layer_norm.", ".norm1."),
    (".encoder_attn_layer_norm.", ".norm_cross."),
    (".final_layer_norm.", ".norm2."),
    (".encoder_attn.", ".cross_attention."),
    (".fc1.", ".linear1."),
    (".fc2.", ".linear2."),
)
"""What transformers calls a part of the language model -> what audiocraft calls it."""
_PROJECTION: Final = "condition_provider.conditioners.description.output_proj."
_WEIGHT_NORM: Final = (
    ("parametrizations.weight.original0", "weight_g"),
    ("parametrizations.weight.original1", "weight_v"),
)
_THIRDS: Final = "qkv"
"""Order of the three projections that audiocraft keeps as one."""

_LM_MUST_BE: Final = {
    "lm_model": "transformer_lm",
    "codebooks_pattern.modeling": "delay",
    "codebooks_pattern.delay.flatten_first": 0,
    "codebooks_pattern.delay.empty_initial": 0,
    "transformer_lm.activation": "gelu",
    "transformer_lm.causal": True,
    "transformer_lm.norm": "layer_norm",
    "transformer_lm.norm_first": True,
    "transformer_lm.past_context": None,
    "transformer_lm.positional_embedding": "sin",
    "transformer_lm.qk_layer_norm": False,
    "transformer_lm.kv_repeat": 1,
    "fuser.cross_attention_pos_emb": False,
    "channels": 1,
}
_CODEC_MUST_BE: Final = {
    "compression_model": "encodec",
    "encodec.renormalize": False,
    "seanet.activation": "ELU",
    "seanet.norm": "weight_norm",
    "seanet.disable_norm_outer_blocks": 0,
    "seanet.decoder.final_activation": None,
}
"""Settings that transformers' classes have built in; one that is not told is not checked."""

_POSITIONS: Final = 2048
_TOP_K: Final = 250
_GUIDANCE: Final = 3.0
_MOST_NAMED: Final = 3
_MAX_DEPTH: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """Where a tensor comes from: a name in the file, and which third of it, if any."""

    name: str
    third: int | None = None


def convert(
    lm: Path, compression: Path, text_encoder: Path, out: Path, *, sha256: Mapping[str, str]
) -> None:
    """Write a folder that ``MusicgenForConditionalGeneration`` reads.

    Args:
        lm: ``state_dict.bin``.
        compression: ``compression_state_dict.bin``.
        text_encoder: Folder of the T5 that the model was trained with, with its tokenizer:
            AudioGen's is t5-large, MusicGen's t5-base.
        out: Must not exist; appears when it is complete, or not at all.
        sha256: File name of ``lm`` and of ``compression`` -> 64 hex digits.

    Raises:
        InputError: If a file cannot be read, holds other tensors or settings than these
            models have, or does not fit the text encoder; if ``out`` exists.
        IntegrityError: If a file is not the one that its hash names.
    """
    if out.exists():
        raise InputError(f"{out}: exists already", remedy="Name a folder that does not exist.")
    language = _read(lm, sha256)
    codec = _read(compression, sha256)
    with quiet():
        model = _assembled(lm, language, compression, codec, text_encoder)
    tokenizer = load_tokenizer(text_encoder)
    out.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
    try:
        with quiet():
            _save(model, tokenizer, part)
        part.chmod(0o755)
        part.rename(out)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _read(path: Path, sha256: Mapping[str, str]) -> Package:
    if path.name not in sha256:
        raise InputError(
            f"{path.name}: its sha256 is not told", remedy="Name the hash of each of the files."
        )
    return read_package(path, sha256=sha256[path.name])


def _assembled(
    lm: Path, language: Package, compression: Path, codec: Package, text_encoder: Path
) -> Any:
    """Build the model of the two files and the text encoder."""
    import transformers

    told, told_codec = _Settings(lm, language), _Settings(compression, codec)
    audio_config = _codec_config(told_codec)
    decoder_config = _decoder_config(told, audio_config)
    t5 = load_model("T5EncoderModel", text_encoder, device="cpu", precision="float32")
    _check_fit(language.tensors.get(f"{_PROJECTION}weight"), t5, text_encoder, told)
    # Without memory: only names and shapes are asked before the tensors are put in.
    with torch.device("meta"):
        model: Any = transformers.MusicgenForConditionalGeneration(
            transformers.MusicgenConfig(
                text_encoder=t5.config, audio_encoder=audio_config, decoder=decoder_config
            )
        )
    model.text_encoder = t5
    left = dict(language.tensors)
    projection = {
        name.removeprefix(_PROJECTION): left.pop(name)
        for name in list(left)
        if name.startswith(_PROJECTION)
    }
    _fill(model.decoder, _lm_source, left, lm)
    _fill(model.enc_to_dec_proj, lambda name: _Source(name=name), projection, lm)
    _fill(model.audio_encoder, _codec_source_of(model.audio_encoder), codec.tensors, compression)
    start = decoder_config.vocab_size
    for setting, value in {
        "decoder_start_token_id": start,
        "pad_token_id": start,
        "bos_token_id": start,
        "do_sample": True,
        "top_k": _TOP_K,
        "guidance_scale": float(told.get("classifier_free_guidance.inference_coef", _GUIDANCE)),
        "max_length": decoder_config.max_position_embeddings,
    }.items():
        setattr(model.generation_config, setting, value)
    return model


def _check_fit(weight: Tensor | None, t5: Any, folder: Path, told: _Settings) -> None:
    """Compare the text encoder with the one the model was trained with, as far as it tells."""
    if weight is None or weight.ndim != 2:
        raise InputError(
            f"{told.path}: without the tensor {_PROJECTION}weight",
            remedy="Only models that follow a text are converted.",
        )
    if weight.shape[1] != t5.config.hidden_size:
        wanted = told.get("conditioners.description.t5.name", f"a T5 of width {weight.shape[1]}")
        raise InputError(
            f"{folder}: a text encoder of width {t5.config.hidden_size}, the model was trained "
            f"with one of {weight.shape[1]}",
            remedy=f"Name a folder with {wanted}.",
        )
    if weight.shape[0] == t5.config.hidden_size:
        raise InputError(
            f"{told.path}: language model and text encoder both have width {weight.shape[0]}; "
            "transformers' class would leave out the projection between them",
            remedy="This checkpoint cannot be converted.",
        )


def _save(model: Any, tokenizer: Any, folder: Path) -> None:
    import transformers

    processor: Any = transformers.MusicgenProcessor
    extractor: Any = transformers.EncodecFeatureExtractor
    config = model.config.audio_encoder
    model.save_pretrained(folder)
    processor(
        feature_extractor=extractor(
            feature_size=config.audio_channels,
            sampling_rate=config.sampling_rate,
            padding_side="left",
        ),
        tokenizer=tokenizer,
    ).save_pretrained(folder)


def _fill(
    module: nn.Module, source: Callable[[str], _Source], tensors: Mapping[str, Tensor], path: Path
) -> None:
    """Put the tensors of a file into a model that has only names and shapes.

    Raises:
        InputError: If one is missing, of another shape, or left over.
    """
    wanted = module.state_dict()
    sources = {name: source(name) for name in wanted}
    used = {found.name for found in sources.values()}
    for problem, names in (
        ("missing", used - set(tensors)),
        ("of no part of this model", set(tensors) - used),
    ):
        if names:
            raise _unfit(path, f"{len(names)} tensors are {problem}: {_named(names)}")
    filled = {}
    for name, found in sources.items():
        tensor = tensors[found.name]
        if found.third is not None and len(tensor) % len(_THIRDS) == 0:
            tensor = tensor.chunk(len(_THIRDS))[found.third]
        if tensor.shape != wanted[name].shape:
            raise _unfit(
                path,
                f"the tensor {found.name} has shape {tuple(tensor.shape)}, "
                f"wanted is {tuple(wanted[name].shape)}",
            )
        filled[name] = tensor.clone()  # thirds of one tensor must not share its memory
    module.load_state_dict(filled, assign=True)


def _unfit(path: Path, problem: str) -> InputError:
    return InputError(
        f"{path}: {problem}",
        remedy="Only AudioGen, and MusicGen's models for text and one channel, are converted; "
        "the others are published for transformers.",
    )


def _named(names: set[str]) -> str:
    return f"{', '.join(sorted(names)[:_MOST_NAMED])}{', ...' if len(names) > _MOST_NAMED else ''}"


def _lm_source(name: str) -> _Source:
    for ours, theirs in _LM_NAMES:
        name = name.replace(ours, theirs)
    third = re.fullmatch(r"(.+)\.([qkv])_proj\.weight", name)
    if third is None:
        return _Source(name=name)
    return _Source(name=f"{third[1]}.in_proj_weight", third=_THIRDS.index(third[2]))


def _codec_source_of(model: nn.Module) -> Callable[[str], _Source]:
    """Name sources by the layers the model has: a transposed convolution is called otherwise."""
    from transformers.models.encodec.modeling_encodec import EncodecConvTranspose1d

    transposed = {
        f"{name}.conv."
        for name, module in model.named_modules()
        if isinstance(module, EncodecConvTranspose1d)
    }

    def source(name: str) -> _Source:
        if name.startswith("quantizer."):
            name = name.replace("quantizer.layers.", "quantizer.vq.layers.")
            return _Source(name=name.replace(".codebook.", "._codebook."))
        inner = "convtr" if any(name.startswith(prefix) for prefix in transposed) else "conv"
        name = re.sub(r"\.conv\.(?=bias|parametrizations)", f".{inner}.{inner}.", name)
        name = re.sub(r"^(encoder|decoder)\.layers\.", r"\1.model.", name)
        for ours, theirs in _WEIGHT_NORM:
            name = name.replace(ours, theirs)
        return _Source(name=name)

    return source


def _decoder_config(told: _Settings, audio: Any) -> Any:
    import transformers

    told.check(_LM_MUST_BE)
    codebooks, card = told.number("transformer_lm.n_q"), told.number("transformer_lm.card")
    delays = told.get("codebooks_pattern.delay.delays", list(range(codebooks)))
    if delays != list(range(codebooks)):
        raise _unfit(told.path, f"its codebooks are delayed by {delays}")
    if (codebooks, card) != (audio.num_quantizers, audio.codebook_size):
        raise _unfit(
            told.path,
            f"{codebooks} codebooks of {card}, the compression model has "
            f"{audio.num_quantizers} of {audio.codebook_size}",
        )
    width = told.number("transformer_lm.dim")
    seconds = float(told.get("dataset.segment_duration", 0) or 0)
    # A start and the delay of the last codebook come before the last frame.
    positions = round(seconds * audio.frame_rate) + codebooks if seconds > 0 else _POSITIONS
    return transformers.MusicgenDecoderConfig(
        vocab_size=card,
        hidden_size=width,
        num_hidden_layers=told.number("transformer_lm.num_layers"),
        num_attention_heads=told.number("transformer_lm.num_heads"),
        ffn_dim=int(width * float(told.get("transformer_lm.hidden_scale", 4))),
        num_codebooks=codebooks,
        max_position_embeddings=positions,
        pad_token_id=card,
        bos_token_id=card,
    )


def _codec_config(told: _Settings) -> Any:
    import transformers

    told.check(_CODEC_MUST_BE)
    ratios = told.get("seanet.ratios", None)
    if not isinstance(ratios, list) or not all(isinstance(x, int) and x > 0 for x in ratios):
        raise _unfit(told.path, f"its setting seanet.ratios is {ratios!r}")
    codebooks, size = told.number("rvq.n_q"), told.number("rvq.bins")
    config = transformers.EncodecConfig(
        sampling_rate=told.number("sample_rate"),
        audio_channels=told.number("channels"),
        upsampling_ratios=ratios,
        num_filters=told.number("seanet.n_filters"),
        hidden_size=told.number("seanet.dimension"),
        num_residual_layers=told.number("seanet.n_residual_layers"),
        kernel_size=told.number("seanet.kernel_size"),
        last_kernel_size=told.number("seanet.last_kernel_size"),
        residual_kernel_size=told.number("seanet.residual_kernel_size"),
        dilation_growth_rate=told.number("seanet.dilation_base"),
        compress=told.number("seanet.compress"),
        num_lstm_layers=told.number("seanet.lstm"),
        use_causal_conv=bool(told.get("seanet.causal", False)),
        trim_right_ratio=float(told.get("seanet.decoder.trim_right_ratio", 1.0)),
        use_conv_shortcut=not told.get("seanet.true_skip", True),
        pad_mode=str(told.get("seanet.pad_mode", "reflect")),
        codebook_size=size,
    )
    # The class derives the number of codebooks from a bandwidth in kbit/s.
    config.target_bandwidths = [codebooks * config.frame_rate * config.codebook_nbits / 1000]
    if config.num_quantizers != codebooks:
        raise _unfit(told.path, f"{codebooks} codebooks at {config.target_bandwidths[0]} kbit/s")
    return config


class _Settings:
    """The settings of a file, by dotted names."""

    def __init__(self, path: Path, package: Package) -> None:
        import yaml

        self.path = path
        try:
            self._tree = yaml.safe_load(package.texts.get("xp.cfg", ""))
        except yaml.YAMLError as error:
            raise _unfit(path, "its settings (xp.cfg) are no YAML") from error
        if not isinstance(self._tree, dict):
            raise _unfit(path, "it holds no settings as text (xp.cfg)")

    def get(self, name: str, default: Any) -> Any:
        """Look a setting up; ``${other.name}`` stands for another one."""
        for _ in range(_MAX_DEPTH):
            found: Any = self._tree
            for key in name.split("."):
                if not isinstance(found, dict) or key not in found:
                    return default
                found = found[key]
            link = re.fullmatch(r"\$\{([\w.]+)\}", found) if isinstance(found, str) else None
            if link is None:
                return found
            name = link[1]
        raise _unfit(self.path, f"its setting {name} stands for itself")

    def number(self, name: str) -> int:
        """Look up a count that must be told."""
        found = self.get(name, None)
        if not isinstance(found, int) or isinstance(found, bool) or found <= 0:
            raise _unfit(self.path, f"its setting {name} is {found!r}, not a count")
        return found

    def check(self, wanted: Mapping[str, Any]) -> None:
        """Refuse settings that transformers' classes do not follow."""
        for name, value in wanted.items():
            found = self.get(name, value)
            if found != value:
                raise _unfit(self.path, f"its setting {name} is {found!r}, only {value!r} is read")
