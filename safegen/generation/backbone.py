"""What do the text encoder, the plan model and the flow model have in common?

One transformer with rotary positions. It reads in both directions or only backward
(``causal``), everything or only its neighborhood (``reach``), and may be steered by a
vector that scales and shifts every layer.

Source: rotary positions, Su et al., RoFormer (2021); steering by one shared projection
with a table per layer, Chen et al., PixArt-alpha (2023), section 2.3.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


class Transformer(nn.Module):
    """A stack of attention layers over frames of one width.

    Args:
        width: Channels, divisible by ``2 * heads``.
        layers: How many.
        heads: Of each layer.
        causal: Whether a frame sees only itself and earlier ones.
        reach: How many frames to either side are seen; all if None. A model with a
            reach works at any length, because no distance is new to it.
        steered: Whether ``forward`` takes a steering vector.
        growth: Width of the inner perceptron, in widths.
    """

    def __init__(
        self,
        *,
        width: int,
        layers: int,
        heads: int,
        causal: bool,
        reach: int | None = None,
        steered: bool = False,
        growth: int = 3,
    ) -> None:
        super().__init__()
        self.causal = causal
        self.reach = reach
        self.head_width = width // heads
        self.layers = nn.ModuleList(
            Layer(width=width, heads=heads, growth=growth, steered=steered) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.steering = nn.Linear(width, 6 * width) if steered else None
        if self.steering is not None:
            nn.init.zeros_(self.steering.weight)
            nn.init.zeros_(self.steering.bias)

    def forward(
        self,
        x: Tensor,
        *,
        keys: Tensor | None = None,
        positions: Tensor | None = None,
        steer: Tensor | None = None,
        causal: bool | None = None,
    ) -> Tensor:
        """Transform frames.

        Args:
            x: Shape (b, t, width).
            keys: True where a frame may be attended to, shape (b, t); all if None.
            positions: Of the frames, shape (t,); 0 .. t-1 if None.
            steer: Shape (b, width), for a steered transformer.
            causal: Whether a frame sees only itself and earlier ones; as built if None.

        Returns:
            Shape (b, t, width).
        """
        t = x.shape[1]
        if positions is None:
            positions = torch.arange(t, device=x.device)
        angles = angles_of(positions, self.head_width)
        mask = self._mask(t, keys, x.device, causal=self.causal if causal is None else causal)
        shared = self.shared(steer)
        for layer in self.layers:
            x = layer(x, angles=angles, mask=mask, shared=shared)
        out: Tensor = self.norm(x)
        return out

    def stepper(self, *, rows: int, longest: int, steer: Tensor | None = None) -> Stepper:
        """Prepare to transform frames one at a time, each seeing only earlier ones.

        Args:
            rows: Sequences side by side.
            longest: Most frames that will come.
            steer: Shape (rows, width), for a steered transformer.
        """
        return Stepper(self, rows=rows, longest=longest, shared=self.shared(steer))

    def shared(self, steer: Tensor | None) -> Tensor | None:
        """Turn a steering vector into what all layers share, shape (b, 1, 6, width)."""
        if self.steering is None or steer is None:
            return None
        return self.steering(F.silu(steer)).reshape(len(steer), 1, 6, -1)  # type: ignore[no-any-return]

    def _mask(
        self, t: int, keys: Tensor | None, device: torch.device, *, causal: bool
    ) -> Tensor | None:
        """Say who sees whom; shape (1 or b, 1, t, t), or None if all see all."""
        mask: Tensor | None = None
        steps = torch.arange(t, device=device)
        distance = steps[:, None] - steps[None]
        if causal:
            mask = (distance >= 0)[None, None]
        if self.reach is not None and t > self.reach + 1:
            near = (distance.abs() <= self.reach)[None, None]
            mask = near if mask is None else mask & near
        if keys is not None:
            seen = keys[:, None, None, :]
            mask = seen if mask is None else mask & seen
        return mask


class Layer(nn.Module):
    """Attention, then a perceptron; both residual, normalized first, optionally steered."""

    def __init__(self, *, width: int, heads: int, growth: int, steered: bool) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(width, elementwise_affine=not steered)
        self.project = nn.Linear(width, 3 * width)
        self.merge = nn.Linear(width, width)
        self.norm_perceptron = nn.LayerNorm(width, elementwise_affine=not steered)
        self.up = nn.Linear(width, growth * width)
        self.down = nn.Linear(growth * width, width)
        self.table = nn.Parameter(_steering_table(width)) if steered else None

    def forward(
        self, x: Tensor, *, angles: Tensor, mask: Tensor | None, shared: Tensor | None
    ) -> Tensor:
        """Transform frames of shape (b, t, width)."""
        if self.table is None or shared is None:
            x = x + self._attend(self.norm_attention(x), angles, mask)
            return x + self._think(self.norm_perceptron(x))
        s1, b1, g1, s2, b2, g2 = (shared + self.table).unbind(dim=2)
        y = self.norm_attention(x) * (1 + s1) + b1
        x = x + g1 * self._attend(y, angles, mask)
        y = self.norm_perceptron(x) * (1 + s2) + b2
        return x + g2 * self._think(y)

    def step(
        self, x: Tensor, *, turn: Tensor, cache: Tensor, first: int, now: int, steer: _Steer | None
    ) -> Tensor:
        """Transform one frame of each row, shape (b, width), and remember it in the cache.

        Args:
            x: The frame.
            turn: Cosine and sine of its position, shape (2, head width / 2).
            cache: Keys and values, shape (2, b, heads, longest, head width).
            first: First frame that may be seen.
            now: Place of this frame.
            steer: Scales, shifts and gates, None for a plain layer.
        """
        y = self.norm_attention(x)
        if steer is not None:
            y = y * steer.scale_attention + steer.shift_attention
        q, k, v = self.project(y).reshape(len(x), 3, self.heads, -1).unbind(dim=1)
        cache[0, :, :, now] = _turn(k, turn)
        cache[1, :, :, now] = v
        seen = cache[:, :, :, first : now + 1]
        y = F.scaled_dot_product_attention(_turn(q, turn)[:, :, None], seen[0], seen[1])
        y = self.merge(y.reshape(len(x), -1))
        x = x + (y if steer is None else steer.gate_attention * y)
        y = self.norm_perceptron(x)
        if steer is not None:
            y = y * steer.scale_perceptron + steer.shift_perceptron
        y = self._think(y)
        return x + (y if steer is None else steer.gate_perceptron * y)

    def steered(self, shared: Tensor | None) -> _Steer | None:
        """Split the steering of this layer, computed once for all frames."""
        if self.table is None or shared is None:
            return None
        s1, b1, g1, s2, b2, g2 = (shared + self.table)[:, 0].unbind(dim=1)
        return _Steer(
            scale_attention=1 + s1,
            shift_attention=b1,
            gate_attention=g1,
            scale_perceptron=1 + s2,
            shift_perceptron=b2,
            gate_perceptron=g2,
        )

    def _think(self, x: Tensor) -> Tensor:
        out: Tensor = self.down(F.gelu(self.up(x)))
        return out

    def _attend(self, x: Tensor, angles: Tensor, mask: Tensor | None) -> Tensor:
        b, t, width = x.shape
        q, k, v = self.project(x).reshape(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k = _rotate(q, angles).to(v.dtype), _rotate(k, angles).to(v.dtype)
        y = _attention(q, k, v, mask)
        out: Tensor = self.merge(y.transpose(1, 2).reshape(b, t, width))
        return out


@dataclass(frozen=True, slots=True, kw_only=True)
class _Steer:
    """What steering does to one layer; each of shape (b, width)."""

    scale_attention: Tensor
    shift_attention: Tensor
    gate_attention: Tensor
    scale_perceptron: Tensor
    shift_perceptron: Tensor
    gate_perceptron: Tensor


class Stepper:
    """A transformer that reads backward only, one frame at a time.

    Keys and values of earlier frames are kept, so a frame costs the same wherever it
    stands; the result equals that of the whole sequence up to rounding.
    """

    def __init__(
        self, transformer: Transformer, *, rows: int, longest: int, shared: Tensor | None
    ) -> None:
        self._reach = longest if transformer.reach is None else transformer.reach
        self._layers = [layer for layer in transformer.layers if isinstance(layer, Layer)]
        self._norm = transformer.norm
        self._steers = [layer.steered(shared) for layer in self._layers]
        width = transformer.head_width
        device = transformer.norm.weight.device
        angles = angles_of(torch.arange(longest, device=device), width)
        self._turns = torch.stack([angles.cos(), angles.sin()], dim=1)
        shape = (2, rows, self._layers[0].heads, longest, width)
        self._caches = [torch.zeros(shape, device=device) for _ in self._layers]
        self._now = 0

    def __call__(self, x: Tensor) -> Tensor:
        """Transform the next frame of each row; shapes (rows, width)."""
        now, first = self._now, max(0, self._now - self._reach)
        for layer, steer, cache in zip(self._layers, self._steers, self._caches, strict=True):
            x = layer.step(x, turn=self._turns[now], cache=cache, first=first, now=now, steer=steer)
        self._now += 1
        out: Tensor = self._norm(x)
        return out


def _turn(x: Tensor, turn: Tensor) -> Tensor:
    """Turn pairs of channels of x, shape (b, heads, width), by one position."""
    first, second = x.chunk(2, dim=-1)
    cos, sin = turn
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)


def _attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Attend; shapes (b, heads, t, head width).

    With gradients the plain form is used: on a CPU, at these lengths, the backward pass
    of the fused kernel takes four times as long. Without them the fused form saves the
    memory of the scores.
    """
    if not torch.is_grad_enabled():
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    out: Tensor = scores.softmax(dim=-1).to(v.dtype) @ v
    return out


def _steering_table(width: int) -> Tensor:
    """Start with plain residual layers: no scale, no shift, gates of one."""
    table = torch.zeros(1, 1, 6, width)
    table[:, :, 2] = 1.0
    table[:, :, 5] = 1.0
    return table


def angles_of(positions: Tensor, width: int) -> Tensor:
    """Rotation angles of shape (t, width / 2)."""
    rates = 10_000.0 ** (-torch.arange(0, width, 2, device=positions.device).float() / width)
    return positions.float()[:, None] * rates[None]


def _rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Turn pairs of channels of x, shape (b, heads, t, width), by the angles."""
    first, second = x.chunk(2, dim=-1)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
