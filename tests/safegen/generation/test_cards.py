import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from safegen.audio import sha256_file
from safegen.cli.models import models
from safegen.errors import InputError, IntegrityError, SafegenError
from safegen.generation.cards import CARDS, DEFAULT_MODEL, WEIGHTS, WeightFile, card, load_tensors


@pytest.fixture
def weights(tmp_path: Path) -> WeightFile:
    path = tmp_path / "w.safetensors"
    save_file({"a": torch.ones(3, dtype=torch.float16)}, path)
    return WeightFile(role="codec", name=path.name, sha256=sha256_file(path))


def test_weights_named_by_the_card_are_read_as_float32(weights: WeightFile, tmp_path: Path) -> None:
    tensors = load_tensors(weights, folder=tmp_path)

    assert tensors["a"].dtype == torch.float32


def test_a_changed_byte_is_refused(weights: WeightFile, tmp_path: Path) -> None:
    path = tmp_path / weights.name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))

    with pytest.raises(IntegrityError, match="the model card says"):
        load_tensors(weights, folder=tmp_path)


def test_a_missing_file_is_not_a_broken_promise(weights: WeightFile, tmp_path: Path) -> None:
    with pytest.raises(SafegenError, match="missing") as caught:
        load_tensors(replace(weights, name="gone.safetensors"), folder=tmp_path)

    assert caught.value.exit_code == 1


@pytest.mark.parametrize("file", card(DEFAULT_MODEL).files, ids=lambda file: file.role)
def test_the_shipped_files_are_the_ones_the_card_names(file: WeightFile) -> None:
    assert sha256_file(WEIGHTS / file.name) == file.sha256


def test_the_shipped_weights_fit_in_twenty_megabytes() -> None:
    files = [file for file in card(DEFAULT_MODEL).files if file.role != "manifest"]
    size = sum((WEIGHTS / file.name).stat().st_size for file in files)

    assert size <= 20_000_000


def test_the_combined_hash_covers_every_weight_but_not_the_manifest() -> None:
    found = card(DEFAULT_MODEL)
    other = [replace(x, sha256="0" * 64) if x.role == "planner" else x for x in found.files]
    manifest = [replace(x, sha256="0" * 64) if x.role == "manifest" else x for x in found.files]

    assert replace(found, files=tuple(other)).weights_sha256 != found.weights_sha256
    assert replace(found, files=tuple(manifest)).weights_sha256 == found.weights_sha256


def test_an_unknown_card_is_refused() -> None:
    with pytest.raises(InputError, match="no such model"):
        card("gpt")


def test_the_list_names_the_default_model() -> None:
    result = CliRunner().invoke(models, ["list", "--format", "jsonl"])
    rows = [json.loads(line) for line in result.stdout.splitlines()]

    assert [row["name"] for row in rows] == [*(x.name for x in CARDS), "audioseal"]
    assert [row["name"] for row in rows if row["default"]] == [DEFAULT_MODEL]


def test_show_prints_hashes_and_checks_them() -> None:
    args = ["show", DEFAULT_MODEL, "--check", "--format", "jsonl"]
    result = CliRunner().invoke(models, args)

    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["weights_sha256"] == card(DEFAULT_MODEL).weights_sha256
