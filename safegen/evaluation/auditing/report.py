"""How do people read an audit? One page that stands alone: the answer, each finding, the plots.

The page is written by a template that escapes every value, carries no script and loads
nothing; the plots are SVG inside it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from safegen.evaluation.auditing import facts
from safegen.evaluation.auditing.findings import compare
from safegen.evaluation.auditing.probe import LEAST_AUC, TOGETHER, Column, Separation
from safegen.pages import page, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from safegen.evaluation.dataset_audit import Audit

REAL_COLOR: Final = "#0f8b8d"
FAKE_COLOR: Final = "#c2410c"
_CONFOUND: Final = "#c62f3b"
_PLAIN: Final = "#9aa3b2"
_SHOWN: Final = 9
_COLUMNS: Final = 3
_MOST_WORDS: Final = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """One feature for the table."""

    separation: Separation
    meaning: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Size:
    """How many files a source or generator has."""

    name: str
    files: int


def html(audit: "Audit", *, name: str) -> str:
    """Lay out the page.

    Args:
        audit: What was found.
        name: Of the data set, for the heading.
    """
    by_name = {column.name: column for column in audit.columns}
    alone = [each for each in audit.separations if each.name != TOGETHER]
    shown = [by_name[each.name] for each in alone[:_SHOWN]]
    return page(
        "dataset_audit.html",
        filters={"percent": _percent},
        name=name,
        audit=audit,
        together=next((each for each in audit.separations if each.name == TOGETHER), None),
        rows=[
            _Row(
                separation=each,
                meaning=facts.MEANINGS.get(each.name, ""),
                sentence=compare(by_name[each.name], audit.items),
            )
            for each in alone
        ],
        constant=[column for column in audit.columns if column.is_constant],
        plot=_auc_plot(audit.separations) if audit.separations else "",
        spread=_spread_plot(shown, [item.is_fake for item in audit.items]) if shown else "",
        counts={
            side: sum(item.is_fake == (side == "fake") for item in audit.items)
            for side in ("real", "fake")
        },
        lost={
            side: sum(each.is_fake == (side == "fake") for each in audit.skipped)
            for side in ("real", "fake")
        },
        sources=_sizes([item.source for item in audit.items if not item.is_fake]),
        generators=_sizes([item.generator for item in audit.items if item.is_fake]),
        colors={"real": REAL_COLOR, "fake": FAKE_COLOR},
        least_auc=LEAST_AUC,
        heard_seconds=facts.HEARD_SECONDS,
        duplicate_seconds=facts.DUPLICATE_SECONDS,
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _sizes(names: Sequence[str]) -> list[_Size]:
    return [
        _Size(name=name or "(not named)", files=count)
        for name, count in Counter(names).most_common()
    ]


def _auc_plot(found: Sequence[Separation]) -> str:
    """Draw how often each feature picks the fake, with its interval, most telling on top."""
    ordered = list(found)[::-1]

    def draw(figure: "Figure") -> None:
        panel = figure.subplots()
        for place, each in enumerate(ordered):
            color = _CONFOUND if each.is_confound else _PLAIN
            panel.plot([each.low, each.high], [place, place], color=color, lw=2.0, alpha=0.55)
            panel.plot(each.auc, place, "o", color=color, markersize=5)
            panel.plot(each.auc_random, place, "|", color="#111", markersize=7)
        panel.axvline(0.5, color="#111", lw=0.9, linestyle="--")
        panel.axvline(LEAST_AUC, color="#d97706", lw=0.8, linestyle=":")
        panel.set_yticks(range(len(ordered)), [each.name for each in ordered])
        panel.set_xlim(min(0.2, *(each.auc - 0.02 for each in ordered)), 1.01)
        panel.set_ylim(-0.7, len(ordered) - 0.3)
        panel.set_xlabel("share of pairs in which the fake is picked; 0.5 is guessing")
        _tidy(panel, "x")

    return svg(draw, width=11.0, height=0.9 + 0.23 * len(ordered))


def _spread_plot(columns: Sequence[Column], is_fake: Sequence[bool]) -> str:
    """Draw how the most telling features lie in both classes, one panel each."""
    fake = np.array(is_fake)
    rows = -(-len(columns) // _COLUMNS)

    def draw(figure: "Figure") -> None:
        panels = figure.subplots(rows, _COLUMNS, squeeze=False)
        flat = [panel for row in panels for panel in row]
        for panel, column in zip(flat, columns, strict=False):
            _draw_one(panel, column, fake)
            panel.set_title(column.name, fontsize=9, fontweight="bold", loc="left")
            _tidy(panel, "y")
        for panel in flat[len(columns) :]:
            panel.set_axis_off()

    return svg(draw, width=11.0, height=2.2 * rows)


def _draw_one(panel: "Axes", column: Column, fake: "np.typing.NDArray[np.bool_]") -> None:
    sides = ((~fake, REAL_COLOR), (fake, FAKE_COLOR))
    if column.is_number:
        values = column.values.astype(np.float64)
        low, high = np.quantile(values, [0.01, 0.99])
        edges = np.linspace(low, high if high > low else low + 1.0, 25)
        for mine, color in sides:
            inside = np.clip(values[mine], edges[0], edges[-1])
            heights = np.histogram(inside, edges)[0] / mine.sum()
            panel.stairs(heights, edges, color=color, fill=True, alpha=0.35)
            panel.stairs(heights, edges, color=color, lw=1.0)
        panel.set_xlabel(column.unit)
    else:
        names = [name for name, _ in Counter(column.values.tolist()).most_common(_MOST_WORDS)]
        for (mine, color), shift in zip(sides, (-0.2, 0.2), strict=True):
            shares = [(column.values[mine] == name).mean() for name in names]
            panel.bar(np.arange(len(names)) + shift, shares, 0.38, color=color, alpha=0.8)
        # A dollar would start a formula.
        words = [(str(name) or "not said")[:14].replace("$", r"\$") for name in names]
        panel.set_xticks(range(len(names)), words, rotation=20 if len(names) > 3 else 0)
    panel.set_ylabel("share of files")


def _tidy(panel: "Axes", axis: str) -> None:
    panel.grid(axis="x" if axis == "x" else "y", linewidth=0.4, alpha=0.6)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
