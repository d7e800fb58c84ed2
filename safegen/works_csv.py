"""What does a table of recordings say, and which of its cells are wrong?

One recording a line, the first line names the columns. Every wrong cell is reported
with its line and column, so that a table is mended in one round; the lines without a
fault are used. docs/catalog.md lists the columns for those who write such tables.
"""

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TextIO, TypeVar

from registry.catalog import NewRight
from registry.licensing import NewLicense
from safegen.declarations import (
    Declaration,
    Terms,
    one_line,
    parse_license,
    parse_rights,
    with_each,
)
from safegen.errors import InputError
from safegen.identifiers import parse_isrc, parse_iswc, parse_musicbrainz_id

COLUMNS: Final = {
    "file": "path of the recording, relative to the table's folder; required",
    "title": "default: the title in the file's tags, else its name",
    "artist": "default: from the tags",
    "isrc": "of the recording, with or without hyphens; default: from the tags",
    "iswc": "of the composition: T-034.524.680-1",
    "musicbrainz_id": "of the recording: a UUID or its address",
    "rights_holder": 'a name, or shares: "Acme (60%); Bob Music (40%)"',
    "ipi": "IPI name number of each rights-holder, in their order, separated by ;",
    "isni": "ISNI of each rights-holder, in their order, separated by ;",
    "holder_territories": "where each of them holds the work, in their order, separated by ;",
    "license": "the license's name, such as CC0-1.0",
    "territories": 'of the license: codes separated by spaces, "*" the world, "* -US" less one',
    "uses": "of train, style_reference, sample, sync; empty allows nothing",
    "valid_from": "a day (midnight UTC) or a time with its zone; default: now",
    "valid_until": "the first moment at which it no longer holds; default: open-ended",
    "obligations": "of attribution, share_alike",
    "attribution": "the line to be shown, if attribution is owed",
}
"""Column -> what belongs there. ``file`` is required, the others have defaults."""

_EXAMPLE: Final = {
    "file": "music/blue-hour.flac",
    "title": "Blue Hour",
    "artist": "Ann Example",
    "isrc": "GBAYE0601498",
    "iswc": "T-034.524.680-1",
    "rights_holder": "Acme Records (60%); Bob Music (40%)",
    "ipi": "00052210040;",
    "isni": ";0000 0001 2103 2683",
    "license": "Acme blanket 2026",
    "territories": "* -US",
    "uses": "sample sync",
    "valid_from": "2026-01-01",
    "valid_until": "2027-01-01",
    "obligations": "attribution",
    "attribution": "Blue Hour by Ann Example, courtesy of Acme Records",
}
_REQUIRED: Final = ("file", "rights_holder", "license")
_MAX_LINE: Final = 1 << 20
_LICENSE_CELLS: Final = (
    ("territories",),
    ("uses",),
    ("valid_from",),
    ("valid_until",),
    ("valid_from", "valid_until"),
    ("obligations",),
    ("obligations", "attribution"),
)
"""Cells to be tried alone, then those that must fit each other; the last one gets the blame."""

_OF_EACH: Final = {"ipi": "ipi", "isni": "isni", "holder_territories": "territories"}

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class BadCell:
    """Something in a table that cannot be used; its whole line is left out.

    Attributes:
        source: The file and line at which the row begins: "works.csv:12".
        column: "" if the line as a whole is wrong.
    """

    source: str
    column: str
    problem: str

    def __str__(self) -> str:
        return f"{self.source}: {self.column + ': ' if self.column else ''}{self.problem}"


def template() -> str:
    """Write a table with all columns and one example line."""
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, list(COLUMNS), lineterminator="\n")
    writer.writeheader()
    writer.writerow(_EXAMPLE)
    return buffer.getvalue()


def read_csv(path: Path, *, defaults: Mapping[str, str]) -> Iterator[Declaration | BadCell]:
    """Read a table line by line, the good lines and every fault of the others, in order.

    Args:
        path: UTF-8, with or without a byte order mark; commas, semicolons or tabs; one
            header line.
        defaults: Column -> value for cells that are empty or columns that are absent.

    Raises:
        InputError: If the file cannot be read as a table or its header is wrong.
    """
    try:
        with path.open("rb") as start:
            is_utf_16 = start.read(2) in (b"\xff\xfe", b"\xfe\xff")
        file = path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror or error})", remedy="Check the path."
        ) from error
    with file:
        header = file.readline(_MAX_LINE)
        if is_utf_16 or not _is_text(header):
            raise InputError(
                f"{path}: cannot be read as UTF-8 text",
                remedy="Save the table as CSV in UTF-8.",
            )
        delimiter = max(",;\t", key=header.count)
        names = next(csv.reader([header], delimiter=delimiter), [])
        names = [name.strip().lower() for name in names]
        _refuse_header(path, names)
        yield from _rows(path, file, names, delimiter, defaults)


def _rows(
    path: Path, file: TextIO, names: list[str], delimiter: str, defaults: Mapping[str, str]
) -> Iterator[Declaration | BadCell]:
    reader = csv.reader(_lines(path, file), delimiter=delimiter, strict=True)
    while True:
        first = reader.line_num + 2  # the header is line 1, and this row is not read yet
        source = f"{path.name}:{first}"
        try:
            cells = next(reader, None)
        except csv.Error as error:
            last = reader.line_num + 1
            until = f", up to line {last}" if last > first else ""
            yield BadCell(source=source, column="", problem=f"{error}{until}")
            continue
        if cells is None:
            return
        if any(cell.strip() for cell in cells):
            yield from _row(path, source, names, cells, defaults)


def _lines(path: Path, file: TextIO) -> Iterator[str]:
    while line := file.readline(_MAX_LINE):
        if len(line) == _MAX_LINE:
            raise InputError(f"{path}: a line is longer than {_MAX_LINE} characters")
        yield line


def _row(
    path: Path, source: str, names: list[str], cells: list[str], defaults: Mapping[str, str]
) -> Iterator[Declaration | BadCell]:
    if len(cells) > len(names):
        problem = f"{len(cells)} cells, the header has {len(names)} columns"
        yield BadCell(source=source, column="", problem=problem)
        return
    given = {name: defaults.get(name, "") for name in COLUMNS}
    given |= {name: cell.strip() for name, cell in zip(names, cells, strict=False) if cell.strip()}
    faults = _Faults(source)
    for name, cell in given.items():
        if not _is_text(cell):
            faults.add(name, "is not UTF-8 text")
            given[name] = "?"
    declaration = _declaration(path, source, given, faults)
    if faults.found or declaration is None:
        yield from faults.found
    else:
        yield declaration


class _Faults:
    """Collects what is wrong with one line, cell by cell."""

    def __init__(self, source: str) -> None:
        self._source = source
        self.found: list[BadCell] = []

    def add(self, column: str, problem: str) -> None:
        """Note a fault; one for each column says enough."""
        if column not in {fault.column for fault in self.found}:
            self.found.append(BadCell(source=self._source, column=column, problem=problem))

    def tried(self, column: str, parse: Callable[[], T]) -> T | None:
        """Parse a cell, or note why that failed."""
        try:
            return parse()
        except InputError as error:
            self.add(column, error.problem)
            return None


def _declaration(
    path: Path, source: str, given: Mapping[str, str], faults: _Faults
) -> Declaration | None:
    for name in _REQUIRED:
        if not given[name]:
            faults.add(name, "is empty")
    recording = path.parent / given["file"]
    if given["file"] and not recording.is_file():
        faults.add("file", f"{recording}: no such file")
    isrc = faults.tried("isrc", lambda: parse_isrc(given["isrc"]))
    iswc = faults.tried("iswc", lambda: parse_iswc(given["iswc"]))
    musicbrainz_id = faults.tried(
        "musicbrainz_id", lambda: parse_musicbrainz_id(given["musicbrainz_id"])
    )
    rights = _rights(given, faults)
    license_ = _license(given, faults)
    if isrc is None or iswc is None or musicbrainz_id is None or not rights or license_ is None:
        return None
    return Declaration(
        path=recording,
        source=source,
        terms=Terms(rights=rights, license=license_),
        title=one_line(given["title"]),
        artist=one_line(given["artist"]),
        isrc=isrc,
        iswc=iswc,
        musicbrainz_id=musicbrainz_id,
    )


def _rights(given: Mapping[str, str], faults: _Faults) -> tuple[NewRight, ...]:
    rights = faults.tried("rights_holder", lambda: parse_rights(given["rights_holder"])) or ()
    if not rights:
        return ()
    for column, field in _OF_EACH.items():
        parse = partial(with_each, rights, field, given[column])
        rights = faults.tried(column, parse) or rights
    total = sum(right.share_percent for right in rights)
    if total > 100 and not given["holder_territories"]:
        faults.add("rights_holder", f"the shares add up to {total:g} percent, limit 100")
    return rights


def _license(given: Mapping[str, str], faults: _Faults) -> NewLicense | None:
    wrong: set[str] = set()
    for cells in _LICENSE_CELLS:
        some = {name: given[name] for name in cells}
        if wrong.isdisjoint(cells) and not faults.tried(cells[-1], partial(_parsed, "any", **some)):
            wrong.add(cells[-1])
    if wrong or not given["license"]:
        return None
    every = {name: given[name] for cells in _LICENSE_CELLS for name in cells}
    return faults.tried("license", partial(_parsed, given["license"], **every))


def _parsed(license_name: str, **cells: str) -> NewLicense:
    return parse_license(license_name=license_name, **cells)


def _refuse_header(path: Path, names: list[str]) -> None:
    known = ", ".join(COLUMNS)
    unknown = [name for name in names if name not in COLUMNS]
    if "file" not in names:
        raise InputError(
            f"{path}: the first line has no column `file`", remedy=f"Columns are: {known}."
        )
    if unknown:
        raise InputError(f"{path}: unknown column {unknown[0]!r}", remedy=f"Columns are: {known}.")
    if len(set(names)) != len(names):
        raise InputError(f"{path}: a column appears twice", remedy="Remove one.")


def _is_text(text: str) -> bool:
    """Whether all bytes were UTF-8; others were read as lone surrogates."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)
