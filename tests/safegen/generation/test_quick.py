"""Quick steps give what the plain ones give, up to rounding."""

import pytest
import torch

from safegen.generation.backbone import Transformer
from safegen.generation.quick import QuickStepper, quick_linear
from safegen.generation.samplers import sample_plan
from safegen.generation.stages import dice
from safegen.generation.text import to_batch
from tests.safegen.generation.debug_models import debug_planner


@pytest.mark.parametrize("steered", [False, True])
@pytest.mark.parametrize("reach", [None, 3])
def test_quick_steps_are_the_plain_ones_up_to_rounding(steered: bool, reach: int | None) -> None:
    torch.manual_seed(0)
    model = Transformer(
        width=16, layers=2, heads=2, causal=True, reach=reach, steered=steered
    ).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    steer = torch.randn(2, 16) if steered else None
    x = torch.randn(9, 2, 16)
    with torch.inference_mode():
        plain = model.stepper(rows=2, longest=9, steer=steer)
        quick = QuickStepper(model, rows=2, longest=9, steer=steer)
        wanted = torch.stack([plain(frame) for frame in x])
        made = torch.stack([quick(frame) for frame in x])

    torch.testing.assert_close(made, wanted, rtol=1e-4, atol=1e-4)


def test_the_first_outlets_are_those_of_the_whole_map() -> None:
    linear = torch.nn.Linear(8, 12)
    x = torch.randn(2, 8)
    with torch.inference_mode():
        torch.testing.assert_close(quick_linear(linear, outlets=5)(x), linear(x)[:, :5])


@pytest.mark.parametrize("negative", ["", "drums and a very long list of other things"])
def test_a_quick_scorer_scores_plan_tokens_as_the_planner_does(negative: str) -> None:
    planner = debug_planner()
    text = to_batch(["calm piano, 90 bpm, in A minor", negative])
    with torch.inference_mode():
        states = planner.text(text)
        plain = planner.scorer(states, text.mask, quick=False)
        quick = planner.scorer(states, text.mask, quick=True)
        plan = [0] * 12
        for count, rows in ((0, 2), (1, 2), (5, 2), (11, 1)):
            torch.testing.assert_close(
                quick(plan[:count], rows), plain(plan[:count], rows), rtol=1e-4, atol=1e-4
            )


def test_a_quickly_written_plan_is_the_plan() -> None:
    planner = debug_planner()
    for seed in range(2):
        plans = [
            sample_plan(planner, "jazz", dice(seed, "plan"), quick=quick) for quick in (False, True)
        ]

        assert plans[0] == plans[1]


def test_what_is_known_is_read_at_once_up_to_rounding() -> None:
    torch.manual_seed(0)
    model = Transformer(width=16, layers=2, heads=2, causal=True, reach=3, steered=True).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    steer, x = torch.randn(2, 16), torch.randn(2, 9, 16)
    with torch.inference_mode():
        stepped = QuickStepper(model, rows=2, longest=9, steer=steer)
        wanted = torch.stack([stepped(x[:, t]) for t in range(9)], dim=1)
        quick = QuickStepper(model, rows=2, longest=9, steer=steer)
        made = [quick.read(x[:, :6]), *(quick(x[:, t])[:, None] for t in range(6, 9))]

    torch.testing.assert_close(torch.cat(made, dim=1), wanted, rtol=1e-4, atol=1e-4)
