"""What does a table of captions say, and which of its lines are wrong?

One caption a line, the first line names the columns; a file may stand on several lines
with a caption each. Every wrong line is reported with its number, so that a table is
mended in one round. Tables of other data sets are read as they come: MusicCaps names
files by ``ytid``, folders of Hugging Face's datasets by ``file_name``.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from safegen.errors import InputError
from safegen.generation.requests import check_text

FILE_COLUMNS: Final = ("file", "file_name", "filename", "path", "audio", "ytid")
CAPTION_COLUMNS: Final = ("caption", "text", "prompt", "description")
OTHER_COLUMNS: Final = ("license", "title", "rights_holder")
MAX_BYTES: Final = 256 * 2**20
SHOWN_FAULTS: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table.

    Attributes:
        line: Its number, 1 is the header.
        file: As written: a path, or a name without suffix.
        caption: What is heard.
        license: SPDX id, "" if the line names none.
        title: "" if none.
        rights_holder: "" if none.
    """

    line: int
    file: str
    caption: str
    license: str
    title: str
    rights_holder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Captions:
    """A whole table.

    Attributes:
        name: Of its file, for messages.
        rows: At least one.
        ignored: Columns of the table that mean nothing here.
    """

    name: str
    rows: tuple[Row, ...]
    ignored: tuple[str, ...]


def read_captions(path: Path) -> Captions:
    """Read a table of captions.

    Args:
        path: UTF-8, with or without a byte order mark; commas, semicolons or tabs; one
            of ``FILE_COLUMNS`` and one of ``CAPTION_COLUMNS``, any of ``OTHER_COLUMNS``.

    Raises:
        InputError: If it is no such table, or a line is wrong; the first
            ``SHOWN_FAULTS`` are told with their line numbers.
    """
    text = _text(path)
    header, _, _ = text.partition("\n")
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[Row] = []
    faults: list[str] = []
    names: list[str] = []
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            faults.append(f"line {line}: {error}")
            continue
        if cells is None:
            break
        if not names:
            names = [cell.strip().lower() for cell in cells]
            columns = _columns(path, names)
        elif any(cell.strip() for cell in cells):
            try:
                rows.append(_row(line, cells, columns, width=len(names)))
            except InputError as error:
                faults.append(f"line {line}: {error.problem}")
    refuse(path.name, faults)
    if not rows:
        raise InputError(f"{path}: no caption in the table", remedy="Write one a line.")
    ignored = tuple(name for i, name in enumerate(names) if i not in columns.values())
    return Captions(name=path.name, rows=tuple(rows), ignored=ignored)


def refuse(name: str, faults: list[str]) -> None:
    """Refuse a table with faults, if there are any.

    Raises:
        InputError: With the first ``SHOWN_FAULTS`` of them.
    """
    if faults:
        more = len(faults) - SHOWN_FAULTS
        shown = faults[:SHOWN_FAULTS] + ([f"and {more} more"] if more > 0 else [])
        raise InputError(
            f"{name}: {len(faults)} wrong lines\n  " + "\n  ".join(shown),
            remedy="Mend them, or leave them out of the table.",
        )


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(
                f"{path}: {path.stat().st_size} bytes, at most {MAX_BYTES}",
                remedy="Split the table.",
            )
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror or error})", remedy="Check the path."
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: cannot be read as UTF-8 text (byte {error.start})",
            remedy="Save the table as CSV in UTF-8.",
        ) from error
    if not text.strip():
        raise InputError(f"{path}: the table is empty", remedy="Its first line names the columns.")
    return text


def _columns(path: Path, names: list[str]) -> dict[str, int]:
    """Find the columns that mean something; name -> place."""
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise InputError(
            f"{path}: the column {twice[0]} stands twice in the header", remedy="Rename one."
        )
    columns: dict[str, int] = {}
    columns |= {name: names.index(name) for name in OTHER_COLUMNS if name in names}
    for meaning, wanted in (("file", FILE_COLUMNS), ("caption", CAPTION_COLUMNS)):
        found = [name for name in wanted if name in names]
        if not found:
            raise InputError(
                f"{path}: no column {meaning} in the header {', '.join(names)}",
                remedy=f"Name one column {' or '.join(wanted)}.",
            )
        columns[meaning] = names.index(found[0])
    return columns


def _row(line: int, cells: list[str], columns: dict[str, int], *, width: int) -> Row:
    if len(cells) > width:
        raise InputError(
            f"{len(cells)} cells, the header has {width} columns",
            remedy="Put quotes around text with commas.",
        )
    given = {
        name: cells[place].strip() if place < len(cells) else "" for name, place in columns.items()
    }
    for name, cell in given.items():
        check_text(name, cell)
        if name in ("file", "caption") and not cell:
            raise InputError(f"the {name} is empty", remedy="Fill it in.")
    return Row(
        line=line,
        file=given["file"],
        caption=given["caption"],
        license=given.get("license", ""),
        title=given.get("title", ""),
        rights_holder=given.get("rights_holder", ""),
    )
