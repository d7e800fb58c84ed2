"""Which models ship with the package, and are they the ones that were measured?

``detectors/weights/synthetic/roster.json`` names every file with its hash, and its own hash
is pinned here: a changed head is not asked.
"""

import hashlib
import json
from functools import cache
from importlib import resources
from typing import Any, Final

from detectors.errors import DetectorError
from detectors.synthetic import calibration, entries, generic, reference
from detectors.synthetic.judging import GenericModel, Roster

INDEX: Final = "roster.json"
INDEX_SHA256: Final = "5a5f9906158fbbf04e1220321854753f218d26f1b091236162600540662539af"
FOLDER: Final = "synthetic"


@cache
def shipped() -> Roster:
    """Read the models that ship with the package.

    Raises:
        DetectorError: If one is missing, or is not the one pinned here.
    """
    index = json.loads(_read(INDEX, INDEX_SHA256))
    return read_roster(index)


def read_roster(index: dict[str, Any]) -> Roster:
    """Read the files that an index names."""
    return Roster(
        reference=reference.parse(_named(index["reference"])),
        entries=tuple(entries.parse(_named(row)) for row in index["entries"]),
        generic=(_generic(index["generic"]),) if index.get("generic") else (),
    )


def _generic(row: dict[str, Any]) -> GenericModel:
    model = generic.load()
    yardsticks = row["yardsticks"]
    digest = hashlib.sha256(json.dumps(yardsticks, sort_keys=True).encode()).hexdigest()
    return GenericModel(
        name="generic",
        logits=model.logits,
        speech=calibration.of_json(yardsticks["speech"]) if "speech" in yardsticks else None,
        music=calibration.of_json(yardsticks["music"]) if "music" in yardsticks else None,
        model_id=model.model_id,
        calibration_id=digest[:16],
    )


def _named(row: dict[str, str]) -> bytes:
    return _read(row["file"], row["sha256"])


def _read(name: str, sha256: str) -> bytes:
    source = resources.files("detectors") / "weights" / FOLDER / name
    try:
        data = source.read_bytes()
    except OSError as error:
        msg = f"the classifier's weights cannot be read: {error}"
        raise DetectorError(msg) from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != sha256:
        msg = f"detectors/weights/{FOLDER}/{name} has sha256 {digest}, pinned is {sha256}"
        raise DetectorError(msg)
    return data
