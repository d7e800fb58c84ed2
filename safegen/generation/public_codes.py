"""What is a file with the codes of a public codec, and which weights does it belong to?

A safetensors file with the codes, the scales of codecs that have them, and one metadata key
that names the model, the hash of its weights and the length of the sound. Codes say nothing
without the weights that made them, so decoding with other weights is refused. The shipped
codec has a format of its own, ``safegen.generation.bitstream``, which packs codes tighter.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from safegen.errors import InputError, IntegrityError
from safegen.generation.model_card import ModelCard
from safegen.generation.transformers_models.codecs import LONGEST_SECONDS, Coded, PublicCodec

SUFFIX: Final = ".safetensors"
METADATA_KEY: Final = "safegen.codes"
SCHEMA: Final = "safegen.codes.v1"
MAX_FILE_BYTES: Final = 1 << 26
_MAX_SAMPLES: Final = int(LONGEST_SECONDS * 192_000)
_FIELDS: Final = {
    "schema": str,
    "model": str,
    "weights_sha256": str,
    "sample_rate": int,
    "samples": int,
    "channels": int,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Codes:
    """What a file holds.

    Attributes:
        model: Name of the codec, as whoever encoded typed it.
        weights_sha256: Of its files, as ``ModelCard.weights_sha256``.
        sample_rate: Of the codec, in Hz.
        coded: The sound.
        size_bytes: Of the file.
    """

    model: str
    weights_sha256: str
    sample_rate: int
    coded: Coded
    size_bytes: int

    @property
    def seconds(self) -> float:
        """Length of the sound."""
        return self.coded.samples / self.sample_rate


def write(coded: Coded, codec: PublicCodec) -> bytes:
    """Write codes as a file: two bytes a code."""
    from safetensors.numpy import save

    told = {
        "schema": SCHEMA,
        "model": codec.card.name,
        "weights_sha256": codec.card.weights_sha256,
        "sample_rate": codec.shape.sample_rate,
        "samples": coded.samples,
        "channels": coded.channels,
    }
    tensors: dict[str, Any] = {"codes": coded.codes.astype(np.uint16)}
    if coded.scales.size:
        tensors["scales"] = coded.scales
    return save(tensors, metadata={METADATA_KEY: json.dumps(told, sort_keys=True)})


def is_one(beginning: bytes) -> bool:
    """Tell a file of a public codec's codes from one of the shipped codec by its beginning."""
    return METADATA_KEY.encode() in beginning


def read(data: bytes) -> Codes:
    """Read a file, checking what it says against itself.

    Raises:
        InputError: If it holds no codes, or codes of another version.
        IntegrityError: If it is cut or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if len(data) > MAX_FILE_BYTES:
        raise _no_codes(f"more than {MAX_FILE_BYTES} bytes")
    told = _told(data)
    try:
        tensors = load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise IntegrityError(
            f"the file is cut or damaged ({str(error)[:100]})", remedy="Copy it again."
        ) from error
    codes = tensors.pop("codes", None)
    scales = tensors.pop("scales", np.zeros(0, np.float32))
    if (
        codes is None
        or tensors
        or codes.dtype != np.uint16
        or codes.ndim != 2
        or not codes.size
        or scales.dtype != np.float32
        or scales.ndim != 1
    ):
        raise _no_codes("its tensors are not codes and scales")
    return Codes(
        model=told["model"],
        weights_sha256=told["weights_sha256"],
        sample_rate=told["sample_rate"],
        coded=Coded(
            codes=codes.astype(np.int64),
            scales=scales,
            samples=told["samples"],
            channels=told["channels"],
        ),
        size_bytes=len(data),
    )


def refuse_other(found: Codes, card: ModelCard) -> None:
    """Refuse to decode with other weights than those that made the codes.

    Raises:
        InputError: If they are others.
    """
    if found.weights_sha256 != card.weights_sha256:
        raise InputError(
            f"made by {found.model} with weights {found.weights_sha256[:16]}..., {card.name} has "
            f"{card.weights_sha256[:16]}...",
            remedy="Decode it with the files that it was encoded with (--model).",
        )


def _told(data: bytes) -> dict[str, Any]:
    """Read the metadata key from the head of a safetensors file."""
    length = int.from_bytes(data[:8], "little")
    try:
        text = json.loads(data[8 : 8 + length])["__metadata__"][METADATA_KEY]
        told = json.loads(text)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _no_codes("its head does not say so") from error
    if not isinstance(told, dict) or told.get("schema") != SCHEMA:
        raise _no_codes(f"its head is not of the kind {SCHEMA}")
    if told.keys() != _FIELDS.keys() or any(
        type(told[name]) is not kind for name, kind in _FIELDS.items()
    ):
        raise _no_codes("its head has other fields")
    if (
        not 1 <= told["samples"] <= _MAX_SAMPLES
        or told["channels"] not in (1, 2)
        or told["sample_rate"] <= 0
    ):
        raise _no_codes(f"its head tells {told['samples']} samples of {told['channels']} channels")
    return told


def _no_codes(problem: str) -> InputError:
    return InputError(
        f"no codes of a public codec: {problem}",
        remedy="Name a file that `safegen codec encode --model OWNER/NAME` wrote.",
    )
