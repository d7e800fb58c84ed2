"""What did the caller say about these recordings: title, holder, license?

Either the same for every file of a folder, with titles from the files' tags, or a CSV
file with one recording a line (``safegen.works_csv``). A declaration says what a file
is; adding it to the catalog is ``safegen.catalog``.
"""

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from registry.catalog import NewRight, is_isrc
from registry.errors import InvalidError
from registry.licensing import WORLD, NewLicense, refuse_territories
from safegen.errors import InputError
from safegen.identifiers import parse_ipi, parse_isni

MAX_HOLDER: Final = 500

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
    musicbrainz_id: str = ""


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
    obligations: str = "",
    attribution: str = "",
    ipi: str = "",
    isni: str = "",
) -> Terms:
    """Read rights and license as they are written in options.

    Raises:
        InputError: Naming the value and what is wrong with it.
    """
    license_ = parse_license(
        license_name=license_name,
        territories=territories,
        uses=uses,
        valid_from=valid_from,
        valid_until=valid_until,
        obligations=obligations,
        attribution=attribution,
    )
    rights = parse_rights(rights_holder)
    for field, codes in (("ipi", ipi), ("isni", isni)):
        rights = with_each(rights, field, codes)
    return Terms(rights=rights, license=license_)


def parse_license(
    *,
    license_name: str,
    territories: str = "",
    uses: str = "",
    valid_from: str = "",
    valid_until: str = "",
    obligations: str = "",
    attribution: str = "",
) -> NewLicense:
    """Read a license as it is written in options and CSV cells.

    Raises:
        InputError: Naming the value and what is wrong with it.
    """
    try:
        return NewLicense(
            name=one_line(license_name),
            territories=tuple(_words(territories.upper())) or (WORLD,),
            uses=tuple(_words(uses.lower())),
            valid_from=_moment(valid_from),
            valid_until=_moment(valid_until),
            obligations=tuple(_words(obligations.lower())),
            attribution_text=attribution.strip(),
        )
    except InvalidError as error:
        raise InputError(str(error)) from error


def parse_rights(text: str) -> tuple[NewRight, ...]:
    """Read one name, or several with their shares: "Acme (60%); Bob (40%)".

    A name without a share may contain a semicolon or a percent sign.

    Raises:
        InputError: If there is no name, some shares are missing, or they exceed 100.
    """
    parts = [part.strip() for part in text.split(";")]
    shares = [_SHARE.match(part) for part in parts]
    if all(shares):
        rights = tuple(
            NewRight(rights_holder=one_line(share["name"]), share_percent=float(share["share"]))
            for share in shares
            if share is not None
        )
    elif any(shares):
        bare = parts[shares.index(None)]
        raise InputError(
            f"{bare[:80]!r} has no share, others have", remedy='Write "Acme (60%); Bob (40%)".'
        )
    else:
        rights = (NewRight(rights_holder=one_line(text)),)
    if not all(right.rights_holder for right in rights):
        raise InputError("the rights-holder's name is empty", remedy="Say who holds the works.")
    if any(len(right.rights_holder) > MAX_HOLDER for right in rights):
        raise InputError(f"the rights-holder's name is longer than {MAX_HOLDER} characters")
    if any(not 0 < right.share_percent <= 100 for right in rights):
        raise InputError("a share must be > 0 and at most 100 percent")
    return rights


def with_each(rights: tuple[NewRight, ...], field: str, text: str) -> tuple[NewRight, ...]:
    """Give each rights-holder its IPI, ISNI or territories, written in the same order.

    Args:
        rights: As read from the names.
        field: "ipi", "isni" or "territories".
        text: One value for each holder, separated by semicolons; some may be empty.

    Raises:
        InputError: If there are more or fewer values than holders, or one is wrong.
    """
    if not text.strip():
        return rights
    values = [value.strip() for value in text.split(";")]
    if len(values) != len(rights):
        raise InputError(
            f"{len(values)} values stand for {len(rights)} rights-holders",
            remedy="Separate them by semicolons, in the order of the names; some may be empty.",
        )
    return tuple(
        _with(right, field, value) if value else right
        for right, value in zip(rights, values, strict=True)
    )


def _with(right: NewRight, field: str, value: str) -> NewRight:
    if field == "ipi":
        return replace(right, ipi=parse_ipi(value))
    if field == "isni":
        return replace(right, isni=parse_isni(value))
    territories = tuple(_words(value.upper()))
    try:
        refuse_territories(territories)
    except InvalidError as error:
        raise InputError(str(error)) from error
    return replace(right, territories=territories)


def read_tags(path: Path) -> Tags:
    """Read title, artist and ISRC from a file; a file without readable tags has none."""
    from tinytag import TinyTag, TinyTagException

    try:
        tag = TinyTag.get(path, duration=False)
    except (TinyTagException, OSError, ValueError):
        return Tags()
    isrcs = [re.sub(r"[\s-]", "", str(text)).upper() for text in tag.other.get("isrc", [])]
    return Tags(
        title=one_line(tag.title),
        artist=one_line(tag.artist),
        isrc=next((text for text in isrcs if is_isrc(text)), ""),
    )


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


def _words(text: str) -> list[str]:
    return re.split(r"[\s,;]+", text.strip()) if text.strip() else []


def one_line(text: str | None) -> str:
    """Make one line without control characters, as tags may hold anything."""
    kept = "".join(letter if letter.isprintable() else " " for letter in text or "")
    return " ".join(kept.split())[:1000].rstrip()
