"""``safegen models``: public checkpoints in and out, and what they made afterwards."""

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from safetensors.torch import save_file
from torch import save as save_pickle

from registry import releases, schema
from safegen.audio import sha256_file
from safegen.cli import main
from safegen.config import from_environment
from safegen.errors import InputError
from safegen.generation import own, systems
from safegen.generation.base import Request
from safegen.provenance import c2pa
from safegen.provenance.keys import KeyStore
from tests.safegen.generation.public_help import noise_family, save_checkpoint, tensors
from tests.safegen.generation.tiny_audiogen import save_audiogen
from tests.safegen.hub_help import COMMIT, FakeHub, hub

__all__ = ["hub", "noise_family"]  # fixtures

NAME = "someone/noise"


@pytest.fixture(autouse=True)
def _home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAFEGEN_HOME", str(home))
    systems._public.cache_clear()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return save_checkpoint(tmp_path / "source", license_="cc-by-nc-4.0")


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [*map(str, words)])


def rows(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def public(home: Path) -> list[str]:
    folder = home / "models"
    return sorted(path.parent.name for path in folder.rglob("public.json"))


@pytest.mark.usefixtures("noise_family")
def test_what_was_pulled_generates_labeled_and_is_made_again(
    tmp_path: Path, home: Path, source: Path, hub: FakeHub
) -> None:
    hub.repositories[NAME] = source
    pulled = run("models", "pull", NAME, "--accept-license", "--format", "jsonl")
    day = rows(pulled)[0]["accepted"]
    made = rows(
        run(
            *("generate", "rain", "--model", NAME, "--seed", "3", "--seconds", "6"),
            *("--out", tmp_path / "out", "--format", "jsonl"),
        )
    )[0]
    again = rows(run("replay", made["record_id"], "--format", "jsonl"))[0]
    config = from_environment({"SAFEGEN_HOME": str(home)})
    with schema.open_database(config.database_url).read() as session:
        record = json.loads(releases.get_output(session, made["record_id"]).record)
    anchors = KeyStore(config.keys).trust_anchors()
    manifest = c2pa.read(Path(made["path"]), trust_anchors=anchors)

    assert made["decision"] == "label"
    assert any("CC-BY-NC-4.0, which binds" in reason["problem"] for reason in made["reasons"])
    assert record["model"]["name"] == NAME
    assert record["model"]["license"] == "CC-BY-NC-4.0"
    assert record["model"]["license_accepted"] == day
    assert len(record["model"]["weights_sha256"]) == 64
    assert manifest.model_license == "CC-BY-NC-4.0"
    assert "a model under CC-BY-NC-4.0, which binds whoever" in run("verify", made["path"]).stdout
    assert again["same"]
    assert again["differences"] == []


@pytest.mark.usefixtures("noise_family")
def test_a_replay_names_other_weights_of_the_same_name(tmp_path: Path, source: Path) -> None:
    assert run("models", "add", NAME, source, "--accept-license").exit_code == 0
    made = rows(
        run(
            *("generate", "rain", "--model", NAME, "--seed", "3", "--seconds", "6"),
            *("--out", tmp_path / "out", "--format", "jsonl"),
        )
    )[0]
    save_file(tensors(9), source / "model.safetensors", metadata={"format": "pt"})
    assert run("models", "add", NAME, source, "--accept-license", "--overwrite").exit_code == 0
    changed = run("replay", made["record_id"], "--format", "jsonl")
    assert run("models", "remove", NAME).exit_code == 0
    gone = run("replay", made["record_id"])

    assert changed.exit_code == 3
    assert "weights_sha256" in [x["name"] for x in json.loads(changed.stdout)["differences"]]
    assert gone.exit_code == 1
    assert f"safegen models pull {NAME}" in gone.stderr


@pytest.mark.usefixtures("noise_family")
def test_what_a_folder_made_is_made_again_once_the_folder_is_installed(
    tmp_path: Path, source: Path
) -> None:
    asked = ("generate", "rain", "--model", source, "--seed", "3", "--seconds", "6")
    words = (*asked, "--out", tmp_path / "out", "--format", "jsonl")
    refused = run(*words)
    made = rows(run(*words, "--accept-license"))[0]
    resumed = run(*words, "--accept-license", "--resume")
    before = run("replay", made["record_id"])
    assert run("models", "add", made["model"], source, "--accept-license").exit_code == 0
    again = rows(run("replay", made["record_id"], "--format", "jsonl"))[0]

    assert refused.exit_code == 2
    assert "--accept-license" in refused.stderr
    assert made["model"] == "source"
    assert str(tmp_path) not in json.dumps({**made, "path": ""})
    assert "1 of 1 items were released before" in resumed.stderr
    assert before.exit_code == 1
    assert "safegen models add source FOLDER" in before.stderr
    assert again["same"]
    assert again["differences"] == []


@pytest.mark.usefixtures("noise_family")
def test_sizes_and_license_are_told_before_anything_large_is_fetched(
    source: Path, hub: FakeHub
) -> None:
    hub.repositories[NAME] = source
    pulled = run("models", "pull", NAME, "--accept-license")

    assert pulled.exit_code == 0
    assert "MusicGen, 0.00 GB with weights; license CC-BY-NC-4.0 (its model card)" in pulled.stderr
    assert f"installed from {NAME}@{COMMIT}" in pulled.stdout


@pytest.mark.parametrize("command", ["pull", "add"])
@pytest.mark.usefixtures("noise_family")
def test_without_consent_nothing_is_written_and_the_command_is_named(
    home: Path, source: Path, hub: FakeHub, command: str
) -> None:
    hub.repositories[NAME] = source
    words = ("pull", NAME) if command == "pull" else ("add", NAME, str(source))
    refused = run("models", *words)

    assert refused.exit_code == 2
    assert "CC-BY-NC-4.0, which was not accepted" in refused.stderr
    assert f"`safegen models {' '.join(words)} --accept-license`" in refused.stderr
    assert not (home / "models").exists()


@pytest.mark.usefixtures("noise_family")
def test_the_command_that_a_refusal_names_works_as_it_stands(home: Path, tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path / "my noise", license_="")
    (folder / "model.safetensors").unlink()
    save_pickle(tensors(), folder / "pytorch_model.bin")
    words = ("models", "add", "my-noise", folder, "--license", "CC-BY-NC-4.0")
    pickled = run(*words)
    convert = shlex.split(pickled.stderr.split("`")[1])
    hashed = [w.replace("HEX", sha256_file(folder / "pytorch_model.bin")) for w in convert]
    refused = run(*hashed[1:])
    accept = shlex.split(refused.stderr.split("`")[1])
    assert not (home / "models").exists()
    made = run(*accept[1:], "--format", "jsonl")

    assert convert == [
        *("safegen", *map(str, words), "--convert", "--sha256", "pytorch_model.bin=HEX")
    ]
    assert "CC-BY-NC-4.0, which was not accepted" in refused.stderr
    assert rows(made)[0]["license"] == "CC-BY-NC-4.0"


@pytest.mark.usefixtures("noise_family")
def test_a_hash_of_no_file_of_the_folder_is_refused(home: Path, source: Path) -> None:
    words = ("--accept-license", "--sha256", f"modle.safetensors={'0' * 64}")
    refused = run("models", "add", NAME, source, *words)

    assert refused.exit_code == 2
    assert f"names modle.safetensors, {source} has no such file of weights" in refused.stderr
    assert public(home) == []


@pytest.mark.usefixtures("noise_family")
def test_models_are_listed_shown_checked_and_removed(home: Path, tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path / "free")
    assert run("models", "add", "my-noise", folder).exit_code == 0
    listed = {row["name"]: row for row in rows(run("models", "list", "--format", "jsonl"))}
    known = {row["name"]: row for row in rows(run("models", "list", "--all", "--format", "jsonl"))}
    shown = run("models", "show", "my-noise", "--check")
    (home / "models" / "my-noise" / "tokenizer.json").write_text("{}")
    damaged = run("models", "show", "my-noise", "--check")
    removed = run("models", "remove", "my-noise")

    assert listed["my-noise"]["license"] == "MIT"
    assert listed["my-noise"]["size_bytes"] > 0
    assert "facebook/musicgen-small" not in listed
    assert known["facebook/musicgen-small"]["license"] == "CC-BY-NC-4.0"
    assert not known["facebook/musicgen-small"]["installed"]
    assert "checked     every file" in shown.stdout
    assert sha256_file(folder / "model.safetensors") in shown.stdout
    assert str(home / "models" / "my-noise") in shown.stdout
    assert damaged.exit_code == 4
    assert removed.exit_code == 0
    assert public(home) == []


@pytest.mark.usefixtures("noise_family")
def test_the_name_of_a_public_model_is_not_free_for_a_model_of_ones_own(
    home: Path, tmp_path: Path
) -> None:
    assert run("models", "add", "noise", save_checkpoint(tmp_path / "free")).exit_code == 0

    with pytest.raises(InputError, match="the name of a public model"):
        own.check_free(home / "models", "noise", overwrite=True)


@pytest.mark.usefixtures("noise_family")
def test_a_folder_is_shown_before_it_is_installed(source: Path) -> None:
    shown = run("models", "show", source)

    assert shown.exit_code == 0
    assert "license     CC-BY-NC-4.0" in shown.stdout
    assert "consent     license told by its model card" in shown.stdout


@pytest.mark.usefixtures("noise_family")
def test_who_told_a_license_is_said_in_words(tmp_path: Path) -> None:
    silent = save_checkpoint(tmp_path / "silent", license_="")
    words = ("models", "add", "facebook/musicgen-noise", silent, "--accept-license")
    day = rows(run(*words, "--format", "jsonl"))[0]["accepted"]
    told = run("models", "show", "facebook/musicgen-noise").stdout

    assert f"consent     license known for facebook/musicgen-*; accepted on {day}" in told
    assert "consent     no license was told" in run("models", "show", silent).stdout


@pytest.mark.usefixtures("noise_family")
def test_a_license_is_told_by_the_operator_only_where_nobody_else_does(
    home: Path, tmp_path: Path, source: Path
) -> None:
    silent = save_checkpoint(tmp_path / "silent", license_="")
    words = ("--license", "cc0-1.0", "--format", "jsonl")
    told = rows(run("models", "add", "silent", silent, *words))[0]
    kept = rows(run("models", "add", "loud", source, "--accept-license", *words))[0]
    unknown = rows(run("models", "add", "unknown", silent, "--format", "jsonl"))[0]

    assert (told["license"], told["license_source"]) == ("CC0-1.0", "the operator")
    assert (kept["license"], kept["license_source"]) == ("CC-BY-NC-4.0", "its model card")
    assert unknown["license"] == "unknown"
    made = run(
        *("generate", "rain", "--model", "unknown", "--seconds", "6"),
        *("--out", tmp_path / "out"),
    )
    assert made.exit_code == 3
    assert "the license of unknown was not told" in made.stdout


@pytest.mark.usefixtures("noise_family")
def test_who_installs_a_model_without_a_license_is_told_what_follows(tmp_path: Path) -> None:
    silent = save_checkpoint(tmp_path / "silent", license_="")
    untold = run("models", "add", "silent", silent)
    told = run("models", "add", "told", silent, "--license", "MIT")

    assert untold.exit_code == told.exit_code == 0
    assert "nobody told its license, and strict refuses everything" in untold.stderr
    assert "add silent FOLDER --license LICENSE --overwrite`" in untold.stderr
    assert "nobody told" not in told.stderr


@pytest.mark.usefixtures("noise_family")
def test_nothing_is_made_by_a_folder_whose_license_nobody_tells(home: Path, tmp_path: Path) -> None:
    silent = save_checkpoint(tmp_path / "silent", license_="")
    words = ("generate", "rain", "--model", silent, "--seconds", "6", "--out", tmp_path / "out")
    refused = run(*words)
    (silent / "README.md").write_text("---\nlicense: mit\n---\n")

    assert refused.exit_code == 2
    assert "nobody tells the license" in refused.stderr
    assert f"at the head of {silent}/README.md" in refused.stderr
    assert f"`safegen models add NAME {silent} --license LICENSE`" in refused.stderr
    assert not (tmp_path / "out").exists()
    assert run(*words).exit_code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("pull", "audioseal", "--revision", "v1"), "pinned to one revision"),
        (("pull", "music-flow"), "no name on the hub"),
        (("add", NAME, "{source}", "{source}"), "no folder of a checkpoint"),
        (("add", NAME, "{source}/config.json"), "no folder of a checkpoint"),
        (("add", NAME, "{source}", "--text-encoder", "{source}"), "goes with two files"),
        (("add", "music-flow", "{source}"), "name of something that ships"),
        (("add", "audioseal", "{source}"), "is added from two files"),
        (("add", NAME, "{source}", "--license", "\n"), "no name of a license"),
        (("remove", NAME), "no own model"),
        (("show", "facebook/musicgen-small"), "is not installed"),
    ],
)
@pytest.mark.usefixtures("noise_family")
def test_wrong_use_is_refused_and_nothing_is_written(
    home: Path, source: Path, words: tuple[str, ...], said: str
) -> None:
    (source / "README.md").unlink()
    refused = run("models", *(word.format(source=source) for word in words))

    assert refused.exit_code == 2, refused.output
    assert said in refused.stderr
    assert not (home / "models").exists()


def test_audiogen_is_installed_from_the_files_it_is_published_in_and_generates(
    home: Path, tmp_path: Path
) -> None:
    made_by = save_audiogen(tmp_path / "audiogen")
    hashes = [w for name in made_by.sha256 for w in ("--sha256", f"{name}={made_by.sha256[name]}")]
    files = (made_by.lm, made_by.compression, "--text-encoder", made_by.text_encoder)
    words = ("models", "add", "facebook/audiogen-medium", *files)
    refused = run(*words, *hashes)
    assert not (home / "models").exists()
    made = run(*words, *hashes, "--accept-license", "--format", "jsonl")

    assert refused.exit_code == 2
    assert "CC-BY-NC-4.0, which was not accepted" in refused.stderr
    assert rows(made)[0]["family"] == "musicgen"
    assert rows(made)[0]["license"] == "CC-BY-NC-4.0"
    generator = systems.load("facebook/audiogen-medium", models=home / "models")
    sound = [generator.generate(Request(prompt="rain", seconds=1.0, seed=2)) for _ in range(2)]

    assert np.array_equal(sound[0].audio.waveform, sound[1].audio.waveform)
    assert sound[0].audio.seconds == 1.0
    assert generator.facts.license_accepted == rows(made)[0]["accepted"]
