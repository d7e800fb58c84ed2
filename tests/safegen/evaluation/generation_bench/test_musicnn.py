from pathlib import Path

import numpy as np
import pytest

from safegen.audio import Audio
from safegen.errors import InputError
from safegen.evaluation.generation_bench.musicnn import (
    DIMENSIONS,
    PATCH_SECONDS,
    Musicnn,
    find_musicnn,
)

from .bundles import bundle

SHAPES = {
    "conv2d": (7, 38, 1, 204),
    "conv2d_1": (7, 67, 1, 204),
    "conv2d_2": (128, 1, 1, 51),
    "conv2d_3": (64, 1, 1, 51),
    "conv2d_4": (32, 1, 1, 51),
    "conv2d_5": (7, 561, 1, 64),
    "conv2d_6": (7, 64, 1, 64),
    "conv2d_7": (7, 64, 1, 64),
    "dense": (1506, DIMENSIONS),
    "dense_1": (DIMENSIONS, 50),
}
WIDTHS = (1, 204, 204, 51, 51, 51, 64, 64, 64, 1506, DIMENSIONS)


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with random weights where `safegen eval assets` would put the real one."""
    dice = np.random.default_rng(0)
    tensors = {}
    for name, shape in SHAPES.items():
        scale = np.sqrt(np.prod(shape[:-1]))
        tensors[f"{name}/kernel"] = (dice.normal(size=shape) / scale).astype(np.float32)
        tensors[f"{name}/bias"] = np.zeros(shape[-1], dtype=np.float32)
    for place, width in enumerate(WIDTHS):
        name = f"batch_normalization_{place}" if place else "batch_normalization"
        for part, value in (("moving_mean", 0), ("moving_variance", 1), ("gamma", 1), ("beta", 0)):
            tensors[f"{name}/{part}"] = np.full(width, value, dtype=np.float32)
    index, data = bundle(tensors)
    assets = tmp_path_factory.mktemp("assets")
    folder = assets / "musicnn" / "MTT_musicnn"
    folder.mkdir(parents=True)
    (folder / ".index").write_bytes(index)
    (folder / ".data-00000-of-00001").write_bytes(data)
    return assets


def noise(seconds: float, *, seed: int = 0) -> Audio:
    dice = np.random.default_rng(seed)
    samples = dice.normal(size=(1, round(seconds * 16_000))).astype(np.float32)
    return Audio(waveform=0.1 * samples, sample_rate=16_000)


def network(assets: Path) -> Musicnn:
    found = find_musicnn(assets)

    assert found is not None
    return Musicnn(found)


def test_every_patch_of_three_seconds_has_an_embedding(assets: Path) -> None:
    found = network(assets).embed(noise(2.2 * PATCH_SECONDS))

    assert found.shape == (2, DIMENSIONS)
    assert np.isfinite(found).all()
    assert found.std() > 0


def test_a_patch_is_heard_alike_alone_and_among_others(assets: Path) -> None:
    judge, sound = network(assets), noise(2.2 * PATCH_SECONDS)
    both = judge.embed(sound)
    first = judge.embed(sound.cut(0.0, 1.05 * PATCH_SECONDS))

    # The last frames of the shorter sound see its end; the rest of the patch is the same.
    assert np.corrcoef(both[0], first[0])[0, 1] > 0.999
    assert np.corrcoef(both[0], both[1])[0, 1] < np.corrcoef(both[0], first[0])[0, 1]


def test_tags_are_probabilities(assets: Path) -> None:
    tags = network(assets).tags(noise(4.0))

    assert tags.shape == (50,)
    assert ((tags > 0) & (tags < 1)).all()


def test_a_sound_that_is_too_short_is_refused(assets: Path) -> None:
    with pytest.raises(InputError, match=r"shorter than the 2\.99 s"):
        network(assets).embed(noise(2.0))


def test_another_network_is_refused(tmp_path: Path) -> None:
    index, data = bundle({"conv2d/kernel": np.zeros((3, 3, 1, 128), dtype=np.float32)})
    (tmp_path / ".index").write_bytes(index)
    (tmp_path / ".data-00000-of-00001").write_bytes(data)

    with pytest.raises(InputError, match="not MTT_musicnn"):
        Musicnn(tmp_path)


def test_a_missing_checkpoint_says_how_to_fetch_it(tmp_path: Path) -> None:
    assert find_musicnn(tmp_path) is None
    with pytest.raises(InputError, match="eval assets"):
        Musicnn(tmp_path)
