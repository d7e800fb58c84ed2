"""What the tests of the judgement share: an installation, and sound that is no music."""

from pathlib import Path

import numpy as np
import pytest

from safegen.audio import Audio

TONE_SECONDS = 8.0
TONE_RATE = 32_000


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An installation with its own keys and an empty, migrated database."""
    from registry import schema
    from safegen.config import from_environment
    from safegen.provenance.keys import KeyStore

    folder = tmp_path / "home"
    config = from_environment({"SAFEGEN_HOME": str(folder)})
    KeyStore(config.keys).init()
    schema.upgrade(config.database_url)
    return folder


def tones(seed: int, *, seconds: float = TONE_SECONDS, sample_rate: int = TONE_RATE) -> Audio:
    """Compose a row of harmonic tones with noise, another row for each seed."""
    dice = np.random.default_rng(seed)
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    sound = 0.05 * dice.standard_normal(len(time))
    for start in np.arange(0.0, seconds, 0.25):
        pitch = 110.0 * 2.0 ** (dice.integers(0, 36) / 12.0)
        here = (time >= start) & (time < start + 0.5)
        decay = np.exp(-4.0 * (time[here] - start))
        for harmonic in range(1, 9):
            sound[here] += decay * np.sin(2 * np.pi * pitch * harmonic * time[here]) / harmonic
    sound *= 0.3 / np.abs(sound).max()
    return Audio(waveform=sound.astype(np.float32)[None, :], sample_rate=sample_rate)
