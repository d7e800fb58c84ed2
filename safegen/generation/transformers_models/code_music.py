"""What does a generator do that draws codes of music, whatever it is told them by?

MusicGen and MusicGen Melody differ in how a request becomes what the decoder is told
(``Conditions``); all else is here: refuse, tell, draw, decode, end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch
from torch import Tensor

from safegen.audio import Audio
from safegen.errors import InputError
from safegen.generation.base import Generation, ModelFacts, Request
from safegen.generation.model_card import ModelCard
from safegen.generation.public_families import settings
from safegen.generation.requests import check
from safegen.generation.stages import dice, ended
from safegen.generation.transformers_models.column_decoder import ColumnDecoder
from safegen.generation.transformers_models.delay_pattern import (
    delays_of,
    frames_in,
    laid_out,
)
from safegen.generation.transformers_models.encodec_sound import EncodecSound
from safegen.generation.transformers_models.stepping import Clip, Drawing, Steps, Told

GUIDANCE: Final = 3.0
TEMPERATURE: Final = 1.0
TOP_K: Final = 250
"""Where a checkpoint says nothing: what its authors used."""
PIECE_SECONDS: Final = 0.5
"""Of sound that a stream waits for before it goes on."""


class Conditions(Protocol):
    """Turns a request into what the decoder is told."""

    def told(self, request: Request) -> tuple[Told, Told]:
        """Say what is wanted, and what is not.

        Raises:
            InputError: If a text is too long.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a checkpoint says about how it is drawn.

    Attributes:
        drawing: How codes are drawn.
        start: Token where no code stands.
    """

    drawing: Drawing
    start: int


class CodeMusic:
    """A MusicGen of either family.

    Args:
        card: What is reported about it.
        decoder: Laid out.
        sound: Its codec.
        conditions: How it is told what is wanted.
        settings: How it is drawn.
    """

    def __init__(
        self,
        card: ModelCard,
        *,
        decoder: ColumnDecoder,
        sound: EncodecSound,
        conditions: Conditions,
        settings: Settings,
    ) -> None:
        self.card = card
        self.decoder, self.sound, self.conditions = decoder, sound, conditions
        self.settings = settings
        self.fixed_shapes = decoder.device.type == "cuda"
        self.delays = delays_of(decoder.shape.codebooks, sound.channels)

    @property
    def facts(self) -> ModelFacts:
        """What the record says about the model."""
        return self.card.facts

    def generate(
        self, request: Request, *, progress: Callable[[float], None] | None = None
    ) -> Generation:
        """Make one item; see ``safegen.generation.base.Generator``.

        Raises:
            InputError: If the request is outside what the card allows.
        """
        return self.generate_batch([request], progress=progress)[0]

    def generate_batch(
        self, requests: Sequence[Request], *, progress: Callable[[float], None] | None = None
    ) -> list[Generation]:
        """Make items together; see ``safegen.generation.base.BatchGenerator``.

        On a CPU each has the bits it has alone; a GPU takes other sums for other batches.

        Raises:
            InputError: If one is outside what the card allows; none is made.
        """
        for request in requests:
            check(request, self.card)
        with torch.inference_mode():
            steps = self._steps(requests)
            for done in steps.run():
                if progress is not None:
                    progress(done / steps.length)
            return [self._made(request, steps, number) for number, request in enumerate(requests)]

    def stream(
        self, request: Request, *, progress: Callable[[float], None] | None = None
    ) -> Iterator[Generation]:
        """Make one item piece by piece; see ``safegen.generation.base.StreamingGenerator``.

        The pieces are what ``generate`` gives, to the rounding of its decoder.

        Raises:
            InputError: If the request is outside what the card allows.
        """
        check(request, self.card)
        return self._streamed(request, progress)

    def _streamed(
        self, request: Request, progress: Callable[[float], None] | None
    ) -> Iterator[Generation]:
        with torch.inference_mode():
            steps, growing = self._steps([request]), _Growing(self, request)
        run = steps.run()
        while not growing.is_ended:
            with torch.inference_mode():  # and not while a caller holds a piece
                done = next(run)
                piece = growing.piece(steps)
            if progress is not None:
                progress(done / steps.length)
            if piece is not None:
                yield piece

    def _steps(self, requests: Sequence[Request]) -> Steps:
        """Tell the decoder everything, and run what is known."""
        return Steps(
            self.decoder,
            [self._clip(request) for request in requests],
            drawing=self.settings.drawing,
            fixed_shapes=self.fixed_shapes,
        )

    def _clip(self, request: Request) -> Clip:
        frames = self.sound.frames(request.seconds)
        beginning = torch.zeros((len(self.delays), 0), dtype=torch.int64)
        if request.continue_from is not None:
            beginning = self.sound.encode(request.continue_from)[:, : frames - 1]
        columns = laid_out(beginning, frames=frames, delays=self.delays, start=self.settings.start)
        told: tuple[Told, ...] = self.conditions.told(request)
        if self.settings.drawing.guidance <= 1:
            told = told[:1]
        self._check_positions(max(len(one.prefix) for one in told) + columns.shape[1] - 1)
        size = (columns.shape[1] - 1, len(self.delays))
        return Clip(
            told=tuple(self._moved(one) for one in told),
            columns=columns,
            given=beginning.shape[1] + 1,
            luck=torch.rand(size, generator=dice(request.seed, "codes")),
        )

    def _check_positions(self, needed: int) -> None:
        if needed > self.decoder.shape.positions:
            raise InputError(
                f"text and sound take {needed} positions, {self.card.name} has "
                f"{self.decoder.shape.positions}",
                remedy="Ask for fewer seconds, or say it in fewer words.",
            )

    def _moved(self, told: Told) -> Told:
        device, dtype = self.decoder.device, self.decoder.dtype
        return Told(prefix=told.prefix.to(device, dtype), states=told.states.to(device, dtype))

    def _made(self, request: Request, steps: Steps, number: int) -> Generation:
        codes = frames_in(
            steps.columns(number), delays=self.delays, frames=self.sound.frames(request.seconds)
        )
        audio = ended(self.sound.decode(codes), self.sound.samples(request.seconds))
        return generation(audio, codes)


class _Growing:
    """A clip while it is streamed.

    Args:
        music: That makes it.
        request: What is wanted.
    """

    def __init__(self, music: CodeMusic, request: Request) -> None:
        self._delays = music.delays
        self._pieces = music.sound.pieces()
        self._frames = music.sound.frames(request.seconds)
        self._every = music.sound.frames(PIECE_SECONDS)
        self._samples_left = music.sound.samples(request.seconds)
        self._told = 0
        self.is_ended = False

    def piece(self, steps: Steps) -> Generation | None:
        """Give what has become certain, if it is enough for a piece."""
        whole = steps.known(0) - 1 - int(self._delays.max())
        self.is_ended = whole == self._frames
        if not self.is_ended and whole < self._told + self._every:
            return None
        codes = frames_in(steps.columns(0), delays=self._delays, frames=whole)
        audio = self._pieces.audio(codes, is_end=self.is_ended)
        if audio is None:
            return None
        if self.is_ended:
            audio = ended(audio, self._samples_left)
        self._samples_left -= audio.waveform.shape[1]
        codes, self._told = codes[:, self._told :], whole
        return generation(audio, codes)


def generation(audio: Audio, codes: Tensor) -> Generation:
    """Say what was made; these models write no plan."""
    return Generation(
        audio=audio,
        plan_json="",
        plan_tokens=np.zeros(0, dtype=np.int64),
        codes=codes.cpu().numpy(),
    )


def settings_of(model: Any, folder: Path) -> Settings:
    """Read how a checkpoint is drawn; where it says nothing, as its authors did.

    Raises:
        InputError: If a number is missing that has no default, or is of no use.
    """
    path = folder / "generation_config.json"
    told = settings(path) if path.is_file() else {}
    config = model.decoder.config

    def number(name: str, default: float) -> float:
        value = told.get(name)
        return default if value is None else float(value)

    try:
        found = Settings(
            drawing=Drawing(
                guidance=number("guidance_scale", GUIDANCE),
                temperature=number("temperature", TEMPERATURE),
                top_k=int(number("top_k", TOP_K)),
                greedy=told.get("do_sample") is False,
            ),
            start=int(number("decoder_start_token_id", number("bos_token_id", config.vocab_size))),
        )
    except (TypeError, ValueError) as error:
        raise _unusable(path, str(error)) from error
    drawing = found.drawing
    if not (drawing.temperature > 0 and drawing.top_k >= 0 and np.isfinite(drawing.guidance)):
        raise _unusable(path, f"{drawing}")
    if not 0 <= found.start <= config.vocab_size:
        raise _unusable(path, f"start token {found.start} of {config.vocab_size} words")
    return found


def _unusable(path: Path, reason: str) -> InputError:
    return InputError(
        f"{path}: says nothing usable about how codes are drawn ({reason})",
        remedy="Fetch the checkpoint again with `safegen models pull OWNER/NAME`.",
    )
