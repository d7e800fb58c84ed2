"""What the tests of the judgement share: an installation, and sound that is no music."""

import functools
import shutil
from pathlib import Path

import numpy as np
import pytest

from safegen.audio import Audio, Waveform

TONE_SECONDS = 8.0
TONE_RATE = 32_000


@pytest.fixture
def home(tmp_path: Path, sqlite_template: Path) -> Path:
    """An installation with its own keys and an empty, migrated database."""
    from safegen.config import from_environment
    from safegen.provenance.keys import KeyStore

    folder = tmp_path / "home"
    config = from_environment({"SAFEGEN_HOME": str(folder)})
    KeyStore(config.keys).init()
    shutil.copy(sqlite_template, folder / "safegen.db")
    return folder


def tones(seed: int, *, seconds: float = TONE_SECONDS, sample_rate: int = TONE_RATE) -> Audio:
    """Compose a row of harmonic tones with noise, another row for each seed."""
    waveform = _composed(seed, seconds, sample_rate)
    return Audio(waveform=waveform.copy(), sample_rate=sample_rate)


@functools.lru_cache(maxsize=32)
def _composed(seed: int, seconds: float, sample_rate: int) -> Waveform:
    dice = np.random.default_rng(seed)
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    sound = 0.05 * dice.standard_normal(len(time))
    for start in np.arange(0.0, seconds, 0.25):
        pitch = 110.0 * 2.0 ** (dice.integers(0, 36) / 12.0)
        here = slice(*np.searchsorted(time, (start, start + 0.5)))
        decay = np.exp(-4.0 * (time[here] - start))
        for harmonic in range(1, 9):
            sound[here] += decay * np.sin(2 * np.pi * pitch * harmonic * time[here]) / harmonic
    sound *= 0.3 / np.abs(sound).max()
    return sound.astype(np.float32)[None, :]
