"""How does a row give its sound piece by piece?

Rows that draw tokens in order give every frame to ``PieceMaker`` as it is drawn. Rows that
make many frames at once make the sound in *segments*: a short one, so that the first
seconds come soon, then longer ones, each knowing the last two seconds before it.

A stream has bits of its own, the same ones for the same request, and they do not depend
on how much of it is read: segments are drawn one after the other, and the codec's decoder
and the search for the phase go along as in ``codec_stream``. Peaks are turned
down where they are, because how loud the loudest one will be is not known yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from safegen.audio import Waveform
from safegen.generation.base import Generation, Pieces
from safegen.generation.codec import FRAME_RATE, SAMPLE_RATE, Codec
from safegen.generation.codec_stream import LatentStream, audio_of
from safegen.generation.samplers import Given
from safegen.generation.stages import faded

BLOCK_FRAMES: Final = 24
"""Frames that are decoded together: 0.96 s."""
FIRST_FRAMES: Final = 96
"""Of the first segment: they give the seconds that a gate holds back, and a first chunk."""
SHORTEST_SECONDS: Final = 0.5
"""No piece but the last is shorter, or a player would wait for the second one."""
CONTEXT_FRAMES: Final = 48
SECOND_FRAMES: Final = 72
"""New frames of the second segment, which must come before the first chunk is played."""
NEXT_FRAMES: Final = 144
"""New frames of the other segments; with their context as long as excerpts of training.

All of them are multiples of four, which the cascade's U-Net needs.
"""


def frames_of(seconds: float) -> int:
    """Count the codec frames that cover a length."""
    return max(1, int(np.ceil(seconds * FRAME_RATE)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Frames that are made together.

    Attributes:
        start: First frame that it knows of.
        first: First new frame.
        end: The frame after its last one.
    """

    start: int
    first: int
    end: int

    @property
    def known(self) -> int:
        """How many of its frames are known."""
        return self.first - self.start

    @property
    def new(self) -> int:
        """How many are not."""
        return self.end - self.first

    def given(self, before: Tensor, *, every: int = 1) -> Given:
        """Keep the end of the latents before, and leave the new ones open.

        Args:
            before: Shape (t, latent), up to the first new one.
            every: Frames that one latent stands for.
        """
        known, new = self.known // every, self.new // every
        latents = F.pad(before[len(before) - known :], (0, 0, 0, new))
        return Given(latents=latents, keep=torch.arange(known + new) < known, strength=1.0)


def segments(frames: int, *, first: int = 0) -> Iterator[Segment]:
    """Part a sound into what is made together.

    Args:
        frames: Of the whole.
        first: Those before it are known from the beginning.
    """
    lengths = chain((max(BLOCK_FRAMES, FIRST_FRAMES - first), SECOND_FRAMES), repeat(NEXT_FRAMES))
    for wanted in lengths:
        if first >= frames:
            return
        end = min(first + wanted, frames)
        yield Segment(start=max(0, first - CONTEXT_FRAMES), first=first, end=end)
        first = end


class PieceMaker:
    """Turns latents and codes that become known into pieces of one generation.

    Args:
        codec: The codec.
        seconds: Length of the whole.
        plan_json: Of the whole; goes with the first piece.
        plan_tokens: Likewise.
        progress: Called with the share of frames that are known.
    """

    def __init__(
        self,
        codec: Codec,
        *,
        seconds: float,
        plan_json: str,
        plan_tokens: tuple[int, ...],
        progress: Callable[[float], None] | None,
    ) -> None:
        self._codec = codec
        self._progress = progress
        self._fed, self._frames = 0, frames_of(seconds)
        self._samples = round(seconds * SAMPLE_RATE)
        self._sound = LatentStream(codec, samples=self._samples)
        self._given = 0
        self._ready: list[Waveform] = []
        self._plan = (plan_json, np.array(plan_tokens, dtype=np.int64))
        self._z = torch.zeros(0, codec.config.latent)
        self._codes = torch.zeros((codec.config.codebooks, 0), dtype=torch.int64)

    def feed(self, z: Tensor, codes: Tensor) -> Pieces:
        """Take the next latents, shape (t, latent), and their codes, shape (codebooks, t).

        Frames are decoded in blocks of ``BLOCK_FRAMES``, however many come at once.
        """
        self._z = torch.cat([self._z, z])
        self._codes = torch.cat([self._codes, codes], dim=1)
        while len(self._z) >= BLOCK_FRAMES:
            block, self._z = self._z[:BLOCK_FRAMES], self._z[BLOCK_FRAMES:]
            # Codes go with the sound that is made of them, later blocks' with theirs.
            self._ready.append(self._sound.feed(block))
            if sum(map(len, self._ready)) >= SHORTEST_SECONDS * SAMPLE_RATE:
                yield self._piece()
        self._fed += len(z)
        if self._progress is not None:
            self._progress(self._fed / self._frames)

    def of_codes(self, parts: Iterable[Tensor]) -> Pieces:
        """Take all codes, shape (codebooks, n) each; the latents are the codebooks' entries."""
        for codes in parts:
            yield from self.feed(self._codec.quantizer.decode(codes.T), codes)
        yield from self.finish()

    def finish(self) -> Pieces:
        """Give what is left."""
        if len(self._z):
            self._ready.append(self._sound.feed(self._z))
            self._z = self._z[:0]
        self._ready.append(self._sound.finish())
        if sum(map(len, self._ready)):
            yield self._piece()

    def _piece(self) -> Generation:
        waveform = np.concatenate(self._ready)
        self._ready.clear()
        decoded = self._codes.shape[1] - len(self._z)
        codes, self._codes = self._codes[:, :decoded], self._codes[:, decoded:]
        plan_json, plan_tokens = self._plan
        self._plan = ("", np.zeros(0, dtype=np.int64))
        sound = faded(waveform, at=self._given, samples=self._samples, rate=SAMPLE_RATE)
        self._given += len(waveform)
        return Generation(
            audio=audio_of(sound),
            plan_json=plan_json,
            plan_tokens=plan_tokens,
            codes=np.ascontiguousarray(codes.numpy()),
        )
