"""Two pictures of a run: how often wishes are fulfilled, and what a second of sound costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from safegen.evaluation.generation_bench.bench import Row
from safegen.evaluation.generation_bench.tasks import Ceiling
from safegen.pages import svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLORS: Final = ("#5b3df5", "#12805c", "#d97706", "#0f8b8d", "#c62f3b", "#7a5195", "#5d6675")
_INK: Final = "#1b1f27"
_GRAY: Final = "#9aa3b2"
_WIDTH: Final = 8.6


def adherence(rows: Sequence[Row], ceilings: Sequence[Ceiling], attributes: Sequence[str]) -> str:
    """Draw a panel per attribute: each model and each ceiling, a point with its interval.

    Returns:
        SVG in base64, as ``safegen.pages.svg`` gives it.
    """
    lines = [
        *[(row.card.name, row.rates, _COLORS[i % len(_COLORS)]) for i, row in enumerate(rows)],
        *[(ceiling.name, ceiling.rates, _INK) for ceiling in ceilings],
    ]

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(attributes), sharey=True)
        for panel, attribute in zip(panels, attributes, strict=True):
            for place, (_, rates, color) in enumerate(lines):
                if (found := rates.get(attribute)) is None:
                    continue
                ends = [100 * found.rate.low, 100 * found.rate.high]
                panel.plot(ends, [place, place], color=color, lw=2)
                panel.plot([100 * found.rate.rate], [place], "o", color=color, ms=5)
                panel.plot([100 * found.chance], [place], "|", color=_GRAY, ms=9)
            panel.set_title(attribute, fontsize=9)
            panel.set_xlim(0, 102)
            panel.set_xlabel("%, gray: luck")
            panel.spines[["top", "right"]].set_visible(False)
            panel.grid(axis="x", color="#e5e8ee")
        panels[0].set_yticks(range(len(lines)), [name for name, _, _ in lines])
        panels[0].set_ylim(len(lines) - 0.5, -0.5)

    return svg(draw, width=_WIDTH, height=1.2 + 0.28 * len(lines))


def speed(rows: Sequence[Row]) -> str:
    """Draw real-time factors; beyond the line a sound takes longer than it lasts.

    Returns:
        SVG in base64.
    """

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        factors = [row.cost.real_time_factor for row in rows]
        axes.barh(range(len(rows)), factors, color=_COLORS[0], height=0.6)
        axes.axvline(1.0, color=_INK, lw=1)
        axes.set_yticks(range(len(rows)), [row.card.name for row in rows])
        axes.invert_yaxis()
        axes.set_xlabel("seconds of one core per second of sound")
        axes.spines[["top", "right"]].set_visible(False)

    return svg(draw, width=_WIDTH, height=0.9 + 0.3 * len(rows))
