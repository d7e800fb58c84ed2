"""Does the synthetic-audio classifier still hear what it was set on?

Two periods of screenings are compared: a reference, in which the operator believed the
answers, and the current one. Scores and out-of-domain distances are compared by the
Kolmogorov-Smirnov statistic, by the population stability index (PSI) and by how many
files now lie beyond the reference's quantiles; verdicts and abstentions by their shares.

A change counts if chance does not explain it, after correction for all comparisons made,
*and* it is large enough to matter: with many files every difference is significant, with
few every difference is large.

Without labels nobody knows who is right: only the *scores of what is taken for real* can
tell a classifier that has slipped from traffic that has changed.

What this module does not do: gather a period (``safegen.served``).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from safegen.errors import InputError
from safegen.evaluation.metrics import Rate, between, holm, percent, wilson
from safegen.served import (
    ABSTAINED,
    DISTANCE,
    DOMAIN,
    MEASURES,
    NO,
    REAL_SCORE,
    TABLES,
    YES,
    Period,
    Sample,
)

LEAST_FILES: Final = 100
"""In each period; with fewer only a landslide would show."""
ALPHA: Final = 0.01
"""Chance of any alert when nothing has changed."""
LEAST_PSI: Final = 0.10
"""By convention "some change", above what chance gives; .25 is "much"."""
LEAST_POINTS: Final = 0.025
LEAST_PART: Final = 0.2
"""A share has moved if it changed by this part of itself, and by 2.5 points at least."""
QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)
_BINS: Final = 10
_SAID: Final = 2

_TRAFFIC: Final = (
    "What is uploaded has changed, or the classifier has slipped: look at twenty of the newest "
    "files of this kind. If they are judged rightly, save a new reference."
)
_REMEDIES: Final = {
    REAL_SCORE: "The rate of false alarms that the thresholds were set for no longer holds. Listen "
    "to twenty of the newest files with the highest scores; if they are real, calibrate again "
    "with real audio of today, then save a new reference.",
    DISTANCE: "Uploads have become unlike what the classifier was set on: a new codec, source or "
    "kind of sound. Calibrate with audio of that kind before its scores are trusted.",
    ABSTAINED: "The classifier knows less, or more, of what is uploaded. Read the reasons it gives "
    "in the newest screenings; calibrate with audio of that kind, or plug in a model for it.",
    DOMAIN: "Uploads have become unlike what the classifier was set on. Read the reasons it gives; "
    "calibrate with audio of that kind.",
}

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Beyond:
    """How many files lie up to a quantile of the reference, then and now.

    Attributes:
        quantile: Of the reference, in (0, 1).
        value: Of the measure there.
        before: Share of the reference's files up to it.
        now: Share of the current files up to it.
        p_value: That both are alike, corrected.
    """

    quantile: float
    value: float
    before: Rate
    now: Rate
    p_value: float

    @property
    def has_moved(self) -> bool:
        """Whether chance does not explain it, and it matters."""
        return self.p_value < ALPHA and _matters(self.before.rate, self.now.rate)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """One measure in both periods.

    Attributes:
        measure: One of ``MEASURES``.
        status: "judged", "too few" or "not recorded".
        before: Files of the reference with a value.
        now: Files of the current period with one.
        ks: Largest distance of the two distributions, in [0, 1].
        ks_p_value: Corrected.
        least_ks: The smallest distance that would be called significant here.
        psi: Population stability index.
        psi_by_chance: What the same traffic would give with this many files.
        psi_p_value: Corrected.
        beyond: One for each of ``QUANTILES``.
    """

    measure: str
    status: str
    before: int
    now: int
    ks: float = 0.0
    ks_p_value: float = 1.0
    least_ks: float = 1.0
    psi: float = 0.0
    psi_by_chance: float = 0.0
    psi_p_value: float = 1.0
    beyond: tuple[Beyond, ...] = ()

    @property
    def has_moved(self) -> bool:
        """Whether the distribution or one of its quantiles moved."""
        is_sure = min(self.ks_p_value, self.psi_p_value) < ALPHA
        is_large = self.psi - self.psi_by_chance >= LEAST_PSI
        return (is_sure and is_large) or any(each.has_moved for each in self.beyond)


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """How often a word was said, then and now.

    Attributes:
        table: One of ``TABLES``.
        word: A verdict, or "yes".
        before: In the reference.
        now: In the current period.
        p_value: That both are alike, corrected.
    """

    table: str
    word: str
    before: Rate
    now: Rate
    p_value: float

    @property
    def has_moved(self) -> bool:
        """Whether chance does not explain it, and it matters."""
        return self.p_value < ALPHA and _matters(self.before.rate, self.now.rate)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two periods beside each other."""

    reference: Period
    current: Period
    shifts: tuple[Shift, ...]
    shares: tuple[Share, ...]

    @property
    def has_drifted(self) -> bool:
        """Whether anything moved."""
        measures = any(each.has_moved for each in self.shifts)
        return measures or any(each.has_moved for each in self.shares)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One thing that moved.

    Attributes:
        what: A measure or a share.
        title: A sentence.
        detail: Figures, then and now.
        remedy: What to do about it.
    """

    what: str
    title: str
    detail: str
    remedy: str


def compare(reference: Period, current: Period) -> Comparison:
    """Put two periods beside each other.

    Raises:
        InputError: If they are of two models, or one of them has fewer than
            ``LEAST_FILES`` files that the classifier heard.
    """
    for name, each in (("reference", reference), ("current", current)):
        if each.answered < LEAST_FILES:
            raise InputError(
                f"too few: {each.answered} files were heard by {each.model or 'a classifier'} in "
                f"the {name} period, at least {LEAST_FILES} are compared",
                remedy="Take a longer period.",
            )
    if reference.model != current.model:
        raise InputError(
            f"the reference was judged by {reference.model}, the current period by "
            f"{current.model}: two models' scores are not comparable",
            remedy="Save a new reference from the first days of the new model.",
        )
    shifts = [_shift(name, reference, current) for name in MEASURES]
    shares = [each for name in TABLES for each in _shares(name, reference, current)]
    return _corrected(reference, current, shifts, shares)


def alerts(comparison: Comparison) -> tuple[Alert, ...]:
    """Say in words what moved, what is taken for real first."""
    found = []
    for shift in comparison.shifts:
        if shift.has_moved:
            found.append(
                Alert(
                    what=shift.measure,
                    title=f"The {shift.measure} has moved{_way(shift)}",
                    detail=_moved(shift),
                    remedy=_REMEDIES.get(shift.measure, _TRAFFIC),
                )
            )
    for share in comparison.shares:
        if share.has_moved:
            what = share.table if share.word == YES else f"{share.table}: {share.word}"
            found.append(
                Alert(
                    what=what,
                    title=f"{what[:1].upper()}{what[1:]}, {_direction(share)} often than before",
                    detail=f"{percent(share.before)} of the files in the reference "
                    f"({between(share.before)}), {percent(share.now)} now ({between(share.now)}).",
                    remedy=_REMEDIES.get(share.table, _TRAFFIC),
                )
            )
    return tuple(found)


def _direction(share: Share) -> str:
    return "more" if share.now.rate > share.before.rate else "less"


def _way(shift: Shift) -> str:
    """Say where the middle went, "" if it stayed and the spread changed."""
    (middle,) = [each for each in shift.beyond if each.quantile == 0.5]
    if not middle.has_moved:
        return ""
    return " up" if middle.now.rate < middle.before.rate else " down"


def _moved(shift: Shift) -> str:
    """Say where files lie now that lay within the reference's quantiles, surest first."""
    sentences = []
    moved = sorted((each for each in shift.beyond if each.has_moved), key=lambda each: each.p_value)
    for each in moved[:_SAID]:
        before, now, low, high = each.before.rate, each.now.rate, each.now.low, each.now.high
        side = "at or below"
        if each.quantile > 0.5:
            before, now, low, high = 1 - before, 1 - now, 1 - high, 1 - low
            side = "above"
        sentences.append(
            f"{100 * before:.0f} % of the files lay {side} {each.value:.3g} in the reference, "
            f"{100 * now:.0f} % do now (95 % interval {100 * low:.0f} to {100 * high:.0f} %)."
        )
    spread = (
        f"PSI {shift.psi:.2f}, of which {shift.psi_by_chance:.2f} would be chance; largest "
        f"distance of the distributions {shift.ks:.2f}."
    )
    return " ".join([*sentences, spread])


def _shift(name: str, reference: Period, current: Period) -> Shift:
    """Compare one measure, p-values not yet corrected."""
    before, now = reference.samples.get(name), current.samples.get(name)
    counted = [each.count if each else 0 for each in (before, now)]
    if before is None or now is None or min(counted) < LEAST_FILES:
        return Shift(
            measure=name,
            status="too few" if any(counted) else "not recorded",
            before=counted[0],
            now=counted[1],
        )
    grid = np.concatenate([before.values, now.values])
    ks = float(np.abs(before.shares_up_to(grid) - now.shares_up_to(grid)).max())
    edges = np.unique(np.quantile(before.values, np.arange(1, _BINS) / _BINS))
    psi = _psi(before, now, edges)
    noise = 1 / before.count + 1 / now.count
    found = Shift(
        measure=name,
        status="judged",
        before=before.count,
        now=now.count,
        ks=ks,
        psi=psi,
        psi_by_chance=len(edges) * noise,
        # Source: Yurdakul 2018, Statistical properties of the PSI: chi-squared times the noise.
        psi_p_value=float(stats.chi2.sf(psi / noise, len(edges))),
        beyond=tuple(_beyond(q, before, now) for q in QUANTILES),
    )
    return replace(found, ks_p_value=float(special.kolmogorov(_ks_scale(found) * ks)))


def _psi(before: Sample, now: Sample, edges: Floats) -> float:
    """Sum over bins the difference of shares times the difference of their logarithms."""
    shares = []
    for each in (before, now):
        places = np.searchsorted(edges, each.values, "left")
        counts = np.bincount(places, minlength=len(edges) + 1) * (each.count / len(each.values))
        # Half a file more in each bin: an empty one is not infinitely unlikely.
        shares.append((counts + 0.5) / (each.count + 0.5 * len(counts)))
    return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())


def _beyond(quantile: float, before: Sample, now: Sample) -> Beyond:
    value = float(np.quantile(before.values, quantile, method="inverted_cdf"))
    rates = [
        wilson(round(float(each.shares_up_to(value)) * each.count), each.count)
        for each in (before, now)
    ]
    return Beyond(
        quantile=quantile,
        value=value,
        before=rates[0],
        now=rates[1],
        p_value=_same_rate(rates[0], rates[1]),
    )


def _shares(name: str, reference: Period, current: Period) -> list[Share]:
    before, now = reference.tables.get(name, {}), current.tables.get(name, {})
    n, m = sum(before.values()), sum(now.values())
    if min(n, m) < LEAST_FILES:
        return []
    words = sorted({*before, *now})
    # Of yes and no, one says it all.
    asked = [YES] if set(words) <= {YES, NO} else words
    found = []
    for word in asked:
        then, since = wilson(before.get(word, 0), n), wilson(now.get(word, 0), m)
        found.append(
            Share(table=name, word=word, before=then, now=since, p_value=_same_rate(then, since))
        )
    return found


def _same_rate(a: Rate, b: Rate) -> float:
    """Fisher's exact test, two-sided."""
    table = [[a.hits, a.n - a.hits], [b.hits, b.n - b.hits]]
    return min(1.0, float(stats.fisher_exact(table).pvalue))


def _corrected(
    reference: Period, current: Period, shifts: Sequence[Shift], shares: Sequence[Share]
) -> Comparison:
    """Correct the p-values of all comparisons that were made together."""
    judged = [each for each in shifts if each.status == "judged"]
    values = iter(
        holm(
            [
                *(p for each in judged for p in (each.ks_p_value, each.psi_p_value)),
                *(each.p_value for shift in judged for each in shift.beyond),
                *(each.p_value for each in shares),
            ]
        )
    )
    tests = (2 + len(QUANTILES)) * len(judged) + len(shares)
    done = {
        each.measure: replace(
            each,
            ks_p_value=next(values),
            psi_p_value=next(values),
            least_ks=min(1.0, float(special.kolmogi(ALPHA / tests)) / _ks_scale(each)),
        )
        for each in judged
    }
    for name, each in done.items():
        corrected = tuple(replace(one, p_value=next(values)) for one in each.beyond)
        done[name] = replace(each, beyond=corrected)
    return Comparison(
        reference=reference,
        current=current,
        shifts=tuple(done.get(each.measure, each) for each in shifts),
        shares=tuple(replace(each, p_value=next(values)) for each in shares),
    )


def _ks_scale(shift: Shift) -> float:
    """Give the factor that makes the KS distance a value of Kolmogorov's distribution.

    Source: Stephens 1970, JRSS B 32(1): so corrected, the law holds from few files on.
    """
    effective = math.sqrt(shift.before * shift.now / (shift.before + shift.now))
    return effective + 0.12 + 0.11 / effective


def _matters(before: float, now: float) -> bool:
    least = max(LEAST_POINTS, LEAST_PART * min(before, 1.0 - before))
    return abs(now - before) >= least
