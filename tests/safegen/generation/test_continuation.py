import dataclasses

import numpy as np
import pytest
import torch

from safegen.errors import InputError
from safegen.generation import compose
from safegen.generation import continuation as module
from safegen.generation.base import Request
from safegen.generation.coarse_fine import COARSE, coarse_to_fine
from safegen.generation.stages import dice
from safegen.generation.tokens import FrameConditions
from tests.safegen.generation.staged_models import (
    SETTINGS,
    TOKENS,
    continuation,
    staged_codec,
    staged_tokens,
    tune,
)


@pytest.fixture(autouse=True)
def two_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CANDIDATES", 2)


REQUEST = Request(prompt="", seconds=1.6, seed=5, continue_from=tune(1.2))


def test_the_result_begins_with_the_tokens_of_the_sound_it_continues() -> None:
    made = continuation().generate(REQUEST)
    prefix = continuation().codec.encode(tune(1.2))

    assert made.audio.seconds == 1.6
    assert made.codes.shape == (4, 40)
    np.testing.assert_array_equal(made.codes[:, : prefix.shape[1]], prefix)
    assert compose.from_tokens(made.plan_tokens.tolist()) == compose.from_json(made.plan_json)


def test_the_same_request_gives_the_same_bits_and_another_seed_others() -> None:
    first, second = (continuation().generate(REQUEST) for _ in range(2))
    other = continuation().generate(dataclasses.replace(REQUEST, seed=6))

    np.testing.assert_array_equal(first.audio.waveform, second.audio.waveform)
    assert first.plan_json == second.plan_json
    assert (other.codes != first.codes).any()


def test_the_plan_alone_is_the_plan_of_the_sound() -> None:
    system = continuation()

    assert compose.to_json(system.plan(REQUEST)) == system.generate(REQUEST).plan_json


def test_a_prompt_changes_what_it_contradicts_and_nothing_else() -> None:
    system = continuation()
    header = compose.to_tokens(compose.compose(1))[: compose.HEADER_TOKENS]
    drums = compose.legal_tokens(0)
    heard = (drums.start, *header[1:])
    asked = dataclasses.replace(REQUEST, prompt="now with drums")
    with torch.no_grad():
        # The pooled prompt of "now with drums" forbids its absence, whatever else it says.
        system.planner.guesses.weight.zero_()
        system.planner.guesses.bias.zero_()
        unchanged = system._agreed(heard, asked)
        direction = _direction(system.planner, asked.prompt)
        system.planner.guesses.weight[drums.start] = -50 * direction
        changed = system._agreed(heard, asked)
        silent = system._agreed(heard, REQUEST)

    assert unchanged == heard
    assert changed[0] in drums[1:]
    assert changed[1:] == heard[1:]
    assert silent == heard


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        (dataclasses.replace(REQUEST, continue_from=None, prompt="jazz"), "none is given"),
        (dataclasses.replace(REQUEST, continue_from=tune(0.5)), "0.5 s"),
        (dataclasses.replace(REQUEST, seconds=1.2), "already"),
        (dataclasses.replace(REQUEST, melody=tune(1.2)), "takes no melody"),
    ],
)
def test_what_cannot_be_continued_is_refused(request_: Request, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        continuation().generate(request_)


def test_a_beginning_longer_than_what_is_listened_to_is_kept_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "LISTENED_SECONDS", 0.6)
    made = continuation().generate(REQUEST)

    np.testing.assert_array_equal(made.codes[:, :30], continuation().codec.encode(tune(1.2)))


def test_the_fine_stage_leaves_coarse_tokens_and_the_prefix_as_they_are() -> None:
    codec = staged_codec()
    model = staged_tokens(codec)
    prefix = torch.arange(20).reshape(4, 5) % TOKENS.codes
    seen: list[float] = []

    def drawn(fine_seed: int) -> torch.Tensor:
        return coarse_to_fine(
            model,
            FrameConditions.of(12, text_width=TOKENS.text_width),
            coarse_dice=dice(1, "coarse"),
            fine_dice=dice(fine_seed, "fine"),
            settings=SETTINGS,
            prefix=prefix,
            progress=seen.append,
        )

    first, second = drawn(1), drawn(2)

    assert first.shape == (4, 12)
    assert torch.equal(first[:COARSE], second[:COARSE])
    assert not torch.equal(first[COARSE:], second[COARSE:])
    assert torch.equal(first[:, :5], prefix)
    assert int(first.min()) >= 0
    assert seen[-1] == 1.0


def _direction(planner: torch.nn.Module, prompt: str) -> torch.Tensor:
    """What tells the pooled prompt from the pooled empty one."""
    from safegen.generation.text import strongest, to_batch

    batch = to_batch([prompt, ""])
    pooled = strongest(planner.text(batch), batch.mask)  # type: ignore[operator]
    difference = pooled[0] - pooled[1]
    # Orthogonal to the empty prompt, so that only the other one is moved.
    empty = pooled[1]
    difference = difference - empty * (difference @ empty) / (empty @ empty)
    return difference / (difference @ pooled[0]).abs() * torch.sign(difference @ pooled[0])
