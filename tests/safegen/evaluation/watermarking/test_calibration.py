"""False alarms are counted by kind, kept between runs, and used by whoever listens."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from detectors import watermark as ear
from detectors.false_alarms import LEVELS, Calibration, Tail, parse
from safegen import watermark
from safegen.cli import main
from safegen.config import Config, from_environment
from safegen.errors import InputError, SafegenError
from safegen.evaluation.watermarking import calibration


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    folder = tmp_path / "sounds"
    for seed, kind in enumerate(("hiss", "hum")):
        (folder / kind).mkdir(parents=True)
        noise = np.random.default_rng(seed).standard_normal(6 * 16_000)
        soundfile.write(folder / kind / "a.wav", 0.1 * noise, 16_000)
    (folder / "hum" / "notes.txt").write_text("no sound")
    soundfile.write(folder / "hum" / "silent.wav", np.zeros(6 * 16_000), 16_000)
    return folder


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return from_environment({"SAFEGEN_HOME": str(tmp_path / "home")})


def test_windows_are_shared_out_between_kinds_and_files(sounds: Path) -> None:
    pieces = calibration.plan(sounds, windows=8)

    assert {(piece.content, piece.path.name, piece.windows) for piece in pieces} == {
        ("hiss", "a.wav", 4),
        ("hum", "a.wav", 2),
        ("hum", "silent.wav", 2),
    }


def test_a_folder_without_sound_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no sound file"):
        calibration.plan(tmp_path, windows=1)


def test_files_of_one_name_in_two_folders_are_two_trials(sounds: Path) -> None:
    (sounds / "hum" / "more").mkdir()
    (sounds / "hum" / "a.wav").rename(sounds / "hum" / "more" / "silent.wav")

    trials = [piece.trial for piece in calibration.plan(sounds, windows=4)]

    assert len(set(trials)) == len(trials) == 3


def test_a_scan_goes_on_where_it_was_stopped(sounds: Path, tmp_path: Path) -> None:
    pieces = calibration.plan(sounds, windows=2)
    state = tmp_path / "state.jsonl"
    first = list(calibration.scan(pieces, state, keys=2, jobs=1))
    kept = state.read_text().splitlines(keepends=True)
    state.write_text(kept[0] + kept[1] + kept[2][:20])  # killed while it wrote the third

    again = list(calibration.scan(pieces, state, keys=2, jobs=1))

    assert {one.piece.trial for one in again} == {one.piece.trial for one in first}
    rows = [json.loads(line) for line in state.read_text().splitlines() if line.endswith("}")]
    assert len({row["trial"] for row in rows}) == 3
    tails = calibration.calibrated(again, keys=2).tails
    assert [(tail.content, tail.windows) for tail in tails] == [("hiss", 2), ("hum", 2)]


def test_only_silence_is_no_calibration(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silent.wav", np.zeros(6 * 16_000), 16_000)
    pieces = calibration.plan(tmp_path, windows=1)
    heard = list(calibration.scan(pieces, tmp_path / "state.jsonl", keys=2, jobs=1))

    with pytest.raises(SafegenError, match="silent"):
        calibration.calibrated(heard, keys=2)


def test_the_command_keeps_a_table_that_listening_reads(sounds: Path, config: Config) -> None:
    args = ["eval", "watermark", "--calibrate", str(sounds), "--windows", "2", "--jobs", "1"]

    result = CliRunner().invoke(main, args, env={"SAFEGEN_HOME": str(config.home)})

    assert result.exit_code == 0, result.output
    row = json.loads(result.stdout)
    assert (row["windows"], row["false_alarms"]) == (100, 0)
    assert parse(config.calibration.read_text()).windows == 100
    assert watermark.inflation_of(config) == 1.0


def test_a_heavier_tail_than_the_bound_makes_this_house_more_careful(config: Config) -> None:
    heavy = Tail(content="hum", windows=1000, at_most=(400, 200, 100, 50, 25, 12))
    config.calibration.parent.mkdir(parents=True)
    config.calibration.write_text(Calibration(version="v", tails=(heavy,)).to_json())

    assert len(heavy.at_most) == len(LEVELS)
    assert watermark.inflation_of(config) == heavy.inflation > 1.1


def test_a_damaged_table_stops_whoever_would_listen(config: Config) -> None:
    config.calibration.parent.mkdir(parents=True)
    config.calibration.write_text("{")

    with pytest.raises(SafegenError, match="damaged"):
        watermark.inflation_of(config)


def test_an_inflated_scale_makes_the_p_value_of_a_mark_larger() -> None:
    noise = 0.1 * np.random.default_rng(4).standard_normal((1, 4 * 16_000)).astype(np.float32)
    key = b"a secret of thirty-two bytes ..."
    marker = watermark.KeyedMark(epoch=1)
    marked = marker.embed(noise, 16_000, payload=7, key=key)

    plain, inflated = (
        ear.detect(marked, 16_000, keys={"a": key}, search=False, inflation=scale).p_value
        for scale in (1.0, 1.5)
    )
    assert 0.0 < plain < 1e-6
    assert inflated > 1e6 * plain
