from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from safegen.errors import InputError
from safegen.generation.codec import MELS, Codec
from safegen.training import cascade, codec, flow, text_plan
from safegen.training.loop import Progress, Run, draw_losses
from safegen.training.shipping import ship
from tests.safegen.generation.debug_models import CODEC, PLANNER, RENDERER, debug_codec
from tests.safegen.generation.test_cascade import TINY, UNET

SEEDS = range(10, 14)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def mels() -> npt.NDArray[np.float16]:
    dice = np.random.default_rng(0)
    slow = dice.normal(size=(len(SEEDS), 10, MELS)).repeat(10, axis=1)
    return slow.astype(np.float16)


def train(
    recipe: str, mels: npt.NDArray[np.float16], folder: Path, *, steps: int, batch: int = 2
) -> Iterator[Progress]:
    if recipe == "codec":
        return codec.train(
            mels, folder=folder, steps=steps, batch=batch, frames=16, config=CODEC, save_every=2
        )
    if recipe == "text-plan":
        return text_plan.train(
            folder=folder, steps=steps, batch=2 * batch, config=PLANNER, save_every=2
        )
    if recipe == "cascade-unet":
        return cascade.train_unet(
            mels,
            SEEDS,
            codec=debug_codec(),
            folder=folder,
            steps=steps,
            batch=batch,
            frames=8,
            config=UNET,
            save_every=2,
        )
    torch.manual_seed(3)
    from safegen.generation.text import TextEncoder

    if recipe == "cascade-generator":
        return cascade.train_generator(
            mels,
            SEEDS,
            text=TextEncoder(PLANNER.text).eval().requires_grad_(False),
            folder=folder,
            steps=steps,
            batch=batch,
            frames=8,
            config=TINY,
            save_every=2,
        )
    return flow.train(
        mels,
        SEEDS,
        codec=debug_codec(),
        text=TextEncoder(PLANNER.text).eval().requires_grad_(False),
        folder=folder,
        steps=steps,
        batch=batch,
        frames=16,
        config=RENDERER,
        save_every=2,
    )


RECIPES = ["codec", "text-plan", "flow", "cascade-generator", "cascade-unet"]


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_resumed_run_has_the_losses_of_one_never_stopped(
    recipe: str,
    mels: npt.NDArray[np.float16],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The codebooks start within the run, so that their statistics are resumed too.
    monkeypatch.setattr(codec, "QUANTIZER_START", 2)
    whole = [p.loss for p in train(recipe, mels, tmp_path / "whole", steps=8)]
    stopped = train(recipe, mels, tmp_path / "stopped", steps=8)
    first = [next(stopped).loss for _ in range(5)]
    del stopped
    rest = list(train(recipe, mels, tmp_path / "stopped", steps=8))

    assert rest[0].step == 5
    assert first == whole[:5]
    assert [p.loss for p in rest] == whole[4:]


@pytest.mark.parametrize("recipe", RECIPES)
def test_losses_fall(recipe: str, mels: npt.NDArray[np.float16], tmp_path: Path) -> None:
    losses = [p.loss for p in train(recipe, mels, tmp_path, steps=120, batch=8)]
    # Every sixth step of the planner also counts chords and melody.
    compared = [x for i, x in enumerate(losses) if i % 6 != 5]

    assert np.mean(compared[-25:]) < 0.97 * np.mean(compared[:25])


def test_a_checkpoint_of_another_seed_is_refused(tmp_path: Path) -> None:
    run = Run(torch.nn.Linear(2, 2), steps=5, learning_rate=1e-3, seed=1)
    run.save(tmp_path)

    with pytest.raises(InputError, match="seed 1, not 2"):
        Run(torch.nn.Linear(2, 2), steps=5, learning_rate=1e-3, seed=2).resume(tmp_path)


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    Run(torch.nn.Linear(2, 2), steps=5, learning_rate=1e-3, seed=1).save(tmp_path)

    with pytest.raises(InputError, match="another model"):
        Run(torch.nn.Linear(3, 2), steps=5, learning_rate=1e-3, seed=1).resume(tmp_path)


def test_a_loss_that_is_not_a_number_stops_the_run() -> None:
    model = torch.nn.Linear(2, 2)
    run = Run(model, steps=5, learning_rate=1e-3, seed=1)

    with pytest.raises(ValueError, match="the loss is nan"):
        run.update(model.weight.sum() * float("nan"))


def test_shipping_the_same_run_twice_gives_the_same_hash(
    mels: npt.NDArray[np.float16], tmp_path: Path
) -> None:
    list(train("codec", mels, tmp_path, steps=2))
    hashes = {ship(tmp_path / "codec.safetensors", tmp_path / name) for name in ("a", "b")}

    assert len(hashes) == 1
    assert Codec(CODEC).state_dict().keys() == _names(tmp_path / "a")


def test_an_unfinished_run_is_not_shipped(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not been finished"):
        ship(tmp_path / "codec.safetensors", tmp_path / "a")


def test_the_loss_curve_is_a_picture(tmp_path: Path) -> None:
    draw_losses([3.0, 2.0, 1.5, 1.2], tmp_path / "losses.png", title="test")

    assert (tmp_path / "losses.png").read_bytes().startswith(b"\x89PNG")


def _names(path: Path) -> set[str]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return set(file.keys())
