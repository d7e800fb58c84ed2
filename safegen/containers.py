"""Is this file what its name says, and is all of it there?

Decoders are forgiving: they play an MP3 named ``.wav``, and a file that was cut in
half as a short one. A gate must not be. What a container promises is read here from
its first and last bytes and compared with the suffix and with the size on disk;
``safegen.audio`` compares what was decoded with what was declared.

Not detected: a cut MP3 without a Xing or Info frame, and cut ADTS or G.722, because
those formats promise nothing.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from safegen.errors import InputError

SUFFIXES: Final[Mapping[str, frozenset[str]]] = {
    "WAV": frozenset({".wav"}),
    "FLAC": frozenset({".flac"}),
    "Ogg": frozenset({".ogg", ".oga", ".opus"}),
    "MPEG-4": frozenset({".m4a", ".mp4"}),
    "AIFF": frozenset({".aif", ".aiff"}),
    "ADTS AAC": frozenset({".aac"}),
    "MP3": frozenset({".mp3"}),
    "Matroska": frozenset({".mka", ".mkv", ".webm"}),
}
"""Container -> the suffixes that promise it; other suffixes promise nothing."""

_PROMISING: Final = frozenset().union(*SUFFIXES.values())
_HEAD_BYTES: Final = 4096
_OGG_LONGEST_PAGE: Final = 27 + 255 + 255 * 255
_STREAMED: Final = 0xFFFFFFFF - 64
"""Sizes from here on mean "not known when the header was written"."""


def container(path: Path) -> str:
    """Name the container by its first bytes, a key of ``SUFFIXES``, or "" if unknown."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        tag = _id3_bytes(head)
        if tag:
            file.seek(tag)
            head = file.read(_HEAD_BYTES)
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return "WAV"
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "AIFF"
    if head[4:8] == b"ftyp":
        return "MPEG-4"
    known = {b"fLaC": "FLAC", b"OggS": "Ogg", b"\x1a\x45\xdf\xa3": "Matroska"}
    return known.get(head[:4], "") or _mpeg_audio(head)


def refuse_mislabelled(path: Path, found: str) -> None:
    """Compare the suffix with the container that was found.

    Raises:
        InputError: If both are known and contradict each other.
    """
    suffix = path.suffix.lower()
    if found and suffix in _PROMISING and suffix not in SUFFIXES[found]:
        right = " or ".join(sorted(SUFFIXES[found]))
        raise InputError(
            f"{path}: mislabelled, the name ends in {suffix} and the content is {found}",
            remedy=f"Rename the file so that it ends in {right}, or export it again.",
        )


def refuse_cut(path: Path, found: str) -> None:
    """Compare the size on disk with what the container's bytes promise.

    Raises:
        InputError: If bytes are missing.
    """
    if found == "WAV":
        _refuse_short_chunk(path, "little")
    elif found == "AIFF":
        _refuse_short_chunk(path, "big")
    elif found == "Ogg":
        _refuse_open_ogg(path)


def declares_length(path: Path, found: str) -> bool:
    """Say whether the header's number of samples is a promise and not an estimate."""
    if found != "MP3":
        return found in ("WAV", "FLAC", "AIFF", "MPEG-4")
    with path.open("rb") as file:
        file.seek(_id3_bytes(file.read(10)))
        head = file.read(_HEAD_BYTES)
    return any(mark in head for mark in (b"Xing", b"Info", b"VBRI"))


def _id3_bytes(head: bytes) -> int:
    """Length of an ID3v2 tag at the start of the file; 0 if there is none."""
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    return 10 + size


def _mpeg_audio(head: bytes) -> str:
    """Tell Layer III from ADTS by the bits after the sync word."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return ""
    if head[1] & 0xF6 == 0xF0:
        return "ADTS AAC"
    is_layer_3 = head[1] & 0x06 == 0x02 and head[1] & 0x18 != 0x08
    return "MP3" if is_layer_3 and head[2] & 0xF0 != 0xF0 and head[2] & 0x0C != 0x0C else ""


def _refuse_short_chunk(path: Path, order: str) -> None:
    with path.open("rb") as file:
        head = file.read(8)
    promised = int.from_bytes(head[4:8], "little" if order == "little" else "big") + 8
    actual = path.stat().st_size
    # A chunk of odd length is padded, and some writers forget that in the sum.
    if head[:4] != b"RF64" and actual + 1 < promised < _STREAMED:
        raise _cut(path, f"{actual} of {promised} bytes are there")


def _refuse_open_ogg(path: Path) -> None:
    """Find the last page: it must be whole and say that it is the last (RFC 3533, 6)."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - 2 * _OGG_LONGEST_PAGE))
        tail = file.read()
    start = tail.rfind(b"OggS")
    page = tail[start:] if start >= 0 else b""
    if len(page) < 27 or len(page) < 27 + page[26]:
        raise _cut(path, "the last Ogg page has no whole header")
    promised = 27 + page[26] + sum(page[27 : 27 + page[26]])
    if len(page) < promised:
        raise _cut(path, f"{len(page)} of {promised} bytes of the last Ogg page are there")
    if not page[5] & 0x04:
        raise _cut(path, "no Ogg page is marked as the last one")


def _cut(path: Path, detail: str) -> InputError:
    return InputError(
        f"{path}: truncated, {detail}", remedy="Copy, download or export the file again."
    )
