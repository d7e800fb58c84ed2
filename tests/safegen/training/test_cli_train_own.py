"""``safegen train ROW --data``: what is refused, and one step from a folder to a model."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from safegen.audio import save
from safegen.cli import main
from safegen.cli.train_own import ROWS
from safegen.errors import IntegrityError
from safegen.generation.systems import load
from safegen.training.own_rows import TRAINED
from tests.safegen.conftest import tones


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAFEGEN_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    where = tmp_path / "data"
    where.mkdir()
    for seed, name in enumerate(("a", "b")):
        save(tones(seed, seconds=6.0), where / f"{name}.wav")
    (where / "torn.wav").write_bytes(b"RIFF")
    rows = [f"{name}.wav,a slow piano piece" for name in ("a", "b", "torn")]
    (tmp_path / "captions.csv").write_text("file,caption,mood\n" + "\n".join(rows))
    return where


def run(*args: str) -> Result:
    return CliRunner().invoke(main, list(args))


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        (["music-flow"], "none are named"),
        (["flow", "--data", "data"], "takes no files of one's own"),
        (["codec", "--captions", "captions.csv"], "takes no files of one's own"),
        (["procedural", "--data", "data"], "procedural learns nothing"),
        (["music-flow", "--data", "data", "--assets", "data"], "for the project's recipes"),
        (["music-flow", "--data", "data"], "learns from captions and there are none"),
        (["music-flow", "--data", "data", "--captions", "captions.csv"], "have no license"),
        (["music-flow", "--data", "data", "--name", "My Model"], "is no name for a model"),
        (["music-flow", "--data", "data", "--name", "music-flow"], "something that ships"),
        (["music-flow", "--data", "data", "--captions", "captions.csv", "--license", "free!"],
         "is not written as SPDX"),
        (["music-flow", "--data", "nowhere"], "does not exist"),
    ],
)  # fmt: skip
def test_wrong_use_is_told_before_anything_is_written(
    args: list[str], problem: str, folder: Path, home: Path
) -> None:
    result = run("train", *args, "--steps", "1")

    assert result.exit_code == 2, result.output
    assert problem in result.output
    assert not (home / "models").exists()
    assert not Path("runs").exists() or not any(Path("runs").rglob("*.safetensors"))


def test_the_rows_of_the_command_are_those_that_can_be_trained() -> None:
    assert {*ROWS, "codec"} == {*TRAINED, "procedural"}


def test_a_folder_becomes_a_model_that_is_listed_checked_and_removed(
    folder: Path, home: Path
) -> None:
    named = "--data data --captions captions.csv --license CC-BY-4.0 --name mine"
    args = ["train", "music-flow", *named.split(), "--steps", "1", "--batch", "1"]
    made = run(*args, "--format", "jsonl")
    row = json.loads(made.stdout)
    again = run(*args)
    listed = [json.loads(x) for x in run("models", "list", "--format", "jsonl").stdout.splitlines()]
    shown = run("models", "show", "mine", "--check", "--format", "jsonl")
    card = json.loads(shown.stdout)
    loaded = load("mine", models=home / "models").facts

    assert row["finished"]
    assert row["files"] == 2
    assert row["license"] == "Apache-2.0 AND CC-BY-4.0"
    assert [x["name"] for x in row["left_out"]] == ["torn.wav"]
    assert "torn.wav: " in made.stderr
    assert "mood" in made.stderr
    assert again.exit_code == 2
    assert "mine exists" in again.output
    assert [x["name"] for x in listed if x["own"]] == ["mine"]
    assert card["own"]["learned"]["licenses"] == {"CC-BY-4.0": 2}
    assert "--license CC-BY-4.0 --name mine" in card["recipes"][0]
    assert (loaded.name, loaded.license) == ("mine", "Apache-2.0 AND CC-BY-4.0")
    assert loaded.training_manifest_sha256 == row["training_manifest_sha256"]

    (home / "models" / "mine" / "renderer.safetensors").write_bytes(b"other")
    damaged = run("models", "show", "mine", "--check")
    removed = run("models", "remove", "mine")

    assert damaged.exit_code == IntegrityError.exit_code
    assert removed.exit_code == 0
    assert not (home / "models" / "mine").exists()
    assert run("models", "remove", "mine").exit_code == 2


def test_an_own_codec_encodes_files_that_only_it_decodes(folder: Path) -> None:
    (folder / "torn.wav").unlink()
    named = "--data data --license CC0-1.0 --name small --steps 1 --batch 1 --threads 1"
    made = run("train", "codec", *named.split())
    there = run("codec", "encode", "data/a.wav", "--out", "s", "--model", "small")
    wrong = run("codec", "decode", "s/a.sgc", "--out", "b")
    back = run("codec", "decode", "s/a.sgc", "--out", "b", "--model", "small")
    asked = run("generate", "rain", "--model", "small", "--out", "out")

    assert (made.exit_code, there.exit_code, back.exit_code) == (0, 0, 0), made.output
    assert wrong.exit_code == 2
    assert Path("b/a.wav").stat().st_size > 100_000
    assert asked.exit_code != 0
    assert not Path("out").exists() or not any(Path("out").iterdir())
