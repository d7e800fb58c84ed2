import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from safegen.generation.codec import MELS
from safegen.generation.compose import compose
from safegen.generation.joint import JointConfig
from safegen.generation.transcriber import Transcriber, TranscriberConfig
from safegen.training import joint, transcriber
from safegen.training.latents import read_latents
from safegen.training.loop import Progress
from tests.safegen.generation.debug_models import CODEC, debug_codec, debug_planner

SEEDS = range(10, 16)
TRANSCRIBER = TranscriberConfig(latent=CODEC.latent, width=16, blocks=1, layers=1, heads=2)
JOINT = JointConfig(heard=32, read=16, inner=16, embedding=8, states=2)
RECIPES = ["transcriber", "joint"]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def latents() -> npt.NDArray[np.float16]:
    # Each item has a sound of its own, so that there is something to learn.
    dice = np.random.default_rng(0)
    own = dice.normal(size=(len(SEEDS), 1, CODEC.latent)).repeat(40, axis=1)
    return (own + 0.1 * dice.normal(size=own.shape)).astype(np.float16)


def train(
    recipe: str, latents: npt.NDArray[np.float16], folder: Path, *, steps: int, batch: int = 6
) -> Iterator[Progress]:
    if recipe == "transcriber":
        return transcriber.train(
            latents,
            SEEDS,
            codec=debug_codec(),
            folder=folder,
            steps=steps,
            batch=batch,
            config=TRANSCRIBER,
            lengths=(10, 20),
            save_every=2,
        )
    torch.manual_seed(3)
    return joint.train(
        latents,
        SEEDS,
        transcriber=Transcriber(TRANSCRIBER).eval().requires_grad_(False),
        planner=debug_planner().requires_grad_(False),
        folder=folder,
        steps=steps,
        batch=batch,
        config=JOINT,
        lengths=(10, 20),
        save_every=2,
    )


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_resumed_run_has_the_losses_of_one_never_stopped(
    recipe: str, latents: npt.NDArray[np.float16], tmp_path: Path
) -> None:
    whole = [p.loss for p in train(recipe, latents, tmp_path / "whole", steps=8)]
    stopped = train(recipe, latents, tmp_path / "stopped", steps=8)
    first = [next(stopped).loss for _ in range(5)]
    del stopped
    rest = list(train(recipe, latents, tmp_path / "stopped", steps=8))

    assert rest[0].step == 5
    assert first == whole[:5]
    assert [p.loss for p in rest] == whole[4:]


@pytest.mark.parametrize("recipe", RECIPES)
def test_losses_fall(recipe: str, latents: npt.NDArray[np.float16], tmp_path: Path) -> None:
    losses = [p.loss for p in train(recipe, latents, tmp_path, steps=90)]
    # Every sixth step of the joint embedding also counts chords and melody.
    compared = [x for i, x in enumerate(losses) if i % 6 != 5]

    assert np.mean(compared[-20:]) < 0.98 * np.mean(compared[:20])
    assert (tmp_path / f"{recipe}.safetensors").exists()


def test_a_changed_plan_differs_in_one_attribute_that_can_be_heard() -> None:
    dice = random.Random(0)  # noqa: S311
    for seed in range(60):
        plan = compose(seed)
        other = joint.with_another(plan, dice)
        names = [name for name in plan.__slots__ if getattr(plan, name) != getattr(other, name)]

        assert len(names) == 1
        if names == ["tempo_bpm"]:
            assert abs(other.tempo_bpm - plan.tempo_bpm) > 0.1 * plan.tempo_bpm


def test_a_caption_that_does_not_mention_the_change_is_no_wrong_answer() -> None:
    sound = torch.nn.functional.normalize(torch.tensor([[1.0, 0.2], [0.1, 1.0]]), dim=1)
    wrong = sound.clone()
    told, _ = joint._contrast(sound, sound, wrong, torch.tensor([False, False]))
    untold, found = joint._contrast(sound, sound, wrong, torch.tensor([True, True]))

    assert float(untold) < float(told)
    assert found == 1.0


def test_items_are_encoded_once_for_each_codec(tmp_path: Path) -> None:
    codec = debug_codec()
    mels = np.random.default_rng(1).normal(size=(3, 20, MELS)).astype(np.float16)
    first = read_latents(tmp_path, range(3), mels=mels, codec=codec)
    kept = read_latents(tmp_path, range(3), mels=mels[:0], codec=codec)
    with torch.no_grad():
        codec.to_latent.bias.add_(1.0)
    read_latents(tmp_path, range(3), mels=mels, codec=codec)

    assert first.shape == (3, 10, CODEC.latent)
    np.testing.assert_array_equal(first, kept)
    assert len(list(tmp_path.glob("latents-0-3-*.npy"))) == 2
