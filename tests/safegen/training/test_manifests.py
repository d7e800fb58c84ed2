import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from safegen.generation.cards import DEFAULT_MODEL, WEIGHTS, card
from safegen.generation.compose import compose, digest, from_tokens
from safegen.training.manifests import PLAN_SEEDS, TRAINING_SEEDS, write_manifest
from tests.safegen.generation.debug_models import debug_codec

SHIPPED = WEIGHTS / card(DEFAULT_MODEL).file("manifest").name


def test_the_plans_start_with_the_heard_items() -> None:
    assert PLAN_SEEDS[: len(TRAINING_SEEDS)] == TRAINING_SEEDS


def test_plans_that_do_not_start_with_the_heard_items_are_refused(tmp_path: Path) -> None:
    writing = write_manifest(
        tmp_path / "m",
        debug_codec(),
        codec_sha256="",
        soundfont=tmp_path / "none.sf3",
        heard=range(3),
        planned=range(1, 5),
    )

    with pytest.raises(ValueError, match="must start with"):
        list(writing)


def test_the_shipped_manifest_names_every_item_by_seed_and_plan() -> None:
    tensors = load_file(SHIPPED)

    assert tensors["seeds"].tolist() == list(PLAN_SEEDS)
    assert tensors["plans"].shape == (len(PLAN_SEEDS), 57)
    assert tensors["codes"].shape == (len(TRAINING_SEEDS), 250)
    assert tensors["codes"].dtype == np.uint16
    for row in (0, 4_999, 39_999):
        plan = compose(int(tensors["seeds"][row]))

        assert from_tokens(tensors["plans"][row].tolist()) == plan
        assert tensors["plan_digests"][row].tobytes().hex() == digest(plan)[:16]


def test_the_shipped_manifest_belongs_to_the_shipped_codec() -> None:
    with safe_open(SHIPPED, framework="np") as file:
        facts = json.loads(file.metadata()["manifest"])

    assert facts["codec_sha256"] == card(DEFAULT_MODEL).file("codec").sha256


def test_the_shipped_manifest_is_small() -> None:
    assert SHIPPED.stat().st_size <= 7_000_000
