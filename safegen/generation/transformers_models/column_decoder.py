"""What does the transformer of a MusicGen checkpoint say to some columns?

The mathematics of ``MusicgenForCausalLM`` and ``MusicgenMelodyForCausalLM`` on the weights of
a loaded model: layers that look at the columns before, at the words of a text (where the
checkpoint has cross attention), and at themselves. How they look, and where keys and values
are kept, is the caller's (``attention``). Rows are sequences times columns, flat.

Source: arXiv 2306.05284; transformers 5.23, ``MusicgenDecoderLayer.forward``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from safegen.generation.transformers_models.packed import Product, product


class Attention(Protocol):
    """How the rows look around; shapes are (rows, heads, size of a head)."""

    def columns(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Keep keys and values, and look at those of the columns so far."""

    def words(self, layer: int, query: Tensor) -> Tensor:
        """Look at the words of the condition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Sizes of a decoder.

    Attributes:
        layers: Number of them.
        heads: Of each attention.
        width: Of a column.
        codebooks: Codes in a column.
        words: Codes that a codebook knows, without the start token.
        positions: Columns of a sequence at most, with its prefix.
    """

    layers: int
    heads: int
    width: int
    codebooks: int
    words: int
    positions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Norm:
    weight: Tensor
    bias: Tensor
    epsilon: float

    def __call__(self, rows: Tensor) -> Tensor:
        return F.layer_norm(rows, self.weight.shape, self.weight, self.bias, self.epsilon)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cross:
    norm: _Norm
    query: Product
    key: Product
    value: Product
    out: Product


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    norm: _Norm
    query_key_value: Product
    out: Product
    cross: _Cross | None
    last_norm: _Norm
    widen: Product
    activation: Callable[[Tensor], Tensor]
    narrow: Product


class ColumnDecoder:
    """The weights of a loaded decoder, laid out to be run on a few rows at a time.

    Args:
        model: A loaded causal language model of either class; its layers are taken out of
            it one by one, so that the weights are never held twice.
        device: Where it shall run.
        dtype: Of its weights.
    """

    def __init__(self, model: Any, *, device: torch.device, dtype: torch.dtype) -> None:
        def moved(tensor: Tensor) -> Tensor:
            # A copy: one tensor of a mapped file keeps all of it in memory.
            return tensor.detach().to(device=device, dtype=dtype, copy=True)

        def norm(module: Any) -> _Norm:
            return _Norm(weight=moved(module.weight), bias=moved(module.bias), epsilon=module.eps)

        def weights(*modules: Any) -> Product:
            parts = [module.weight.detach().to(device=device, dtype=dtype) for module in modules]
            return product(torch.cat(parts))

        def cross(layer: Any) -> _Cross:
            looks = layer.encoder_attn
            return _Cross(
                norm=norm(layer.encoder_attn_layer_norm),
                query=weights(looks.q_proj),
                key=weights(looks.k_proj),
                value=weights(looks.v_proj),
                out=weights(looks.out_proj),
            )

        def packed(layer: Any) -> _Layer:
            looks = layer.self_attn
            return _Layer(
                norm=norm(layer.self_attn_layer_norm),
                query_key_value=weights(looks.q_proj, looks.k_proj, looks.v_proj),
                out=weights(looks.out_proj),
                cross=cross(layer) if hasattr(layer, "encoder_attn") else None,
                last_norm=norm(layer.final_layer_norm),
                widen=weights(layer.fc1),
                activation=layer.activation_fn,
                narrow=weights(layer.fc2),
            )

        config, body = model.config, model.model.decoder
        self.device, self.dtype = device, dtype
        self.shape = Shape(
            layers=len(body.layers),
            heads=config.num_attention_heads,
            width=config.hidden_size,
            codebooks=config.num_codebooks,
            words=config.vocab_size,
            positions=config.max_position_embeddings,
        )
        self._layers = []
        while len(body.layers):
            self._layers.append(packed(body.layers.pop(0)))
        self._codes = moved(torch.cat([table.weight for table in body.embed_tokens]))
        self._first = (config.vocab_size + 1) * torch.arange(config.num_codebooks, device=device)
        self._positions = moved(body.embed_positions.weights)
        self._norm = norm(body.layer_norm)
        self._heads = weights(*model.lm_heads)

    @property
    def has_cross_attention(self) -> bool:
        """Whether the words of a condition are looked at, and do not stand before the codes."""
        return self._layers[0].cross is not None

    def embedded(self, codes: Tensor) -> Tensor:
        """Turn columns of codes, shape (n, codebooks), into rows, shape (n, width)."""
        return F.embedding(codes + self._first, self._codes).sum(dim=1)

    def words(self, states: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Say for every layer how the words of a condition are looked at.

        Args:
            states: Shape (words, width).

        Returns:
            Keys and values, each of shape (heads, words, size of a head); of a decoder
            without cross attention none.
        """
        found = []
        for layer in self._layers:
            if layer.cross is not None:
                pair = (layer.cross.key(states), layer.cross.value(states))
                keys, values = (self._split(x).transpose(0, 1).contiguous() for x in pair)
                found.append((keys, values))
        return found

    def hidden(self, rows: Tensor, positions: Tensor, attention: Attention) -> Tensor:
        """Run all layers.

        Args:
            rows: Shape (n, width).
            positions: Of each row in its sequence, shape (n,).
            attention: How they look around.

        Returns:
            Shape (n, width).
        """
        rows = rows + self._positions.index_select(0, positions)
        for number, layer in enumerate(self._layers):
            query, key, value = layer.query_key_value(layer.norm(rows)).chunk(3, dim=-1)
            seen = attention.columns(
                number, self._split(query), self._split(key), self._split(value)
            )
            rows = rows + layer.out(seen.reshape(rows.shape))
            if layer.cross is not None:
                query = layer.cross.query(layer.cross.norm(rows))
                seen = attention.words(number, self._split(query))
                rows = rows + layer.cross.out(seen.reshape(rows.shape))
            wide = layer.activation(layer.widen(layer.last_norm(rows)))
            rows = rows + layer.narrow(wide)
        return rows

    def logits(self, rows: Tensor) -> Tensor:
        """Say how likely each code is next, shape (n, codebooks, words)."""
        return self._heads(self._norm(rows)).reshape(len(rows), self.shape.codebooks, -1)

    def _split(self, rows: Tensor) -> Tensor:
        return rows.reshape(len(rows), self.shape.heads, -1)
