"""`safegen detectors register`: one more generator, from a folder."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from detectors.synthetic import judge
from safegen.audio import Audio, save
from safegen.cli.register import register
from safegen.config import Config
from safegen.roster import added_generators, roster_of, shipped_roster
from safegen.training import register as recipe

RATE = 16_000
SPACING = 137.0
SECONDS = 4.2


def made_by_toy(seed: int) -> Audio:
    """Filtered noise with weak lines every 137 Hz: a decoder that nobody knows."""
    dice = np.random.default_rng(seed)
    time = np.arange(round(SECONDS * RATE)) / RATE
    noise = np.cumsum(dice.standard_normal(len(time)))
    noise = np.diff(noise - np.convolve(noise, np.ones(64) / 64, "same"), prepend=0.0)
    lines = sum(np.sin(2 * np.pi * k * SPACING * time + dice.uniform(0, 6)) for k in range(1, 56))
    swell = 1.0 + 0.5 * np.sin(2 * np.pi * dice.uniform(0.5, 2.0) * time)
    sound = 0.05 * swell * (noise / noise.std() + 0.05 * lines)
    return Audio(waveform=sound[None].astype(np.float32), sample_rate=RATE)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("outputs")
    for number in range(33):
        save(made_by_toy(number), folder / f"{number:02d}.wav")
    (folder / "broken.wav").write_bytes(b"RIFF and nothing else")
    return folder


def run(home: Path, *arguments: str | Path) -> Result:
    return CliRunner(env={"SAFEGEN_HOME": str(home)}).invoke(
        register, [*map(str, arguments), "--format", "jsonl"], standalone_mode=False
    )


def test_a_registered_generator_is_recognized_from_then_on(outputs: Path, tmp_path: Path) -> None:
    done = run(tmp_path, "toy", "--from", outputs, "--family", "vocoder")
    row = json.loads(done.stdout)
    config = Config(home=tmp_path, database_url="sqlite://")
    fresh = made_by_toy(999)
    finding = judge(fresh.waveform, RATE, roster=roster_of(config))
    before = judge(fresh.waveform, RATE, roster=shipped_roster())

    assert done.exit_code == 0
    assert row["name"] == "toy"
    assert row["windows"] == 66
    assert [e.name for e in added_generators(config, shipped_roster())] == ["toy"]
    assert finding.generator == "toy"
    assert before.generator == ""
    assert row["hint"]["spacing_hz"] == pytest.approx(SPACING, rel=0.01)
    assert "broken.wav" in done.stderr


def test_without_spectral_evidence_no_entry_is_asked(outputs: Path, tmp_path: Path) -> None:
    run(tmp_path, "toy", "--from", outputs)
    config = Config(home=tmp_path, database_url="sqlite://", spectral_evidence=False)

    assert roster_of(config).entries == ()
    assert not roster_of(config).combs
    assert roster_of(config).generic == shipped_roster().generic


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("Toy!", "--from", "."), "no name for a generator"),
        (("toy", "--from", ".", "--family", "piano"), "unknown family"),
        (("toy",), "where the outputs come from"),
        (("hifigan", "--from", "."), "shipped entry"),
        (("toy", "--through", "espeak", "--recordings", "."), "nothing copies by"),
        (("toy", "--through", "griffin-lim"), "needs sound to copy"),
        (("toy", "--from", "."), "no audio files"),
    ],
)
def test_misuse_is_told_and_nothing_is_written(
    arguments: tuple[str, ...],
    problem: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    done = run(tmp_path, *arguments)

    assert problem in str(done.exception)
    assert not (tmp_path / "detectors").exists()


def test_a_name_that_is_taken_is_replaced_only_if_that_is_said(
    outputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "MOST_SECONDS", 140.0)
    run(tmp_path, "toy", "--from", outputs)
    again = run(tmp_path, "toy", "--from", outputs)
    said = run(tmp_path, "toy", "--from", outputs, "--overwrite")

    assert "registered already" in str(again.exception)
    assert said.exit_code == 0


def test_too_few_outputs_are_refused(outputs: Path, tmp_path: Path) -> None:
    few = tmp_path / "few"
    few.mkdir()
    for number in range(3):
        (few / f"{number}.wav").write_bytes((outputs / f"{number:02d}.wav").read_bytes())
    done = run(tmp_path, "toy", "--from", few)

    assert "at least 6" in str(done.exception)
    assert not (tmp_path / "detectors").exists()


def test_recordings_are_copied_where_a_function_is_named(outputs: Path, tmp_path: Path) -> None:
    done = run(tmp_path, "gl", "--through", "griffin-lim", "--recordings", outputs, "--count", "31")

    assert done.exit_code == 0
    assert json.loads(done.stdout)["family"] == "phase-reconstruction"
