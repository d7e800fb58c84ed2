"""How do people read a drift? One page that stands alone: what moved, how far, what to do.

The page is written by a template that escapes every value, carries no script and loads
nothing; the plots are SVG inside it.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

import numpy as np

from safegen.drift import ALPHA, LEAST_FILES, LEAST_POINTS, LEAST_PSI, Comparison, Share, alerts
from safegen.evaluation.metrics import Rate, between, percent
from safegen.pages import page, svg
from safegen.served import Sample

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BEFORE_COLOR: Final = "#9aa3b2"
NOW_COLOR: Final = "#5b3df5"
_ALERT: Final = "#c62f3b"


def html(comparison: Comparison, *, at: datetime) -> str:
    """Lay out the page.

    Args:
        comparison: Two periods.
        at: When it was made, aware.
    """
    judged = [each for each in comparison.shifts if each.status == "judged"]
    before, now = comparison.reference, comparison.current
    return page(
        "drift.html",
        filters={"percent": percent, "between": between, "day": _day},
        at=f"{at:%Y-%m-%d %H:%M} UTC",
        comparison=comparison,
        alerts=alerts(comparison),
        judged=judged,
        unjudged=[each for each in comparison.shifts if each.status != "judged"],
        plots={
            each.measure: _measure_plot(
                before.samples[each.measure],
                now.samples[each.measure],
                [one.value for one in each.beyond],
                each.measure,
            )
            for each in judged
        },
        shares_plot=_shares_plot(comparison.shares) if comparison.shares else "",
        colors={"before": BEFORE_COLOR, "now": NOW_COLOR},
        least_files=LEAST_FILES,
        alpha=ALPHA,
        least_psi=LEAST_PSI,
        least_points=LEAST_POINTS,
    )


def _day(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M}" if (when.hour or when.minute) else f"{when:%Y-%m-%d}"


def _measure_plot(before: Sample, now: Sample, quantiles: Sequence[float], name: str) -> str:
    """Draw how the values lie, and what share of the files lies up to each."""

    def draw(figure: "Figure") -> None:
        left, right = figure.subplots(1, 2)
        every = np.concatenate([before.values, now.values])
        low, high = np.quantile(every, [0.005, 0.995])
        edges = np.linspace(low, high if high > low else low + 1.0, 31)
        for sample, color, label in (
            (before, BEFORE_COLOR, "reference"),
            (now, NOW_COLOR, "now"),
        ):
            inside = np.clip(sample.values, edges[0], edges[-1])
            heights = np.histogram(inside, edges)[0] / len(inside)
            left.stairs(heights, edges, color=color, fill=True, alpha=0.3)
            left.stairs(heights, edges, color=color, lw=1.1)
            grid = np.linspace(edges[0], edges[-1], 200)
            right.plot(grid, sample.shares_up_to(grid), color=color, lw=1.6, label=label)
        for value in quantiles:
            right.axvline(value, color="#111", lw=0.6, linestyle=":")
        left.set_ylabel("share of files")
        right.set_ylabel("share of files up to here")
        right.set_ylim(-0.02, 1.02)
        for panel in (left, right):
            panel.set_xlabel(name)
            panel.grid(axis="y", linewidth=0.4, alpha=0.6)
            for side in ("top", "right"):
                panel.spines[side].set_visible(False)

    return svg(draw, width=11.0, height=2.7)


def _shares_plot(shares: Sequence[Share]) -> str:
    """Draw each share then and now, with Wilson bars."""
    ordered = list(shares)[::-1]

    def draw(figure: "Figure") -> None:
        panel = figure.subplots()
        for place, each in enumerate(ordered):
            color = _ALERT if each.has_moved else NOW_COLOR
            for rate, shift, shade in (
                (each.before, 0.16, BEFORE_COLOR),
                (each.now, -0.16, color),
            ):
                _bar(panel, rate, place + shift, shade)
        panel.set_yticks(range(len(ordered)), [_label(each) for each in ordered])
        panel.set_xlim(-1, 101)
        panel.set_ylim(-0.7, len(ordered) - 0.3)
        panel.set_xlabel("per cent of files")
        panel.grid(axis="x", linewidth=0.4, alpha=0.6)
        for side in ("top", "right"):
            panel.spines[side].set_visible(False)

    return svg(draw, width=11.0, height=0.9 + 0.34 * len(ordered))


def _bar(panel: "Axes", rate: Rate, place: float, color: str) -> None:
    panel.plot([100 * rate.low, 100 * rate.high], [place, place], color=color, lw=2.2, alpha=0.6)
    panel.plot(100 * rate.rate, place, "o", color=color, markersize=4.5)


def _label(share: Share) -> str:
    name = share.table if share.word == "yes" else f"{share.table}: {share.word}"
    # A dollar would start a formula; the words come from records.
    return name[:50].replace("$", r"\$")
