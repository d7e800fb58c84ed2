"""What was asked of the synthetic-audio classifier, and was it reached?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from safegen.evaluation.metrics import Rate
from safegen.evaluation.synthetic_bench.cost import Cost
from safegen.evaluation.synthetic_bench.known import Cell, Confusion, Reals
from safegen.evaluation.synthetic_bench.negatives import Hard
from safegen.evaluation.synthetic_bench.own import OwnRow
from safegen.evaluation.synthetic_bench.splices import LEAST_AUC, SpliceRow
from safegen.evaluation.synthetic_bench.unknown import Row

SPEECH_EER: Final = {"clean": 0.06, "mp3-64k": 0.06, "opus-24k": 0.13}
SPEECH_SECONDS: Final = 4.0
MUSIC_CODECS: Final = ("clean", "mp3-64k", "aac-64k", "opus-48k")
MUSIC_SECONDS: Final = 20.0
MUSIC_ERRORS: Final = 0.01
HARD_ALARMS: Final = 0.01
ATTRIBUTION: Final = 0.92
UNKNOWN_AUC: Final = 0.80
UNKNOWN_ALARMS: Final = 0.05
UNKNOWN_ANSWERED: Final = 0.25
OWN_ERRORS: Final = 0.005
SPLICE_SECONDS: Final = (2.0, 3.0, 4.0)
CORE_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """One figure that was asked for.

    Attributes:
        part: Of the benchmark.
        name: What was asked, in words.
        limit: The figure.
        at_least: Whether more is better; else less is.
        measured: The figure that was reached; None if it was not measured.
        detail: Of which generator or kind it is the worst, or the interval.
    """

    part: str
    name: str
    limit: float
    at_least: bool
    measured: float | None
    detail: str = ""

    @property
    def is_reached(self) -> bool:
        """Whether it was measured and reached."""
        if self.measured is None:
            return False
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit

    @property
    def is_missed(self) -> bool:
        """Whether it was measured and not reached."""
        return self.measured is not None and not self.is_reached

    @property
    def sentence(self) -> str:
        """Say what was measured and what was asked."""
        side = "at least" if self.at_least else "at most"
        got = "not measured" if self.measured is None else f"{self.measured:.4g}"
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.name}: {got}, asked {side} {self.limit:g}{detail}"

    def as_json(self) -> dict[str, object]:
        """Give the figure beside the limit."""
        return {
            "name": self.name,
            "asked": self.limit,
            "at_least": self.at_least,
            "measured": None if self.measured is None else round(self.measured, 4),
            "reached": None if self.measured is None else self.is_reached,
            "detail": self.detail,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Everything that a run has measured; empty where it has not.

    Attributes:
        cells: Known generators of the corpus.
        reals: Real sound beside them.
        confusions: Who was taken for whom.
        unknown: Generators without their entry.
        together: All truly unknown ones; None without any.
        hard: Real sound to which something was done.
        own: Outputs of shipped models.
        music: Other music of known generators, ``MUSIC_SECONDS`` long.
        music_reals: Recordings beside it.
        splices: Inserts.
        cost: Core seconds; None if not measured.
    """

    cells: Sequence[Cell] = ()
    reals: Sequence[Reals] = ()
    confusions: Sequence[Confusion] = ()
    unknown: Sequence[Row] = ()
    together: Row | None = None
    hard: Sequence[Hard] = ()
    own: Sequence[OwnRow] = ()
    music: Sequence[Cell] = ()
    music_reals: Sequence[Reals] = ()
    splices: Sequence[SpliceRow] = ()
    cost: Cost | None = None


def promises(found: Found) -> tuple[Promise, ...]:
    """Hold what was measured against what was asked; always the worst of its kind."""
    return (
        *_speech(found.cells),
        *_music([*found.cells, *found.music], [*found.reals, *found.music_reals]),
        _worst(
            [(row.called, f"{row.kind}, {row.name}") for row in found.hard],
            part="negatives",
            name="hard negatives: real sound called synthetic",
            limit=HARD_ALARMS,
        ),
        _attribution(found.confusions),
        *_unknown(found.together),
        *_own(found.own),
        *_splices(found.splices),
        Promise(
            part="cost",
            name="core seconds for a second of sound",
            limit=CORE_SECONDS,
            at_least=False,
            measured=None if found.cost is None else found.cost.whole,
        ),
    )


def _speech(cells: Sequence[Cell]) -> list[Promise]:
    out = []
    for treatment, limit in SPEECH_EER.items():
        here = [
            cell
            for cell in cells
            if cell.kind == "speech"
            and cell.treatment == treatment
            and cell.seconds == SPEECH_SECONDS
        ]
        known = [(cell.eer, cell.generator) for cell in here if cell.eer is not None]
        worst = max(known, default=None)
        out.append(
            Promise(
                part="known",
                name=f"known generators, 4 s speech, {treatment}: equal error rate",
                limit=limit,
                at_least=False,
                measured=None if worst is None else worst[0],
                detail="" if worst is None else f"the worst is {worst[1]}, {_over(known, limit)}",
            )
        )
    return out


def _over(known: Sequence[tuple[float, str]], limit: float) -> str:
    return f"{sum(value <= limit for value, _ in known)} of {len(known)} generators reach it"


def _music(cells: Sequence[Cell], reals: Sequence[Reals]) -> list[Promise]:
    def is_asked(kind: str, seconds: float, treatment: str) -> bool:
        return kind == "music" and seconds >= MUSIC_SECONDS and treatment in MUSIC_CODECS

    return [
        _worst(
            [
                (_missed(cell.found), f"{cell.generator}, {cell.treatment}")
                for cell in cells
                if is_asked(cell.kind, cell.seconds, cell.treatment)
            ],
            part="music",
            name="known generators, 20 s music, to MP3 and AAC 64k and Opus 48k: missed",
            limit=MUSIC_ERRORS,
        ),
        _worst(
            [
                (row.called, row.treatment)
                for row in reals
                if is_asked(row.kind, row.seconds, row.treatment)
            ],
            part="music",
            name="recorded music of 20 s, the same codecs: called synthetic",
            limit=MUSIC_ERRORS,
        ),
    ]


def _attribution(confusions: Sequence[Confusion]) -> Promise:
    plain = [c for c in confusions if c.treatment == "clean" and c.seconds == SPEECH_SECONDS]
    right = next((c.right for c in plain if c.kind == "speech"), None)
    return Promise(
        part="known",
        name="attribution among known generators, of those named",
        limit=ATTRIBUTION,
        at_least=True,
        measured=None if right is None else right.rate,
        detail="" if right is None else _interval(right),
    )


def _unknown(row: Row | None) -> list[Promise]:
    return [
        Promise(
            part="unknown",
            name="unknown generators, of what is answered: area under the curve",
            limit=UNKNOWN_AUC,
            at_least=True,
            measured=None if row is None else row.auc,
        ),
        Promise(
            part="unknown",
            name="unknown generators, of what is answered: real sound called synthetic",
            limit=UNKNOWN_ALARMS,
            at_least=False,
            measured=None if row is None or row.alarms is None else row.alarms.rate,
            detail="" if row is None or row.alarms is None else _interval(row.alarms),
        ),
        Promise(
            part="unknown",
            name="unknown generators: answered",
            limit=UNKNOWN_ANSWERED,
            at_least=True,
            measured=None if row is None else row.answering.rate,
            detail="" if row is None else _interval(row.answering),
        ),
    ]


def _own(rows: Sequence[OwnRow]) -> list[Promise]:
    alarms = [(row.real_own, row.treatment) for row in rows if row.real_own is not None]
    return [
        _worst(
            [(_missed(row.own), f"{row.generator}, {row.treatment}") for row in rows],
            part="own",
            name="own outputs, 10 s: not called our own",
            limit=OWN_ERRORS,
        ),
        _worst(alarms, part="own", name="recorded music, 10 s: called our own", limit=OWN_ERRORS),
    ]


def _splices(rows: Sequence[SpliceRow]) -> list[Promise]:
    out = []
    for seconds in SPLICE_SECONDS:
        row = next((r for r in rows if r.generator == "all" and r.seconds == seconds), None)
        out.append(
            Promise(
                part="splices",
                name=f"inserts of {seconds:g} s: area under the curve of windows",
                limit=LEAST_AUC,
                at_least=True,
                measured=None if row is None else row.auc,
                detail=""
                if row is None
                else f"located within 1 s: {row.located.rate:.2f}, {_interval(row.located)}",
            )
        )
    return out


def _worst(rates: Sequence[tuple[Rate, str]], *, part: str, name: str, limit: float) -> Promise:
    by_rate: Callable[[tuple[Rate, str]], float] = lambda each: each[0].rate  # noqa: E731
    worst = max(rates, key=by_rate, default=None)
    return Promise(
        part=part,
        name=name,
        limit=limit,
        at_least=False,
        measured=None if worst is None else worst[0].rate,
        detail="" if worst is None else f"the worst is {worst[1]}, {_interval(worst[0])}",
    )


def _missed(rate: Rate) -> Rate:
    return Rate(
        hits=rate.n - rate.hits,
        n=rate.n,
        rate=1.0 - rate.rate,
        low=1.0 - rate.high,
        high=1.0 - rate.low,
    )


def _interval(rate: Rate) -> str:
    return f"95 %: {rate.low:.4f} to {rate.high:.4f}, n = {rate.n}"
