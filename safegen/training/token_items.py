"""What does the token model learn from? Codec tokens and melody of the training items.

    seed -> score -> soundfont -> codes, leading pitch classes
    seed -> scene -> sound effects -> codes

``record`` does that for a range of seeds, a hundred items to a file, and keeps the
result: files that are there already are kept, so an interrupted run continues.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from safegen.audio import Audio
from safegen.generation.codec import Codec
from safegen.generation.melody import classes_of

_CHUNK = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenItems:
    """Training items of one kind.

    Attributes:
        seeds: Name the items, n of them.
        codes: Shape (n, codebooks, frames).
        melody: Leading pitch classes, shape (n, frames).
    """

    seeds: range
    codes: npt.NDArray[np.int16]
    melody: npt.NDArray[np.uint8]


def record(
    sound_of: Callable[[int], Audio], codec: Codec, seeds: range, *, folder: Path
) -> Iterator[int]:
    """Encode the items of a range of seeds into a folder.

    Args:
        sound_of: Makes the sound of a seed; all of one length.
        codec: Names the sounds; the folder belongs to it and to ``sound_of``.
        seeds: Which items.
        folder: Where they are kept.

    Yields:
        How many items are done.

    Cost: about 0.08 s of one core per item of ten seconds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for chunk in _chunks(seeds):
        path = _path(folder, chunk)
        if not path.exists():
            codes, melody = [], []
            for seed in chunk:
                audio = sound_of(seed)
                codes.append(codec.encode(audio))
                melody.append(classes_of(audio))
                yield seed - seeds.start + 1
            temporary = path.with_suffix(".part")
            with temporary.open("wb") as file:
                np.savez(file, codes=np.stack(codes), melody=np.stack(melody))
            temporary.replace(path)
        yield chunk.stop - seeds.start


def recorded(seeds: range, *, folder: Path) -> TokenItems:
    """Read back what ``record`` kept."""
    codes, melody = [], []
    for chunk in _chunks(seeds):
        with np.load(_path(folder, chunk), allow_pickle=False) as data:
            codes.append(data["codes"])
            melody.append(data["melody"])
    return TokenItems(seeds=seeds, codes=np.concatenate(codes), melody=np.concatenate(melody))


def _chunks(seeds: range) -> Iterator[range]:
    for start in range(seeds.start, seeds.stop, _CHUNK):
        yield range(start, min(start + _CHUNK, seeds.stop))


def _path(folder: Path, chunk: range) -> Path:
    return folder / f"tokens-{chunk.start}-{chunk.stop}.npz"
