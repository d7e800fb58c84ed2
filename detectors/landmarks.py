"""Which points of its spectrogram is a recording known by?

A landmark is a local maximum of the spectrogram: loud against its surroundings, and
therefore still there when the sound is filtered, played through a loudspeaker or
spoken over. Three landmarks within a second make a key: the first one's frequency,
and how far the other two are from it in pitch and time. Works keep 25 landmarks a
second and three keys for each; a query is heard six times as densely, because what
was laid over the music brings landmarks of its own.

Keys of three points instead of the usual two: with two, a query of ten seconds meets
20 million unrelated postings among 100,000 works, with three a third of a million.

What this module does not do: search or decide (``detectors.constellations``).

Source of the idea: Wang, ISMIR 2003, combinatorial hashing of spectral peaks.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from detectors.base import Keyed
from detectors.chromaprint import SAMPLE_RATE, Pcm
from detectors.errors import DetectorError

Numbers = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint32]
Floats = npt.NDArray[np.float32]

ENGINE: Final = "landmarks"
"""Name under which keys are stored and matches are reported."""
SCHEME: Final = "landmarks, three points, 1"
"""Name of the rule by which keys are made; keys of another rule find nothing."""

FRAME: Final = 2048
HOP: Final = 256
FRAME_SECONDS: Final = HOP / SAMPLE_RATE
CENTER_SECONDS: Final = FRAME / 2 / SAMPLE_RATE
"""A landmark of frame 0 sounds this long after the beginning."""
BINS: Final = 745
WORK_TARGETS: Final = 3
"""How many of the next landmarks in reach are combined with each."""
MAX_FRAMES: Final = 1 << 24
"""4.5 days of sound; a blob that names a later frame is damaged."""

_EDGES_HZ: Final = (150, 500, 1000, 1600, 2500, 4000)
"""Every band has the same share of the landmarks, so that no filter takes all of them."""
_AROUND_FRAMES: Final = 48
_AROUND_BINS: Final = 64
_LEAST_DB: Final = -90.0
_LEAST_PROMINENCE_DB: Final = 3.0
_BLOCK: Final = 43
"""Frames among which landmarks are ranked: a second."""
_CHUNK: Final = 60 * _BLOCK
_MARGIN: Final = 64
_ZONE_FRAMES: Final = 44
_ZONE_BINS: Final = 79
_NEIGHBORS: Final = 192
_STEP_FRAMES: Final = 3
_STEPS: Final = _ZONE_FRAMES // _STEP_FRAMES + 1
_SPREAD: Final = 2 * _ZONE_BINS + 1
_PER_BIN: Final = _SPREAD * _SPREAD * _STEPS * _STEPS
_ANCHORS_AT_ONCE: Final = 4096
_DB_PER_NEPER: Final = 4.342945


@dataclass(frozen=True, slots=True, kw_only=True)
class Landmarks:
    """Points of a spectrogram, in the order of their frames.

    Attributes:
        frames: Shape (n,), rising, one every ``FRAME_SECONDS``.
        bins: Shape (n,), in [0, BINS).
        ranks: Shape (n,), 0 for the most prominent one of its second and band.
    """

    frames: Numbers
    bins: Numbers
    ranks: Numbers

    def strongest(self, rate: int) -> "Landmarks":
        """Give the most prominent ones, ``rate`` a second at most."""
        kept = self.ranks < -(-rate // (len(_EDGES_HZ) - 1))
        return Landmarks(frames=self.frames[kept], bins=self.bins[kept], ranks=self.ranks[kept])


@dataclass(frozen=True, slots=True, kw_only=True)
class Density:
    """How many landmarks are told apart.

    Attributes:
        rate: Most landmarks in a second.
        reach_frames: A landmark is the highest point within so many frames
        reach_bins: and so many bins around it.
    """

    rate: int
    reach_frames: int
    reach_bins: int


WORK: Final = Density(rate=25, reach_frames=4, reach_bins=3)
QUERY: Final = Density(rate=150, reach_frames=2, reach_bins=2)


def fingerprint_of(samples: Pcm) -> Keyed:
    """Make what is stored of a work: its keys and their frames.

    Args:
        samples: 16-bit mono sound at 11,025 Hz, as ``detectors.chromaprint.pcm`` gives it.

    Returns:
        Sorted by frame, then key; empty for silence and for less than half a second.
    """
    return keys_of(landmarks_of(samples, WORK), targets=WORK_TARGETS)


def landmarks_of(samples: Pcm, density: Density) -> Landmarks:
    """Find the landmarks of 16-bit mono sound at 11,025 Hz.

    Args:
        samples: Shape (n,).
        density: ``WORK`` or ``QUERY``.

    Cost: about 1 ms for a second of sound, of which an hour needs no more memory than
    a minute.
    """
    count = max(0, (len(samples) - FRAME) // HOP + 1)
    found = [
        _chunk(samples, start, min(count, start + _CHUNK), count, density)
        for start in range(0, count, _CHUNK)
    ]
    nothing = np.zeros(0, np.int64)
    return Landmarks(
        frames=np.concatenate([nothing, *(one.frames for one in found)]),
        bins=np.concatenate([nothing, *(one.bins for one in found)]),
        ranks=np.concatenate([nothing, *(one.ranks for one in found)]),
    )


def _chunk(samples: Pcm, start: int, stop: int, count: int, density: Density) -> Landmarks:
    """Find the landmarks of the frames from ``start`` to ``stop``."""
    first, last = max(0, start - _MARGIN), min(count, stop + _MARGIN)
    level = _levels(samples[first * HOP : (last - 1) * HOP + FRAME])
    highest = _running(level, np.maximum, 0, 2 * density.reach_frames + 1)
    highest = _running(highest, np.maximum, 1, 2 * density.reach_bins + 1)
    edges = [round(hz * FRAME / SAMPLE_RATE) for hz in _EDGES_HZ]
    is_highest = (level == highest) & (level > _LEAST_DB)
    is_highest[:, : edges[0]] = False
    is_highest[:, edges[-1] :] = False
    is_highest[: start - first] = False
    is_highest[stop - first :] = False
    frames, bins = np.nonzero(is_highest)
    around = _running(_running(level, np.add, 0, _AROUND_FRAMES), np.add, 1, _AROUND_BINS)
    around_db = around[frames, bins] / (_AROUND_FRAMES * _AROUND_BINS)
    prominence = level[frames, bins] - around_db
    # The best of every second and band.
    cell = (frames + first) // _BLOCK * len(edges) + np.searchsorted(edges, bins, side="right")
    order = np.lexsort((-prominence, cell))
    ranked = cell[order]
    ranks = np.zeros(len(order), np.int64)
    ranks[order] = np.arange(len(ranked)) - np.searchsorted(ranked, ranked, side="left")
    share = -(-density.rate // (len(edges) - 1))
    kept = (ranks < share) & (prominence > _LEAST_PROMINENCE_DB)
    return Landmarks(
        frames=frames[kept].astype(np.int64) + first,
        bins=bins[kept].astype(np.int64),
        ranks=ranks[kept],
    )


def _levels(samples: Pcm) -> Floats:
    """Give the spectrogram in dB below a full-scale sine, shape (frames, BINS + 4)."""
    from scipy.fft import rfft

    window = (np.hanning(FRAME) / (FRAME / 4) / 32_767).astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(samples, FRAME)[::HOP]
    spectrum = rfft(frames * window, axis=1)[:, : BINS + 4]
    power = spectrum.real**2 + spectrum.imag**2
    return np.asarray(np.float32(_DB_PER_NEPER) * np.log(power + np.float32(1e-12)))


def _running(values: Floats, combine: np.ufunc, axis: int, width: int) -> Floats:
    """Combine each value with its neighbors, ``width`` in all; the edges are repeated.

    Doubled strides: 9 neighbors take 4 passes over the array, not 8.
    """
    before = (width - 1) // 2
    sides = [(0, 0), (0, 0)]
    sides[axis] = before, width - 1 - before
    out = np.moveaxis(np.pad(values, sides, mode="edge"), axis, 0)
    done: Floats | None = None
    taken, reach = 0, 1
    while width - taken:
        if (width - taken) & reach:
            piece = out[taken:]
            if done is None:
                done = piece
            else:
                length = min(len(done), len(piece))
                done = combine(done[:length], piece[:length])
            taken += reach
        if width - taken:
            out = combine(out[:-reach], out[reach:])
            reach *= 2
    size = values.shape[axis]
    return np.ascontiguousarray(np.moveaxis(np.asarray(done)[:size], 0, axis))


def keys_of(landmarks: Landmarks, *, targets: int, is_query: bool = False) -> Keyed:
    """Combine landmarks to keys.

    Args:
        landmarks: What was heard.
        targets: How many of the next landmarks in reach are combined with each.
        is_query: Sort by key, since what is looked up in order is looked up faster.

    Returns:
        Each key once for a frame; a work's by frame and key, a query's by key and frame.
    """
    frames, bins = landmarks.frames, landmarks.bins
    one, two = np.triu_indices(targets, 1)
    keys: list[Words] = [np.zeros(0, np.uint32)]
    places: list[Words] = [np.zeros(0, np.uint32)]
    for start in range(0, len(frames), _ANCHORS_AT_ONCE):
        anchors = np.arange(start, min(len(frames), start + _ANCHORS_AT_ONCE))
        reached = _targets(landmarks, anchors, targets)
        row, pair = np.nonzero((reached[:, one] >= 0) & (reached[:, two] >= 0))
        anchor = anchors[row]
        near, far = reached[row, one[pair]], reached[row, two[pair]]
        later = frames[near] - frames[anchor], frames[far] - frames[anchor]
        higher = bins[near] - bins[anchor], bins[far] - bins[anchor]
        keys.append(_packed(bins[anchor], higher, later))
        places.append(frames[anchor].astype(np.uint32))
    major, minor = np.concatenate(places), np.concatenate(keys)
    if is_query:
        major, minor = minor, major
    # Not np.unique: it hashes, and takes twenty times as long.
    joined = np.sort(major.astype(np.uint64) << np.uint64(32) | minor)
    joined = joined[np.append(True, joined[1:] != joined[:-1])] if len(joined) else joined
    major = (joined >> np.uint64(32)).astype(np.uint32)
    minor = (joined & np.uint64(0xFFFFFFFF)).astype(np.uint32)
    if is_query:
        major, minor = minor, major
    return Keyed(keys=minor, positions=major)


def _targets(landmarks: Landmarks, anchors: Numbers, targets: int) -> Numbers:
    """Name the next landmarks in reach of each anchor, shape (anchors, targets), -1 for none."""
    frames, bins = landmarks.frames, landmarks.bins
    found = np.full((len(anchors), targets), -1, dtype=np.int64)
    next_ones = anchors[:, np.newaxis] + np.arange(1, _NEIGHBORS + 1)
    exists = next_ones < len(frames)
    next_ones = np.minimum(next_ones, len(frames) - 1)
    later = frames[next_ones] - frames[anchors, np.newaxis]
    away = np.abs(bins[next_ones] - bins[anchors, np.newaxis])
    in_reach = exists & (later >= 1) & (later <= _ZONE_FRAMES) & (away <= _ZONE_BINS)
    number = in_reach.cumsum(axis=1)
    row, column = np.nonzero(in_reach & (number <= targets))
    found[row, number[row, column] - 1] = next_ones[row, column]
    return found


def _packed(
    bins: Numbers, higher: tuple[Numbers, Numbers], later: tuple[Numbers, Numbers]
) -> Words:
    """Write the five numbers of a key as one of 32 bits; ``bin_of`` reads the first back."""
    key = bins
    for step in higher:
        key = key * _SPREAD + step + _ZONE_BINS
    for time in later:
        key = key * _STEPS + np.clip(time // _STEP_FRAMES, 0, _STEPS - 1)
    return key.astype(np.uint32)


def bin_of(keys: Words) -> Numbers:
    """Give the frequency bin of the landmark that each key begins with."""
    return keys.astype(np.int64) // _PER_BIN


# What is stored


def to_blob(keyed: Keyed) -> bytes:
    """Write keys as the registry stores them: all keys, then all frames."""
    return keyed.keys.astype("<u4").tobytes() + keyed.positions.astype("<u4").tobytes()


def from_blob(blob: bytes) -> Keyed:
    """Read keys as the registry stores them.

    Raises:
        DetectorError: If it is no row of keys and frames as ``to_blob`` writes it.
    """
    if len(blob) % 8:
        raise DetectorError(f"{len(blob)} bytes of landmarks are no whole number of 8-byte keys")
    words = np.frombuffer(blob, dtype="<u4").astype(np.uint32)
    keys, frames = np.split(words, 2)
    if len(keys) and int(frames.max()) >= MAX_FRAMES:
        raise DetectorError(f"landmarks name frame {int(frames.max())}, limit {MAX_FRAMES}")
    if len(keys) and int(keys.max()) >= BINS * _PER_BIN:
        raise DetectorError(f"landmarks hold the key {int(keys.max())}, limit {BINS * _PER_BIN}")
    joined = frames.astype(np.uint64) << np.uint64(32) | keys
    if (joined[1:] <= joined[:-1]).any():
        raise DetectorError("landmarks are not in the order of their frames and keys")
    return Keyed(keys=keys, positions=frames)


postings_of = from_blob
"""Every key of a work is a posting."""
