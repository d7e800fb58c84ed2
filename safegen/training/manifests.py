"""Which pieces did the model learn from?

The training set is a range of seeds. The planner reads the plans of ``PLAN_SEEDS``; the
codec and the renderer hear those of ``TRAINING_SEEDS``, the first of them, rendered with
the training soundfont and cut to ``ITEM_SECONDS``. Nothing else enters training.

The manifest that ships is one safetensors file (numpy types):

    seeds         int64   (n,)          seed of each item, ascending
    plans         uint8   (n, 57)       plan tokens (``safegen.generation.compose``)
    plan_digests  uint8   (n, 8)        first bytes of the sha256 of the canonical JSON
    codes         uint16  (m, 250)      first-codebook tokens of the first m items, which
                                        were heard, one per 40 ms
    fingerprints  uint32  (m, 58)       Chromaprint items of the same

Its metadata (``manifest``, one JSON object) names what is needed to make the items again:
``item_seconds``, ``sample_rate``, ``frame_rate``, ``codec_sha256`` (the weights the tokens
belong to) and ``soundfont_sha256``; and ``calibration``, what pieces outside the training
set reach against all of them (``safegen.training.memory``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from safetensors.numpy import save_file

from safegen.audio import Audio, sha256_file
from safegen.generation.codec import FRAME_RATE, SAMPLE_RATE, Codec
from safegen.generation.compose import PLAN_TOKENS, Plan, compose, digest, to_tokens
from safegen.generation.soundfont import SoundfontRenderer
from safegen.training.memory import UNSEEN_SEEDS, calibrate_on, record, recorded

TRAINING_SEEDS: Final = range(1_000_000, 1_005_000)
PLAN_SEEDS: Final = range(1_000_000, 1_040_000)
ITEM_SECONDS: Final = 10.0
DIGEST_BYTES: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingItem:
    """A piece the model heard.

    Attributes:
        seed: Names the item.
        plan: Its score.
        audio: Its sound, mono, ``ITEM_SECONDS`` long.
    """

    seed: int
    plan: Plan
    audio: Audio


def training_items(soundfont: Path, *, seeds: range = TRAINING_SEEDS) -> Iterator[TrainingItem]:
    """Render the training items again, in the order of their seeds.

    Args:
        soundfont: The training soundfont; another one gives other sound.
        seeds: Which items.

    Raises:
        safegen.errors.InputError: If the soundfont is missing.
    """
    renderer = SoundfontRenderer(soundfont)
    for seed in seeds:
        plan = compose(seed)
        audio = renderer.render(plan, seconds=ITEM_SECONDS)
        yield TrainingItem(seed=seed, plan=plan, audio=audio)


def write_manifest(
    path: Path,
    codec: Codec,
    *,
    codec_sha256: str,
    soundfont: Path,
    heard: range = TRAINING_SEEDS,
    planned: range = PLAN_SEEDS,
    unseen: range = UNSEEN_SEEDS,
) -> Iterator[int]:
    """Write the manifest of a training set.

    Args:
        path: Of the safetensors file; its folder keeps the items, so a stopped run continues.
        codec: The shipped codec, which names the sounds.
        codec_sha256: Of its weight file.
        soundfont: The training soundfont.
        heard: Seeds of the items codec and renderer learned from.
        planned: Seeds of the plans the planner learned from; starts with ``heard``.
        unseen: Seeds outside both, which tell what chance reaches.

    Yields:
        How many heard items are done.

    Raises:
        ValueError: If ``planned`` does not start with ``heard``, or holds an unseen seed.
    """
    if planned[: len(heard)] != heard:
        msg = f"the plans {planned} must start with the heard items {heard}"
        raise ValueError(msg)
    if set(unseen) & set(planned):
        msg = f"the unseen pieces {unseen} are among the training items {planned}"
        raise ValueError(msg)
    plans = np.zeros((len(planned), PLAN_TOKENS), dtype=np.uint8)
    digests = np.zeros((len(planned), DIGEST_BYTES), dtype=np.uint8)
    for row, seed in enumerate(planned):
        plan = compose(seed)
        plans[row] = to_tokens(plan)
        digests[row] = np.frombuffer(bytes.fromhex(digest(plan))[:DIGEST_BYTES], dtype=np.uint8)
    renderer = SoundfontRenderer(soundfont)

    def sound_of(seed: int) -> Audio:
        return renderer.render(compose(seed), seconds=ITEM_SECONDS)

    folder = path.parent / f"items-{codec_sha256[:12]}"
    for seeds in (heard, unseen):
        for done in record(sound_of, codec, seeds, folder=folder):
            yield done if seeds is heard else len(heard)
    items = recorded(heard, folder=folder)
    scales = calibrate_on(
        plans=plans,
        items=items,
        unseen_plans=np.array([to_tokens(compose(seed)) for seed in unseen], dtype=np.uint8),
        unseen=recorded(unseen, folder=folder),
        codebook=codec.config.codes,
    )
    facts = {
        "item_seconds": ITEM_SECONDS,
        "sample_rate": SAMPLE_RATE,
        "frame_rate": FRAME_RATE,
        "codec_sha256": codec_sha256,
        "soundfont_sha256": sha256_file(soundfont),
        "calibration": {kind: asdict(x) for kind, x in scales.items()},
    }
    save_file(
        {
            "seeds": np.array(planned, dtype=np.int64),
            "plans": plans,
            "plan_digests": digests,
            "codes": items.codes.astype(np.uint16),
            "fingerprints": items.fingerprints,
        },
        path,
        # One entry: safetensors writes several in an arbitrary order, and the hash would change.
        metadata={"manifest": json.dumps(facts, sort_keys=True)},
    )
