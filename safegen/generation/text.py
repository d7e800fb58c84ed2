"""What does a prompt say, in numbers?

Words become hashed character n-grams, so a word that was never seen still lands near
its relatives ("drumming", "drummer"). Three kinds of word are read exactly instead of
learned: numbers ("92", "ninety-two"), keys ("F#m", "G flat minor", "in E♭") and modes,
because one spelling more or less must not change which key is meant.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from safegen.generation.backbone import Transformer

MAX_TOKENS: Final = 64
BUCKETS: Final = 6144
NULL: Final = 0
COMMA: Final = 1
_NUMBERS: Final = 2
MAX_NUMBER: Final = 299
_KEYS: Final = _NUMBERS + MAX_NUMBER + 1
_MODES: Final = _KEYS + 12
_HASHED: Final = _MODES + 2
VOCABULARY: Final = _HASHED + BUCKETS
EMBEDDING_GAIN: Final = 8.0
"""Rare words get few updates; small weights and a gain let each update count."""

_NATURALS: Final = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}
_ACCIDENTAL: Final = (
    r"(?:\s?(#)|(b)(?=(?:m|min|maj|minor|major)?(?![a-z]))|[\s-]*(sharp|flat)(?![a-z]))?"
)
_KEY: Final = re.compile(
    r"(?<![A-Za-z0-9#'])([A-Ga-g])"
    + _ACCIDENTAL
    + r"(?:[\s-]*(major|minor|maj|min)|-?(m))(?![a-z])",
    re.IGNORECASE,
)
_NAMED_ROOT: Final = re.compile(
    r"\b(key(?:\s+(?:of|is|center|centre|signature))*|tonic(?:\s+is)?|tonal\s+cent(?:er|re)|tonality(?:\s+of)?)"
    r"\s*[:=]?\s*([A-G])" + _ACCIDENTAL + r"(?![A-Za-z0-9#])",
    re.IGNORECASE,
)
_BARE_ROOT: Final = re.compile(
    r"(?<![A-Za-z0-9#'])(?:(in|on|around|to|of)\s+([A-G])"
    + _ACCIDENTAL
    + r"|([A-G])(#|b|\s?sharp|\s?flat|-sharp|-flat))(?![A-Za-z0-9#'])"
)
_ARTICLE: Final = re.compile(
    r"\s*(?:key|mode|mood|tonality|scale|chord|harmony|feel|sound)", re.IGNORECASE
)
_TOKEN: Final = re.compile(r"⟨(\d+)⟩|(\d+)(?:\.\d+)?|([^\W\d_]+(?:'[a-z]+)?)|([,.;:/\n!?-])")
_TEENS: Final = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
)
_TENS: Final = "twenty thirty forty fifty sixty seventy eighty ninety"
_SPELLED: Final = {word: value for value, word in enumerate(_TEENS.split())} | {
    word: 10 * value for value, word in enumerate(_TENS.split(), 2)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TextConfig:
    """Sizes of a text encoder.

    Attributes:
        embedding: Dimensions of a word before the encoder.
        width: Channels of the encoder.
        layers: Of the encoder.
        heads: Of each layer.
    """

    embedding: int = 128
    width: int = 160
    layers: int = 3
    heads: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class TextBatch:
    """Prompts as numbers.

    Attributes:
        ids: Ids of all tokens of all prompts, each token one or more, shape (n,).
        offsets: Where each of the b * t tokens starts in ``ids``, shape (b * t,).
        mask: True where a token is, shape (b, t).
    """

    ids: Tensor
    offsets: Tensor
    mask: Tensor


class TextEncoder(nn.Module):
    """Prompts to one vector per token."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        self.words = nn.EmbeddingBag(VOCABULARY, config.embedding, mode="mean")
        with torch.no_grad():
            self.words.weight.normal_(std=0.5 / EMBEDDING_GAIN)
            # Close numbers start with close vectors: 92 bpm is nearly 93 bpm.
            self.words.weight[_NUMBERS:_KEYS] = _waves(config.embedding) * (0.5 / EMBEDDING_GAIN)
        self.inlet = nn.Linear(config.embedding, config.width)
        self.backbone = Transformer(
            width=config.width, layers=config.layers, heads=config.heads, causal=False
        )

    def forward(self, batch: TextBatch) -> Tensor:
        """Encode prompts; shape (b, t, width), zero where ``mask`` is False."""
        b, t = batch.mask.shape
        words = self.words(batch.ids, batch.offsets) * EMBEDDING_GAIN
        x = self.inlet(words).reshape(b, t, -1)
        y: Tensor = self.backbone(x, keys=batch.mask)
        return y * batch.mask[..., None]


def pool(states: Tensor, mask: Tensor) -> Tensor:
    """Average token states of shape (b, t, width) over the tokens; shape (b, width)."""
    counts = mask.sum(dim=1, keepdim=True).clamp_min(1)
    return (states * mask[..., None]).sum(dim=1) / counts


def strongest(states: Tensor, mask: Tensor) -> Tensor:
    """Take the largest value of each channel over the tokens; shape (b, width)."""
    return states.masked_fill(~mask[..., None], float("-inf")).amax(dim=1)


def to_batch(prompts: list[str]) -> TextBatch:
    """Turn prompts into numbers; an empty prompt is one null token."""
    rows = [tokenize(prompt) for prompt in prompts]
    longest = max(len(row) for row in rows)
    ids: list[int] = []
    offsets: list[int] = []
    mask = torch.zeros(len(rows), longest, dtype=torch.bool)
    for i, row in enumerate(rows):
        mask[i, : len(row)] = True
        for token in (*row, *([(NULL,)] * (longest - len(row)))):
            offsets.append(len(ids))
            ids.extend(token)
    return TextBatch(ids=torch.tensor(ids), offsets=torch.tensor(offsets), mask=mask)


def tokenize(prompt: str) -> list[tuple[int, ...]]:
    """Split a prompt into tokens, each a tuple of ids in [0, ``VOCABULARY``).

    At most ``MAX_TOKENS`` tokens are kept; at least one is returned.
    """
    tokens: list[tuple[int, ...]] = []
    pending: int | None = None
    for found in _TOKEN.finditer(_mark_keys(prompt)):
        special, digits, word, _ = found.groups()
        spelled = _SPELLED.get(word.lower()) if word else None
        lower = word.lower() if word else ""
        if spelled is not None:
            pending = _add_spelled(pending, spelled)
            continue
        if pending is not None and (lower in ("hundred", "and") or found.group() == "-"):
            pending = pending * 100 if lower == "hundred" and pending < 10 else pending
            continue
        if pending is not None:
            tokens.append((_NUMBERS + min(pending, MAX_NUMBER),))
            pending = None
        if special:
            tokens.append((int(special),))
        elif digits:
            tokens.append((_NUMBERS + min(int(digits[:6]), MAX_NUMBER),))
        elif word:
            tokens.append(_hashed(lower))
        elif found.group() != "-" and tokens and tokens[-1] != (COMMA,):
            tokens.append((COMMA,))
    if pending is not None:
        tokens.append((_NUMBERS + min(pending, MAX_NUMBER),))
    return tokens[:MAX_TOKENS] or [(NULL,)]


def _waves(width: int) -> Tensor:
    """Sinusoids of the numbers 0 .. MAX_NUMBER; shape (numbers, width)."""
    rates = torch.exp(torch.arange(width // 2) * (-6.0 / (width // 2)))
    angles = torch.arange(MAX_NUMBER + 1.0)[:, None] * rates[None]
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def _add_spelled(pending: int | None, value: int) -> int:
    """Join number words: "ninety" and "two", "one hundred" and "twenty"."""
    return (pending or 0) + value


def _hashed(word: str) -> tuple[int, ...]:
    """Name a word by itself and its character 3- and 4-grams, hashed with CRC-32."""
    marked = f"<{word[:24]}>"
    grams = {marked}
    for n in (3, 4):
        grams |= {marked[i : i + n] for i in range(len(marked) - n + 1)}
    # The whole word counts four times, or short words would drown in their n-grams.
    names = [marked] * 4 + sorted(grams - {marked})
    return tuple(_HASHED + zlib.crc32(name.encode()) % BUCKETS for name in names)


def _mark_keys(prompt: str) -> str:
    """Replace keys and roots by ⟨id⟩ marks."""
    text = prompt.replace("♯", "#").replace("♭", "b").replace("’", "'").replace("⟨", "(")
    text = re.sub(r"[‐‑‒–—]", "-", text)
    text = _KEY.sub(_mark_key, text)
    text = _NAMED_ROOT.sub(_mark_named_root, text)
    return _BARE_ROOT.sub(_mark_bare_root, text)


def _mark_key(found: re.Match[str]) -> str:
    letter, sharp, flat, word, mode, short = found.groups()
    after = found.string[found.end() :]
    before = found.string[: found.start()]
    plain = not (sharp or flat or word)
    if letter in "aA" and plain and mode and found.group()[1:2].isspace():
        # "in a minor key" names no root; "in a minor" and "A minor key" do.
        named = re.search(r"(?:^|\bin|\bkey(?: of)?|[:,=])\s*$", before, re.IGNORECASE)
        ends = re.match(r"\s*(?:$|[,.;:!?)\n/-]|at\b|with\b|and\b|\d)", after)
        if letter == "a" and (_ARTICLE.match(after) or not (named and ends)):
            return found.group()
    if short == "M":
        mode = "major"
    minor = bool(short == "m" or (mode or "").lower().startswith("min"))
    return f" {_root_mark(letter, sharp, flat, word)} ⟨{_MODES + int(minor)}⟩ "


def _mark_named_root(found: re.Match[str]) -> str:
    name, letter, sharp, flat, word = found.groups()
    return f"{name} {_root_mark(letter, sharp, flat, word)} "


def _mark_bare_root(found: re.Match[str]) -> str:
    where, letter, sharp, flat, word, lone, accidental = found.groups()
    if lone:
        return f" {_root_mark(lone, '', '', '', accidental=accidental)} "
    return f"{where} {_root_mark(letter, sharp, flat, word)} "


def _root_mark(letter: str, sharp: str, flat: str, word: str, *, accidental: str = "") -> str:
    raised = (
        bool(sharp) or (word or "").lower() == "sharp" or accidental.strip(" -") in ("#", "sharp")
    )
    lowered = (
        bool(flat) or (word or "").lower() == "flat" or accidental.strip(" -") in ("b", "flat")
    )
    return f"⟨{_KEYS + (_NATURALS[letter.lower()] + int(raised) - int(lowered)) % 12}⟩"
