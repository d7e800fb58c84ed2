"""How does a model's opinion become one sample?

Two samplers: one token after the other for plans, steps along a flow for latents. Both
take the item's own ``torch.Generator`` and draw on the CPU, so an item is the same alone
and among others, and the global seed is never touched.

Source: classifier-free guidance, Ho and Salimans (2022), equation 6; Heun's method for
flows, Karras et al. (2022), algorithm 1 without churn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from safegen.generation import compose
from safegen.generation.planner import Planner
from safegen.generation.renderer import Conditions, Renderer
from safegen.generation.text import to_batch

HEADER_TEMPERATURE: Final = 0.5
NOTES_TEMPERATURE: Final = 0.9
HEADER_GUIDANCE: Final = 1.5
FLOW_STEPS: Final = 12
FLOW_GUIDANCE: Final = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowSettings:
    """How a flow is followed.

    Attributes:
        steps: Euler steps from noise to music.
        guidance: 1 = none; more exaggerates what plan and prompt ask for.
    """

    steps: int = FLOW_STEPS
    guidance: float = FLOW_GUIDANCE


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """Latents a flow starts from instead of noise alone.

    Attributes:
        latents: As the codec gives them, shape (t, latent).
        keep: True where they stay as they are, shape (t,).
        strength: Share of the way that the other frames go, in (0, 1]; 1 forgets them.
    """

    latents: Tensor
    keep: Tensor
    strength: float


def sample_plan(
    planner: Planner,
    prompt: str,
    dice: torch.Generator,
    *,
    negative_prompt: str = "",
    given: Sequence[int] = (),
    quick: bool = False,
) -> compose.Plan:
    """Write a plan for a prompt, token after token.

    Attributes are drawn nearly greedily, because a prompt that names them means them;
    chords and melody are drawn freely.

    Args:
        planner: The model.
        prompt: What the user asked for.
        dice: The item's own randomness.
        negative_prompt: What guidance moves away from; nothing if empty.
        given: First tokens of the plan, to continue from.
        quick: Whether sums may be taken in another order; see ``safegen.generation.quick``.

    Returns:
        A valid plan: tokens that may not stand at a position are never drawn.
    """
    with torch.inference_mode():
        text = to_batch([prompt, negative_prompt])
        states = planner.text(text)
        return write_plan(planner, states, text.mask, dice, given=given, quick=quick)


def write_plan(
    planner: Planner,
    states: Tensor,
    mask: Tensor,
    dice: torch.Generator,
    *,
    given: Sequence[int] = (),
    quick: bool = False,
) -> compose.Plan:
    """Write a plan for what is wanted and what is not, token after token.

    Args:
        planner: The model.
        states: Encoded, of what is wanted and of what guidance moves away from, shape
            (2, t, width).
        mask: True where a state is, shape (2, t).
        dice: The item's own randomness.
        given: First tokens of the plan, to continue from.
        quick: As in ``sample_plan``.
    """
    with torch.inference_mode():
        tokens = list(given)
        score = planner.scorer(states, mask, quick=quick)
        while len(tokens) < compose.PLAN_TOKENS:
            header = len(tokens) < compose.HEADER_TOKENS
            logits = score(tokens, 2 if header else 1)
            chosen = logits[0]
            if header:
                legal = torch.isfinite(logits[0])
                wanted, unwanted = logits.log_softmax(dim=-1)
                guided = unwanted + HEADER_GUIDANCE * (wanted - unwanted)
                chosen = torch.where(legal, guided, torch.tensor(float("-inf")))
            temperature = HEADER_TEMPERATURE if header else NOTES_TEMPERATURE
            tokens.append(_draw(chosen / temperature, dice))
    return compose.from_tokens(tokens)


def sample_latents(
    renderer: Renderer,
    conditions: Conditions,
    dice: torch.Generator,
    *,
    settings: FlowSettings,
    given: Given | None = None,
    progress: Callable[[float], None] | None = None,
) -> Tensor:
    """Follow the flow from noise to latents, for one item.

    Noise is drawn frame after frame, so a longer clip starts from the same noise. Kept
    frames are put back at every step with as much noise as belongs to its time, so the
    others grow into their surroundings.

    Args:
        renderer: The model.
        conditions: Of one item of t frames.
        dice: The item's own randomness.
        settings: Steps and guidance.
        given: Latents to vary or to keep in part; none if None.
        progress: Called with the share of steps done.

    Returns:
        Latents of shape (t, latent).
    """
    frames = conditions.roll.shape[1]
    device = renderer.mean.device
    noise = torch.randn((1, frames, renderer.config.latent), generator=dice).to(device)
    conditions = conditions.to(device)
    guided = settings.guidance != 1.0
    both = conditions.and_also(conditions.unconditional()) if guided else conditions
    times = flow_times(settings.steps)
    x = noise
    target, keep = noise, torch.zeros(1, frames, 1, dtype=torch.bool, device=device)
    if given is not None:
        target = ((given.latents.to(device) - renderer.mean) / renderer.scale)[None]
        keep = given.keep.to(device)[None, :, None]
        begin = 1.0 - given.strength
        times = begin + (1.0 - begin) * times
        x = torch.lerp(noise, target, begin)
    with torch.inference_mode():
        for i in range(settings.steps):
            if given is not None:
                x = torch.where(keep, torch.lerp(noise, target, float(times[i])), x)
            time = times[i].to(device).expand(len(both.has_plan))
            velocity = renderer(x.expand(len(both.has_plan), -1, -1), time, both)
            if guided:
                wanted, unwanted = velocity.chunk(2)
                velocity = unwanted + settings.guidance * (wanted - unwanted)
            x = x + float(times[i + 1] - times[i]) * velocity
            if progress is not None:
                progress((i + 1) / settings.steps)
        x = torch.where(keep, target, x)
        return (x * renderer.scale + renderer.mean)[0].cpu()


def flow_times(steps: int) -> Tensor:
    """Where a flow stops on its way from 0 to 1: small steps at the ends; shape (steps + 1,)."""
    times = 0.5 - 0.5 * torch.cos(torch.linspace(0, torch.pi, steps + 1))
    return 0.5 * times + 0.5 * torch.linspace(0, 1, steps + 1)


def _draw(logits: Tensor, dice: torch.Generator) -> int:
    """Draw an index by its log-odds, with one uniform number."""
    ranks = logits.double().softmax(dim=-1).cumsum(dim=-1)
    point = torch.rand((), generator=dice, dtype=torch.float64) * ranks[-1]
    return int(torch.searchsorted(ranks, point).clamp_max(len(ranks) - 1))
