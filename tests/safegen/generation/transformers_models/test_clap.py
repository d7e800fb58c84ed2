"""CLAP scores what the library would, the whole of a long sound, and nothing by chance."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from safegen.audio import Audio, save
from safegen.cli import main
from safegen.errors import InputError
from safegen.generation.public_families import module_of, recognize
from safegen.generation.transformers_models.clap import Clap, describe, load
from safegen.generation.transformers_models.loading import (
    load_model,
    load_settings_of,
    load_tokenizer,
    quiet,
)
from tests.safegen.generation.tiny_clap import save_clap
from tests.safegen.generation.tiny_codecs import card_of

RATE = 8000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clap(tmp_path_factory.mktemp("clap") / "tiny")


@pytest.fixture(scope="module")
def clap(folder: Path) -> Clap:
    return load(folder, card_of(folder), device="cpu", precision="float32")


@pytest.fixture(scope="module")
def fused(tmp_path_factory: pytest.TempPathFactory) -> Clap:
    folder = save_clap(tmp_path_factory.mktemp("clap") / "fused", is_fused=True)
    return load(folder, card_of(folder), device="cpu", precision="float32")


def noise(seconds: float, *, seed: int = 1, channels: int = 1, rate: int = RATE) -> Audio:
    shape = (channels, round(seconds * rate))
    waveform = np.random.default_rng(seed).normal(0, 0.3, shape).astype(np.float32)
    return Audio(waveform=waveform, sample_rate=rate)


def tone(seconds: float) -> Audio:
    wave = np.sin(2 * np.pi * 440 * np.arange(round(seconds * RATE)) / RATE)
    return Audio(waveform=wave[None].astype(np.float32), sample_rate=RATE)


@pytest.mark.parametrize("seconds", [0.2, 0.6, 1.0])
def test_a_window_scores_what_the_library_says(clap: Clap, folder: Path, seconds: float) -> None:
    model: Any = load_model("ClapModel", folder, device="cpu", precision="float32")
    with torch.inference_mode(), quiet():
        heard = load_settings_of("ClapFeatureExtractor", folder)(
            noise(seconds).waveform[0], sampling_rate=RATE, return_tensors="pt"
        )
        words = load_tokenizer(folder)(["a dog barks"], return_tensors="pt")
        told = model(input_features=heard["input_features"], **words)
    theirs = float((told.audio_embeds @ told.text_embeds.T)[0, 0])

    assert clap.score(noise(seconds), "a dog barks") == pytest.approx(theirs, abs=1e-5)
    assert -1 < theirs < 1


def test_sounds_and_texts_stand_apart(clap: Clap) -> None:
    scores = {
        (name, text): clap.score(sound, text)
        for name, sound in (("noise", noise(1)), ("tone", tone(1)))
        for text in ("rain", "calm piano")
    }

    assert len({round(x, 3) for x in scores.values()}) == 4
    assert np.linalg.norm(clap.of_sound(noise(1))) == pytest.approx(1, abs=1e-5)
    assert np.linalg.norm(clap.of_texts(["rain", "a dog"]), axis=1) == pytest.approx(1, abs=1e-5)


def test_a_long_sound_is_the_mean_of_its_windows(clap: Clap) -> None:
    parts = [noise(1), tone(1), noise(1, seed=2)]
    whole = np.concatenate([x.waveform for x in parts], axis=1)
    mean = np.mean([clap.of_sound(x) for x in parts], axis=0)

    heard = clap.of_sound(Audio(waveform=whole, sample_rate=RATE))
    cut = clap.of_sound(Audio(waveform=whole[:, :20_000], sample_rate=RATE))

    assert heard == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)
    assert np.abs(cut - heard).max() > 1e-3


def test_rate_and_channels_are_brought_to_the_models(clap: Clap) -> None:
    stereo = noise(0.5, channels=2)
    mono = Audio(waveform=stereo.mono()[None], sample_rate=RATE)

    assert clap.of_sound(stereo) == pytest.approx(clap.of_sound(mono), abs=1e-6)
    assert clap.of_sound(noise(0.5, rate=44_100)).shape == (12,)


@pytest.mark.parametrize("name", ["clap", "fused"])
def test_nothing_is_left_to_chance(request: pytest.FixtureRequest, name: str) -> None:
    model: Clap = request.getfixturevalue(name)
    state = np.random.get_state(legacy=False)["state"]["key"].tolist()

    scores = [model.score(noise(2.7), "rain") for _ in range(3)]

    assert len(set(scores)) == 1
    assert np.random.get_state(legacy=False)["state"]["key"].tolist() == state


@pytest.mark.parametrize(
    ("seconds", "text", "problem"),
    [
        (0.05, "rain", "0.05 s of sound"),
        (1.0, " ", "an empty text"),
        (1.0, "rain\0", "control character"),
        (1.0, "rain " * 40, "reads 32"),
    ],
)
def test_what_it_cannot_compare_is_refused(
    clap: Clap, seconds: float, text: str, problem: str
) -> None:
    with pytest.raises(InputError, match=problem):
        clap.score(noise(seconds), text)


def test_settings_are_described_without_the_library(folder: Path, tmp_path: Path) -> None:
    told = describe(folder)
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())

    assert module_of(recognize(folder)).describe is describe
    assert recognize(folder).role == "scorer"
    assert (told.sample_rate, told.channels) == (RATE, 1)
    with pytest.raises(InputError, match=r"preprocessor_config\.json"):
        describe(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text('{"sampling_rate": "high"}')
    with pytest.raises(InputError, match="no settings of a CLAP"):
        describe(tmp_path)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("SAFEGEN_HOME", str(tmp_path / "home"))
    for name, sound in (("a", noise(1)), ("b", tone(1))):
        save(sound, tmp_path / f"{name}.wav")
    (tmp_path / "prompts.txt").write_text("rain\n\ncalm piano\n")
    (tmp_path / "one.txt").write_text("rain\n")
    return [str(tmp_path / f"{name}.wav") for name in ("a", "b")]


def test_the_benchmark_tells_scores_and_luck(
    clap: Clap, folder: Path, files: list[str], tmp_path: Path
) -> None:
    args = ["eval", "clap", *files, "--model", str(folder)]
    both = CliRunner().invoke(main, [*args, "--prompts", str(tmp_path / "prompts.txt")])
    same = CliRunner().invoke(main, [*args, "--prompt", "rain"])

    assert (both.exit_code, same.exit_code) == (0, 0), both.output
    row = json.loads(both.stdout)
    assert row["scores"][files[0]] == pytest.approx(clap.score(noise(1), "rain"), abs=1e-3)
    assert row["score"] == pytest.approx(np.mean(list(row["scores"].values())), abs=1e-4)
    crossed = [clap.score(noise(1), "calm piano"), clap.score(tone(1), "rain")]
    assert row["luck"] == pytest.approx(np.mean(crossed), abs=1e-3)
    assert json.loads(same.stdout)["luck"] is None


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        ([], "one of --prompt and --prompts"),
        (["--prompt", "rain", "--prompts", "one.txt"], "one of --prompt and --prompts"),
        (["--prompts", "one.txt"], "1 prompts for 2 files"),
        (["--prompts", "a.wav"], "cannot be read as text"),
        (["--prompt", "rain", "--model", "music-flow"], "is no CLAP"),
        (["--prompt", "rain"], "safegen models pull laion/larger_clap_general"),
    ],
)
def test_the_benchmark_refuses_what_it_cannot_measure(
    files: list[str], args: list[str], problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    done = CliRunner().invoke(main, ["eval", "clap", *files, *args])

    assert done.exit_code == 2
    assert problem in done.stderr
