"""Which works of the catalog are copies, edits or remasters of one another?

Duplicates make one quote count as several and two rights-holders claim one sound, so
they are worth knowing before a match is disputed. Nothing is changed here: which of
two works stays is for the rights-holders to say.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from detectors.chromaprint import ENGINE, QUERY_SHIFTS
from detectors.fingerprint import find_matches
from registry.session import Database
from safegen.matching import CatalogMatcher


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate:
    """Two works that share sound.

    Attributes:
        work_id: The one with the smaller id.
        shared_seconds: Sum of the stretches of the first that are also in the other.
        score: Agreement of the best stretch in [0, 1]; 1 is the same sound.
    """

    work_id: str
    other_work_id: str
    shared_seconds: float
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What comparing one work with the rest gave; one for each work, for progress."""

    work_id: str
    total: int
    duplicates: tuple[Duplicate, ...]


def find_duplicates(database: Database) -> Iterator[Compared]:
    """Compare every work in force with all others, in the order of their ids.

    A pair is found by the rule that decides matches of outputs, from either side, and
    is reported once.
    """
    matcher = CatalogMatcher(database)
    index = matcher.index(ENGINE)
    seen: set[frozenset[str]] = set()
    for work in sorted(index.works(), key=index.work_id):
        work_id = index.work_id(work)
        shared: dict[str, list[tuple[float, float]]] = {}
        # Items are kept from one start only; a longer stretch makes up for the others.
        queries = (index.items(work),) * len(QUERY_SHIFTS)
        for match in find_matches(queries, index):
            if match.work_id != work_id:
                seconds = match.query_end_seconds - match.query_start_seconds
                shared.setdefault(match.work_id, []).append((seconds, match.score))
        found = []
        for other, stretches in sorted(shared.items()):
            pair = frozenset((work_id, other))
            if pair in seen:
                continue
            seen.add(pair)
            first, second = sorted(pair)
            found.append(
                Duplicate(
                    work_id=first,
                    other_work_id=second,
                    shared_seconds=sum(seconds for seconds, _ in stretches),
                    score=max(score for _, score in stretches),
                )
            )
        yield Compared(work_id=work_id, total=index.work_count, duplicates=tuple(found))
