"""A small cast of models that ship, and folders of sound that a plug-in can tell apart."""

import functools
from pathlib import Path

import numpy as np
import soundfile

from detectors.synthetic import traces
from detectors.synthetic.calibration import Calibration, yardstick
from detectors.synthetic.entries import Entry
from detectors.synthetic.judging import Roster
from detectors.synthetic.reference import Reference, group_weights, windows_of

RATE = 16_000
LOUD, QUIET = 0.2, 0.02


def noise(seed: int, level: float, seconds: float = 4.0) -> np.ndarray:
    """Make noise with a slow tremolo; shape (samples,)."""
    dice = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    sound = level * dice.standard_normal(len(time)) * (1.0 + 0.5 * np.sin(2 * np.pi * 3.0 * time))
    return np.asarray(sound, dtype=np.float32)


def folder_of(path: Path, count: int, *, level: float, seed: int, sources: int = 6) -> Path:
    """Write sounds of one level, a sub-folder for each source."""
    for number in range(count):
        file = path / f"source-{number % sources}" / f"{number}.wav"
        file.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(file, noise(seed + number, level * (1 + 0.01 * (number % 7))), RATE)
    return path


@functools.cache
def small_roster() -> Roster:
    """Cast one entry and a reference to which everything is speech."""
    windows = windows_of([traces.trace(noise(seed, 0.1)) for seed in range(6)])
    size, d = len(group_weights()), traces.DOMAIN_SIZE
    reference = Reference(
        windows=windows,
        source=np.array([f"s{n}" for n in range(6)]),
        speech=np.ones(6, dtype=bool),
        calibrate=np.ones(6, dtype=bool),
        mean=np.zeros(size),
        scale=np.ones(size),
        domain_mean=np.zeros(d),
        domain_axes=np.eye(d)[:, :4],
        domain_limit=1.0,
        speech_mean=np.zeros(d),
        speech_scale=np.ones(d),
        speech_coefficients=np.zeros(d),
        speech_intercept=1.0,
        card="{}",
        digest="reference",
    )
    return Roster(reference=reference, entries=(entry("known"),))


def entry(name: str, *, own: bool = False, reference: str = "reference") -> Entry:
    """Make an entry whose head says nothing."""
    nothing = Calibration(yardsticks=(yardstick(np.linspace(0.0, 1.0, 30), seconds=4.0),))
    return Entry(
        name=name,
        family="vocoder",
        own=own,
        sample_rate=22_050,
        spacings_hz=(86.13,),
        coefficients=np.zeros(len(group_weights())),
        intercept=0.0,
        speech=nothing,
        music=nothing,
        made=("speech",),
        min_seconds=4.0,
        codecs=("mp3-64k",),
        figures={"speech eer": 0.05},
        card="a test",
        reference=reference,
    )
