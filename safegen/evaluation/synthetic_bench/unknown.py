"""What is said of a generator that nobody has registered?

Each generator is judged by the roster without its entry, and once more without the entries
of its whole family. The generic models stay: where one of them learned from the very
generator, the row says so, and only the other rows are of unknown generators.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from detectors.synthetic.judging import Roster
from safegen.evaluation.metrics import Rate
from safegen.evaluation.synthetic_bench import figures
from safegen.evaluation.synthetic_bench.heard import Judgement, Piece, judged, without


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What is said of synthetic and of real sounds.

    Attributes:
        synthetic: Of the one class.
        real: Of the other.
    """

    synthetic: tuple[Judgement, ...]
    real: tuple[Judgement, ...]

    def answered(self) -> "Answers":
        """Leave out what the classifier abstained from."""
        return Answers(
            synthetic=tuple(j for j in self.synthetic if not j.finding.abstained),
            real=tuple(j for j in self.real if not j.finding.abstained),
        )

    @property
    def llrs(self) -> tuple[list[float], list[float]]:
        """Of both classes; 0, which says nothing, where it abstained."""
        return (
            [0.0 if j.finding.abstained else j.finding.llr for j in self.synthetic],
            [0.0 if j.finding.abstained else j.finding.llr for j in self.real],
        )

    @property
    def probabilities(self) -> tuple[list[float], list[float]]:
        """Of both classes; the prior where it abstained."""
        return (
            [j.finding.probability for j in self.synthetic],
            [j.finding.probability for j in self.real],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One generator that is left out, or all of them together.

    Attributes:
        kind: "speech" or "music".
        generator: Who made the sounds, "all" for all together.
        left_out: "generator", "family" or "nothing" if no entry is of it.
        learned_from: Generic models that learned from the generator.
        answers: All that was said.
        auc: Of the log likelihood ratio, of what is answered.
        answering: Share that is answered, both classes.
        alarms: Real sounds called synthetic, of those answered.
        found: Synthetic sounds called so, of all.
    """

    kind: str
    generator: str
    left_out: str
    learned_from: tuple[str, ...]
    answers: Answers
    auc: float | None
    answering: Rate
    alarms: Rate | None
    found: Rate

    @property
    def is_unseen(self) -> bool:
        """Whether nothing that was asked has learned from the generator."""
        return not self.learned_from

    def as_json(self) -> dict[str, object]:
        """Give rates and costs."""
        answered = self.answers.answered()
        return {
            "kind": self.kind,
            "generator": self.generator,
            "left_out": self.left_out,
            "generic_models_learned_from_it": list(self.learned_from),
            "unseen": self.is_unseen,
            "auc_of_answered": figures.rounded(self.auc),
            "answered": self.answering.as_json(),
            "real_called_synthetic_of_answered": figures.as_json(self.alarms),
            "called_synthetic": self.found.as_json(),
            "cllr": figures.rounded(figures.cllr(*self.answers.llrs)),
            "cllr_of_answered": figures.rounded(figures.cllr(*answered.llrs)),
            "brier": figures.rounded(figures.brier(*self.answers.probabilities)),
            "brier_of_answered": figures.rounded(figures.brier(*answered.probabilities)),
            "verdicts": {
                name: rate.as_json()
                for name, rate in figures.verdicts(self.answers.synthetic).items()
            },
            "verdicts_of_real": {
                name: rate.as_json() for name, rate in figures.verdicts(self.answers.real).items()
            },
        }


def rows(
    pieces: Sequence[Piece],
    *,
    roster: Roster,
    cards: Mapping[str, str],
    seconds: float,
) -> Iterator[Row]:
    """Judge every generator by rosters that do not hold its entry.

    Args:
        pieces: Sounds of one kind, real and synthetic, untreated.
        roster: As ``with_kept_scores`` gives it.
        cards: What each generic model learned from, as JSON, by its name.
        seconds: Length of the sounds.
    """
    real = [p for p in pieces if not p.clip.generator]
    kind = pieces[0].clip.kind if pieces else ""
    known = {entry.name for entry in roster.entries}
    families = {p.clip.generator: p.clip.family for p in pieces if p.clip.generator}
    for name, family in families.items():
        theirs = [p for p in pieces if p.clip.generator == name]
        siblings = {e.name for e in roster.entries if e.family == family} - {name}
        kinds = ["generator" if name in known else "nothing", *(["family"] if siblings else [])]
        for left_out in kinds:
            asked = without(roster, generator=name, family=family if left_out == "family" else "")
            answers = Answers(
                synthetic=tuple(judged(theirs, seconds=seconds, roster=asked)),
                real=tuple(judged(real, seconds=seconds, roster=asked)),
            )
            learned = tuple(m for m, card in cards.items() if f'"{name}"' in card)
            if (
                row := summary(
                    answers, kind=kind, generator=name, left_out=left_out, learned_from=learned
                )
            ) is not None:
                yield row


def together(found: Sequence[Row], *, unseen: bool) -> Row | None:
    """Pool rows of unknown families, each generator once, in its hardest row.

    Args:
        found: Of one kind.
        unseen: Only those of which no generic model learned.
    """
    hardest: dict[str, Row] = {}
    for row in found:
        if row.is_unseen or not unseen:
            # "family" comes after "generator" and leaves more out.
            hardest[row.generator] = row
    if not hardest:
        return None
    answers = Answers(
        synthetic=tuple(j for row in hardest.values() for j in row.answers.synthetic),
        real=tuple(j for row in hardest.values() for j in row.answers.real),
    )
    learned = tuple(dict.fromkeys(m for row in hardest.values() for m in row.learned_from))
    return summary(
        answers, kind=found[0].kind, generator="all", left_out="family", learned_from=learned
    )


def summary(
    answers: Answers, *, kind: str, generator: str, left_out: str, learned_from: tuple[str, ...]
) -> Row | None:
    """Count; None without sounds."""
    answered = answers.answered()
    both = [*answers.synthetic, *answers.real]
    answering = figures.share([not j.finding.abstained for j in both])
    found = figures.called(answers.synthetic)
    if answering is None or found is None:
        return None
    return Row(
        kind=kind,
        generator=generator,
        left_out=left_out,
        learned_from=learned_from,
        answers=answers,
        auc=figures.area(*answered.llrs),
        answering=answering,
        alarms=figures.called(answered.real),
        found=found,
    )
