"""Checkpoints that come from the hub or from a folder: compared, converted, accepted, whole."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from safegen.audio import sha256_file
from safegen.errors import InputError, IntegrityError, SafegenError
from safegen.generation import known, public_add, public_arrivals, public_pull, public_store
from safegen.generation.public_arrivals import Arrival
from safegen.generation.public_card import Checkpoint
from tests.safegen.generation.public_help import (
    noise_family,
    save_checkpoint,
    save_pipeline,
    tensors,
)
from tests.safegen.hub_help import COMMIT, FakeHub, hub

__all__ = ["hub", "noise_family"]  # fixtures

pytestmark = pytest.mark.usefixtures("noise_family")
DAY = "2026-11-22"
NAME = "someone/noise"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "home" / "models"


@pytest.fixture
def source(tmp_path: Path, hub: FakeHub) -> Path:
    hub.repositories[NAME] = save_checkpoint(tmp_path / "source")
    return hub.repositories[NAME]


def look(models: Path, *, revision: str = "", overwrite: bool = False) -> Arrival:
    return public_pull.look(NAME, revision=revision, models=models, overwrite=overwrite)


def pull(models: Path) -> Checkpoint:
    return public_pull.pull(look(models), models=models, day=DAY, overwrite=False)


def add(models: Path, folder: Path, *, convert: bool = False, **hashes: str) -> Checkpoint:
    arrival = public_add.at("noise", folder, license_="", is_converted=convert)
    told = {name.replace("__", "."): sha256 for name, sha256 in hashes.items()}
    return public_add.add(arrival, hashes=told, models=models, day=DAY, overwrite=False)


def nothing_installed(models: Path) -> bool:
    return list(public_store.installed(models)) == []


# From the hub --------------------------------------------------------------------------


def test_what_is_pulled_is_pinned_to_a_commit_and_holds_only_what_is_needed(
    models: Path, source: Path, hub: FakeHub
) -> None:
    for extra in ("pytorch_model.bin", "flax_model.msgpack", "onnx.json.lock", "state_dict.bin"):
        (source / extra).write_bytes(b"of no use here")
    seen: list[int] = []
    arrival = look(models)
    found = public_pull.pull(arrival, models=models, day=DAY, overwrite=False, progress=seen.append)

    assert found.public.origin == f"{NAME}@{COMMIT}"
    assert [file.name for file in found.public.files] == [
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    assert found.public.license_source == "its model card"
    assert arrival.size_bytes == found.public.size_bytes
    assert sum(seen) == (source / "model.safetensors").stat().st_size
    assert not (models / "downloads" / "someone--noise").exists()
    assert {name for name, _ in hub.asked} == {file.name for file in found.public.files}
    assert known.find(NAME, models=models).card.version == COMMIT[:12]


def test_a_pipeline_is_pulled_with_its_folders(models: Path, tmp_path: Path, hub: FakeHub) -> None:
    hub.repositories[NAME] = save_pipeline(tmp_path / "pipeline")
    (tmp_path / "pipeline" / "transformer" / "diffusion_pytorch_model.bin").write_bytes(b"pickle")
    found = pull(models)

    assert found.public.license == "unknown"
    assert sum(file.role == "weights" for file in found.public.files) == 4
    assert (found.folder / "scheduler" / "scheduler_config.json").is_file()
    assert not (found.folder / "transformer" / "diffusion_pytorch_model.bin").exists()


def test_a_download_that_broke_off_is_continued(models: Path, source: Path, hub: FakeHub) -> None:
    arrival = look(models)
    hub.breaks_after = 100
    with pytest.raises(SafegenError, match="connection reset") as caught:
        public_pull.pull(arrival, models=models, day=DAY, overwrite=False)
    hub.breaks_after = None
    hub.asked.clear()
    assert nothing_installed(models)
    found = pull(models)

    assert "it continues where it stopped" in caught.value.remedy
    assert ("model.safetensors", "bytes=100-") in hub.asked
    assert sha256_file(found.folder / "model.safetensors") == sha256_file(
        source / "model.safetensors"
    )


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_file_that_is_not_the_listed_one_is_deleted_and_nothing_installed(
    models: Path, source: Path, hub: FakeHub, name: str
) -> None:
    data = (source / name).read_bytes()
    hub.changed[name] = data[:-1] + bytes([data[-1] ^ 1])
    with pytest.raises(IntegrityError, match=f"{name}: hash"):
        pull(models)

    assert nothing_installed(models)
    assert not list(models.rglob(f"{name}*"))


def test_without_a_network_the_command_and_the_folder_are_named(
    models: Path, source: Path, hub: FakeHub
) -> None:
    hub.is_reachable = False
    with pytest.raises(SafegenError, match="no route to host") as caught:
        look(models)

    assert type(caught.value) is SafegenError
    assert f"safegen models pull {NAME}" in caught.value.remedy
    assert f"safegen models add {NAME} {models / 'downloads' / 'someone--noise'}" in (
        caught.value.remedy
    )
    assert not models.exists()


def test_the_command_that_goes_on_says_yes_where_the_license_asks_for_it(
    models: Path, tmp_path: Path, hub: FakeHub
) -> None:
    name = "facebook/musicgen-small"
    hub.repositories[NAME] = save_checkpoint(tmp_path / "asking", license_="cc-by-nc-4.0")
    arrival = look(models)
    hub.is_reachable = False
    with pytest.raises(SafegenError) as begun:
        public_pull.pull(arrival, models=models, day=DAY, overwrite=False)
    with pytest.raises(SafegenError) as known_of:
        public_pull.look(name, revision="", models=models, overwrite=False)

    assert f"`safegen models pull {NAME} --accept-license`" in begun.value.remedy
    assert f"`safegen models pull {name} --accept-license`" in known_of.value.remedy


def test_a_repository_that_no_class_reads_says_so_without_a_network(
    models: Path, hub: FakeHub
) -> None:
    name = "stabilityai/stable-audio-open-small"
    hub.is_reachable = False
    with pytest.raises(InputError, match="layout of stable-audio-tools only") as caught:
        public_pull.look(name, revision="", models=models, overwrite=False)

    assert "No class of diffusers reads it" in caught.value.remedy
    assert nothing_installed(models)


@pytest.mark.parametrize(
    ("file", "said"),
    [("notes.txt", "no checkpoint of a known class"), ("state_dict.bin", "of audiocraft's layout")],
)
def test_a_folder_that_is_no_checkpoint_says_what_it_is(
    models: Path, tmp_path: Path, file: str, said: str
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / file).write_bytes(b"of no use")
    with pytest.raises(InputError, match=said) as caught:
        add(models, tmp_path / "other")

    assert ("--text-encoder" in caught.value.remedy) == (file == "state_dict.bin")


def test_a_gated_repository_names_its_page_and_no_token(
    models: Path, source: Path, hub: FakeHub
) -> None:
    hub.gated.add(NAME)
    with pytest.raises(InputError, match="accepted its terms") as caught:
        look(models)

    assert f"https://huggingface.co/{NAME}" in caught.value.remedy
    assert "HF_TOKEN" in caught.value.remedy
    assert "Bearer hf_secretsecretsecret" in hub.tokens
    assert "hf_secret" not in str(caught.value)
    assert not models.exists()


@pytest.mark.parametrize(
    ("name", "revision", "said"),
    [
        ("someone/else", "", "no such model"),
        (NAME, "v9", "no revision 'v9'"),
        ("noise", "", "no name on the hub"),
        ("facebook/audiogen-medium", "", "audiocraft's layout only"),
    ],
)
def test_what_the_hub_does_not_have_is_refused(
    models: Path, source: Path, hub: FakeHub, name: str, revision: str, said: str
) -> None:
    (source.parent / "audiogen").mkdir()
    hub.repositories["facebook/audiogen-medium"] = source.parent / "audiogen"
    with pytest.raises(InputError, match=said):
        public_pull.look(name, revision=revision, models=models, overwrite=False)

    assert not models.exists()


def test_a_layout_that_is_not_read_here_names_what_converts_it(
    models: Path, tmp_path: Path, hub: FakeHub
) -> None:
    folder = tmp_path / "tools"
    folder.mkdir()
    (folder / "model_config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"large")
    hub.repositories[NAME] = folder
    with pytest.raises(InputError, match="stable-audio-tools"):
        look(models)

    assert not models.exists()


def test_half_a_repository_is_refused_before_its_weights_are_fetched(
    models: Path, tmp_path: Path, hub: FakeHub
) -> None:
    hub.repositories[NAME] = save_pipeline(tmp_path / "pipeline")
    (tmp_path / "pipeline" / "text_encoder" / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"missing text_encoder/model\.safetensors"):
        look(models)

    assert not any(name.endswith(".safetensors") for name, _ in hub.asked)
    assert not models.exists()


def test_a_license_that_was_not_accepted_leaves_nothing_behind(
    models: Path, source: Path, hub: FakeHub
) -> None:
    save_checkpoint(source, license_="cc-by-nc-4.0")
    arrival = look(models)
    with pytest.raises(InputError, match=r"CC-BY-NC-4\.0, which was not accepted") as caught:
        public_arrivals.check_consent(
            arrival, is_accepted=False, command=f"safegen models pull {NAME}"
        )

    assert f"`safegen models pull {NAME} --accept-license`" in caught.value.remedy
    assert not models.exists()


def test_the_day_of_consent_is_kept(models: Path, source: Path) -> None:
    save_checkpoint(source, license_="cc-by-nc-4.0")
    assert pull(models).public.accepted == DAY


def test_pickles_of_the_hub_are_converted_with_the_hashes_that_it_lists(
    models: Path, source: Path
) -> None:
    shared = torch.randn(3, 4)
    held = {"a": shared, "tied": shared, "row": shared[0], "b": torch.zeros(2).half()}
    torch.save(held, source / "pytorch_model.bin")
    (source / "model.safetensors").unlink()
    arrival = look(models)
    found = public_pull.pull(arrival, models=models, day=DAY, overwrite=False)
    made = load_file(found.folder / "model.safetensors")

    assert arrival.pickles == ("pytorch_model.bin",)
    assert {name: tensor.tolist() for name, tensor in made.items()} == {
        name: tensor.tolist() for name, tensor in held.items()
    }
    assert made["b"].dtype == torch.float16
    assert not (found.folder / "pytorch_model.bin").exists()


# From a folder -------------------------------------------------------------------------


def test_a_folder_is_copied_and_its_pickles_stay_behind(models: Path, source: Path) -> None:
    (source / "pytorch_model.bin").write_bytes(b"beside good weights")
    found = add(models, source, model__safetensors=sha256_file(source / "model.safetensors"))

    assert found.public.origin == public_store.LOCAL
    assert not (found.folder / "pytorch_model.bin").exists()


def test_a_wrong_hash_of_a_file_installs_nothing(models: Path, source: Path) -> None:
    with pytest.raises(IntegrityError, match=r"model\.safetensors: sha256"):
        add(models, source, model__safetensors="0" * 64)
    with pytest.raises(InputError, match="--sha256 names other"):
        add(models, source, other="0" * 64)

    assert nothing_installed(models)


def test_a_snapshot_of_the_hubs_cache_is_copied_as_files(
    models: Path, source: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "hub" / "models--someone--noise"
    snapshot = cache / "snapshots" / COMMIT
    (cache / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for path in source.iterdir():
        shutil.copy(path, cache / "blobs" / path.name)
        (snapshot / path.name).symlink_to(Path("../../blobs") / path.name)
    found = add(models, snapshot)

    assert found.public.origin == f"{NAME}@{COMMIT}"
    assert not any(path.is_symlink() for path in found.folder.rglob("*"))


@pytest.fixture
def pickled(source: Path) -> Path:
    """A pipeline whose one component has its weights in two pickles."""
    folder = save_pipeline(source.parent / "pickled")
    for path in (folder / "transformer").glob("diffusion*"):
        path.unlink()
    shards = {}
    for number, (name, tensor) in enumerate(tensors().items(), 1):
        shards[name] = f"diffusion_pytorch_model-{number:05}-of-00002.bin"
        torch.save({name: tensor}, folder / "transformer" / shards[name])
    index = folder / "transformer" / "diffusion_pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": shards}))
    return folder


def test_pickles_are_converted_where_every_hash_is_told(models: Path, pickled: Path) -> None:
    files = sorted((pickled / "transformer").glob("*.bin"))
    hashes = {path.name.replace(".", "__"): sha256_file(path) for path in files}
    found = add(models, pickled, convert=True, **hashes)
    index = json.loads(
        (
            found.folder / "transformer" / "diffusion_pytorch_model.safetensors.index.json"
        ).read_text()
    )
    made: dict[str, torch.Tensor] = {}
    for name in sorted(set(index["weight_map"].values())):
        made |= load_file(found.folder / "transformer" / name)

    assert {name: tensor.tolist() for name, tensor in made.items()} == {
        name: tensor.tolist() for name, tensor in tensors().items()
    }
    assert not list(found.folder.rglob("*.bin*"))


def test_a_pickle_whose_hash_nobody_told_is_not_read(models: Path, pickled: Path) -> None:
    with pytest.raises(InputError, match="nobody told the sha256") as caught:
        add(models, pickled, convert=True)

    assert "--sha256 transformer/diffusion_pytorch_model-00001-of-00002.bin=HEX" in (
        caught.value.remedy
    )
    assert nothing_installed(models)


def test_a_pickle_of_another_hash_is_not_read(models: Path, pickled: Path) -> None:
    files = sorted((pickled / "transformer").glob("*.bin"))
    hashes = {path.name.replace(".", "__"): "0" * 64 for path in files}
    with pytest.raises(IntegrityError, match="expected 0000"):
        add(models, pickled, convert=True, **hashes)

    assert nothing_installed(models)
    assert not list(models.glob(".*"))


class Harmful:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("this must never be printed",))


def test_a_pickle_that_would_run_something_is_refused(
    models: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (source / "model.safetensors").unlink()
    torch.save({"a": torch.zeros(1), "b": Harmful()}, source / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"would run .*print"):
        add(
            models,
            source,
            convert=True,
            pytorch_model__bin=sha256_file(source / "pytorch_model.bin"),
        )

    assert capsys.readouterr().out == ""
    assert nothing_installed(models)


def test_there_is_nothing_to_convert_in_a_folder_of_safetensors(models: Path, source: Path) -> None:
    with pytest.raises(InputError, match="nothing is to be converted"):
        add(models, source, convert=True)
