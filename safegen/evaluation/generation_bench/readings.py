"""What was heard in a sound? Each sound is read once per version of the meters.

Readings are kept line by line beside the sounds. Better meters, or another judge, read
the same sounds again; nothing has to be generated anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

from safegen.audio import Audio, sha256_file
from safegen.evaluation import instrument, meters
from safegen.evaluation.generation_bench.adherence import Heard, hear
from safegen.evaluation.generation_bench.frechet import Floats
from safegen.evaluation.generation_bench.musicnn import Musicnn
from safegen.evaluation.sound_meter import WEIGHTS_SHA256 as SOUNDS_SHA256
from safegen.evaluation.sound_meter import probabilities
from safegen.evaluation.state import State

_DIGITS: Final = 6


class Readings:
    """Reads sounds and keeps what was read.

    Args:
        folder: Where the files are.
        version: Of the sounds, as far as their names do not tell.
        musicnn: Gives embeddings; none are asked for if None.
    """

    def __init__(self, folder: Path, *, version: str, musicnn: Musicnn | None) -> None:
        self._heard = State(folder / "heard.jsonl", f"{_meters()} {version}")
        self._sounds = State(folder / "sounds.jsonl", f"{SOUNDS_SHA256[:12]} {version}")
        self._musicnn = musicnn
        network = "" if musicnn is None else musicnn.sha256
        self._embedded = State(folder / "embedded.jsonl", f"{network} {version}")

    def heard(self, name: str, audio: Callable[[], Audio], *, start_seconds: float) -> Heard:
        """Read the meters.

        Args:
            name: Of the sound.
            audio: Makes or loads it.
            start_seconds: What comes before is not heard.
        """
        trial = f"{name} from {start_seconds:g}"
        if trial not in self._heard.rows:
            sound = audio()
            found = asdict(hear(sound.cut(start_seconds, sound.seconds)))
            self._heard.add({"trial": trial, "reading": json.dumps(found)})
        return Heard(**json.loads(str(self._heard.rows[trial]["reading"])))

    def sounds(self, name: str, audio: Callable[[], Audio]) -> dict[str, float]:
        """Give the probability of each sound effect, by its name."""
        if name not in self._sounds.rows:
            self._sounds.add({"trial": name, "reading": json.dumps(probabilities(audio()))})
        found: dict[str, float] = json.loads(str(self._sounds.rows[name]["reading"]))
        return found

    def embedded(self, name: str, audio: Callable[[], Audio]) -> Floats:
        """Describe a sound by musicnn, shape (patches, 200), to ``_DIGITS`` digits.

        Raises:
            ValueError: If there is no musicnn.
        """
        if self._musicnn is None:
            msg = "there is no musicnn"
            raise ValueError(msg)
        if name not in self._embedded.rows:
            found = self._musicnn.embed(audio())
            short = [[float(f"{x:.{_DIGITS}g}") for x in row] for row in found.tolist()]
            self._embedded.add({"trial": name, "reading": json.dumps(short)})
        return np.array(json.loads(str(self._embedded.rows[name]["reading"])), dtype=np.float64)


@cache
def _meters() -> str:
    """Name the meters by their code and weights."""
    code = Path(meters.__file__).read_bytes() + Path(instrument.__file__).read_bytes()
    return f"{hashlib.sha256(code).hexdigest()[:12]}-{sha256_file(instrument.WEIGHTS)[:12]}"
