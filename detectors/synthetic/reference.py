"""What does real sound look like? The windows that every head learned from and is measured on.

They ship with the package, as numbers and not as sound, so that anybody can add a
generator to the registry with nothing but its outputs, and so that the strongest of many
heads is compared with the strongest of the same heads on real sound.

Role ``train``: heads are fitted on these. Role ``calibrate``: other sources, other speakers;
p-values and limits come from these and nothing was ever fitted on them.
"""

import hashlib
import json
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
import numpy.typing as npt

from detectors.errors import DetectorError
from detectors.synthetic import traces
from detectors.synthetic.traces import Trace

Floats = npt.NDArray[np.float64]
Vectors = npt.NDArray[np.float32]

NEIGHBORS: Final = 5
RESIDUAL_WEIGHT: Final = 0.1
TEXTURE_WEIGHT: Final = 0.05
PULSE_WEIGHT: Final = 0.05
"""How far a group of numbers may sway a head: texture and pulse know too much of the
recording. Measured on speakers that no head was fitted on."""
HEAD_RANGE_DB: Final = (-2.0, 3.0)
"""A head hears the residual within this range: one line must not outweigh all others."""
_STEPS: Final = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Measured windows, one row each.

    Attributes:
        residual: In dB, shape (n, r), float32.
        shape: Texture and pulse numbers, shape (n, s), float32.
        domain: Shape (n, DOMAIN_SIZE), float32.
    """

    residual: Vectors
    shape: Vectors
    domain: Vectors

    def __len__(self) -> int:
        return len(self.residual)

    def rows(self, chosen: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> "Windows":
        """Keep some rows."""
        return Windows(**{f.name: getattr(self, f.name)[chosen] for f in fields(Windows)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Real windows and what was learned from them about sound in general.

    Attributes:
        windows: Of real sound.
        source: Speaker or track of each window, shape (n,).
        speech: Whether the window is speech rather than music, shape (n,).
        calibrate: Whether the window is for calibration, shape (n,).
        mean: Of residual, texture and pulse of the training windows, shape (v,).
        scale: Their standard deviations over their weights, shape (v,).
        domain_mean: Of the domain numbers, shape (d,).
        domain_axes: Whitening, shape (d, k).
        domain_limit: Mean distance to the closest ``NEIGHBORS`` windows beyond which a
            window is unlike all of them.
        speech_mean: Of the domain numbers, shape (d,).
        speech_scale: Their standard deviations, shape (d,).
        speech_coefficients: Log-odds of speech per standardized number, shape (d,).
        speech_intercept: Log-odds of speech at the mean.
        card: What the windows are of, as JSON.
        digest: Hash of the file, "" if there is none.
    """

    windows: Windows
    source: npt.NDArray[np.str_]
    speech: npt.NDArray[np.bool_]
    calibrate: npt.NDArray[np.bool_]
    mean: Floats
    scale: Floats
    domain_mean: Floats
    domain_axes: Floats
    domain_limit: float
    speech_mean: Floats
    speech_scale: Floats
    speech_coefficients: Floats
    speech_intercept: float
    card: str
    digest: str = ""

    def vectors(self, windows: Windows) -> Vectors:
        """Standardize windows for heads; shape (n, v)."""
        raw = np.concatenate([heard_by_heads(windows.residual), windows.shape], axis=1)
        return np.asarray((raw - self.mean) / self.scale, dtype=np.float32)

    def speech_log_odds(self, domain: Vectors) -> Floats:
        """Say how likely windows are speech; shape (n, d) to (n,)."""
        standardized = (domain - self.speech_mean) / self.speech_scale
        return np.asarray(
            standardized @ self.speech_coefficients + self.speech_intercept, dtype=np.float64
        )

    def distance(self, domain: Vectors) -> Floats:
        """Say how far windows are from real ones, as multiples of the limit; (n, d) to (n,)."""
        known = (self.windows.domain - self.domain_mean) @ self.domain_axes
        points = (domain - self.domain_mean) @ self.domain_axes
        return nearest(points, known) / self.domain_limit


def heard_by_heads(residual: Vectors) -> Vectors:
    """Limit a residual to ``HEAD_RANGE_DB``."""
    return np.asarray(np.clip(residual, *HEAD_RANGE_DB), dtype=np.float32)


def windows_of(measured: list[Trace]) -> Windows:
    """Put traces below each other."""
    return Windows(
        residual=np.stack([t.residual for t in measured]),
        shape=np.stack([np.concatenate([t.texture, t.pulse]) for t in measured]),
        domain=np.stack([t.domain for t in measured]),
    )


def joined(parts: list[Windows]) -> Windows:
    """Put windows below each other."""
    return Windows(
        **{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Windows)}
    )


def group_weights() -> Floats:
    """Give the weight of each number of a vector; shape (v,)."""
    return np.concatenate(
        [
            np.full(traces.LAST_BIN - traces.FIRST_BIN, RESIDUAL_WEIGHT),
            np.full(len(traces.texture_names()), TEXTURE_WEIGHT),
            np.full(len(traces.pulse_names()), PULSE_WEIGHT),
        ]
    )


def nearest(points: Floats, known: Floats) -> Floats:
    """Give the mean distance to the closest known points; shape (n, k) to (n,)."""
    squared = (points**2).sum(axis=1)[:, None] + (known**2).sum(axis=1) - 2.0 * points @ known.T
    closest = np.partition(np.maximum(squared, 0.0), NEIGHBORS - 1, axis=1)[:, :NEIGHBORS]
    return np.asarray(np.sqrt(closest).mean(axis=1), dtype=np.float64)


def to_bytes(reference: Reference) -> bytes:
    """Write a reference as a safetensors file; the residual takes a byte a number."""
    from safetensors.numpy import save

    low, high = HEAD_RANGE_DB
    steps = np.round((heard_by_heads(reference.windows.residual) - low) / (high - low) * _STEPS)
    sources = sorted(set(reference.source.tolist()))
    tensors = {
        "residual": steps.astype(np.uint8),
        "shape": reference.windows.shape.astype(np.float16),
        "domain": reference.windows.domain.astype(np.float16),
        "source": np.array([sources.index(s) for s in reference.source.tolist()], dtype=np.int32),
        "speech": reference.speech.astype(np.uint8),
        "calibrate": reference.calibrate.astype(np.uint8),
        **{name: getattr(reference, name) for name in _LEARNED},
    }
    facts = {
        "sources": sources,
        "domain_limit": reference.domain_limit,
        "speech_intercept": reference.speech_intercept,
        "names": [*traces.texture_names(), *traces.pulse_names()],
        "card": reference.card,
    }
    # One key only: their order in the file is not the same every time.
    return save(tensors, {"reference": json.dumps(facts)})


_LEARNED: Final = (
    "mean",
    "scale",
    "domain_mean",
    "domain_axes",
    "speech_mean",
    "speech_scale",
    "speech_coefficients",
)


def parse(data: bytes) -> Reference:
    """Read what ``to_bytes`` wrote.

    Raises:
        DetectorError: If its windows were measured in another way.
    """
    from safetensors.numpy import load

    facts = json.loads(metadata_of(data)["reference"])
    if facts["names"] != [*traces.texture_names(), *traces.pulse_names()]:
        msg = "the reference windows were measured with other traces"
        raise DetectorError(msg)
    tensors = load(data)
    low, high = HEAD_RANGE_DB
    return Reference(
        windows=Windows(
            residual=np.asarray(
                tensors["residual"] / _STEPS * (high - low) + low, dtype=np.float32
            ),
            shape=tensors["shape"].astype(np.float32),
            domain=tensors["domain"].astype(np.float32),
        ),
        source=np.array(facts["sources"])[tensors["source"]],
        speech=tensors["speech"].astype(bool),
        calibrate=tensors["calibrate"].astype(bool),
        **{name: tensors[name].astype(np.float64) for name in _LEARNED},
        domain_limit=float(facts["domain_limit"]),
        speech_intercept=float(facts["speech_intercept"]),
        card=str(facts["card"]),
        digest=hashlib.sha256(data).hexdigest(),
    )


def metadata_of(data: bytes) -> dict[str, str]:
    """Read the metadata of a safetensors file.

    Raises:
        DetectorError: If there are none.
    """
    size = int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8 : 8 + size])
        found = header["__metadata__"]
    except (ValueError, KeyError, TypeError) as error:
        msg = f"not a safetensors file with metadata: {error}"
        raise DetectorError(msg) from error
    return {str(key): str(value) for key, value in found.items()}
