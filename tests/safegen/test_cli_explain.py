"""``safegen detectors explain``: one question about files, and its picture."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from detectors import synthetic
from detectors.base import Waveform
from detectors.errors import DetectorError
from detectors.synthetic.finding import SyntheticFinding
from detectors.synthetic.judging import Roster
from safegen import synthesis, watermark
from safegen.audio import Audio, save
from safegen.cli import main
from safegen.config import Config
from safegen.provenance.keys import KeyStore
from tests.safegen.conftest import tones
from tests.safegen.screening_help import config_of
from tests.safegen.synthesis_help import HIFIGAN


@pytest.fixture(autouse=True)
def classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything sounds like a known generator."""

    def classifier_of(config: Config) -> Callable[[Audio], SyntheticFinding]:
        return lambda _: HIFIGAN

    monkeypatch.setattr(synthesis, "classifier_of", classifier_of)


@pytest.fixture
def no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation that was never set up."""
    monkeypatch.setenv("SAFEGEN_HOME", str(tmp_path / "none"))
    monkeypatch.delenv("SAFEGEN_DATABASE_URL", raising=False)
    return tmp_path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["detectors", "explain", *map(str, arguments)])


def test_a_file_is_explained_without_any_installation(no_home: Path) -> None:
    save(tones(1, seconds=5), no_home / "a.wav")

    found = run(no_home / "a.wav", "--out", no_home / "pictures")

    assert found.exit_code == 0, found.output
    assert f"known_generator: {no_home / 'a.wav'}" in found.stdout
    assert "sounds like hifigan (known generator)" in found.stdout
    assert "line   2756 Hz, +3.2 dB, stride 256" in found.stdout
    (picture,) = (no_home / "pictures").iterdir()
    assert str(picture) in found.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_our_mark_goes_before_the_classifier_where_there_are_keys(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAFEGEN_HOME", str(home))
    key = KeyStore(config_of(home).keys).current_watermark_key()
    marked = watermark.embed(tones(1, seconds=8), payload=7, key=key.secret)
    save(marked, tmp_path / "a.wav")

    row = json.loads(run(tmp_path / "a.wav", "--format", "jsonl").stdout)

    assert (row["synthetic"]["verdict"], row["synthetic"]["because"]) == (
        "own_generator",
        "watermark",
    )
    assert row["synthetic"]["classifier_verdict"] == "known_generator"
    assert row["watermark"]["intervals"]


def test_an_unreadable_file_is_told_and_does_not_stop_the_others(no_home: Path) -> None:
    (no_home / "a.wav").write_bytes(b"no sound")
    save(tones(1, seconds=5), no_home / "b.wav")

    found = run(no_home, "--format", "jsonl")

    assert found.exit_code == 2
    assert "a.wav" in found.stderr
    assert [Path(json.loads(line)["file"]).name for line in found.stdout.splitlines()] == ["b.wav"]


def test_pictures_that_are_there_are_not_replaced(no_home: Path) -> None:
    save(tones(1, seconds=5), no_home / "a.wav")
    (no_home / "old.png").write_bytes(b"old")

    found = run(no_home / "a.wav", "--out", no_home)

    assert found.exit_code == 2
    assert "holds pictures already" in found.output


def test_a_classifier_that_cannot_answer_is_an_error_without_a_traceback(
    no_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("SAFEGEN_HOME", str(no_home))

    def broken(waveform: Waveform, sample_rate: int, *, roster: Roster) -> SyntheticFinding:
        raise DetectorError("the weights are damaged")

    monkeypatch.setattr(synthetic, "judge", broken)
    save(tones(1, seconds=5), no_home / "a.wav")

    found = run(no_home / "a.wav")

    assert found.exit_code == 1
    assert "the weights are damaged" in found.stderr
