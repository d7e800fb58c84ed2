"""Which segments are in force, and who may change that?

A folder holds the segments of one engine, a small manifest that names those in
force, and a lock. Segments are written under another name, synced and renamed; then
the manifest is replaced as a whole, so a process that is killed anywhere leaves the
state before or the state after. Only who holds the lock writes and deletes; readers
take no lock, and keep what they have mapped when its name is gone.
"""

import fcntl
import hashlib
import json
import os
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, Final

from registry.segments import IndexDamagedError

MANIFEST: Final = "manifest.json"
BUILDING: Final = "building.json"
"""Names the segments of an unfinished rebuild, from which the next one goes on."""

_FORMAT: Final = 1
_LOCK: Final = "lock"
_SEGMENT: Final = re.compile(r"[0-9a-f]{32}\.segment")
_MOST_BYTES: Final = 1 << 28


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedSegment:
    """A segment in force.

    Attributes:
        file: Its name in the folder.
        sum: Checksum of its header, so that no other file can stand in for it.
        dead: Numbers of its works that are no longer in force, ascending.
    """

    file: str
    sum: int
    dead: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A state of the folder.

    Attributes:
        scheme: Name of the rule by which the keys were made.
        change: Number of the catalog change up to which it is complete.
        anchor: Digest of that change, which tells one database from another.
        segments: Those in force.
        after: In an unfinished rebuild, the last work that is in a segment.
    """

    scheme: str
    change: int
    anchor: str
    segments: tuple[NamedSegment, ...]
    after: str = ""


def read_manifest(path: Path) -> Manifest | None:
    """Read a manifest; None if there is none.

    Raises:
        IndexDamagedError: If it is not what was written.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise _damaged(path)
        whole = json.loads(path.read_bytes())
        body = whole["body"]
        if whole["format"] != _FORMAT or whole["sha256"] != _digest(body):
            raise _damaged(path)
        segments = tuple(
            NamedSegment(file=row["file"], sum=row["sum"], dead=tuple(row["dead"]))
            for row in body["segments"]
        )
        manifest = Manifest(
            scheme=body["scheme"],
            change=body["change"],
            anchor=body["anchor"],
            segments=segments,
            after=body["after"],
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(path) from error
    if not all(_SEGMENT.fullmatch(named.file) for named in manifest.segments):
        raise _damaged(path)
    return manifest


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Replace a manifest as a whole; for who holds the lock."""
    body = asdict(manifest)
    text = json.dumps({"format": _FORMAT, "sha256": _digest(body), "body": body})
    partly = path.with_suffix(".new")
    with partly.open("wb") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())
    partly.replace(path)
    _sync_folder(path.parent)


def signature(path: Path) -> tuple[int, int, int] | None:
    """Tell one version of a file from the next without reading it; None if it is missing."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def write_segment(folder: Path, fill: Callable[[BinaryIO], None]) -> str:
    """Write a file that appears whole or not at all; for who holds the lock.

    Returns:
        Its name.
    """
    name = f"{uuid.uuid4().hex}.segment"
    partly = folder / f"{name}.new"
    try:
        with partly.open("xb", buffering=1 << 20) as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        partly.rename(folder / name)
    except BaseException:
        partly.unlink(missing_ok=True)
        raise
    _sync_folder(folder)
    return name


def remove_others(folder: Path, *manifests: Manifest | None) -> None:
    """Delete the segments that no manifest names; for who holds the lock."""
    named = {row.file for manifest in manifests if manifest for row in manifest.segments}
    for path in folder.iterdir():
        if _SEGMENT.fullmatch(path.name) and path.name not in named:
            path.unlink(missing_ok=True)


@contextmanager
def writing(folder: Path, *, wait: bool) -> Iterator[bool]:
    """Hold the folder's lock, which dies with its process.

    Args:
        folder: Created if missing.
        wait: False gives up at once if another holds the lock.

    Yields:
        Whether the lock is held.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        for partly in folder.glob("*.new"):  # left by a process that died while it wrote
            partly.unlink(missing_ok=True)
        yield True
    finally:
        os.close(handle)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _digest(body: object) -> str:
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _damaged(path: Path) -> IndexDamagedError:
    return IndexDamagedError(f"{path.name}: the index's list of segments is damaged")
