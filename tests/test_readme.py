"""What README.md shows is run."""

import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from safegen.audio import Waveform
from safegen.cli import COMMANDS, main
from safegen.generation.base import Request
from safegen.generation.procedural import ProceduralGenerator
from tests.safegen.conftest import home, tones

__all__ = ["home"]  # a fixture

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_lines_of_python_release_a_file_each(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    audio = tones(1)
    heard: list[Waveform] = []
    names: dict[str, Any] = {
        "waveform": audio.waveform,
        "sample_rate": audio.sample_rate,
        "generator": ProceduralGenerator(),
        "request": Request(prompt="soft bells", seconds=8.0, seed=1),
        "play": heard.append,
    }
    monkeypatch.setenv("SAFEGEN_HOME", str(home))
    monkeypatch.chdir(tmp_path)

    for code in blocks:
        exec(compile(code, "README.md", "exec"), names)  # noqa: S102 (our own README)

    names["gate"].close()
    assert len(list((tmp_path / "released").glob("*.wav"))) == len(blocks)
    assert sum(piece.shape[1] for piece in heard) == 8 * 32_000


def test_every_command_of_the_readme_exists_and_has_help() -> None:
    named = set(re.findall(r"^(?:\$ )?safegen ([a-z]+)", README, flags=re.MULTILINE))

    assert named
    assert named <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_its_exit_status_and_an_example(command: str) -> None:
    found = main.get_command(None, command)  # type: ignore[arg-type]
    result = CliRunner().invoke(main, [command, "--help"])

    assert found is not None
    assert result.exit_code == 0
    assert "Example:" in result.output
    assert "Exit status:" in result.output


def test_the_readme_names_every_command() -> None:
    table = README[README.index("| command | does |") :]

    for command in COMMANDS:
        assert f"`{command}`" in table
