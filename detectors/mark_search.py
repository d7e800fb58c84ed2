"""Where in a sound could a key's blocks begin, and how fast and how high is it played?

Three searches, each with the number of things it tried, which the p-value pays for:

* ``aligned``: the presence layer at every alignment, played as it was marked;
* ``hidden``: the id layer at every place of its 17-minute ring, for sounds whose
  presence layer was removed;
* ``warped``: the presence layer at speeds, tempos and transpositions, coarse to fine.

Long sounds are searched in overlapping windows, so that a mark which is only in a
part of it, or begins anew after a cut, is found there.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from math import log
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import fft

from detectors.mark_pattern import BUCKETS, KEYS_KEPT, pattern
from detectors.tiles import BANDS, BLOCK_FRAMES, SLOTS, TILE_FRAMES, Grid, Spectrum

SPAN_FRAMES: Final = (BLOCK_FRAMES, 3 * BLOCK_FRAMES)
"""Windows of 4.1 s, for marks in a part of the sound, and of 12.3 s."""
_KEPT: Final = 4
"""Alignments kept of a window; the right one is nearly always the best or its neighbor."""

_TEMPO_STEP: Final = 0.005
_TEMPO_STEPS: Final = 21
_PITCH_STEP: Final = 0.014
_PITCH_STEPS: Final = 8
"""Tempos 0.895 to 1.105; frequency ratios 0.888 to 1.112, just past two semitones."""
_FINE: Final = 10
"""Fine steps in a coarse step, of tempo as of pitch."""
_WARPED_SPAN: Final = 5 * BLOCK_FRAMES // 2
"""10.2 s: long enough to tell a mark from chance, short enough that tempos stay few."""
_REFINED: Final = 3
_WORTH_REFINING: Final = 4.8
"""Between the coarse steps a correlation grows by half at most; 7.9 are needed for a mark."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """One way of laying a key's blocks over a stretch of sound.

    Attributes:
        key_id: Of the key.
        z: Normalized correlation of the layer's known tiles; at most the root of their number.
        start: Frame of the sound at which some block begins; may be negative.
        step: Frames of the sound per frame as marked; above 1 for slowed-down sound.
        ratio: Frequency heard over frequency marked.
        first: First frame of the window it was found in.
        last: One past its last frame.
        bucket: Sub-key of the block at ``start``; None if the search does not say.
    """

    key_id: str
    z: float
    start: float
    step: float
    ratio: float
    first: int
    last: int
    bucket: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What a search found.

    Attributes:
        found: The best alignments of each window, best first.
        log_count: Logarithm of how many alignments were compared, over all keys and windows.
    """

    found: tuple[Alignment, ...]
    log_count: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Laid:
    """A stretch of sound cut along an alignment into tiles.

    Attributes:
        values: Shape (n, BANDS); measured tiles, one row a slot.
        frames: Shape (n,); the frame of the sound where each slot begins.
        first_slot: Slots between the alignment's start and the first row; may be negative.
    """

    values: Grid
    frames: npt.NDArray[np.floating]
    first_slot: int

    @property
    def slots(self) -> npt.NDArray[np.int64]:
        """Slot within its block of each row."""
        return (self.first_slot + np.arange(len(self.values))) % SLOTS

    @property
    def blocks(self) -> npt.NDArray[np.int64]:
        """Block of each row, counted from the one at the alignment's start."""
        return (self.first_slot + np.arange(len(self.values))) // SLOTS

    def by_block(self) -> npt.NDArray[np.float32]:
        """Group the rows into whole blocks, padded with zeros: shape (blocks, SLOTS, BANDS)."""
        before = self.first_slot % SLOTS
        after = -(before + len(self.values)) % SLOTS
        return np.pad(self.values, ((before, after), (0, 0))).reshape(-1, SLOTS, BANDS)

    def only(self, rows: npt.NDArray[np.bool_]) -> "Laid":
        """Silence all rows but some."""
        return replace(self, values=self.values * rows[:, None])


def lay(grid: Grid, found: Alignment, *, first: int = 0, last: int | None = None) -> Laid:
    """Cut frames ``first`` to ``last`` of a sound into the tiles of an alignment."""
    last = len(grid) if last is None else min(last, len(grid))
    width = TILE_FRAMES * found.step
    low = int(np.ceil((first - found.start) / width))
    high = int(np.floor((last - 1 - found.start) / width))
    frames = found.start + width * np.arange(low, max(low, high + 1))
    rows = np.clip(np.round(frames).astype(np.int64), 0, max(len(grid) - 1, 0))
    return Laid(values=grid[rows], frames=frames, first_slot=low)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """How well tiles agree with signs that are coin tosses.

    Attributes:
        match: Sum of tile times sign.
        energy: Sum of squares of what each coin was multiplied by.
    """

    match: float
    energy: float

    @property
    def z(self) -> float:
        """The normalized correlation; P(z >= t) <= exp(-t * t / 2) by Hoeffding's inequality."""
        return self.match / float(np.sqrt(max(self.energy, 1e-9)))

    def __add__(self, other: "Evidence") -> "Evidence":
        """Join evidence from different coins."""
        return Evidence(match=self.match + other.match, energy=self.energy + other.energy)


def repeated(laid: Laid, signs: npt.NDArray[np.integer]) -> Evidence:
    """Weigh signs of shape (SLOTS, BANDS) that are the same in every block.

    One coin rules all blocks, so blocks are added before they are squared: music that
    repeats itself every 4.1 s must not count as independent evidence.
    """
    return unrepeated(laid.by_block().sum(axis=0), signs)


def unrepeated(values: Grid, signs: npt.NDArray[np.integer]) -> Evidence:
    """Weigh signs that are each tossed anew; tiles of sign 0 do not count."""
    return Evidence(
        match=float((values * signs).sum()), energy=float((values**2 * (signs != 0)).sum())
    )


def presence_z(grid: Grid, found: Alignment, secret: bytes) -> float:
    """Measure the presence layer along an alignment, in the window it was found in."""
    laid = lay(grid, found, first=found.first, last=found.last)
    return repeated(laid, pattern(secret).presence).z


def aligned(grid: Grid, keys: Mapping[str, bytes]) -> Tried:
    """Search the presence layer at every alignment of every window."""
    windows = [(first, last) for span in SPAN_FRAMES for first, last in _windows(len(grid), span)]
    if len(grid) > max(SPAN_FRAMES):
        windows.append((0, len(grid)))
    folded = [_fold(grid, first, last) for first, last in windows]
    found: list[Alignment] = []
    for key_id, secret in keys.items():
        signs, mask = _presence_spectra(secret)
        for (first, last), rows in zip(windows, folded, strict=True):
            match = fft.irfft((rows.values * signs).sum(axis=0), BLOCK_FRAMES)
            energy = fft.irfft((rows.squares * mask).sum(axis=0), BLOCK_FRAMES)
            found += [
                Alignment(
                    key_id=key_id,
                    z=z,
                    start=float(offset),
                    step=1.0,
                    ratio=1.0,
                    first=first,
                    last=last,
                )
                for offset, z in _best(_normalized(match, energy))
            ]
    return _tried(found, BLOCK_FRAMES * len(windows) * len(keys))


def hidden(grid: Grid, keys: Mapping[str, bytes]) -> Tried:
    """Search the id layer at every place of its ring, every second frame."""
    slots = BUCKETS * SLOTS
    span = 6 * BLOCK_FRAMES
    windows = _windows(len(grid), span)
    found: list[Alignment] = []
    for first, last in windows:
        for phase in range(0, TILE_FRAMES, 2):
            tiles = np.ascontiguousarray(grid[first + phase : last : TILE_FRAMES].T)
            spectrum = fft.rfft(tiles, slots, axis=1)
            energy = float((tiles**2).sum()) / 8
            for key_id, secret in keys.items():
                match = fft.irfft((_ring(secret) * spectrum.conj()).sum(axis=0), slots)
                # The ring's place of the window's first tile is where this peaks.
                place = int(np.argmax(match))
                bucket, slot = divmod(place, SLOTS)
                found.append(
                    Alignment(
                        key_id=key_id,
                        z=float(match[place]) / float(np.sqrt(max(energy, 1e-9))),
                        start=float(first + phase - slot * TILE_FRAMES),
                        step=1.0,
                        ratio=1.0,
                        first=first,
                        last=last,
                        bucket=bucket,
                    )
                )
    exact = [
        replace(near, z=hidden_z(grid, near, keys[near.key_id]))
        for near in _around(sorted(found, key=lambda one: -one.z)[:_KEPT], (-1.0, 0.0, 1.0))
    ]
    return _tried(exact, slots * TILE_FRAMES * len(windows) * len(keys))


def hidden_z(grid: Grid, found: Alignment, secret: bytes) -> float:
    """Measure the id layer's known tiles along an alignment whose sub-key is known."""
    laid = lay(grid, found, first=found.first, last=found.last)
    buckets = ((found.bucket or 0) + laid.blocks) % BUCKETS
    return unrepeated(laid.values, pattern(secret).id_sync[buckets, laid.slots]).z


def warped(spectrum: Spectrum, keys: Mapping[str, bytes]) -> Tried:
    """Search the presence layer at tempos and pitches around those it was marked with.

    Cost: about 0.02 s of one core per second of sound, 5 ms for each further key.
    """
    windows = _windows(spectrum.frames, _WARPED_SPAN)
    tempos = 1.0 + _TEMPO_STEP * np.arange(-_TEMPO_STEPS, _TEMPO_STEPS + 1)
    ratios = 1.0 + _PITCH_STEP * np.arange(-_PITCH_STEPS, _PITCH_STEPS + 1)
    coarse: dict[tuple[tuple[int, int], str], list[Alignment]] = {}
    for ratio in ratios:
        turned = np.ascontiguousarray(spectrum.grid(float(ratio)).T)
        for window in windows:
            for one in _at_tempos(turned, window, float(ratio), tempos, keys):
                coarse.setdefault((window, one.key_id), []).append(one)
    found = []
    for candidates in coarse.values():
        best = sorted(candidates, key=lambda one: -one.z)[:_REFINED]
        for one in best if best[0].z >= _WORTH_REFINING else best[:1]:
            begin = max(0, one.first - BLOCK_FRAMES // 2)
            part = spectrum.cut(begin, one.last + BLOCK_FRAMES // 2)
            near, secret = _moved(one, -begin), keys[one.key_id]
            if one.z >= _WORTH_REFINING:
                near = _refined(part, near, secret)
            else:
                near = replace(near, z=presence_z(part.grid(near.ratio), near, secret))
            found.append(_moved(near, begin))
    lattice = (2 * _TEMPO_STEPS + 1) * (2 * _PITCH_STEPS + 1) * _FINE**2
    return _tried(found, BLOCK_FRAMES * lattice * len(windows) * len(keys))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Folded:
    """Frames added up modulo a block, as spectra over time: shape (BANDS, BLOCK_FRAMES / 2 + 1)."""

    values: npt.NDArray[np.complexfloating]
    squares: npt.NDArray[np.complexfloating]


def _fold(grid: Grid, first: int, last: int) -> _Folded:
    start = first % BLOCK_FRAMES
    blocks = -(-(start + last - first) // BLOCK_FRAMES)
    padded = np.zeros((blocks * BLOCK_FRAMES, BANDS), np.float32)
    padded[start : start + last - first] = grid[first:last]
    values = np.ascontiguousarray(padded.reshape(blocks, BLOCK_FRAMES, BANDS).sum(axis=0).T)
    # Squared after adding: one coin rules all blocks (see ``repeated``).
    return _Folded(values=fft.rfft(values, axis=1), squares=fft.rfft(values**2, axis=1))


def _at_tempos(
    turned: Grid,
    window: tuple[int, int],
    ratio: float,
    tempos: npt.NDArray[np.floating],
    keys: Mapping[str, bytes],
) -> list[Alignment]:
    """Fold one window at every tempo and correlate all of them at once.

    Args:
        turned: A grid with bands first, shape (BANDS, frames).
        window: First and one past the last frame.
        ratio: The grid's frequency ratio.
        tempos: Frames as marked per frame heard.
        keys: Key id -> secret.
    """
    first, last = window
    steps = 1.0 / tempos
    blocks = int(np.ceil((last - first) * float(tempos.max()) / BLOCK_FRAMES))
    place = np.round(steps[:, None] * np.arange(blocks * BLOCK_FRAMES)).astype(np.int64)
    outside = place >= last - first
    place[outside] = last - first  # a frame of nothing at the end
    stretch = np.zeros((BANDS, last - first + 1), np.float32)
    stretch[:, :-1] = turned[:, first:last]
    rows = stretch[:, place].reshape(BANDS, len(tempos), blocks, BLOCK_FRAMES).sum(axis=2)
    spectra = fft.rfft(rows, axis=2).transpose(2, 1, 0)
    # All keys at once: shape (frequencies, tempos, keys).
    products = np.ascontiguousarray(spectra) @ _stacked(tuple(keys.values()))
    match = fft.irfft(products, BLOCK_FRAMES, axis=0)
    size = float(np.sqrt(max(float((stretch**2).sum()) / (4 * TILE_FRAMES), 1e-9)))
    offsets = match.argmax(axis=0)
    best = np.take_along_axis(match, offsets[None], axis=0)[0] / size
    found: list[Alignment] = []
    for number, key_id in enumerate(keys):
        for tempo in np.argsort(-best[:, number])[:_REFINED]:
            step = float(steps[tempo])
            found.append(
                Alignment(
                    key_id=key_id,
                    z=float(best[tempo, number]),
                    start=first + float(offsets[tempo, number]) * step,
                    step=step,
                    ratio=ratio,
                    first=first,
                    last=last,
                )
            )
    return found


def _refined(spectrum: Spectrum, found: Alignment, secret: bytes) -> Alignment:
    """Climb to the best tempo, offset and pitch between the coarse steps."""
    grid = spectrum.grid(found.ratio)
    fine = _TEMPO_STEP / _FINE
    best = replace(found, z=presence_z(grid, found, secret))
    middle = (found.first + found.last) / 2
    for tempo_step in (4 * fine, 2 * fine, fine):
        best = _climbed(grid, best, secret, middle, (-tempo_step, 0.0, tempo_step))
    for pitch_step in (4, 2, 1):
        for side in (-1, 1):
            ratio = best.ratio + side * pitch_step * _PITCH_STEP / _FINE
            other = spectrum.grid(ratio)
            tilted = replace(best, ratio=ratio)
            z = presence_z(other, tilted, secret)
            if z > best.z:
                best, grid = replace(tilted, z=z), other
    return _climbed(grid, best, secret, middle, (-fine, 0.0, fine))


def _moved(found: Alignment, frames: int) -> Alignment:
    """Count the frames from another one."""
    return replace(
        found,
        start=found.start + frames,
        first=found.first + frames,
        last=found.last + frames,
    )


def _climbed(
    grid: Grid, found: Alignment, secret: bytes, middle: float, changes: Iterable[float]
) -> Alignment:
    """Try small changes of tempo, turning about the middle of the window, and of offset."""
    tried = [found]
    for change in changes:
        step = found.step * (1 + change)
        # The tile in the middle stays where it is.
        start = middle - (middle - found.start) * (step / found.step)
        tried += [
            replace(found, step=step, start=start + shift) for shift in (-2.0, -1.0, 0.0, 1.0, 2.0)
        ]
    return max(
        (replace(one, z=presence_z(grid, one, secret)) for one in tried), key=lambda one: one.z
    )


def _windows(frames: int, span: int) -> list[tuple[int, int]]:
    """Cut into half-overlapping windows; one window if there is little more than one."""
    if frames <= 0:
        return []
    if frames <= span * 5 // 4:
        return [(0, frames)]
    step = span // 2
    starts = range(0, frames - step, step)
    return [(start, min(start + span, frames)) for start in starts]


@lru_cache(maxsize=KEYS_KEPT)
def _presence_spectra(
    secret: bytes,
) -> tuple[npt.NDArray[np.complex64], npt.NDArray[np.complex64]]:
    """Spectra over time of the presence layer's signs and of their places, conjugated."""
    sparse = np.zeros((BANDS, BLOCK_FRAMES), np.float32)
    sparse[:, ::TILE_FRAMES] = pattern(secret).presence.T
    return fft.rfft(sparse, axis=1).conj(), fft.rfft(np.abs(sparse), axis=1).conj()


@lru_cache(maxsize=4)
def _stacked(secrets: tuple[bytes, ...]) -> npt.NDArray[np.complex64]:
    """Spectra of the presence layers of several keys: shape (frequencies, BANDS, keys)."""
    signs = np.stack([_presence_spectra(secret)[0] for secret in secrets])
    return np.ascontiguousarray(signs.transpose(2, 1, 0))


@lru_cache(maxsize=KEYS_KEPT)
def _ring(secret: bytes) -> npt.NDArray[np.complex64]:
    """Spectrum of the id layer's known signs, all sub-keys end to end: 5 MB."""
    signs = pattern(secret).id_sync.reshape(BUCKETS * SLOTS, BANDS)
    return np.asarray(fft.rfft(np.ascontiguousarray(signs.T, np.float32), axis=1), np.complex64)


def _normalized(
    match: npt.NDArray[np.floating], energy: npt.NDArray[np.floating]
) -> npt.NDArray[np.float64]:
    # An empty alignment proves nothing: its correlation counts as 0.
    least = 1e-4 * max(float(energy.max()), 1e-9)
    return np.where(energy > least, match / np.sqrt(np.maximum(energy, least)), 0.0)


def _best(z: npt.NDArray[np.float64]) -> list[tuple[int, float]]:
    order = np.argsort(-z, kind="stable")[:_KEPT]
    return [(int(offset), float(z[offset])) for offset in order if z[offset] > 0.0]


def _around(found: Iterable[Alignment], shifts: tuple[float, ...]) -> list[Alignment]:
    return [replace(one, start=one.start + shift) for one in found for shift in shifts]


def _tried(found: list[Alignment], count: int) -> Tried:
    ranked = sorted((one for one in found if one.z > 0.0), key=lambda one: -one.z)
    return Tried(found=tuple(ranked), log_count=log(max(count, 1)))
