"""The wheel holds the four rooms and their data, and works outside the checkout."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = {"safegen", "detectors", "registry", "migrations"}
IGNORED = {".pyc", ".part", ".tmp"}


def run(*words: str, cwd: Path, extra: dict[str, str] | None = None) -> str:
    """Run Python with these arguments and give what it printed."""
    done = subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env={**os.environ, **(extra or {})},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel offline with the installed build backend."""
    folder = tmp_path_factory.mktemp("wheel")
    run("-m", "hatchling", "build", "-t", "wheel", "-d", str(folder), cwd=ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel, and nothing else, into a folder of its own."""
    target = tmp_path_factory.mktemp("installed")
    pip = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile")
    run(*pip, "--target", str(target), str(wheel), cwd=target)
    return target


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_the_four_rooms_and_nothing_else(wheel: Path) -> None:
    tops = {name.partition("/")[0] for name in names_in(wheel)}
    information = {top for top in tops if top.endswith(".dist-info")}

    assert tops - information == ROOMS
    assert len(information) == 1


def test_every_file_of_the_rooms_is_in_the_wheel(wheel: Path) -> None:
    # An ignore pattern that also matches weights or policies would drop them silently.
    on_disk = {
        path.relative_to(ROOT).as_posix()
        for room in ROOMS
        for path in (ROOT / room).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix not in IGNORED
    }

    assert on_disk - names_in(wheel) == set()


@pytest.mark.parametrize(
    "name",
    [
        "migrations/env.py",
        "migrations/script.py.mako",
        "migrations/versions/0001_the_first_released_shape.py",
        "safegen/policies/strict.yaml",
        "safegen/policies/standard.yaml",
        "safegen/policies/permissive.yaml",
    ],
)
def test_data_files_are_in_the_wheel(wheel: Path, name: str) -> None:
    assert name in names_in(wheel)


def test_the_wheel_carries_its_license_and_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (license_name,) = [n for n in archive.namelist() if n.endswith("licenses/LICENSE")]
        (scripts,) = [n for n in archive.namelist() if n.endswith("entry_points.txt")]

        assert archive.read(license_name) == (ROOT / "LICENSE").read_bytes()
        assert "safegen = safegen.cli:main" in archive.read(scripts).decode()


def test_no_file_names_a_folder_of_the_machine_it_was_built_on(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        found = [
            name
            for name in archive.namelist()
            if str(ROOT).encode() + b"/" in archive.read(name) and len(ROOT.parts) > 1
        ]

    assert found == []


def test_an_installed_wheel_creates_its_database_outside_the_checkout(
    installed: Path, empty_url: str, tmp_path: Path
) -> None:
    state = {
        "PYTHONPATH": str(installed),
        "SAFEGEN_HOME": str(tmp_path / "home"),
        "SAFEGEN_DATABASE_URL": empty_url,
    }
    where = "import safegen, registry.schema as s; print(safegen.__file__); print(s.MIGRATIONS)"

    places = run("-c", where, cwd=tmp_path, extra=state).splitlines()
    upgraded = run("-m", "safegen", "db", "upgrade", "--format", "jsonl", cwd=tmp_path, extra=state)
    status = run("-m", "safegen", "db", "status", "--format", "jsonl", cwd=tmp_path, extra=state)

    assert all(Path(place).is_relative_to(installed) for place in places)
    assert json.loads(upgraded)["before"] == ""
    assert json.loads(status)["revision"] == json.loads(upgraded)["revision"]
    assert json.loads(status)["works"] == 0


def test_a_folder_called_migrations_in_the_current_folder_is_not_taken(
    installed: Path, tmp_path: Path
) -> None:
    # `python -m` puts the current folder first on the path, and the name is common.
    (tmp_path / "migrations").mkdir()
    (tmp_path / "migrations" / "env.py").write_text("raise SystemExit('somebody else')\n")
    state = {
        "PYTHONPATH": str(installed),
        "SAFEGEN_HOME": str(tmp_path / "home"),
        "SAFEGEN_DATABASE_URL": f"sqlite:///{tmp_path / 'safegen.db'}",
    }

    upgraded = run("-m", "safegen", "db", "upgrade", cwd=tmp_path, extra=state)

    assert "empty -> revision" in upgraded
