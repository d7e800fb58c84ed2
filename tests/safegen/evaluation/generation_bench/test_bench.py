import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from safegen.evaluation.generation import command
from safegen.evaluation.generation_bench import bench, speed
from safegen.generation.base import Request


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fresh process would load everything again; ``test_speed`` starts one."""

    def cost(model: str, requests: Sequence[Request], *, device: str) -> speed.Cost:
        return speed.measured(model, requests, device)

    monkeypatch.setattr(bench, "cost", cost)


def test_a_run_writes_a_page_and_the_next_one_makes_nothing_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, work = tmp_path / "docs" / "generation.md", tmp_path / "work"
    page.parent.mkdir()
    args = ["--model", "procedural", "--count", "2", "--seconds", "4", "--timed", "1"]
    args += ["--work", str(work), "--docs", str(page)]
    first = CliRunner().invoke(command, args)
    words = page.read_text()
    monkeypatch.setattr("safegen.evaluation.generation_bench.readings.hear", None)
    second = CliRunner().invoke(command, args)

    assert first.exit_code == second.exit_code == 0, first.output
    one, two = (json.loads(result.stdout) for result in (first, second))
    assert {k for k in one if one[k] != two[k]} <= {
        "cpu_seconds_per_audio_second",
        "real_time_factor",
        "first_chunk_seconds",
        "load_seconds",
        "peak_mib",
    }
    assert one["fad_musicnn"] is None
    assert "the distance is not measured" in first.stderr
    assert "| procedural |" in words
    assert "Ceilings" in words
    assert str(tmp_path) not in words
    assert sorted(x.name for x in page.parent.iterdir()) == [
        "generation-adherence.svg",
        "generation-speed.svg",
        "generation.md",
    ]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--model", "nonsense"], "nonsense: no such model"),
        (["--docs", "no/such/folder/page.md"], "is no folder"),
    ],
)
def test_wrong_use_is_told_before_anything_is_made(
    args: list[str], message: str, tmp_path: Path
) -> None:
    from safegen.errors import InputError

    work = tmp_path / "work"
    result = CliRunner().invoke(command, [*args, "--work", str(work)])

    assert isinstance(result.exception, InputError)
    assert message in str(result.exception)
    assert not work.exists()
