"""How are works licensed whose audio never leaves its owner?

The rights-holder fingerprints the recordings with ``write_file`` and sends the `.sfp`
file; whoever keeps the catalog takes it over. The file says what the works are and how
they sound. Who holds them and what is allowed is not its business: that is agreed
between the two and given at the import, so a file found somewhere licenses nothing.

A fingerprint that no sound of that length could have is refused: one item again and
again would make its key so common that the index leaves it out, for all works.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from sqlalchemy.orm import Session

from detectors import chromaprint, composition, landmarks
from detectors.errors import DetectorError
from registry import catalog
from registry.catalog import NewFingerprint, NewWork
from registry.errors import ConflictError, InvalidError
from registry.session import Database
from safegen.audio import sha256_file
from safegen.catalog import ENGINES, Added, Heard, Task, find_files, hear, name_of, size_of
from safegen.declarations import Terms, one_line
from safegen.errors import InputError
from safegen.exchange import MAX_ENTRIES, SUFFIX, Entry, Read, Writer, read, read_head, sound_of
from safegen.identifiers import parse_iswc, parse_musicbrainz_id

MAX_REPEATS: Final = 500
"""Of one item in a work; a minute of one unchanging sound. Music has at most some dozens."""
MAX_KEYS_PER_SECOND: Final = 100
"""Of landmarks; works have 75 at most."""

_BATCH: Final = 64
_BATCH_BYTES: Final = 16 << 20
_SLACK_ITEMS: Final = 8
_SLACK_CELLS: Final = 4
_LEAST_COVER: Final = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What became of one file.

    Attributes:
        created: False if the file's sound was written before, in this run or an earlier one.
        problem: Why it was not written, "" if it was.
        size_bytes: Of the audio file, for progress.
    """

    file: Path
    title: str
    isrc: str
    seconds: float
    content_sha256: str
    created: bool
    problem: str
    size_bytes: int


def write_file(
    paths: tuple[Path, ...],
    out: Path,
    *,
    jobs: int,
    made_by: str,
    now: datetime,
    overwrite: bool,
) -> Iterator[Written]:
    """Fingerprint recordings into one file, in their order.

    An interrupted run leaves ``<out>.part``; running it again continues there and hears
    only what is missing. A recording that cannot be heard is reported and left out.

    Args:
        paths: Files, and folders to walk.
        out: The file to write.
        jobs: Processes that decode and listen.
        made_by: Program and version, for people.
        now: Aware.
        overwrite: Replace ``out`` if it is there.

    Raises:
        InputError: Before anything is read if a path is wrong; at the end if no
            recording could be heard, and then no file is written.
    """
    files = find_files(paths)
    if out.suffix.lower() != SUFFIX:
        raise InputError(f"{out}: the name must end in {SUFFIX}", remedy=f"Give --out X{SUFFIX}.")
    if not out.parent.is_dir():
        raise InputError(f"{out.parent}: no such folder", remedy="Make it first.")
    if out.exists() and not (overwrite and out.is_file()):
        raise InputError(f"{out}: is there already", remedy="Give --overwrite to replace it.")
    if len(files) > MAX_ENTRIES:
        raise InputError(
            f"{len(files)} recordings are too many for one file, limit {MAX_ENTRIES}",
            remedy="Write one file for each folder.",
        )
    return _written(files, out, jobs=jobs, made_by=made_by, now=now)


def _written(
    files: tuple[Path, ...], out: Path, *, jobs: int, made_by: str, now: datetime
) -> Iterator[Written]:
    with Writer(out, engines=ENGINES, made_by=made_by, now=now) as writer:
        for task, heard in hear(_unwritten(files, writer), jobs=jobs):
            yield _write(writer, task.about, heard)
        if not writer.done:
            writer.part.unlink()
            raise InputError(f"{out}: none of {len(files)} files could be heard")
        writer.finish()


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    path: Path
    digest: str
    problem: str


def _unwritten(files: Iterable[Path], writer: Writer) -> Iterator[Task[_File]]:
    """Hash each file, and hear it only if no entry has its bytes."""
    for path in files:
        digest = problem = ""
        try:
            digest = sha256_file(path)
        except OSError as error:
            problem = f"{path}: cannot be read ({error.strerror or error})"
        is_needed = not problem and digest not in writer.done
        about = _File(path=path, digest=digest, problem=problem)
        yield Task(about=about, path=path if is_needed else None)


def _write(writer: Writer, file: _File, heard: Heard | None) -> Written:
    heard = heard or Heard()
    problem = file.problem or heard.problem
    # The same bytes may have been handed out twice before the first was written.
    is_new = file.digest not in writer.done and sound_of(heard.fingerprints) not in writer.sounds
    title = heard.tags.title or name_of(file.path)
    if not problem and is_new:
        writer.add(
            Entry(
                title=title,
                artist=heard.tags.artist,
                isrc=heard.tags.isrc,
                seconds=heard.seconds,
                content_sha256=file.digest,
                source_name=one_line(file.path.name),
                fingerprints=heard.fingerprints,
            )
        )
    return Written(
        file=file.path,
        title=title,
        isrc=heard.tags.isrc,
        seconds=heard.seconds,
        content_sha256=file.digest,
        created=is_new and not problem,
        problem=problem,
        size_bytes=size_of(file.path),
    )


# The other side


@dataclass(frozen=True, slots=True, kw_only=True)
class _Offer:
    """An entry as a work to be added, or what is wrong with it."""

    found: Read
    work: NewWork | None
    problem: str

    @property
    def size_bytes(self) -> int:
        return self.found.end - self.found.offset


def take_over(
    database: Database,
    path: Path,
    terms: Terms,
    *,
    now: Callable[[], datetime],
    revive: bool = False,
) -> Iterator[Added]:
    """Add the works of a file; a bad entry is reported and does not stop the rest.

    Works are stored some at a time. One that is there already is left as it is, so an
    interrupted import is finished by running it again.

    Args:
        database: An up-to-date registry.
        path: The `.sfp` file.
        terms: Who holds the works and what is allowed with them.
        now: Clock, aware.
        revive: Bring removed works back.

    Yields:
        One ``Added`` for each entry, and one for each fault of the file, in order.

    Raises:
        InputError: If the file's head cannot be used.
    """
    for batch in _batches(_offers(path, terms)):
        at = now()
        with database.begin() as session:
            added = [_take(session, path, offer, terms, at=at, revive=revive) for offer in batch]
        yield from added


def take_over_whole(
    database: Database,
    path: Path,
    terms: Terms,
    *,
    now: Callable[[], datetime],
    revive: bool = False,
) -> Iterator[Added]:
    """Add all works of a file, or none; arguments as in ``take_over``.

    The file is first read to its end without the database. What is yielded is stored
    when the iterator ends, not before.

    Raises:
        InputError: If anything is wrong. Nothing was stored; the faults were yielded.
    """
    faults = [
        _failed(path, offer, terms, offer.problem)
        for offer in _offers(path, terms)
        if offer.work is None
    ]
    yield from faults
    if not faults:
        at = now()
        with database.begin() as session:
            for offer in _offers(path, terms):
                added = _take(session, path, offer, terms, at=at, revive=revive)
                yield added
                if added.problem:
                    faults.append(added)
            if faults:  # leaving by an error is what undoes the transaction
                raise _nothing_added(path, len(faults))
        return
    raise _nothing_added(path, len(faults))


def _nothing_added(path: Path, faults: int) -> InputError:
    return InputError(
        f"{path}: {faults} entries or parts are bad, nothing was added",
        remedy="Ask for a good file, or leave --strict out to add the other works.",
    )


def _offers(path: Path, terms: Terms) -> Iterator[_Offer]:
    """Read a file as works; memory for one entry and a hash for each before."""
    read_head(path)  # a wrong head is an error, not a row
    sounds: set[bytes] = set()
    for found in read(path):
        if found.entry is None:
            yield _Offer(found=found, work=None, problem=found.problem)
            continue
        try:
            work = _work(found.entry, terms, sounds)
        except InputError as error:
            yield _Offer(found=found, work=None, problem=error.problem)
            continue
        yield _Offer(found=found, work=work, problem="")


def _work(entry: Entry, terms: Terms, sounds: set[bytes]) -> NewWork:
    known = tuple(print_ for print_ in entry.fingerprints if print_.engine in ENGINES)
    if not known:
        names = ", ".join(print_.engine for print_ in entry.fingerprints)
        raise InputError(f"only of engines that this version does not know: {names}")
    for print_ in known:
        refuse_fingerprint(print_, seconds=entry.seconds)
    sound = sound_of(known)
    if sound in sounds:
        raise InputError("an entry before has exactly these fingerprints")
    sounds.add(sound)
    return NewWork(
        title=entry.title,
        artist=entry.artist,
        isrc=entry.isrc,
        iswc=parse_iswc(entry.iswc),
        musicbrainz_id=parse_musicbrainz_id(entry.musicbrainz_id),
        rights=terms.rights,
        licenses=(terms.license,),
        fingerprints=known,
        seconds=entry.seconds,
        content_sha256=entry.content_sha256,
        source_name=entry.source_name,
        source="fingerprint",
    )


def refuse_fingerprint(print_: NewFingerprint, *, seconds: float) -> None:
    """Refuse what no recording of this length sounds like.

    Raises:
        InputError: If the bytes are no items, cover less or more than the recording, or
            repeat one item as no sound does.
    """
    if print_.engine == chromaprint.ENGINE:
        _refuse_chromaprint(print_.items, seconds)
    elif print_.engine == landmarks.ENGINE:
        _refuse_landmarks(print_.items, seconds)
    elif print_.engine == composition.ENGINE:
        _refuse_chroma(print_.items, seconds)


def _refuse_chromaprint(blob: bytes, seconds: float) -> None:
    if len(blob) % 4:
        raise InputError(f"chromaprint: {len(blob)} bytes are no row of 32-bit items")
    items = np.frombuffer(blob, dtype="<u4")
    expected = (seconds - chromaprint.SPAN_SECONDS) / chromaprint.ITEM_SECONDS + 1
    if not _LEAST_COVER * expected - _SLACK_ITEMS <= len(items) <= expected + _SLACK_ITEMS:
        raise InputError(
            f"chromaprint: {len(items)} items do not cover {seconds:g} s, which have "
            f"{max(0, int(expected))}",
            remedy="Fingerprint whole recordings, not their first two minutes.",
        )
    _refuse_repeats("chromaprint", items[items != chromaprint.SILENCE])


def _refuse_landmarks(blob: bytes, seconds: float) -> None:
    try:
        keyed = landmarks.from_blob(blob)
    except DetectorError as error:
        raise InputError(str(error)) from error
    last = float(keyed.positions[-1]) * landmarks.FRAME_SECONDS if len(keyed.positions) else 0.0
    if last > seconds:
        raise InputError(f"landmarks: one is at {last:.1f} s of {seconds:g} s")
    most = math.ceil((seconds + 1) * MAX_KEYS_PER_SECOND)
    if len(keyed.keys) > most:
        raise InputError(f"landmarks: {len(keyed.keys)} keys in {seconds:g} s, limit {most}")
    _refuse_repeats("landmarks", keyed.keys)


def _refuse_chroma(blob: bytes, seconds: float) -> None:
    try:
        cells = len(composition.from_blob(blob))
    except ValueError as error:
        raise InputError(str(error)) from error
    expected = seconds / composition.CELL_SECONDS
    if not _LEAST_COVER * expected - _SLACK_CELLS <= cells <= expected + _SLACK_CELLS:
        raise InputError(
            f"chroma: {cells} cells do not cover {seconds:g} s, which have {expected:.0f}"
        )


def _refuse_repeats(engine: str, keys: npt.NDArray[np.uint32]) -> None:
    if not len(keys):
        raise InputError(f"{engine}: nothing but silence")
    most = int(np.unique(keys, return_counts=True)[1].max())
    if most > MAX_REPEATS:
        raise InputError(f"{engine}: one item comes {most} times, limit {MAX_REPEATS}")


def _batches(offers: Iterable[_Offer]) -> Iterator[list[_Offer]]:
    batch: list[_Offer] = []
    size = 0
    for offer in offers:
        batch.append(offer)
        size += offer.size_bytes
        if len(batch) >= _BATCH or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _take(
    session: Session, path: Path, offer: _Offer, terms: Terms, *, at: datetime, revive: bool
) -> Added:
    if offer.work is None:
        return _failed(path, offer, terms, offer.problem)
    try:
        with session.begin_nested():  # a refused work leaves nothing behind
            result = catalog.add_work(session, offer.work, at=at, revive=revive)
            row = catalog.get_work(session, result.work_id)
    except (ConflictError, InvalidError) as error:
        return _failed(path, offer, terms, str(error))
    return Added(
        file=Path(row.source_name),
        source=_source(path, offer),
        work_id=row.work_id,
        title=row.title,
        isrc=row.isrc,
        rights_holder=row.rights_holder,
        seconds=row.seconds,
        created=result.created,
        license_differs=result.license_differs,
        problem="",
        size_bytes=offer.size_bytes,
    )


def _failed(path: Path, offer: _Offer, terms: Terms, problem: str) -> Added:
    entry = offer.found.entry
    return Added(
        file=Path(entry.source_name) if entry else path,
        source=_source(path, offer),
        work_id="",
        title=entry.title if entry else "",
        isrc=entry.isrc if entry else "",
        rights_holder=", ".join(right.rights_holder for right in terms.rights),
        seconds=entry.seconds if entry else 0.0,
        created=False,
        license_differs=False,
        problem=problem,
        size_bytes=offer.size_bytes,
    )


def _source(path: Path, offer: _Offer) -> str:
    return f"{path.name}: {offer.found.source}"
