from dataclasses import replace

import pytest
import torch

from safegen.errors import InputError
from safegen.generation.scene_reader import Reading, SceneReader, named_sounds, scene_of
from safegen.generation.scenes import MAX_LAYERS
from safegen.generation.sounds import NAMES
from safegen.generation.text import TextConfig, to_batch

TINY = TextConfig(embedding=8, width=16, layers=1, heads=2)
STEADY = (0.0, 1.0, 0.0)


def said(**probs: float) -> tuple[Reading, ...]:
    """Write down what a reader would say, the surest sound first."""
    rows = [
        Reading(
            sound=name,
            named_prob=probs.get(name, 0.01),
            far_prob=0.0,
            later_prob=0.0,
            rate_probs=STEADY,
        )
        for name in NAMES
    ]
    return tuple(sorted(rows, key=lambda row: -row.named_prob))


def changed(rows: tuple[Reading, ...], sound: str, **changes: float) -> tuple[Reading, ...]:
    return tuple(
        replace(row, **changes) if row.sound == sound else row  # type: ignore[arg-type]
        for row in rows
    )


def tiny() -> SceneReader:
    torch.manual_seed(0)
    return SceneReader(TINY).eval()


def test_the_named_sounds_make_the_scene() -> None:
    scene = scene_of(said(rain=0.9, siren=0.8), seed=1)

    assert set(scene.sounds) == {"rain", "siren"}
    assert all(layer.rate == "medium" for layer in scene.layers)
    assert all(layer.start_step == 0 for layer in scene.layers)


def test_one_seed_makes_one_scene_and_another_seed_another() -> None:
    rows = said(rain=0.9)

    assert scene_of(rows, seed=5) == scene_of(rows, seed=5)
    assert scene_of(rows, seed=5) != scene_of(rows, seed=6)


def test_a_prompt_that_names_nothing_is_refused_with_what_there_is() -> None:
    with pytest.raises(InputError, match="no sound of this model is named") as caught:
        scene_of(said(rain=0.4), seed=1)

    assert all(name in caught.value.problem for name in NAMES)
    assert caught.value.remedy


def test_no_more_than_three_sounds_are_taken_and_the_surest_are() -> None:
    rows = said(rain=0.99, wind=0.98, dog=0.97, crow=0.96, bell=0.95)

    assert [row.sound for row in named_sounds(rows)] == ["rain", "wind", "dog"]
    assert len(scene_of(rows, seed=0).layers) == MAX_LAYERS


def test_a_far_sound_is_behind_a_near_one() -> None:
    for seed in range(20):
        scene = scene_of(changed(said(rain=0.9, siren=0.95), "siren", far_prob=0.9), seed=seed)
        levels = {layer.sound: layer.level_db for layer in scene.layers}

        assert levels["siren"] <= levels["rain"] - 6


def test_a_later_sound_begins_where_the_first_ends() -> None:
    rows = changed(said(footsteps=0.9, thunder=0.95), "thunder", later_prob=0.9)
    for seed in range(20):
        first, second = scene_of(rows, seed=seed, seconds=8.0).layers

        assert (first.sound, second.sound) == ("footsteps", "thunder")
        assert first.end_step == second.start_step
        assert 1.5 < second.start_seconds < 5.0


def test_if_all_come_later_none_does() -> None:
    rows = changed(said(rain=0.9), "rain", later_prob=1.0)

    assert scene_of(rows, seed=0).layers[0].start_step == 0


@pytest.mark.parametrize("prompt", ["", "🎵", "x" * 100_000, "rain " * 500, "\x00\n"])
def test_any_prompt_is_read(prompt: str) -> None:
    rows = tiny().readings(prompt)

    assert {row.sound for row in rows} == set(NAMES)
    assert all(0.0 <= row.named_prob <= 1.0 for row in rows)
    assert all(sum(row.rate_probs) == pytest.approx(1.0) for row in rows)


def test_a_prompt_is_read_alike_alone_and_in_a_batch() -> None:
    reader = tiny()
    with torch.inference_mode():
        alone, _ = reader(to_batch(["rain"]))
        batch, _ = reader(to_batch(["a siren and a very long story about it", "rain"]))

    assert torch.allclose(alone[0], batch[1], atol=1e-5)
