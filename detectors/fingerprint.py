"""Does this recording quote a work, and where?

Two recordings of one sound give items that differ in few bits, so a quotation is a
stretch on which two fingerprints, laid over each other at one shift, agree. Hash
votes name the shifts worth a look; the stretch of the highest local score is the
evidence; the rule at the end decides. A low bit error rate alone never decides:
sustained chords agree by accident, exact hashes and a second window do not.

What this module does not do: make fingerprints (``detectors.chromaprint``), store
or look them up (``registry.index``), or judge what a match means (the policy).

Source: the local score and its chance follow gapless sequence comparison (Karlin
and Altschul, PNAS 87 (1990) 2264): E = K * m * n * exp(-lambda * score). K and
lambda are fitted on unrelated music, because neighboring items are far from
independent: 10 s have 1,888 bits, but vary like about 215.
"""

import math
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from detectors.base import Match, Postings
from detectors.chromaprint import (
    ENGINE,
    ITEM_SECONDS,
    QUERY_SHIFTS,
    SAMPLE_RATE,
    SILENCE,
    SPAN_SECONDS,
    Items,
)
from detectors.comparison import BITS, differing
from detectors.comparison import KEY_MASK as KEY_MASK
from detectors.comparison import ContentComparison as ContentComparison
from detectors.comparison import Similarity as Similarity
from detectors.comparison import same_limit as same_limit
from detectors.comparison import same_recording as same_recording
from detectors.comparison import similarity as similarity
from detectors.errors import DetectorError
from detectors.stretches import stretches

Numbers = npt.NDArray[np.int64]

COMMON_POSTINGS: Final = 2_000
"""A key with more postings than this says nothing about where it comes from."""
BIG_COMMON_POSTINGS: Final = 500
"""The same where there are more than ``BIG_ITEMS``: of 90 quotations one fewer is found, in
half the time."""
BIG_ITEMS: Final = 50_000_000
"""35,000 works of three minutes."""
MAX_DRIFT: Final = 0.06
"""Largest difference in tempo that one chain of segments may show."""

_NEUTRAL_RATE: Final = 0.30
"""Bit error rate that neither adds to a stretch nor ends it."""
_WINDOW: Final = 80
_STEP: Final = 40
_CANDIDATES: Final = 50
_PROBE_ITEMS: Final = 16
_PROBE_RATE: Final = 0.27
_OFFSET_BITS: Final = 24
_NUMBER_BITS: Final = 63
_OFFSET_ZERO: Final = 1 << 23
_OFFSET_MASK: Final = (1 << 24) - 1
_LEAST_SCORE: Final = 1.0
_WINDOW_ITEMS: Final = 19
"""Items of 5 s of sound."""
_WINDOW_RATE: Final = 0.20
_CHAIN_GAP: Final = 40
_STRANGE_BEFORE: Final = 1.0
_STRANGE_AFTER: Final = 1.5
"""Seconds of other sound in the first and the last item of a stretch."""
_VOTE_SCORE: Final = 0.2
_NULL_K: Final = 1e-7
_NULL_LAMBDA: Final = 1.3
"""Fitted on every 10 s of 152 tracks (10.9 h of game music) against all the others: 9.7e10
pairs of items, of which 8.0e-9 reached a score of 2, 5.2e-10 one of 4, 3.1e-11 one of 6."""
_LEAST_P: Final = 1e-12
"""Below the 1e-11 of the fit the tail is a guess."""


class WorkIndex(Protocol):
    """What matching asks of whoever holds the works."""

    @property
    def item_count(self) -> int:
        """Items of all works together."""

    def lookup(self, keys: Items, *, limit: int) -> Postings:
        """Find the postings of ``keys``, leaving out keys that have more than ``limit``."""

    def items(self, work: int) -> Items:
        """Give the items of one work, in time order."""

    def work_id(self, work: int) -> str:
        """Name a work by its id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What evidence must show to be called a match.

    The bit error rate never decides alone. The second witness is exact keys: a
    quotation through Opus 32k keeps 17 or more in 10 s, unrelated music has at most 5.
    Sustained tones have few distinct keys even when copied; they need two disjoint
    windows and hardly an error.

    Attributes:
        max_error_rate: Highest bit error rate over the evidence, in [0, 1].
        min_votes: Least number of distinct exact keys on the diagonal.
        min_vote_share: Least number of them per item of evidence, in [0, 1].
        enough_votes: Number of them that is enough for evidence of any length.
        min_windows: Disjoint windows of 5 s that stand in for the share of votes,
        tone_error_rate: if the bit error rate is not above this.
        min_seconds: Shortest evidence.
        max_p_value: Highest chance, after correction for the size of the search.
    """

    max_error_rate: float = 0.25
    min_votes: int = 3
    min_vote_share: float = 0.12
    enough_votes: int = 40
    min_windows: int = 2
    tone_error_rate: float = 0.05
    min_seconds: float = 4.0
    max_p_value: float = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A stretch on which the query and a work agree, decided or not.

    Attributes:
        work: Number of the work inside the index.
        first: First item of the stretch in the query.
        last: Last item, inclusive.
        offset: Item of the work that lies under query item 0, at the start of the stretch.
        drift: How much the offset grew until the end of the stretch, in items.
        shift: Which of the query's sub-hop shifts agreed best, in samples.
        error_rate: Share of differing bits.
        votes: Distinct exact keys on the stretch.
        windows: Disjoint windows of 5 s that agree on their own.
        diversity: Share of distinct keys in the query's stretch.
        local_score: Sum of (0.30 - error rate) over the items, plus 0.2 for each vote,
            times the diversity: what repeats itself says only once where it is from.
        p_value: Chance of such a local score in a search of this size.
    """

    work: int
    first: int
    last: int
    offset: int
    drift: int
    shift: int
    error_rate: float
    votes: int
    windows: int
    diversity: float
    local_score: float
    p_value: float

    @property
    def items(self) -> int:
        """Items from the first to the last."""
        return self.last - self.first + 1

    @property
    def seconds(self) -> float:
        """Sound heard by the items of the stretch."""
        return (self.last - self.first) * ITEM_SECONDS + SPAN_SECONDS

    @property
    def speed(self) -> float:
        """Query's speed relative to the work; 1.0 while the drift is within one item."""
        span = self.last - self.first
        return 1.0 if abs(self.drift) <= 1 or span == 0 else 1.0 + self.drift / span

    def satisfies(self, rule: Rule) -> bool:
        """Apply the rule: an error rate low enough, and a second, independent witness."""
        has_keys = self.votes >= min(rule.enough_votes, rule.min_vote_share * self.items)
        has_windows = self.windows >= rule.min_windows and self.error_rate <= rule.tone_error_rate
        return (
            self.error_rate <= rule.max_error_rate
            and self.votes >= rule.min_votes
            and (has_keys or has_windows)
            and self.seconds >= rule.min_seconds
            and self.p_value <= rule.max_p_value
        )


def find_matches(
    queries: tuple[Items, ...], index: WorkIndex, *, rule: Rule | None = None
) -> tuple[Match, ...]:
    """Find the works that a recording quotes.

    Args:
        queries: The recording's items from each of ``QUERY_SHIFTS``.
        index: The works to search.
        rule: What counts; None is the rule the published figures were measured with.

    Returns:
        One match per stretch, best score first; a work may have several.

    Raises:
        DetectorError: If the recording is too short to have an item.
    """
    rule = rule or Rule()
    size = _search_size(queries, index)
    found = find_evidence(queries, index, least_score=_score_of(rule.max_p_value, size))
    found = tuple(e for e in found if e.satisfies(rule))
    last = len(queries[0]) - 1 if queries else 0
    return tuple(_match(evidence, index, last=last) for evidence in found)


def find_evidence(
    queries: tuple[Items, ...], index: WorkIndex, *, least_score: float = 0.0
) -> tuple[Evidence, ...]:
    """Find every stretch of agreement, whether or not it is enough to decide.

    Args:
        queries: The recording's items from each of ``QUERY_SHIFTS``.
        index: The works to search.
        least_score: Stretches that cannot reach this local score may be left out.

    Returns:
        Evidence by falling local score; ties by work and place.

    Raises:
        DetectorError: If the recording is too short to have an item.

    Cost: one lookup per item and shift, then 4 comparisons per candidate diagonal.
    """
    if len(queries) != len(QUERY_SHIFTS) or not len(queries[0]):
        raise DetectorError(
            f"{0.0 if not queries else len(queries[0]) * ITEM_SECONDS:.2f} s of fingerprint, "
            f"at least {SPAN_SECONDS:.2f} s of sound are needed"
        )
    search = _search_size(queries, index)
    segments = [
        segment
        for candidate in _candidates(queries, index)
        for segment in _segments(candidate, queries, index.items(candidate.work))
    ]
    chains = _chained(_distinct(segments))
    found = [
        _evidence(chain, queries, index, search)
        for chain in chains
        if sum(segment.most_score for segment in chain) >= least_score
    ]
    return tuple(sorted(found, key=lambda e: (-e.local_score, e.work, e.first, e.offset)))


# Votes: which diagonals are worth a look


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """A diagonal, and the sub-hop shift at which the two agree best on it."""

    work: int
    offset: int
    shift: int


def _candidates(queries: tuple[Items, ...], index: WorkIndex) -> list[_Candidate]:
    """Choose the diagonals that have votes and then agree for some seconds.

    The query is walked in windows of 10 s, so that a short quotation in a long
    recording is not crowded out by others.
    """
    item, diagonal = _vote(queries, index)
    best: dict[int, tuple[float, int]] = {}
    for start in range(0, max(1, len(queries[0]) - _WINDOW + _STEP), _STEP):
        low, high = np.searchsorted(item, (start, start + _WINDOW))
        found, counts = np.unique(diagonal[low:high], return_counts=True)
        found = found[np.argsort(-counts, kind="stable")][:_CANDIDATES]
        rates = _probe(queries, index, found, start)
        for code, row in zip(found.tolist(), rates.tolist(), strict=True):
            rate = min(row)
            if rate <= min(_PROBE_RATE, best.get(code, (1.0, 0))[0]):
                best[code] = rate, QUERY_SHIFTS[row.index(rate)]
    return [
        _Candidate(
            work=code >> _OFFSET_BITS, offset=(code & _OFFSET_MASK) - _OFFSET_ZERO, shift=shift
        )
        for code, (_, shift) in sorted(best.items())
    ]


def _vote(queries: tuple[Items, ...], index: WorkIndex) -> tuple[Numbers, Numbers]:
    """List the votes, each once whatever the shift: query item and diagonal, by item.

    A diagonal is a work and an offset in one number, because numpy sorts numbers fast.
    """
    keys = np.concatenate([query & np.uint32(KEY_MASK) for query in queries])
    items = np.concatenate([np.arange(len(query)) for query in queries])
    heard = np.concatenate(queries) != SILENCE
    limit = COMMON_POSTINGS if index.item_count <= BIG_ITEMS else BIG_COMMON_POSTINGS
    found = index.lookup(keys[heard], limit=limit)
    item = items[heard][found.rows]
    diagonal = (found.works << _OFFSET_BITS) + (found.positions - item + _OFFSET_ZERO)
    # Both in one number: sorting that takes a third of the time of sorting pairs.
    bits = int(diagonal.max()).bit_length() if len(diagonal) else 0
    if len(item) and bits + int(item.max()).bit_length() < _NUMBER_BITS:
        both = np.sort(item << bits | diagonal)
        both = both[np.append(True, both[1:] != both[:-1])]
        return both >> bits, both & (1 << bits) - 1
    pairs = np.unique(np.stack((item, diagonal), axis=1), axis=0)
    return pairs[:, 0], pairs[:, 1]


def _probe(
    queries: tuple[Items, ...], index: WorkIndex, diagonals: Numbers, start: int
) -> npt.NDArray[np.float64]:
    """Give the lowest bit error rate over any 2 s of a window, shape (diagonals, shifts)."""
    width = min(_WINDOW, len(queries[0]) - start)
    probe = min(_PROBE_ITEMS, width)
    other = np.zeros((len(diagonals), width), np.uint32)
    present = np.zeros((len(diagonals), width), bool)
    for row, code in enumerate(diagonals.tolist()):
        reference = index.items(code >> _OFFSET_BITS)
        place = (code & _OFFSET_MASK) - _OFFSET_ZERO + start
        low, high = max(0, -place), min(width, len(reference) - place)
        other[row, low:high] = reference[place + low : place + high]
        present[row, low:high] = True
    rates = np.ones((len(diagonals), len(queries)))
    for column, query in enumerate(queries):
        own = query[start : start + width]
        wrong = np.full((len(diagonals), width), BITS // 2, np.int64)
        wrong[:, : len(own)] = np.where(
            present[:, : len(own)], differing(own, other[:, : len(own)]), BITS // 2
        )
        total = wrong.cumsum(axis=1)
        total[:, probe:] -= total[:, :-probe].copy()
        rates[:, column] = total[:, probe - 1 :].min(axis=1) / (probe * BITS)
    return rates


# Segments: where on a diagonal the two agree


@dataclass(frozen=True, slots=True, kw_only=True)
class _Segment:
    work: int
    offset: int
    first: int
    last: int
    shift: int
    wrong_bits: int

    @property
    def local_score(self) -> float:
        count = self.last - self.first + 1
        return _NEUTRAL_RATE * count - self.wrong_bits / BITS

    @property
    def most_score(self) -> float:
        """What it would be worth if every key agreed exactly."""
        return self.local_score + _VOTE_SCORE * (self.last - self.first + 1)


def _segments(
    candidate: _Candidate, queries: tuple[Items, ...], reference: Items
) -> list[_Segment]:
    """Cut one diagonal into its stretches of agreement."""
    query = queries[QUERY_SHIFTS.index(candidate.shift)]
    start = max(0, -candidate.offset)
    stop = min(len(query), len(reference) - candidate.offset)
    wrong = differing(
        query[start:stop], reference[start + candidate.offset : stop + candidate.offset]
    )
    return [
        _Segment(
            work=candidate.work,
            offset=candidate.offset,
            first=start + first,
            last=start + end - 1,
            shift=candidate.shift,
            wrong_bits=int(wrong[first:end].sum()),
        )
        for first, end in stretches(_NEUTRAL_RATE - wrong / BITS, least=_LEAST_SCORE)
    ]


def _distinct(segments: list[_Segment]) -> list[_Segment]:
    """Drop a segment whose stretch of the query a better one of the same work explains."""
    kept: list[_Segment] = []
    for segment in sorted(segments, key=lambda s: (-s.local_score, s.work, s.offset, s.first)):
        length = segment.last - segment.first + 1
        if not any(
            other.work == segment.work
            and min(other.last, segment.last) - max(other.first, segment.first) + 1 > length / 2
            for other in kept
        ):
            kept.append(segment)
    return kept


def _chained(segments: list[_Segment]) -> list[list[_Segment]]:
    """Join segments of one work that follow each other on nearly one diagonal."""
    chains: list[list[_Segment]] = []
    for segment in sorted(segments, key=lambda s: (s.work, s.first, s.offset)):
        for chain in reversed(chains):
            end = chain[-1]
            if end.work != segment.work:
                continue
            gap = segment.first - end.last
            reach = 1 + MAX_DRIFT * (segment.last - end.first)
            if -_STEP <= gap <= _CHAIN_GAP and abs(segment.offset - end.offset) <= reach:
                chain.append(segment)
                break
        else:
            chains.append([segment])
    return chains


# Evidence: what a chain shows


def _evidence(
    chain: list[_Segment], queries: tuple[Items, ...], index: WorkIndex, search: int
) -> Evidence:
    reference = index.items(chain[0].work)
    wrong = np.concatenate([_wrong(s, queries, reference) for s in chain])
    keys = np.concatenate([_query(s, queries) for s in chain]) & np.uint32(KEY_MASK)
    agreed: set[int] = set()
    for segment in chain:
        agreed |= _agreed(segment, queries, reference)
    diversity = len(np.unique(keys)) / len(keys)
    score = diversity * (sum(s.local_score for s in chain) + _VOTE_SCORE * len(agreed))
    return Evidence(
        work=chain[0].work,
        first=chain[0].first,
        last=max(segment.last for segment in chain),
        offset=chain[0].offset,
        drift=chain[-1].offset - chain[0].offset,
        shift=max(chain, key=lambda s: s.local_score).shift,
        error_rate=float(wrong.mean() / BITS),
        votes=len(agreed),
        windows=_good_windows(wrong),
        diversity=diversity,
        local_score=score,
        p_value=chance(score, search),
    )


def _query(segment: _Segment, queries: tuple[Items, ...]) -> Items:
    return queries[QUERY_SHIFTS.index(segment.shift)][segment.first : segment.last + 1]


def _wrong(
    segment: _Segment, queries: tuple[Items, ...], reference: Items
) -> npt.NDArray[np.uint8]:
    first, last = segment.first + segment.offset, segment.last + segment.offset
    return differing(_query(segment, queries), reference[first : last + 1])


def _agreed(segment: _Segment, queries: tuple[Items, ...], reference: Items) -> set[int]:
    """Collect the distinct keys that agree exactly on the segment, at any shift."""
    mask = np.uint32(KEY_MASK)
    found: set[int] = set()
    for query in queries:
        own = query[segment.first : segment.last + 1]
        other = reference[segment.first + segment.offset :][: len(own)]
        own = own[: len(other)]
        equal = ((own ^ other) & mask == 0) & (other != SILENCE)
        found.update((other[equal] & mask).tolist())
    return found


def _good_windows(wrong: npt.NDArray[np.uint8]) -> int:
    whole = len(wrong) // _WINDOW_ITEMS
    rates = wrong[: whole * _WINDOW_ITEMS].reshape(whole, _WINDOW_ITEMS).mean(axis=1) / BITS
    return int((rates <= _WINDOW_RATE).sum())


def _search_size(queries: tuple[Items, ...], index: WorkIndex) -> int:
    return (len(queries[0]) if queries else 0) * max(1, index.item_count)


def _score_of(p_value: float, search: int) -> float:
    """Give the local score whose chance is ``p_value``."""
    if not 0.0 < p_value < 1.0 or not search:
        return 0.0
    return math.log(_NULL_K * search / -math.log1p(-p_value)) / _NULL_LAMBDA


def chance(local_score: float, search: int) -> float:
    """Give the chance that unrelated music reaches a local score somewhere in a search.

    Args:
        local_score: As in ``Evidence``.
        search: Items of the query times items of all works.

    Returns:
        A probability in [1e-12, 1].
    """
    expected = _NULL_K * search * math.exp(-_NULL_LAMBDA * local_score)
    return min(1.0, max(_LEAST_P, -math.expm1(-expected)))


def _match(evidence: Evidence, index: WorkIndex, *, last: int) -> Match:
    """Tell a stretch; items at its ends are partly of other sound, unless the query ends there."""
    late = evidence.shift / SAMPLE_RATE
    begin = evidence.first * ITEM_SECONDS + (_STRANGE_BEFORE if evidence.first else 0.0)
    whole = evidence.last * ITEM_SECONDS + SPAN_SECONDS
    end = max(begin, whole - (_STRANGE_AFTER if evidence.last < last - 1 else 0.0))
    first_under = (evidence.first + evidence.offset) * ITEM_SECONDS
    last_under = (evidence.last + evidence.offset + evidence.drift) * ITEM_SECONDS + SPAN_SECONDS
    return Match(
        work_id=index.work_id(evidence.work),
        engine=ENGINE,
        query_start_seconds=begin + late,
        query_end_seconds=end + late,
        reference_start_seconds=first_under + begin - evidence.first * ITEM_SECONDS,
        reference_end_seconds=last_under + end - whole,
        score=max(0.0, 1.0 - 2.0 * evidence.error_rate),
        p_value=evidence.p_value,
        speed=evidence.speed,
        votes=evidence.votes,
        error_rate=evidence.error_rate,
    )
