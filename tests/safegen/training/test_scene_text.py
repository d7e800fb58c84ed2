from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from safegen.generation.text import TextConfig
from safegen.training.loop import Progress
from safegen.training.scene_text import train

TINY = TextConfig(embedding=16, width=16, layers=1, heads=2)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def start(folder: Path, *, steps: int) -> Iterator[Progress]:
    return train(folder=folder, steps=steps, batch=8, config=TINY, save_every=2)


def test_a_resumed_run_has_the_losses_of_one_never_stopped(tmp_path: Path) -> None:
    whole = [p.loss for p in start(tmp_path / "whole", steps=6)]
    stopped = start(tmp_path / "stopped", steps=6)
    first = [next(stopped).loss for _ in range(3)]
    del stopped
    rest = list(start(tmp_path / "stopped", steps=6))

    assert rest[0].step == 3
    assert first == whole[:3]
    assert [p.loss for p in rest] == whole[2:]


def test_losses_fall(tmp_path: Path) -> None:
    losses = [p.loss for p in start(tmp_path, steps=60)]

    assert np.mean(losses[-10:]) < 0.6 * np.mean(losses[:10])
    assert (tmp_path / "scene-reader.safetensors").exists()
