"""Public checkpoints: whole, without pickles, named by hash, under a license somebody told."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import save_file

from safegen.audio import sha256_file
from safegen.errors import InputError, IntegrityError, SafegenError
from safegen.generation import known, own, public_card, public_store, systems, verified
from safegen.generation.base import Request
from safegen.generation.public_card import Checkpoint, PublicCard
from safegen.generation.public_families import recognize
from safegen.generation.public_layout import check_folder
from tests.safegen.generation.public_help import (
    Noise,
    noise_family,
    save_checkpoint,
    save_pipeline,
    tensors,
)

__all__ = ["noise_family"]  # a fixture

DAY = "2026-11-22"
COMMIT = "3c19eba53390776cf2cc9ed5f6c9ac67ce72ecba"
FREE = PublicCard(
    name="someone/noise",
    family="musicgen",
    origin=f"someone/noise@{COMMIT}",
    license="MIT",
    license_source="its model card",
    accepted="",
    created=DAY,
    files=(),
)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "home" / "models"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return save_checkpoint(tmp_path / "source")


def put(
    models: Path, source: Path, public: PublicCard = FREE, *, overwrite: bool = False
) -> Checkpoint:
    return public_store.install(models, public, source, expected={}, overwrite=overwrite)


# What a whole checkpoint is ------------------------------------------------------------


def test_a_whole_checkpoint_is_its_settings_its_words_and_its_weights(source: Path) -> None:
    (source / "pytorch_model.bin").write_bytes(b"a pickle beside good weights")
    (source / "training.log").write_text("of no use here")
    layout = check_folder(source, recognize(source))

    assert layout.weights == ("model.safetensors",)
    assert layout.settings == ("config.json", "generation_config.json", "tokenizer.json")
    assert layout.about == ("README.md",)


def test_a_pipeline_is_whole_with_all_its_components_and_shards(tmp_path: Path) -> None:
    folder = save_pipeline(tmp_path / "pipeline")
    layout = check_folder(folder, recognize(folder))

    assert len(layout.weights) == 4
    assert "transformer/diffusion_pytorch_model-00002-of-00002.safetensors" in layout.weights
    assert "scheduler/scheduler_config.json" in layout.settings
    assert "tokenizer/spiece.model" in layout.settings


@pytest.mark.parametrize(
    "absent",
    [
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "transformer/diffusion_pytorch_model-00002-of-00002.safetensors",
        "transformer/diffusion_pytorch_model.safetensors.index.json",
    ],
)
def test_a_pipeline_with_a_file_less_is_refused_by_the_files_name(
    tmp_path: Path, absent: str
) -> None:
    folder = save_pipeline(tmp_path / "pipeline")
    (folder / absent).unlink()

    with pytest.raises(InputError, match="not a whole checkpoint") as caught:
        check_folder(folder, recognize(folder))
    assert absent.removesuffix(".index.json") in caught.value.problem
    assert "safegen models pull" in caught.value.remedy


@pytest.mark.parametrize("kept", [10, 200, -1])
def test_a_file_that_is_cut_off_is_refused_with_both_lengths(source: Path, kept: int) -> None:
    path = source / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:kept])

    with pytest.raises(InputError, match=f"model.safetensors: {len(data[:kept])} bytes"):
        check_folder(source, recognize(source))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>not found</html>",
        (8).to_bytes(8, "little") + b"not json",
        (2).to_bytes(8, "little") + b"[]",
        (33).to_bytes(8, "little") + b'{"a": {"data_offsets": ["0", 1]}}',
        (1 << 60).to_bytes(8, "little"),
    ],
)
def test_what_is_no_safetensors_file_is_refused(source: Path, data: bytes) -> None:
    (source / "model.safetensors").write_bytes(data)

    with pytest.raises(InputError, match=r"model\.safetensors"):
        check_folder(source, recognize(source))


def test_weights_that_are_a_pickle_only_are_refused_with_the_command_that_converts(
    source: Path,
) -> None:
    (source / "model.safetensors").rename(source / "pytorch_model.bin")

    with pytest.raises(InputError, match="a pickle, which can run code") as caught:
        check_folder(source, recognize(source))
    assert "--convert --sha256 pytorch_model.bin=HEX" in caught.value.remedy


def test_a_link_out_of_the_folder_is_refused(source: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text('{"token": "hf_..."}')
    (source / "preprocessor_config.json").symlink_to(tmp_path / "secret.json")

    with pytest.raises(InputError, match="a link that leads out"):
        check_folder(source, recognize(source))


def test_an_index_that_names_other_folders_is_refused(tmp_path: Path) -> None:
    folder = save_pipeline(tmp_path / "pipeline")
    index = folder / "transformer" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../../etc/model.safetensors"}}))

    with pytest.raises(InputError, match="names no shards"):
        check_folder(folder, recognize(folder))


# Installing ----------------------------------------------------------------------------


@pytest.mark.usefixtures("noise_family")
def test_an_installed_checkpoint_is_found_by_its_name_with_what_is_known_of_it(
    models: Path, source: Path
) -> None:
    put(models, source)
    shutil.rmtree(source)
    found = known.find("someone/noise", models=models)
    card = found.card

    assert found.kind == "public"
    assert found.folder == models / "someone--noise"
    assert (card.version, card.license, card.parameters) == (COMMIT[:12], "MIT", 24)
    assert [x.name for x in card.files if x.role == "weights"] == ["model.safetensors"]
    assert "README.md" not in [x.name for x in card.files]
    assert [x.public.name for x in public_store.installed(models)] == ["someone/noise"]
    assert list(own.installed(models)) == []


@pytest.mark.usefixtures("noise_family")
def test_what_is_installed_generates_by_its_name(models: Path, source: Path) -> None:
    put(models, source)
    made = systems.load("someone/noise", models=models)

    assert isinstance(made, Noise)
    assert (made.device, made.precision) == ("cpu", "float32")
    assert made.generate(Request(prompt="rain", seconds=2.0, seed=1)).audio.seconds == 2.0
    assert systems.load("someone/noise", models=models) is made


@pytest.mark.usefixtures("noise_family")
def test_a_model_installed_under_a_name_of_ones_own_is_versioned_by_its_files(
    models: Path, source: Path
) -> None:
    first = put(models, source, replace(FREE, name="noise", origin=public_store.LOCAL))
    other = save_checkpoint(source.parent / "other", seed=1)
    second = put(models, other, replace(FREE, name="noise-2", origin=public_store.LOCAL))

    assert first.card.version != second.card.version
    assert len(first.card.version) == 12


@pytest.mark.usefixtures("noise_family")
def test_a_changed_file_is_refused_when_the_model_is_loaded(models: Path, source: Path) -> None:
    found = put(models, source)
    systems.load("someone/noise", models=models)
    systems._public.cache_clear()
    save_file(tensors(5), found.folder / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(IntegrityError, match=r"model\.safetensors: sha256"):
        systems.load("someone/noise", models=models)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
@pytest.mark.usefixtures("noise_family")
def test_an_installed_file_that_is_gone_or_cut_off_is_damage(
    models: Path, source: Path, name: str
) -> None:
    path = put(models, source).folder / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match=name) as cut_off:
        known.find("someone/noise", models=models)
    path.unlink()
    with pytest.raises(IntegrityError, match=name):
        known.find("someone/noise", models=models)

    assert "safegen models pull someone/noise --overwrite" in cut_off.value.remedy


@pytest.mark.usefixtures("noise_family")
def test_a_file_is_hashed_once_until_it_changes(
    models: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = put(models, source)
    hashed: list[str] = []

    def counted(path: Path) -> str:
        hashed.append(path.name)
        return sha256_file(path)

    monkeypatch.setattr(verified, "sha256_file", counted)
    public_store.check_files(found, models=models)
    first, hashed[:] = list(hashed), []
    public_store.check_files(found, models=models)
    second = list(hashed)
    os.utime(found.folder / "model.safetensors", ns=(1, 1))
    public_store.check_files(found, models=models)

    assert sorted(first) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    assert second == []
    assert hashed == ["model.safetensors"]
    assert (models / verified.NOTE_NAME).stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("noise_family")
def test_a_note_that_nobody_here_wrote_is_no_proof(models: Path, source: Path) -> None:
    found = put(models, source)
    public_store.check_files(found, models=models)
    note = models / verified.NOTE_NAME
    for text in ("[]", "{", '{"schema": "safegen.verified.v1", "files": {"a": 3}}'):
        note.write_text(text)
        public_store.check_files(found, models=models)


@pytest.mark.usefixtures("noise_family")
def test_an_unexpected_hash_installs_nothing(models: Path, source: Path) -> None:
    with pytest.raises(IntegrityError, match=r"model\.safetensors: sha256"):
        public_store.install(
            models, FREE, source, expected={"model.safetensors": "0" * 64}, overwrite=False
        )

    assert list(models.iterdir()) == []


@pytest.mark.usefixtures("noise_family")
def test_a_full_disk_installs_nothing(
    models: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(source)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=1_000_000))

    with pytest.raises(SafegenError, match=r"0\.00 GB are free"):
        put(models, source)
    assert not models.exists()


@pytest.mark.usefixtures("noise_family")
def test_an_installed_name_is_replaced_only_if_that_is_said(models: Path, source: Path) -> None:
    before = put(models, source)
    other = save_checkpoint(source.parent / "other", seed=1)
    with pytest.raises(InputError, match="is installed"):
        put(models, other)
    after = put(models, other, overwrite=True)

    assert after.card.weights_sha256 != before.card.weights_sha256
    assert len(list(public_store.installed(models))) == 1


@pytest.mark.parametrize(
    "name", ["Noise", "a--b", "a b", "../x", "a/b/c", "a/..", "music-flow", "audioseal", "-a", ""]
)
@pytest.mark.usefixtures("noise_family")
def test_what_is_no_name_is_refused(models: Path, source: Path, name: str) -> None:
    with pytest.raises(InputError):
        put(models, source, replace(FREE, name=name))

    assert not models.exists()


@pytest.mark.usefixtures("noise_family")
def test_what_is_removed_is_gone(models: Path, source: Path) -> None:
    put(models, source)
    public_store.remove("someone/noise", models=models)

    with pytest.raises(InputError, match="is not installed"):
        known.find("someone/noise", models=models)
    with pytest.raises(InputError, match="no public model"):
        public_store.remove("someone/noise", models=models)


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "safegen.public-model.v0"},
        {"family": "gpt"},
        {"name": "someone/else"},
        {"accepted": "yesterday"},
        {"extra": 1},
        {"files": [{"name": "../../x", "role": "weights", "sha256": "0" * 64, "size_bytes": 1}]},
        {"files": [{"name": "x", "role": "weights", "sha256": "0", "size_bytes": 1}]},
        {"files": [{"name": "x", "role": "code", "sha256": "0" * 64, "size_bytes": 1}]},
        {"files": "none"},
    ],
)
@pytest.mark.usefixtures("noise_family")
def test_a_description_that_was_tampered_with_is_refused(
    models: Path, source: Path, change: dict[str, object]
) -> None:
    path = put(models, source).folder / public_card.CARD_NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))

    with pytest.raises(IntegrityError, match=r"public\.json"):
        known.find("someone/noise", models=models)


# Names and folders ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("facebook/musicgen-small", " --accept-license"),
        ("suno/bark", ""),
        ("who/knows", ""),
    ],
)
def test_a_name_on_the_hub_that_is_not_installed_names_the_command(
    models: Path, name: str, options: str
) -> None:
    with pytest.raises(InputError, match="is not installed") as caught:
        systems.load(name, models=models)

    assert f"`safegen models pull {name}{options}`" in caught.value.remedy
    assert f"`safegen models add {name} FOLDER{options}`" in caught.value.remedy


@pytest.mark.usefixtures("noise_family")
def test_a_folder_is_used_as_it_is_and_its_path_is_not_told(models: Path, tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path / "My Noise_1")
    made = systems.load(str(folder), models=models)

    assert made.facts.name == "my-noise-1"
    assert made.facts.license == "MIT"
    assert str(tmp_path) not in repr(made.facts)


@pytest.mark.usefixtures("noise_family")
def test_a_folder_counts_only_where_a_path_is_meant(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path / "music-flow")
    save_checkpoint(tmp_path / "noise")
    monkeypatch.chdir(tmp_path)

    assert known.find("music-flow", models=models).kind == "shipped"
    assert known.find("./music-flow", models=models).kind == "public"
    with pytest.raises(InputError, match="no such model"):
        known.find("noise", models=models)
    with pytest.raises(InputError, match="no such folder"):
        known.find("./nothing", models=models)


@pytest.mark.usefixtures("noise_family")
def test_a_snapshot_in_the_hubs_cache_keeps_its_name_and_revision(
    models: Path, source: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "hub" / "models--facebook--musicgen-small"
    snapshot = cache / "snapshots" / COMMIT
    (cache / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for path in source.iterdir():
        blob = cache / "blobs" / sha256_file(path)
        shutil.copy(path, blob)
        (snapshot / path.name).symlink_to(blob)
    (snapshot / "README.md").unlink()
    found = public_store.in_folder(snapshot, models=models)

    assert found.public.name == "facebook/musicgen-small"
    assert found.public.origin == f"facebook/musicgen-small@{COMMIT}"
    assert found.public.license == "CC-BY-NC-4.0"


@pytest.mark.usefixtures("noise_family")
def test_a_folder_whose_license_asks_for_consent_is_used_only_with_it(
    models: Path, tmp_path: Path
) -> None:
    folder = str(save_checkpoint(tmp_path / "noise", license_="cc-by-nc-4.0"))
    with pytest.raises(InputError, match=r"CC-BY-NC-4\.0, which was not accepted") as caught:
        systems.load(folder, models=models)
    made = systems.load(folder, models=models, accepted=DAY)

    assert "https://creativecommons.org/licenses/by-nc/4.0/" in caught.value.remedy
    assert "--accept-license" in caught.value.remedy
    assert made.facts.license_accepted == DAY
    assert known.any_card(folder, models=models).license_accepted == ""


@pytest.mark.parametrize(
    ("name", "device", "precision", "said"),
    [
        ("someone/noise", "tpu", "auto", "device 'tpu'"),
        ("someone/noise", "cpu", "int8", "precision 'int8'"),
        ("music-flow", "cpu", "bfloat16", "float32 only"),
    ],
)
@pytest.mark.usefixtures("noise_family")
def test_a_device_or_precision_that_is_not_there_is_refused(
    models: Path, source: Path, name: str, device: str, precision: str, said: str
) -> None:
    put(models, source)

    with pytest.raises(InputError, match=said):
        systems.load(name, device=device, precision=precision, models=models)


@pytest.mark.parametrize(
    ("family", "command"),
    [
        ("encodec", "safegen codec encode FILE --model someone/noise --out DIR"),
        ("clap", "safegen eval clap FILE --prompts FILE --model someone/noise"),
    ],
)
@pytest.mark.usefixtures("noise_family")
def test_what_turns_no_text_into_sound_names_the_command_of_its_role(
    models: Path, source: Path, family: str, command: str
) -> None:
    (source / "config.json").write_text(json.dumps({"model_type": family}))
    put(models, source, replace(FREE, family=family))

    with pytest.raises(InputError, match="turns no text into sound") as caught:
        systems.load("someone/noise", models=models)
    assert f"`{command}`" in caught.value.remedy
