"""Where do a hundred thousand works come from, when there are a hundred?

From real fingerprints: stretches of 32 real items, each with a mask of its own that
flips every bit with probability 0.10, one after another. Neighboring items then
depend on each other as in music, and keys collide between works as often as between
real works: measured, 9.4e-7 of the pairs of 24-bit keys against 9.0e-7 (random
numbers: 6.0e-8, which makes an index look far faster than it is).

They load an index; they cannot say how often strangers match. One stretch in 29 is
left without a flipped bit, so a distractor may hold exact copies of 4 s of a real work.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from detectors.chromaprint import Items

THREE_MINUTES: Final = 1454
"""Items of a work of 180 s."""
SNIPPET: Final = 32
FLIPPED: Final = 0.10

_BITS: Final = 32


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
