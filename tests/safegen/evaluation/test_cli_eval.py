import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from safegen.cli.eval import BENCHMARKS, eval_command
from safegen.errors import InputError
from safegen.evaluation.generation import read_prompts


def test_help_lists_every_benchmark() -> None:
    result = CliRunner().invoke(eval_command, ["--help"])

    assert result.exit_code == 0
    assert all(name in result.output for name in BENCHMARKS)


def test_an_unknown_benchmark_is_wrong_use() -> None:
    assert CliRunner().invoke(eval_command, ["nonsense"]).exit_code == 2


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fresh process would load everything again; ``test_speed`` starts one."""
    from safegen.evaluation.generation_bench import bench, speed
    from safegen.generation.base import Request

    def cost(model: str, requests: Sequence[Request], *, device: str) -> speed.Cost:
        return speed.measured(model, requests, device)

    monkeypatch.setattr(bench, "cost", cost)


def test_the_generation_benchmark_prints_one_line_with_rates_beside_ceilings(
    tmp_path: Path, in_this_process: None
) -> None:
    args = ["generation", "--count", "3", "--seconds", "4", "--model", "procedural"]
    result = CliRunner().invoke(eval_command, [*args, "--save", str(tmp_path / "out")])

    assert result.exit_code == 0, result.output
    (line,) = result.stdout.splitlines()
    row = json.loads(line)
    assert row["ceiling_renderer"] == "procedural"
    assert row["ceiling_n"] == 3
    for name in ("tempo", "key", "drums", "instrument"):
        assert 0.0 <= row[name] <= 1.0
        assert 0 <= row[f"{name}_n"] <= 3
        assert 0.0 <= row[f"{name}_ceiling"] <= 1.0
    assert row["cpu_seconds_per_audio_second"] > 0
    assert row["peak_mib"] > 0
    assert len(list((tmp_path / "out").glob("*.wav"))) == 3


@pytest.mark.parametrize("text", ["{", '{"prompt": "x"}', "[]"])
def test_a_prompt_file_with_a_bad_line_is_refused_by_number(text: str, tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "x", "tempo_bpm": 90, "key": null, "drums": null}\n' + text)

    with pytest.raises(InputError, match="line 2"):
        read_prompts(path)
