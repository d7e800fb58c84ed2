"""How is the log handed to auditors, mirrors and witnesses, as plain files?

The static layout of C2SP tlog-tiles: a folder that any web server can serve and any
C2SP client can check. 256 hashes make a tile, 256 entries a bundle; the right edge
is partial and carries its width in its name. Full files never change, so exporting
again only adds; the checkpoint is replaced last, so the folder always holds what its
checkpoint needs.

    checkpoint
    tile/<level>/<index>[.p/<width>]
    tile/entries/<index>[.p/<width>]

Source: C2SP tlog-tiles.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy.orm import Session

from registry import log as rows
from safegen.errors import IntegrityError, SafegenError
from safegen.provenance import merkle
from safegen.provenance.log import Log

TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 1 << TILE_HEIGHT


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """What an export wrote.

    Attributes:
        size: Entries in the log.
        written: Files that were new.
        kept: Files that were there already, with the same bytes.
    """

    size: int
    written: int
    kept: int


def export(
    session: Session,
    log: Log,
    folder: Path,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Export:
    """Write the log as static files.

    The tiles are checked against the checkpoint before it is written.

    Args:
        session: A snapshot.
        log: Which log.
        folder: Made if missing; may hold an earlier export of the same log.
        progress: Called with files done and files in all.

    Raises:
        IntegrityError: If the stored hashes do not carry the checkpoint, or if the
            folder holds other bytes under a name that never changes.
        SafegenError: If the folder cannot be written.
    """
    checkpoint = log.checkpoint(session)
    if log.root_at(session, checkpoint.size) != checkpoint.root:
        raise IntegrityError(
            f"the log's stored hashes do not carry its checkpoint of {checkpoint.size} entries",
            remedy="Run `safegen log verify`.",
        )
    jobs = _tiles(checkpoint.size)
    written = 0
    try:
        for done, (level, index, width) in enumerate(jobs, start=1):
            data = (
                _bundle(session, index, width)
                if level is None
                else _tile(session, level, index, width)
            )
            written += _put(folder / tile_path(level, index, width), data)
            if progress is not None:
                progress(done, len(jobs))
        _replace(folder / "checkpoint", checkpoint.note.encode())
    except OSError as error:
        raise SafegenError(
            f"{folder}: the log could not be written there ({error.strerror})",
            remedy="Name a folder that you may write to.",
        ) from error
    return Export(size=checkpoint.size, written=written, kept=len(jobs) - written)


def tile_path(level: int | None, index: int, width: int) -> str:
    """Name a tile below the folder; level None is a bundle of entries.

    The index is written in groups of three digits, all but the last after an "x".
    """
    digits = f"{index:03d}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    name = "/".join([f"x{group}" for group in groups[:-1]] + groups[-1:])
    kind = "entries" if level is None else str(level)
    return f"tile/{kind}/{name}" + ("" if width == TILE_WIDTH else f".p/{width}")


def _tiles(size: int) -> tuple[tuple[int | None, int, int], ...]:
    """List (level, index, width) of all tiles of a log, bundles of entries first."""
    found: list[tuple[int | None, int, int]] = []
    level: int | None = None
    hashes = size
    while hashes:
        full, rest = divmod(hashes, TILE_WIDTH)
        found += [(level, index, TILE_WIDTH) for index in range(full)]
        if rest:
            found.append((level, full, rest))
        if level is None:
            level = 0
        else:
            level, hashes = level + 1, full
    return tuple(found)


def _tile(session: Session, level: int, index: int, width: int) -> bytes:
    start = index * TILE_WIDTH
    found = rows.nodes_of_level(session, level * TILE_HEIGHT, start=start, end=start + width)
    if len(found) != width:
        raise IntegrityError(
            f"log nodes of level {level * TILE_HEIGHT}: {len(found)} of {width} are there "
            f"from {start} on",
            remedy="Run `safegen log verify`.",
        )
    return b"".join(row.hash for row in found)


def _bundle(session: Session, index: int, width: int) -> bytes:
    start = index * TILE_WIDTH
    found = rows.entries(session, start=start, end=start + width)
    for position, row in enumerate(found, start=start):
        if row.position != position or merkle.leaf_hash(row.entry) != row.leaf_hash:
            raise IntegrityError(
                f"log entry {position}: missing or changed", remedy="Run `safegen log verify`."
            )
    if len(found) != width:
        raise IntegrityError(
            f"log entry {start + len(found)} is missing", remedy="Run `safegen log verify`."
        )
    return b"".join(len(row.entry).to_bytes(2) + row.entry for row in found)


def _put(path: Path, data: bytes) -> bool:
    """Write a file that never changes; False if it is there already."""
    try:
        found = path.read_bytes()
    except FileNotFoundError:
        _replace(path, data)
        return True
    if found != data:
        raise IntegrityError(
            f"{path}: holds other bytes than the log; the export is of another log, or "
            "the log was rewritten",
            remedy="Compare with `safegen log verify --against FOLDER/checkpoint`.",
        )
    return False


def _replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    with draft.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
