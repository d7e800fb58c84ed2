"""What does somebody do to a mark who knows how it works, or holds more than one copy?

These attacks take more than one sound, or somebody's marker, so they are functions of
their own and no rows of ``ATTACKS``. A marker is any callable that marks a sound; it
holds whatever key and id it marks with. None of these attackers holds the secret key
under attack.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter1d

from safegen.audio import Audio, resample
from safegen.evaluation.attacks.base import Floats, fit, like, matched
from safegen.evaluation.attacks.spectra import analyze, synthesize

Marker = Callable[[Audio], Audio]

_REFERENCE_HZ: Final = 1_200.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TileGrid:
    """What is public about a mark that makes tiles louder and softer.

    Attributes:
        sample_rate: In Hz, at which the mark is computed.
        window: Samples of a short spectrum.
        hop: Samples between two.
        tile_frames: Hops of a tile.
        tile_bins: Bins of a tile.
        first_bin: Where the lowest tile begins.
        bands: Tiles above each other.
        slots: Tiles in a row until the pattern repeats.
    """

    sample_rate: int
    window: int
    hop: int
    tile_frames: int
    tile_bins: int
    first_bin: int
    bands: int
    slots: int

    @property
    def block_seconds(self) -> float:
        """How long the pattern is."""
        return self.slots * self.tile_frames * self.hop / self.sample_rate

    @property
    def center_hz(self) -> Floats:
        """Middle of each band, shape (bands,)."""
        bins = self.first_bin + self.tile_bins * (np.arange(self.bands) + 0.5)
        return np.asarray(bins * self.sample_rate / self.window)


KEYED_GRID: Final = TileGrid(
    sample_rate=16_000,
    window=512,
    hop=128,
    tile_frames=4,
    tile_bins=4,
    first_bin=10,
    bands=37,
    slots=128,
)
"""The grid of ``detectors.watermark``, which is no secret."""


def overwrite(marked: Audio, marker: Marker) -> Audio:
    """Mark it again, with a key of the attacker's own."""
    return marker(marked)


def mark_and_subtract(marked: Audio, marker: Marker) -> Audio:
    """Mark it again and subtract what that changed: undoes a mark that has no key."""
    return like(2 * marked.waveform - marker(marked).waveform, marked)


def copy_residual(marked: Audio, original: Audio, *, target: Audio) -> Audio:
    """Paste what the mark changed in one recording onto another: a forgery.

    Args:
        marked: A released sound.
        original: The same without the mark, of the same shape.
        target: Another recording; any rate and channels.
    """
    residual = like(marked.waveform - original.waveform, marked)
    samples = min(target.waveform.shape[1], _samples(residual, target.sample_rate))
    pasted = matched(residual, target, samples=samples)
    return fit(target.waveform[:, :samples] + pasted, like(target.waveform[:, :samples], target))


def collude(copies: Sequence[Audio]) -> Audio:
    """Take the mean of copies that differ in nothing but their marks.

    Raises:
        ValueError: If there are fewer than two, or their shapes differ.
    """
    if len(copies) < 2 or len({copy.waveform.shape for copy in copies}) != 1:
        msg = f"collusion needs two or more copies of one shape, not {len(copies)}"
        raise ValueError(msg)
    return like(np.mean([copy.waveform for copy in copies], axis=0), copies[0])


def estimate_signs(clips: Sequence[Audio], grid: TileGrid) -> npt.NDArray[np.float64]:
    """Average marked sound block by block until only what repeats is left.

    The attacker knows the grid and that each clip begins with a block; the more blocks,
    the more of the signs is known. Source: the averaging attack of Boneh and Shaw's kind
    on one key, instead of one sound.

    Returns:
        Shape (slots, bands): mean over standard error, so its sign is the guess and its
        size how sure it is.

    Raises:
        ValueError: If no clip is as long as a block.
    """
    return signs_of([block for clip in clips for block in blocks_of(clip, grid)], grid)


def signs_of(blocks: Sequence[npt.NDArray[np.float64]], grid: TileGrid) -> npt.NDArray[np.float64]:
    """Average blocks that were measured before, as ``estimate_signs`` does.

    Raises:
        ValueError: If there is no block.
    """
    if not blocks:
        msg = f"averaging needs clips of at least {grid.block_seconds:.2f} s"
        raise ValueError(msg)
    stack = np.stack(blocks)
    spread = np.sqrt(np.mean(stack**2, axis=0) + 1e-9)
    return np.asarray(stack.mean(axis=0) / spread * np.sqrt(len(stack)))


def remove_signs(
    marked: Audio, estimate: npt.NDArray[np.float64], grid: TileGrid, *, strength: float
) -> Audio:
    """Turn down what the estimate says was turned up, and the other way round.

    Only the difference is resampled and added, as the mark itself does it.

    Args:
        marked: Begins with a block.
        estimate: From ``estimate_signs``.
        grid: The same.
        strength: Change of a tile at 1.2 kHz in nepers; it grows with the root of frequency.
    """
    depth = strength * np.sqrt(grid.center_hz / _REFERENCE_HZ)
    gains = np.expm1(-depth * np.sign(estimate)).astype(np.float32)
    gains = np.repeat(gains, grid.tile_bins, axis=1)  # (slots, bands * tile_bins)
    low = resample(marked, grid.sample_rate)
    out = []
    for channel in low.waveform:
        spectrum = analyze(channel, window=grid.window, hop=grid.hop)
        slots = (np.arange(len(spectrum)) // grid.tile_frames) % grid.slots
        change = np.zeros_like(spectrum)
        bins = _bins(grid)
        change[:, bins] = spectrum[:, bins] * gains[slots]
        out.append(synthesize(change, window=grid.window, hop=grid.hop, samples=len(channel)))
    difference = fit(resample(like(np.stack(out), low), marked.sample_rate).waveform, marked)
    return like(np.clip(marked.waveform + difference.waveform, -1.0, 1.0), marked)


def blocks_of(clip: Audio, grid: TileGrid) -> list[npt.NDArray[np.float64]]:
    """Measure log-magnitudes of the tiles of each whole block, freed of their surroundings."""
    low = like(resample(clip, grid.sample_rate).mono()[None], clip)
    size = np.abs(analyze(low.waveform[0], window=grid.window, hop=grid.hop)[:, _bins(grid)])
    level = np.log(size.astype(np.float64) ** 2 + 3e-7 * float(np.mean(size**2)) + 1e-12) / 2
    frames = len(level) // grid.tile_frames * grid.tile_frames
    tiles = level[:frames].reshape(-1, grid.tile_frames, grid.bands, grid.tile_bins)
    means = tiles.mean(axis=(1, 3))
    means -= uniform_filter1d(means, 31, axis=0, mode="nearest")
    means -= uniform_filter1d(means, 11, axis=1, mode="nearest")
    # Onsets and pauses would outvote everything else.
    means = np.clip(means, -1.0, 1.0)
    count = round(clip.seconds * grid.sample_rate) // (grid.slots * grid.tile_frames * grid.hop)
    return list(means[: count * grid.slots].reshape(count, grid.slots, grid.bands))


def _bins(grid: TileGrid) -> slice:
    return slice(grid.first_bin, grid.first_bin + grid.bands * grid.tile_bins)


def _samples(audio: Audio, sample_rate: int) -> int:
    return round(audio.seconds * sample_rate)
