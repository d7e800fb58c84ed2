"""Which files are in this data set, and what does its owner say of each?

Two forms are read: ``manifest.csv`` with the columns file and label, and what else it
has; or the folders ``real/`` and ``fake/``, where a folder below ``fake/`` is a generator
and a folder below ``real/`` is a source.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from safegen.audio import walk
from safegen.errors import InputError

MANIFEST: Final = "manifest.csv"
REAL: Final = "real"
FAKE: Final = "fake"
DECLARED: Final = ("codec_history", "language", "gender")
"""Columns that are compared between the classes without being asked for."""
_SPLITS: Final = ("split", "role")
_MAX_ROWS: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One file of the data set.

    Attributes:
        file: As the manifest or the folder names it, relative to the data set.
        path: Where it is.
        is_fake: Its class.
        source: Speaker, record or package it comes from, "" if nobody said.
        generator: What made a fake, "" if nobody said; always "" for a real one.
        split: "train", "test", ..., "" if none was declared.
        declared: Further columns that are compared between the classes.
    """

    file: str
    path: Path
    is_fake: bool
    source: str
    generator: str
    split: str
    declared: Mapping[str, str]


def read(folder: Path, *, also: Sequence[str] = ()) -> tuple[Item, ...]:
    """List the files of a data set in the order of the manifest, or sorted.

    Args:
        folder: With ``manifest.csv``, or with ``real/`` and ``fake/``.
        also: Further columns to compare; the manifest must have them.

    Raises:
        InputError: If the folder has neither form, or the manifest does not say what a
            line is about. A file that is named and missing is no error here.
    """
    manifest = folder / MANIFEST
    if manifest.exists():
        return _of_manifest(manifest, also)
    if (folder / REAL).is_dir() and (folder / FAKE).is_dir():
        if also:
            raise InputError(
                f"--also {also[0]}: {folder} has no {MANIFEST}, so it has no columns",
                remedy=f"Write a {MANIFEST} with the columns file, label and {also[0]}.",
            )
        return (*_of_folder(folder, REAL), *_of_folder(folder, FAKE))
    raise InputError(
        f"{folder}: neither {MANIFEST} nor the folders {REAL}/ and {FAKE}/ are there",
        remedy=f"Put real audio into {REAL}/ and generated audio into {FAKE}/GENERATOR/, or "
        f"write {MANIFEST} with the columns file and label (real or a generator's name).",
    )


def _of_folder(folder: Path, label: str) -> list[Item]:
    root = folder / label
    items = []
    for path in walk((root,)):
        inside = path.relative_to(root).parts
        group = inside[0] if len(inside) > 1 else ""
        items.append(
            Item(
                file=path.relative_to(folder).as_posix(),
                path=path,
                is_fake=label == FAKE,
                source=group if label == REAL else "",
                generator=group if label == FAKE else "",
                split="",
                declared={},
            )
        )
    return items


def _of_manifest(path: Path, also: Sequence[str]) -> tuple[Item, ...]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            columns = tuple(reader.fieldnames or ())
            _refuse_columns(path, columns, also)
            wanted = tuple(name for name in dict.fromkeys((*DECLARED, *also)) if name in columns)
            items: dict[str, Item] = {}
            for row in reader:
                item = _item(path, reader.line_num, row, wanted)
                if item.file in items:
                    raise _bad(path, reader.line_num, f"{item.file} is named twice")
                items[item.file] = item
                if len(items) > _MAX_ROWS:
                    raise _bad(path, reader.line_num, f"more than {_MAX_ROWS} files")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{path}: cannot be read as a table ({error})", remedy="Save it as UTF-8 CSV."
        ) from error
    return tuple(items.values())


def _refuse_columns(path: Path, columns: Sequence[str], also: Sequence[str]) -> None:
    for name in ("file", "label", *also):
        if name not in columns:
            raise InputError(
                f"{path}: no column {name!r} among {', '.join(columns) or 'none'}",
                remedy="Name the columns in the first line: file,label,source,generator,split.",
            )


def _item(path: Path, line: int, row: Mapping[str, str | None], wanted: Sequence[str]) -> Item:
    def cell(name: str) -> str:
        return (row.get(name) or "").strip()

    file, label = cell("file"), cell("label")
    if not file or not label:
        raise _bad(path, line, f"{'label' if file else 'file'} is empty")
    if "\0" in file:
        raise _bad(path, line, "the file's name holds a zero byte")
    inside = PurePosixPath(file)
    if inside.is_absolute() or ".." in inside.parts:
        raise _bad(path, line, f"{file} is outside of the data set's folder")
    is_fake = label.lower() != REAL
    named = label if label.lower() not in (REAL, FAKE) else ""
    return Item(
        file=file,
        path=path.parent / inside,
        is_fake=is_fake,
        source=cell("source"),
        generator=(cell("generator") or named) if is_fake else "",
        split=next((cell(name) for name in _SPLITS if cell(name)), ""),
        declared={name: cell(name) for name in wanted},
    )


def _bad(path: Path, line: int, fault: str) -> InputError:
    return InputError(f"{path}, line {line}: {fault}", remedy="Mend that line.")
