"""How is a change that needs a sound's surroundings made to a sound that comes in pieces?

A change such as a watermark looks a little to both sides of each sample. Of every stretch
the neighborhood is kept, the stretch is changed together with it, and only the middle goes
out. What goes out is what the change would have made of the whole.
"""

from collections.abc import Callable

import numpy as np

from detectors.base import Waveform

Change = Callable[[Waveform, int], Waveform]
"""A waveform (channels, samples) and the place of its first sample -> the same shape, changed."""


class Overlapping:
    """Takes a sound piece by piece and gives it back changed, ``margin`` samples late.

    Args:
        change: Makes the change to any stretch of the sound.
        margin: Samples to either side that decide over a sample's change.
        grid: Stretches begin at multiples of it, as the change may need.
    """

    def __init__(self, change: Change, *, margin: int, grid: int = 1) -> None:
        self._change, self._margin, self._grid = change, margin, grid
        self._held: Waveform | None = None
        self._begin = 0
        self._given = 0

    def feed(self, waveform: Waveform) -> Waveform:
        """Take the next samples, shape (channels, n); give those that are certain now."""
        held = waveform if self._held is None else np.concatenate([self._held, waveform], axis=1)
        self._held = np.asarray(held, dtype=np.float32)
        return self._until(self._begin + held.shape[1] - self._margin)

    def finish(self) -> Waveform:
        """Give the rest, shape (channels, n), after the last samples.

        Raises:
            ValueError: If there were none.
        """
        if self._held is None:
            msg = "no samples were fed"
            raise ValueError(msg)
        return self._until(self._begin + self._held.shape[1])

    def _until(self, certain: int) -> Waveform:
        """Change what is held, give the samples before ``certain``, forget what is past."""
        if self._held is None or certain <= self._given:
            channels = 0 if self._held is None else len(self._held)
            return np.zeros((channels, 0), np.float32)
        changed = self._change(self._held, self._begin)
        out = changed[:, self._given - self._begin : certain - self._begin].copy()
        self._given = certain
        begin = max(0, certain - self._margin) // self._grid * self._grid
        self._held, self._begin = self._held[:, begin - self._begin :], begin
        return out
