"""Does this recording hold the landmarks of a work, in the same order and at the same pace?

Keys name the places worth a look: works and offsets at which several keys agree. There
the work's own landmarks are laid over the query's spectrogram at slightly different
paces, and every landmark that is found again, or is not, counts by how telling it is:
a tone that sounds all the time is found at any offset and says nothing, nor does a
moment at which everything sounds. The stretch of the highest total is the evidence. A
second witness may be asked about each (``detectors.corroboration``); both together make
the score.

What this module does not do: find landmarks (``detectors.landmarks``), store or look
them up (``registry.index``), or judge what a match means (the policy).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from detectors.base import Keyed, Match
from detectors.chromaprint import Pcm
from detectors.errors import DetectorError
from detectors.landmarks import (
    BINS,
    CENTER_SECONDS,
    ENGINE,
    FRAME,
    FRAME_SECONDS,
    HOP,
    QUERY,
    Landmarks,
    Numbers,
    bin_of,
    keys_of,
    landmarks_of,
)
from detectors.stretches import stretches
from detectors.votes import STEP, WINDOW, Candidate, KeyIndex, candidates, promising, vote

Seconds = npt.NDArray[np.float64]

LEAST_FRAMES: Final = 80
"""Two seconds: fewer have nothing to be found by."""

_BLOCK: Final = 12 * STEP
"""A minute of the query: votes of an hour would fill the memory."""
_PACES: Final = tuple(round(0.95 + 0.01 * i, 2) for i in range(11))
_NUDGES: Final = tuple(range(-4, 5))
_FOUND_PROB: Final = 0.45
"""How often a landmark is found again where the work sounds, on the whole."""
_LEAST_PROB: Final = 0.02
_MOST_PROB: Final = 0.4
_LOSS_WEIGHT: Final = 0.35
"""What is laid over the music hides landmarks for seconds; losses in full would end a stretch."""
_BIN_FRAMES: Final = 11
"""Gains are added up over a quarter of a second."""
_LEAST_GAIN: Final = 3.0
_CHAIN_FRAMES: Final = 12
LEAST_ASKED: Final = 20.0
"""Local score of a stretch that a second witness is asked about."""
AGREEMENT_WEIGHT: Final = 5.0
"""What an item's worth of agreement adds to the score. Of unrelated music the scores fall as
steeply with it as without; of a quotation under noise it adds 40 to 80."""
LEAST_AGREEMENT: Final = 4.0
"""Less, of which one place in a hundred shows as much by luck, says nothing about its ends."""

NULL_K: Final = 1e-6
NULL_LAMBDA: Final = 0.25
"""Fitted by ``tail`` on the best scores of 839 ten-second queries of game music, each
against 75 works that it shares nothing with (1.27 million keys): 69 reached 35, 21 reached
40, 5 reached 45, none 50. Above 35 they fall as exp(-0.25 * score)."""
LEAST_P: Final = 1e-12
"""Below the range of the fit the tail is a guess."""
_APART: Final = 1.0
"""Seconds between two stretches that are told as one, at most."""
HALF_SCORE: Final = 40.0
"""Score that is told as 0.5: one of 40 queries finds as much in 75 unrelated works."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Effort:
    """How many keys are looked up: as many as the size of the catalog leaves time for.

    Attributes:
        most_items: Keys of all works for which this is affordable.
        rate: Landmarks in a second of the query, at most.
        targets: How many of the next landmarks in reach are combined with each.
        limit: A key with more postings than this says nothing about where it comes from.
        candidates: How many places of ten seconds are looked at closely.
    """

    most_items: float
    rate: int
    targets: int
    limit: int
    candidates: int


_EFFORTS: Final = (
    _Effort(most_items=6e7, rate=150, targets=16, limit=1_000, candidates=48),
    _Effort(most_items=3e8, rate=110, targets=11, limit=1_000, candidates=48),
    _Effort(most_items=math.inf, rate=75, targets=8, limit=100, candidates=32),
)
"""For about 5,000 works, 25,000, and more; of 3 minutes each."""


class LandmarkIndex(KeyIndex, Protocol):
    """What matching asks of whoever holds the works."""

    @property
    def item_count(self) -> int:
        """Keys of all works together."""

    def blob(self, work: int) -> bytes | memoryview:
        """Give what is stored of one work."""

    def work_id(self, work: int) -> str:
        """Name a work by its id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LandmarkRule:
    """What evidence must show to be called a match.

    Attributes:
        min_votes: Least number of landmarks found again.
        min_seconds: Shortest evidence.
        max_p_value: Highest chance, after correction for the size of the search.
    """

    min_votes: int = 12
    min_seconds: float = 2.0
    max_p_value: float = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """What a second witness says of a place that landmarks named.

    Attributes:
        worth: How much more agrees there than around it, in items; at least 0.
        start_seconds: Of the stretch on which it agrees, in the query.
        end_seconds: Of its end.
    """

    worth: float
    start_seconds: float
    end_seconds: float


NO_AGREEMENT: Final = Agreement(worth=0.0, start_seconds=0.0, end_seconds=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LandmarkEvidence:
    """A stretch on which the query holds the landmarks of a work.

    Attributes:
        work: Number of the work inside the index.
        first_frame: Of the stretch, in the query.
        last_frame: Exclusive.
        work_first_frame: Frame of the work that lies under ``first_frame``.
        work_last_frame: Frame of the work that lies under ``last_frame``.
        votes: Landmarks of the work that were found again.
        expected: Landmarks of the work that should be there.
        local_score: Sum of the gains over the stretch, in nats of an ideal model.
        p_value: Chance of such a score in a search of this size.
        agreement: What a second witness says of this place, none if it was not asked.
    """

    work: int
    first_frame: int
    last_frame: int
    work_first_frame: float
    work_last_frame: float
    votes: int
    expected: int
    local_score: float
    p_value: float
    agreement: Agreement = NO_AGREEMENT

    @property
    def score(self) -> float:
        """What the landmarks and the second witness say together."""
        return self.local_score + AGREEMENT_WEIGHT * self.agreement.worth

    @property
    def stretch(self) -> tuple[float, float]:
        """Where in the query it begins and ends, in seconds: all that either witness heard."""
        start = self.first_frame * FRAME_SECONDS + CENTER_SECONDS
        end = self.last_frame * FRAME_SECONDS + CENTER_SECONDS
        other = self.agreement
        is_one = other.start_seconds - _APART <= end and start - _APART <= other.end_seconds
        if other.worth < LEAST_AGREEMENT or not is_one:
            return start, end
        return min(start, other.start_seconds), max(end, other.end_seconds)

    @property
    def seconds(self) -> float:
        """Length of the stretch in the query."""
        start, end = self.stretch
        return end - start

    def under(self, query_seconds: Seconds) -> Seconds:
        """Give the seconds of the work under those of the query, beyond the stretch as well.

        Args:
            query_seconds: Of any shape.
        """
        start = self.first_frame * FRAME_SECONDS + CENTER_SECONDS
        work_start = self.work_first_frame * FRAME_SECONDS + CENTER_SECONDS
        # The pace of a short stretch is known roughly; far from it that would be seconds.
        pace = min(max(self.speed, _PACES[0]), _PACES[-1])
        return work_start + (query_seconds - start) * pace

    @property
    def speed(self) -> float:
        """Query's tempo relative to the work."""
        span = self.last_frame - self.first_frame
        return (self.work_last_frame - self.work_first_frame) / span if span else 1.0

    def satisfies(self, rule: LandmarkRule) -> bool:
        """Apply the rule."""
        return (
            self.votes >= rule.min_votes
            and self.seconds >= rule.min_seconds
            and self.p_value <= rule.max_p_value
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A recording as it is searched for.

    Attributes:
        landmarks: As densely as ``QUERY``.
        frames: Length of the recording.
    """

    landmarks: Landmarks
    frames: int


def query_of(samples: Pcm) -> Query:
    """Prepare 16-bit mono sound at 11,025 Hz for the search."""
    return Query(
        landmarks=landmarks_of(samples, QUERY),
        frames=max(0, (len(samples) - FRAME) // HOP + 1),
    )


Witness = Callable[[str, LandmarkEvidence], Agreement]
"""Says, of a work by its id and a place in it, how far other ears agree."""


def find_matches(
    query: Query,
    index: LandmarkIndex,
    *,
    rule: LandmarkRule | None = None,
    witness: Witness | None = None,
    least_moments: int = 0,
) -> tuple[Match, ...]:
    """Find the works that a recording quotes, best first; a work may have several stretches.

    Args:
        query: The recording.
        index: The works to search.
        rule: What counts; None is the rule the published figures were measured with.
        witness: Asked about every place worth it.
        least_moments: As in ``find_evidence``.

    Raises:
        DetectorError: If the recording is shorter than ``LEAST_FRAMES``.
    """
    rule = rule or LandmarkRule()
    evidence = find_evidence(query, index, witness=witness, least_moments=least_moments)
    found = [e for e in evidence if e.satisfies(rule)]
    return tuple(to_match(evidence, index) for evidence in found)


def find_evidence(
    query: Query,
    index: LandmarkIndex,
    *,
    witness: Witness | None = None,
    least_moments: int = 0,
) -> tuple[LandmarkEvidence, ...]:
    """Find every stretch of agreement, whether or not it is enough to decide.

    Args:
        query: The recording.
        index: The works to search.
        witness: Asked about every stretch of at least ``LEAST_ASKED``.
        least_moments: Look only at works of which one place has votes from so many moments
            of a window. What is worn or hidden has fewer; between clean recordings it spares
            most of the time.

    Returns:
        Evidence by falling score; ties by work and place.

    Raises:
        DetectorError: If the recording is shorter than ``LEAST_FRAMES``.
    """
    if query.frames < LEAST_FRAMES:
        raise DetectorError(
            f"{query.frames * FRAME_SECONDS:.2f} s of landmarks, "
            f"at least {LEAST_FRAMES * FRAME_SECONDS:.2f} s are needed"
        )
    works = _Works(index)
    effort = next(one for one in _EFFORTS if index.item_count <= one.most_items)
    asked = query.landmarks.strongest(effort.rate)
    keyed = keys_of(asked, targets=effort.targets, is_query=True)
    lines: list[_Line] = []
    last = max(1, query.frames - WINDOW + STEP)
    for first in range(0, last, _BLOCK):
        starts = range(first, min(first + _BLOCK, last), STEP)
        heard = (keyed.positions >= first) & (keyed.positions < starts[-1] + WINDOW)
        block = Keyed(keys=keyed.keys[heard], positions=keyed.positions[heard])
        votes = vote(block, index, limit=effort.limit)
        if least_moments:
            votes = promising(votes, least_moments)
        for start in starts:
            stop = min(query.frames, start + WINDOW)
            found = candidates(votes, start, stop, most=effort.candidates)
            lines += _laid_over(found, query, works, start, stop)
    search = query.frames * max(1, index.item_count)
    evidence = [
        _corroborated(each, index.work_id(each.work), witness, search)
        if witness and each.local_score >= LEAST_ASKED
        else each
        for chain in _chained(lines)
        for each in _evidence(chain, search)
    ]
    return tuple(sorted(evidence, key=lambda e: (-e.score, e.work, e.first_frame)))


def _corroborated(
    evidence: LandmarkEvidence, work_id: str, witness: Witness, search: int
) -> LandmarkEvidence:
    heard = replace(evidence, agreement=witness(work_id, evidence))
    return replace(heard, p_value=chance(heard.score, search))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Points:
    """Landmarks of a work, by frame."""

    frames: Numbers
    bins: Numbers


class _Works:
    """The works' landmarks, read only where they are needed."""

    def __init__(self, index: LandmarkIndex) -> None:
        self._index = index
        self._columns: dict[int, tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]] = {}

    def between(self, work: int, first: float, last: float) -> "_Points":
        """Give the landmarks of one work from frame ``first`` to before ``last``, each once."""
        if work not in self._columns:
            words = np.frombuffer(self._index.blob(work), dtype="<u4")
            self._columns[work] = words[: len(words) // 2], words[len(words) // 2 :]
        keys, frames = self._columns[work]
        low, high = np.searchsorted(frames, (max(0.0, first), max(0.0, last)))
        place = frames[low:high].astype(np.int64)
        both = np.sort(place * BINS + bin_of(keys[low:high]))
        both = both[np.append(True, both[1:] != both[:-1])] if len(both) else both
        return _Points(frames=both // BINS, bins=both % BINS)


class _Sky:
    """What it is worth to find a landmark of a work at any point of one window of the query."""

    def __init__(self, query: Query, start: int, stop: int) -> None:
        low, high = np.searchsorted(query.landmarks.frames, (start, stop))
        frames, bins = query.landmarks.frames[low:high] - start, query.landmarks.bins[low:high]
        bright = np.zeros((stop - start + 2, BINS + 2), dtype=bool)
        for later in (0, 1, 2):
            for higher in (0, 1, 2):
                bright[frames + later, bins + higher] = True
        bright = bright[1:-1, 1:-1]
        # What a bin and a moment show on the whole is no agreement.
        per_bin = bright.mean(axis=0, dtype=np.float32)
        per_frame = bright.mean(axis=1, dtype=np.float32)
        per_frame /= max(float(per_frame.mean()), 1e-9)
        by_luck = np.clip(per_frame[:, np.newaxis] * per_bin, _LEAST_PROB, _MOST_PROB)
        lost = np.float32(_LOSS_WEIGHT) * np.log((1.0 - _FOUND_PROB) / (1.0 - by_luck))
        gain = np.where(bright, np.log(_FOUND_PROB / by_luck), lost)
        # Around the window nothing is gained or lost, however a point there is nudged.
        self.margin = 2 * max(_NUDGES) + 1
        self.gain = np.pad(gain, ((self.margin, self.margin), (0, 0))).astype(np.float32)
        self.bright = np.pad(bright, ((self.margin, self.margin), (0, 0)))


# Lines: how well the work lies over the query


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """A work laid over one window of the query.

    Attributes:
        diagonal: Frame of the work under the middle of the window, less that frame.
        pace: Frames of the work in a frame of the query.
        gains: Per quarter second of the window.
        strict: The same with losses in full.
        found: Landmarks found again, per quarter second.
        expected: Landmarks that should be there.
    """

    work: int
    start: int
    middle: float
    diagonal: float
    pace: float
    gains: npt.NDArray[np.float64]
    strict: npt.NDArray[np.float64]
    found: Numbers
    expected: Numbers

    def at(self, frame: float) -> float:
        """Give the frame of the work that lies under a frame of the query."""
        return self.middle + self.diagonal + (frame - self.middle) * self.pace


def _laid_over(
    candidates: list[Candidate], query: Query, works: _Works, start: int, stop: int
) -> list[_Line]:
    """Find for each candidate the pace and offset at which it agrees best over a window."""
    middle = (start + stop) / 2
    reach = (stop - start) / 2 * max(_PACES) + max(_NUDGES)
    own = [
        works.between(c.work, middle + c.diagonal - reach, middle + c.diagonal + reach)
        for c in candidates
    ]
    sizes = [len(one.frames) for one in own]
    if not sum(sizes):
        return []
    sky = _Sky(query, start, stop)
    least, most = max(_NUDGES), len(sky.gain) - 1 - max(_NUDGES)
    gain, bright = sky.gain.ravel(), sky.bright.ravel()
    owner = np.repeat(np.arange(len(own)), sizes)
    from_middle = np.concatenate(
        [one.frames - middle - c.diagonal for one, c in zip(own, candidates, strict=True)]
    )
    bins = np.concatenate([one.bins for one in own])

    def points(pace: float, mine: slice | npt.NDArray[np.bool_]) -> Numbers:
        """Give the cells of the window that landmarks fall on; those outside fall on its margin."""
        frames = np.rint(from_middle[mine] / pace + (middle - start + sky.margin))
        cells: Numbers = np.clip(frames, least, most).astype(np.int64) * BINS + bins[mine]
        return cells

    best = np.full(len(own), -np.inf)
    choice = np.zeros((len(own), 2))
    for pace in _PACES:
        cells = points(pace, slice(None))
        for nudge in _NUDGES:
            total = np.bincount(owner, gain.take(cells + nudge * BINS), minlength=len(own))
            better = total > best
            best[better] = total[better]
            choice[better] = pace, nudge
    lines: list[_Line] = []
    width = -(-(stop - start) // _BIN_FRAMES)
    for row in np.flatnonzero(best >= _LEAST_GAIN).tolist():
        pace, nudge = choice[row].tolist()
        cells = points(pace, owner == row) + int(nudge) * BINS
        frames = cells // BINS - sky.margin
        inside = (frames >= 0) & (frames < stop - start)
        cells, place = cells[inside], frames[inside] // _BIN_FRAMES
        own_gain = gain[cells]
        strict = np.where(own_gain < 0, own_gain / _LOSS_WEIGHT, own_gain)
        lines.append(
            _Line(
                work=candidates[row].work,
                start=start,
                middle=middle,
                diagonal=candidates[row].diagonal - nudge * pace,
                pace=pace,
                gains=np.bincount(place, own_gain, minlength=width).astype(np.float64),
                strict=np.bincount(place, strict, minlength=width).astype(np.float64),
                found=np.bincount(place[bright[cells]], minlength=width),
                expected=np.bincount(place, minlength=width),
            )
        )
    return lines


def _chained(lines: list[_Line]) -> list[list[_Line]]:
    """Join lines of one work that go on where another ends."""
    chains: list[list[_Line]] = []
    for line in sorted(lines, key=lambda one: (one.work, one.start, -float(one.gains.sum()))):
        for chain in chains:
            end = chain[-1]
            meeting = (end.middle + line.middle) / 2
            if (
                end.work == line.work
                and end.start + STEP == line.start
                and abs(end.at(meeting) - line.at(meeting)) <= _CHAIN_FRAMES
            ):
                chain.append(line)
                break
        else:
            chains.append([line])
    return chains


def _evidence(chain: list[_Line], search: int) -> list[LandmarkEvidence]:
    """Cut a chain into its stretches of agreement."""
    first = chain[0].start
    step = STEP // _BIN_FRAMES + 1
    width = (len(chain) - 1) * step + max(len(line.gains) for line in chain)
    gains, strict = np.full(width, -np.inf), np.zeros(width)
    owner = np.zeros(width, np.int64)
    found, expected = np.zeros(width, np.int64), np.zeros(width, np.int64)
    for number, line in enumerate(chain):
        low = round((line.start - first) / _BIN_FRAMES)
        here = slice(low, low + len(line.gains))
        better = line.gains > gains[here]
        for target, own in (
            (gains, line.gains),
            (strict, line.strict),
            (owner, np.full(len(line.gains), number)),
            (found, line.found),
            (expected, line.expected),
        ):
            target[here][better] = own[better]
    gains[np.isinf(gains)] = 0.0
    rows: list[LandmarkEvidence] = []
    for first_bin, last_bin in stretches(gains, least=_LEAST_GAIN):
        score = float(gains[first_bin:last_bin].sum())
        start, stop = _trimmed(strict, first_bin, last_bin)
        begin, end = first + start * _BIN_FRAMES, first + stop * _BIN_FRAMES
        rows.append(
            LandmarkEvidence(
                work=chain[0].work,
                first_frame=begin,
                last_frame=end,
                work_first_frame=chain[int(owner[start])].at(begin),
                work_last_frame=chain[int(owner[stop - 1])].at(end),
                votes=int(found[start:stop].sum()),
                expected=int(expected[start:stop].sum()),
                local_score=score,
                p_value=chance(score, search),
            )
        )
    return rows


def _trimmed(strict: npt.NDArray[np.float64], start: int, stop: int) -> tuple[int, int]:
    """Cut from both ends of a stretch what more likely is not the work.

    Losses count less in full while a stretch is looked for, so that speech does not end
    it; at its ends that would let it run on into what follows.
    """
    totals = np.concatenate(([0.0], np.cumsum(strict[start:stop])))
    lowest = np.minimum.accumulate(totals)
    end = int(np.argmax((totals - lowest)[1:])) + 1
    begin = int(np.argmin(totals[:end]))
    return start + begin, start + end


def chance(score: float, search: int) -> float:
    """Give the chance that unrelated music reaches a score somewhere in a search.

    Args:
        score: As in ``LandmarkEvidence``.
        search: Frames of the query times keys of all works.

    Returns:
        A probability in [1e-12, 1].
    """
    expected = NULL_K * search * math.exp(-NULL_LAMBDA * score)
    return min(1.0, max(LEAST_P, -math.expm1(-expected)))


def tail(best_scores: Sequence[float], *, search: int, above: float) -> tuple[float, float]:
    """Fit the null: how the best scores of unrelated music fall off.

    Args:
        best_scores: Of every query the best score in works it shares nothing with.
        search: Frames of a query times keys of all works.
        above: Where the tail begins; the scores beyond must look exponential.

    Returns:
        ``NULL_K`` and ``NULL_LAMBDA`` for these scores.

    Raises:
        ValueError: If no score is above ``above``.
    """
    beyond = [score - above for score in best_scores if score > above]
    if not beyond:
        msg = f"none of {len(best_scores)} scores is above {above:g}"
        raise ValueError(msg)
    rate = len(beyond) / sum(beyond)
    return len(beyond) / len(best_scores) / search * math.exp(rate * above), rate


def to_match(evidence: LandmarkEvidence, index: LandmarkIndex) -> Match:
    """Tell a stretch of evidence as a match."""
    start, end = evidence.stretch
    work_start, work_end = evidence.under(np.array([start, end])).tolist()
    return Match(
        work_id=index.work_id(evidence.work),
        engine=ENGINE,
        query_start_seconds=start,
        query_end_seconds=end,
        reference_start_seconds=max(0.0, work_start),
        reference_end_seconds=max(0.0, work_end),
        score=max(0.0, evidence.score / (evidence.score + HALF_SCORE)),
        p_value=evidence.p_value,
        speed=evidence.speed,
        votes=evidence.votes,
    )
