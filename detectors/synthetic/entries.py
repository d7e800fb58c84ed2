"""What is known about one generator? An entry of the registry.

A linear head over the traces of a window, the scores of real sound and of the generator's
own outputs that it is measured by, and the combs that its decoder should leave. Stored as
safetensors with the facts as JSON beside: nothing in an entry can run.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from detectors.errors import DetectorError
from detectors.synthetic.calibration import LEAST_REAL, Calibration, Yardstick
from detectors.synthetic.reference import Vectors, metadata_of

Floats = npt.NDArray[np.float64]

FAMILIES: Final = (
    "vocoder",
    "phase-reconstruction",
    "codec",
    "neural-tts",
    "statistical-tts",
    "diphone",
    "formant",
    "music-diffusion",
    "music-lm",
    "synthesizer",
    "other",
)
NAME: Final = re.compile(r"[a-z0-9][a-z0-9.-]{0,47}")
MOST_BYTES: Final = 1_000_000
LEAST_SECONDS: Final = (4.0, 8.0, 20.0)
"""Least lengths of sound that an entry may ask for: there are yardsticks of these."""
LEAST_SPACING_HZ: Final = 20.0
MOST_SPACING_HZ: Final = 2_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One generator.

    Attributes:
        name: Lower case, unique in a registry.
        family: One of ``FAMILIES``.
        own: Whether it ships with this project.
        sample_rate: Of its outputs in Hz.
        spacings_hz: Combs its decoder leaves; may be empty.
        coefficients: Log-odds per number of a vector, shape (v,).
        intercept: Log-odds of the mean vector.
        speech: Yardsticks for speech.
        music: Yardsticks for music.
        made: Which of "speech" and "music" it was heard making.
        min_seconds: Shorter sound is not judged.
        codecs: What its examples went through besides nothing, e.g. "mp3-64k".
        figures: What was measured when the head was fitted, e.g. "eer": 0.04.
        card: What it was fitted on, in words.
        reference: Hash of the reference windows the head belongs to.
        digest: Hash of the file, "" if there is none.
    """

    name: str
    family: str
    own: bool
    sample_rate: int
    spacings_hz: tuple[float, ...]
    coefficients: Floats
    intercept: float
    speech: Calibration
    music: Calibration
    made: tuple[str, ...]
    min_seconds: float
    codecs: tuple[str, ...]
    figures: Mapping[str, float]
    card: str
    reference: str
    digest: str = ""

    def scores(self, vectors: Vectors) -> Floats:
        """Score windows; shape (n, v) to (n,)."""
        return np.asarray(
            vectors.astype(np.float64) @ self.coefficients + self.intercept, dtype=np.float64
        )

    def judges(self, *, speech: bool, seconds: float) -> bool:
        """Say whether it was heard making this kind of sound, and the sound is long enough."""
        return ("speech" if speech else "music") in self.made and seconds >= self.min_seconds

    def calibration(self, *, speech: bool) -> Calibration:
        """Choose the yardsticks."""
        return self.speech if speech else self.music


def to_bytes(entry: Entry) -> bytes:
    """Write an entry as a safetensors file."""
    from safetensors.numpy import save

    tensors: dict[str, npt.NDArray[np.generic]] = {
        "coefficients": entry.coefficients.astype(np.float32)
    }
    yardsticks: dict[str, list[dict[str, float]]] = {}
    for domain in ("speech", "music"):
        rows = []
        for number, y in enumerate(getattr(entry, domain).yardsticks):
            tensors[f"{domain}.{number}"] = y.real.astype(np.float32)
            rows.append(
                {"seconds": y.seconds, "slope": y.slope, "offset": y.offset, "limit": y.limit}
            )
        yardsticks[domain] = rows
    facts = {
        "name": entry.name,
        "family": entry.family,
        "own": entry.own,
        "sample_rate": entry.sample_rate,
        "spacings_hz": entry.spacings_hz,
        "intercept": entry.intercept,
        "yardsticks": yardsticks,
        "made": entry.made,
        "min_seconds": entry.min_seconds,
        "codecs": entry.codecs,
        "figures": dict(entry.figures),
        "card": entry.card,
        "reference": entry.reference,
    }
    return save(tensors, {"entry": json.dumps(facts, sort_keys=True)})


def parse(data: bytes) -> Entry:
    """Read what ``to_bytes`` wrote; the file may come from a stranger.

    Raises:
        DetectorError: If it is not an entry, or an impossible one.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if len(data) > MOST_BYTES:
        msg = f"an entry has at most {MOST_BYTES} bytes, this one {len(data)}"
        raise DetectorError(msg)
    try:
        tensors = load(data)
        facts = json.loads(metadata_of(data)["entry"])
        calibrations = {
            domain: Calibration(
                yardsticks=tuple(
                    Yardstick(
                        seconds=float(row["seconds"]),
                        real=np.sort(tensors[f"{domain}.{number}"].astype(np.float64)),
                        slope=float(row["slope"]),
                        offset=float(row["offset"]),
                        limit=float(row["limit"]),
                    )
                    for number, row in enumerate(facts["yardsticks"][domain])
                )
            )
            for domain in ("speech", "music")
        }
        entry = Entry(
            name=str(facts["name"]),
            family=str(facts["family"]),
            own=bool(facts["own"]),
            sample_rate=int(facts["sample_rate"]),
            spacings_hz=tuple(float(s) for s in facts["spacings_hz"]),
            coefficients=tensors["coefficients"].astype(np.float64),
            intercept=float(facts["intercept"]),
            **calibrations,
            made=tuple(str(m) for m in facts["made"]),
            min_seconds=float(facts["min_seconds"]),
            codecs=tuple(str(c) for c in facts["codecs"]),
            figures={str(k): float(v) for k, v in facts["figures"].items()},
            card=str(facts["card"]),
            reference=str(facts["reference"]),
            digest=hashlib.sha256(data).hexdigest(),
        )
    except (
        SafetensorError,
        AttributeError,
        KeyError,
        OverflowError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        msg = f"not an entry of the generator registry: {error}"
        raise DetectorError(msg) from error
    _check(entry)
    return entry


def _check(entry: Entry) -> None:
    problem = ""
    if not NAME.fullmatch(entry.name):
        problem = f"the name {entry.name!r:.60} is not lower-case letters, digits, '.' and '-'"
    elif entry.family not in FAMILIES:
        problem = f"unknown family {entry.family!r:.60}"
    elif entry.coefficients.ndim != 1 or not np.isfinite(entry.coefficients).all():
        problem = "its head is not a row of finite numbers"
    elif not entry.speech.yardsticks or not entry.music.yardsticks:
        problem = "it is not calibrated"
    elif not np.isfinite(_numbers(entry)).all():
        problem = "a number of its calibration is not finite"
    elif any(len(y.real) < LEAST_REAL for c in (entry.speech, entry.music) for y in c.yardsticks):
        problem = f"a yardstick has fewer than {LEAST_REAL} real scores"
    elif any(not LEAST_SPACING_HZ <= s <= MOST_SPACING_HZ for s in entry.spacings_hz):
        problem = f"a spacing is not within {LEAST_SPACING_HZ:g} and {MOST_SPACING_HZ:g} Hz"
    elif entry.min_seconds not in LEAST_SECONDS:
        problem = "its least length is none of " + ", ".join(f"{s:g}" for s in LEAST_SECONDS)
    elif not entry.made or not set(entry.made) <= {"speech", "music"}:
        problem = "it was heard making neither speech nor music"
    if problem:
        msg = f"not an entry of the generator registry: {problem}"
        raise DetectorError(msg)


def _numbers(entry: Entry) -> Floats:
    """Give every number that a score passes through."""
    yardsticks = (*entry.speech.yardsticks, *entry.music.yardsticks)
    out = [entry.intercept, entry.min_seconds, *entry.spacings_hz]
    for y in yardsticks:
        out += [y.seconds, y.slope, y.offset, y.limit, *y.real.tolist()]
    return np.array(out, dtype=np.float64)
