"""What did the classifier say of what was uploaded in a period?

Read from the records of screenings, old ones leniently: they say less. A period can be
saved as a reference; it then holds figures only, no names and no hashes of files.

What this module does not do: read the database (``registry.screenings``), or compare
(``safegen.drift``).
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from safegen.errors import InputError

SCORE: Final = "score"
REAL_SCORE: Final = "score of what is taken for real"
LLR: Final = "log-likelihood ratio"
DISTANCE: Final = "distance from known sound"
MEASURES: Final = (REAL_SCORE, SCORE, LLR, DISTANCE)
ABSTAINED: Final = "abstained"
DOMAIN: Final = "out of domain"
VERDICT: Final = "classifier's verdict"
UPLOAD: Final = "verdict on the upload"
TABLES: Final = (ABSTAINED, DOMAIN, VERDICT, UPLOAD)
YES: Final = "yes"
NO: Final = "no"
_KEPT: Final = 2000
"""Values of a measure that a saved reference holds; more are thinned to quantiles."""
_UNDECIDED: Final = 0.5
_FORMAT: Final = "safegen-drift-reference"
_REAL_VERDICTS: Final = ("no_synthesis_evidence", "inconclusive")

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What one screening said; None or "" where its record is silent.

    Attributes:
        sha256: Of the upload.
        model: Id of what answered, "" if nothing could.
        probability: In [0, 1]; None if nothing answered.
        abstained: Whether it declined.
        llr: Log-likelihood ratio, positive for synthetic.
        distance: From what the classifier knows; None if it was not measured.
        is_outside: Whether it was called out of domain.
        verdict: The classifier's.
        upload: The whole screening's.
        is_marked: Whether a watermark or a manifest says that a model made it.
    """

    sha256: str
    model: str
    probability: float | None
    abstained: bool | None
    llr: float | None
    distance: float | None
    is_outside: bool | None
    verdict: str
    upload: str
    is_marked: bool

    @property
    def is_taken_for_real(self) -> bool:
        """Whether it was heard, and neither its score nor a mark speaks for a model.

        Undecided ones are among them where their ratio is kept: a classifier that slips
        first moves real sound from "nothing found" to "undecided".
        """
        if self.probability is None or self.is_marked:
            return False
        if self.verdict and self.in_domain_llr is not None:
            return self.verdict in _REAL_VERDICTS
        return not self.abstained and self.probability < _UNDECIDED

    @property
    def in_domain_llr(self) -> float | None:
        """The likelihood ratio, None where the classifier knew nothing like the sound."""
        is_unknown = self.is_outside or (self.abstained and self.llr == 0.0)
        return None if is_unknown else self.llr


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Values of one measure.

    Attributes:
        values: In ascending order; at most ``_KEPT`` of them after a reference was saved.
        count: How many files they stand for.
    """

    values: Floats
    count: int

    def shares_up_to(self, values: Floats | float) -> Floats:
        """Share of files with each of these values or less."""
        return np.asarray(np.searchsorted(self.values, values, "right") / len(self.values))


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """What was screened between two moments, each file once.

    Attributes:
        since: First moment, aware.
        until: First moment after.
        model: Whose answers these are.
        files: Files that this model answered, or that could not be heard.
        others: Files that other models answered; they are not compared.
        samples: By the names of ``MEASURES``, those with any value.
        tables: By the names of ``TABLES``: how often each word was said.
    """

    since: datetime
    until: datetime
    model: str
    files: int
    others: int
    samples: Mapping[str, Sample]
    tables: Mapping[str, Mapping[str, int]]

    @property
    def answered(self) -> int:
        """Files that the classifier heard, abstentions among them."""
        return sum(self.tables.get(ABSTAINED, {}).values())

    def to_json(self) -> dict[str, Any]:
        """Write a reference; it holds no names and no hashes of files."""
        return {
            "format": _FORMAT,
            "version": 1,
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            "model": self.model,
            "files": self.files,
            "others": self.others,
            "samples": {
                name: {"count": each.count, "values": _thinned(each.values)}
                for name, each in self.samples.items()
            },
            "tables": {name: dict(table) for name, table in self.tables.items()},
        }


def judged_of(body: Mapping[str, Any]) -> Judged:
    """Read what a screening's record says of the classifier; old records say less."""
    found = _mapping(body.get("synthetic"))
    mark, manifest = _mapping(body.get("watermark")), _mapping(body.get("c2pa"))
    outside = found.get("out_of_domain")
    abstained = found.get("abstained")
    return Judged(
        sha256=str(body.get("sha256", "")),
        model=str(found.get("model") or ""),
        probability=_number(found.get("probability")),
        abstained=abstained if isinstance(abstained, bool) else None,
        llr=_number(found.get("llr")),
        distance=_number(found.get("distance")) or None,
        is_outside=bool(outside) if isinstance(outside, str | bool) else None,
        # What is known from a mark says nothing about how the classifier hears.
        verdict=str(found.get("classifier_verdict") or found.get("verdict") or ""),
        upload=str(body.get("verdict") or ""),
        is_marked=mark.get("detected") is True
        or "trainedalgorithmic" in str(manifest.get("source_type", "")).lower(),
    )


def model_of(judged: Iterable[Judged]) -> str:
    """Name the model that answered most files, "" if none did."""
    counts = Counter(each.model for each in judged if each.model)
    return max(sorted(counts), key=lambda name: counts[name]) if counts else ""


def period(judged: Iterable[Judged], *, since: datetime, until: datetime, model: str) -> Period:
    """Gather a period; a file that was screened several times counts once, as first judged."""
    every = {each.sha256: each for each in reversed(list(judged))}.values()
    mine = [each for each in every if each.model in (model, "")]
    heard = [each for each in mine if each.probability is not None]
    answers = [each for each in heard if not each.abstained]
    real = [each for each in heard if each.is_taken_for_real]
    has_llr = any(each.llr is not None for each in heard)
    values: dict[str, list[float | None]] = {
        SCORE: [each.probability for each in answers],
        # One model keeps the ratio of all files or of none.
        REAL_SCORE: [each.in_domain_llr if has_llr else each.probability for each in real],
        LLR: [each.in_domain_llr for each in heard],
        DISTANCE: [each.distance for each in heard],
    }
    words: dict[str, list[str]] = {
        ABSTAINED: [YES if each.abstained else NO for each in heard],
        DOMAIN: [YES if each.is_outside else NO for each in heard if each.is_outside is not None],
        VERDICT: [each.verdict for each in heard if each.verdict],
        UPLOAD: [each.upload for each in mine if each.upload],
    }
    samples = {
        name: np.sort(np.array([value for value in found if value is not None], dtype=np.float64))
        for name, found in values.items()
    }
    return Period(
        since=since,
        until=until,
        model=model,
        files=len(mine),
        others=len(every) - len(mine),
        samples={
            name: Sample(values=found, count=len(found))
            for name, found in samples.items()
            if len(found)
        },
        tables={name: dict(Counter(found)) for name, found in words.items() if found},
    )


def parse_reference(value: object) -> Period:
    """Read a reference back from JSON.

    Raises:
        InputError: If it is not one that ``Period.to_json`` wrote.
    """
    try:
        if not isinstance(value, dict) or value["format"] != _FORMAT or value["version"] != 1:
            raise KeyError(_FORMAT)
        if not isinstance(value["samples"], dict) or not isinstance(value["tables"], dict):
            raise TypeError("samples and tables are objects")
        found = Period(
            since=datetime.fromisoformat(value["since"]),
            until=datetime.fromisoformat(value["until"]),
            model=str(value["model"]),
            files=int(value["files"]),
            others=int(value["others"]),
            samples={
                name: Sample(
                    values=np.array(value["samples"][name]["values"], dtype=np.float64),
                    count=int(value["samples"][name]["count"]),
                )
                for name in MEASURES
                if name in value["samples"]
            },
            tables={
                name: {str(word): int(count) for word, count in value["tables"][name].items()}
                for name in TABLES
                if name in value["tables"]
            },
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(
            f"not a reference of `safegen detectors drift` ({error})",
            remedy="Write one with --save-reference.",
        ) from error
    for name, each in found.samples.items():
        ordered = each.values.ndim == 1 and bool((np.diff(each.values) >= 0).all())
        if (
            not ordered
            or not 0 < len(each.values) <= each.count
            or not np.isfinite(each.values).all()
        ):
            raise InputError(
                f"the reference's values of {name!r} are not {each.count} numbers in order",
                remedy="Write it again with --save-reference.",
            )
    if any(count < 0 for table in found.tables.values() for count in table.values()):
        raise InputError(
            "the reference counts fewer than 0 files",
            remedy="Write it again with --save-reference.",
        )
    if found.since.tzinfo is None or found.until.tzinfo is None:
        raise InputError(
            "the reference's times have no zone", remedy="Write it again with --save-reference."
        )
    return found


def _thinned(values: Floats) -> list[float]:
    if len(values) > _KEPT:
        places = (np.arange(_KEPT) + 0.5) / _KEPT
        values = np.quantile(values, places, method="inverted_cdf")
    return [float(f"{value:.6g}") for value in values.tolist()]


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
