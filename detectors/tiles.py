"""How loud is each tile of a sound, freed of whatever its surroundings predict?

A *tile* is 32 ms long and 125 Hz wide, between 312 Hz and 5 kHz; the watermark makes
some a little louder and others a little softer. What is measured here depends on no
key: that is what makes the p-values of ``detectors.watermark`` hold for any sound.

A recording played faster or transposed has its tiles elsewhere. Transposition moves
their edges in frequency, which ``Spectrum.grid`` takes as an argument; tempo moves
them in time, which the caller undoes when it samples the grid.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import gcd
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter1d
from scipy.signal import resample_poly

from detectors.base import Waveform

SAMPLE_RATE: Final = 16_000
WINDOW: Final = 512
HOP: Final = 128
TILE_FRAMES: Final = 4
TILE_BINS: Final = 4
FIRST_BIN: Final = 10
BANDS: Final = 37
SLOTS: Final = 128
"""Tiles in a row; the pattern of one *block* of 4.1 s."""
BLOCK_FRAMES: Final = SLOTS * TILE_FRAMES
FRAME_SECONDS: Final = HOP / SAMPLE_RATE

WINDOW_SHAPE: Final = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)).astype(
    np.float32
)
"""Periodic Hann window."""

_MIN_FRAMES: Final = 64
"""Half a second; shorter sounds hold too few tiles to say anything."""
_LEAST_WEIGHT: Final = 0.2
_FLOOR_SPREAD: Final = 0.4
"""Nepers by which the level of steady noise wanders above its quietest tenth.

With both, marks under noise at 20 and 30 dB are heard 15 % better, clean ones 10 % worse.
"""
_CHUNK_FRAMES: Final = 15 * BLOCK_FRAMES
_MOST_FRAMES_KEPT: Final = 300_000
"""40 minutes, in grids of one sound: 44 MB."""
_HIGHEST_BIN: Final = 180
"""5.6 kHz: where the highest tile ends after a transposition by two semitones."""

Grid = npt.NDArray[np.float32]
"""Shape (frames, BANDS): one value per hop and band."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spectrum:
    """Log-power of a sound, summed upwards so that any band's mean is one subtraction.

    Attributes:
        below: Shape (frames, _HIGHEST_BIN + 1); entry k is the sum over the bins below k.
        kept: Grids that were asked for, while they take little memory.
    """

    below: npt.NDArray[np.float32]
    kept: dict[float, Grid] = field(default_factory=dict, repr=False, compare=False)

    @property
    def frames(self) -> int:
        """Number of hops."""
        return len(self.below)

    def cut(self, first: int, last: int) -> "Spectrum":
        """Keep the frames from ``first`` to before ``last``; grids of it are cheap."""
        return Spectrum(below=self.below[first:last])

    def grid(self, ratio: float = 1.0) -> Grid:
        """Measure the tiles of a sound that was transposed by a frequency ratio.

        Args:
            ratio: Frequency heard over frequency marked, in [0.85, 1.15].

        Returns:
            Shape (frames, BANDS); a tile that starts at frame t has its value at row t.
            About 0 on average and 1 in size, no rows if there is no sound.
        """
        if not self.frames:
            return np.zeros((0, BANDS), np.float32)
        if ratio not in self.kept:
            if self.frames * (len(self.kept) + 1) > _MOST_FRAMES_KEPT:
                self.kept.clear()
            self.kept[ratio] = self._measured(ratio)
        return self.kept[ratio]

    def _measured(self, ratio: float) -> Grid:
        level = np.diff(self._below(FIRST_BIN + TILE_BINS * np.arange(BANDS + 1), ratio), axis=1)
        level = _tile_mean(level / np.float32(TILE_BINS * ratio))
        weight = _above_floor(level)
        level -= uniform_filter1d(level, 120, axis=0, mode="nearest")
        level -= uniform_filter1d(level, 11, axis=1, mode="nearest")
        level = unpredictable(level, tile_frames=TILE_FRAMES)
        spread = uniform_filter1d(uniform_filter1d(level**2, 24, axis=0), 3, axis=1)
        # The running sum may end a rounding error below zero.
        level *= weight / (np.sqrt(np.maximum(spread, 0.0)) + 0.05)
        return np.asarray(level, dtype=np.float32)

    def _below(self, edges: npt.NDArray[np.int64], ratio: float) -> Grid:
        """Read the running sum at scaled edges, linear between bins."""
        if ratio == 1.0:
            return self.below[:, edges]
        # Bin k covers the frequencies around k; its lower edge is k - 1/2.
        place = (edges - 0.5) * ratio + 0.5
        floor = np.minimum(place.astype(np.int64), _HIGHEST_BIN - 1)
        part = (place - floor).astype(np.float32)
        return self.below[:, floor] * (1 - part) + self.below[:, floor + 1] * part


def listen(waveform: Waveform, sample_rate: int) -> Spectrum:
    """Take the spectrum once; grids for any transposition come from it.

    Channels are added as powers, so opposite phases do not cancel the mark.

    Args:
        waveform: Shape (channels, samples).
        sample_rate: In Hz.

    Returns:
        No frames if the sound is silent or shorter than half a second.

    Cost: about 3 ms of one core per second of 44.1 kHz stereo.
    """
    nothing = Spectrum(below=np.zeros((0, _HIGHEST_BIN + 1), np.float32))
    if waveform.shape[1] * SAMPLE_RATE < _MIN_FRAMES * HOP * sample_rate:
        return nothing
    low = to_mark_rate(waveform, sample_rate)
    frames = low.shape[1] // HOP + 2
    # One array from power to sums, a minute at a time: an hour takes 0.3 GB, not five times that.
    below = np.zeros((frames, _HIGHEST_BIN + 1), np.float32)
    power = below[:, 1:]
    for channel in low:
        done = 0
        for part in spectra(channel):
            rows = power[done : done + len(part)]
            rows += part.real[: len(rows), :_HIGHEST_BIN] ** 2
            rows += part.imag[: len(rows), :_HIGHEST_BIN] ** 2
            done += len(part)
    mean = float(power[:, FIRST_BIN : FIRST_BIN + BANDS * TILE_BINS].mean(dtype=np.float64))
    if not mean > 1e-12:
        return nothing
    for start in range(0, frames, _CHUNK_FRAMES):
        rows = power[start : start + _CHUNK_FRAMES]
        # The floor turns digital silence into a constant instead of minus infinity; the mean
        # is taken off so that running sums in single precision keep their digits.
        rows[:] = np.log(rows / np.float32(mean) + np.float32(3e-7))
        np.cumsum(rows, axis=1, out=rows)
    return Spectrum(below=below)


def to_mark_rate(waveform: Waveform, sample_rate: int) -> Waveform:
    """Resample each channel to ``SAMPLE_RATE``."""
    if sample_rate == SAMPLE_RATE:
        return waveform
    common = gcd(SAMPLE_RATE, sample_rate)
    out = resample_poly(waveform, SAMPLE_RATE // common, sample_rate // common, axis=1)
    return np.asarray(out, dtype=np.float32)


def spectra(channel: npt.NDArray[np.float32]) -> Iterator[npt.NDArray[np.complex64]]:
    """Yield the short-time spectrum, a minute at a time; frame t is centered on sample t * HOP.

    Args:
        channel: Shape (samples,), at ``SAMPLE_RATE``.

    Yields:
        Shape (frames, WINDOW // 2 + 1).
    """
    padded = np.pad(channel, (WINDOW // 2, WINDOW // 2 + HOP))
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    for start in range(0, len(frames), _CHUNK_FRAMES):
        part = frames[start : start + _CHUNK_FRAMES] * WINDOW_SHAPE
        yield np.fft.rfft(part, axis=1).astype(np.complex64)


def _tile_mean(level: Grid) -> Grid:
    """Average each row with the following rows of its tile."""
    total = np.cumsum(
        np.pad(level, ((1, TILE_FRAMES - 1), (0, 0)), mode="edge"), axis=0, dtype=np.float64
    )
    return np.asarray((total[TILE_FRAMES:] - total[:-TILE_FRAMES]) / TILE_FRAMES, np.float32)


def _above_floor(level: Grid) -> Grid:
    """Trust what stands out of the quietest tenth of its band; the rest may be added noise.

    Returns:
        Weights from ``_LEAST_WEIGHT`` to 1.
    """
    smooth = uniform_filter1d(uniform_filter1d(level, 9, axis=0), 3, axis=1)
    floor = np.percentile(smooth[::TILE_FRAMES], 10, axis=0).astype(np.float32)
    above = np.maximum(np.expm1(np.minimum(smooth - floor - _FLOOR_SPREAD, 10.0)), 0.0)
    share = above / (1.0 + above)
    return np.asarray(_LEAST_WEIGHT + (1.0 - _LEAST_WEIGHT) * share, dtype=np.float32)


def unpredictable(level: Grid, *, tile_frames: int) -> Grid:
    """Subtract from each tile what its four neighbors predict by least squares.

    Held notes and harmonics say much about their neighbors, signs tossed by a key nothing.

    Args:
        level: Shape (frames, bands); row t is the tile that begins at frame t.
        tile_frames: Frames of a tile, the distance of its neighbors in time.
    """
    rows, columns = level.shape
    padded = np.pad(level, ((tile_frames, tile_frames), (1, 1)), mode="edge")
    around = [
        padded[tile_frames + row : tile_frames + row + rows, 1 + column : 1 + column + columns]
        for row, column in ((-tile_frames, 0), (tile_frames, 0), (0, -1), (0, 1))
    ]
    gram = np.array([[np.vdot(one, other) for other in around] for one in around], np.float64)
    target = np.array([np.vdot(one, level) for one in around], np.float64)
    ridge = 1e-3 * float(np.vdot(level, level)) + 1e-9
    weights = np.linalg.solve(gram + ridge * np.eye(len(around)), target)
    out = level.copy()
    for weight, neighbor in zip(weights, around, strict=True):
        out -= np.float32(weight) * neighbor
    return out
