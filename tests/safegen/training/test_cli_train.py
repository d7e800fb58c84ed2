import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from safegen.cli.train import RECIPES, train
from safegen.errors import InputError
from safegen.generation.codec import MELS
from safegen.training.manifests import TRAINING_SEEDS
from safegen.training.mels import FRAMES, cache_path


def run(folder: Path, *args: str) -> dict[str, object]:
    common = ["--folder", str(folder), "--threads", "1", "--format", "jsonl"]
    result = CliRunner().invoke(train, [*args, *common], catch_exceptions=False)

    assert result.exit_code == 0, result.output
    row: dict[str, object] = json.loads(result.stdout)
    return row


def test_a_finished_run_leaves_weights_and_a_picture_and_prints_the_hash(tmp_path: Path) -> None:
    row = run(tmp_path, "text-plan", "--steps", "2", "--batch", "2")

    assert row["steps"] == 2
    assert len(str(row["sha256"])) == 64
    assert (tmp_path / "text-plan" / "losses.png").exists()
    assert Path(str(row["file"])).stat().st_size < 6_000_000


def test_the_reader_of_scenes_needs_nothing_else(tmp_path: Path) -> None:
    row = run(tmp_path, "scene-text", "--steps", "2", "--batch", "2")

    assert Path(str(row["file"])).name == "scene-reader.fp16.safetensors"
    assert Path(str(row["file"])).stat().st_size <= 1_000_000


def test_the_recipes_build_on_each_other(tmp_path: Path) -> None:
    dice = np.random.default_rng(0)
    mels = dice.normal(size=(2, FRAMES, MELS)).astype(np.float16)
    np.save(cache_path(tmp_path, TRAINING_SEEDS[:2]), mels)
    short = ["--items", "2", "--steps", "1", "--batch", "2"]
    run(tmp_path, "codec", *short)
    run(tmp_path, "text-plan", "--steps", "1", "--batch", "2")
    made = {
        Path(str(run(tmp_path, recipe, *short)["file"])).name
        for recipe in ("flow", "cascade-generator", "cascade-unet", "transcriber", "joint")
    }

    assert made == {
        "renderer.fp16.safetensors",
        "cascade-generator.fp16.safetensors",
        "cascade-unet.fp16.safetensors",
        "transcriber.fp16.safetensors",
        "joint.fp16.safetensors",
    }


@pytest.mark.parametrize(
    ("recipe", "problem"),
    [("codec", "soundfont"), ("manifest", "not there yet")],
    ids=["no soundfont", "no codec"],
)
def test_a_recipe_that_misses_something_says_what(
    recipe: str, problem: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=problem):
        CliRunner().invoke(
            train, [recipe, "--folder", str(tmp_path), "--items", "2"], catch_exceptions=False
        )


def test_an_unknown_recipe_is_wrong_use(tmp_path: Path) -> None:
    result = CliRunner().invoke(train, ["alchemy", "--folder", str(tmp_path)])

    assert result.exit_code == 2
    assert all(recipe in result.output for recipe in RECIPES)
