"""``safegen codec`` with public codecs: other files, other weights, and no mark."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from safegen.audio import Audio, load, save
from safegen.cli import main
from tests.safegen.conftest import tones
from tests.safegen.generation.tiny_bark import save_bark
from tests.safegen.generation.tiny_codecs import save_dac, save_encodec


@pytest.fixture(scope="module")
def codecs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = tmp_path_factory.mktemp("codecs")
    return {
        "encodec": save_encodec(made / "encodec", is_chunked=True),
        "dac": save_dac(made / "dac"),
        "bark": save_bark(made / "bark"),
    }


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("songs") / "song.wav"
    audio = tones(1, seconds=0.7)
    stereo = np.repeat(audio.waveform[:1], 2, axis=0) * np.array([[1.0], [0.5]], np.float32)
    save(Audio(waveform=stereo, sample_rate=audio.sample_rate), path)
    return path


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAFEGEN_HOME", str(tmp_path / "home"))


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(main, ["codec", *map(str, args)])


def test_a_sound_goes_there_and_back(codecs: dict[str, Path], song: Path, tmp_path: Path) -> None:
    model = ("--model", codecs["encodec"], "--format", "jsonl")

    there = run("encode", song, *model, "--codebooks", "2", "--out", tmp_path / "s")
    file = tmp_path / "s" / "song.safetensors"
    said = run("info", file, "--format", "jsonl")
    back = run("decode", file, *model, "--out", tmp_path / "b")

    assert (there.exit_code, said.exit_code, back.exit_code) == (0, 0, 0), back.output
    row = json.loads(back.stdout)
    assert (row["marked"], row["released"], row["model"]) == (False, False, "encodec")
    told = json.loads(said.stdout)
    assert (told["codebooks"], told["channels"], told["sample_rate"]) == (2, 2, 48_000)
    assert told["bitrate"] == json.loads(there.stdout)["bitrate"]
    sound = load(tmp_path / "b" / "song.wav")
    assert (sound.sample_rate, sound.waveform.shape) == (48_000, (2, told["samples"]))
    assert sound.seconds == pytest.approx(load(song).seconds, abs=1e-4)


def test_other_weights_do_not_decode_it(
    codecs: dict[str, Path], song: Path, tmp_path: Path
) -> None:
    run("encode", song, "--model", codecs["encodec"], "--out", tmp_path)
    file = tmp_path / "song.safetensors"

    other = run("decode", file, "--model", codecs["dac"], "--out", tmp_path / "b")
    shipped = run("decode", file, "--out", tmp_path / "b")

    assert (other.exit_code, shipped.exit_code) == (2, 2)
    assert "made by encodec with weights" in other.stderr
    assert "codes of encodec, a public codec" in shipped.stderr
    assert "--model" in shipped.stderr
    assert list((tmp_path / "b").glob("*")) == []


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("--model", "facebook/encodec_24khz"), "safegen models pull facebook/encodec_24khz"),
        (("--model", "./nowhere"), "no such folder"),
        (("--codebooks", "5"), "the codec has 4"),
    ],
)
def test_what_cannot_be_used_is_refused(
    song: Path, tmp_path: Path, args: tuple[str, ...], told: str
) -> None:
    done = run("encode", song, *args, "--out", tmp_path / "s")

    assert done.exit_code == 2
    assert told in done.stderr
    assert not (tmp_path / "s").exists()


def test_what_a_public_codec_cannot_do_is_refused(
    codecs: dict[str, Path], song: Path, tmp_path: Path
) -> None:
    many = run(
        "encode", song, "--model", codecs["dac"], "--codebooks", "9", "--out", tmp_path / "s"
    )
    speech = run("encode", song, "--model", codecs["bark"], "--out", tmp_path / "s")
    run("encode", song, "--model", codecs["dac"], "--out", tmp_path)
    file = tmp_path / "song.safetensors"
    stream = run("decode", file, "--model", codecs["dac"], "--stream", "--out", tmp_path / "s")
    file.write_bytes(file.read_bytes()[:-1])
    cut = run("decode", file, "--model", codecs["dac"], "--out", tmp_path / "s")

    assert (many.exit_code, speech.exit_code, stream.exit_code, cut.exit_code) == (2, 2, 2, 4)
    assert "dac has 1 to 4" in many.stderr
    assert "a Bark, is no codec" in speech.stderr
    assert "decodes no streams" in stream.stderr
    assert list((tmp_path / "s").glob("*")) == []


def test_help_says_that_nothing_is_marked() -> None:
    told = re.sub(r"\s+", " ", run("decode", "--help").output)

    assert "its decoder writes no mark" in told
    assert "It is no generator" in told
