"""Add declared recordings to the catalog: hash, listen, store, one at a time.

Each recording is a transaction of its own, and one whose bytes are known is not
decoded again, so an interrupted import is finished by running it again.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from datetime import datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Final, Generic, TypeVar

from sqlalchemy.orm import Session

from registry import catalog
from registry.catalog import NewFingerprint, NewWork
from registry.errors import ConflictError, InvalidError
from registry.session import Database
from safegen.audio import sha256_file, walk
from safegen.declarations import Declaration, Tags, Terms, one_line, read_tags
from safegen.errors import InputError, SafegenError

ENGINES: Final = ("chromaprint", "landmarks", "chroma")
"""What ``_listen`` gives for a file, in this order; of a sound without peaks all but the second."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """What became of one declaration.

    Attributes:
        created: False if the recording was in the catalog before.
        license_differs: It was there before, under other terms than declared now.
        work_id: Empty if it was not added, or not yet.
        problem: Why it was not added, else "".
        size_bytes: Of the file, for progress.
    """

    file: Path
    source: str
    work_id: str
    title: str
    isrc: str
    rights_holder: str
    seconds: float
    created: bool
    license_differs: bool
    problem: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What a worker process learned about one file.

    Attributes:
        fingerprints: One of each engine that heard it; empty if there is a problem.
        problem: Why nothing was heard, "" if something was.
    """

    tags: Tags = field(default_factory=Tags)
    seconds: float = 0.0
    fingerprints: tuple[NewFingerprint, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task(Generic[T]):
    """Something to be done with one file.

    Attributes:
        about: Whatever the caller wants back with the answer.
        path: The file to hear; None if that is not needed.
    """

    about: T
    path: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A declaration on its way: ``result`` is there if nothing needs to be heard."""

    declaration: Declaration
    digest: str
    result: Added | None


def declare(
    paths: tuple[Path, ...], terms: Terms, *, title: str = "", artist: str = "", isrc: str = ""
) -> tuple[Declaration, ...]:
    """Say the same of every audio file named or found below the folders named.

    Raises:
        InputError: If nothing is there, or one title or ISRC is given for several files.
    """
    found = find_files(paths)
    if len(found) > 1 and (title or isrc):
        raise InputError(
            f"one title or ISRC cannot stand for {len(found)} files",
            remedy="Put them into the files' tags, or use `safegen catalog import` with a CSV.",
        )
    return tuple(
        Declaration(path=path, source=str(path), terms=terms, title=title, artist=artist, isrc=isrc)
        for path in found
    )


def find_files(paths: tuple[Path, ...]) -> tuple[Path, ...]:
    """List the files named and the audio files below the folders named.

    Raises:
        InputError: If a path is not there, or none of them leads to a file.
    """
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder", remedy="Check the path.")
    found = tuple(walk(paths))
    if not found:
        names = ", ".join(str(path) for path in paths)
        raise InputError(f"{names}: no audio file found", remedy="Name a file or another folder.")
    return found


def add(
    database: Database,
    declarations: Iterable[Declaration],
    *,
    now: Callable[[], datetime],
    jobs: int,
    revive: bool = False,
) -> Iterator[Added]:
    """Add recordings in their order; a bad one is reported and does not stop the rest.

    Args:
        database: An up-to-date registry.
        declarations: What to add.
        now: Clock, aware.
        jobs: Processes that decode and listen; 1 works in this one.
        revive: Bring removed works back.

    Yields:
        One ``Added`` for each declaration, in order.
    """

    def todo() -> Iterator[Task[Job]]:
        for declaration in declarations:
            digest, result = known(database, declaration, revive=revive)
            job = Job(declaration=declaration, digest=digest, result=result)
            yield Task(about=job, path=None if result else declaration.path)

    for task, heard in hear(todo(), jobs=jobs):
        job = task.about
        yield job.result or _store(
            database, job.declaration, job.digest, heard or Heard(), now(), revive=revive
        )


def hear(tasks: Iterable[Task[T]], *, jobs: int) -> Iterator[tuple[Task[T], Heard | None]]:
    """Decode and fingerprint files, in their order.

    Args:
        tasks: Taken a few at a time, so that a million of them need little memory.
        jobs: Processes that decode and listen; 1 works in this one.

    Yields:
        Each task with what was heard, None where it names no file.

    Raises:
        SafegenError: If a process was killed.
    """
    if jobs <= 1:
        for task in tasks:
            yield task, None if task.path is None else _listen(task.path)
        return
    # Spawned, since a forked child would inherit the database's connections.
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        waiting: deque[tuple[Task[T], Future[Heard] | None]] = deque()
        try:
            for task in tasks:
                future = None if task.path is None else pool.submit(_listen, task.path)
                waiting.append((task, future))
                if len(waiting) > 2 * jobs:
                    yield _heard(*waiting.popleft())
            while waiting:
                yield _heard(*waiting.popleft())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def default_jobs(files: int) -> int:
    """How many processes pay for their start: one for each core, if there is enough to do."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    return max(1, min(cores, files // 8))


def total_bytes(declarations: Iterable[Declaration]) -> int:
    """Sum of the files' sizes, the measure of progress."""
    return sum(size_of(declaration.path) for declaration in declarations)


def known(
    database: Database, declaration: Declaration, *, revive: bool
) -> tuple[str, Added | None]:
    """Hash a file, and skip listening if the catalog has it and nothing would change."""
    try:
        digest = sha256_file(declaration.path)
    except OSError as error:
        problem = f"{declaration.path}: cannot be read ({error.strerror or error})"
        return "", failed(declaration, problem)
    with database.read() as session:
        work = catalog.find_by_sha256(session, digest)
        heard_by = catalog.engines_of(session, work.work_id) if work else frozenset()
    if work is None or (work.removed_at is not None and revive):
        return digest, None
    if work.removed_at is None and not heard_by.issuperset(ENGINES):
        return digest, None  # a catalog from before there was this engine
    new = NewWork(
        title=work.title,
        rights=declaration.terms.rights,
        licenses=(declaration.terms.license,),
        fingerprints=(),
        seconds=work.seconds,
        content_sha256=digest,
        source_name=one_line(declaration.path.name),
    )
    try:
        found = catalog.compare(work, new)
    except ConflictError as error:
        return digest, failed(declaration, str(error))
    return digest, Added(
        file=declaration.path,
        source=declaration.source,
        work_id=work.work_id,
        title=work.title,
        isrc=work.isrc,
        rights_holder=work.rights_holder,
        seconds=work.seconds,
        created=False,
        license_differs=found.license_differs,
        problem="",
        size_bytes=size_of(declaration.path),
    )


def _heard(task: Task[T], future: Future[Heard] | None) -> tuple[Task[T], Heard | None]:
    try:
        return task, None if future is None else future.result()
    except BrokenProcessPool as error:
        raise SafegenError(
            f"a process that decoded a file near {task.path} was killed",
            remedy="Run the command again with --jobs 1: what was done is kept.",
        ) from error


def _listen(path: Path) -> Heard:
    """Decode and fingerprint one file; runs in a worker process."""
    from detectors.errors import DetectorError
    from safegen.audio import load
    from safegen.matching import catalog_fingerprints

    try:
        audio = load(path)
        fingerprints = catalog_fingerprints(audio)
    except InputError as error:
        return Heard(problem=str(error))
    except DetectorError as error:
        return Heard(problem=f"{path}: {error}")
    if not fingerprints:
        problem = f"{path}: {audio.seconds:.2f} s of sound are too short to be recognized"
        return Heard(problem=problem)
    return Heard(tags=read_tags(path), seconds=audio.seconds, fingerprints=fingerprints)


def _store(
    database: Database,
    declaration: Declaration,
    digest: str,
    heard: Heard,
    at: datetime,
    *,
    revive: bool,
) -> Added:
    if heard.problem:
        return failed(declaration, heard.problem)
    with database.begin() as session:
        return put(session, declaration, digest, heard, at=at, revive=revive)


def put(
    session: Session,
    declaration: Declaration,
    digest: str,
    heard: Heard,
    *,
    at: datetime,
    revive: bool,
) -> Added:
    """Add what was heard of one declaration; if it is refused, nothing of it stays behind.

    Args:
        session: A writer's.
        declaration: What the file is.
        digest: SHA-256 of its bytes.
        heard: What it sounds like, without a problem.
        at: Now, aware.
        revive: Bring a removed work back.
    """
    work = NewWork(
        title=declaration.title or heard.tags.title or name_of(declaration.path),
        artist=declaration.artist or heard.tags.artist,
        isrc=declaration.isrc or heard.tags.isrc,
        iswc=declaration.iswc,
        musicbrainz_id=declaration.musicbrainz_id,
        rights=declaration.terms.rights,
        licenses=(declaration.terms.license,),
        fingerprints=heard.fingerprints,
        seconds=heard.seconds,
        content_sha256=digest,
        source_name=one_line(declaration.path.name),
    )
    try:
        with session.begin_nested():
            result = catalog.add_work(session, work, at=at, revive=revive)
            row = catalog.get_work(session, result.work_id)
    except (ConflictError, InvalidError) as error:
        return failed(declaration, str(error))
    return Added(
        file=declaration.path,
        source=declaration.source,
        work_id=row.work_id,
        title=row.title,
        isrc=row.isrc,
        rights_holder=row.rights_holder,
        seconds=row.seconds,
        created=result.created,
        license_differs=result.license_differs,
        problem="",
        size_bytes=size_of(declaration.path),
    )


def failed(declaration: Declaration, problem: str) -> Added:
    """Say why a declaration was not added; no problem says that it was only heard so far."""
    return Added(
        file=declaration.path,
        source=declaration.source,
        work_id="",
        title=declaration.title,
        isrc=declaration.isrc,
        rights_holder=", ".join(right.rights_holder for right in declaration.terms.rights),
        seconds=0.0,
        created=False,
        license_differs=False,
        problem=problem,
        size_bytes=size_of(declaration.path),
    )


def name_of(path: Path) -> str:
    """Name a recording after its file, for want of a title."""
    return one_line(path.stem) or "untitled"


def size_of(path: Path) -> int:
    """Give a file's size, 0 if it is gone."""
    try:
        return path.stat().st_size
    except OSError:
        return 0
