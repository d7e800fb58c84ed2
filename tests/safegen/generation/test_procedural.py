import json

import numpy as np
import pytest

from safegen.errors import InputError
from safegen.generation.base import Request
from safegen.generation.compose import compose
from safegen.generation.procedural import ProceduralGenerator, render


def make(prompt: str, seed: int = 1, seconds: float = 1.0) -> dict[str, object]:
    request = Request(prompt=prompt, seconds=seconds, seed=seed)
    made = ProceduralGenerator().generate(request)
    plan: dict[str, object] = json.loads(made.plan_json)
    return plan


def test_rendering_twice_gives_the_same_bits() -> None:
    first, second = render(compose(3), seconds=2.0), render(compose(3), seconds=2.0)

    assert np.array_equal(first.waveform, second.waveform)
    assert first.waveform.shape == (1, 64_000)


def test_the_level_is_the_one_of_training_items() -> None:
    rms = [float(np.sqrt((render(compose(s), seconds=3.0).waveform ** 2).mean())) for s in range(6)]

    assert all(0.05 < level < 0.11 for level in rms)


def test_a_named_tempo_and_drums_are_followed() -> None:
    assert make("any tune at 133 bpm")["tempo_bpm"] == 133
    assert make("a groove with drums")["drums"] != "none"
    assert make("a song without drums")["drums"] == "none"


def test_seed_and_prompt_both_matter() -> None:
    assert make("a", seed=1) != make("a", seed=2)
    assert make("a", seed=1) != make("b", seed=1)


@pytest.mark.parametrize("seconds", [0.0, -2.0, 1e9])
def test_a_senseless_length_is_refused(seconds: float) -> None:
    with pytest.raises(InputError, match="limit"):
        make("a", seconds=seconds)
