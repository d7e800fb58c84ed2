"""Is the promise about false alarms kept on the sounds of this house?

Every ten-second window of unmarked files is listened to, with full search, under many keys
that marked nothing: each pair is one trial. The first folder below the given one names the
kind of content. Finished windows are kept line by line, so an interrupted scan goes on.
"""

import hashlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import zip_longest
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import numpy as np

from detectors import mark_pattern, mark_search, tiles
from detectors import watermark as ear
from detectors.false_alarms import Calibration, counted
from safegen.audio import load
from safegen.errors import InputError, SafegenError
from safegen.evaluation.state import State

SECONDS: Final = 10.0
_SUFFIXES: Final = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".g722")
_LEAST_PEAK: Final = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """An unmarked file and how many of its windows are listened to.

    Attributes:
        content: Kind of sound.
        path: The file.
        name: The file's path inside the folder that is scanned.
        windows: At most so many, spread evenly over the file.
    """

    content: str
    path: Path
    name: str
    windows: int

    @property
    def trial(self) -> str:
        """Names it in the state file, wherever the folder lies."""
        return f"{self.name} {self.windows}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """Natural logarithms of the p-values of one file's windows under every key."""

    piece: Piece
    log_p: tuple[float, ...]


def files_below(folder: Path) -> Mapping[str, tuple[Path, ...]]:
    """Name the sound files by kind: the first folder below ``folder``, or its own name.

    Raises:
        InputError: If there is no sound file.
    """
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in _SUFFIXES and path.is_file():
            parts = path.relative_to(folder).parts
            found.setdefault(parts[0] if len(parts) > 1 else folder.name, []).append(path)
    if not found:
        raise InputError(
            f"{folder}: no sound file below it",
            remedy=f"Name a folder with files of unmarked sound ({', '.join(_SUFFIXES)}).",
        )
    return {content: tuple(paths) for content, paths in found.items()}


def random_keys(count: int) -> Mapping[str, bytes]:
    """Make keys that marked nothing, the same in every run."""
    return {
        str(number): hashlib.sha256(b"safegen calibration key %d" % number).digest()
        for number in range(count)
    }


def version(keys: int) -> str:
    """Name the code and the keys that trials belong to."""
    digest = hashlib.sha256(str(keys).encode())
    for module in (tiles, mark_pattern, mark_search, ear):
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()[:16]


def plan(folder: Path, *, windows: int) -> tuple[Piece, ...]:
    """Share the windows out: the same number for each kind, then for each file of a kind."""
    kinds = files_below(folder)
    rows = [
        [
            Piece(
                content=content,
                path=path,
                name=path.relative_to(folder).as_posix(),
                windows=-(-windows // (len(kinds) * len(paths))),
            )
            for path in paths
        ]
        for content, paths in kinds.items()
    ]
    # In turns, so that an early end is fair to all kinds.
    return tuple(piece for turn in zip_longest(*rows) for piece in turn if piece is not None)


def scan(pieces: tuple[Piece, ...], state: Path, *, keys: int, jobs: int) -> Iterator[Heard]:
    """Listen to what is not in the state file yet, and add it.

    Args:
        pieces: From ``plan``.
        state: One JSON object a line; kept from earlier runs of the same version.
        keys: How many keys each window is listened to with.
        jobs: Processes.

    Yields:
        Each file; those that were done come first.
    """
    done = State(state, version(keys))
    for piece in pieces:
        if piece.trial in done.rows:
            values = str(done.rows[piece.trial]["log_p"]).split()
            yield Heard(piece=piece, log_p=tuple(float(value) for value in values))
    missing = [piece for piece in pieces if piece.trial not in done.rows]
    if not missing:
        return
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"))
    try:
        for heard in pool.map(_listen, missing, [keys] * len(missing)):
            values = [f"{value:.3f}" for value in heard.log_p]
            done.add({"trial": heard.piece.trial, "log_p": " ".join(values)})
            yield heard
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def calibrated(heard: list[Heard], *, keys: int) -> Calibration:
    """Count the tails by kind of content.

    Raises:
        SafegenError: If nothing could be listened to.
    """
    by_content: dict[str, list[float]] = {}
    for one in heard:
        by_content.setdefault(one.piece.content, []).extend(one.log_p)
    if not any(by_content.values()):
        raise SafegenError(
            f"{len(heard)} files, all of them silent or too short",
            remedy="Name a folder with audible sound.",
        )
    return Calibration(
        version=version(keys),
        tails=tuple(counted(content, values) for content, values in sorted(by_content.items())),
    )


def _listen(piece: Piece, keys: int) -> Heard:
    audio = load(piece.path)
    count = min(piece.windows, max(1, int(audio.seconds // SECONDS)))
    room = max(0.0, audio.seconds - SECONDS)
    log_p: list[float] = []
    for start in np.linspace(0.0, room, count) if count > 1 else [room / 2]:
        part = audio.cut(float(start), float(start) + SECONDS)
        if float(np.abs(part.waveform).max(initial=0.0)) >= _LEAST_PEAK:
            found = ear.log_p_by_key(part.waveform, part.sample_rate, keys=random_keys(keys))
            log_p += found.values()
    return Heard(piece=piece, log_p=tuple(log_p))
