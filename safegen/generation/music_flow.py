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

from safegen.generation.base import Generation, ModelFacts, Request
from safegen.generation.cards import WEIGHTS, ModelCard, load_tensors
from safegen.generation.codec import FRAME_RATE, SAMPLE_RATE, Codec, CodecConfig
from safegen.generation.compose import Plan, to_json, to_tokens
from safegen.generation.planner import Planner, PlannerConfig
from safegen.generation.renderer import LONGEST_SECONDS, Conditions, Renderer, RendererConfig
from safegen.generation.requests import check, check_seconds
from safegen.generation.rolls import roll
from safegen.generation.samplers import FlowSettings, sample_latents, sample_plan
from safegen.generation.stages import dice, ended, one_thread
from safegen.generation.text import TextConfig, pool, to_batch


class MusicFlow:
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
        self.card = card
        self.codec = codec.eval().requires_grad_(False)
        self.planner = planner.eval().requires_grad_(False)
        self.renderer = renderer.eval().requires_grad_(False)
        self.settings = settings or FlowSettings()

    @property
    def facts(self) -> ModelFacts:
        """What the record says about the model."""
        return ModelFacts(
            name=self.card.name,
            version=self.card.version,
            license=self.card.license,
            weights_sha256=self.card.weights_sha256,
            training_manifest_sha256=self.card.training_manifest_sha256,
        )

    def generate(
        self, request: Request, *, progress: Callable[[float], None] | None = None
    ) -> Generation:
        """Make one item; see ``safegen.generation.base.Generator``.

        Raises:
            InputError: If the request is outside what the card allows.
        """
        check(request, self.card)
        return self.render(self.plan(request), request, progress=progress)

    def plan(self, request: Request) -> Plan:
        """Write the score of a request; no sound is made."""
        with one_thread():
            return sample_plan(
                self.planner,
                request.prompt,
                dice(request.seed, "plan"),
                negative_prompt=request.negative_prompt,
            )

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
        frames = max(1, int(np.ceil(request.seconds * FRAME_RATE)))
        with one_thread(), torch.inference_mode():
            z = sample_latents(
                self.renderer,
                self._conditions(plan, request, frames=frames),
                dice(request.seed, "latents"),
                settings=self.settings,
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
        batch = to_batch([request.prompt])
        return Conditions(
            roll=torch.from_numpy(roll(plan, frames=frames))[None],
            text=pool(self.planner.text(batch), batch.mask),
            # Training items are ten seconds cut from longer pieces, so a shorter clip is
            # the beginning of one of these.
            place=torch.tensor([[0.0, max(request.seconds, LONGEST_SECONDS)]]),
            has_plan=torch.ones(1, dtype=torch.bool),
            has_text=torch.ones(1, dtype=torch.bool),
        )


def load_music_flow(found: ModelCard, *, folder: Path = WEIGHTS) -> MusicFlow:
    """Build the shipped system from a folder of weights.

    Raises:
        IntegrityError: If a weight file is not the one the card names.
    """
    codec = Codec(CodecConfig())
    codec.load_state_dict(load_tensors(found.file("codec"), folder=folder))
    planner = Planner(PlannerConfig(text=TextConfig()))
    planner.load_state_dict(load_tensors(found.file("planner"), folder=folder))
    renderer = Renderer(RendererConfig())
    renderer.load_state_dict(load_tensors(found.file("renderer"), folder=folder))
    return MusicFlow(found, codec=codec, planner=planner, renderer=renderer)
