"""Which works of the catalog are copies, edits or remasters of one another?

Duplicates make one quotation count as several and two rights-holders claim one sound,
so they are worth knowing before a match is disputed. Nothing is changed here: which of
two works stays is for the rights-holders to say.

Every work is searched for as if it were an upload, by each engine, with what the catalog
stores of it. That is a little less than an upload gives (Chromaprint's items come from
one start instead of four, landmarks are a third as dense), and whole works make up for it.
A work agrees with itself better than with any other, so it is hidden while it is searched
for, and so is what it was paired with already.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from detectors import chromaprint, constellations, fingerprint, landmarks
from detectors.base import Match
from registry import catalog
from registry.catalog import WorkRow
from registry.index import CatalogIndex, KeyPostings
from registry.scope import AuditScope
from registry.session import Database
from safegen.matching import ENGINES, CatalogMatcher

Relation = Literal["same", "contains", "shares"]

MOST_OF: Final = 0.9
"""Share of a work's seconds that must be in the other one to call them the same."""
_LEAST_MOMENTS: Final = 4
"""Of 3,000 pairs of works that share nothing 13 in a hundred have as many by luck; the weakest
of eight that share something had 5, from its better side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate:
    """Two works that share sound.

    Attributes:
        work: The one with the smaller id.
        shared_seconds: Seconds of one of them that are also in the other.
        score: Agreement of the best stretch in [0, 1]; 1 is the same sound.
        relation: "same" if nearly all of both is shared (a copy, a remaster, another
            encoding), "contains" if nearly all of the shorter one is (an edit, a radio
            version), "shares" if less is (a sample, a medley, a loop).
    """

    work: WorkRow
    other: WorkRow
    shared_seconds: float
    score: float
    relation: Relation

    @property
    def is_disputed(self) -> bool:
        """Whether different rights-holders claim the two."""
        return self.work.rights_holder != self.other.rights_holder


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What comparing one work with the rest gave; one for each work, for progress."""

    work_id: str
    total: int
    duplicates: tuple[Duplicate, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Works that are versions of one another, directly or through others.

    Attributes:
        works: By length, the longest first.
        pairs: What links them.
    """

    works: tuple[WorkRow, ...]
    pairs: tuple[Duplicate, ...]

    @property
    def is_disputed(self) -> bool:
        """Whether different rights-holders claim some of them."""
        return any(pair.is_disputed for pair in self.pairs)


def find_duplicates(database: Database, *, index_folder: Path | None = None) -> Iterator[Compared]:
    """Compare every work in force with all others, in the order of their ids.

    A pair is found by the rules that decide matches of outputs, from either side, and
    is reported once.

    Args:
        database: An up-to-date registry.
        index_folder: Of the shared index; None makes one in memory.
    """
    matcher = CatalogMatcher(database, index_folder=index_folder)
    with database.read() as session:
        works = {
            work.work_id: work for work in catalog.list_works(session, AuditScope.everything())
        }
    paired: dict[str, set[str]] = {}
    for work_id in sorted(works):
        with database.read() as session:
            heard = {
                row.engine: row.items
                for engine in ENGINES
                if (row := catalog.get_fingerprint(session, work_id, engine)) is not None
            }
        shared: dict[str, list[Match]] = {}
        known = paired.get(work_id, set())
        for match in _matches(matcher, heard, hidden={work_id} | known):
            # A work added meanwhile is compared in the next run.
            if match.work_id in works:
                shared.setdefault(match.work_id, []).append(match)
        found = [
            _duplicate(works[work_id], works[other], matches)
            for other, matches in sorted(shared.items())
        ]
        for other in shared:
            paired.setdefault(other, set()).add(work_id)
        yield Compared(work_id=work_id, total=len(works), duplicates=tuple(found))


def families(pairs: Iterable[Duplicate]) -> tuple[Family, ...]:
    """Join pairs that are the same or contain one another; the largest family first.

    What only shares a stretch joins nothing: a medley is no version of what it quotes.
    """
    linked = [pair for pair in pairs if pair.relation != "shares"]
    chief: dict[str, str] = {}

    def root(work_id: str) -> str:
        while chief.setdefault(work_id, work_id) != work_id:
            work_id = chief[work_id]
        return work_id

    for pair in linked:
        one, other = sorted((root(pair.work.work_id), root(pair.other.work_id)))
        chief[other] = one
    grouped: dict[str, list[Duplicate]] = {}
    for pair in linked:
        grouped.setdefault(root(pair.work.work_id), []).append(pair)
    found = [_family(group) for group in grouped.values()]
    return tuple(sorted(found, key=lambda f: (-len(f.works), f.works[0].work_id)))


def _family(pairs: list[Duplicate]) -> Family:
    works = {work.work_id: work for pair in pairs for work in (pair.work, pair.other)}
    ordered = sorted(works.values(), key=lambda work: (-work.seconds, work.work_id))
    return Family(works=tuple(ordered), pairs=tuple(pairs))


class _Others:
    """An index without some of its works; both engines can be asked about it."""

    def __init__(self, index: CatalogIndex, hidden: Collection[str]) -> None:
        self._index = index
        numbers = (index.number(work_id) for work_id in hidden)
        self._hidden = [number for number in numbers if number is not None]

    @property
    def item_count(self) -> int:
        """Items of all works together, hidden or not."""
        return self._index.item_count

    def lookup(self, keys: npt.NDArray[np.uint32], *, limit: int) -> KeyPostings:
        """Find the postings of ``keys`` in the works that are not hidden."""
        found = self._index.lookup(keys, limit=limit)
        kept = ~np.isin(found.works, self._hidden)
        return KeyPostings(
            rows=found.rows[kept], works=found.works[kept], positions=found.positions[kept]
        )

    def items(self, work: int) -> npt.NDArray[np.uint32]:
        """Give the items of one work."""
        return self._index.items(work)

    def blob(self, work: int) -> memoryview:
        """Give what is stored of one work."""
        return self._index.blob(work)

    def work_id(self, work: int) -> str:
        """Name a work by its id."""
        return self._index.work_id(work)


def _matches(
    matcher: CatalogMatcher, heard: dict[str, bytes], *, hidden: Collection[str]
) -> Iterator[Match]:
    """Search for a work by what the catalog stores of it, among all but the hidden ones."""
    if blob := heard.get(chromaprint.ENGINE):
        items = np.frombuffer(blob, dtype="<u4").astype(np.uint32)
        queries = (items,) * len(chromaprint.QUERY_SHIFTS)
        yield from matcher.search(
            chromaprint.ENGINE,
            lambda index: fingerprint.find_matches(queries, _Others(index, hidden)),
        )
    if blob := heard.get(landmarks.ENGINE):
        query = _query(blob)
        if query.frames >= constellations.LEAST_FRAMES:
            yield from matcher.search(
                landmarks.ENGINE,
                lambda index: constellations.find_matches(
                    query, _Others(index, hidden), least_moments=_LEAST_MOMENTS
                ),
            )


def _query(blob: bytes) -> constellations.Query:
    """Read the landmarks back from the keys that begin with them."""
    keyed = landmarks.from_blob(blob)
    places = keyed.positions.astype(np.int64) * landmarks.BINS + landmarks.bin_of(keyed.keys)
    places = np.unique(places)
    found = landmarks.Landmarks(
        frames=places // landmarks.BINS,
        bins=places % landmarks.BINS,
        ranks=np.zeros_like(places),  # all that is kept of a work is prominent
    )
    return constellations.Query(
        landmarks=found, frames=int(found.frames[-1]) + 1 if len(places) else 0
    )


def _duplicate(work: WorkRow, other: WorkRow, matches: list[Match]) -> Duplicate:
    seconds = min(_covered(matches), work.seconds, other.seconds)
    longer, shorter = max(work.seconds, other.seconds), min(work.seconds, other.seconds)
    relation: Relation = "shares"
    if seconds >= MOST_OF * longer:
        relation = "same"
    elif seconds >= MOST_OF * shorter:
        relation = "contains"
    first, second = sorted((work, other), key=lambda each: each.work_id)
    return Duplicate(
        work=first,
        other=second,
        shared_seconds=seconds,
        score=max(match.score for match in matches),
        relation=relation,
    )


def _covered(matches: list[Match]) -> float:
    """Seconds of the query that some match covers, each counted once."""
    total = end = 0.0
    for match in sorted(matches, key=lambda each: each.query_start_seconds):
        start = max(end, match.query_start_seconds)
        total += max(0.0, match.query_end_seconds - start)
        end = max(end, match.query_end_seconds)
    return total
