"""How are the codes of some clips drawn, column by column?

``generate`` of the library draws from the global luck, cannot tell what it has so far, and
gives a clip other codes in a batch than alone. Here each clip brings its own luck, drawn
before the first step, and can be read while it grows; nothing waits for a GPU in between.

Two sequences of a clip are guided against each other: one that is told what is wanted, and
one that is told nothing, or what is not wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from safegen.generation.transformers_models.column_attention import (
    Cache,
    Masked,
    Prefill,
    Slices,
)
from safegen.generation.transformers_models.column_decoder import ColumnDecoder

_WARM_UP_STEPS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What one sequence is told.

    Attributes:
        prefix: Rows that stand before the codes, shape (n, width); n may be 0.
        states: Words for cross attention, shape (words, width); none says nothing.
    """

    prefix: Tensor
    states: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A clip to be drawn.

    Attributes:
        told: Of its sequences: the one that is wanted, then the one that is not; one alone
            is not guided.
        columns: ``delay_pattern.laid_out``.
        given: Number of first columns that are known in every codebook, >= 1.
        luck: Uniform in [0, 1), shape (columns - 1, codebooks), float32: for the column after.
    """

    told: tuple[Told, ...]
    columns: Tensor
    given: int
    luck: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """How codes are drawn.

    Attributes:
        guidance: How far to go from the unwanted to the wanted; 1 is the wanted itself.
        temperature: > 0.
        top_k: Only the likeliest so many are drawn; 0 for all.
        greedy: Take the likeliest.
    """

    guidance: float
    temperature: float
    top_k: int
    greedy: bool = False


class Steps:
    """Clips that grow together; all have as many sequences.

    Args:
        decoder: Laid out.
        clips: At least one.
        drawing: How codes are drawn.
        fixed_shapes: Steps of one shape, as graphs need it; else of what is needed.
    """

    def __init__(
        self,
        decoder: ColumnDecoder,
        clips: Sequence[Clip],
        *,
        drawing: Drawing,
        fixed_shapes: bool,
    ) -> None:
        self._decoder, self._drawing = decoder, drawing
        # The longest first: those that still grow are then always the first ones.
        counts = [clip.columns.shape[1] - clip.given for clip in clips]
        self._order = sorted(range(len(clips)), key=lambda number: -counts[number])
        self._clips = [clips[number] for number in self._order]
        self._left = [counts[number] for number in self._order]
        self._sequences = len(clips[0].told)
        self._at = torch.zeros(1, dtype=torch.int64, device=decoder.device)
        self._done = 0
        self._lay_out()
        self._begin(fixed_shapes=fixed_shapes)

    def run(self) -> Iterator[int]:
        """Draw; after each column tell how many of ``length`` are done."""
        step = self._step if isinstance(self._attention, Slices) else self._recorded()
        for number in range(self.length):
            step()
            self._done = number + 1
            yield self._done

    @property
    def length(self) -> int:
        """Number of columns that are drawn for the longest clip."""
        return self._left[0]

    def known(self, number: int) -> int:
        """Tell how many columns of a clip there are so far."""
        place = self._order.index(number)
        return self._clips[place].given + min(self._done, self._left[place])

    def columns(self, number: int) -> Tensor:
        """Give the columns of a clip so far, shape (codebooks, columns)."""
        place = self._order.index(number)
        clip, length = self._clips[place], min(self._done, self._left[place])
        drawn = self._codes[place, :, 1 : length + 1]
        return torch.cat([clip.columns[:, : clip.given].to(drawn.device), drawn], dim=1)

    def _lay_out(self) -> None:
        """Line all clips up at the first column that is drawn."""
        size = (len(self._clips), self._decoder.shape.codebooks, self.length + 1)
        known, luck = torch.zeros(size, dtype=torch.int64), torch.zeros(size)
        for place, (clip, left) in enumerate(zip(self._clips, self._left, strict=True)):
            known[place, :, : left + 1] = clip.columns[:, clip.given - 1 :]
            luck[place, :, :left] = clip.luck[clip.given - 1 :].T
        device = self._decoder.device
        self._known, self._luck = known.to(device), luck.to(device)
        self._codes = self._known.clone()

    def _begin(self, *, fixed_shapes: bool) -> None:
        """Run what is known of every sequence, so that all stand at one column."""
        told = [(clip, one) for clip in self._clips for one in clip.told]
        lengths = [len(one.prefix) + clip.given - 1 for clip, one in told]
        first = max(lengths)
        starts = [first - length for length in lengths]
        decoder = self._decoder
        cache = Cache(decoder, rows=len(told), columns=first + self.length)
        words = [decoder.words(one.states) if len(one.states) else [] for _, one in told]
        for row, (clip, one) in enumerate(told):
            codes = clip.columns[:, : clip.given - 1].T.to(decoder.device)
            rows = torch.cat([one.prefix, decoder.embedded(codes)])
            if len(rows):
                decoder.hidden(
                    rows,
                    torch.arange(len(rows), device=decoder.device),
                    Prefill(cache, row=row, start=starts[row], words=words[row]),
                )
        self._first = first
        self._offsets = first - torch.tensor(starts, device=decoder.device)
        self._column = self._at + first
        self._attention: Slices | Masked = (
            Masked(cache, starts=starts, words=words, at=self._column)
            if fixed_shapes
            else Slices(cache, starts=starts, words=words)
        )

    def _step(self) -> None:
        """Draw one column of every clip that still grows."""
        if isinstance(self._attention, Slices):
            self._attention.at = self._first + self._done
            growing = sum(left > self._done for left in self._left)
        else:
            growing = len(self._clips)
        codes = self._codes[:growing].index_select(2, self._at)[..., 0]
        rows = self._decoder.embedded(codes).repeat_interleave(self._sequences, dim=0)
        positions = self._offsets[: len(rows)] + self._at
        rows = self._decoder.hidden(rows, positions, self._attention)
        logits = self._decoder.logits(rows).float()
        logits = logits.reshape(growing, self._sequences, *logits.shape[1:])
        luck = self._luck[:growing].index_select(2, self._at)[..., 0]
        drawn = _drawn(_guided(logits, self._drawing), luck, self._drawing)
        self._at += 1
        self._column += 1
        known = self._known[:growing].index_select(2, self._at)
        self._codes[:growing].index_copy_(2, self._at, drawn[..., None].where(known < 0, known))

    def _recorded(self) -> Callable[[], None]:
        """Record a step as a CUDA graph, which the GPU repeats without being told how."""
        if self._decoder.device.type != "cuda":
            return self._step
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(min(_WARM_UP_STEPS, self.length)):
                self._step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._step()
        self._at.zero_()
        self._column.fill_(self._first)
        return graph.replay


def _guided(logits: Tensor, drawing: Drawing) -> Tensor:
    """Go from what is not wanted to what is: (clips, sequences, ...) becomes (clips, ...)."""
    if logits.shape[1] == 1:
        return logits[:, 0]
    return logits[:, 1] + drawing.guidance * (logits[:, 0] - logits[:, 1])


def _drawn(logits: Tensor, luck: Tensor, drawing: Drawing) -> Tensor:
    """Draw a code for each codebook by the inverse of its distribution.

    In float64, so that the luck, below 1 in float32, stays below the end of the sum.
    """
    if drawing.greedy:
        return logits.argmax(dim=-1)
    logits = logits / drawing.temperature
    if 0 < drawing.top_k < logits.shape[-1]:
        least = logits.topk(drawing.top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    reached = logits.double().softmax(dim=-1).cumsum(dim=-1)
    aim = luck.double()[..., None] * reached[..., -1:]
    return torch.searchsorted(reached, aim, right=True)[..., 0]
