"""How does Bark turn words into codes: meaning, then coarse sound, then fine sound?

Three stages, each on what the one before wrote, as AudioLM's: semantic tokens of the words
(49.9 a second), the first two codebooks of an EnCodec by turns (150 a second, in windows
that see the last of what was said), the other six all at once (in windows of 1024 frames).

The networks are the library's, the stepping is ours: each item draws from its own
generators, so it is the same alone and in a batch. Items that are equally far step together
for one reading of the weights; what comes before a window is read item by item, because
sums over many rows depend on how many there are.

Source: suno-ai/bark, ``bark/generation.py``; transformers 5.23, ``BarkSemanticModel.generate``,
``BarkCoarseModel.generate`` and ``BarkFineModel.generate``, whose numbers are followed.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from safegen.generation.transformers_models.bark_settings import BarkSettings, Drawing
from safegen.generation.transformers_models.packed import product

_FEWEST_TOKENS: Final = 10
"""A fifth of a second: an item that said nothing at all could be released by no one."""

Step = Callable[[int], None]
"""Told how many tokens were written since the last call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What was said in one part of a text.

    Attributes:
        semantic: Shape (tokens,).
        codes: Shape (codebooks, frames).
    """

    semantic: Tensor
    codes: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a text that is to be said.

    Attributes:
        words: Token ids of the tokenizer, at most ``BarkSettings.most_words``.
        before: What the same voice said before, None at the beginning.
        most_tokens: Semantic tokens that may be written, >= 1.
        dice: Of each stage, for this part of this item alone.
    """

    words: tuple[int, ...]
    before: Said | None
    most_tokens: int
    dice: tuple[torch.Generator, torch.Generator, torch.Generator]


class BarkStages:
    """The three networks of a loaded ``BarkModel``.

    Args:
        model: Its linear layers are replaced by ones that give a single row of each item
            the same result in any company.
        settings: Of its generation.
    """

    def __init__(self, model: Any, settings: BarkSettings) -> None:
        self.settings = settings
        self._semantic, self._coarse = model.semantic, model.coarse_acoustics
        self._fine = model.fine_acoustics
        self.device = next(model.parameters()).device
        for stage in (self._semantic, self._coarse):
            for module in list(stage.modules()):
                for name, child in list(module.named_children()):
                    if isinstance(child, nn.Linear):
                        setattr(module, name, _SteppedLinear(child))

    def say(self, parts: Sequence[Part], step: Step) -> list[Said]:
        """Say a part of each item."""
        semantic = self._meanings(parts, step)
        coarse = self._coarse_codes(parts, semantic, step)
        said = []
        for part, meaning, codes in zip(parts, semantic, coarse, strict=True):
            said.append(Said(semantic=meaning, codes=self._fine_codes(part, codes)))
            step(codes.shape[1])
        return said

    def _meanings(self, parts: Sequence[Part], step: Step) -> list[Tensor]:
        """Write semantic tokens until each item has nothing more to say."""
        own = self.settings
        allowed = torch.full((self._semantic.config.output_vocab_size,), -math.inf)
        allowed[: own.semantic_vocab_size] = 0.0
        allowed[own.semantic_pad_token] = 0.0
        allowed = allowed.to(self.device)
        stopped = allowed.clone()
        stopped[own.semantic_pad_token] = -math.inf

        def draw(logits: Tensor, at: int, item: int) -> int:
            scores = logits + (stopped if at < _FEWEST_TOKENS else allowed)
            if own.min_eos_p and at >= _FEWEST_TOKENS:
                share = scores.softmax(dim=-1)[own.semantic_pad_token]
                if share > own.min_eos_p:
                    return own.semantic_pad_token
            return _drawn(scores, own.semantic, parts[item].dice[0])

        written = self._written(
            self._semantic,
            [self._semantic_start(part) for part in parts],
            [part.most_tokens for part in parts],
            draw,
            step,
            end=own.semantic_pad_token,
        )
        return [torch.tensor(tokens, dtype=torch.int64) for tokens in written]

    def _semantic_start(self, part: Part) -> Tensor:
        """Embed words and what was said before, one on the other, then the call to begin."""
        own, embed = self.settings, self._semantic.input_embeds_layer
        words = torch.full((own.most_words,), own.text_pad_token)
        words[: len(part.words)] = torch.tensor(part.words) + own.text_encoding_offset
        history = torch.full((own.most_words,), own.semantic_pad_token)
        if part.before is not None:
            kept = part.before.semantic[-own.most_words :]
            history[: len(kept)] = kept
        infer = torch.tensor([own.semantic_infer_token])
        words, history, infer = (x.to(self.device) for x in (words, history, infer))
        return torch.cat([embed(words) + embed(history), embed(infer)])[None]

    def _coarse_codes(
        self, parts: Sequence[Part], semantic: Sequence[Tensor], step: Step
    ) -> list[Tensor]:
        """Write the first codebooks, window by window; shape (codebooks, frames) each."""
        own, ratio = self.settings, self.settings.coarse_per_semantic
        books = own.coarse_codebooks
        offsets = own.semantic_vocab_size + own.codebook_size * torch.arange(books)
        wanted = [math.floor(len(x) * ratio / books) * books for x in semantic]
        histories = [self._coarse_history(part, offsets) for part in parts]
        meanings = [torch.cat([h[0], x]) for h, x in zip(histories, semantic, strict=True)]
        written = [h[1].tolist() for h in histories]
        before = [len(x) for x in written]
        allowed = torch.full((books, self._coarse.config.output_vocab_size), -math.inf)
        for book, first in enumerate(offsets.tolist()):
            allowed[book, first : first + own.codebook_size] = 0.0
        allowed = allowed.to(self.device)
        most_before = math.floor(own.max_coarse_history / ratio)
        for start in range(0, max(wanted), own.sliding_window):
            rows = [x for x in range(len(parts)) if wanted[x] > start]
            windows = []
            for item in rows:
                at = len(histories[item][0]) + round(start / ratio)
                seen = meanings[item][max(0, at - most_before) :][: own.max_coarse_input]
                seen = F.pad(
                    seen, (0, own.max_coarse_input - len(seen)), value=own.coarse_pad_token
                )
                last = torch.tensor(written[item][-own.max_coarse_history :], dtype=torch.int64)
                infer = torch.tensor([own.coarse_infer_token])
                ids = torch.cat([seen, infer, last]).to(self.device)
                windows.append(self._coarse.input_embeds_layer(ids)[None])

            def draw(logits: Tensor, at: int, item: int, rows: list[int] = rows) -> int:
                return _drawn(logits + allowed[at % books], own.coarse, parts[rows[item]].dice[1])

            limits = [min(own.sliding_window, wanted[item] - start) for item in rows]
            fresh = self._written(self._coarse, windows, limits, draw, step)
            for item, tokens in zip(rows, fresh, strict=True):
                written[item] += tokens
        return [
            (torch.tensor(tokens[first:], dtype=torch.int64).view(-1, books) - offsets).T
            for tokens, first in zip(written, before, strict=True)
        ]

    def _coarse_history(self, part: Part, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """What was said before, as far as a window sees it: meaning, and codes by turns."""
        own = self.settings
        nothing = torch.zeros(0, dtype=torch.int64)
        if part.before is None:
            return nothing, nothing
        ratio, semantic = own.coarse_per_semantic, part.before.semantic
        codes = (part.before.codes[: own.coarse_codebooks].T + offsets).reshape(-1)
        kept = min(
            math.floor(own.max_coarse_history / ratio),
            len(semantic) - len(semantic) % 2,
            math.floor(len(codes) / ratio),
        )
        if kept == 0:
            return nothing, nothing
        # One frame less, as Bark's authors do, because it sounds better.
        return semantic[-kept:], codes[-round(kept * ratio) :][: -own.coarse_codebooks]

    def _fine_codes(self, part: Part, coarse: Tensor) -> Tensor:
        """Fill in the other codebooks, window by window; shape (codebooks, frames)."""
        own, width, hop = self.settings, self.settings.fine_window, self.settings.fine_history
        books, size = own.fine_codebooks, own.codebook_size
        given, frames = coarse.shape
        codes = F.pad(coarse, (0, 0, 0, books - given), value=size)
        if part.before is not None:
            codes = torch.cat([part.before.codes[:, -hop:], codes], dim=1)
        history = codes.shape[1] - frames
        codes = F.pad(codes, (0, max(0, width - codes.shape[1])), value=size).to(self.device)
        length = codes.shape[1]
        for number in range(max(0, math.ceil((frames - (width - history)) / hop)) + 1):
            start = min(number * hop, length - width)
            fill = min(history + number * hop, length - hop) - start
            window = codes[:, start : start + width]  # a view: what is drawn stays in codes
            for book in range(given, books):
                logits = self._fine(book, window.T[None]).logits[0, fill:, :size].float()
                window[book, fill:] = _fine_drawn(logits, own.fine_temperature, part.dice[2])
        return codes[:, history : history + frames].cpu()

    def _written(
        self,
        model: Any,
        starts: Sequence[Tensor],
        limits: Sequence[int],
        draw: Callable[[Tensor, int, int], int],
        step: Step,
        *,
        end: int | None = None,
    ) -> list[list[int]]:
        """Write tokens after each start, of shape (1, length, width), up to its limit or an end.

        ``draw`` gets the logits, the number of the token and of the item. Starts of one
        length step together.
        """
        written: list[list[int]] = [[] for _ in starts]
        alike = defaultdict(list)
        for item, start in enumerate(starts):
            alike[start.shape[1]].append(item)
        for items in alike.values():
            caches, logits = [], []
            for item in items:
                told = model(inputs_embeds=starts[item], use_cache=True)
                caches.append(told.past_key_values)
                logits.append(told.logits[0, -1].float())
            cache = _together(caches)
            for at in range(max(limits[item] for item in items)):
                last = []
                for row, item in enumerate(items):
                    is_over = at >= limits[item] or len(written[item]) < at
                    token = 0 if is_over else draw(logits[row], at, item)
                    if not is_over and token != end:
                        written[item].append(token)
                    last.append(0 if token == end else token)
                if all(len(written[x]) == limits[x] or len(written[x]) <= at for x in items):
                    break
                step(sum(len(written[item]) > at for item in items))
                ids = torch.tensor(last, device=self.device)[:, None]
                told = model(input_ids=ids, past_key_values=cache, use_cache=True)
                logits = list(told.logits[:, -1].float())
        return written


class _SteppedLinear(nn.Module):
    """A linear layer that gives each of a few single rows the same in any company."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear
        self._product = product(linear.weight.detach())
        self._bias: Tensor | None = linear.bias

    def forward(self, states: Tensor) -> Tensor:
        """Multiply states of shape (items, rows, width)."""
        if states.shape[1] != 1:
            found: Tensor = self.linear(states)
            return found
        rows = self._product(states[:, 0])
        return (rows if self._bias is None else rows + self._bias)[:, None]


def _together(caches: Sequence[Any]) -> Any:
    """Lay the keys and values of items of one length side by side."""
    if len(caches) == 1:
        return caches[0]
    from transformers import DynamicCache

    cache = DynamicCache()
    for number in range(len(caches[0].layers)):
        layers = [x.layers[number] for x in caches]
        keys, values = (torch.cat([getattr(x, k) for x in layers]) for k in ("keys", "values"))
        cache.update(keys, values, number)
    return cache


def _drawn(scores: Tensor, how: Drawing, dice: torch.Generator) -> int:
    """Draw a token by scores of shape (words,)."""
    if not how.do_sample:
        return int(scores.argmax())
    scores = scores / how.temperature
    if 0 < how.top_k < len(scores):
        scores = scores.masked_fill(scores < scores.topk(how.top_k).values[-1], -math.inf)
    if how.top_p < 1:
        ordered, places = scores.sort(descending=True)
        chances = ordered.softmax(dim=-1)
        # The word that crosses the limit is kept.
        beyond = chances.cumsum(dim=-1) - chances >= how.top_p
        scores = scores.index_fill(0, places[beyond], -math.inf)
    return int(torch.multinomial(scores.softmax(dim=-1).cpu(), 1, generator=dice))


def _fine_drawn(logits: Tensor, temperature: float, dice: torch.Generator) -> Tensor:
    """Draw a code for every frame, or take the likeliest at temperature 1, as the library does."""
    if temperature == 1.0:
        return logits.argmax(dim=-1)
    chances = (logits / temperature).softmax(dim=-1)
    return torch.multinomial(chances.cpu(), 1, generator=dice)[:, 0].to(logits.device)
