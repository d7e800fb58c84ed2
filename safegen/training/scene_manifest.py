"""Which sound scenes did the rows of sound effects learn from?

Training items are a range of seeds, composed and rendered by ``safegen.generation.scenes``.
The manifest that ships is one safetensors file (numpy types):

    seeds         int64   (n,)          seed of each item, ascending
    codes         uint16  (n, 250)      first-codebook tokens of each item, one per 40 ms
    fingerprints  uint32  (n, 59)       Chromaprint items of the same

Its metadata (``manifest``, one JSON object) has the fields of a music manifest
(``safegen.training.manifests``); there are no scores, and what chance reaches is measured
on scenes of the same kinds of sound that are not in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Final

import numpy as np
from safetensors.numpy import save_file

from safegen.audio import Audio
from safegen.generation.codec import FRAME_RATE, SAMPLE_RATE, Codec
from safegen.generation.scenes import SCENE_SECONDS, compose_scene, render_scene
from safegen.training.memory import calibrate_sounds, record, recorded

SCENE_SEEDS: Final = range(3_000_000, 3_003_000)
UNSEEN_SCENES: Final = range(7_500_000, 7_500_200)
"""Scenes that no model learns from; what they reach is chance."""


def write_scene_manifest(
    path: Path,
    codec: Codec,
    *,
    codec_sha256: str,
    samples: Path,
    heard: range = SCENE_SEEDS,
    unseen: range = UNSEEN_SCENES,
) -> Iterator[int]:
    """Write the manifest of the scenes of a training set.

    Args:
        path: Of the safetensors file; its folder keeps the items, so a stopped run continues.
        codec: The shipped codec, which names the sounds.
        codec_sha256: Of its weight file.
        samples: Folder with the ``sonic-pi-samples``.
        heard: Seeds of the scenes the token model learned from.
        unseen: Seeds outside these.

    Yields:
        How many heard scenes are done.

    Raises:
        safegen.errors.InputError: If the samples are missing.
        ValueError: If a scene is both heard and unseen.
    """
    if set(unseen) & set(heard):
        msg = f"the unseen scenes {unseen} are among the training items {heard}"
        raise ValueError(msg)

    def sound_of(seed: int) -> Audio:
        return render_scene(compose_scene(seed), seconds=SCENE_SECONDS, samples=samples)

    folder = path.parent / f"scenes-{codec_sha256[:12]}"
    for seeds in (heard, unseen):
        for done in record(sound_of, codec, seeds, folder=folder):
            yield done if seeds is heard else len(heard)
    items = recorded(heard, folder=folder)
    scales = calibrate_sounds(
        items=items, unseen=recorded(unseen, folder=folder), codebook=codec.config.codes
    )
    facts = {
        "item_seconds": SCENE_SECONDS,
        "sample_rate": SAMPLE_RATE,
        "frame_rate": FRAME_RATE,
        "codec_sha256": codec_sha256,
        "calibration": {kind: asdict(x) for kind, x in scales.items()},
    }
    save_file(
        {
            "seeds": np.array(heard, dtype=np.int64),
            "codes": items.codes.astype(np.uint16),
            "fingerprints": items.fingerprints,
        },
        path,
        # One entry: safetensors writes several in an arbitrary order, and the hash would change.
        metadata={"manifest": json.dumps(facts, sort_keys=True)},
    )
