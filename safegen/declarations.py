"""What did the caller say about these recordings: title, holder, license?

Either the same rights for every file of a folder, with titles from the files' tags,
or a CSV file with one recording a line. A declaration says what a file is; adding it
to the catalog is ``safegen.catalog``.
"""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from registry.catalog import NewRight, is_isrc
from registry.errors import InvalidError
from registry.licensing import WORLD, NewLicense
from safegen.errors import InputError

CSV_COLUMNS: Final = {
    "file": "path of the recording, relative to the CSV file's folder",
    "title": "default: the title in the file's tags, else its name",
    "artist": "default: from the tags",
    "isrc": "with or without hyphens; default: from the tags",
    "iswc": "of the composition",
    "rights_holder": 'a name, or shares: "Acme (60%); Bob Music (40%)"',
    "license": "the license's name, such as CC0-1.0",
    "territories": 'country codes separated by spaces, "*" for the world, "* -US" without one',
    "uses": "of train, style_reference, sample, sync; empty allows nothing",
    "valid_from": "a day (midnight UTC) or a time with its zone; default: now",
    "valid_until": "the first moment at which it no longer holds; default: open-ended",
}
"""Column -> what belongs there. ``file`` is required, the others have defaults."""

_SHARE: Final = re.compile(r"^(?P<name>.+?)\s*\(\s*(?P<share>\d+(\.\d+)?)\s*%\s*\)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Who holds a recording, and what is allowed with it."""

    rights: tuple[NewRight, ...]
    license: NewLicense


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """One recording and what was said about it; empty means "see the file's tags".

    Attributes:
        source: Where it was said, for messages: the file, or "works.csv:12".
    """

    path: Path
    source: str
    terms: Terms
    title: str = ""
    artist: str = ""
    isrc: str = ""
    iswc: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BadLine:
    """A line of a CSV file that cannot be used."""

    source: str
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tags:
    """What a file says about itself; empty where it says nothing."""

    title: str = ""
    artist: str = ""
    isrc: str = ""


def parse_terms(
    *,
    rights_holder: str,
    license_name: str,
    territories: str,
    uses: str,
    valid_from: str,
    valid_until: str,
) -> Terms:
    """Read rights and license as they are written in options and CSV cells.

    Raises:
        InputError: Naming the value and what is wrong with it.
    """
    license_ = parse_license(
        license_name=license_name,
        territories=territories,
        uses=uses,
        valid_from=valid_from,
        valid_until=valid_until,
    )
    return Terms(rights=_rights(rights_holder), license=license_)


def parse_license(
    *, license_name: str, territories: str, uses: str, valid_from: str, valid_until: str
) -> NewLicense:
    """Read a license as it is written in options and CSV cells.

    Raises:
        InputError: Naming the value and what is wrong with it.
    """
    try:
        return NewLicense(
            name=_line(license_name),
            territories=tuple(_words(territories.upper())) or (WORLD,),
            uses=tuple(_words(uses.lower())),
            valid_from=_moment(valid_from),
            valid_until=_moment(valid_until),
        )
    except InvalidError as error:
        raise InputError(str(error)) from error


def parse_isrc(text: str) -> str:
    """Write an ISRC as the registry keeps it: upper case, no hyphens; empty stays empty.

    Raises:
        InputError: If it is none.
    """
    isrc = _plain_isrc(text)
    if isrc and not is_isrc(isrc):
        raise InputError(f"{text!r} is no ISRC", remedy="Write it like GBAYE0601498.")
    return isrc


def read_csv(path: Path, *, defaults: dict[str, str]) -> Iterator[Declaration | BadLine]:
    """Read a CSV file line by line, good and bad ones in their order.

    Args:
        path: UTF-8, with or without a byte order mark, commas or semicolons, one header line.
        defaults: Column -> value for cells that are empty or columns that are absent.

    Raises:
        InputError: If the file cannot be read as CSV or its header is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text ({error})") from error
    header = text.partition("\n")[0]
    delimiter = ";" if header.count(";") > header.count(",") else ","
    reader = csv.DictReader(text.splitlines(keepends=True), delimiter=delimiter, strict=True)
    _refuse_header(path, [name.strip().lower() for name in reader.fieldnames or []])
    reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or []]
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield BadLine(source=f"{path.name}:{reader.line_num}", problem=str(error))
            continue
        if cells is None:
            return
        source = f"{path.name}:{reader.line_num}"
        try:
            yield _declare(path, source, cells, defaults)
        except InputError as error:
            yield BadLine(source=source, problem=error.problem)


def read_tags(path: Path) -> Tags:
    """Read title, artist and ISRC from a file; a file without readable tags has none."""
    from tinytag import TinyTag, TinyTagException

    try:
        tag = TinyTag.get(path, duration=False)
    except (TinyTagException, OSError, ValueError):
        return Tags()
    isrcs = [_plain_isrc(str(text)) for text in tag.other.get("isrc", [])]
    return Tags(
        title=_line(tag.title),
        artist=_line(tag.artist),
        isrc=next((text for text in isrcs if is_isrc(text)), ""),
    )


def _refuse_header(path: Path, names: list[str]) -> None:
    known = ", ".join(CSV_COLUMNS)
    unknown = [name for name in names if name not in CSV_COLUMNS]
    if "file" not in names:
        raise InputError(
            f"{path}: the first line has no column `file`", remedy=f"Columns are: {known}."
        )
    if unknown:
        raise InputError(f"{path}: unknown column {unknown[0]!r}", remedy=f"Columns are: {known}.")
    if len(set(names)) != len(names):
        raise InputError(f"{path}: a column appears twice", remedy="Remove one.")


def _declare(
    path: Path, source: str, cells: dict[str, str | None], defaults: dict[str, str]
) -> Declaration:
    if None in cells:
        raise InputError("more cells than the header has columns")
    given = {
        name: (cells.get(name) or "").strip() or defaults.get(name, "") for name in CSV_COLUMNS
    }
    for required in ("file", "rights_holder", "license"):
        if not given[required]:
            raise InputError(f"column `{required}` is empty")
    recording = path.parent / given["file"]
    if not recording.is_file():
        raise InputError(f"{recording}: no such file")
    terms = parse_terms(
        rights_holder=given["rights_holder"],
        license_name=given["license"],
        territories=given["territories"],
        uses=given["uses"],
        valid_from=given["valid_from"],
        valid_until=given["valid_until"],
    )
    return Declaration(
        path=recording,
        source=source,
        terms=terms,
        title=given["title"],
        artist=given["artist"],
        isrc=parse_isrc(given["isrc"]),
        iswc=given["iswc"],
    )


def _rights(text: str) -> tuple[NewRight, ...]:
    """Read one name, or several with their shares; a name may contain a semicolon or percent."""
    shares = [_SHARE.match(part.strip()) for part in text.split(";")]
    if all(shares):
        rights = tuple(
            NewRight(rights_holder=share["name"], share_percent=float(share["share"]))
            for share in shares
            if share is not None
        )
    else:
        rights = (NewRight(rights_holder=_line(text)),)
    if not rights[0].rights_holder:
        raise InputError("the rights-holder's name is empty", remedy="Say who holds the works.")
    return rights


def _moment(text: str) -> datetime | None:
    """Read a day or a time with its zone; a time without zone would be a guess."""
    if not text.strip():
        return None
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise InputError(
            f"{text!r} is neither a day nor a time",
            remedy="Write 2026-12-31, or 2026-12-31T12:00Z.",
        ) from error
    is_day = len(text.strip()) <= len("2026-12-31")
    if moment.tzinfo is None and not is_day:
        raise InputError(f"{text!r} has no time zone", remedy="Write 2026-12-31T12:00Z.")
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _plain_isrc(text: str) -> str:
    return re.sub(r"[\s-]", "", text).upper()


def _words(text: str) -> list[str]:
    return re.split(r"[\s,;]+", text.strip()) if text.strip() else []


def _line(text: str | None) -> str:
    """One line without control characters, as tags may hold anything."""
    kept = "".join(letter if letter.isprintable() else " " for letter in text or "")
    return " ".join(kept.split())[:1000]
