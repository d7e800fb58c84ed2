"""Which files may a model learn from, and who allowed it?

A folder of audio, a table of captions and a license become a list of files, each with
its hash, its captions and its license. Nothing is dropped in silence: what is left out
is named with its reason, and what could mean that somebody's work slips in unnoticed (a
file without a license, a path that leads out of the folder, a caption for a file that is
not there) is refused.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from safegen.audio import sha256_file, walk
from safegen.errors import InputError
from safegen.training.own_captions import Captions, Row, refuse

UNLICENSED: Final = "unlicensed"
"""Stands for the license of a file that has none."""
_NO_LICENSE: Final = ("", "none", "noassertion", UNLICENSED)
_SPDX: Final = re.compile(
    r"\(*[A-Za-z0-9][A-Za-z0-9.+:-]*\)*( (AND|OR|WITH) \(*[A-Za-z0-9.+:-]+\)*)*"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnFile:
    """A file a model learns from.

    Attributes:
        name: Its path inside the folder, with "/" between the parts.
        path: Where it is.
        sha256: Of its bytes, lower-case hex.
        captions: What is heard, in somebody's words; empty where none is needed.
        license: SPDX id or expression, or ``UNLICENSED``.
        title: "" if untold.
        rights_holder: "" if untold.
    """

    name: str
    path: Path
    sha256: str
    captions: tuple[str, ...]
    license: str
    title: str
    rights_holder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A file of the folder a model does not learn from."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnData:
    """What a model learns from.

    Attributes:
        files: In the order of their names, at least one.
        left_out: In the order of their names.
        allow_unlicensed: Whether files without a license were let in.
    """

    files: tuple[OwnFile, ...]
    left_out: tuple[LeftOut, ...]
    allow_unlicensed: bool

    @property
    def licenses(self) -> dict[str, int]:
        """License -> files under it, in alphabetical order."""
        return dict(sorted(Counter(file.license for file in self.files).items()))

    @property
    def digest(self) -> str:
        """Hash of all that a model could learn from them, lower-case hex."""
        rows = [[x.name, x.sha256, x.license, *x.captions] for x in self.files]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def gather(
    folder: Path, captions: Captions | None, *, license_: str, allow_unlicensed: bool
) -> OwnData:
    """List the files of a folder a model may learn from.

    Args:
        folder: Its audio files are walked.
        captions: A line of the table takes precedence over ``license_``. With a table,
            files it does not name are left out; without, all files are taken.
        license_: Of the files whose line names none, "" for none.
        allow_unlicensed: Whether files without a license are let in.

    Raises:
        InputError: If there is no audio file, a file of the table is missing or outside
            the folder, lines about one file contradict each other, or a file has no
            license and that is not allowed.
    """
    check_license("--license", license_)
    inside, left_out = _inside(folder)
    if not inside:
        raise InputError(
            f"{folder}: no audio file in it", remedy="Name a folder of WAV, FLAC, MP3, ... files."
        )
    told = None if captions is None else _told(captions, inside)
    files: list[OwnFile] = []
    known: dict[str, str] = {}
    for name, path in inside.items():
        if told is not None and name not in told:
            left_out.append(LeftOut(name=name, reason="the table has no caption for it"))
            continue
        digest = sha256_file(path)
        if digest in known:
            reason = f"the same bytes as {known[digest]}"
            left_out.append(LeftOut(name=name, reason=reason))
            continue
        known[digest] = name
        rows = [] if told is None else told[name]
        files.append(_file(name, path, digest, rows, license_))
    _refuse_unlicensed(files, allow_unlicensed=allow_unlicensed)
    return OwnData(
        files=tuple(files),
        left_out=tuple(sorted(left_out, key=lambda x: x.name)),
        allow_unlicensed=allow_unlicensed,
    )


def check_license(name: str, text: str) -> None:
    """Refuse a license that is not written as SPDX; "" is none.

    Raises:
        InputError: Saying how to write it.
    """
    if text and not _SPDX.fullmatch(text):
        raise InputError(
            f"{name} {text[:80]!r} is not written as SPDX",
            remedy="Write CC-BY-4.0 or CC0-1.0, or LicenseRef-Name for terms of your own.",
        )


def _inside(folder: Path) -> tuple[dict[str, Path], list[LeftOut]]:
    """Find the audio files of a folder; a link that leads out of it is left out."""
    if not folder.is_dir():
        raise InputError(f"{folder}: not a folder", remedy="Name a folder of audio files.")
    root = folder.resolve()
    inside: dict[str, Path] = {}
    left_out = []
    for path in walk((folder,)):
        name = path.relative_to(folder).as_posix()
        if path.resolve().is_relative_to(root):
            inside[name] = path
        else:
            left_out.append(LeftOut(name=name, reason="a link that leads out of the folder"))
    return inside, left_out


def _told(captions: Captions, inside: Mapping[str, Path]) -> dict[str, list[Row]]:
    """Find the lines about every file.

    Raises:
        InputError: With the lines that name no file of the folder, or contradict others.
    """
    stems: dict[str, list[str]] = {}
    for name in inside:
        stems.setdefault(Path(name).with_suffix("").as_posix(), []).append(name)
    told: dict[str, list[Row]] = {}
    faults: list[str] = []
    for row in captions.rows:
        found = [row.file] if row.file in inside else stems.get(row.file, [])
        if len(found) == 1:
            faults.extend(_contradictions(row, told.setdefault(found[0], [])))
            told[found[0]].append(row)
        elif found:
            faults.append(f"line {row.line}: {row.file} may be {' or '.join(found)}")
        else:
            is_outside = Path(row.file).is_absolute() or ".." in Path(row.file).parts
            reason = "is outside the folder" if is_outside else "is no audio file of the folder"
            faults.append(f"line {row.line}: {row.file} {reason}")
        faults.extend(_bad_license(row))
    refuse(captions.name, faults)
    return told


def _contradictions(row: Row, before: list[Row]) -> Iterator[str]:
    for other in before[:1]:
        for name in ("license", "title", "rights_holder"):
            if getattr(row, name) != getattr(other, name):
                yield f"line {row.line}: another {name} for {row.file} than in line {other.line}"


def _bad_license(row: Row) -> Iterator[str]:
    try:
        check_license("the license", row.license)
    except InputError as error:
        yield f"line {row.line}: {error.problem}"


def _file(name: str, path: Path, sha256: str, rows: list[Row], license_: str) -> OwnFile:
    first = rows[0] if rows else None
    told = (first.license if first else "") or license_
    return OwnFile(
        name=name,
        path=path,
        sha256=sha256,
        captions=tuple(dict.fromkeys(row.caption for row in rows)),
        license=UNLICENSED if told.lower() in _NO_LICENSE else told,
        title=first.title if first else "",
        rights_holder=first.rights_holder if first else "",
    )


def _refuse_unlicensed(files: list[OwnFile], *, allow_unlicensed: bool) -> None:
    bare = [file.name for file in files if file.license == UNLICENSED]
    if bare and not allow_unlicensed:
        shown = ", ".join(bare[:5]) + (", ..." if len(bare) > 5 else "")
        raise InputError(
            f"{len(bare)} of {len(files)} files have no license: {shown}",
            remedy="Name it with --license or a column license; --allow-unlicensed lets them "
            "in and is written into the model's card.",
        )
