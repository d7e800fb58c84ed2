"""AudioSeal in an installation: added, shown, damaged, and what the commands say."""

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from safegen import second_mark
from safegen.audio import save, sha256_file
from safegen.cli import main
from safegen.config import Config, from_environment
from safegen.errors import InputError, IntegrityError
from tests.detectors.audioseal_models import tiny_tensors
from tests.safegen.conftest import tones


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setenv("SAFEGEN_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SAFEGEN_DATABASE_URL", raising=False)
    return from_environment({"SAFEGEN_HOME": str(tmp_path / "home")})


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    paths = tmp_path / "my_generator.pth", tmp_path / "my_detector.pth"
    for path, role in zip(paths, ("generator", "detector"), strict=True):
        torch.save({"model": tiny_tensors(role)}, path)
    return paths


def hashes(files: tuple[Path, Path]) -> list[str]:
    return [word for path in files for word in ("--sha256", f"{path.name}={sha256_file(path)}")]


def test_local_checkpoints_are_converted_and_shown(
    config: Config, files: tuple[Path, Path]
) -> None:
    runner = CliRunner()
    added = runner.invoke(
        main, ["models", "add", "audioseal", *map(str, files), *hashes(files), "--format", "jsonl"]
    )
    assert added.exit_code == 0, added.output

    shown = runner.invoke(main, ["models", "show", "audioseal", "--check", "--format", "jsonl"])
    listed = runner.invoke(main, ["models", "list"])

    assert json.loads(shown.stdout) == json.loads(added.stdout)
    assert json.loads(shown.stdout)["generator"]["n_filters"] == 8
    assert json.loads(shown.stdout)["origin"] == "local file"
    assert "audioseal (installed)" in listed.stdout
    folder = second_mark.folder(config)
    assert sorted(path.suffix for path in folder.iterdir()) == [
        ".json",
        ".safetensors",
        ".safetensors",
    ]
    mark = second_mark.from_home(config)
    assert mark is not None
    assert mark is second_mark.from_home(config)


def test_nothing_installed_is_said_and_is_no_error(config: Config) -> None:
    assert second_mark.from_home(config) is None

    listed = CliRunner().invoke(main, ["models", "list"])
    shown = CliRunner().invoke(main, ["models", "show", "audioseal"])

    assert "audioseal (not installed)" in listed.stdout
    assert shown.exit_code == 2
    assert "safegen models pull audioseal" in shown.stderr


def test_a_file_whose_hash_nobody_named_is_refused(
    config: Config, files: tuple[Path, Path]
) -> None:
    result = CliRunner().invoke(main, ["models", "add", "audioseal", *map(str, files)])

    assert result.exit_code == 2
    assert "no hash is pinned" in result.stderr
    assert not second_mark.folder(config).exists()


def test_a_file_with_the_public_name_must_be_the_public_file(
    config: Config, files: tuple[Path, Path]
) -> None:
    public = files[0].rename(files[0].with_name("generator_base.pth"))
    result = CliRunner().invoke(main, ["models", "add", "audioseal", str(public), str(files[1])])

    assert result.exit_code in (2, 4)
    with pytest.raises(IntegrityError, match="expected 7a845b5f"):
        second_mark.install(
            config, (public, files[1]), sha256={files[1].name: sha256_file(files[1])}
        )
    assert not second_mark.folder(config).exists()


@pytest.mark.parametrize("word", ["x", "x=12", f"={'a' * 64}", f"x={'g' * 64}"])
def test_a_hash_that_is_none_is_wrong_use(
    config: Config, files: tuple[Path, Path], word: str
) -> None:
    result = CliRunner().invoke(
        main, ["models", "add", "audioseal", *map(str, files), "--sha256", word]
    )

    assert result.exit_code == 2
    assert "NAME=HEX" in result.stderr


def test_a_hash_for_a_file_that_was_not_named_is_wrong_use(
    config: Config, files: tuple[Path, Path]
) -> None:
    with pytest.raises(InputError, match="not among the files"):
        second_mark.install(config, files, sha256={"other.pth": "0" * 64})


def test_two_generators_are_not_a_pair(config: Config, files: tuple[Path, Path]) -> None:
    with pytest.raises(InputError, match="one generator and one detector"):
        second_mark.install(config, (files[0], files[0]), sha256={})


def test_swapped_files_are_refused_and_nothing_is_left(
    config: Config, files: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "swap").mkdir()
    swapped = tmp_path / "swap" / "generator.pth", tmp_path / "swap" / "detector.pth"
    swapped[1].write_bytes(files[0].read_bytes())
    swapped[0].write_bytes(files[1].read_bytes())

    with pytest.raises(InputError, match="not an AudioSeal generator"):
        second_mark.install(
            config, swapped, sha256={path.name: sha256_file(path) for path in swapped}
        )

    assert not list(config.models.iterdir())


def test_what_is_installed_is_replaced_only_on_demand(
    config: Config, files: tuple[Path, Path]
) -> None:
    args = ["models", "add", "audioseal", *map(str, files), *hashes(files)]
    runner = CliRunner()
    assert runner.invoke(main, args).exit_code == 0

    again = runner.invoke(main, args)
    pulled = runner.invoke(main, ["models", "pull", "audioseal"])
    forced = runner.invoke(main, [*args, "--overwrite"])

    assert (again.exit_code, pulled.exit_code, forced.exit_code) == (2, 2, 0)
    assert [path.name for path in config.models.iterdir()] == ["audioseal"]


@pytest.mark.parametrize("fault", ["no card", "other bytes", "no file", "foreign table"])
def test_a_damaged_folder_is_broken_evidence_and_not_absence(
    config: Config, files: tuple[Path, Path], fault: str
) -> None:
    second_mark.install(config, files, sha256={path.name: sha256_file(path) for path in files})
    folder = second_mark.folder(config)
    generator = folder / "audioseal-generator.safetensors"
    if fault == "no card":
        (folder / "audioseal.json").unlink()
    elif fault == "other bytes":
        generator.write_bytes(generator.read_bytes()[:-4] + b"abcd")
    elif fault == "no file":
        generator.unlink()
    else:
        (folder / "audioseal-null.json").write_text("{}")

    with pytest.raises(IntegrityError, match="audioseal"):
        second_mark.from_home(config)

    assert CliRunner().invoke(main, ["models", "show", "audioseal", "--check"]).exit_code == 4


def test_a_calibration_is_kept_beside_the_weights(
    config: Config, files: tuple[Path, Path], tmp_path: Path
) -> None:
    sounds = tmp_path / "sounds"
    sounds.mkdir()
    for seed, rate in enumerate((16_000, 44_100)):
        save(tones(seed, seconds=4.0, sample_rate=rate), sounds / f"{seed}.wav")
    args = ["models", "calibrate", "audioseal", str(sounds), "--format", "jsonl"]
    runner = CliRunner()
    early = runner.invoke(main, args)
    second_mark.install(config, files, sha256={path.name: sha256_file(path) for path in files})

    result = runner.invoke(main, args)

    assert early.exit_code == 2
    assert json.loads(result.stdout)["windows"] == 6
    mark = second_mark.from_home(config)
    assert mark is not None
    assert mark.table is not None
    found = mark.detect(tones(0, seconds=4.0, sample_rate=16_000).waveform, 16_000, keys={})
    assert 1 / 7 <= found.p_value <= 1.0
    (tmp_path / "empty").mkdir()
    nothing = runner.invoke(main, [*args[:3], str(tmp_path / "empty")])
    assert nothing.exit_code == 2


def test_the_doctor_says_whether_there_is_a_second_mark(
    home: Path, files: tuple[Path, Path]
) -> None:
    config = from_environment({"SAFEGEN_HOME": str(home)})
    runner = CliRunner(env={"SAFEGEN_HOME": str(home)})
    before = runner.invoke(main, ["doctor"])
    second_mark.install(config, files, sha256={path.name: sha256_file(path) for path in files})
    after = runner.invoke(main, ["doctor"])
    card = second_mark.folder(config) / "audioseal.json"
    card.write_text(card.read_text().replace('"lstm": 0', '"lstm": 1'))
    broken = runner.invoke(main, ["doctor"])

    assert (before.exit_code, after.exit_code, broken.exit_code) == (0, 0, 1)
    assert "audioseal  not installed" in before.stdout
    assert "audioseal  weights" in after.stdout
    assert "MEND  audioseal" in broken.stdout
