"""What are the scores of a plug-in worth? The sounds it was measured by, kept as scores.

A plug-in is measured on sound of whoever runs it, never on figures that its authors
publish: thresholds do not transfer. Each file gives one sound of each length, its middle,
since two stretches of one recording are no two witnesses.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from detectors.errors import DetectorError
from detectors.synthetic.calibration import (
    LEAST_REAL,
    LEAST_SYNTHETIC,
    Calibration,
    yardstick,
)
from detectors.synthetic.judging import LENGTHS, STEP_SECONDS, GenericModel
from detectors.synthetic.plugins import Description, open_model
from detectors.synthetic.traces import WINDOW_SECONDS

Floats = npt.NDArray[np.float64]

LONGEST_SECONDS: Final = max(LENGTHS) * WINDOW_SECONDS
"""Of a file, its middle; the rest of it is not listened to."""
MOST_BYTES: Final = 200_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """A file that was listened to.

    Attributes:
        sha256: Of the file.
        source: Speaker, track or generator: sounds of one source are not independent.
        synthetic: Whether it is.
        speech: Whether it sounds like speech rather than music.
        seconds: Length of the file.
        scores: Of the windows of its middle, in their order, at least one.
    """

    sha256: str
    source: str
    synthetic: bool
    speech: bool
    seconds: float
    scores: tuple[float, ...]

    def score(self, seconds: float) -> float | None:
        """Give the score of its middle ``seconds``; None if the file is shorter."""
        if self.seconds < seconds - 1e-6:
            return None
        count = min(len(self.scores), round((seconds - WINDOW_SECONDS) / STEP_SECONDS) + 1)
        first = (len(self.scores) - count) // 2
        return float(np.mean(self.scores[first : first + count]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What a plug-in is calibrated with.

    Attributes:
        plugin: Digest of the description of the plug-in that gave the scores.
        made: When, ISO 8601.
        how: Where the sounds came from, in words.
        sounds: One for each file.
    """

    plugin: str
    made: str
    how: str
    sounds: tuple[Sound, ...]

    def calibration(self, *, speech: bool) -> Calibration | None:
        """Make yardsticks for speech or music; None if there are too few sounds of it.

        A few synthetic sounds are not used. A length is left out if too few files reach it,
        also if only the synthetic ones do not: a yardstick without them would measure
        something else than its neighbors.
        """
        of_kind = [sound for sound in self.sounds if sound.speech == speech]
        shortest = scores_at(of_kind, min(lengths()), synthetic=True)
        has_synthetic = len(shortest) >= LEAST_SYNTHETIC
        yardsticks = []
        for seconds in lengths():
            real, synthetic = (
                scores_at(of_kind, seconds, synthetic=which) for which in (False, True)
            )
            if len(real) < LEAST_REAL or (has_synthetic and len(synthetic) < LEAST_SYNTHETIC):
                continue
            used = synthetic if has_synthetic else ()
            yardsticks.append(yardstick(real, used, seconds=seconds))
        return Calibration(yardsticks=tuple(yardsticks)) if yardsticks else None

    def to_bytes(self) -> bytes:
        """Write it as ``parse`` reads it."""
        return json.dumps(asdict(self), indent=0, allow_nan=False).encode()


def lengths() -> tuple[float, ...]:
    """Lengths of the sounds that yardsticks are made for, in seconds."""
    return tuple(count * WINDOW_SECONDS for count in LENGTHS)


def scores_at(sounds: Iterable[Sound], seconds: float, *, synthetic: bool) -> Floats:
    """Give the scores of the real or synthetic sounds that are long enough."""
    found = [s.score(seconds) for s in sounds if s.synthetic == synthetic]
    return np.array([score for score in found if score is not None], dtype=np.float64)


def sound_of(row: object) -> Sound:
    """Read a sound from the object that ``asdict`` gave.

    Raises:
        DetectorError: If it is none, or a score is not finite.
    """
    try:
        facts = dict(row)  # type: ignore[call-overload]
        sound = Sound(
            sha256=str(facts["sha256"]),
            source=str(facts["source"]),
            synthetic=bool(facts["synthetic"]),
            speech=bool(facts["speech"]),
            seconds=float(facts["seconds"]),
            scores=tuple(float(score) for score in facts["scores"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        msg = f"not a sound of a calibration: {error}"
        raise DetectorError(msg) from error
    if not sound.scores or not np.isfinite([sound.seconds, *sound.scores]).all():
        msg = "a sound of the calibration has no finite score"
        raise DetectorError(msg)
    return sound


def parse(data: bytes) -> Scores:
    """Read what ``Scores.to_bytes`` wrote.

    Raises:
        DetectorError: If it is damaged.
    """
    if len(data) > MOST_BYTES:
        msg = f"a calibration has at most {MOST_BYTES} bytes, this one {len(data)}"
        raise DetectorError(msg)
    try:
        facts = json.loads(data)
        return Scores(
            plugin=str(facts["plugin"]),
            made=str(facts["made"]),
            how=str(facts["how"]),
            sounds=tuple(sound_of(row) for row in facts["sounds"]),
        )
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        msg = f"the calibration of a plug-in is damaged: {error}"
        raise DetectorError(msg) from error


def model_of(described: Description, folder: Path, calibration: bytes | None) -> GenericModel:
    """Make a plug-in one of the models that are asked.

    Args:
        described: What it is.
        folder: That holds its files.
        calibration: Bytes of its calibration file; None if there is none.

    Raises:
        DetectorError: If it is not calibrated, is calibrated as something else, or
            cannot be opened.
    """
    if calibration is None:
        msg = f"plug-in {described.name} is not calibrated"
        raise DetectorError(msg)
    scores = parse(calibration)
    refuse_other(described, scores)
    speech, music = (
        scores.calibration(speech=kind == "speech") if kind in described.sounds else None
        for kind in ("speech", "music")
    )
    if speech is None and music is None:
        msg = f"plug-in {described.name} is calibrated with too few sounds"
        raise DetectorError(msg)
    return GenericModel(
        name=described.name,
        logits=open_model(described, folder),
        speech=speech,
        music=music,
        model_id=f"{described.name}-{described.digest[:12]}",
        calibration_id=hashlib.sha256(calibration).hexdigest(),
    )


def refuse_other(described: Description, scores: Scores) -> None:
    """Refuse a calibration that was made before a plug-in was changed.

    Raises:
        DetectorError: If it is one.
    """
    if scores.plugin != described.digest:
        msg = f"the calibration of plug-in {described.name} is of another model or label map"
        raise DetectorError(msg)


def sources(sounds: Sequence[Sound], *, synthetic: bool) -> int:
    """Count the sources of the real or the synthetic sounds."""
    return len({sound.source for sound in sounds if sound.synthetic == synthetic})
