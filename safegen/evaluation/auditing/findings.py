"""What is wrong with this data set, and what can be done about it?

A *confound* is a difference between the classes that has nothing to do with how the sound
was made, a *leak* lets a model be asked about what it was fitted on, and a *note* weakens
what can be concluded. Confounds and leaks are a "no"; notes are not.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from scipy import stats

from safegen.evaluation.auditing.duplicates import Duplicate
from safegen.evaluation.auditing.facts import NUMBERS, UNITS
from safegen.evaluation.auditing.manifest import Item
from safegen.evaluation.auditing.probe import ALPHA, FEW_GROUPS, TOGETHER, Column, Separation
from safegen.evaluation.metrics import holm, wilson

LEAST_ITEMS: Final = 20
"""A generator or a source with fewer files says little about itself."""
MOST_IMBALANCE: Final = 3.0
LEAST_DISTANCE: Final = 0.10
"""Share of files that would have to change for both classes to have one distribution."""
MOST_OPTIMISM: Final = 0.10
"""What a random split may show above a grouped one before it is worth a word."""
_LISTED: Final = 20

_LEVELS: Final = "Bring both classes to one loudness, then apply the same random gain to both."
_TRIM: Final = "Trim or pad both classes by one rule, and cut files of one length."
_BAND: Final = (
    "Send both classes through the same chain: one sample rate, one low-pass, the same codecs "
    "the same number of times."
)
_REMEDIES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("level", "loudness", "peak", "crest"), _LEVELS),
    **dict.fromkeys(("duration", "leading silence", "trailing silence", "quiet share"), _TRIM),
    **dict.fromkeys(("bandwidth ceiling", "rolloff", "top", "tilt", "centroid"), _BAND),
    "zero crossings": _BAND,
    "DC offset": "High-pass both classes at 20 Hz with the same filter.",
    "digital zeros": "Add the same faint noise to both classes; generators write exact zeros.",
    "bit rate": "Store both classes with one codec at one setting.",
    "sample rate": "Resample all files of both classes to one rate with one resampler.",
    "channels": "Mix all files of both classes to mono.",
    "bit depth": "Store all files of both classes with one bit depth, dithered alike.",
    "container": "A model that is given samples does not see this, but the classes came different "
    "ways: find out what else differs, then store both in one format.",
    "codec": "Give both classes the same codec history: encode every file once with each codec "
    "that the other class has seen, then store all of them in one lossless format.",
    "codec_history": "Encode files of each class until both have the same histories equally often.",
}
_REMEDY: Final = (
    "Even out this property between the classes: choose, or process, both in the same way."
)

Severity = Literal["confound", "leak", "note"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was found.

    Attributes:
        kind: A short name for programs.
        severity: Whether it makes the answer "no".
        title: What was found, a sentence with the figure.
        detail: What it is made of, sentences; may be empty.
        remedy: What to do about it.
        items: Files, generators or sources it is about, the first ``_LISTED`` of them.
    """

    kind: str
    severity: Severity
    title: str
    detail: str
    remedy: str
    items: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Give all of it, with names as they are."""
        return {
            "kind": self.kind,
            "severity": self.severity,
            "title": self.title,
            "detail": self.detail,
            "remedy": self.remedy,
            "items": list(self.items),
        }


def findings(
    items: Sequence[Item],
    columns: Sequence[Column],
    found: Sequence[Separation],
    pairs: Sequence[Duplicate],
) -> tuple[Finding, ...]:
    """Put together all that is wrong, worst first.

    Args:
        items: The files that were measured.
        columns: Their features, in the order of ``items``.
        found: What the features are worth.
        pairs: Files that hold one recording.
    """
    every = [
        *_separating(items, columns, found),
        *_unbalanced(items, columns, found),
        *_duplicated(items, pairs),
        *_split(items),
        *_sizes(items),
        *_optimism(found),
    ]
    order = {"confound": 0, "leak": 1, "note": 2}
    return tuple(sorted(every, key=lambda each: order[each.severity]))


def compare(column: Column, items: Sequence[Item]) -> str:
    """Say in a sentence what a feature is in each class."""
    parts = []
    unit = f" {column.unit}" if column.unit else ""
    for is_fake, name in ((False, "real"), (True, "fake")):
        values = column.values[[item.is_fake == is_fake for item in items]]
        if column.is_number:
            low, middle, high = np.quantile(values.astype(np.float64), [0.05, 0.5, 0.95])
            spread = f"nine in ten from {_figure(low)} to {_figure(high)}"
            parts.append(f"{name} files: {_figure(middle)}{unit} in the middle, {spread}")
        else:
            counts = Counter(values.tolist()).most_common(4)
            shares = [
                f"{value or 'not said'} {100 * count / len(values):.0f} %"
                for value, count in counts
            ]
            parts.append(f"{name} files: {', '.join(shares)}")
    return "; ".join(parts) + "."


def _separating(
    items: Sequence[Item], columns: Sequence[Column], found: Sequence[Separation]
) -> Iterator[Finding]:
    by_name = {column.name: column for column in columns}
    for each in found:
        if not each.is_confound:
            continue
        sure = f"95 % interval {100 * each.low:.0f} to {100 * each.high:.0f}"
        if each.name == TOGETHER:
            yield Finding(
                kind="together",
                severity="confound",
                title=f"Without listening, the fake is picked {_times(each.auc)} in 100",
                detail=f"Of one real and one fake file picked at random, a model that knows only "
                f"file facts and loudness names the fake {_times(each.auc)} in 100 "
                f"({sure}); 50 is guessing. Whatever a classifier scores on these files, it "
                f"may owe to this.",
                remedy="Remove the confounds below, audit again, and print this figure beside "
                "every score that is reached on this data.",
            )
            continue
        column = by_name[each.name]
        yield Finding(
            kind="feature",
            severity="confound" if column.is_heard else "note",
            title=f"{_capital(each.name)} alone picks the fake {_times(each.auc)} in 100",
            detail=f"{_capital(sure)}; 50 is guessing. {_capital(compare(column, items))}",
            remedy=_REMEDIES.get(each.name, _REMEDY),
            items=(each.name,),
        )


def _unbalanced(
    items: Sequence[Item], columns: Sequence[Column], found: Sequence[Separation]
) -> Iterator[Finding]:
    """Compare the distributions of words, where a probe that must carry over says nothing."""
    told = {each.name for each in found if each.is_confound}
    words = [column for column in columns if not column.is_number and not column.is_constant]
    is_fake = np.array([item.is_fake for item in items])
    tables = []
    for column in words:
        names = np.unique(column.values)
        tables.append(
            np.array(
                [
                    [(column.values[is_fake == side] == name).sum() for name in names]
                    for side in (False, True)
                ]
            )
        )
    corrected = holm([float(stats.chi2_contingency(table).pvalue) for table in tables])
    for column, table, p_value in zip(words, tables, corrected, strict=True):
        shares = table / table.sum(axis=1, keepdims=True)
        distance = float(np.abs(shares[0] - shares[1]).sum() / 2)
        if column.name not in told and p_value < ALPHA and distance >= LEAST_DISTANCE:
            yield Finding(
                kind="unbalanced",
                severity="confound" if column.is_heard else "note",
                title=f"{_capital(column.name)} is not balanced between the classes",
                detail=f"{_capital(compare(column, items))} {100 * distance:.0f} % of one class "
                f"would have to change for both to be alike.",
                remedy=_REMEDIES.get(column.name, _REMEDY),
                items=(column.name,),
            )


def _duplicated(items: Sequence[Item], pairs: Sequence[Duplicate]) -> Iterator[Finding]:
    groups: dict[str, list[Duplicate]] = defaultdict(list)
    for pair in pairs:
        a, b = items[pair.first], items[pair.second]
        if a.split != b.split:
            groups[f"{pair.kind} splits"].append(pair)
        elif a.is_fake != b.is_fake:
            groups[f"{pair.kind} classes"].append(pair)
        else:
            groups[f"{pair.kind} class"].append(pair)
    words: dict[str, tuple[Severity, str, str]] = {
        "exact splits": (
            "leak",
            "the same file is on both sides of the split",
            "Keep one copy, on one side.",
        ),
        "near splits": (
            "leak",
            "the same recording is on both sides of the split",
            "Put all versions of a recording, also its copy-synthesized fakes, on one side.",
        ),
        "exact classes": (
            "confound",
            "the same file is labeled real and fake",
            "One label is wrong: listen, and take the wrong one out.",
        ),
        "near classes": (
            "note",
            "a fake sounds like a real file",
            "Right for copy-synthesis, and good: the model cannot learn the content. Then keep "
            "each pair on one side of every split. Otherwise one label is wrong.",
        ),
        "exact class": ("note", "a file is there twice", "Keep one copy: it counts double."),
        "near class": (
            "note",
            "a recording is there in two versions",
            "Keep one, or give both the same source, so that no split parts them.",
        ),
    }
    for key, (severity, what, remedy) in words.items():
        if here := groups[key]:
            yield Finding(
                kind=f"duplicate {key}",
                severity=severity,
                title=f"{_capital(what)}: {len(here)} {_plural(len(here), 'pair')}",
                detail="",
                remedy=remedy,
                items=tuple(
                    f"{items[pair.first].file} = {items[pair.second].file}"
                    for pair in here[:_LISTED]
                ),
            )


def _split(items: Sequence[Item]) -> Iterator[Finding]:
    splits = sorted({item.split for item in items if item.split})
    if not splits:
        return
    for what in ("source", "generator"):
        sides: dict[str, set[str]] = defaultdict(set)
        for item in items:
            if name := getattr(item, what):
                sides[name].add(item.split or "(no split)")
        crossing = {name: sorted(side) for name, side in sorted(sides.items()) if len(side) > 1}
        if crossing:
            yield Finding(
                kind=f"{what} on both sides",
                severity="leak",
                title=f"{len(crossing)} of {len(sides)} {what}s are on both sides of the split",
                detail="A model is asked about what it has heard: the figures say nothing of "
                f"{'speakers and records' if what == 'source' else 'generators'} it has not.",
                remedy=f"Split by {what}: each one wholly on one side."
                + (
                    " If only known generators are to be measured, say so beside every figure."
                    if what == "generator"
                    else ""
                ),
                items=tuple(
                    f"{name}: {', '.join(side)}" for name, side in list(crossing.items())[:_LISTED]
                ),
            )
    for split in splits:
        mine = {item.is_fake for item in items if item.split == split}
        if len(mine) == 1:
            yield Finding(
                kind="one class in a split",
                severity="note",
                title=f"All files of the split {split} are {'fake' if mine.pop() else 'real'}",
                detail="Nothing can be told apart there.",
                remedy="Put files of both classes into every split.",
                items=(split,),
            )


def _sizes(items: Sequence[Item]) -> Iterator[Finding]:
    reals = [item for item in items if not item.is_fake]
    fakes = [item for item in items if item.is_fake]
    ratio = max(len(reals), len(fakes)) / min(len(reals), len(fakes))
    if ratio > MOST_IMBALANCE:
        share = wilson(len(fakes), len(items))
        yield Finding(
            kind="imbalance",
            severity="note",
            title=f"{len(reals)} real and {len(fakes)} fake files: {ratio:.1f} to 1",
            detail=f"{100 * share.rate:.0f} % are fake. A model that always answers alike is right "
            f"in {100 * max(share.rate, 1 - share.rate):.0f} %.",
            remedy="Weigh the classes when fitting, and report error rates of each class.",
        )
    for what, name, mine in (
        ("sources of real files", "source", reals),
        ("generators", "generator", fakes),
    ):
        counts = Counter(getattr(item, name) for item in mine)
        unnamed = counts.pop("", 0)
        if unnamed:
            yield Finding(
                kind=f"no {name}",
                severity="note",
                title=f"{unnamed} {'real' if name == 'source' else 'fake'} files have no {name}",
                detail="They may share one with any other file, so the figures here may be too "
                "good for some features and too bad for others.",
                remedy=f"Fill in the column {name}, or use sub-folders.",
            )
        if not unnamed and len(counts) < FEW_GROUPS:
            yield Finding(
                kind=f"few {name}s",
                severity="note",
                title=f"Only {len(counts)} {what}",
                detail=f"With fewer than {FEW_GROUPS} the intervals here are of files, and too "
                "narrow: they do not say what other ones would give.",
                remedy=f"Add {what} before believing that anything holds for new ones.",
                items=tuple(sorted(counts)),
            )
        small = {key: count for key, count in sorted(counts.items()) if count < LEAST_ITEMS}
        if small:
            yield Finding(
                kind=f"small {name}s",
                severity="note",
                title=f"{len(small)} of {len(counts)} {what} have fewer than {LEAST_ITEMS} files",
                detail="An error rate of theirs has an interval as wide as "
                f"{_widest(min(small.values()))}.",
                remedy="Add files, or report no figure for each of them.",
                items=tuple(f"{key}: {count}" for key, count in list(small.items())[:_LISTED]),
            )


def _widest(count: int) -> str:
    rate = wilson(0, count)
    return f"0 to {100 * rate.high:.0f} % even if nothing went wrong"


def _optimism(found: Sequence[Separation]) -> Iterator[Finding]:
    for each in found:
        if each.name == TOGETHER and each.auc_random - each.auc > MOST_OPTIMISM:
            yield Finding(
                kind="random split",
                severity="note",
                title=f"A random split would show {each.auc_random:.2f} instead of {each.auc:.2f}",
                detail="These are the areas under the curve of trivial features with files of one "
                "source on both sides, and with sources and generators kept apart: sources are "
                "told apart, not real from fake.",
                remedy="Never split this data at random; split by source and by generator.",
            )


def _times(auc: float) -> str:
    """Say how often; never 100 where one pair was missed."""
    return "more than 99 times" if 0.995 <= auc < 1.0 else f"{100 * auc:.0f} times"


def _figure(value: float) -> str:
    """Write a figure with three digits, and never as a power of ten where it is large."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _plural(count: int, word: str) -> str:
    return word if count == 1 else f"{word}s"


def unit_of(name: str) -> str:
    """Give the unit of a feature, "" for a category."""
    return UNITS[name] if name in NUMBERS else ""
