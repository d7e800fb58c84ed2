"""What does the memorization check need to know of somebody's own files?

The manifest of an own model is one safetensors file (numpy types):

    codes         uint16  (n, 250)      first-codebook tokens of each item, one per 40 ms;
                                        65535 after the end of a short one
    fingerprints  uint32  (n, 59)       Chromaprint items of the same

Its metadata (``manifest``, one JSON object) names the ``items`` in that order by file and
start ("loops/a.wav@20s"), every file with its hash, license, title, rights-holder and
captions (``files``), what was left out and why (``left_out``), ``allow_unlicensed``, the
units (``item_seconds``, ``sample_rate``, ``frame_rate``), the codec (``codec_sha256``), and
``calibration``.

The scale of each rung is what every item reaches against the items of all *other* files:
pieces of the same kind, of which none was made from the other. Items that resemble
another file so much that one must come from the other (``related``) say nothing about
chance and are left out. With fewer than ``ENOUGH`` left, pieces that a shipped model
learned from are measured, too; a rung for which nothing can be measured is left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from safetensors.numpy import load_file, save_file

from detectors.agreement import CodeIndex, ItemIndex
from detectors.memorization import Calibration, calibrate
from safegen.generation.codec import FRAME_RATE, SAMPLE_RATE
from safegen.training.manifests import ITEM_SECONDS
from safegen.training.memory import Recorded
from safegen.training.own_data import LeftOut, OwnData
from safegen.training.own_items import OwnItems

RELATED: Final = 0.85
"""Agreement of fingerprints above which one sound comes from the other; unrelated pieces
of the shipped model's training set reach 0.79."""
ENOUGH: Final = 20
MEASURED_ITEMS: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Scales:
    """What chance reaches among own items.

    Attributes:
        calibration: Of "tokens" and "fingerprint", as far as they could be measured.
        related: Items that resemble another file too much to say anything about chance.
    """

    calibration: dict[str, Calibration]
    related: int


def write_own_manifest(
    path: Path,
    items: OwnItems,
    data: OwnData,
    *,
    codes: int,
    codec_sha256: str,
    strangers: Recorded | None,
) -> Scales:
    """Write the manifest of a model trained on own files.

    Args:
        path: Of the safetensors file.
        items: What was learned from.
        data: The files they are of.
        codes: Entries of the codec's first codebook.
        codec_sha256: Of the codec's weight file.
        strangers: Pieces nobody's own, for few items; None without.
    """
    scales = calibrate_own(items, codes=codes, strangers=strangers)
    used = {file.name: file for file in items.files}
    facts: dict[str, Any] = {
        "item_seconds": ITEM_SECONDS,
        "sample_rate": SAMPLE_RATE,
        "frame_rate": FRAME_RATE,
        "codec_sha256": codec_sha256,
        "items": items.names,
        "files": [
            {
                "name": x.name,
                "sha256": x.sha256,
                "license": x.license,
                "title": x.title,
                "rights_holder": x.rights_holder,
                "captions": x.captions,
            }
            for x in used.values()
        ],
        "left_out": [asdict(x) for x in all_left_out(data, items)],
        "allow_unlicensed": data.allow_unlicensed,
        "calibration": {kind: asdict(x) for kind, x in scales.calibration.items()},
    }
    save_file(
        {"codes": items.first_codes.astype(np.uint16), "fingerprints": items.fingerprints},
        path,
        # One entry: safetensors writes several in an arbitrary order, and the hash would change.
        metadata={"manifest": json.dumps(facts, sort_keys=True)},
    )
    return scales


def all_left_out(data: OwnData, items: OwnItems) -> tuple[LeftOut, ...]:
    """Name what was not learned from, in the order of the names."""
    return tuple(sorted((*data.left_out, *items.left_out), key=lambda x: x.name))


def calibrate_own(items: OwnItems, *, codes: int, strangers: Recorded | None) -> Scales:
    """Measure what unrelated pieces reach against own items.

    Args:
        items: The items.
        codes: Entries of the codec's first codebook.
        strangers: Pieces nobody's own; their tokens must be of the same codec.

    Cost: about 10 ms of one core for each of ``MEASURED_ITEMS`` and thousand items.
    """
    files = np.array([file.name for file in items.files])
    tokens, first = items.sounding, items.first_codes
    shares: dict[str, list[float]] = {"tokens": [], "fingerprint": []}
    related = 0
    step = max(1, len(files) // MEASURED_ITEMS)
    for row in range(0, len(files), step):
        others = files != files[row]
        if not others.any():
            continue
        heard = ItemIndex(items.fingerprints[others]).best(items.fingerprints[row])
        if heard is not None and heard.share > RELATED:
            related += 1
            continue
        named = CodeIndex(first[others], size=codes).best(first[row, : tokens[row]])
        for kind, found in (("tokens", named), ("fingerprint", heard)):
            if found is not None:
                shares[kind].append(found.share)
    if strangers is not None:
        for kind, more in _against(items, strangers, codes=codes).items():
            if len(shares[kind]) < ENOUGH:
                shares[kind] += more
    return Scales(
        calibration={
            kind: calibrate(np.array(found))
            for kind, found in shares.items()
            if len(found) >= ENOUGH
        },
        related=related,
    )


def strangers_of(manifest: Path, *, codec_sha256: str) -> Recorded:
    """Read pieces of a shipped model's training set, for calibration.

    Args:
        manifest: Of the shipped model.
        codec_sha256: Of the codec own items are encoded with; with another one than the
            manifest's, its tokens mean nothing and are left out.
    """
    tensors = load_file(manifest)
    data = manifest.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    facts: Mapping[str, Any] = json.loads(header["__metadata__"]["manifest"])
    codes = tensors["codes"][:MEASURED_ITEMS].astype(np.int16)
    if facts["codec_sha256"] != codec_sha256:
        codes = codes[:0]
    return Recorded(codes=codes, fingerprints=tensors["fingerprints"][:MEASURED_ITEMS])


def _against(items: OwnItems, strangers: Recorded, *, codes: int) -> dict[str, list[float]]:
    """What strangers reach against all own items."""
    tokens = CodeIndex(items.first_codes, size=codes)
    prints = ItemIndex(items.fingerprints)
    named = [tokens.best(row) for row in strangers.codes]
    heard = [prints.best(row) for row in strangers.fingerprints]
    return {
        "tokens": [x.share for x in named if x is not None],
        "fingerprint": [x.share for x in heard if x is not None],
    }
