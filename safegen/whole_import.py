"""Add a table of recordings, or none of them if one is bad.

First every recording is heard, without the catalog being touched, and what was heard is
kept in a `.sfp.part` file; then all are added in one transaction. If a recording turns
out to be bad, that file stays, so that the import of the mended table, or of an
interrupted one, hears only what is missing.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from registry.session import Database
from safegen.catalog import (
    ENGINES,
    Added,
    Heard,
    Job,
    Task,
    failed,
    hear,
    known,
    name_of,
    put,
)
from safegen.declarations import Declaration, Tags, one_line
from safegen.errors import InputError
from safegen.exchange import Entry, Writer, read


def add_whole(
    database: Database,
    declarations: Sequence[Declaration],
    *,
    stage: Path,
    now: Callable[[], datetime],
    jobs: int,
    revive: bool = False,
) -> Iterator[Added]:
    """Add all recordings, or none.

    Args:
        database: An up-to-date registry.
        declarations: What to add.
        stage: Name under which what was heard is kept meanwhile, ending in ".sfp".
        now: Clock, aware.
        jobs: Processes that decode and listen.
        revive: Bring removed works back.

    Yields:
        First one ``Added`` for each declaration that was heard or failed, for progress;
        it has no ``work_id``. Then, if all are good, one for each that was added, in
        their order; these are stored when the iterator ends, not before.

    Raises:
        InputError: If anything is wrong. Nothing was stored; the faults were yielded.
    """
    with Writer(stage, engines=ENGINES, made_by="safegen catalog import", now=now()) as writer:
        todo: list[Job] = []
        faults = 0
        for task in _heard(database, declarations, writer, jobs=jobs, revive=revive):
            job = task.about
            todo.append(job)
            problem = job.result.problem if job.result else ""
            faults += bool(problem)
            yield failed(job.declaration, problem)
        if faults:
            raise _nothing_added(faults, len(todo))
        numbers: dict[str, list[int]] = {}
        for number, job in enumerate(todo):
            if job.result is None:
                numbers.setdefault(job.digest, []).append(number)
        at = now()
        with database.begin() as session:
            rows = {number: job.result for number, job in enumerate(todo) if job.result}
            for heard in _kept(writer, set(numbers)):
                for number in numbers[heard.digest]:
                    rows[number] = put(
                        session,
                        todo[number].declaration,
                        heard.digest,
                        heard.heard,
                        at=at,
                        revive=revive,
                    )
            yield from (rows[number] for number in sorted(rows))
            faults = sum(bool(row.problem) for row in rows.values())
            if faults:  # leaving by an error is what undoes the transaction
                raise _nothing_added(faults, len(todo))
        writer.part.unlink()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    digest: str
    heard: Heard


def _heard(
    database: Database,
    declarations: Sequence[Declaration],
    writer: Writer,
    *,
    jobs: int,
    revive: bool,
) -> Iterator[Task[Job]]:
    """Keep what is heard of every recording that the catalog does not have.

    Yields:
        Each job; its result is there if the catalog has the recording, or if it is bad.
    """

    def tasks() -> Iterator[Task[Job]]:
        for declaration in declarations:
            digest, result = known(database, declaration, revive=revive)
            job = Job(declaration=declaration, digest=digest, result=result)
            is_needed = result is None and digest not in writer.done
            yield Task(about=job, path=declaration.path if is_needed else None)

    for task, heard in hear(tasks(), jobs=jobs):
        job = task.about
        if heard is not None and heard.problem:
            yield replace(task, about=replace(job, result=failed(job.declaration, heard.problem)))
            continue
        # The same bytes may be on two lines.
        if heard is not None and job.digest not in writer.done:
            writer.add(
                Entry(
                    title=heard.tags.title or name_of(job.declaration.path),
                    artist=heard.tags.artist,
                    isrc=heard.tags.isrc,
                    seconds=heard.seconds,
                    content_sha256=job.digest,
                    source_name=one_line(job.declaration.path.name),
                    fingerprints=heard.fingerprints,
                )
            )
        yield task


def _kept(writer: Writer, wanted: set[str]) -> Iterator[_Kept]:
    """Read back what was heard, a recording at a time; the file has no end yet."""
    for found in read(writer.part):
        entry = found.entry
        if entry is not None and entry.content_sha256 in wanted:
            tags = Tags(title=entry.title, artist=entry.artist, isrc=entry.isrc)
            heard = Heard(tags=tags, seconds=entry.seconds, fingerprints=entry.fingerprints)
            yield _Kept(digest=entry.content_sha256, heard=heard)


def _nothing_added(faults: int, total: int) -> InputError:
    return InputError(
        f"{faults} of {total} recordings are bad, nothing was added",
        remedy="Mend them, or leave --strict out to add the others.",
    )
