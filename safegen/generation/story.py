"""How do words become music by way of how music sounds? Style, plan, coarse, fine.

1. style: the prompt becomes a point on the sphere it shares with sound, the point a style;
2. plan: the planner's language model writes a score, reading the style instead of words;
3. coarse: the first codebooks are drawn frame by frame, along the score;
4. fine: the other codebooks are filled in;
5. decode: tokens become marked sound.

A melody takes the place of the score's notes: its pitch classes are followed, and of the
score only the instruments are used. A story is a chain of prompts; each chapter has a
score of its own and its tokens go on from those of the chapter before, without a seam.

After MusicLM: a joint embedding of music and words, then coarse and fine tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from safegen.audio import Audio
from safegen.generation import compose
from safegen.generation.base import Chapter, Generation, Pieces, Request
from safegen.generation.cards import WEIGHTS, ModelCard
from safegen.generation.coarse_fine import StageSettings, coarse_to_fine
from safegen.generation.codec import FRAME_RATE, Codec
from safegen.generation.joint import Joint, load_joint
from safegen.generation.melody import chroma_of
from safegen.generation.parts import codec_of, planner_of, tokens_of
from safegen.generation.planner import Planner
from safegen.generation.requests import check
from safegen.generation.rolls import roll
from safegen.generation.rows import PlannedRow, frozen
from safegen.generation.samplers import write_plan
from safegen.generation.stages import dice, one_thread, stepwise
from safegen.generation.streams import PieceMaker, frames_of
from safegen.generation.token_rows import finished
from safegen.generation.token_streams import coarse_to_fine_segments
from safegen.generation.tokens import FrameConditions, TokenModel

CONTEXT_FRAMES: Final = 200
"""Eight seconds of the chapter before, which a chapter goes on from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """A chapter with its score.

    Attributes:
        prompt: What it was written for.
        plan: Its score.
        first: Its first frame.
        end: The frame after its last one.
    """

    prompt: str
    plan: compose.Plan
    first: int
    end: int


class MusicJoint(PlannedRow):
    """Prompts, melodies and stories to music, through a joint embedding.

    Args:
        card: What is reported about it.
        codec: Trained.
        planner: Trained, with its text encoder.
        joint: Trained on the same text encoder and planner.
        tokens: Trained on tokens of the same codec.
        settings: How tokens are drawn.
    """

    def __init__(
        self,
        card: ModelCard,
        *,
        codec: Codec,
        planner: Planner,
        joint: Joint,
        tokens: TokenModel,
        settings: StageSettings | None = None,
    ) -> None:
        super().__init__(card, codec=codec, planner=planner)
        self.joint = frozen(joint)
        self.tokens = frozen(tokens)
        self.settings = settings or StageSettings()

    def generate(
        self, request: Request, *, progress: Callable[[float], None] | None = None
    ) -> Generation:
        """Make one item; see ``safegen.generation.base.Generator``.

        The plan of a story is that of its first chapter; ``plan_tokens`` holds the plans
        of all chapters, one after the other.

        Raises:
            InputError: If the request is outside what the card allows.
        """
        check(request, self.card)
        frames = frames_of(request.seconds)
        with one_thread(), torch.inference_mode():
            parts = self._parts(request, frames=frames)
            codes = self._tokens(parts, request, progress=progress)
            return finished(
                self.codec,
                codes,
                seconds=request.seconds,
                plan_json=compose.to_json(parts[0].plan),
                plan_tokens=_tokens_of(parts),
            )

    def stream(
        self, request: Request, *, progress: Callable[[float], None] | None = None
    ) -> Pieces:
        """Make one item piece by piece; see ``base.StreamingGenerator``.

        A story too, once the scores of all its chapters are written. The coarse tokens of
        the first chapter are those of ``generate`` but for rare ties, the fine ones are
        filled segment by segment.

        Raises:
            InputError: As ``generate``.
        """
        check(request, self.card)
        return stepwise(self._pieces(request, progress))

    def _pieces(self, request: Request, progress: Callable[[float], None] | None) -> Pieces:
        parts = self._parts(request, frames=frames_of(request.seconds), quick=True)
        pieces = PieceMaker(
            self.codec,
            seconds=request.seconds,
            plan_json=compose.to_json(parts[0].plan),
            plan_tokens=_tokens_of(parts),
            progress=progress,
        )
        yield from pieces.of_codes(self._segments(parts, request))

    def plan(self, request: Request) -> compose.Plan:
        """Write the score of a request, of a story that of its first chapter; no sound.

        Raises:
            InputError: If the request is outside what the card allows.
        """
        check(request, self.card)
        with one_thread(), torch.inference_mode():
            return self._parts(request, frames=1)[0].plan

    def write(
        self, prompt: str, luck: torch.Generator, *, negative: str = "", quick: bool = False
    ) -> compose.Plan:
        """Write the score of a prompt by way of the joint embedding.

        Args:
            prompt: What is wanted.
            luck: The item's own randomness.
            negative: What is not.
            quick: As in ``samplers.write_plan``.
        """
        points = self.joint.crossed(self.joint.read(self.planner, [prompt, negative]))
        for row, text in enumerate((prompt, negative)):
            if not text.strip():
                points[row] = 0.0
        states = self.joint.styled(points)
        mask = torch.ones(states.shape[:2], dtype=torch.bool)
        return write_plan(self.planner, states, mask, luck, quick=quick)

    def _parts(self, request: Request, *, frames: int, quick: bool = False) -> list[_Part]:
        """Write the scores of all chapters that start within the frames."""
        chapters = request.story or (Chapter(prompt=request.prompt, start_seconds=0.0),)
        firsts = [round(chapter.start_seconds * FRAME_RATE) for chapter in chapters]
        parts = []
        for i, (chapter, first) in enumerate(zip(chapters, firsts, strict=True)):
            end = min(frames, firsts[i + 1]) if i + 1 < len(firsts) else frames
            if end > first:
                luck = dice(request.seed, f"plan {i}")
                plan = self.write(
                    chapter.prompt, luck, negative=request.negative_prompt, quick=quick
                )
                parts.append(_Part(prompt=chapter.prompt, plan=plan, first=first, end=end))
        return parts

    def _tokens(
        self,
        parts: list[_Part],
        request: Request,
        *,
        progress: Callable[[float], None] | None,
    ) -> Tensor:
        """Draw the tokens of all chapters; shape (codebooks, frames)."""
        frames = parts[-1].end
        coarse, fine = dice(request.seed, "coarse"), dice(request.seed, "fine")
        codes = torch.empty((self.tokens.config.codebooks, 0), dtype=torch.long)
        for part, conditions in self._chapters(parts, request):
            start = part.end - conditions.roll.shape[1]
            drawn = coarse_to_fine(
                self.tokens,
                conditions,
                coarse_dice=coarse,
                fine_dice=fine,
                settings=self.settings,
                prefix=codes[:, start:],
                unwanted=self._unwanted(request, frames=part.end - start),
                progress=_share(progress, part.first / frames, part.end / frames),
            )
            codes = torch.cat([codes[:, :start], drawn], dim=1)
        return codes

    def _segments(self, parts: list[_Part], request: Request) -> Iterator[Tensor]:
        """Draw the tokens of all chapters, segment by segment; shape (codebooks, n) each."""
        coarse, fine = dice(request.seed, "coarse"), dice(request.seed, "fine")
        codes = torch.empty((self.tokens.config.codebooks, 0), dtype=torch.long)
        for part, conditions in self._chapters(parts, request):
            length = conditions.roll.shape[1]
            for drawn in coarse_to_fine_segments(
                self.tokens,
                conditions,
                coarse_dice=coarse,
                fine_dice=fine,
                settings=self.settings,
                prefix=codes[:, part.end - length :],
                unwanted=self._unwanted(request, frames=length),
            ):
                codes = torch.cat([codes, drawn], dim=1)
                yield drawn

    def _chapters(
        self, parts: list[_Part], request: Request
    ) -> Iterator[tuple[_Part, FrameConditions]]:
        """Say of each chapter what is told of its frames and of those it goes on from."""
        frames = parts[-1].end
        rows = torch.cat(
            [torch.from_numpy(roll(part.plan, frames=part.end - part.first)) for part in parts]
        )
        chroma = None if request.melody is None else _followed(request.melody, frames=frames)
        for part in parts:
            start = max(0, part.first - CONTEXT_FRAMES)
            yield (
                part,
                FrameConditions.of(
                    part.end - start,
                    roll=rows[start : part.end],
                    notes=chroma is None,
                    rhythm=chroma is None,
                    chroma=None if chroma is None else chroma[start : part.end],
                    text=self._pooled(part.prompt) if part.prompt.strip() else None,
                    text_width=self.tokens.config.text_width,
                ),
            )

    def _unwanted(self, request: Request, *, frames: int) -> FrameConditions | None:
        if not request.negative_prompt.strip():
            return None
        return FrameConditions.of(frames, text=self._pooled(request.negative_prompt))


def load_music_joint(found: ModelCard, *, folder: Path = WEIGHTS) -> MusicJoint:
    """Build the shipped system from a folder of weights.

    Raises:
        IntegrityError: If a weight file is not the one the card names.
    """
    codec = codec_of(found, folder=folder)
    planner = planner_of(found, folder=folder)
    tokens = tokens_of(found, codec, folder=folder)
    joint = load_joint(found.file("joint"), folder=folder)
    return MusicJoint(found, codec=codec, planner=planner, joint=joint, tokens=tokens)


def _tokens_of(parts: list[_Part]) -> tuple[int, ...]:
    """The plans of all chapters as integers, one after the other."""
    return tuple(token for part in parts for token in compose.to_tokens(part.plan))


def _followed(melody: Audio, *, frames: int) -> Tensor:
    """Lay a melody out over frames, from the start again when it ends; shape (frames, 12)."""
    rows = torch.from_numpy(chroma_of(melody))
    return rows[torch.arange(frames) % len(rows)]


def _share(
    progress: Callable[[float], None] | None, start: float, end: float
) -> Callable[[float], None] | None:
    """Report a part's progress as that of the whole."""
    if progress is None:
        return None
    return lambda done: progress(start + (end - start) * done)
