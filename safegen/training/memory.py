"""Recipe: write the training manifest, the model's memory of what it learned from.

    seed -> score -> recording -> first-codebook tokens, fingerprint

For every training item the manifest keeps the tokens of its score and of its recording
and its fingerprint, so that an output can be compared without rendering anything again
(``safegen.memorization``). Then pieces that never entered training go through the same
steps, and what they reach against all items sets the scale of each rung.

Run it again after the codec was trained again; scores and fingerprints do not change.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from detectors import chromaprint
from detectors.agreement import Agreement, BarIndex, CodeIndex, ItemIndex
from detectors.memorization import Calibration, calibrate
from safegen.errors import InputError
from safegen.generation.codec import Codec
from safegen.generation.compose import compose, to_tokens
from safegen.generation.soundfont import SoundfontRenderer
from safegen.memorization import bars
from safegen.training.manifests import ITEM_SECONDS

UNSEEN_SEEDS: Final = range(7_000_000, 7_000_300)
"""Pieces that no model learns from; what they reach is chance."""
FALSE_FLAG_RATE: Final = 1 / 3000
"""Per rung, so that three rungs together flag one unrelated piece in a thousand."""
_CHUNK: Final = 100


def record(
    renderer: SoundfontRenderer, codec: Codec, seeds: range, *, folder: Path
) -> Iterator[int]:
    """Render, encode and fingerprint items into a folder, a hundred to a file.

    Files that are there already are kept, so an interrupted run continues.

    Yields:
        How many items are done.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for start in range(seeds.start, seeds.stop, _CHUNK):
        chunk = range(start, min(start + _CHUNK, seeds.stop))
        path = _chunk_path(folder, chunk)
        if not path.exists():
            codes, items = [], []
            for seed in chunk:
                audio = renderer.render(compose(seed), seconds=ITEM_SECONDS)
                codes.append(codec.encode(audio)[0])
                items.append(chromaprint.fingerprint(audio.waveform, audio.sample_rate))
                yield seed - seeds.start + 1
            temporary = path.with_suffix(".part")
            with temporary.open("wb") as file:
                np.savez(file, codes=np.stack(codes), fingerprints=np.stack(items))
            temporary.replace(path)
        yield chunk.stop - seeds.start


def write(
    path: Path,
    *,
    seeds: range,
    plan_seeds: range,
    unseen: range,
    folder: Path,
    codes: int,
) -> dict[str, Calibration]:
    """Join the recorded items, calibrate the rungs on unseen pieces and write the manifest.

    Args:
        path: The safetensors file to write.
        seeds: Items of which the model heard the recording.
        plan_seeds: Items of which the planner read the score.
        unseen: Items recorded the same way that are in neither.
        folder: Where ``record`` kept both.
        codes: Entries of the codec's first codebook.

    Returns:
        The scale of each rung.

    Raises:
        InputError: If an unseen piece is a training item.
    """
    from safetensors.numpy import save_file

    if set(unseen) & (set(plan_seeds) | set(seeds)):
        raise InputError(
            f"unseen seeds {unseen} overlap the training seeds",
            remedy="Calibrate on pieces that no model learned from.",
        )
    plans = np.array([to_tokens(compose(seed)) for seed in plan_seeds], dtype=np.uint8)
    tensors = {
        "plans": plans,
        "plan_seeds": np.array(plan_seeds, dtype=np.int64),
        "seeds": np.array(seeds, dtype=np.int64),
        "codes": _join(folder, seeds, "codes"),
        "fingerprints": _join(folder, seeds, "fingerprints"),
    }
    fresh = np.array([to_tokens(compose(seed)) for seed in unseen], dtype=np.uint8)
    plan_index = BarIndex(bars(plans))
    code_index = CodeIndex(tensors["codes"], size=codes)
    item_index = ItemIndex(tensors["fingerprints"])
    scales = {
        "plan": _scale([plan_index.best(row) for row in bars(fresh)]),
        "tokens": _scale([code_index.best(row) for row in _join(folder, unseen, "codes")]),
        "fingerprint": _scale(
            [item_index.best(row) for row in _join(folder, unseen, "fingerprints")]
        ),
    }
    facts = {
        "calibration": {kind: asdict(scale) for kind, scale in scales.items()},
        "false_flag_rate": FALSE_FLAG_RATE,
        "item_seconds": ITEM_SECONDS,
        "unseen_seeds": [unseen.start, unseen.stop],
    }
    # Sorted keys: the same items give the same bytes, hence the same hash.
    save_file(tensors, path, metadata={"manifest": json.dumps(facts, sort_keys=True)})
    return scales


def _scale(found: list[Agreement | None]) -> Calibration:
    shares = np.array([x.share for x in found if x is not None])
    return calibrate(shares, false_flag_rate=FALSE_FLAG_RATE)


def _join(folder: Path, seeds: range, name: str) -> npt.NDArray[np.generic]:
    parts = []
    for start in range(seeds.start, seeds.stop, _CHUNK):
        chunk = range(start, min(start + _CHUNK, seeds.stop))
        with np.load(_chunk_path(folder, chunk), allow_pickle=False) as data:
            parts.append(data[name])
    return np.concatenate(parts)


def _chunk_path(folder: Path, chunk: range) -> Path:
    return folder / f"items-{chunk.start}-{chunk.stop}.npz"
