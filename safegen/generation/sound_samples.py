"""How do recordings become sound effects?

Crow, tabla, vinyl crackle, swooshes and booms from Debian's ``sonic-pi-samples``, whose
README places all of them under CC0. A recording is played faster or slower, cut and
repeated; the dice say which and how.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np

from safegen.audio import load, resample
from safegen.errors import InputError
from safegen.generation.sound_parts import SAMPLE_RATE, Floats, Order, placed

REMEDY: Final = (
    "Run `safegen eval assets --out FOLDER sonic-pi-samples`, then name FOLDER as the samples."
)
_LONGEST_SECONDS: Final = 5.0
_HEARD: Final = 0.15
_CROWS: Final = ("misc_crow",)
_TABLAS: Final = (
    "tabla_dhec", "tabla_ghe1", "tabla_ghe4", "tabla_ke3", "tabla_na", "tabla_na_s", "tabla_re",
    "tabla_tas1", "tabla_te1", "tabla_te2", "tabla_te_m", "tabla_te_ne", "tabla_tun1",
)  # fmt: skip
_VINYL: Final = "vinyl_hiss"
_SWOOSHES: Final = ("perc_swoosh", "perc_swash", "ambi_swoosh")
_BOOMS: Final = ("misc_cineboom", "bd_boom", "perc_impact1", "perc_impact2")


def crow(order: Order, folder: Path | None) -> Floats:
    """Caws at slightly different pitches."""
    base = order.dice.uniform(0.85, 1.2)
    caw = _read(_CROWS[0], folder)
    grains = [_played(caw, base * order.dice.uniform(0.96, 1.04)) for _ in order.times]
    return placed(grains, order.times, order.samples)


def tabla(order: Order, folder: Path | None) -> Floats:
    """A short pattern of strokes that repeats."""
    dice = order.dice
    speed = dice.uniform(0.85, 1.15)
    names = dice.choice(_TABLAS, int(dice.integers(3, 6)), replace=False)
    strokes = [_played(_read(str(name), folder), speed) for name in names]
    pattern = dice.integers(0, len(strokes), int(dice.choice((6, 8, 12))))
    grains = [
        strokes[pattern[i % len(pattern)]] * dice.uniform(0.6, 1.0) for i in range(len(order.times))
    ]
    return placed(grains, order.times, order.samples)


def vinyl(order: Order, folder: Path | None) -> Floats:
    """The crackle of a worn record: stretches of the recording, overlapping softly."""
    dice = order.dice
    source = _played(_read(_VINYL, folder), order.by_rate(0.8, 1.0, 1.3))
    length = 2 * SAMPLE_RATE
    window = np.hanning(length + 1)[:length]
    out = np.zeros(order.samples + 2 * length)
    for start in range(0, order.samples + length, length // 2):
        at = int(dice.integers(0, len(source) - length))
        out[start : start + length] += source[at : at + length] * window
    return out[length // 2 : length // 2 + order.samples]


def swoosh(order: Order, folder: Path | None) -> Floats:
    """Something that flies past."""
    dice = order.dice
    source = _read(str(dice.choice(_SWOOSHES)), folder)
    speed = dice.uniform(0.7, 1.35)
    grains = [_played(source, speed * dice.uniform(0.92, 1.08)) for _ in order.times]
    return placed(grains, order.times, order.samples)


def boom(order: Order, folder: Path | None) -> Floats:
    """A deep impact, as in trailers."""
    dice = order.dice
    source = _read(str(dice.choice(_BOOMS)), folder)
    speed = dice.uniform(0.7, 1.25)
    grains = [_played(source, speed) * dice.uniform(0.7, 1.0) for _ in order.times]
    return placed(grains, order.times, order.samples)


def _read(name: str, folder: Path | None) -> Floats:
    """Open a recording below a folder.

    Raises:
        InputError: If there is no folder, or no such recording in it.
    """
    if folder is None:
        raise InputError(f"{name}.flac of sonic-pi-samples is needed, no folder was given",
                         remedy=REMEDY)  # fmt: skip
    return _cached(name, folder)


@lru_cache(maxsize=64)
def _cached(name: str, folder: Path) -> Floats:
    path = next(iter(sorted(folder.rglob(f"{name}.flac"))), None)
    if path is None:
        raise InputError(f"{folder}: no {name}.flac below it", remedy=REMEDY)
    mono = np.asarray(resample(load(path), SAMPLE_RATE).mono(), dtype=np.float64)
    if name != _VINYL:
        # An event begins when it is heard, not when the recorder was switched on.
        first = int(np.argmax(np.abs(mono) > _HEARD * np.abs(mono).max()))
        mono = mono[max(0, first - SAMPLE_RATE // 200) :]
        mono = mono[: round(_LONGEST_SECONDS * SAMPLE_RATE)]
        tail = min(len(mono), SAMPLE_RATE // 20)
        mono[-tail:] *= np.linspace(1.0, 0.0, tail)
    mono /= np.abs(mono).max() + 1e-12
    mono.setflags(write=False)
    return mono


def _played(source: Floats, speed: float) -> Floats:
    """Play faster or slower, pitch and all, with straight lines between samples."""
    at = np.arange(0.0, len(source) - 1, speed)
    return np.asarray(np.interp(at, np.arange(len(source)), source))
