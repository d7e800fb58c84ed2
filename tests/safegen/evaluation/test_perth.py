"""The mark to compare with is heard where it is, and is refused where it is not the known one."""

from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from safegen.audio import Audio, load
from safegen.errors import SafegenError
from safegen.evaluation import perth
from safegen.evaluation.attacks.adversarial import mark_and_subtract
from safegen.evaluation.quality import snr_db

ASSETS = Path(__file__).parents[2] / "assets"


@pytest.fixture(scope="module")
def sound() -> Audio:
    return load(ASSETS / "tabla.ogg").cut(0, 5)


@pytest.fixture(scope="module")
def marked(sound: Audio) -> Audio:
    return perth.embed(sound)


def test_present_is_heard_and_absent_is_not(sound: Audio, marked: Audio) -> None:
    assert perth.detect(marked) > perth.THRESHOLD
    assert perth.detect(sound) < perth.THRESHOLD


def test_the_mark_keeps_shape_and_rate_and_is_quiet(sound: Audio, marked: Audio) -> None:
    assert marked.waveform.shape == sound.waveform.shape
    assert marked.sample_rate == sound.sample_rate
    assert snr_db(sound, marked) > 12


def test_marking_again_and_subtracting_removes_it(marked: Audio) -> None:
    washed = mark_and_subtract(marked, perth.embed)

    assert perth.detect(washed) < perth.THRESHOLD


@pytest.mark.parametrize("samples", [1, 500, 16_000])
def test_short_and_silent_sounds_are_unmarked(samples: int) -> None:
    silence = Audio(waveform=np.zeros((1, samples), np.float32), sample_rate=16_000)

    assert perth.detect(silence) == 0.0
    assert np.isfinite(perth.embed(silence).waveform).all()


def test_without_the_package_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    perth._weights.cache_clear()

    assert not perth.is_installed()
    with pytest.raises(SafegenError, match="pip install --no-deps resemble-perth"):
        perth._weights()


def test_other_weights_are_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Elsewhere:
        def locate_file(self, name: str) -> Path:
            return tmp_path / Path(name).name

    (tmp_path / Path(perth._FILE).name).write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    monkeypatch.setattr(metadata, "distribution", lambda name: Elsewhere())
    perth._weights.cache_clear()

    with pytest.raises(SafegenError, match="has the SHA-256"):
        perth._weights()
