"""What do a Bark checkpoint's settings say about how it speaks?

They stand in ``generation_config.json``, one group for each stage. What a checkpoint leaves
out is as in the library's classes.

Source: transformers 5.23, ``models/bark/generation_configuration_bark.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from safegen.errors import InputError
from safegen.generation.public_families import settings

_TOP_K: Final = 50
"""Of the library, where a checkpoint does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """How tokens are drawn.

    Attributes:
        do_sample: Or always the likeliest.
        temperature: > 0.
        top_k: Likeliest tokens that may be drawn, 0 for all.
        top_p: Share of the likeliest, in (0, 1].
    """

    do_sample: bool
    temperature: float
    top_k: int
    top_p: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BarkSettings:
    """Numbers of the three stages.

    Attributes:
        sample_rate: In Hz.
        codebook_size: Codes in each codebook.
        text_encoding_offset: Added to ids of the tokenizer.
        text_pad_token: Stands where a text has ended.
        semantic_vocab_size: Semantic tokens.
        semantic_pad_token: Ends a saying, and stands where nothing was said before.
        semantic_infer_token: Calls for semantic tokens.
        semantic_rate_hz: Semantic tokens a second.
        most_words: Ids that a part of a text has at most.
        most_tokens: Semantic tokens that are written at once.
        min_eos_p: Chance of the end from which it is taken, 0 for none.
        semantic: How they are drawn.
        coarse_pad_token: Stands where meaning has ended.
        coarse_infer_token: Calls for codes.
        coarse_rate_hz: Frames a second.
        coarse_codebooks: Written by turns.
        max_coarse_input: Semantic tokens that a window sees.
        max_coarse_history: Codes that a window sees.
        sliding_window: Codes that a window writes.
        coarse: How they are drawn.
        fine_codebooks: All of them.
        fine_history: Frames by which windows follow each other.
        fine_window: Frames in a window.
        fine_temperature: 1 takes the likeliest.
    """

    sample_rate: int
    codebook_size: int
    text_encoding_offset: int
    text_pad_token: int
    semantic_vocab_size: int
    semantic_pad_token: int
    semantic_infer_token: int
    semantic_rate_hz: float
    most_words: int
    most_tokens: int
    min_eos_p: float
    semantic: Drawing
    coarse_pad_token: int
    coarse_infer_token: int
    coarse_rate_hz: float
    coarse_codebooks: int
    max_coarse_input: int
    max_coarse_history: int
    sliding_window: int
    coarse: Drawing
    fine_codebooks: int
    fine_history: int
    fine_window: int
    fine_temperature: float

    @property
    def coarse_per_semantic(self) -> float:
        """Coarse codes for a semantic token."""
        return self.coarse_rate_hz / self.semantic_rate_hz * self.coarse_codebooks

    def tokens_in(self, seconds: float) -> int:
        """Say how many semantic tokens are said in so many seconds, at most."""
        return int(seconds * self.semantic_rate_hz)


def read(folder: Path) -> BarkSettings:
    """Read ``generation_config.json``, and what ``config.json`` limits.

    Raises:
        InputError: If they are missing or say nothing usable.
    """
    config, found = (settings(folder / f"{x}.json") for x in ("config", "generation_config"))
    try:
        read = _read(config, found)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _unusable(folder, f"{type(error).__name__}: {error}") from error
    for name in BarkSettings.__dataclass_fields__:
        value = getattr(read, name)
        if isinstance(value, int | float) and name != "min_eos_p" and not value > 0:
            raise _unusable(folder, f"{name} is {value}")
    if read.sliding_window % read.coarse_codebooks or read.fine_history > read.fine_window:
        raise _unusable(folder, "its windows do not fit")
    return read


def _read(config: dict[str, Any], found: dict[str, Any]) -> BarkSettings:
    semantic, coarse, fine = (
        found.get(f"{name}_config") or {}
        for name in ("semantic", "coarse_acoustics", "fine_acoustics")
    )
    most_words = int(semantic.get("max_input_semantic_length", 256))
    positions = int((config.get("semantic_config") or {}).get("block_size", 1024))
    return BarkSettings(
        sample_rate=int(found.get("sample_rate", 24_000)),
        codebook_size=int(found.get("codebook_size", 1024)),
        text_encoding_offset=int(semantic.get("text_encoding_offset", 10_048)),
        text_pad_token=int(semantic.get("text_pad_token", 129_595)),
        semantic_vocab_size=int(semantic.get("semantic_vocab_size", 10_000)),
        semantic_pad_token=int(semantic.get("eos_token_id", 10_000)),
        semantic_infer_token=int(semantic.get("semantic_infer_token", 129_599)),
        semantic_rate_hz=float(semantic.get("semantic_rate_hz", 49.9)),
        most_words=most_words,
        # The last token that is written needs no position.
        most_tokens=min(int(semantic.get("max_new_tokens") or 768), positions - most_words),
        min_eos_p=float(semantic.get("min_eos_p") or 0.0),
        semantic=_drawing(semantic),
        coarse_pad_token=int(coarse.get("coarse_semantic_pad_token", 12_048)),
        coarse_infer_token=int(coarse.get("coarse_infer_token", 12_050)),
        coarse_rate_hz=float(coarse.get("coarse_rate_hz", 75)),
        coarse_codebooks=int(coarse.get("n_coarse_codebooks", 2)),
        max_coarse_input=int(coarse.get("max_coarse_input_length", 256)),
        max_coarse_history=int(coarse.get("max_coarse_history", 630)),
        sliding_window=int(coarse.get("sliding_window_len", 60)),
        coarse=_drawing(coarse),
        fine_codebooks=int(fine.get("n_fine_codebooks", 8)),
        fine_history=int(fine.get("max_fine_history_length", 512)),
        fine_window=int(fine.get("max_fine_input_length", 1024)),
        fine_temperature=float(fine.get("temperature") or 1.0),
    )


def _drawing(found: dict[str, Any]) -> Drawing:
    temperature, top_k, top_p = (found.get(x) for x in ("temperature", "top_k", "top_p"))
    drawing = Drawing(
        do_sample=bool(found.get("do_sample", False)),
        temperature=1.0 if temperature is None else float(temperature),
        top_k=_TOP_K if top_k is None else int(top_k),
        top_p=1.0 if top_p is None else float(top_p),
    )
    if not (drawing.temperature > 0 and drawing.top_k >= 0 and 0 < drawing.top_p <= 1):
        msg = f"tokens cannot be drawn with {drawing}"
        raise ValueError(msg)
    return drawing


def _unusable(folder: Path, problem: str) -> InputError:
    return InputError(
        f"{folder}: generation_config.json is not a Bark's ({problem})",
        remedy="Fetch the checkpoint again.",
    )
