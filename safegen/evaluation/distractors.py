"""Where do a hundred thousand works come from, when there are a hundred?

From real fingerprints: stretches of 32 real items, each with a mask of its own that
flips every bit with probability 0.10, one after another. Neighboring items then
depend on each other as in music, and keys collide between works as often as between
real works: measured, 9.4e-7 of the pairs of 24-bit keys against 9.0e-7 (random
numbers: 6.0e-8, which makes an index look far faster than it is).

They load an index; they cannot say how often strangers match. One stretch in 29 is
left without a flipped bit, so a distractor may hold exact copies of 4 s of a real work.

Landmarks are made of stretches of 4 s too: each key keeps its frequency and its intervals
and takes the rhythm of another key of its stretch, so that works are tuned as music is,
and no stretch is a copy. Measured on 19 tracks, 1.5e-7 of the pairs of keys of two real
works are equal, 0.8e-7 of those with a distractor of other works and 70e-7 with one of the
same work; together 1.7e-7 where distractors are made of 75 works.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from detectors.base import Keyed
from detectors.chromaprint import Items
from detectors.landmarks import FRAME_SECONDS

THREE_MINUTES: Final = 1454
"""Items of a work of 180 s."""
SNIPPET: Final = 32
FLIPPED: Final = 0.10

_BITS: Final = 32
_STRETCH_FRAMES: Final = round(4.0 / FRAME_SECONDS)
_RHYTHMS: Final = 225
"""Pairs of time steps that a key of landmarks ends with."""


def distractors(
    sounds: Sequence[Items], *, works: int, seed: int, items: int = THREE_MINUTES
) -> Iterator[Items]:
    """Make works that load an index as real ones do.

    Args:
        sounds: Items of real works; those shorter than ``SNIPPET`` are left out.
        works: How many to make.
        seed: Equal seeds give equal works, whatever their number.
        items: Of each work.

    Raises:
        ValueError: If no sound is long enough.
    """
    long = [np.asarray(sound, np.uint32) for sound in sounds if len(sound) >= SNIPPET]
    if not long:
        msg = f"no sound has {SNIPPET} items"
        raise ValueError(msg)
    flat = np.concatenate(long)
    ends = np.cumsum([len(sound) for sound in long])
    starts = np.concatenate(
        [
            np.arange(end - len(sound), end - SNIPPET + 1)
            for sound, end in zip(long, ends, strict=True)
        ]
    )
    count = -(-items // SNIPPET)
    within = np.arange(SNIPPET)
    for number in range(works):
        rng = np.random.default_rng([seed, number])
        chosen = starts[rng.integers(len(starts), size=count)]
        flips = np.packbits(rng.random((count, _BITS)) < FLIPPED, axis=1).view("<u4")
        yield (flat[chosen[:, None] + within] ^ flips).reshape(-1)[:items]


def landmark_distractors(
    sounds: Sequence[Keyed], *, works: int, seed: int, seconds: float = 180.0
) -> Iterator[Keyed]:
    """Make works of landmarks that load an index as real ones do.

    Args:
        sounds: Landmarks of real works; those shorter than 8 s are left out.
        works: How many to make.
        seed: Equal seeds give equal works, whatever their number.
        seconds: Of each work.

    Raises:
        ValueError: If no sound is long enough.
    """
    long = [
        sound
        for sound in sounds
        if len(sound.positions) and int(sound.positions[-1]) >= 2 * _STRETCH_FRAMES
    ]
    if not long:
        msg = "no sound has 8 s of landmarks"
        raise ValueError(msg)
    count = -(-round(seconds / FRAME_SECONDS) // _STRETCH_FRAMES)
    for number in range(works):
        rng = np.random.default_rng([seed, number])
        joined = [np.zeros(0, np.uint64)]
        for place in range(count):
            sound = long[int(rng.integers(len(long)))]
            start = int(rng.integers(int(sound.positions[-1]) - _STRETCH_FRAMES))
            low, high = np.searchsorted(sound.positions, (start, start + _STRETCH_FRAMES))
            keys = sound.keys[low:high]
            rhythms = rng.permutation(keys % _RHYTHMS)
            frames = sound.positions[low:high] - np.uint32(start) + place * _STRETCH_FRAMES
            moved = keys - keys % _RHYTHMS + rhythms
            joined.append(frames.astype(np.uint64) << np.uint64(32) | moved.astype(np.uint64))
        # Two keys of a frame may have become one.
        both = np.unique(np.concatenate(joined))
        yield Keyed(
            keys=(both & np.uint64(0xFFFFFFFF)).astype(np.uint32),
            positions=(both >> np.uint64(32)).astype(np.uint32),
        )
