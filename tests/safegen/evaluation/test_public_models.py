"""The benchmark of public checkpoints runs both pipelines and the gate, and says what each took."""

import json

import pytest
import torch
from click.testing import CliRunner

from safegen.evaluation.public_models import CONTENDERS, command
from safegen.generation.stages import one_thread


def test_a_row_tells_both_pipelines_and_the_gate() -> None:
    args = ["--model", "musicgen", "--size", "tiny", "--seconds", "0.5", "--rounds", "1"]
    with one_thread():
        result = CliRunner().invoke(command, [*args, "--batch", "2", "--threads", "1"])

    assert result.exit_code == 0, result.output
    (line,) = result.stdout.splitlines()
    row = json.loads(line)
    assert (row["model"], row["batch"], row["device"]) == ("musicgen", 2, "cpu")
    for side in ("theirs", "ours"):
        assert row[side]["seconds_median"] > 0
        assert row[side]["cpu_seconds_median"] > 0
        assert row[side]["real_time_factor"] > 0
        assert row[side]["peak_mib"] >= row[side]["loaded_mib"]
    assert row["times_faster"] > 0
    assert row["released"] == 2
    assert 0 < row["gate_share"] < 1


def test_an_unknown_model_is_wrong_use() -> None:
    assert "musicgen" in CONTENDERS
    assert CliRunner().invoke(command, ["--model", "nothing"]).exit_code == 2


def test_a_gpu_that_is_not_there_is_wrong_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    result = CliRunner().invoke(command, ["--device", "cuda", "--size", "tiny"])

    assert result.exit_code == 2
    assert "there is no usable GPU" in result.output
