"""Benchmark audio is fetched whole or not at all, and nothing is fetched twice."""

import stat
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from safegen.cli import main
from safegen.errors import InputError, IntegrityError, SafegenError
from safegen.evaluation import assets


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in for apt-get and dpkg-deb, which would need the network."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program(folder, "apt-get", 'echo "$2" > "$2_1.0_all.deb"')
    program(folder, "dpkg-deb", 'mkdir -p "$3/usr/share"; cp "$2" "$3/usr/share/sound.ogg"')
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def test_a_package_is_unpacked_under_its_own_name(tools: Path, tmp_path: Path) -> None:
    found = assets.fetch("some-music", tmp_path / "out")

    assert (found / "usr" / "share" / "sound.ogg").read_text() == "some-music\n"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["some-music"]


def test_what_is_there_is_not_fetched_again(tools: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    runner = CliRunner()
    runner.invoke(main, ["eval", "assets", "--out", out, "some-music"])
    program(tools, "apt-get", "exit 1")

    again = runner.invoke(main, ["eval", "assets", "--out", out, "some-music"])

    assert again.exit_code == 0, again.output
    assert '"fetched": []' in again.stdout


def test_a_failed_download_leaves_nothing_and_gives_the_reason(tools: Path, tmp_path: Path) -> None:
    program(tools, "apt-get", 'echo "E: Unable to locate package" >&2; exit 100')

    with pytest.raises(SafegenError, match="Unable to locate package"):
        assets.fetch("some-music", tmp_path / "out")

    assert list((tmp_path / "out").iterdir()) == []


def test_a_system_without_apt_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(SafegenError, match="apt-get is not on this system"):
        assets.fetch("some-music", tmp_path / "out")


@pytest.mark.parametrize("name", ["--option", "../up", "Big", "a b", "x=1;y"])
def test_what_is_no_package_name_never_reaches_apt(tools: Path, tmp_path: Path, name: str) -> None:
    result = CliRunner().invoke(main, ["eval", "assets", "--out", str(tmp_path), "--", name])

    assert result.exit_code == InputError.exit_code
    assert "not the name of a Debian package" in result.stderr


WEIGHTS = "musicnn/MTT_musicnn/"


def wheel(path: Path, *, name: str = f"{WEIGHTS}.index") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, "numbers")
        archive.writestr("musicnn/models.py", "import tensorflow")
    return path


def test_of_a_wheel_only_the_weights_are_unpacked(tmp_path: Path) -> None:
    assets.unpack(wheel(tmp_path / "a.whl"), tmp_path / "out", below=WEIGHTS)

    found = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert [path.relative_to(tmp_path / "out").as_posix() for path in found] == [
        "MTT_musicnn/.index"
    ]


def test_a_name_that_leads_out_of_the_folder_does_not(tmp_path: Path) -> None:
    path = wheel(tmp_path / "a.whl", name=f"{WEIGHTS}../../../evil")
    assets.unpack(path, tmp_path / "a" / "b" / "out", below=WEIGHTS)

    assert not list(tmp_path.glob("evil")) + list((tmp_path / "a").glob("**/b/evil"))
    assert (tmp_path / "a" / "b" / "out" / "MTT_musicnn" / "evil").is_file()


def test_a_wheel_without_the_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SafegenError, match="holds no"):
        assets.unpack(wheel(tmp_path / "a.whl", name="x"), tmp_path / "out", below=WEIGHTS)


def test_another_wheel_than_the_known_one_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(arguments: list[str], folder: Path, package: str) -> None:
        assert arguments[1:4] == ["-m", "pip", "download"]
        assert arguments[-1] == "musicnn==0.1.0"
        wheel(folder / "musicnn-0.1.0-py3-none-any.whl")

    monkeypatch.setattr(assets, "_run", run)
    with pytest.raises(IntegrityError, match=r"musicnn==0\.1\.0: sha256"):
        assets.fetch("musicnn", tmp_path / "out")

    assert list((tmp_path / "out").iterdir()) == []
