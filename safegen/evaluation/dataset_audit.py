"""What else tells the real from the fake files of a training set?

Most published figures of detectors of synthetic audio come from confounds: the fakes were
louder, shorter, of another sample rate, or free of the codec that the real files had been
through. This audit measures what a model could learn without listening, and names it.
"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
import numpy as np

from safegen.errors import InputError
from safegen.evaluation.auditing.duplicates import Duplicate, duplicates
from safegen.evaluation.auditing.facts import CATEGORIES, NUMBERS, UNHEARD, Facts, measure
from safegen.evaluation.auditing.findings import Finding, findings, unit_of
from safegen.evaluation.auditing.manifest import Item, read
from safegen.evaluation.auditing.probe import Column, Groups, Separation, separations

LEAST_FILES: Final = 10
"""Readable files of each class; with fewer nothing can be said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A file that is named and could not be measured."""

    file: str
    is_fake: bool
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What was found in a data set.

    Attributes:
        items: The files that were measured.
        columns: Their features, in the order of ``items``.
        separations: What the features are worth, all together at the head.
        pairs: Files that hold one recording.
        findings: What is wrong, worst first.
        skipped: Files that could not be measured, each with the reason.
    """

    items: tuple[Item, ...]
    columns: tuple[Column, ...]
    separations: tuple[Separation, ...]
    pairs: tuple[Duplicate, ...]
    findings: tuple[Finding, ...]
    skipped: tuple[Skipped, ...]

    @property
    def is_confounded(self) -> bool:
        """Whether anything but notes was found."""
        return any(each.severity != "note" for each in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Give the object that the command prints."""
        fakes = [item for item in self.items if item.is_fake]
        return {
            "verdict": "confounds found" if self.is_confounded else "no confound found",
            "files": len(self.items),
            "real": len(self.items) - len(fakes),
            "fake": len(fakes),
            "sources": len({item.source for item in self.items if item.source}),
            "generators": len({item.generator for item in fakes if item.generator}),
            "skipped": [
                {"file": s.file, "label": "fake" if s.is_fake else "real", "problem": s.problem}
                for s in self.skipped
            ],
            "features": [_separation_json(each) for each in self.separations],
            "constant": [column.name for column in self.columns if column.is_constant],
            "findings": [each.to_json() for each in self.findings],
            "duplicates": [
                {
                    "kind": pair.kind,
                    "files": [self.items[pair.first].file, self.items[pair.second].file],
                    "bit_error_rate": round(pair.bit_error_rate, 4),
                }
                for pair in self.pairs
            ],
        }


def _separation_json(each: Separation) -> dict[str, Any]:
    return {
        "feature": each.name,
        "auc": round(each.auc, 4),
        "low95": round(each.low, 4),
        "high95": round(each.high, 4),
        "auc_random_split": round(each.auc_random, 4),
        "p_value": float(f"{each.p_value:.3g}"),
        "scored": each.scored,
        "confound": each.is_confound,
    }


@click.command("dataset-audit")
@click.argument(
    "folder", metavar="FOLDER", type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.option(
    "--also",
    multiple=True,
    metavar="COLUMN",
    help="A further column of the manifest to compare between the classes; repeatable.",
)
@click.option(
    "--report",
    metavar="FILE.html",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write a page for people, with plots.",
)
@click.option("--overwrite", is_flag=True, help="Replace the report if it is there.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar on stderr.")
def command(
    folder: Path, also: tuple[str, ...], report: Path | None, overwrite: bool, quiet: bool
) -> None:
    """Find what else tells the real from the fake files of FOLDER.

    FOLDER holds manifest.csv with the columns file and label (real, fake or a
    generator's name) and, if there are any, source, generator and split; or the folders
    real/SOURCE/ and fake/GENERATOR/. Unreadable files are named and left out.

    \b
    Exit status:
      0  no confound was found
      2  bad arguments, a bad manifest, or too few readable files
      3  confounds or leaks were found; each is named with a remedy

    \b
    Example:
      safegen eval dataset-audit training-set/ --report audit.html
    """
    if report is not None:
        _refuse_report(report, overwrite=overwrite)
    items = read(folder, also=also)
    hidden = quiet or not sys.stderr.isatty()
    with click.progressbar(
        length=len(items), label="Measuring", file=sys.stderr, hidden=hidden
    ) as bar:
        result = audit(items, also=also, step=lambda: bar.update(1))
    for skipped in result.skipped:
        click.echo(f"Warning: left out: {skipped.problem}", err=True)
    if report is not None:
        from safegen.evaluation.auditing.report import html

        report.write_text(html(result, name=folder.resolve().name), encoding="utf-8", newline="")
    click.echo(json.dumps(result.to_json(), ensure_ascii=False, allow_nan=False))
    raise SystemExit(3 if result.is_confounded else 0)


def audit(
    items: Sequence[Item], *, also: Sequence[str] = (), step: Callable[[], object] = lambda: None
) -> Audit:
    """Measure the files and judge the set.

    Args:
        items: The data set.
        also: Declared columns that are probed whatever they are called.
        step: Called after each file.

    Raises:
        InputError: If a class has fewer than ``LEAST_FILES`` readable files.
    """
    kept: list[Item] = []
    facts: list[Facts] = []
    skipped: list[Skipped] = []
    for item in items:
        try:
            measured = measure(item.path)
        except InputError as error:
            # Named by the set's own name: the full path says nothing more.
            problem = error.problem.replace(str(item.path), item.file)
            skipped.append(Skipped(file=item.file, is_fake=item.is_fake, problem=problem))
        else:
            kept.append(item)
            facts.append(measured)
        step()
    is_fake = np.array([item.is_fake for item in kept], dtype=bool)
    _refuse_few(is_fake, skipped)
    columns = _columns(kept, facts)
    groups = Groups(
        sources=np.array([item.source for item in kept], dtype=np.str_),
        generators=np.array([item.generator for item in kept], dtype=np.str_),
    )
    found = separations(columns, is_fake, groups)
    pairs = duplicates(facts)
    return Audit(
        items=tuple(kept),
        columns=columns,
        separations=found,
        pairs=pairs,
        findings=findings(kept, columns, found, pairs),
        skipped=tuple(skipped),
    )


def _refuse_few(is_fake: "np.typing.NDArray[np.bool_]", skipped: Sequence[Skipped]) -> None:
    for name, count in (("fake", int(is_fake.sum())), ("real", int((~is_fake).sum()))):
        if count < LEAST_FILES:
            lost = f"; {len(skipped)} were left out, first: {skipped[0].problem}" if skipped else ""
            raise InputError(
                f"{count} readable {name} files, at least {LEAST_FILES} are needed{lost}",
                remedy="Add files, or mend the manifest.",
            )


def _columns(items: Sequence[Item], facts: Sequence[Facts]) -> tuple[Column, ...]:
    numbers = [
        Column(
            name=name,
            unit=unit_of(name),
            values=np.array([each.numbers[name] for each in facts], dtype=np.float64),
        )
        for name in NUMBERS
    ]
    words = [
        Column(
            name=name,
            unit="",
            values=np.array([each.categories[name] for each in facts]),
            is_heard=name != UNHEARD,
        )
        for name in CATEGORIES
    ]
    declared = [
        Column(name=name, unit="", values=np.array([item.declared[name] for item in items]))
        for name in items[0].declared
    ]
    return (*numbers, *words, *declared)


def _refuse_report(report: Path, *, overwrite: bool) -> None:
    if report.suffix != ".html":
        raise InputError(f"{report}: a report ends in .html", remedy="Name it audit.html.")
    if report.exists() and not overwrite:
        raise InputError(f"{report}: exists already", remedy="Add --overwrite to replace it.")
    if not report.absolute().parent.is_dir():
        raise InputError(f"{report}: its folder does not exist", remedy="Make the folder first.")
