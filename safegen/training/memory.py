"""What does a training item look like to the memorization check, and what does chance reach?

    seed -> score -> recording -> first-codebook tokens, fingerprint

``record`` does that for a range of seeds and keeps the result, a hundred items to a
file. ``calibrate_on`` compares pieces that never entered training with all items: what
they reach sets the scale of each rung (``detectors.memorization.Calibration``).
``safegen.training.manifests`` joins both into the manifest that ships.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from detectors import chromaprint
from detectors.agreement import Agreement, BarIndex, CodeIndex, ItemIndex
from detectors.memorization import Calibration, calibrate
from safegen.audio import Audio
from safegen.generation.codec import Codec
from safegen.memorization import bars

UNSEEN_SEEDS: Final = range(7_000_000, 7_000_200)
"""Pieces that no model learns from; what they reach is chance."""
_CHUNK: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """Items as the memorization check compares them.

    Attributes:
        codes: First-codebook tokens, shape (n, frames).
        fingerprints: Chromaprint items, shape (n, k).
    """

    codes: npt.NDArray[np.int16]
    fingerprints: npt.NDArray[np.uint32]


def record(
    sound_of: Callable[[int], Audio], codec: Codec, seeds: range, *, folder: Path
) -> Iterator[int]:
    """Render, encode and fingerprint items into a folder.

    Files that are there already are kept, so an interrupted run continues; the folder
    belongs to one codec and one way to make sounds.

    Args:
        sound_of: Makes the sound of a seed; all of one length.
        codec: Names the sounds.
        seeds: Which items.
        folder: Where they are kept.

    Yields:
        How many items are done.

    Cost: about 0.06 s of one core per item.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for chunk in _chunks(seeds):
        path = _path(folder, chunk)
        if not path.exists():
            codes, items = [], []
            for seed in chunk:
                audio = sound_of(seed)
                codes.append(codec.encode(audio)[0].astype(np.int16))
                items.append(chromaprint.fingerprint(audio.waveform, audio.sample_rate))
                yield seed - seeds.start + 1
            temporary = path.with_suffix(".part")
            with temporary.open("wb") as file:
                np.savez(file, codes=np.stack(codes), fingerprints=np.stack(items))
            temporary.replace(path)
        yield chunk.stop - seeds.start


def recorded(seeds: range, *, folder: Path) -> Recorded:
    """Read back what ``record`` kept."""
    codes, fingerprints = [], []
    for chunk in _chunks(seeds):
        with np.load(_path(folder, chunk), allow_pickle=False) as data:
            codes.append(data["codes"])
            fingerprints.append(data["fingerprints"])
    return Recorded(codes=np.concatenate(codes), fingerprints=np.concatenate(fingerprints))


def calibrate_on(
    *,
    plans: npt.NDArray[np.uint8],
    items: Recorded,
    unseen_plans: npt.NDArray[np.uint8],
    unseen: Recorded,
    codebook: int,
) -> dict[str, Calibration]:
    """Measure what unseen pieces reach against all training items, rung by rung.

    Args:
        plans: Tokens of the scores the planner read, shape (n, tokens).
        items: Recordings the model heard.
        unseen_plans: Tokens of scores in neither, shape (u, tokens).
        unseen: Recordings of these.
        codebook: Entries of the codec's first codebook.

    Returns:
        The scale of "plan", "tokens" and "fingerprint".
    """
    plan_index = BarIndex(bars(plans))
    scale = _scale([plan_index.best(row) for row in bars(unseen_plans)])
    return {"plan": scale} | calibrate_sounds(items=items, unseen=unseen, codebook=codebook)


def calibrate_sounds(*, items: Recorded, unseen: Recorded, codebook: int) -> dict[str, Calibration]:
    """Measure what unseen sounds reach against all training items.

    Args:
        items: Recordings the model heard.
        unseen: Recordings it did not.
        codebook: Entries of the codec's first codebook.

    Returns:
        The scale of "tokens" and "fingerprint".
    """
    code_index = CodeIndex(items.codes, size=codebook)
    item_index = ItemIndex(items.fingerprints)
    return {
        "tokens": _scale([code_index.best(row) for row in unseen.codes]),
        "fingerprint": _scale([item_index.best(row) for row in unseen.fingerprints]),
    }


def _scale(found: list[Agreement | None]) -> Calibration:
    shares = np.array([x.share for x in found if x is not None])
    return calibrate(shares)


def _chunks(seeds: range) -> Iterator[range]:
    for start in range(seeds.start, seeds.stop, _CHUNK):
        yield range(start, min(start + _CHUNK, seeds.stop))


def _path(folder: Path, chunk: range) -> Path:
    return folder / f"items-{chunk.start}-{chunk.stop}.npz"
