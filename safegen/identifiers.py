"""Is this a code that the music business gives out, or did someone mistype it?

Each function takes a code as people write it, with or without hyphens, points and
spaces, and gives it as the registry keeps it; empty stays empty. A wrong check digit is
refused, because a code with a slip of the pen names somebody else's work.

Sources: ISO 3901 (ISRC), ISO 15707 (ISWC), ISO 27729 and ISO 7064 MOD 11-2 (ISNI),
CISAC's Interested Party Information system (IPI), RFC 9562 (UUIDs of MusicBrainz).
"""

import re
from typing import Final

from registry.catalog import is_isrc
from safegen.errors import InputError

_ISWC: Final = re.compile(r"T(\d{9})(\d)")
_ISNI: Final = re.compile(r"\d{15}[\dX]")
_IPI: Final = re.compile(r"\d{9,11}")
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_IPI_DIGITS: Final = 11


def parse_isrc(text: str) -> str:
    """Write an ISRC as 12 characters in upper case; it has no check digit.

    Raises:
        InputError: If it is none.
    """
    isrc = _bare(text)
    if isrc and not is_isrc(isrc):
        raise InputError(f"{text[:80]!r} is no ISRC", remedy="Write it like GBAYE0601498.")
    return isrc


def parse_iswc(text: str) -> str:
    """Write an ISWC as T, nine digits and a check digit.

    Raises:
        InputError: If it is none, or its check digit is wrong.
    """
    iswc = _bare(text)
    if not iswc:
        return ""
    found = _ISWC.fullmatch(iswc)
    if found is None or not iswc.isascii():
        raise InputError(f"{text[:80]!r} is no ISWC", remedy="Write it like T-034.524.680-1.")
    total = 1 + sum(place * int(digit) for place, digit in enumerate(found[1], start=1))
    _refuse_check("ISWC", text, found[2], str(-total % 10))
    return iswc


def parse_isni(text: str) -> str:
    """Write an ISNI as 16 characters, the last a digit or X.

    Raises:
        InputError: If it is none, or its check character is wrong.
    """
    isni = _bare(text).removeprefix("ISNI")
    if not isni:
        return ""
    if not _ISNI.fullmatch(isni) or not isni.isascii():
        raise InputError(f"{text[:80]!r} is no ISNI", remedy="Write it like 0000 0001 2103 2683.")
    total = 0
    for digit in isni[:15]:
        total = 2 * (total + int(digit))
    _refuse_check("ISNI", text, isni[15], "0123456789X"[(12 - total) % 11])
    return isni


def parse_ipi(text: str) -> str:
    """Write an IPI name number as 11 digits; the older CAE numbers lack zeros in front.

    Raises:
        InputError: If it is none, or its check digits are wrong.
    """
    ipi = _bare(text)
    if not ipi:
        return ""
    if not _IPI.fullmatch(ipi) or not ipi.isascii():
        raise InputError(
            f"{text[:80]!r} is no IPI name number",
            remedy="Write its 9 to 11 digits, like 00052210040.",
        )
    ipi = ipi.zfill(_IPI_DIGITS)
    total = sum((10 - place) * int(digit) for place, digit in enumerate(ipi[:9])) % 101
    _refuse_check("IPI", text, ipi[9:], f"{(101 - total) % 100 if total else 0:02d}")
    return ipi


def parse_musicbrainz_id(text: str) -> str:
    """Write a MusicBrainz id as a UUID in lower case; an address that ends in one will do.

    Raises:
        InputError: If it is none.
    """
    given = text.strip().rstrip("/").rpartition("/")[2].lower()
    if given and not _UUID.fullmatch(given):
        raise InputError(
            f"{text[:80]!r} is no MusicBrainz id",
            remedy="Write it like 9d444787-3f25-4c16-9261-597b9ab021cc.",
        )
    return given


def _bare(text: str) -> str:
    return re.sub(r"[\s.\-]", "", text).upper()


def _refuse_check(kind: str, text: str, found: str, expected: str) -> None:
    if found != expected:
        raise InputError(
            f"{text[:80]!r}: the check digit of this {kind} is {found}, should be {expected}",
            remedy="Compare it with where it was copied from.",
        )
