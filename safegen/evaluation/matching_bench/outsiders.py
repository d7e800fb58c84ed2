"""Of music outside the catalog: what was named, by right or wrongly, and do p-values hold?

A work that is named is no false match if both recordings hold the same sound at that place
(``matching_bench.shared``). Two works of which this was shown at one place are related, and
what is named between them elsewhere is counted by itself: as neither right nor wrong.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from detectors.constellations import HALF_SCORE, NULL_LAMBDA, tail
from safegen.evaluation.matching_bench.trials import Named, unpack
from safegen.evaluation.metrics import Rate, wilson
from safegen.evaluation.state import Row

LEVELS: Final = (0.5, 0.1, 0.03, 0.01, 0.003, 0.001, 1e-4, 1e-5)
TAIL_FROM: Final = 35.0
"""Score above which the scores of unrelated music fall off exponentially."""

_Pair = frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outsiders:
    """What was said of music that is not in a catalog.

    Attributes:
        works: In the catalogs that were searched.
        rate: Queries with a match that nothing justifies.
        shared: Queries that were only named works which hold the same sound there.
        related: Queries that were named a work which holds the same sound elsewhere.
        which: The wrong matches, for people.
        pairs: Recordings that hold the same sound, for people.
    """

    works: int
    rate: Rate
    shared: int
    related: int
    which: tuple[str, ...]
    pairs: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """Round for a report."""
        return {
            "works": self.works,
            **self.rate.as_json(),
            "same_sound": self.shared,
            "related_works": self.related,
            "which": list(self.which),
            "pairs_with_the_same_sound": list(self.pairs),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Chances:
    """Whether the chances that landmarks tell are those that unrelated music shows.

    Attributes:
        queries: Of music outside the catalog; those whose likeliest work is related left out.
        levels: Chance -> how many queries had a smaller one; a chance times ``queries`` is
            what was to be expected.
        null_k: Fitted on these queries,
        null_lambda: as in ``detectors.constellations``; 0 if no score reaches the tail.
    """

    queries: int
    levels: Mapping[float, int]
    null_k: float
    null_lambda: float

    def as_json(self) -> dict[str, object]:
        """Round for a report."""
        return {
            "queries": self.queries,
            "smaller_than": {
                f"{level:g}": {"seen": seen, "expected": round(level * self.queries, 2)}
                for level, seen in self.levels.items()
            },
            "fitted_k": float(f"{self.null_k:.3g}"),
            "fitted_lambda": round(self.null_lambda, 4),
            "used_lambda": NULL_LAMBDA,
        }


def outsiders(rows: Sequence[Row], names: Mapping[str, str]) -> tuple[Outsiders, ...]:
    """Count by the size of the catalog.

    Args:
        rows: Of ``trials.search_strangers``.
        names: Id of a work -> its title.
    """
    related = _related(rows, names)
    sizes: dict[int, list[Row]] = {}
    for row in rows:
        sizes.setdefault(int(_number(row["works"])), []).append(row)
    return tuple(_counted(size, here, related, names) for size, here in sorted(sizes.items()))


def _counted(
    works: int, rows: Sequence[Row], related: frozenset[_Pair], names: Mapping[str, str]
) -> Outsiders:
    wrong: list[str] = []
    false = shared = doubtful = 0
    for row in rows:
        track = str(row["track"])
        queries: dict[float, list[Named]] = {}
        for each in unpack(str(row["named"])):
            queries.setdefault(each.start, []).append(each)
        for start, named in queries.items():
            strange = [n for n in named if not n.is_shared]
            bad = [n for n in strange if _pair(track, n, names) not in related]
            wrong += [_sentence(track, start, n, names) for n in bad]
            false += bool(bad)
            doubtful += bool(strange) and not bad
            shared += not strange
    return Outsiders(
        works=works,
        rate=wilson(false, sum(int(_number(row["n"])) for row in rows)),
        shared=shared,
        related=doubtful,
        which=tuple(wrong),
        pairs=tuple(sorted(" and ".join(sorted(pair)) for pair in _related(rows, names))),
    )


def chances(rows: Sequence[Row], names: Mapping[str, str]) -> Chances | None:
    """Compare the chances that were told with how often they came; None if nothing is known."""
    related = _related(rows, names)
    known: list[Named] = []
    search = 0.0
    for row in rows:
        likeliest = unpack(str(row["chances"]))
        known += [
            each
            for each in likeliest
            if not each.is_shared and _pair(str(row["track"]), each, names) not in related
        ]
        search += _number(row["search"]) * len(likeliest)
    if not known:
        return None
    scores = [HALF_SCORE * each.score / (1.0 - each.score) for each in known]
    mean_search = search / sum(len(unpack(str(row["chances"]))) for row in rows)
    is_fitted = max(scores) > TAIL_FROM and math.isfinite(max(scores))
    k, decay = tail(scores, search=int(mean_search), above=TAIL_FROM) if is_fitted else (0.0, 0.0)
    return Chances(
        queries=len(known),
        levels={level: sum(each.p_value <= level for each in known) for level in LEVELS},
        null_k=k,
        null_lambda=decay,
    )


def _related(rows: Iterable[Row], names: Mapping[str, str]) -> frozenset[_Pair]:
    """Name the pairs of recordings that hold the same sound somewhere."""
    return frozenset(
        _pair(str(row["track"]), each, names)
        for row in rows
        for column in ("named", "chances")
        for each in unpack(str(row[column]))
        if each.is_shared
    )


def _pair(track: str, named: Named, names: Mapping[str, str]) -> _Pair:
    return frozenset((track, names.get(named.work_id, named.work_id)))


def _sentence(track: str, start: float, named: Named, names: Mapping[str, str]) -> str:
    return (
        f"{track} at {start:.1f} s: {names.get(named.work_id, named.work_id)} "
        f"({named.engine}, p {named.p_value:.1g}, "
        f"the same sound in {named.alike} of {named.seconds} s)"
    )


def _number(value: float | str | None) -> float:
    return float(value or 0.0)
