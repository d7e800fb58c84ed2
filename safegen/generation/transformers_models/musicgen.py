"""MusicGen: codes of music, drawn one column at a time, told by a text what is wanted.

Small, medium, large and their stereo versions are one class of ``transformers``. The library
loads the weights and runs text encoder and codec; the columns are drawn here (``stepping``).
A prompt for the ears (``continue_from``) is coded, and its codes begin the result.

Source: Copet et al., "Simple and Controllable Music Generation", arXiv 2306.05284.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from safegen.errors import InputError
from safegen.generation.base import Request
from safegen.generation.model_card import ModelCard
from safegen.generation.public_families import Described, Device, Precision, settings
from safegen.generation.transformers_models.code_music import CodeMusic, Conditions, settings_of
from safegen.generation.transformers_models.column_decoder import ColumnDecoder
from safegen.generation.transformers_models.encodec_sound import EncodecSound
from safegen.generation.transformers_models.loading import DTYPES, load_model, load_tokenizer, owned
from safegen.generation.transformers_models.stepping import Told

CLASS: Final = "MusicgenForConditionalGeneration"
SHORTEST_SECONDS: Final = 0.5
TRAINED_SECONDS: Final = 30.0
"""What the published checkpoints were trained on; positions beyond it were never seen."""
MOST_WORDS: Final = 512
"""Of a text encoder whose tokenizer names no limit."""


def describe(folder: Path) -> Described:
    """Read a checkpoint's settings; see ``public_families.FamilyModule``.

    Raises:
        InputError: If they are not those of a MusicGen.
    """
    return described(folder, title="MusicGen", accepts=("negative_prompt", "continue_from"))


def load(folder: Path, card: ModelCard, *, device: Device, precision: Precision) -> CodeMusic:
    """Build it; see ``public_families.FamilyModule``.

    Raises:
        InputError: If the files do not make a MusicGen.
    """
    model = load_model(CLASS, folder, device="cpu", precision="float32")
    words = TextStates(model, load_tokenizer(folder), device=torch.device(device))
    return built(model, folder, card, WordConditions(words), device=device, precision=precision)


def described(
    folder: Path, *, title: str, accepts: tuple[str, ...], prefix_columns: int = 0
) -> Described:
    """Read what both families say of themselves in the same words.

    Args:
        folder: With ``config.json``.
        title: Of the family.
        accepts: See ``Described``.
        prefix_columns: Positions that a condition takes from the codes.

    Raises:
        InputError: If a setting is missing or not usable.
    """
    found = settings(folder / "config.json")
    try:
        decoder, codec = found["decoder"], found["audio_encoder"]
        kind = codec["model_type"]
        channels = int(decoder.get("audio_channels", 1))
        codebooks = int(decoder.get("num_codebooks", 4))
        positions = int(decoder.get("max_position_embeddings", 2048))
        width, layers = (
            int(decoder.get("hidden_size", 1024)),
            int(decoder.get("num_hidden_layers", 24)),
        )
        rate = int(codec["sampling_rate"])
        hop = math.prod(int(ratio) for ratio in codec["upsampling_ratios"])
        is_plain = codec.get("chunk_length_s") is None and not codec.get("normalize")
        delays = codebooks // channels
        longest = min(TRAINED_SECONDS, (positions - prefix_columns - delays) * hop / rate)
        longest = math.floor(longest * 100) / 100
        is_sound = (
            kind == "encodec"
            and is_plain
            and channels in (1, 2)
            and codebooks % channels == 0
            and codebooks > 0
        )
    except (AttributeError, KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise _unusable(folder, title, f"{type(error).__name__}: {error}") from error
    if not is_sound or not (rate > 0 and hop > 0 and width > 0 and longest >= SHORTEST_SECONDS):
        raise _unusable(
            folder,
            title,
            f"{codebooks} codebooks and {channels} channels of {kind} at {rate} Hz, hop {hop}, "
            f"{positions} positions",
        )
    return Described(
        summary=f"{title} of {layers} layers, {width} wide, on EnCodec at {rate / hop:g} "
        f"frames a second, {'stereo' if channels == 2 else 'mono'}.",
        sample_rate=rate,
        channels=channels,
        shortest_seconds=SHORTEST_SECONDS,
        longest_seconds=longest,
        accepts=accepts,
        limits=f"At most {longest:.4g} s, what its positions were trained for; the beginning "
        "of a continuation sounds as the codec hears it.",
    )


def built(
    model: Any,
    folder: Path,
    card: ModelCard,
    conditions: Conditions,
    *,
    device: Device,
    precision: Precision,
) -> CodeMusic:
    """Lay a loaded model of either family out to be run.

    Text encoder and codec stay in float32: they run once a clip, and half precision is heard.
    """
    place = torch.device(device)
    config = model.decoder.config
    layers = len(model.audio_encoder.quantizer.layers) * int(config.audio_channels)
    words = int(model.audio_encoder.config.codebook_size)
    if layers < config.num_codebooks or words < config.vocab_size:
        raise InputError(
            f"{folder}: the decoder says {config.num_codebooks} codes of {config.vocab_size} "
            f"words, the codec reads {layers} of {words}",
            remedy="Fetch the checkpoint again: the two are not of one model.",
        )
    drawing = settings_of(model, folder)
    sound = EncodecSound(
        owned(model.audio_encoder).to(place), channels=int(model.decoder.config.audio_channels)
    )
    return CodeMusic(
        card,
        decoder=ColumnDecoder(model.decoder, device=place, dtype=DTYPES[precision]),
        sound=sound,
        conditions=conditions,
        settings=drawing,
    )


class TextStates:
    """Reads a text as the decoder hears it.

    Args:
        model: Loaded, with its text encoder and what projects it.
        tokenizer: Its own.
        device: Where the text encoder runs.
    """

    def __init__(self, model: Any, tokenizer: Any, *, device: torch.device) -> None:
        self._encoder = owned(model.text_encoder).to(device)
        project = getattr(model, "enc_to_dec_proj", None)
        self._project = owned(project).to(device) if project is not None else torch.nn.Identity()
        self._tokenizer, self._device = tokenizer, device
        self.width = int(model.decoder.config.hidden_size)
        self._most = min(int(tokenizer.model_max_length), MOST_WORDS)
        known = int(model.text_encoder.config.vocab_size)
        if len(tokenizer) > known:
            raise InputError(
                f"the tokenizer knows {len(tokenizer)} tokens, the text encoder {known}",
                remedy="Fetch the checkpoint again: the two are not of one model.",
            )

    def __call__(self, text: str) -> Tensor:
        """Read a text, shape (tokens, width of the decoder).

        Raises:
            InputError: If it has more tokens than the text encoder reads.
        """
        tokens = self._tokenizer(text)["input_ids"]
        if len(tokens) > self._most:
            raise InputError(
                f"a prompt has {len(tokens)} tokens, the model reads {self._most}",
                remedy="Say it in fewer words.",
            )
        numbers = torch.tensor([tokens], device=self._device)
        states = self._encoder(
            input_ids=numbers, attention_mask=torch.ones_like(numbers)
        ).last_hidden_state
        found: Tensor = self._project(states)[0]
        return found


class WordConditions:
    """Tells a decoder with cross attention what is wanted, and what is not.

    Args:
        words: Reads texts.
    """

    def __init__(self, words: TextStates) -> None:
        self._words = words

    def told(self, request: Request) -> tuple[Told, Told]:
        """Say it for both sequences; an empty text says nothing."""
        return (self._one(request.prompt), self._one(request.negative_prompt))

    def _one(self, text: str) -> Told:
        nothing = torch.zeros((0, self._words.width))
        return Told(prefix=nothing, states=self._words(text) if text.strip() else nothing)


def _unusable(folder: Path, title: str, reason: str) -> InputError:
    return InputError(
        f"{folder / 'config.json'}: no usable settings of a {title} ({reason})",
        remedy="Fetch the checkpoint again with `safegen models pull OWNER/NAME`.",
    )
