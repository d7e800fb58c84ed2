"""How do the works get into a catalog, and how does a process search it?

Through the registry, as in production: recordings are added with ``safegen.catalog``, and
every smaller catalog of the benchmark is copied from that one, work by work.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from registry import schema
from registry.catalog import (
    NewFingerprint,
    NewRight,
    NewWork,
    add_work,
    find_by_sha256,
    get_fingerprint,
    get_work,
)
from registry.session import Database, connect
from safegen import catalog
from safegen.audio import sha256_file
from safegen.catalog import Added
from safegen.declarations import Declaration, parse_terms
from safegen.evaluation.matching_bench.music import LEAST_SECONDS, Track, track_name
from safegen.matching import CatalogMatcher

HOLDER = "Debian"


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """Where a catalog lies; any process can open it.

    Attributes:
        folder: Holds the registry and, if the catalog is big, its index.
        name: "all", "half 0", ...; names its trials.
        is_mapped: Whether the index lies on disk; else each process keeps its own in memory.
    """

    folder: Path
    name: str
    is_mapped: bool = False

    @property
    def url(self) -> str:
        """The registry's."""
        return f"sqlite:///{self.folder / 'registry.db'}"

    @property
    def index_folder(self) -> Path:
        """Where its index lies, if it is mapped."""
        return self.folder / "index"


def create(folder: Path, name: str) -> Catalog:
    """Make an empty catalog, or open the one that is there."""
    folder.mkdir(parents=True, exist_ok=True)
    found = Catalog(folder=folder, name=name)
    schema.upgrade(found.url)
    return found


def listen(library: Catalog, paths: Sequence[Path], *, jobs: int) -> Iterator[Added]:
    """Add recordings as ``safegen catalog add`` does; those that are there are not decoded."""
    terms = parse_terms(
        rights_holder=HOLDER,
        license_name="benchmark",
        territories="*",
        uses="",
        valid_from="",
        valid_until="",
    )
    declarations = [
        Declaration(path=path, source=str(path), terms=terms, title=track_name(path))
        for path in paths
    ]
    with connect(library.url) as database:
        yield from catalog.add(database, declarations, now=lambda: datetime.now(UTC), jobs=jobs)


def known(library: Catalog, paths: Iterable[Path]) -> list[Track]:
    """Name the tracks that are in the library and long enough, in the order of the files.

    Of files with the same bytes only the first is a track.
    """
    found: dict[str, Track] = {}
    with connect(library.url) as database, database.read() as session:
        for path in paths:
            work = find_by_sha256(session, sha256_file(path))
            if work is not None and work.seconds >= LEAST_SECONDS:
                found.setdefault(
                    work.work_id,
                    Track(
                        name=track_name(path),
                        path=path,
                        work_id=work.work_id,
                        seconds=work.seconds,
                    ),
                )
    return list(found.values())


def copy(
    library: Catalog, target: Catalog, tracks: Iterable[Track], engines: Sequence[str]
) -> None:
    """Put works of the library into another catalog, under the same ids.

    Works that are there stay, and works that were taken out come back.
    """
    with connect(library.url) as source, connect(target.url) as database:
        works = [new_work(source, track, engines) for track in tracks]
        with database.begin() as session:
            for work in works:
                add_work(session, work, at=datetime.now(UTC), revive=True)


def new_work(source: Database, track: Track, engines: Sequence[str]) -> NewWork:
    """Read a work of the library as it would be added."""
    with source.read() as session:
        row = get_work(session, track.work_id)
        found = [get_fingerprint(session, track.work_id, engine) for engine in engines]
    return NewWork(
        title=track.name,
        rights=(NewRight(rights_holder=HOLDER),),
        licenses=(),
        fingerprints=tuple(
            NewFingerprint(engine=each.engine, items=each.items)
            for each in found
            if each is not None
        ),
        seconds=row.seconds,
        content_sha256=row.content_sha256,
        source_name=row.source_name,
    )


def same_but(work: NewWork, *, content_sha256: str, title: str) -> NewWork:
    """Make another work of the same sound."""
    return replace(work, content_sha256=content_sha256, title=title)


@lru_cache(maxsize=2)
def matcher(found: Catalog) -> CatalogMatcher:
    """Open a catalog for searching, once in a process."""
    folder = found.index_folder if found.is_mapped else None
    return CatalogMatcher(connect(found.url), index_folder=folder)
