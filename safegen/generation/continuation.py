"""How does a piece go on? Listen, write what follows, play it.

1. listen: the transcriber says what the beginning is, as the attributes of a plan, and
   where its bar stands;
2. semantic: the planner's language model goes on from these attributes and writes chords
   and melody; of a few such plans the one is taken whose notes were most likely heard;
3. coarse: the first codebooks go on from those of the beginning;
4. fine: the other codebooks are filled in;
5. decode: tokens, those of the beginning included, become marked sound.

The beginning is heard again through the codec. A prompt may ask for a change: what it
contradicts of what was heard is drawn from the prompt instead.

After AudioLM: semantic, coarse and fine tokens, from a few seconds of sound.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from safegen.audio import Audio
from safegen.errors import InputError
from safegen.generation import compose
from safegen.generation.base import Generation, Pieces, Request
from safegen.generation.cards import WEIGHTS, ModelCard
from safegen.generation.coarse_fine import StageSettings, coarse_to_fine
from safegen.generation.codec import FRAME_RATE, Codec
from safegen.generation.parts import codec_of, planner_of, tokens_of
from safegen.generation.planner import Planner
from safegen.generation.requests import check
from safegen.generation.rolls import roll
from safegen.generation.rows import PlannedRow, frozen
from safegen.generation.samplers import sample_plan
from safegen.generation.stages import dice, one_thread, stepwise
from safegen.generation.streams import PieceMaker, frames_of
from safegen.generation.text import to_batch
from safegen.generation.token_rows import finished
from safegen.generation.token_streams import coarse_to_fine_segments
from safegen.generation.tokens import FrameConditions, TokenModel
from safegen.generation.transcriber import (
    PHASES,
    PITCH_CLASSES,
    STRIDE,
    Transcriber,
    Transcript,
    frame_targets,
    load_transcriber,
    transcribe,
)

LISTENED_SECONDS: Final = 8.0
"""The end of a long beginning says how to go on; excerpts of training were not longer."""
HEARD_TEMPERATURE: Final = 0.5
CANDIDATES: Final = 4
CONTRADICTED: Final = 0.1
"""A prompt that makes what was heard ten times less likely contradicts it."""


class Continuation(PlannedRow):
    """Sound, and what follows.

    Args:
        card: What is reported about it.
        codec: Trained.
        planner: Trained, with its text encoder.
        transcriber: Trained on latents of the same codec.
        tokens: Trained on tokens of the same codec.
        settings: How tokens are drawn.
    """

    def __init__(
        self,
        card: ModelCard,
        *,
        codec: Codec,
        planner: Planner,
        transcriber: Transcriber,
        tokens: TokenModel,
        settings: StageSettings | None = None,
    ) -> None:
        super().__init__(card, codec=codec, planner=planner)
        self.transcriber = frozen(transcriber)
        self.tokens = frozen(tokens)
        self.settings = settings or StageSettings()

    def generate(
        self, request: Request, *, progress: Callable[[float], None] | None = None
    ) -> Generation:
        """Make one item; see ``safegen.generation.base.Generator``.

        Raises:
            InputError: If there is no sound to continue, or the request is outside what
                the card allows.
        """
        beginning = self._check(request)
        frames = frames_of(request.seconds)
        with one_thread(), torch.inference_mode():
            z = self.codec.latents(beginning)[0][:frames]
            plan, first = self._write(z, request, quick=False)
            prefix = self.codec.quantizer.encode(z).T.contiguous()
            codes = coarse_to_fine(
                self.tokens,
                self._conditions(plan, request, first=first, frames=frames),
                coarse_dice=dice(request.seed, "coarse"),
                fine_dice=dice(request.seed, "fine"),
                settings=self.settings,
                prefix=prefix,
                progress=progress,
            )
            return finished(
                self.codec,
                codes,
                seconds=request.seconds,
                plan_json=compose.to_json(plan),
                plan_tokens=compose.to_tokens(plan),
            )

    def stream(
        self, request: Request, *, progress: Callable[[float], None] | None = None
    ) -> Pieces:
        """Make one item piece by piece; see ``base.StreamingGenerator``.

        The beginning comes as soon as the plan is written. The coarse tokens are those of
        ``generate`` but for rare ties, the fine ones are filled segment by segment.

        Raises:
            InputError: As ``generate``.
        """
        beginning = self._check(request)
        return stepwise(self._pieces(beginning, request, progress))

    def _pieces(
        self, beginning: Audio, request: Request, progress: Callable[[float], None] | None
    ) -> Pieces:
        frames = frames_of(request.seconds)
        z = self.codec.latents(beginning)[0][:frames]
        plan, first = self._write(z, request, quick=True)
        prefix = self.codec.quantizer.encode(z).T.contiguous()
        drawn = coarse_to_fine_segments(
            self.tokens,
            self._conditions(plan, request, first=first, frames=frames),
            coarse_dice=dice(request.seed, "coarse"),
            fine_dice=dice(request.seed, "fine"),
            settings=self.settings,
            prefix=prefix,
        )
        pieces = PieceMaker(
            self.codec,
            seconds=request.seconds,
            plan_json=compose.to_json(plan),
            plan_tokens=compose.to_tokens(plan),
            progress=progress,
        )
        yield from pieces.of_codes(chain([prefix], drawn))

    def plan(self, request: Request) -> compose.Plan:
        """Write the score with which a beginning goes on; no sound is made.

        Raises:
            InputError: As ``generate``.
        """
        beginning = self._check(request)
        with one_thread(), torch.inference_mode():
            plan, _ = self._write(self.codec.latents(beginning)[0], request, quick=False)
        return plan

    def _check(self, request: Request) -> Audio:
        check(request, self.card)
        if request.continue_from is None:
            raise InputError(
                f"{self.card.name} continues a sound and none is given",
                remedy="Name a file of at least a few seconds with --continue.",
            )
        return request.continue_from

    def _write(self, z: Tensor, request: Request, *, quick: bool) -> tuple[compose.Plan, int]:
        """Write the plan of a beginning with latents (frames, latent), and where it starts.

        Returns:
            The plan, and which frame of its roll the beginning's first frame is.
        """
        skipped = max(0, len(z) - round(LISTENED_SECONDS * FRAME_RATE))
        heard = transcribe(
            self.transcriber,
            z[skipped:],
            dice(request.seed, "listen"),
            temperature=HEARD_TEMPERATURE,
        )
        header = self._agreed(heard.header, request)
        semantic = dice(request.seed, "semantic")
        plans = [
            sample_plan(self.planner, request.prompt, semantic, given=header, quick=quick)
            for _ in range(CANDIDATES)
        ]
        # The listened part starts within the first bar; count back to the beginning's start.
        start = round(heard.bar_phase * _bar_frames(plans[0]))
        fits = [_fit(plan, heard, start=start) for plan in plans]
        plan = plans[fits.index(max(fits))]
        return plan, round((start - skipped) % (compose.BARS * _bar_frames(plan)))

    def _agreed(self, header: tuple[int, ...], request: Request) -> tuple[int, ...]:
        """Replace what the prompt contradicts by what it asks for."""
        if not request.prompt.strip():
            return header
        batch = to_batch([request.prompt, ""])
        guesses = self.planner.guess(self.planner.text(batch), batch.mask).double()
        asked, usual = guesses.softmax(dim=-1)
        luck = dice(request.seed, "agree")
        agreed = []
        for place, token in enumerate(header):
            ranks = asked[place].cumsum(dim=0)
            point = torch.rand((), generator=luck, dtype=torch.float64) * ranks[-1]
            contradicted = asked[place, token] < CONTRADICTED * usual[place, token]
            agreed.append(int(torch.searchsorted(ranks, point)) if contradicted else token)
        return tuple(agreed)

    def _conditions(
        self, plan: compose.Plan, request: Request, *, first: int, frames: int
    ) -> FrameConditions:
        return FrameConditions.of(
            frames,
            roll=torch.from_numpy(roll(plan, frames=first + frames)[first:]),
            text=self._pooled(request.prompt) if request.prompt.strip() else None,
            text_width=self.tokens.config.text_width,
        )


def load_continuation(found: ModelCard, *, folder: Path = WEIGHTS) -> Continuation:
    """Build the shipped system from a folder of weights.

    Raises:
        IntegrityError: If a weight file is not the one the card names.
    """
    codec = codec_of(found, folder=folder)
    planner = planner_of(found, folder=folder)
    tokens = tokens_of(found, codec, folder=folder)
    transcriber = load_transcriber(found.file("transcriber"), folder=folder)
    return Continuation(found, codec=codec, planner=planner, transcriber=transcriber, tokens=tokens)


def _bar_frames(plan: compose.Plan) -> float:
    """How many codec frames a bar lasts."""
    return compose.BEATS_PER_BAR * 60.0 / plan.tempo_bpm * FRAME_RATE


def _fit(plan: compose.Plan, heard: Transcript, *, start: int) -> float:
    """Rate how likely the plan's pitch classes are those that were heard; higher is better."""
    count = len(heard.pitch_classes)
    rows = frame_targets(plan, frames=start + count * STRIDE)[start::STRIDE]
    written = torch.from_numpy(rows[:count, PHASES : PHASES + PITCH_CLASSES])
    chances = heard.pitch_classes.clamp(1e-3, 1 - 1e-3)
    return float((written * chances.log() + (1 - written) * (1 - chances).log()).sum())
