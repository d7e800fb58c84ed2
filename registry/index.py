"""How does a process keep an index that follows the catalog?

An index of one engine's fingerprints is derived from the registry's change log and
never the truth itself. At every question the newest change number is compared, and
works that changed since are read again into a delta in memory, so a work is found,
or gone, as soon as its change is committed. With a folder, what is older lies in
segments on disk that all processes share; a thread folds the delta into them when it
grows. Whatever is damaged, or belongs to another database, is made anew.

What this module does not do: know what a key means. ``Engine`` brings the rule.
"""

import io
import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from sqlalchemy.orm import Session

from registry import index_folder
from registry.catalog import CHUNK
from registry.index_folder import MANIFEST, Manifest, NamedSegment
from registry.index_snapshot import EMPTY, Part
from registry.index_snapshot import CatalogIndex as CatalogIndex
from registry.index_snapshot import Items as Items
from registry.index_snapshot import KeyPostings as KeyPostings
from registry.index_source import (
    Engine,
    Newest,
    blobs_of,
    changed_since,
    is_anchored,
    newest_change,
)
from registry.reindexing import check, rebuild, unfinished
from registry.segment_writing import NewEntry, fitting, merge, write
from registry.segments import IndexDamagedError, Mask, Segment, open_segment
from registry.session import Database

LEAST_DELTA: Final = 1 << 16
"""Items in memory that are not worth a segment: 45 works of 3 minutes."""
MOST_DELTA: Final = 1 << 21
"""Items in memory that are, however many lie on disk."""
SHARE: Final = 0.1
"""Share of the items on disk that starts a merge when it is new or no longer in force."""

MOST_MEMORY: Final = 1 << 23
"""Items in memory that no query waits for: more are written to disk before it is answered."""
BULK_WORKS: Final = 5_000
BULK_SHARE: Final = 0.25
"""When more works than this changed, and this share of all, the whole index is made anew."""

_RATIO: Final = 4
"""A part is merged into what is at least a quarter of its size."""

log = logging.getLogger(__name__)


class IndexKeeper:
    """Keeps the index of one engine for a process; safe to share between threads.

    Args:
        database: The registry.
        engine: Which fingerprints, and how they are searched.
        folder: Where segments are shared with other processes and later ones; None
            keeps everything in memory.
    """

    def __init__(self, database: Database, engine: Engine, *, folder: Path | None = None) -> None:
        self._database = database
        self._engine = engine
        self._folder = folder
        self._lock = threading.Lock()
        self._index = EMPTY
        self._signature: tuple[int, int, int] | None = None
        self._opened: dict[str, Segment] = {}
        self._merging: threading.Thread | None = None
        self._is_damaged = False
        self._must_merge = False

    def current(self) -> CatalogIndex:
        """Give the index of the works in force now.

        Cost: one small question to the database if nothing changed. Where there is no
        index yet and thousands of works, it is made first.
        """
        with self._lock:
            if self._is_damaged:
                self._start_over()
            return self._refreshed()

    def repair(self, damaged: CatalogIndex) -> CatalogIndex:
        """Give an index in place of one that raised ``IndexDamagedError``."""
        with self._lock:
            self._adopt()
            suspects = {id(part.segment) for part in damaged.parts}
            if any(id(part.segment) in suspects for part in self._index.parts):
                self._start_over()
            return self._refreshed()

    def wait(self) -> None:
        """Wait until no merge of this keeper is under way."""
        if self._merging is not None:
            self._merging.join()

    # What is in memory follows the database

    def _refreshed(self) -> CatalogIndex:
        try:
            self._refresh()
        except IndexDamagedError as error:
            log.warning("%s; it is made again from the registry", error)
            self._start_over()
            self._refresh()
        return self._index

    def _refresh(self) -> None:
        is_made = False
        while True:
            self._adopt()
            with self._database.read() as session:
                newest = newest_change(session)
                index = self._index
                if (newest.change, newest.anchor) == (index.change, index.anchor):
                    return
                if not is_anchored(session, index.change, index.anchor):
                    log.info("the %s index belongs to another state", self._engine.name)
                    self._start_over()
                changed = changed_since(session, self._index.change)
                most = max(BULK_WORKS, BULK_SHARE * self._index.work_count)
                is_bulk = self._folder is not None and not is_made and len(changed) > most
                is_done = not is_bulk and self._apply(session, changed, newest)
            if is_bulk:
                self._rebuild()
                is_made = True
            if is_done:
                break
        self._start_merge()

    def _apply(self, session: Session, changed: Sequence[str], newest: Newest) -> bool:
        """Read the works again that changed; those that are as before stay where they are.

        Returns:
            False if the segments on disk became others meanwhile.
        """
        for start in range(0, len(changed), CHUNK):
            self._apply_some(session, changed[start : start + CHUNK])
            items = sum(part.items for part in self._index.parts if not part.file)
            if self._folder is not None and items > MOST_MEMORY and not self._flush(self._folder):
                return False
        self._index = CatalogIndex(self._index.parts, change=newest.change, anchor=newest.anchor)
        return True

    def _apply_some(self, session: Session, changed: Sequence[str]) -> None:
        """Leave the number of the change as it was: until all are read, it is a lower bound."""
        index = self._index
        alive = [part.alive.copy() for part in index.parts]
        blobs = blobs_of(session, self._engine.name, changed)
        entries: list[NewEntry] = []
        for work_id in changed:
            blob = blobs.get(work_id)
            is_as_before = False
            for part, mask in zip(index.parts, alive, strict=True):
                number = part.segment.number(work_id)
                if number is not None and mask[number]:
                    is_as_before = blob is not None and part.segment.blob(number) == blob
                    mask[number] = is_as_before
            if blob is not None and not is_as_before:
                entries.append(NewEntry(work_id=work_id, blob=blob))
        parts = [
            self._part(part.segment, mask, part.file)
            for part, mask in zip(index.parts, alive, strict=True)
            if part.file or mask.any()
        ]
        if entries:
            fill = partial(write, entries=entries, postings_of=self._engine.postings_of)
            segment = self._in_memory(fill)
            parts.append(self._part(segment, np.ones(len(entries), np.bool_), ""))
        self._index = CatalogIndex(self._settled(parts), change=index.change, anchor=index.anchor)

    def _part(self, segment: Segment, alive: Mask, file: str) -> Part:
        return Part.of(segment, alive, file, item_bytes=self._engine.item_bytes)

    def _settled(self, parts: list[Part]) -> list[Part]:
        """Merge the newest parts in memory until each is far larger than the next."""
        while (
            len(parts) > 1
            and not (parts[-2].file or parts[-1].file)
            and parts[-2].items <= _RATIO * parts[-1].items
        ):
            sources = [part.source for part in parts[-2:]]
            if len(fitting(sources)) > 1:
                break
            segment = self._in_memory(partial(merge, sources=sources))
            alive = np.ones(segment.work_count, np.bool_)
            parts[-2:] = [self._part(segment, alive, "")]
        return parts

    def _in_memory(self, fill: Callable[..., None]) -> Segment:
        stream = io.BytesIO()
        fill(stream, scheme=self._engine.scheme)
        return Segment(stream.getvalue(), name="memory", is_trusted=True)

    def _rebuild(self) -> None:
        """Make the whole index on disk; in memory, if the disk does not let us."""
        folder = self._folder or Path()
        log.warning(
            "the %s index is being made, which takes a minute for 100,000 works; "
            "`safegen catalog reindex` does it ahead of time",
            self._engine.name,
        )
        try:
            rebuild(self._database, self._engine, folder)
        except OSError as error:
            log.warning("%s cannot be written (%s); the index stays in memory", folder, error)
            self._folder = None
        else:
            self._signature = None

    def _flush(self, folder: Path) -> bool:
        """Move what is in memory to disk now; False if another process moved something."""
        try:
            with index_folder.writing(folder, wait=True):
                if index_folder.signature(folder / MANIFEST) != self._signature:
                    return False
                _fold(folder, self._index, scheme=self._engine.scheme)
        except OSError as error:
            log.warning("%s cannot be written (%s); the index stays in memory", folder, error)
            self._folder = None
        else:
            self._adopt()
        return True

    # What is on disk follows what is in memory, or another process

    def _adopt(self) -> None:
        """Take over the segments that the manifest names, if it is another than before."""
        if self._folder is None:
            return
        path = self._folder / MANIFEST
        for _ in range(100):
            found = index_folder.signature(path)
            if found == self._signature:
                return
            self._signature = found
            try:
                manifest = index_folder.read_manifest(path)
                if manifest is None or manifest.scheme != self._engine.scheme:
                    self._index = EMPTY
                else:
                    self._index = self._opened_index(manifest)
            except FileNotFoundError:
                self._signature = None  # a segment was replaced before it could be opened
                continue
            except IndexDamagedError as error:
                log.warning("%s; it is made again from the registry", error)
                self._start_over()
            return
        log.warning("%s names segments that are not there", path)
        self._start_over()

    def _opened_index(self, manifest: Manifest) -> CatalogIndex:
        opened = {}
        parts = []
        for named in manifest.segments:
            segment = self._opened.get(named.file)
            if segment is None:
                segment = open_segment((self._folder or Path()) / named.file)
            check(segment, named, scheme=self._engine.scheme)
            opened[named.file] = segment
            alive = np.ones(segment.work_count, np.bool_)
            alive[list(named.dead)] = False
            parts.append(self._part(segment, alive, named.file))
        self._opened = opened
        return CatalogIndex(parts, change=manifest.change, anchor=manifest.anchor)

    def _start_over(self) -> None:
        """Forget everything; the manifest as it is now is not looked at again."""
        self._is_damaged = False
        self._index = EMPTY
        self._opened = {}
        if self._folder is not None:
            self._signature = index_folder.signature(self._folder / MANIFEST)
            self._must_merge = True

    def _start_merge(self) -> None:
        """Let a thread fold the delta into the segments, if it has grown enough."""
        if self._folder is None or (self._merging is not None and self._merging.is_alive()):
            return
        if self._must_merge or _is_due(self._index):
            self._must_merge = False
            self._merging = threading.Thread(
                target=self._merge,
                args=(self._folder, self._index, self._signature),
                name=f"merge-{self._engine.name}",
                daemon=True,
            )
            self._merging.start()

    def _merge(self, folder: Path, index: CatalogIndex, seen: tuple[int, int, int] | None) -> None:
        """Write a new segment and a manifest that names it, unless another was faster."""
        try:
            with index_folder.writing(folder, wait=False) as is_held:
                if is_held and index_folder.signature(folder / MANIFEST) == seen:
                    _fold(folder, index, scheme=self._engine.scheme)
        except IndexDamagedError as error:
            log.warning("%s; it is made again from the registry", error)
            self._is_damaged = True
        except OSError as error:
            log.warning("%s cannot be written (%s)", folder, error)


def _fold(folder: Path, index: CatalogIndex, *, scheme: str) -> None:
    """Merge what is in memory with the segments that are not far larger, or half empty."""
    chosen = [part for part in index.parts if not part.file]
    kept = []
    items = sum(part.items for part in chosen)
    for part in sorted((p for p in index.parts if p.file), key=lambda p: p.items):
        if part.items <= _RATIO * items or part.dead_items > SHARE * part.items:
            chosen.append(part)
            items += part.items
        else:
            kept.append(part.named)
    for group in fitting([part.source for part in chosen if part.items]):
        if group:
            file = index_folder.write_segment(folder, partial(merge, sources=group, scheme=scheme))
            kept.append(NamedSegment(file=file, sum=open_segment(folder / file).sum))
    manifest = Manifest(
        scheme=scheme, change=index.change, anchor=index.anchor, segments=tuple(kept)
    )
    index_folder.write_manifest(folder / MANIFEST, manifest)
    index_folder.remove_others(folder, manifest, unfinished(folder))


def _is_due(index: CatalogIndex) -> bool:
    stored = sum(part.items for part in index.parts if part.file)
    dead = sum(part.dead_items for part in index.parts if part.file)
    fresh = sum(part.items for part in index.parts if not part.file)
    return fresh > max(LEAST_DELTA, min(MOST_DELTA, SHARE * stored)) or dead > max(
        LEAST_DELTA, SHARE * stored
    )
