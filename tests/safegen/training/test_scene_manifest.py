"""The manifest of the rows of sound effects, on thirty scenes that need no samples."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from safegen.errors import InputError
from safegen.generation.base import Generation
from safegen.generation.scenes import Scene, compose_scene, render_scene
from safegen.generation.sounds import SOUNDS
from safegen.generation.systems import load_codec
from safegen.memorization import examine, parse
from safegen.training import scene_manifest
from safegen.training.scene_manifest import write_scene_manifest
from tests.safegen.generation.staged_models import staged_codec

HEARD = range(10, 16)
UNSEEN = range(20, 44)
SAMPLED = {found.name for found in SOUNDS if found.source != "procedural"}


def scene_of(seed: int) -> Scene:
    """The first of a thousand scenes of a seed that needs no sample."""
    scenes = (compose_scene(seed * 1000 + i) for i in range(1000))
    return next(x for x in scenes if not {layer.sound for layer in x.layers} & SAMPLED)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "sfx.manifest.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene_manifest, "compose_scene", scene_of)
        done = list(
            write_scene_manifest(
                path,
                load_codec(),
                codec_sha256="ab" * 32,
                samples=path.parent,
                heard=HEARD,
                unseen=UNSEEN,
            )
        )
    assert done[-1] == len(HEARD)
    return path


def test_the_manifest_names_every_scene_and_what_chance_reaches(manifest: Path) -> None:
    tensors = load_file(manifest)
    data = manifest.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    facts = json.loads(header["__metadata__"]["manifest"])

    assert tensors["seeds"].tolist() == list(HEARD)
    assert tensors["codes"].shape == (6, 250)
    assert set(facts["calibration"]) == {"tokens", "fingerprint"}


def test_a_copied_scene_is_nearest_to_its_own_seed(manifest: Path) -> None:
    items = parse(manifest.read_bytes())
    seed = HEARD[2]
    audio = render_scene(scene_of(seed), seconds=10.0)
    codes = load_codec().encode(audio).astype(np.int64)
    copy = Generation(
        audio=audio, plan_json="", plan_tokens=np.zeros(0, dtype=np.int64), codes=codes
    )

    found = examine(copy, items)

    assert found.nearest_item == f"seed:{seed}"
    assert found.fingerprint_agreement == 1.0
    assert found.plan_agreement is None


def test_scenes_cannot_be_heard_and_unseen(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="among the training items"):
        list(
            write_scene_manifest(
                tmp_path / "x.safetensors",
                staged_codec(),
                codec_sha256="",
                samples=tmp_path,
                heard=HEARD,
                unseen=HEARD[1:],
            )
        )


def test_missing_samples_are_named_before_anything_is_written(tmp_path: Path) -> None:
    sampled = next(
        seed
        for seed in range(3_000_000, 3_001_000)
        if any(layer.sound == "crow" for layer in compose_scene(seed).layers)
    )
    path = tmp_path / "x.safetensors"

    with pytest.raises(InputError, match="sonic-pi-samples"):
        list(
            write_scene_manifest(
                path,
                staged_codec(),
                codec_sha256="",
                samples=tmp_path,
                heard=range(sampled, sampled + 1),
                unseen=UNSEEN,
            )
        )

    assert not path.exists()
