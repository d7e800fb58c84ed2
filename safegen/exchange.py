"""How do fingerprints travel from a rights-holder who keeps the audio?

In one `.sfp` file: a head, one entry for each work, a tail, each with a SHA-256 and
none compressed, so that nothing in it is larger than it looks. Whoever reads one
trusts nothing: every length is checked against the file's size and a limit before a
byte is read, and one entry is held in memory at a time. Whoever writes one appends to
`FILE.sfp.part`, which is continued after an interruption and renamed when it is complete.

What this module does not do: hear (``safegen.listening``), know what an engine's bytes
mean, or add works to the catalog (``safegen.handover``). docs/sfp.md describes the
format for those who write it with other tools.
"""

import fcntl
import hashlib
import json
import math
import os
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

from registry.catalog import NewFingerprint, is_isrc
from safegen.audio import MAX_SECONDS
from safegen.errors import InputError

SUFFIX: Final = ".sfp"
MAGIC: Final = b"\x89SFP\r\n\x1a\n"
"""Changed by every transfer that mends line ends or drops a bit, as in PNG."""
VERSION: Final = 1
MAX_HEAD: Final = 4_096
MAX_JSON: Final = 16_384
MAX_BLOBS: Final = 16 << 20
"""Bytes of all fingerprints of one work; the longest recording allowed needs 3 MB."""
MAX_ENGINES: Final = 8
MAX_ENTRIES: Final = 250_000
"""Works in one file; their hashes are held in memory to notice one that comes twice."""
MAX_TEXT: Final = 1_000

_HEAD: Final = struct.Struct("<8sHHI")
_FRAME: Final = struct.Struct("<4sII")
_ENTRY: Final = b"WORK"
_TAIL: Final = b"END\n"
_DIGEST: Final = 32
_BLOCK: Final = 1 << 20
_ENGINE: Final = re.compile(r"[a-z][a-z0-9-]{0,39}")
_HEX: Final = re.compile(r"[0-9a-f]{64}")
_HEAD_FIELDS: Final = frozenset({"engines", "made_by", "created_at"})
_FIELDS: Final = frozenset(
    {"title", "artist", "isrc", "iswc", "musicbrainz_id", "seconds", "sha256", "file"}
    | {"fingerprints"}
)
_REMEDY: Final = "Ask the sender to write it again with `safegen catalog fingerprint`."


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What a file says about itself.

    Attributes:
        engines: Names of the engines that listened.
        made_by: Program and version, for people.
        created_at: Aware.
    """

    engines: tuple[str, ...]
    made_by: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One work as its rights-holder describes it; no text holds a control character.

    Attributes:
        title: Not empty.
        seconds: In (0, 3600].
        content_sha256: Of the audio file, which stays with its owner; lower-case hex.
        source_name: The audio file's name without its folder.
        fingerprints: At least one, of different engines.
        isrc: Empty or 12 characters without hyphens.
        iswc: Empty or as its owner writes it; checked by whoever imports it.
        musicbrainz_id: Empty or as its owner writes it; checked by whoever imports it.
    """

    title: str
    seconds: float
    content_sha256: str
    source_name: str
    fingerprints: tuple[NewFingerprint, ...]
    artist: str = ""
    isrc: str = ""
    iswc: str = ""
    musicbrainz_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """One thing found in a file: an entry, or what is wrong at this place.

    Attributes:
        number: Of the entry, from 1; 0 for the file as a whole.
        offset: Byte at which it begins.
        end: Byte after it, for progress.
        entry: None if there is a problem.
        problem: "" if there is none.
    """

    number: int
    offset: int
    end: int
    entry: Entry | None = None
    problem: str = ""

    @property
    def source(self) -> str:
        """Name the place, for messages."""
        return f"entry {self.number} at byte {self.offset}" if self.number else "file"


def read_head(path: Path) -> Head:
    """Read what a file says about itself, without its entries.

    Raises:
        InputError: If it is no file of this format and version, or its head is damaged.
    """
    with _opened(path) as file:
        return _read_head(path, file, _size(file))[0]


def read(path: Path) -> Iterator[Read]:
    """Read a file entry by entry: the good ones, and what is wrong with the others.

    An entry that is damaged inside is reported and the next one read; where the
    damage hides how long it is, the rest of the file cannot be read and that is the
    last thing reported. A file that was cut, lengthened or put together from others is
    reported at its end.

    Raises:
        InputError: If the head cannot be used; nothing was read then.

    Cost: memory for one entry, at most ``MAX_BLOBS``, and 32 bytes for each read before.
    """
    with _opened(path) as file:
        size = _size(file)
        _, whole = _read_head(path, file, size)
        seen: set[bytes] = set()
        count = 0
        while True:
            offset = file.tell()
            frame = file.read(_FRAME.size)
            if len(frame) < _FRAME.size:
                yield Read(number=0, offset=offset, end=size, problem=_cut(offset, count))
                return
            tag, first, second = _FRAME.unpack(frame)
            if tag == _TAIL:
                problem = _tail_problem(file, whole, frame, first, second, count, size)
                if problem:
                    yield Read(number=0, offset=offset, end=size, problem=problem)
                return
            number = count + 1
            problem = _frame_problem(tag, first, second, size - file.tell(), number)
            if problem:
                yield Read(number=number, offset=offset, end=size, problem=problem)
                return
            count = number
            header, blobs = file.read(first), file.read(second)
            stored = file.read(_DIGEST)
            own = hashlib.sha256(frame)
            for part in (header, blobs):
                own.update(part)
            for part in (frame, header, blobs, stored):
                whole.update(part)
            end = file.tell()
            if own.digest() != stored:
                problem = "its bytes do not have the SHA-256 that follows them"
                yield Read(number=number, offset=offset, end=end, problem=problem)
                continue
            try:
                entry = _entry(header, blobs)
                _refuse_repeat(entry, seen)
            except ValueError as error:
                yield Read(number=number, offset=offset, end=end, problem=str(error))
                continue
            yield Read(number=number, offset=offset, end=end, entry=entry)


def entries(path: Path) -> Iterator[Entry]:
    """Read a file in which nothing may be wrong.

    Raises:
        InputError: At the first fault, naming the entry and its offset. What was
            yielded before is good, but the file is not.
    """
    for found in read(path):
        if found.entry is None:
            raise InputError(f"{path}: {found.source}: {found.problem}", remedy=_REMEDY)
        yield found.entry


def sound_of(fingerprints: tuple[NewFingerprint, ...]) -> bytes:
    """Hash what the engines heard: equal for equal sounds, whatever files they came from."""
    return hashlib.sha256(b"".join(each.items for each in fingerprints)).digest()


# Writing


class Writer:
    """Writes a file, entry by entry, so that an interrupted run can be continued.

    Entries are appended to ``<path>.part``. Opening that again keeps its complete
    entries, cuts what follows them, and names them in ``done``.

    Args:
        path: Where the file appears when it is complete; must not exist.
        engines: Names of the engines that will be heard.
        made_by: Program and version, for people.
        now: Aware; kept from the first run where one is continued.

    Raises:
        InputError: If the part is of other engines, of another program's writing, or in
            use by another process.

    Attributes:
        done: SHA-256 of the audio of every entry that is written.
        sounds: SHA-256 of the fingerprints of each.
    """

    def __init__(
        self, path: Path, *, engines: tuple[str, ...], made_by: str, now: datetime
    ) -> None:
        self.path = path
        self.part = path.with_name(path.name + ".part")
        self.done: set[str] = set()
        self.sounds: set[bytes] = set()
        self._whole = hashlib.sha256()
        self._file = _open_part(self.part)
        try:
            if _size(self._file):
                self._continue(engines)
            else:
                head = Head(engines=engines, made_by=made_by, created_at=now)
                self._append(_head_bytes(head))
        except BaseException:
            self._file.close()
            raise

    def add(self, entry: Entry) -> None:
        """Append an entry; it is on its way to the disk when this returns.

        Raises:
            InputError: If the entry is not of the form that a reader accepts, or was
                added before.
        """
        if len(self.done) >= MAX_ENTRIES:
            raise InputError(
                f"{self.path}: {len(self.done) + 1} works are too many, limit {MAX_ENTRIES}",
                remedy="Write several files.",
            )
        try:
            if entry.content_sha256 in self.done:
                msg = "this audio was described by an entry before"
                raise ValueError(msg)
            data = _entry_bytes(entry)
        except ValueError as error:
            raise InputError(f"{entry.source_name}: {error}") from error
        self._append(data)
        self._remember(entry)

    def finish(self) -> None:
        """Write the tail and give the file its name; afterwards it is complete or not there."""
        frame = _FRAME.pack(_TAIL, len(self.done), 0)
        self._whole.update(frame)
        self._file.write(frame + self._whole.digest())
        self._file.flush()
        os.fsync(self._file.fileno())
        self.part.replace(self.path)
        self._file.close()
        _sync_folder(self.path.parent)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def _remember(self, entry: Entry) -> None:
        self.done.add(entry.content_sha256)
        self.sounds.add(sound_of(entry.fingerprints))

    def _append(self, data: bytes) -> None:
        self._whole.update(data)
        self._file.write(data)
        self._file.flush()

    def _continue(self, engines: tuple[str, ...]) -> None:
        """Keep what is complete, cut the rest, and hash what stays."""
        self._file.seek(0)
        try:
            head, self._whole = _read_head(self.part, self._file, _size(self._file))
        except InputError as error:
            raise InputError(
                f"{self.part}: cannot be continued ({error.problem})",
                remedy=f"Delete {self.part} to start over.",
            ) from error
        if head.engines != engines:
            raise InputError(
                f"{self.part}: was begun with the engines {', '.join(head.engines)}, "
                f"this version has {', '.join(engines)}",
                remedy=f"Delete {self.part} to start over.",
            )
        keep = self._file.tell()
        for found in read(self.part):
            if found.entry is None:
                break
            self._remember(found.entry)
            keep = found.end
        while self._file.tell() < keep:
            self._whole.update(self._file.read(min(_BLOCK, keep - self._file.tell())))
        self._file.truncate(keep)


def _open_part(part: Path) -> BinaryIO:
    """Open or create a part for this process alone."""
    try:
        handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise InputError(
            f"{part}: cannot be written ({error.strerror or error})",
            remedy="Choose another file with --out.",
        ) from error
    file = os.fdopen(handle, "r+b")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The other process may have finished, and renamed it, since it was opened.
        is_ours = os.path.samestat(os.fstat(handle), part.stat())
    except OSError:
        is_ours = False
    if not is_ours:
        file.close()
        raise InputError(f"{part}: another process is writing it", remedy="Wait until it is done.")
    return file


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _head_bytes(head: Head) -> bytes:
    text = _json(
        {
            "engines": list(head.engines),
            "made_by": head.made_by,
            "created_at": head.created_at.astimezone(UTC).isoformat(timespec="seconds"),
        }
    )
    data = _HEAD.pack(MAGIC, VERSION, 0, len(text)) + text
    return data + hashlib.sha256(data).digest()


def _entry_bytes(entry: Entry) -> bytes:
    blobs = b"".join(print_.items for print_ in entry.fingerprints)
    header = _json(
        {
            "title": entry.title,
            "artist": entry.artist,
            "isrc": entry.isrc,
            "iswc": entry.iswc,
            "musicbrainz_id": entry.musicbrainz_id,
            "seconds": entry.seconds,
            "sha256": entry.content_sha256,
            "file": entry.source_name,
            "fingerprints": [
                {"engine": print_.engine, "bytes": len(print_.items)}
                for print_ in entry.fingerprints
            ],
        }
    )
    if len(header) > MAX_JSON:
        msg = f"{len(header)} bytes of description are too many, limit {MAX_JSON}"
        raise ValueError(msg)
    if len(blobs) > MAX_BLOBS:
        msg = f"{len(blobs)} bytes of fingerprints are too many, limit {MAX_BLOBS}"
        raise ValueError(msg)
    _entry(header, blobs)
    data = _FRAME.pack(_ENTRY, len(header), len(blobs)) + header + blobs
    return data + hashlib.sha256(data).digest()


def _json(row: Mapping[str, Any]) -> bytes:
    return json.dumps(row, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


# Reading


def _refuse_repeat(entry: Entry, seen: set[bytes]) -> None:
    audio = bytes.fromhex(entry.content_sha256)
    if audio in seen:
        msg = f"the audio {entry.content_sha256} was described by an entry before"
        raise ValueError(msg)
    seen.add(audio)


def _opened(path: Path) -> BinaryIO:
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: not a regular file", remedy="Give the path of a .sfp file.")
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror or error})", remedy="Check the path."
        ) from error


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def _read_head(path: Path, file: BinaryIO, size: int) -> tuple[Head, Any]:
    """Read the head and start the hash over the whole file with its bytes."""
    start = file.read(_HEAD.size)
    if len(start) < _HEAD.size or start[: len(MAGIC)] != MAGIC:
        raise InputError(
            f"{path}: is no file of fingerprints, or one that a transfer as text has changed",
            remedy="Send it as a binary file.",
        )
    _, version, reserved, length = _HEAD.unpack(start)
    if version != VERSION or reserved:
        raise InputError(
            f"{path}: is of version {version}.{reserved}, this program reads {VERSION}.0",
            remedy="Install the newer safegen.",
        )
    if length > min(MAX_HEAD, size - _HEAD.size - _DIGEST):
        raise InputError(
            f"{path}: the head says {length} bytes, limit {MAX_HEAD}; the file has {size}",
            remedy=_REMEDY,
        )
    text = file.read(length)
    stored = file.read(_DIGEST)
    if hashlib.sha256(start + text).digest() != stored:
        raise InputError(f"{path}: the head does not have its SHA-256", remedy=_REMEDY)
    try:
        head = _head(text)
    except ValueError as error:
        raise InputError(f"{path}: the head: {error}", remedy=_REMEDY) from error
    return head, hashlib.sha256(start + text + stored)


def _frame_problem(tag: bytes, header: int, blobs: int, left: int, number: int) -> str:
    """Say why an entry cannot be stepped over, "" if it can."""
    if tag != _ENTRY:
        return f"neither an entry nor the end is here, but {tag!r}; the rest cannot be read"
    if number > MAX_ENTRIES:
        return f"{number} works are too many, limit {MAX_ENTRIES}; the rest was not read"
    if header > MAX_JSON:
        return f"{header} bytes of description, limit {MAX_JSON}; the rest cannot be read"
    if blobs > MAX_BLOBS:
        return f"{blobs} bytes of fingerprints, limit {MAX_BLOBS}; the rest cannot be read"
    needed = header + blobs + _DIGEST
    if needed > left:
        return f"{needed} bytes should follow, {left} do: the file was cut"
    return ""


def _tail_problem(
    file: BinaryIO, whole: Any, frame: bytes, count: int, reserved: int, found: int, size: int
) -> str:
    stored = file.read(_DIGEST)
    whole.update(frame)
    if len(stored) < _DIGEST:
        return f"the file was cut inside its end, after {found} entries"
    if count != found or reserved:
        return f"{found} entries were found, the end counts {count}"
    if whole.digest() != stored:
        return "the file does not have the SHA-256 at its end: entries were changed or exchanged"
    left = size - file.tell()
    return f"{left} bytes follow the end" if left else ""


def _cut(offset: int, count: int) -> str:
    return f"the file was cut at byte {offset}, after {count} entries: it has no end"


def _head(text: bytes) -> Head:
    row = _object(text, _HEAD_FIELDS)
    engines = row["engines"]
    if not isinstance(engines, list) or not 1 <= len(engines) <= MAX_ENGINES:
        msg = f"`engines` must be 1 to {MAX_ENGINES} names"
        raise ValueError(msg)
    made_by, created = _text(row, "made_by"), _text(row, "created_at")
    at = datetime.fromisoformat(created)
    if at.tzinfo is None:
        msg = f"`created_at` {created!r} has no time zone"
        raise ValueError(msg)
    return Head(
        engines=tuple(_engine(engine) for engine in engines), made_by=made_by, created_at=at
    )


def _entry(header: bytes, blobs: bytes) -> Entry:
    """Build an entry from bytes whose lengths and hash are right.

    Raises:
        ValueError: Naming the field.
    """
    row = _object(header, _FIELDS)
    title, digest, isrc = _text(row, "title"), _text(row, "sha256"), _text(row, "isrc")
    if not title:
        msg = "`title` is empty"
        raise ValueError(msg)
    if not _HEX.fullmatch(digest):
        msg = f"`sha256` {digest[:80]!r} is not 64 lower-case hex digits"
        raise ValueError(msg)
    if isrc and not is_isrc(isrc):
        msg = f"`isrc` {isrc[:80]!r} is no ISRC such as GBAYE0601498"
        raise ValueError(msg)
    seconds = row["seconds"]
    # A bool is an int to Python.
    if type(seconds) not in (int, float) or not (
        math.isfinite(seconds) and 0 < seconds <= MAX_SECONDS
    ):
        msg = f"`seconds` must be a number > 0 and at most {MAX_SECONDS:g}"
        raise ValueError(msg)
    return Entry(
        title=title,
        artist=_text(row, "artist"),
        isrc=isrc,
        iswc=_text(row, "iswc"),
        musicbrainz_id=_text(row, "musicbrainz_id"),
        seconds=float(seconds),
        content_sha256=digest,
        source_name=_text(row, "file"),
        fingerprints=_fingerprints(row["fingerprints"], blobs),
    )


def _fingerprints(listed: object, blobs: bytes) -> tuple[NewFingerprint, ...]:
    if not isinstance(listed, list) or not 1 <= len(listed) <= MAX_ENGINES:
        msg = f"`fingerprints` must list 1 to {MAX_ENGINES}"
        raise ValueError(msg)
    found: list[NewFingerprint] = []
    at = 0
    for each in listed:
        if not isinstance(each, dict) or each.keys() != {"engine", "bytes"}:
            msg = "each of `fingerprints` must have `engine` and `bytes`, nothing else"
            raise ValueError(msg)
        engine, length = _engine(each["engine"]), each["bytes"]
        if type(length) is not int or not 1 <= length <= len(blobs) - at:
            msg = f"the fingerprint of {engine} says a length that the entry does not have"
            raise ValueError(msg)
        if engine in {print_.engine for print_ in found}:
            msg = f"two fingerprints are of the engine {engine}"
            raise ValueError(msg)
        found.append(NewFingerprint(engine=engine, items=blobs[at : at + length]))
        at += length
    if at != len(blobs):
        msg = f"{len(blobs) - at} bytes belong to none of its fingerprints"
        raise ValueError(msg)
    return tuple(found)


def _object(text: bytes, fields: frozenset[str]) -> dict[str, Any]:
    """Parse an object that has exactly these fields, each once."""
    try:
        row = json.loads(
            text.decode("utf-8"), object_pairs_hook=_pairs, parse_constant=_no_constant
        )
    except RecursionError as error:
        msg = "its description is nested too deep"
        raise ValueError(msg) from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        msg = f"its description is no JSON in UTF-8 ({error})"
        raise ValueError(msg) from error
    if not isinstance(row, dict):
        msg = "its description is no object"
        raise ValueError(msg)
    if row.keys() != fields:
        wrong = ", ".join(sorted(f"{name[:40]!r}" for name in row.keys() ^ fields)[:5])
        msg = f"its description lacks or does not know {wrong}"
        raise ValueError(msg)
    return row


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        msg = "its description names a field twice"
        raise ValueError(msg)
    return row


def _no_constant(name: str) -> float:
    msg = f"{name} is no number in its description"
    raise ValueError(msg)


def _text(row: Mapping[str, Any], field: str) -> str:
    """Take one line of text; lone surrogates and control characters are no text."""
    value = row[field]
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        msg = f"`{field}` must be text of at most {MAX_TEXT} characters"
        raise ValueError(msg)
    if not value.isprintable() or value != value.strip():
        msg = f"`{field}` holds a character that is not printable, or space around it"
        raise ValueError(msg)
    return value


def _engine(name: object) -> str:
    if not isinstance(name, str) or not _ENGINE.fullmatch(name):
        msg = "an engine's name must be lower-case letters, digits and hyphens"
        raise ValueError(msg)
    return name
