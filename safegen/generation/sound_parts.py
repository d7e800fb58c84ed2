"""What are procedural sounds made of?

Noise with a chosen spectrum, curves that wander, modes that ring, pulses and many small
grains. Everything is drawn from the dice it is given, works on whole arrays and returns
float64 samples at ``SAMPLE_RATE``.

Source: the recipes follow Farnell, Designing Sound (2010): noise through slow filters
for weather, sums of decaying modes for struck things, grains for crowds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import fft

Floats = npt.NDArray[np.float64]
Curve = Callable[[Floats], Floats]

SAMPLE_RATE: Final = 32_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a layer of sound should be.

    Attributes:
        dice: Draws the parameters and all noise; used up by one sound.
        samples: Length, >= 1.
        rate: 0 slow or sparse, 1 medium, 2 fast or dense.
        times: Where events begin, in seconds, ascending, shape (n,); empty for a
            continuous sound.
    """

    dice: np.random.Generator
    samples: int
    rate: int
    times: Floats

    @property
    def seconds(self) -> float:
        """Length of the sound."""
        return self.samples / SAMPLE_RATE

    def by_rate(self, slow: float, medium: float, fast: float) -> float:
        """Choose a value by the rate and vary it by up to a sixth."""
        return (slow, medium, fast)[self.rate] * float(self.dice.uniform(0.86, 1.16))


def clock(seconds: float) -> Floats:
    """Times of the samples of a stretch, in seconds."""
    return np.arange(max(1, round(seconds * SAMPLE_RATE))) / SAMPLE_RATE


def noise(dice: np.random.Generator, samples: int, curve: Curve) -> Floats:
    """Make noise whose amplitude over frequency in Hz follows a curve; RMS 1."""
    length = fft.next_fast_len(samples, real=True)
    frequencies = np.arange(length // 2 + 1) * (SAMPLE_RATE / length)
    gains = curve(frequencies)
    gains[0] = 0.0
    used = np.flatnonzero(gains > 1e-4 * gains.max())
    first, last = int(used[0]), int(used[-1]) + 1
    # Phases are drawn for all bins, so that a curve changes the color and not the dice.
    turns = dice.standard_normal((2, len(gains)), dtype=np.float32)[:, first:last]
    spectrum = np.zeros(len(gains), dtype=np.complex64)
    spectrum[first:last] = (turns[0] + 1j * turns[1]) * gains[first:last].astype(np.float32)
    sound = np.asarray(fft.irfft(spectrum, length)[:samples], dtype=np.float64)
    return np.asarray(sound / (np.sqrt(np.mean(np.square(sound))) + 1e-12))


def band(center_hz: float, width_octaves: float) -> Curve:
    """A bell-shaped pass band over log-frequency."""

    def curve(frequencies: Floats) -> Floats:
        distance = np.log2(np.maximum(frequencies, 1.0) / center_hz) / width_octaves
        return np.asarray(np.exp(-0.5 * np.square(distance)))

    return curve


def slope(low_hz: float, high_hz: float, power: float) -> Curve:
    """Amplitude falling as frequency to the ``-power`` between two soft edges."""

    def curve(frequencies: Floats) -> Floats:
        f = np.maximum(frequencies, 1.0)
        edges = 1.0 / (1.0 + (low_hz / f) ** 4) / (1.0 + (f / high_hz) ** 4)
        return np.asarray(edges * (f / 1000.0) ** -power)

    return curve


def filtered(sound: Floats, curve: Curve) -> Floats:
    """Pass a sound through a curve, without moving it in time."""
    length = fft.next_fast_len(len(sound) + 2048, real=True)
    frequencies = np.arange(length // 2 + 1) * (SAMPLE_RATE / length)
    out = fft.irfft(fft.rfft(sound, length) * curve(frequencies), length)[: len(sound)]
    return np.asarray(out)


def drift(dice: np.random.Generator, samples: int, *, per_second: float) -> Floats:
    """A smooth random curve in [0, 1] with about so many turning points per second."""
    seconds = samples / SAMPLE_RATE
    count = int(np.ceil(seconds * per_second)) + 2
    points = dice.uniform(0.0, 1.0, count)
    # Cosine interpolation on a coarse grid, then straight lines: the ear hears no corner.
    coarse = np.arange(0.0, seconds + 0.02, 0.01) * per_second + dice.uniform(0.0, 1.0)
    place = np.minimum(coarse, count - 1.001)
    first = place.astype(np.int64)
    share = 0.5 - 0.5 * np.cos(np.pi * (place - first))
    values = points[first] * (1.0 - share) + points[first + 1] * share
    return stretched(values, samples)


def stretched(values: Floats, samples: int) -> Floats:
    """Spread values given every 10 ms over samples."""
    at = np.arange(samples) * (100.0 / SAMPLE_RATE)
    return np.asarray(np.interp(at, np.arange(len(values)), values))


def phase(hz: Floats) -> Floats:
    """Turns since the start of an oscillator whose frequency follows ``hz``, per sample."""
    return np.asarray(np.cumsum(hz) / SAMPLE_RATE)


def ringing(
    hz: Sequence[float] | Floats,
    levels: Sequence[float] | Floats,
    decays_seconds: Sequence[float] | Floats,
    *,
    seconds: float,
) -> Floats:
    """Strike modes: decaying sines, each with the time in which it falls to 1/e."""
    t = clock(seconds)
    sound = np.zeros(len(t))
    for f, level, decay in zip(hz, levels, decays_seconds, strict=True):
        if f < SAMPLE_RATE / 2:
            sound += level * np.exp(-t / decay) * np.sin(2 * np.pi * f * t)
    return sound


def placed(grains: Sequence[Floats], times: Floats, samples: int) -> Floats:
    """Add grains at times in seconds; what leaves the end is cut off."""
    out = np.zeros(samples)
    for grain, time in zip(grains, times, strict=True):
        start = round(float(time) * SAMPLE_RATE)
        if start < samples:
            end = min(samples, start + len(grain))
            out[start:end] += grain[: end - start]
    return out


def shower(
    dice: np.random.Generator,
    kernels: Sequence[Floats],
    *,
    samples: int,
    times: Floats,
    levels: Floats,
) -> Floats:
    """Add thousands of short grains, each a random one of a few kernels of one length."""
    table = np.stack(kernels)
    which = dice.integers(0, len(table), len(times))
    starts = np.round(times * SAMPLE_RATE).astype(np.int64)
    out = np.zeros(samples + table.shape[1])
    for row, kernel in enumerate(table):
        mine = (which == row) & (starts < samples)
        spikes = np.bincount(starts[mine], weights=levels[mine], minlength=samples)
        at = np.flatnonzero(spikes)
        flat = (at[:, None] + np.arange(len(kernel))).ravel()
        out += np.bincount(flat, weights=(spikes[at, None] * kernel).ravel(), minlength=len(out))
    return out[:samples]


def burst(dice: np.random.Generator, curve: Curve, *, seconds: float, decay: float) -> Floats:
    """A puff of colored noise that dies away, starting within a millisecond."""
    t = clock(seconds)
    return np.asarray(noise(dice, len(t), curve) * np.exp(-t / decay) * np.minimum(1.0, t / 0.001))


def echoed(dice: np.random.Generator, sound: Floats, *, seconds: float, level: float) -> Floats:
    """Add a diffuse room: decaying noise as an impulse response."""
    t = clock(seconds)
    tail = noise(dice, len(t), slope(200.0, 6000.0, 0.3)) * np.exp(-5.0 * t / seconds)
    tail *= level / np.sqrt(np.sum(np.square(tail)))
    length = fft.next_fast_len(len(sound) + len(tail), real=True)
    wet = fft.irfft(fft.rfft(sound, length) * fft.rfft(tail, length), length)
    return np.asarray(sound + wet[: len(sound)])
