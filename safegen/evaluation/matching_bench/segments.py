"""How many seconds were found, missed, and claimed wrongly?

The form and the counting of Pex's Audio Fingerprinting Benchmark Toolkit: a CSV of
annotated stretches and one of matched stretches, both of a query and a reference, from
which true, unknown and false positive and false negative seconds follow. Written anew
from its description, so that no code of theirs is here; their ``evaluate_matches.py``
reads both files.

Source: github.com/Pexeso/audio-fingerprinting-benchmark-toolkit, README ("File Formats",
"Evaluation") and LengthSegmentEvaluator.
"""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np

MATCH_COLUMNS: Final = (
    "reference_id",
    "query_id",
    "reference_begin",
    "reference_end",
    "query_begin",
    "query_end",
)
"""Whole seconds; a stretch holds its begin and not its end."""
ANNOTATION_COLUMNS: Final = (
    *MATCH_COLUMNS,
    *("tempo", "pitch", "echo_delay", "echo_decay", "high_pass", "low_pass", "reverb"),
    *("noise_type", "noise_file", "noise_color", "noise_seed", "noise_snr"),
    *("merge_prev", "merge_prev_duration", "merge_next", "merge_next_duration"),
)
"""The same, then what was done to the stretch: tempo in percent, pitch in cents, and so on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A stretch of a query that is, or is said to be, a stretch of a reference.

    Attributes:
        tempo: Seconds of the reference in a second of the query.
        treatment: What was done to it: a name of the attacks; empty for matches.
    """

    query: str
    reference: str
    query_begin: float
    query_end: float
    reference_begin: float
    reference_end: float
    tempo: float = 1.0
    treatment: str = ""

    @property
    def query_span(self) -> "Span":
        """Its stretch of the query."""
        return Span(begin=self.query_begin, end=self.query_end)

    @property
    def reference_span(self) -> "Span":
        """Its stretch of the reference."""
        return Span(begin=self.reference_begin, end=self.reference_end)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of time, [begin, end) in seconds; empty if the end is not after the begin."""

    begin: float
    end: float

    def within(self, other: "Span") -> "Span":
        """Give what both hold."""
        return Span(begin=max(self.begin, other.begin), end=min(self.end, other.end))

    @property
    def seconds(self) -> float:
        """Its length."""
        return max(0.0, self.end - self.begin)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seconds:
    """What became of the seconds.

    Attributes:
        true: Of the annotation, matched in the reference and in the query.
        unknown: Of a match whose query is annotated but whose reference lies elsewhere in
            the same work: a refrain, or an error; nobody can tell.
        false: Of a match, annotated nowhere.
        missed: Of the annotation, not matched.
    """

    true: float = 0.0
    unknown: float = 0.0
    false: float = 0.0
    missed: float = 0.0

    def __add__(self, other: "Seconds") -> "Seconds":
        """Add up two counts."""
        return Seconds(
            true=self.true + other.true,
            unknown=self.unknown + other.unknown,
            false=self.false + other.false,
            missed=self.missed + other.missed,
        )

    @property
    def recall(self) -> float:
        """Share of the annotated seconds that was found; 0 where nothing was annotated."""
        asked = self.true + self.missed
        return self.true / asked if asked else 0.0

    @property
    def precision(self) -> float:
        """Share of the claimed seconds that is right; 1 where nothing was claimed."""
        claimed = self.true + self.false
        return self.true / claimed if claimed else 1.0

    @property
    def f_score(self) -> float:
        """Both in one number, in which precision weighs nine times as much as recall."""
        both = 9 * self.recall + self.precision
        return 10 * self.recall * self.precision / both if both else 0.0

    def as_json(self) -> dict[str, float]:
        """Round for a report."""
        return {
            "tp_seconds": round(self.true, 2),
            "up_seconds": round(self.unknown, 2),
            "fp_seconds": round(self.false, 2),
            "fn_seconds": round(self.missed, 2),
            "recall": round(self.recall, 4),
            "precision": round(self.precision, 4),
            "f_score": round(self.f_score, 4),
        }


def score(annotated: Iterable[Segment], matched: Iterable[Segment]) -> Seconds:
    """Count the seconds of all pairs of query and reference."""
    asked, found = _by_pair(annotated), _by_pair(matched)
    total = Seconds()
    for pair in dict.fromkeys([*asked, *found]):
        total += _score_pair(asked.get(pair, []), found.get(pair, []))
    return total


def boundary_errors(annotated: Iterable[Segment], matched: Sequence[Segment]) -> list[float]:
    """Measure how far off the ends of found stretches are, begin and end of each, in seconds.

    Matches of one work that overlap an annotated stretch count as one, from the first
    begin to the last end. Stretches that were not found have no boundary.
    """
    errors: list[float] = []
    for one in annotated:
        over = [
            each
            for each in matched
            if each.query == one.query
            and each.reference == one.reference
            and each.query_span.within(one.query_span).seconds > 0
        ]
        if over:
            errors.append(abs(min(each.query_begin for each in over) - one.query_begin))
            errors.append(abs(max(each.query_end for each in over) - one.query_end))
    return errors


def pack(segments: Iterable[Segment]) -> str:
    """Write segments into one line, for a state file."""
    return json.dumps([asdict(segment) for segment in segments])


def unpack(text: str) -> list[Segment]:
    """Read what ``pack`` wrote."""
    return [Segment(**row) for row in json.loads(text)]


def write_csv(
    path: Path,
    segments: Iterable[Segment],
    columns: Sequence[str],
    *,
    facts: Mapping[str, Mapping[str, str]] | None = None,
) -> None:
    """Write segments in whole seconds, as the toolkit reads them.

    Args:
        path: Of the file.
        segments: What to write.
        columns: ``MATCH_COLUMNS`` or ``ANNOTATION_COLUMNS``.
        facts: Treatment -> further columns.
    """
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", extrasaction="ignore")
        writer.writeheader()
        for one in segments:
            writer.writerow(
                {
                    "reference_id": one.reference,
                    "query_id": one.query,
                    "reference_begin": round(one.reference_begin),
                    "reference_end": round(one.reference_end),
                    "query_begin": round(one.query_begin),
                    "query_end": round(one.query_end),
                    "tempo": round(100 * one.tempo),
                    **(facts or {}).get(one.treatment, {}),
                }
            )


def _by_pair(segments: Iterable[Segment]) -> Mapping[tuple[str, str], list[Segment]]:
    found: dict[tuple[str, str], list[Segment]] = {}
    for segment in segments:
        found.setdefault((segment.query, segment.reference), []).append(segment)
    return found


def _score_pair(annotated: Sequence[Segment], matched: Sequence[Segment]) -> Seconds:
    """Count the seconds of one pair, in seconds of the reference."""
    total = Seconds()
    for one in annotated:
        both = [each for each in matched if _agree(one, each)]
        heard = _union(each.reference_span.within(one.reference_span) for each in both)
        quoted = _union(each.query_span.within(one.query_span) for each in both)
        missing = max(
            one.reference_span.seconds - heard, (one.query_span.seconds - quoted) * one.tempo
        )
        total += Seconds(true=min(heard, quoted * one.tempo), missed=max(0.0, missing))
    for each in matched:
        beside = [one for one in annotated if one.query_span.within(each.query_span).seconds > 0]
        tempo = (
            beside[-1].tempo
            if beside
            else each.reference_span.seconds / max(each.query_span.seconds, 1e-9)
        )
        right = _union(
            one.reference_span.within(each.reference_span) for one in annotated if _agree(one, each)
        )
        quoted = tempo * _union(one.query_span.within(each.query_span) for one in beside)
        surplus = max(
            each.reference_span.seconds - max(right, quoted),
            each.query_span.seconds * tempo - quoted,
        )
        total += Seconds(unknown=abs(right - quoted), false=max(0.0, surplus))
    return total


def _agree(one: Segment, other: Segment) -> bool:
    """Say whether two segments share time in the query and in the reference."""
    return (
        one.query_span.within(other.query_span).seconds > 0
        and one.reference_span.within(other.reference_span).seconds > 0
    )


def _union(spans: Iterable[Span]) -> float:
    """Length of what any of the spans holds."""
    rows = sorted((span.begin, span.end) for span in spans if span.seconds > 0)
    if not rows:
        return 0.0
    begins = np.array([row[0] for row in rows])
    ends = np.maximum.accumulate(np.array([row[1] for row in rows]))
    before = np.concatenate(([begins[0]], ends[:-1]))
    return float(np.sum(np.maximum(0.0, ends - np.maximum(begins, before))))
