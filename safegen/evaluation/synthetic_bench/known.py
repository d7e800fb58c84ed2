"""Are known generators found, and named, on speakers, sentences and tracks set aside?

Every generator's own head, and the verdict of the whole roster at the limits that ship:
nothing is fitted to what is judged here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from detectors.synthetic.finding import SynthesisVerdict
from detectors.synthetic.judging import Roster
from safegen.evaluation.auditing.probe import Separation
from safegen.evaluation.metrics import Rate
from safegen.evaluation.synthetic_bench import figures
from safegen.evaluation.synthetic_bench.heard import Judgement

Floats = npt.NDArray[np.float64]

UNNAMED: Final = (
    SynthesisVerdict.SYNTHETIC_LIKELY.value,
    SynthesisVerdict.INCONCLUSIVE.value,
    SynthesisVerdict.NO_SYNTHESIS_EVIDENCE.value,
)
"""Answers that name no generator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One generator after one treatment, at one length.

    Attributes:
        kind: "speech" or "music".
        generator: Of the entry.
        family: Of the generator.
        treatment: What both classes went through.
        seconds: Length of the sounds.
        eer: Of the generator's own head, real sound against it; None without real sound.
        found: Its sounds that are called synthetic, by whichever verdict.
        named: Its sounds that are named as its own.
        falsely_named: Real sounds that are named as its own; None without real sound.
        synthetic: Scores of the head on its sounds.
        real: Scores of the head on real sounds.
    """

    kind: str
    generator: str
    family: str
    treatment: str
    seconds: float
    eer: float | None
    found: Rate
    named: Rate
    falsely_named: Rate | None
    synthetic: Floats
    real: Floats

    def as_json(self) -> dict[str, object]:
        """Leave the scores out."""
        return {
            "generator": self.generator,
            "family": self.family,
            "treatment": self.treatment,
            "seconds": self.seconds,
            "eer": figures.rounded(self.eer),
            "called_synthetic": self.found.as_json(),
            "named": self.named.as_json(),
            "real_named_so": figures.as_json(self.falsely_named),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Reals:
    """Real sounds after one treatment, at one length.

    Attributes:
        kind: "speech" or "music".
        treatment: What they went through.
        seconds: Their length.
        called: How many are called synthetic.
        verdicts: How many got each verdict.
    """

    kind: str
    treatment: str
    seconds: float
    called: Rate
    verdicts: Mapping[str, Rate]

    def as_json(self) -> dict[str, object]:
        """Give rates."""
        return {
            "treatment": self.treatment,
            "seconds": self.seconds,
            "called_synthetic": self.called.as_json(),
            "verdicts": {name: rate.as_json() for name, rate in self.verdicts.items()},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """Who was taken for whom.

    Attributes:
        kind: "speech" or "music".
        treatment: What the sounds went through.
        seconds: Their length.
        makers: Rows.
        answers: Columns: entries, then verdicts that name nobody.
        counts: Shape (makers, answers).
        right: Of the sounds for which somebody is named: the right one.
        in_family: The same, a sibling of the family counts as right too.
        right_of_all: The right one, of all sounds.
    """

    kind: str
    treatment: str
    seconds: float
    makers: tuple[str, ...]
    answers: tuple[str, ...]
    counts: npt.NDArray[np.int64]
    right: Rate | None
    in_family: Rate | None
    right_of_all: Rate

    def as_json(self) -> dict[str, object]:
        """Give rates, and the matrix without its empty cells."""
        return {
            "kind": self.kind,
            "treatment": self.treatment,
            "seconds": self.seconds,
            "right_of_named": figures.as_json(self.right),
            "family_right_of_named": figures.as_json(self.in_family),
            "right_of_all": self.right_of_all.as_json(),
            "matrix": {
                maker: {
                    answer: int(self.counts[i, j])
                    for j, answer in enumerate(self.answers)
                    if self.counts[i, j]
                }
                for i, maker in enumerate(self.makers)
            },
        }


def cells(judgements: Sequence[Judgement], roster: Roster) -> list[Cell]:
    """Count for every entry that made some of the sounds, by treatment and length."""
    out = []
    families = {entry.name: entry.family for entry in roster.entries}
    for (kind, treatment, seconds), here in grouped(judgements).items():
        real = [j for j in here if not j.clip.generator]
        for name, family in families.items():
            mine = [j for j in here if j.clip.generator == name]
            found, named = figures.called(mine), figures.named(mine)
            if found is None or named is None:
                continue
            high, low = figures.scores_of(mine, name), figures.scores_of(real, name)
            out.append(
                Cell(
                    kind=kind,
                    generator=name,
                    family=family,
                    treatment=treatment,
                    seconds=seconds,
                    eer=figures.eer(high, low),
                    found=found,
                    named=named,
                    falsely_named=figures.share([j.finding.generator == name for j in real]),
                    synthetic=high,
                    real=low,
                )
            )
    return out


def reals(judgements: Sequence[Judgement]) -> list[Reals]:
    """Count what is said of real sounds, by treatment and length."""
    out = []
    for (kind, treatment, seconds), here in grouped(judgements).items():
        real = [j for j in here if not j.clip.generator]
        called = figures.called(real)
        if called is not None:
            out.append(
                Reals(
                    kind=kind,
                    treatment=treatment,
                    seconds=seconds,
                    called=called,
                    verdicts=figures.verdicts(real),
                )
            )
    return out


def confusions(judgements: Sequence[Judgement], roster: Roster) -> list[Confusion]:
    """Count who was taken for whom among known generators, by treatment and length."""
    out = []
    family = {entry.name: entry.family for entry in roster.entries}
    for (kind, treatment, seconds), here in grouped(judgements).items():
        theirs = [j for j in here if j.clip.generator in family]
        if not theirs:
            continue
        makers = tuple(name for name in family if any(j.clip.generator == name for j in theirs))
        answers = (*family, *UNNAMED)
        counts = np.zeros((len(makers), len(answers)), dtype=np.int64)
        for j in theirs:
            answer = j.finding.generator or j.finding.verdict.value
            counts[makers.index(j.clip.generator), answers.index(answer)] += 1
        named = [j for j in theirs if j.finding.generator]
        of_all = figures.named(theirs)
        if of_all is None:
            continue
        out.append(
            Confusion(
                kind=kind,
                treatment=treatment,
                seconds=seconds,
                makers=makers,
                answers=answers,
                counts=counts,
                right=figures.named(named),
                in_family=figures.share(
                    [family[j.finding.generator] == family[j.clip.generator] for j in named]
                ),
                right_of_all=of_all,
            )
        )
    return out


def probes(judgements: Sequence[Judgement]) -> dict[str, Separation]:
    """Probe each generator's untreated shortest sounds against the real ones."""
    out = {}
    shortest = min((j.seconds for j in judgements), default=0.0)
    here = [j for j in judgements if j.seconds == shortest]
    for kind in ("speech", "music"):
        plain = [j for j in here if j.clip.kind == kind and j.pieces[0].treatment == "clean"]
        real = [j for j in plain if not j.clip.generator]
        for name in dict.fromkeys(j.clip.generator for j in plain if j.clip.generator):
            found = figures.probe([j for j in plain if j.clip.generator == name], real)
            if found is not None:
                out[f"{kind} {name}"] = found
    return out


def probe_json(found: Separation) -> dict[str, float]:
    """Round a probe's figure."""
    return {
        "auc": round(found.auc, 4),
        "low95": round(found.low, 4),
        "high95": round(found.high, 4),
    }


def grouped(
    judgements: Sequence[Judgement],
) -> dict[tuple[str, str, float], list[Judgement]]:
    """Put judgements of one kind, treatment and length together, in their order."""
    out: dict[tuple[str, str, float], list[Judgement]] = {}
    for j in judgements:
        out.setdefault((j.clip.kind, j.pieces[0].treatment, j.seconds), []).append(j)
    return out
