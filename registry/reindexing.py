"""How is the index of a whole catalog made, also when it takes minutes?

Works are read in the order of their ids and written as segments of bounded size; a
list of those done is kept, so that a run that was stopped goes on after the last one.
At the end they are merged into one and the manifest is replaced; until then readers
see the index as it was. What changes meanwhile is found later by the change numbers.

Cost: 600 MB of memory whatever the catalog's size, plus 8 bytes per distinct key.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from sqlalchemy.orm import Session

from registry import index_folder
from registry.index_folder import BUILDING, MANIFEST, Manifest, NamedSegment
from registry.index_source import (
    Engine,
    changed_since,
    count_entries,
    entries_after,
    is_anchored,
    newest_change,
)
from registry.segment_writing import NewEntry, Source, fitting, merge, scheme_digest, write
from registry.segments import IndexDamagedError, Segment, open_segment
from registry.session import Database

CHUNK_ITEMS: Final = 16_000_000
"""Items of one piece: 11,000 works of 3 minutes."""

_MOST_CHANGES: Final = 1_000
"""A list of segments with more changes after it is not continued."""
_STEP_WORKS: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a rebuild is.

    Attributes:
        stage: "read" or "merge".
        done: Works read, or segments merged.
        total: Of all.
    """

    stage: str
    done: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexState:
    """What lies on disk of one engine's index.

    Attributes:
        works: In force, as of when it was written.
        segments: Files.
        size_bytes: Of all.
        behind: Works that changed since; every process reads them into memory.
        is_usable: False if it belongs to another database or rule.
    """

    works: int
    segments: int
    size_bytes: int
    behind: int
    is_usable: bool


def inspect(session: Session, engine: Engine, folder: Path) -> IndexState | None:
    """Look at an index without using it; None if there is none.

    Raises:
        IndexDamagedError: If list, headers or tables are damaged, or a file is missing.
            Blocks are compared when they are used, and not here.
    """
    manifest = index_folder.read_manifest(folder / MANIFEST)
    if manifest is None:
        return None
    try:
        opened = [opened_segment(folder, row, scheme=manifest.scheme) for row in manifest.segments]
    except FileNotFoundError as error:
        msg = f"{Path(error.filename).name}: a file of the index is missing"
        raise IndexDamagedError(msg) from error
    is_usable = manifest.scheme == engine.scheme and is_anchored(
        session, manifest.change, manifest.anchor
    )
    return IndexState(
        works=sum(each.work_count for each in opened) - sum(len(n.dead) for n in manifest.segments),
        segments=len(opened),
        size_bytes=sum(each.header.file_bytes for each in opened),
        behind=len(changed_since(session, manifest.change)) if is_usable else 0,
        is_usable=is_usable,
    )


def rebuild(
    database: Database,
    engine: Engine,
    folder: Path,
    *,
    on_progress: Callable[[Progress], None] = lambda _: None,
    chunk_items: int = CHUNK_ITEMS,
) -> Manifest:
    """Make the index of all works in force, or finish the run that was stopped.

    Args:
        database: The registry.
        engine: Which fingerprints.
        folder: Of this engine's index; created if missing.
        on_progress: Called every 200 works and for every merge.
        chunk_items: Items sorted in memory at one time.

    Raises:
        OSError: If the folder cannot be written to.
    """
    with index_folder.writing(folder, wait=True):
        with database.read() as session:
            total = count_entries(session, engine.name)
            state = _unfinished(session, engine, folder)
            if state is None:
                newest = newest_change(session)
                state = Manifest(
                    scheme=engine.scheme, change=newest.change, anchor=newest.anchor, segments=()
                )
        index_folder.remove_others(folder, _named(folder / MANIFEST), state)
        opened = [opened_segment(folder, named, scheme=engine.scheme) for named in state.segments]
        done = sum(segment.work_count for segment in opened)
        on_progress(Progress(stage="read", done=done, total=total))
        while True:
            entries = _next(database, engine, state.after, chunk_items, done, total, on_progress)
            if not entries:
                break
            fill = partial(
                write, entries=entries, postings_of=engine.postings_of, scheme=engine.scheme
            )
            file = index_folder.write_segment(folder, fill)
            segment = open_segment(folder / file)
            opened.append(segment)
            done += len(entries)
            state = replace(
                state,
                segments=(*state.segments, NamedSegment(file=file, sum=segment.sum)),
                after=entries[-1].work_id,
            )
            index_folder.write_manifest(folder / BUILDING, state)
        segments = _joined(folder, engine, state.segments, opened, on_progress)
        finished = replace(state, segments=segments, after="")
        index_folder.write_manifest(folder / MANIFEST, finished)
        (folder / BUILDING).unlink(missing_ok=True)
        index_folder.remove_others(folder, finished)
        return finished


def opened_segment(folder: Path, named: NamedSegment, *, scheme: str) -> Segment:
    """Open a segment that a manifest names.

    Raises:
        FileNotFoundError: If it was replaced meanwhile.
        IndexDamagedError: If it is not the one named.
    """
    segment = open_segment(folder / named.file)
    check(segment, named, scheme=scheme)
    return segment


def check(segment: Segment, named: NamedSegment, *, scheme: str) -> None:
    """Refuse a segment that is not the one named, or not by this rule.

    Raises:
        IndexDamagedError: So it is.
    """
    fits = segment.sum == named.sum and segment.header.scheme == scheme_digest(scheme)
    if not fits or any(not 0 <= number < segment.work_count for number in named.dead):
        msg = f"{named.file}: not the file that the list of segments names"
        raise IndexDamagedError(msg)


def unfinished(folder: Path) -> Manifest | None:
    """Read the list of an unfinished rebuild; a damaged one counts as none."""
    return _named(folder / BUILDING)


def _unfinished(session: Session, engine: Engine, folder: Path) -> Manifest | None:
    state = unfinished(folder)
    if (
        state is None
        or state.scheme != engine.scheme
        or not is_anchored(session, state.change, state.anchor)
        or len(changed_since(session, state.change)) > _MOST_CHANGES
    ):
        return None
    try:
        for named in state.segments:
            opened_segment(folder, named, scheme=engine.scheme).verify()
    except (IndexDamagedError, FileNotFoundError):
        return None
    return state


def _named(path: Path) -> Manifest | None:
    with contextlib.suppress(IndexDamagedError):
        return index_folder.read_manifest(path)
    return None


def _next(
    database: Database,
    engine: Engine,
    after: str,
    chunk_items: int,
    done: int,
    total: int,
    on_progress: Callable[[Progress], None],
) -> list[NewEntry]:
    entries: list[NewEntry] = []
    items = 0
    with database.read() as session:
        for entry in entries_after(session, engine.name, after):
            entries.append(entry)
            items += len(entry.blob) // engine.item_bytes
            if len(entries) % _STEP_WORKS == 0:
                on_progress(Progress(stage="read", done=done + len(entries), total=total))
            if items >= chunk_items:
                break
    on_progress(Progress(stage="read", done=done + len(entries), total=total))
    return entries


def _joined(
    folder: Path,
    engine: Engine,
    named: tuple[NamedSegment, ...],
    opened: list[Segment],
    on_progress: Callable[[Progress], None],
) -> tuple[NamedSegment, ...]:
    """Merge into as few segments as 32 bits allow."""
    if len(opened) < 2:
        return named
    joined = []
    sources = [
        Source(segment=segment, alive=np.ones(segment.work_count, np.bool_)) for segment in opened
    ]
    done = 0
    for group in fitting(sources):
        on_progress(Progress(stage="merge", done=done, total=len(opened)))
        file = index_folder.write_segment(
            folder, partial(merge, sources=group, scheme=engine.scheme)
        )
        joined.append(NamedSegment(file=file, sum=open_segment(folder / file).sum))
        done += len(group)
    on_progress(Progress(stage="merge", done=done, total=len(opened)))
    return tuple(joined)
