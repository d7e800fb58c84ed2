"""How is a sound of any length cut into windows at 16 kHz, in memory that does not grow with it?

Pieces may arrive in any size: they are resampled with as much context as the filter reaches,
so that the cuts make no difference, and windows lie on one grid from the sound's start.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import gcd

import numpy as np
import numpy.typing as npt
from scipy.signal import resample_poly

from detectors.base import Waveform
from detectors.presence import FRAME, SAMPLE_RATE, STEP, WINDOW


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A stretch of one channel at 16 kHz; ``start`` is a multiple of ``FRAME``."""

    start: int
    channel: int
    samples: npt.NDArray[np.float32]


def at_16k(chunks: Iterable[Waveform], sample_rate: int) -> Iterator[Waveform]:
    """Resample piece by piece; the pieces join as if all had been resampled at once."""
    if sample_rate == SAMPLE_RATE:
        yield from chunks
        return
    common = gcd(SAMPLE_RATE, sample_rate)
    up, down = SAMPLE_RATE // common, sample_rate // common
    # The filter reaches 10 * max(up, down) / up samples; whole periods keep the phase.
    reach = down * -(-(10 * max(up, down) // up + 2) // down)
    held: Waveform | None = None
    before = 0  # samples of ``held`` that only give context
    for chunk in chunks:
        held = chunk if held is None else np.concatenate([held, chunk], axis=1)
        ready = (held.shape[1] - before - reach) // down * down
        if ready < max(sample_rate, reach):
            continue
        low = resample_poly(held[:, : before + ready + reach], up, down, axis=1)
        skip = before // down * up
        yield low[:, skip : skip + ready // down * up].astype(np.float32)
        cut = max(0, before + ready - reach)
        held, before = held[:, cut:], before + ready - cut
    if held is not None and held.shape[1] > before:
        low = resample_poly(held, up, down, axis=1)
        yield low[:, before // down * up :].astype(np.float32)


def cut_windows(pieces: Iterable[Waveform]) -> Iterator[Window]:
    """Cut two-second windows, half overlapping; the last one ends where the sound ends."""
    held: Waveform | None = None
    start = 0
    for piece in pieces:
        held = piece if held is None else np.concatenate([held, piece], axis=1)
        # One step is held back, so that the last window can reach back.
        while held.shape[1] >= WINDOW + 2 * STEP:
            yield from _cut(held, start, 0, WINDOW)
            held, start = held[:, STEP:], start + STEP
    if held is None:
        return
    offset, samples = 0, held.shape[1]
    while offset + WINDOW <= samples:
        yield from _cut(held, start, offset, offset + WINDOW)
        offset += STEP
    reached = offset - STEP + WINDOW if offset else 0
    if reached < samples:
        first = max(0, (samples - WINDOW) // FRAME * FRAME)
        yield from _cut(held, start, first, samples)


def _cut(held: Waveform, start: int, first: int, stop: int) -> Iterator[Window]:
    for channel, samples in enumerate(held):
        yield Window(start=start + first, channel=channel, samples=samples[first:stop])


def batches(windows: Iterable[Window], *, at_most: int) -> Iterator[list[Window]]:
    """Group windows of one length; channels that repeat the one before are left out."""
    batch: list[Window] = []
    last: Window | None = None
    for window in windows:
        if not len(window.samples):
            continue
        twin = last is not None and last.start == window.start and window.channel > 0
        if twin and last is not None and np.array_equal(last.samples, window.samples):
            continue
        last = window
        if batch and (len(batch) == at_most or len(batch[0].samples) != len(window.samples)):
            yield batch
            batch = []
        batch.append(window)
    if batch:
        yield batch
