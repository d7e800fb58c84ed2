"""Did the model copy one of the pieces it learned from?

A ladder of evidence, each rung compared with all training items at once
(``detectors.agreement``): the score it wrote, the codec tokens it used, and the
fingerprint of the sound. What chance reaches differs by rung, so each rung is put on
one scale first: what unrelated pieces reach in the median is 0, a limit above all
that they reached is 0.5, a copy is 1. The score is
the highest rung; rungs are never averaged, because one copied layer is a copy.

What this module does not do: know where training items are kept or how a score becomes
bars (``safegen.memorization``), or decide what a flag means (``safegen.policy``).

Source: thresholds from permuted negatives and the entropy guard follow the protocol of
Agostinelli et al., MusicLM (2023), section 5.5.
"""

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from detectors.agreement import Agreement, BarIndex, Bars, CodeIndex, Codes, ItemIndex
from detectors.base import Interval
from detectors.chromaprint import ITEM_SECONDS, SPAN_SECONDS, Items

FLAG_SCORE: Final = 0.5
HIGHEST_LIMIT: Final = 0.98
"""A copy with two percent of its information changed is still flagged."""
FRAME_SECONDS: Final = 0.04
"""Length of one codec frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What unrelated pieces reach on one rung.

    Attributes:
        chance: Median agreement, in [0, 1).
        limit: Agreement that hardly any unrelated piece exceeds, in (chance, 1].
        pieces: How many unrelated pieces were measured.
    """

    chance: float
    limit: float
    pieces: int

    def score(self, share: float) -> float:
        """Map an agreement to [0, 1]: chance to 0, the limit to ``FLAG_SCORE``, 1 to 1."""
        return float(np.interp(share, [self.chance, self.limit, 1.0], [0.0, FLAG_SCORE, 1.0]))


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRung:
    """Scores of the training items."""

    index: BarIndex
    names: tuple[str, ...]
    calibration: Calibration


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRung:
    """Codec tokens of the training items."""

    index: CodeIndex
    names: tuple[str, ...]
    calibration: Calibration


@dataclass(frozen=True, slots=True, kw_only=True)
class FingerprintRung:
    """Fingerprints of the training items."""

    index: ItemIndex
    names: tuple[str, ...]
    calibration: Calibration


class TrainingItems(Protocol):
    """The training items of one model; a rung that was not recorded is None."""

    @property
    def plans(self) -> PlanRung | None:
        """Scores."""

    @property
    def tokens(self) -> TokenRung | None:
        """First-codebook tokens."""

    @property
    def fingerprints(self) -> FingerprintRung | None:
        """Chromaprint items."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """An output under examination; what it does not have is None.

    Attributes:
        bars: Its score, shape (bars, slots).
        bar_seconds: Length of one bar; 0 without a score.
        codes: Its first-codebook tokens, shape (frames,).
        items: Its fingerprint.
    """

    bars: Bars | None
    bar_seconds: float
    codes: Codes | None
    items: Items | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorizationFinding:
    """What the comparison with the training items says.

    Attributes:
        flag: Whether the score is above ``FLAG_SCORE``.
        score: The highest rung, in [0, 1].
        nearest_item: Training item of that rung; empty if no rung could be compared.
        rung: "plan", "tokens" or "fingerprint"; empty if no rung could be compared.
        plan_agreement: Share of the score's information that agrees, None if not compared.
        token_agreement: Share of the tokens' information that agrees over the best window.
        fingerprint_agreement: 1 - 2 * bit error rate.
        intervals: What agrees in the output, for each rung that is flagged; the score of
            an interval is the rung's.
    """

    flag: bool
    score: float
    nearest_item: str
    rung: str
    plan_agreement: float | None
    token_agreement: float | None
    fingerprint_agreement: float | None
    intervals: tuple[Interval, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rung:
    """One comparison, on the common scale."""

    kind: str
    score: float
    item: str
    interval: Interval


def examine(query: Query, items: TrainingItems) -> MemorizationFinding:
    """Compare an output with all training items.

    A rung is left out when either side has nothing to compare, or when the output holds
    too little information there; with no rung left, the score is 0. Ties go to the score,
    then to the tokens.

    Cost: below 150 ms of one core for ten seconds of output and 5,000 items.
    """
    plan = _best(items.plans, query.bars)
    token = _best(items.tokens, query.codes)
    fingerprint = _best(items.fingerprints, query.items)
    rungs: list[_Rung] = []
    if plan is not None and items.plans is not None:
        unit = query.bar_seconds
        rungs.append(_rung("plan", plan, items.plans, unit=unit, tail=0.0))
    if token is not None and items.tokens is not None:
        rungs.append(_rung("tokens", token, items.tokens, unit=FRAME_SECONDS, tail=0.0))
    if fingerprint is not None and items.fingerprints is not None:
        tail = SPAN_SECONDS - ITEM_SECONDS
        rungs.append(
            _rung("fingerprint", fingerprint, items.fingerprints, unit=ITEM_SECONDS, tail=tail)
        )
    highest = max(rungs, key=lambda rung: rung.score, default=None)
    score = highest.score if highest is not None else 0.0
    return MemorizationFinding(
        flag=score > FLAG_SCORE,
        score=score,
        nearest_item=highest.item if highest is not None else "",
        rung=highest.kind if highest is not None else "",
        plan_agreement=_share(plan),
        token_agreement=_share(token),
        fingerprint_agreement=_share(fingerprint),
        intervals=tuple(rung.interval for rung in rungs if rung.score > FLAG_SCORE),
    )


def calibrate(shares: npt.NDArray[np.float64]) -> Calibration:
    """Set one rung's scale from the agreements that unrelated pieces reach.

    The limit lies a quarter of a standard deviation above the highest of them, so a fresh
    piece passes it about once in as many pieces as were measured, or less often.

    Args:
        shares: Best agreement of each unrelated piece, shape (n,), n >= 20.

    Raises:
        ValueError: If fewer than 20 pieces were measured.
    """
    if len(shares) < 20:
        msg = f"{len(shares)} unrelated pieces are too few to calibrate, at least 20"
        raise ValueError(msg)
    chance = float(np.median(shares))
    limit = float(shares.max() + shares.std() / 4)
    return Calibration(
        chance=chance, limit=float(np.clip(limit, chance + 0.01, HIGHEST_LIMIT)), pieces=len(shares)
    )


def _best(
    rung: PlanRung | TokenRung | FingerprintRung | None,
    query: Bars | Codes | Items | None,
) -> Agreement | None:
    if rung is None or query is None or rung.index.count == 0:
        return None
    return rung.index.best(query)  # type: ignore[arg-type]


def _rung(
    kind: str,
    found: Agreement,
    rung: PlanRung | TokenRung | FingerprintRung,
    *,
    unit: float,
    tail: float,
) -> _Rung:
    score = rung.calibration.score(found.share)
    interval = Interval(
        start_seconds=found.query_start * unit,
        end_seconds=found.query_end * unit + tail,
        score=score,
    )
    return _Rung(kind=kind, score=score, item=rung.names[found.row], interval=interval)


def _share(found: Agreement | None) -> float | None:
    return None if found is None else found.share
