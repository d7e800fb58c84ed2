"""How do people read the figures? One page that stands alone, failures as plain as successes.

The page is written by a template that escapes every value, carries no script and loads
nothing; the plots are SVG inside it.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from safegen.evaluation.metrics import Rate, between, percent
from safegen.evaluation.synthetic_bench import figures, own, splices
from safegen.evaluation.synthetic_bench.known import Cell, Confusion
from safegen.evaluation.synthetic_bench.promises import Found, Promise
from safegen.evaluation.synthetic_bench.unknown import Row
from safegen.pages import page, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK: Final = "#1b1f27"
FAKE: Final = "#5b3df5"
REAL: Final = "#9aa3b2"
SERIES: Final = ("#5b3df5", "#12805c", "#d97706", "#0f8b8d", "#c62f3b", "#7a5195", "#5d6675")
_COLUMNS: Final = 5
_RATES: Final = np.linspace(0.002, 0.5, 250)
_BINS: Final = 8


def html(found: Found, promised: Sequence[Promise], row: Mapping[str, Any]) -> str:
    """Lay out the page: promises first, then part by part."""
    plain = [c for c in found.cells if c.treatment == "clean" and c.seconds == _shortest(found)]
    confusion = [
        c for c in found.confusions if c.treatment == "clean" and c.seconds == _shortest(found)
    ]
    return page(
        "synthetic.html",
        filters={"percent": percent, "between": between, "number": _number},
        promised=sorted(promised, key=lambda p: (p.measured is None, p.is_reached)),
        reached=sum(p.is_reached for p in promised),
        missed=sum(p.is_missed for p in promised),
        row=row,
        found=found,
        missed_of=_missed,
        scores=_score_plot([*plain, *found.music]) if plain or found.music else "",
        errors=_error_plot(found.cells) if plain else "",
        confusions=[(c, _confusion_plot(c)) for c in confusion],
        reliability=_reliability_plot(found.unknown) if found.unknown else "",
        spliced=_splice_plot(found.splices) if found.splices else "",
        own=own.by_generator(found.own),
        treatments=list(dict.fromkeys(cell.treatment for cell in found.cells)),
        tables=_tables(found.cells),
        near=splices.NEAR_SECONDS,
        least_auc=splices.LEAST_AUC,
    )


def _shortest(found: Found) -> float:
    return min((cell.seconds for cell in found.cells), default=0.0)


def _tables(cells: Sequence[Cell]) -> dict[tuple[str, float], dict[str, dict[str, Cell]]]:
    """Give cells by kind and length, then generator, then treatment."""
    out: dict[tuple[str, float], dict[str, dict[str, Cell]]] = {}
    for cell in cells:
        rows = out.setdefault((cell.kind, cell.seconds), {})
        rows.setdefault(cell.generator, {})[cell.treatment] = cell
    return out


def _missed(rate: Rate) -> str:
    """Write the complement of a rate."""
    return f"{100 * (1 - rate.rate):.1f} %"


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _score_plot(cells: Sequence[Cell]) -> str:
    """Draw the scores of each head on its own generator and on real sound."""
    rows = -(-len(cells) // _COLUMNS)

    def draw(figure: "Figure") -> None:
        panels = [p for row in figure.subplots(rows, _COLUMNS, squeeze=False) for p in row]
        for panel, cell in zip(panels, cells, strict=False):
            both = np.concatenate([cell.synthetic, cell.real])
            low, high = np.quantile(both, [0.002, 0.998]).tolist()
            bins = np.linspace(low, high, 31).tolist()
            for scores, color in ((cell.real, REAL), (cell.synthetic, FAKE)):
                if len(scores):
                    weights = np.full(len(scores), 1.0 / len(scores))
                    panel.hist(
                        np.clip(scores, bins[0], bins[-1]),
                        bins=bins,
                        weights=weights,
                        color=color,
                        alpha=0.7,
                    )
            title = f"{cell.generator}, {cell.kind}, {cell.seconds:g} s"
            if cell.eer is not None:
                title += f"\nEER {100 * cell.eer:.1f} %"
            panel.set_title(title, fontsize=8, loc="left")
            panel.set_yticks([])
            _bare(panel, "top", "right", "left")
        for panel in panels[len(cells) :]:
            panel.set_axis_off()

    return svg(draw, width=11.0, height=1.55 * rows + 0.2)


def _error_plot(cells: Sequence[Cell]) -> str:
    """Draw misses over false alarms, the mean over generators, one panel a length."""
    here = [c for c in cells if len(c.real) and len(c.synthetic)]
    panels_of = list(dict.fromkeys((c.kind, c.seconds) for c in here))
    treatments = list(dict.fromkeys(c.treatment for c in here))

    def draw(figure: "Figure") -> None:
        panels = figure.subplots(1, max(1, len(panels_of)), squeeze=False, sharey=True)[0]
        for panel, (kind, seconds) in zip(panels, panels_of, strict=False):
            for number, treatment in enumerate(treatments):
                curves = [
                    figures.miss_at(c.synthetic, c.real, _RATES)
                    for c in here
                    if (c.kind, c.seconds, c.treatment) == (kind, seconds, treatment)
                ]
                if curves:
                    panel.plot(
                        100 * _RATES,
                        100 * np.mean(curves, axis=0),
                        color=SERIES[number % len(SERIES)],
                        lw=1.3,
                        label=treatment,
                    )
            panel.plot([0.2, 50], [0.2, 50], color=INK, lw=0.5, ls=":")
            panel.set_xscale("log")
            panel.set_xlabel("real sound called so, %")
            panel.set_title(f"{kind}, {seconds:g} s", fontsize=9, fontweight="bold", loc="left")
            panel.grid(linewidth=0.4, alpha=0.6)
            _bare(panel, "top", "right")
        panels[0].set_ylabel("missed, %, mean over generators")
        if panels[-1].get_legend_handles_labels()[0]:
            panels[-1].legend(frameon=False, fontsize=7.5)

    return svg(draw, width=11.0, height=3.4)


def _confusion_plot(confusion: Confusion) -> str:
    """Draw shares of every maker's sounds by answer."""

    def draw(figure: "Figure") -> None:
        panel = figure.subplots()
        totals = np.maximum(1, confusion.counts.sum(axis=1, keepdims=True))
        shares = confusion.counts / totals
        panel.imshow(shares, cmap="Purples", vmin=0.0, vmax=1.0, aspect="auto")
        for i, j in np.argwhere(confusion.counts > 0).tolist():
            color = "white" if shares[i, j] > 0.5 else INK
            panel.annotate(
                f"{confusion.counts[i, j]}",
                (j, i),
                ha="center",
                va="center",
                fontsize=7.5,
                color=color,
            )
        answers = [answer.replace("_", " ") for answer in confusion.answers]
        panel.set_xticks(range(len(answers)), answers, rotation=40, ha="right", fontsize=7.5)
        panel.set_yticks(range(len(confusion.makers)), confusion.makers, fontsize=7.5)
        panel.set_xlabel("answer")
        panel.set_ylabel("made by")

    return svg(draw, width=11.0, height=0.24 * len(confusion.makers) + 1.9)


def _reliability_plot(rows: Sequence[Row]) -> str:
    """Draw how often what got a probability is synthetic, both classes weighing the same."""

    def draw(figure: "Figure") -> None:
        left, right = figure.subplots(1, 2)
        series = (
            ("nothing learned from them", [r for r in rows if r.is_unseen], FAKE),
            ("a generic model knows them", [r for r in rows if not r.is_unseen], "#d97706"),
        )
        for name, here, color in series:
            high = [j.finding.probability for r in here for j in r.answers.answered().synthetic]
            low = [j.finding.probability for r in here for j in r.answers.answered().real]
            if not (high and low):
                continue
            edges = np.linspace(0.0, 1.0, _BINS + 1)
            up = np.histogram(high, edges)[0] / len(high)
            down = np.histogram(low, edges)[0] / len(low)
            filled = up + down > 0
            middles = (edges[:-1] + edges[1:]) / 2
            left.plot(
                middles[filled],
                (up / np.maximum(up + down, 1e-12))[filled],
                marker="o",
                markersize=4,
                lw=1.2,
                color=color,
                label=name,
            )
            right.step(edges, [*up, up[-1]], where="post", color=color, lw=1.2)
            right.step(edges, [*down, down[-1]], where="post", color=color, lw=1.0, ls="--")
        left.plot([0, 1], [0, 1], color=INK, lw=0.6, ls=":", label="as it should be")
        left.set_xlabel("probability that was told")
        left.set_ylabel("share that is synthetic")
        if left.get_legend_handles_labels()[0]:
            left.legend(frameon=False, fontsize=8)
        right.set_xlabel("probability that was told")
        right.set_ylabel("share of the class (dashed: real)")
        for panel in (left, right):
            panel.grid(linewidth=0.4, alpha=0.6)
            _bare(panel, "top", "right")

    return svg(draw, width=11.0, height=3.2)


def _splice_plot(rows: Sequence[splices.SpliceRow]) -> str:
    """Draw the area under the curve and the share located, over the length of the insert."""

    def draw(figure: "Figure") -> None:
        left, right = figure.subplots(1, 2)
        for number, name in enumerate(dict.fromkeys(r.generator for r in rows)):
            here = [r for r in rows if r.generator == name]
            is_all = name == "all"
            color = INK if is_all else SERIES[number % len(SERIES)]
            width = 2.2 if is_all else 1.0
            at = [r.seconds for r in here]
            left.plot(
                at,
                [np.nan if r.auc is None else r.auc for r in here],
                marker="o",
                markersize=4,
                color=color,
                lw=width,
                label=name,
            )
            right.plot(
                at, [r.located.rate for r in here], marker="o", markersize=4, color=color, lw=width
            )
        left.axhline(splices.LEAST_AUC, color=INK, lw=0.8, ls="--")
        left.set_ylabel("area under the curve, windows")
        right.set_ylabel(f"located within {splices.NEAR_SECONDS:g} s")
        right.set_ylim(-0.03, 1.03)
        if left.get_legend_handles_labels()[0]:
            left.legend(frameon=False, fontsize=8)
        for panel in (left, right):
            panel.set_xlabel("seconds of the insert")
            panel.grid(linewidth=0.4, alpha=0.6)
            _bare(panel, "top", "right")

    return svg(draw, width=11.0, height=3.2)


def _bare(panel: "Axes", *sides: str) -> None:
    for side in sides:
        panel.spines[side].set_visible(False)
