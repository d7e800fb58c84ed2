"""How do the rows that draw codec tokens make sound?

* ``MusicTokens`` (music-ar): prompt -> score -> tokens, frame by frame. With a melody
  the score only names the instruments, and the melody's pitch classes lead; with a
  beginning the tokens go on from it. After MusicGen.
* ``SoundTokens`` (sfx-ar, sfx-masked): prompt -> scene -> tokens, frame by frame (after
  AudioGen) or all at once in a few passes (after Diffsound).

Tokens become sound in the codec, as everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from safegen.generation import scenes
from safegen.generation.base import Generation, Pieces, Request
from safegen.generation.cards import WEIGHTS, ModelCard
from safegen.generation.codec import SAMPLE_RATE, Codec
from safegen.generation.compose import Plan, to_json, to_tokens
from safegen.generation.melody import chroma_of
from safegen.generation.parts import codec_of, planner_of, tokens_of
from safegen.generation.planner import Planner
from safegen.generation.requests import check
from safegen.generation.rolls import roll
from safegen.generation.rows import PlannedRow, Row, frozen
from safegen.generation.scene_reader import SceneReader, load_scene_reader
from safegen.generation.stages import dice, ended, one_thread, stepwise
from safegen.generation.streams import PieceMaker, frames_of
from safegen.generation.token_samplers import (
    DrawSettings,
    FillSettings,
    draw_frames,
    sample_autoregressive,
    sample_masked,
)
from safegen.generation.token_streams import fill_segments
from safegen.generation.tokens import FrameConditions, TokenModel

SFX_AR: Final = DrawSettings()
SFX_MASKED: Final = FillSettings()


class MusicTokens(PlannedRow):
    """Text to music, one codec frame after the other.

    Args:
        card: What is reported about it.
        codec: Trained.
        planner: Trained, with its text encoder.
        model: Trained on tokens of the same codec.
        settings: How tokens are drawn.
    """

    def __init__(
        self,
        card: ModelCard,
        *,
        codec: Codec,
        planner: Planner,
        model: TokenModel,
        settings: DrawSettings | None = None,
    ) -> None:
        super().__init__(card, codec=codec, planner=planner)
        self.model = frozen(model)
        self.settings = settings or DrawSettings()

    def generate(
        self, request: Request, *, progress: Callable[[float], None] | None = None
    ) -> Generation:
        """Make one item; see ``safegen.generation.base.Generator``.

        A continuation keeps its beginning, as the codec hears it.

        Raises:
            InputError: If the request is outside what the card allows.
        """
        check(request, self.card)
        frames = frames_of(request.seconds)
        plan = self.plan(request)
        with one_thread():
            codes = sample_autoregressive(
                self.model,
                self._conditions(plan, request, frames=frames),
                dice(request.seed, "tokens"),
                settings=self.settings,
                unwanted=self._unwanted(request, frames=frames),
                prefix=_codes_of(self.codec, request),
                progress=progress,
            )
            return finished(
                self.codec,
                codes,
                seconds=request.seconds,
                plan_json=to_json(plan),
                plan_tokens=to_tokens(plan),
            )

    def stream(
        self, request: Request, *, progress: Callable[[float], None] | None = None
    ) -> Pieces:
        """Make one item piece by piece; see ``base.StreamingGenerator``.

        The tokens are those of ``generate`` but for rare ties.

        Raises:
            InputError: As ``generate``.
        """
        check(request, self.card)
        return stepwise(self._pieces(request, progress))

    def _pieces(self, request: Request, progress: Callable[[float], None] | None) -> Pieces:
        frames = frames_of(request.seconds)
        plan = self._plan(request, quick=True)
        drawn = draw_frames(
            self.model,
            self._conditions(plan, request, frames=frames),
            dice(request.seed, "tokens"),
            settings=self.settings,
            unwanted=self._unwanted(request, frames=frames),
            prefix=_codes_of(self.codec, request),
            quick=True,
        )
        pieces = PieceMaker(
            self.codec,
            seconds=request.seconds,
            plan_json=to_json(plan),
            plan_tokens=to_tokens(plan),
            progress=progress,
        )
        yield from pieces.of_codes(drawn)

    def _conditions(self, plan: Plan, request: Request, *, frames: int) -> FrameConditions:
        melody = None
        if request.melody is not None:
            led = torch.from_numpy(chroma_of(request.melody))[:frames]
            melody = torch.zeros(frames, led.shape[1])
            melody[: len(led)] = led
        # The score knows neither a given melody nor where the bars of a given beginning fall.
        free = request.melody is None and request.continue_from is None
        return FrameConditions.of(
            frames,
            roll=torch.from_numpy(roll(plan, frames=frames)),
            notes=free,
            rhythm=free,
            chroma=melody,
            text=self._pooled(request.prompt),
        )

    def _unwanted(self, request: Request, *, frames: int) -> FrameConditions | None:
        if not request.negative_prompt:
            return None
        return FrameConditions.of(frames, text=self._pooled(request.negative_prompt))


class SoundTokens(Row):
    """Text to sound effects, frame by frame or in a few passes.

    Args:
        card: What is reported about it.
        codec: Trained.
        reader: Finds in a prompt the sounds it names.
        model: Trained on tokens of the same codec.
        settings: ``DrawSettings`` for frame by frame, ``FillSettings`` for passes.
    """

    def __init__(
        self,
        card: ModelCard,
        *,
        codec: Codec,
        reader: SceneReader,
        model: TokenModel,
        settings: DrawSettings | FillSettings,
    ) -> None:
        super().__init__(card, codec=codec)
        self.reader = frozen(reader)
        self.model = frozen(model)
        self.settings = settings

    def generate(
        self, request: Request, *, progress: Callable[[float], None] | None = None
    ) -> Generation:
        """Make one item; see ``safegen.generation.base.Generator``.

        Raises:
            InputError: If the request is outside what the card allows, or the prompt
                names no sound the model knows.
        """
        check(request, self.card)
        with one_thread():
            scene = self._scene(request)
            conditions = self._conditions(scene, request)
            luck = dice(request.seed, "tokens")
            if isinstance(self.settings, FillSettings):
                codes = sample_masked(
                    self.model, conditions, luck, settings=self.settings, progress=progress
                )
            else:
                codes = sample_autoregressive(
                    self.model, conditions, luck, settings=self.settings, progress=progress
                )
            return finished(
                self.codec,
                codes,
                seconds=request.seconds,
                plan_json=scenes.to_json(scene),
                plan_tokens=scenes.to_tokens(scene),
            )

    def stream(
        self, request: Request, *, progress: Callable[[float], None] | None = None
    ) -> Pieces:
        """Make one item piece by piece; see ``base.StreamingGenerator``.

        The tokens of sfx-ar are those of ``generate`` but for rare ties; sfx-masked fills
        one segment after the other.

        Raises:
            InputError: As ``generate``.
        """
        check(request, self.card)
        with one_thread():
            scene = self._scene(request)
        return stepwise(self._pieces(scene, request, progress))

    def _pieces(
        self, scene: scenes.Scene, request: Request, progress: Callable[[float], None] | None
    ) -> Pieces:
        conditions = self._conditions(scene, request)
        luck = dice(request.seed, "tokens")
        drawn = (
            fill_segments(self.model, conditions, luck, settings=self.settings)
            if isinstance(self.settings, FillSettings)
            else draw_frames(self.model, conditions, luck, settings=self.settings, quick=True)
        )
        pieces = PieceMaker(
            self.codec,
            seconds=request.seconds,
            plan_json=scenes.to_json(scene),
            plan_tokens=scenes.to_tokens(scene),
            progress=progress,
        )
        yield from pieces.of_codes(drawn)

    def _scene(self, request: Request) -> scenes.Scene:
        luck = dice(request.seed, "scene")
        return self.reader.read(request.prompt, luck, seconds=request.seconds)

    def _conditions(self, scene: scenes.Scene, request: Request) -> FrameConditions:
        frames = frames_of(request.seconds)
        return FrameConditions.of(
            frames,
            scene=torch.from_numpy(scenes.scene_roll(scene, frames=frames)),
            text_width=self.model.config.text_width,
        )


def load_music_tokens(found: ModelCard, *, folder: Path = WEIGHTS) -> MusicTokens:
    """Build music-ar from a folder of weights.

    Raises:
        IntegrityError: If a weight file is not the one the card names.
    """
    codec = codec_of(found, folder=folder)
    return MusicTokens(
        found,
        codec=codec,
        planner=planner_of(found, folder=folder),
        model=tokens_of(found, codec, folder=folder),
    )


def load_sound_tokens(
    found: ModelCard, *, settings: DrawSettings | FillSettings, folder: Path = WEIGHTS
) -> SoundTokens:
    """Build sfx-ar or sfx-masked from a folder of weights; the settings say which.

    Raises:
        IntegrityError: If a weight file is not the one the card names.
    """
    codec = codec_of(found, folder=folder)
    return SoundTokens(
        found,
        codec=codec,
        reader=load_scene_reader(found.file("reader"), folder=folder),
        model=tokens_of(found, codec, folder=folder),
        settings=settings,
    )


def finished(
    codec: Codec,
    codes: Tensor,
    *,
    seconds: float,
    plan_json: str,
    plan_tokens: tuple[int, ...],
) -> Generation:
    """Turn codes of shape (codebooks, t) into the sound and its white-box facts."""
    numbers = np.ascontiguousarray(codes.numpy().astype(np.int64))
    audio = codec.decode_codes(numbers.astype(np.int16))
    return Generation(
        audio=ended(audio, round(seconds * SAMPLE_RATE)),
        plan_json=plan_json,
        plan_tokens=np.array(plan_tokens, dtype=np.int64),
        codes=numbers,
    )


def _codes_of(codec: Codec, request: Request) -> Tensor | None:
    """Name the beginning that a request gives; shape (codebooks, p)."""
    if request.continue_from is None:
        return None
    return torch.from_numpy(codec.encode(request.continue_from).astype(np.int64))
