"""Which training items belong to this model, and does this output copy one?

The card of a model names its training manifest by sha256. The manifest holds, for every
training item, the tokens of its score, the first-codebook tokens of its recording and its
fingerprint, and what unrelated pieces reach against all of them
(``safegen.training.manifests`` writes it). That of a model trained on somebody's own
files has no scores and names items by file (``safegen.training.own_manifest``). Foreign
generators have no manifest: there is nothing to compare with, which is not the same as a
clean result.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from detectors import chromaprint
from detectors.agreement import BarIndex, Bars, CodeIndex, ItemIndex
from detectors.memorization import (
    Calibration,
    FingerprintRung,
    MemorizationFinding,
    PlanRung,
    Query,
    TokenRung,
    TrainingItems,
)
from detectors.memorization import examine as compare
from safegen.errors import IntegrityError
from safegen.generation import own
from safegen.generation.base import Generation, ModelFacts
from safegen.generation.cards import CARDS, WEIGHTS, WeightFile, checked_path
from safegen.generation.codec import CodecConfig
from safegen.generation.compose import (
    BARS,
    BEATS_PER_BAR,
    FIRST_DEGREE,
    HEADER_TOKENS,
    MELODY_BARS,
    PLAN_TOKENS,
    SLOTS_PER_BAR,
    from_tokens,
    legal_tokens,
)

SCALE_STEPS: Final = 7
_CHORDS: Final = slice(HEADER_TOKENS, HEADER_TOKENS + BARS)
_MELODY: Final = slice(HEADER_TOKENS + BARS, PLAN_TOKENS)
# The fifth bar of a melody closes the piece, so it sounds over the last chord.
_CHORD_OF_BAR: Final = (0, 1, 2, 3, BARS - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """The training items of one model, ready to be compared.

    Attributes:
        plans: Scores.
        tokens: First-codebook tokens.
        fingerprints: Chromaprint items.
        base: Of the model that this one was trained on from, None if there is none.
    """

    plans: PlanRung | None
    tokens: TokenRung | None
    fingerprints: FingerprintRung | None
    base: Items | None = None


def for_model(facts: ModelFacts, *, models: Path | None = None) -> TrainingItems | None:
    """Load the training items of a model; None if they are not known here.

    Args:
        facts: Of the model.
        models: Folder of own models (``Config.models``); None knows shipped models only.

    Raises:
        IntegrityError: If the manifest is not the one the model's card names.
        SafegenError: If the manifest is missing.
    """
    sha256 = facts.training_manifest_sha256
    file = _manifest(sha256)
    if file is not None:
        return _load(file, WEIGHTS)
    found = own.find(facts.name, models=models)
    # A model that was trained again under its old name is another one.
    if found is None or not sha256 or found.card.training_manifest_sha256 != sha256:
        return None
    items = _load(found.card.file("manifest"), found.folder)
    bases = [file for file in found.card.files if file.role == own.BASE_MANIFEST]
    return replace(items, base=_load(bases[0], found.folder)) if bases else items


def examine(generation: Generation, items: TrainingItems) -> MemorizationFinding:
    """Compare an output with all training items, on every rung both sides have.

    Of several scores, which a story has, and of own items and those of the base model the
    finding with the highest score counts.

    Cost: about 0.1 s of one core for ten seconds of output, fingerprint included.
    """
    audio = generation.audio
    codes = generation.codes[0].astype(np.int16) if generation.codes.size else None
    prints = chromaprint.fingerprint(audio.waveform, audio.sample_rate)
    base = items.base if isinstance(items, Items) else None
    findings = [
        compare(Query(bars=bars, bar_seconds=seconds, codes=codes, items=prints), known)
        for bars, seconds in _scores(generation)
        for known in (items, base)
        if known is not None
    ]
    return functools.reduce(_higher, findings)


def _higher(one: MemorizationFinding, other: MemorizationFinding) -> MemorizationFinding:
    """Choose between findings: what was compared at all, then the higher score."""
    return max(one, other, key=lambda x: (x.nearest_item != "", x.score))


def parse(data: bytes) -> Items:
    """Read a manifest from the bytes of its file.

    Raises:
        IntegrityError: If the file is not a training manifest.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(data)
        size = int.from_bytes(data[:8], "little")
        facts = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["manifest"])
        scales = {kind: Calibration(**values) for kind, values in facts["calibration"].items()}
        names = _names(facts, tensors)
        return Items(
            plans=PlanRung(
                index=BarIndex(bars(tensors["plans"])), names=names, calibration=scales["plan"]
            )
            if "plan" in scales
            else None,
            tokens=TokenRung(
                index=CodeIndex(tensors["codes"].astype(np.int16), size=CodecConfig().codes),
                names=names,
                calibration=scales["tokens"],
            )
            if "tokens" in scales
            else None,
            fingerprints=FingerprintRung(
                index=ItemIndex(tensors["fingerprints"]),
                names=names,
                calibration=scales["fingerprint"],
            )
            if "fingerprint" in scales
            else None,
        )
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise IntegrityError(
            f"this is not a training manifest: {error!r}",
            remedy="Run `safegen train manifest` again.",
        ) from error


def bars(plans: npt.NDArray[np.integer]) -> Bars:
    """Write plans as bars that do not change with key, tempo or octave.

    Args:
        plans: Plan tokens, shape (n, ``PLAN_TOKENS``).

    Returns:
        Shape (n, ``MELODY_BARS``, slots + 1): melody modulo the octave, then the chord.
        Attributes are left out: two slow piano pieces in A minor are not copies.
    """
    n = len(plans)
    chords = plans[:, _CHORDS].astype(np.int64) - legal_tokens(_CHORDS.start).start
    melody = plans[:, _MELODY].astype(np.int64) - legal_tokens(_MELODY.start).start
    degree = FIRST_DEGREE + (melody - FIRST_DEGREE) % SCALE_STEPS
    folded = np.where(melody >= FIRST_DEGREE, degree, melody)
    rows = folded.reshape(n, MELODY_BARS, SLOTS_PER_BAR)
    return np.concatenate([rows, chords[:, _CHORD_OF_BAR, None]], axis=2).astype(np.uint8)


def _scores(generation: Generation) -> list[tuple[Bars | None, float]]:
    """Read bars and their length in seconds from each score of ours; at least one pair."""
    tokens = generation.plan_tokens
    if len(tokens) == 0 or len(tokens) % PLAN_TOKENS:
        return [(None, 0.0)]
    plans = tokens.reshape(-1, PLAN_TOKENS)
    tempi = (from_tokens(plan.tolist()).tempo_bpm for plan in plans)
    return [
        (rows, 60.0 / tempo * BEATS_PER_BAR) for rows, tempo in zip(bars(plans), tempi, strict=True)
    ]


def _names(facts: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]]) -> tuple[str, ...]:
    """Name the items: by their seed, or by their file and where in it they begin."""
    if "items" in facts:
        return tuple(str(name) for name in facts["items"])
    return tuple(f"seed:{seed}" for seed in tensors["seeds"].tolist())


def _manifest(sha256: str) -> WeightFile | None:
    """Find the manifest file a shipped card names by this hash."""
    if not sha256:
        return None
    files = (file for card in CARDS for file in card.files if file.role == "manifest")
    return next((file for file in files if file.sha256 == sha256), None)


@functools.cache
def _load(file: WeightFile, folder: Path) -> Items:
    return parse(checked_path(file, folder=folder).read_bytes())
