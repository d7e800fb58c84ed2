"""How does the default system make music? Plan, then render.

1. text: the prompt becomes vectors;
2. plan: a language model writes a score, token by token;
3. render: a flow moves noise toward codec latents that sound like the score;
4. decode: latents become marked magnitudes, magnitudes a waveform.

After Stable Audio and Mousai: latent diffusion that is told where in the piece it is.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from safegen.generation.base import Generation, Pieces, Request
from safegen.generation.cards import WEIGHTS, ModelCard, load_tensors
from safegen.generation.codec import FRAME_RATE, SAMPLE_RATE, Codec
from safegen.generation.compose import Plan, to_json, to_tokens
from safegen.generation.parts import codec_of, planner_of
from safegen.generation.planner import Planner
from safegen.generation.renderer import LONGEST_SECONDS, Conditions, Renderer, RendererConfig
from safegen.generation.requests import check, check_seconds
from safegen.generation.rolls import roll
from safegen.generation.rows import PlannedRow, frozen
from safegen.generation.samplers import FlowSettings, Given, sample_latents
from safegen.generation.stages import dice, ended, one_thread, stepwise
from safegen.generation.streams import PieceMaker, frames_of, segments


class MusicFlow(PlannedRow):
    """The shipped system: plan, then render.

    Args:
        card: What is reported about it.
        codec: Trained.
        planner: Trained, with its text encoder.
        renderer: Trained on latents of the same codec.
        settings: How the flow is followed.
    """

    def __init__(
        self,
        card: ModelCard,
        *,
        codec: Codec,
        planner: Planner,
        renderer: Renderer,
        settings: FlowSettings | None = None,
    ) -> None:
        super().__init__(card, codec=codec, planner=planner)
        self.renderer = frozen(renderer)
        self.settings = settings or FlowSettings()

    def generate(
        self, request: Request, *, progress: Callable[[float], None] | None = None
    ) -> Generation:
        """Make one item; see ``safegen.generation.base.Generator``.

        A source is varied (``strength``) or made anew in stretches (``inpaint``); beyond
        its end the piece goes on. With the prompt and the seed a source was made with,
        the new parts follow its own score; without a prompt only what is around them.

        Raises:
            InputError: If the request is outside what the card allows.
        """
        check(request, self.card)
        return self.render(self.plan(request), request, progress=progress)

    def stream(
        self, request: Request, *, progress: Callable[[float], None] | None = None
    ) -> Pieces:
        """Make one item piece by piece; see ``base.StreamingGenerator``.

        A source that is varied or made anew in stretches comes as one piece.

        Raises:
            InputError: As ``generate``.
        """
        check(request, self.card)
        if request.source is not None:
            return (self.generate(request, progress=progress) for _ in range(1))
        return stepwise(self._pieces(request, progress))

    def _pieces(self, request: Request, progress: Callable[[float], None] | None) -> Pieces:
        plan = self._plan(request, quick=True)
        frames = frames_of(request.seconds)
        whole = self._conditions(plan, request, frames=frames)
        pieces = PieceMaker(
            self.codec,
            seconds=request.seconds,
            plan_json=to_json(plan),
            plan_tokens=to_tokens(plan),
            progress=progress,
        )
        luck = dice(request.seed, "latents")
        z = torch.zeros(0, self.renderer.config.latent)
        for part in segments(frames):
            z = sample_latents(
                self.renderer,
                whole.cut(part.start, part.end, rate=FRAME_RATE),
                luck,
                settings=self.settings,
                given=part.given(z),
            )
            new = z[part.known :]
            yield from pieces.feed(new, self.codec.quantizer.encode(new).T)
        yield from pieces.finish()

    def render(
        self,
        plan: Plan,
        request: Request,
        *,
        progress: Callable[[float], None] | None = None,
    ) -> Generation:
        """Make the sound of a score.

        Raises:
            InputError: If the length is outside what the card allows.
        """
        check_seconds(request, self.card)
        samples = round(request.seconds * SAMPLE_RATE)
        frames = frames_of(request.seconds)
        with one_thread(), torch.inference_mode():
            z = sample_latents(
                self.renderer,
                self._conditions(plan, request, frames=frames),
                # Another take than the first, or a repair would bring back what it repairs.
                dice(request.seed, "latents" if request.source is None else "repaint"),
                settings=self.settings,
                given=self._given(request, frames=frames),
                progress=progress,
            )
            codes = self.codec.quantizer.encode(z)
            audio = self.codec.decode(z)
        return Generation(
            audio=ended(audio, samples),
            plan_json=to_json(plan),
            plan_tokens=np.array(to_tokens(plan), dtype=np.int64),
            codes=np.ascontiguousarray(codes.T.numpy().astype(np.int64)),
        )

    def _conditions(self, plan: Plan, request: Request, *, frames: int) -> Conditions:
        is_told = bool(request.prompt) or request.source is None
        return Conditions(
            roll=torch.from_numpy(roll(plan, frames=frames))[None],
            text=self._pooled(request.prompt)[None],
            # Training items are ten seconds cut from longer pieces, so a shorter clip is
            # the beginning of one of these.
            place=torch.tensor([[0.0, max(request.seconds, LONGEST_SECONDS)]]),
            has_plan=torch.tensor([is_told]),
            has_text=torch.tensor([is_told]),
        )

    def _given(self, request: Request, *, frames: int) -> Given | None:
        """Encode the source of a request and say which frames of it stay."""
        if request.source is None:
            return None
        heard = self.codec.latents(request.source)[0, :frames]
        latents = torch.zeros(frames, heard.shape[1])
        latents[: len(heard)] = heard
        keep = torch.zeros(frames, dtype=torch.bool)
        if not request.inpaint and len(heard) == frames:
            return Given(latents=latents, keep=keep, strength=request.strength)
        keep[: len(heard)] = True
        for span in request.inpaint:
            first = int(span.start_seconds * FRAME_RATE)
            keep[first : int(np.ceil(span.end_seconds * FRAME_RATE))] = False
        return Given(latents=latents, keep=keep, strength=request.strength)


def load_music_flow(found: ModelCard, *, folder: Path = WEIGHTS) -> MusicFlow:
    """Build the shipped system from a folder of weights.

    Raises:
        IntegrityError: If a weight file is not the one the card names.
    """
    codec = codec_of(found, folder=folder)
    planner = planner_of(found, folder=folder)
    renderer = Renderer(RendererConfig())
    renderer.load_state_dict(load_tensors(found.file("renderer"), folder=folder))
    return MusicFlow(found, codec=codec, planner=planner, renderer=renderer)
