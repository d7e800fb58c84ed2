"""Was this file hashed before, and did nothing change since?

Checkpoints have gigabytes, and every run compares them with their hashes. So that this does
not take seconds each time, the hash of a file is kept together with its length and its times
of change; if one of them differs, or the note cannot be read, the file is hashed again.
Whoever can write to the folder of models can write this note, and the models, too.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Final

from safegen.audio import sha256_file

NOTE_NAME: Final = ".verified.json"
_SCHEMA: Final = "safegen.verified.v1"
_MAX_BYTES: Final = 1 << 24
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def hashes(
    paths: Collection[Path], *, models: Path | None, afresh: bool = False
) -> dict[Path, str]:
    """Hash files, those that were not hashed before or have changed.

    Args:
        paths: Files.
        models: Folder that keeps the note; None for an installation without one.
        afresh: Whether to hash all of them, whatever the note says.

    Returns:
        SHA-256 as lower-case hex, for each path.
    """
    note = {} if models is None else _read(models / NOTE_NAME)
    found, fresh = {}, dict(note)
    for path in paths:
        real = str(path.resolve())
        seen, before = _seen(path), note.get(real, ())
        if afresh or not before or before[:-1] != seen:
            fresh[real] = (*seen, sha256_file(path))
        found[path] = fresh[real][-1]
    if models is not None and fresh != note:
        _write(models / NOTE_NAME, {x: row for x, row in fresh.items() if Path(x).is_file()})
    return found


def _seen(path: Path) -> tuple[str, ...]:
    told = path.stat()
    return str(told.st_size), str(told.st_mtime_ns), str(told.st_ctime_ns)


def _read(path: Path) -> dict[str, tuple[str, ...]]:
    """Read the note; one that is not ours in every row counts as none."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            return {}
        told = json.loads(path.read_text(encoding="utf-8"))
        if told["schema"] != _SCHEMA:
            return {}
        rows = {str(x): tuple(row) for x, row in told["files"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}
    whole = len(("size", "modified", "changed", "sha256"))
    return {
        x: row
        for x, row in rows.items()
        if len(row) == whole
        and all(isinstance(word, str) for word in row)
        and _SHA256.fullmatch(row[-1])
    }


def _write(path: Path, rows: dict[str, tuple[str, ...]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"schema": _SCHEMA, "files": rows}, indent=1, sort_keys=True)
    number, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}-")
    with os.fdopen(number, "w", encoding="utf-8") as file:
        file.write(text + "\n")
    Path(name).replace(path)
