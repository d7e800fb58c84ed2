"""What do several engines together say about one stretch?

Each engine hears the same quotation in its own way: Chromaprint by bits, landmarks by
peaks. What they say of one work at one place is one match: the stronger engine's
statement, over all the seconds that either has heard. Two engines that agree are no two
witnesses, for both heard the same sound, so the chance is the smaller one, corrected for
every question that was asked.

What this module does not do: hear, or judge what a match means (the policy).
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from detectors.base import Match

_NEAR_SECONDS: Final = 2.0
"""Two stretches of one work are one quotation if they lie over it so near each other."""
_LEAST_OVERLAP: Final = 0.5


def merged(matches: Iterable[Match], *, tried: int) -> tuple[Match, ...]:
    """Make one match of all that lie on one stretch of one work.

    Args:
        matches: Of all engines, in any order.
        tried: How many questions were asked, of all engines and in all variants, whether or
            not they found anything; each chance is multiplied by it.

    Returns:
        Strongest first: by chance, then by score; ties by work and place.
    """
    kept: list[Match] = []
    for match in sorted(matches, key=_rank):
        corrected = replace(match, p_value=min(1.0, match.p_value * tried))
        for number, other in enumerate(kept):
            if other.work_id != match.work_id or _overlap(other, match) < _LEAST_OVERLAP:
                continue
            # A work that repeats itself lies over one stretch at several places: one is told.
            if _is_at_one_place(other, match):
                kept[number] = _united(other, corrected)
            break
        else:
            kept.append(corrected)
    return tuple(sorted(kept, key=_rank))


def _rank(match: Match) -> tuple[float, float, str, float]:
    return match.p_value, -match.score, match.work_id, match.query_start_seconds


def _overlap(one: Match, other: Match) -> float:
    """Give the share of the shorter stretch of the query that both have."""
    start = max(one.query_start_seconds, other.query_start_seconds)
    end = min(one.query_end_seconds, other.query_end_seconds)
    shorter = min(
        one.query_end_seconds - one.query_start_seconds,
        other.query_end_seconds - other.query_start_seconds,
    )
    return (end - start) / max(shorter, 1e-9)


def _is_at_one_place(one: Match, other: Match) -> bool:
    """Whether both lay the work over the query at the same place."""
    start = max(one.query_start_seconds, other.query_start_seconds)
    end = min(one.query_end_seconds, other.query_end_seconds)
    middle = (start + end) / 2
    return abs(_under(one, middle) - _under(other, middle)) <= _NEAR_SECONDS


def _under(match: Match, query_seconds: float) -> float:
    """Give the second of the work that lies under a second of the query."""
    return match.reference_start_seconds + match.speed * (query_seconds - match.query_start_seconds)


def _united(best: Match, other: Match) -> Match:
    """Stretch the better statement over what the other has heard beside it."""
    start = min(best.query_start_seconds, other.query_start_seconds)
    end = max(best.query_end_seconds, other.query_end_seconds)
    before = (best.query_start_seconds - start) * best.speed
    after = (end - best.query_end_seconds) * best.speed
    return replace(
        best,
        query_start_seconds=start,
        query_end_seconds=end,
        reference_start_seconds=max(0.0, best.reference_start_seconds - before),
        reference_end_seconds=best.reference_end_seconds + after,
        score=max(best.score, other.score),
        votes=max(best.votes, other.votes) if best.engine == other.engine else best.votes,
        error_rate=best.error_rate if best.error_rate is not None else other.error_rate,
    )
