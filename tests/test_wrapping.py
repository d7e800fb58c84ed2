"""What docs/wrapping.md shows is what lies in docs/examples, and it runs."""

import importlib
import json
import runpy
import shutil
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from safegen.cli import main
from safegen.generation import plugin_generators, systems
from tests.safegen.conftest import home

__all__ = ["home"]  # a fixture

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "wrapping.md").read_text(encoding="utf-8")
WRAP, TENSOR = DOCS / "examples" / "wrap_a_generator.py", DOCS / "examples" / "release_a_tensor.py"
PLUGIN = DOCS / "examples" / "plucks-plugin" / "pyproject.toml"


@pytest.fixture(autouse=True)
def _at_home(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAFEGEN_HOME", str(home))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("path", [WRAP, TENSOR, PLUGIN], ids=lambda path: path.name)
def test_the_page_shows_the_file(path: Path) -> None:
    language = "toml" if path.suffix == ".toml" else "python"

    assert f"```{language}\n{path.read_text(encoding='utf-8')}```" in PAGE
    assert f"({path.relative_to(DOCS).as_posix()})" in PAGE


def test_a_generator_is_wrapped_in_thirty_lines_and_released(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runpy.run_path(str(WRAP), run_name="__main__")

    assert len(WRAP.read_text(encoding="utf-8").splitlines()) <= 30
    assert capsys.readouterr().out.split()[0] in ("release", "label")
    assert len(list((tmp_path / "released").glob("*.wav"))) == 1


def test_tensors_are_judged_one_by_one_and_together(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(TENSOR))

    said = capsys.readouterr().out
    assert len(said.splitlines()) == 3, said
    assert said.count(".wav") == 3, said


def test_the_package_makes_it_a_model_of_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What pip leaves behind after installing the example.
    project = tomllib.loads(PLUGIN.read_text(encoding="utf-8"))["project"]
    (group,) = project["entry-points"]
    site = tmp_path / "site"
    info = site / f"plucks_plugin-{project['version']}.dist-info"
    info.mkdir(parents=True)
    shutil.copy(WRAP, site)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    rows = [f"{name} = {value}" for name, value in project["entry-points"][group].items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *rows, ""]))
    monkeypatch.syspath_prepend(str(site))
    importlib.invalidate_caches()
    monkeypatch.delitem(sys.modules, "wrap_a_generator", raising=False)

    listed = CliRunner().invoke(main, ["models", "list"])
    shown = CliRunner().invoke(main, ["models", "show", "plucks"])
    made = CliRunner().invoke(
        main,
        ["generate", "plucked strings", "--model", "plucks", "--out", "out", "--format", "jsonl"],
    )

    assert group == plugin_generators.GROUP
    assert "plucks (package plucks-plugin 1.2)" in PAGE
    assert "plucks (package plucks-plugin 1.2)" in listed.stdout
    assert "license     told when it is loaded" in shown.stdout
    assert made.exit_code == 0, made.output
    assert json.loads(made.stdout)["model"] == "plucks"
    assert systems.load("plucks", device="cpu").facts.package == "plucks-plugin 1.2"
