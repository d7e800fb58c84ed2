"""How do rows look at the columns before them, and at the words of their condition?

Keys and values of all columns stand in memory that is set aside once. All sequences of a
batch are at the same column of it; those with a shorter beginning start later in it.

``Prefill`` runs many columns of one sequence. ``Slices`` runs one column of all sequences
and looks at exactly what is there, each sequence by itself as if it were alone: so its bits
do not depend on its company. ``Masked`` runs one column with shapes that never change and
with no number that is known to the processor alone, as CUDA graphs need it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from safegen.generation.transformers_models.column_decoder import ColumnDecoder

Words = list[tuple[Tensor, Tensor]]
"""Keys and values of a condition for each layer, shape (heads, words, size of a head)."""


class Cache:
    """Keys and values of all columns, shape (layers, rows, heads, columns, size of a head)."""

    def __init__(self, decoder: ColumnDecoder, *, rows: int, columns: int) -> None:
        shape = decoder.shape
        size = (shape.layers, rows, shape.heads, columns, shape.width // shape.heads)
        # Zeros: what a mask hides is multiplied with nothing, and must be a number for it.
        self.keys = torch.zeros(size, dtype=decoder.dtype, device=decoder.device)
        self.values = torch.zeros_like(self.keys)


class Prefill:
    """Many columns of one sequence, the first of the cache that it uses.

    Args:
        cache: Where they are kept.
        row: Of the sequence.
        start: Column where it begins.
        words: Of its condition, empty without one.
    """

    def __init__(self, cache: Cache, *, row: int, start: int, words: Words) -> None:
        self._cache, self._row, self._start, self._words = cache, row, start, words

    def columns(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Keep keys and values; each column looks at those before it and at itself."""
        query, key, value = (x.transpose(0, 1) for x in (query, key, value))
        span = slice(self._start, self._start + key.shape[1])
        self._cache.keys[layer, self._row, :, span] = key
        self._cache.values[layer, self._row, :, span] = value
        seen = F.scaled_dot_product_attention(query[None], key[None], value[None], is_causal=True)
        return seen[0].transpose(0, 1)

    def words(self, layer: int, query: Tensor) -> Tensor:
        """Look at the words of the condition."""
        return _over_words(query.transpose(0, 1), self._words, layer).transpose(0, 1)


class Slices:
    """One column of all sequences, each as if it were alone; ``at`` is set before each.

    Args:
        cache: Where columns are kept.
        starts: Column where each sequence begins.
        words: Of their conditions.
    """

    def __init__(self, cache: Cache, *, starts: Sequence[int], words: Sequence[Words]) -> None:
        self._cache, self._words, self._starts = cache, words, starts
        self.at = 0

    def columns(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Keep keys and values, and look at those of the columns so far."""
        keys, values = self._cache.keys[layer], self._cache.values[layer]
        keys[: len(key), :, self.at], values[: len(value), :, self.at] = key, value
        seen = [
            F.scaled_dot_product_attention(
                query[first:last, :, None],
                keys[first:last, :, start : self.at + 1],
                values[first:last, :, start : self.at + 1],
            )
            for first, last, start in _runs(self._starts[: len(query)])
        ]
        return seen[0] if len(seen) == 1 else torch.cat(seen)

    def words(self, layer: int, query: Tensor) -> Tensor:
        """Look at the words of each condition."""
        pairs = zip(query[:, :, None], self._words, strict=False)
        return torch.stack([_over_words(row, words, layer) for row, words in pairs])


class Masked:
    """One column of all sequences, in shapes that never change.

    Args:
        cache: Where columns are kept.
        starts: Column where each sequence begins.
        words: Of their conditions.
        at: The column, shape (1,); changed from outside between two steps.
    """

    def __init__(
        self, cache: Cache, *, starts: Sequence[int], words: Sequence[Words], at: Tensor
    ) -> None:
        self._cache, self._at = cache, at
        device, columns = at.device, cache.keys.shape[3]
        self._columns = torch.arange(columns, device=device)
        self._starts = torch.tensor(starts, device=device)[:, None, None, None]
        counts = [row[0][0].shape[1] if row else 0 for row in words]
        self._word_mask = torch.zeros(
            (len(words), 1, 1, max([1, *counts])), dtype=torch.bool, device=device
        )
        size = (*cache.keys.shape[:3], self._word_mask.shape[-1], cache.keys.shape[-1])
        self._word_keys = cache.keys.new_zeros(size)
        self._word_values = cache.keys.new_zeros(size)
        for row, (pairs, count) in enumerate(zip(words, counts, strict=True)):
            self._word_mask[row, ..., : max(1, count)] = True  # without words: at a zero
            for layer, (key, value) in enumerate(pairs):
                self._word_keys[layer, row, :, :count] = key
                self._word_values[layer, row, :, :count] = value

    def columns(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Keep keys and values, and look at those of the columns so far."""
        keys, values = self._cache.keys[layer], self._cache.values[layer]
        keys.index_copy_(2, self._at, key[:, :, None])
        values.index_copy_(2, self._at, value[:, :, None])
        mask = (self._columns >= self._starts) & (self._columns <= self._at)
        return F.scaled_dot_product_attention(query[:, :, None], keys, values, attn_mask=mask)

    def words(self, layer: int, query: Tensor) -> Tensor:
        """Look at the words of each condition."""
        return F.scaled_dot_product_attention(
            query[:, :, None],
            self._word_keys[layer],
            self._word_values[layer],
            attn_mask=self._word_mask,
        )


def _over_words(query: Tensor, words: Words, layer: int) -> Tensor:
    """Look at a condition, shape (heads, columns, size of a head); no words say nothing."""
    if not words:
        return torch.zeros_like(query)
    key, value = words[layer]
    return F.scaled_dot_product_attention(query[None], key[None], value[None])[0]


def _runs(starts: Sequence[int]) -> list[tuple[int, int, int]]:
    """Join neighbors that begin at one column: first row, row after the last, column."""
    found: list[tuple[int, int, int]] = []
    for row, start in enumerate(starts):
        if found and found[-1][2] == start:
            found[-1] = (found[-1][0], row + 1, start)
        else:
            found.append((row, row + 1, start))
    return found
