"""How do people read the figures? One page that stands alone, failures as plain as successes.

The page is written by a template that escapes every value, carries no script and loads
nothing; the plots are SVG inside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from detectors.chromaprint import ENGINE as CHROMAPRINT
from detectors.landmarks import ENGINE as LANDMARKS
from safegen.evaluation.attacks.base import Kind
from safegen.evaluation.matching_bench import promises
from safegen.evaluation.matching_bench.scale import BOTH
from safegen.evaluation.matching_bench.summary import Big, Figures, Line
from safegen.evaluation.matching_bench.trials import EXCERPT_SECONDS
from safegen.evaluation.metrics import Rate, between, percent
from safegen.pages import page, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PLAIN: Final = "plain"
DEEP: Final = "deep"
RIVAL: Final = "rival"
NAMES: Final = {
    PLAIN: "both engines",
    DEEP: "deep scan",
    CHROMAPRINT: "Chromaprint alone",
    LANDMARKS: "landmarks alone",
    RIVAL: "audfprint2",
}
COLORS: Final = {
    PLAIN: "#5b3df5",
    DEEP: "#12805c",
    CHROMAPRINT: "#d97706",
    LANDMARKS: "#0f8b8d",
    RIVAL: "#9aa3b2",
}
_MARKERS: Final = {PLAIN: "o", DEEP: "D", CHROMAPRINT: "^", LANDMARKS: "v", RIVAL: "x"}
_TITLES: Final = {
    Kind.NONE: "Nothing done, and codecs",
    Kind.CODEC: "Nothing done, and codecs",
    Kind.NOISE: "Noise",
    Kind.FILTER: "Filters, rooms and re-recording",
    Kind.LEVEL: "Levels",
    Kind.TIME: "Tempo, speed and pitch",
    Kind.MIX: "Under speech",
    Kind.VOCODER: "Vocoders",
    Kind.ADVERSARIAL: "Attackers",
}
_LITTLE: Final = 0.9
"""Rates below this are red, whether or not anything was promised."""
_COLUMNS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Section:
    """One family of distortions."""

    title: str
    plot: str
    lines: tuple[Line, ...]


def html(figures: Figures) -> str:
    """Lay out the page: verdict, failures, promises, recall, strangers, segments, cost, gaps."""
    promised = [line for line in figures.lines if line.promise]
    plain = [line for line in figures.lines if line.seconds == EXCERPT_SECONDS]
    return page(
        "fingerprint.html",
        filters={"percent": percent, "between": between},
        figures=figures,
        promised=sorted(promised, key=_worst_first),
        reached=sum(_is_reached(line) for line in promised),
        missed=sum(bool(line.misses) for line in promised),
        lost=[line for line in plain if line.promise is None and _best(line) < _LITTLE],
        little=_LITTLE,
        sections=_sections(plain),
        lengths=_length_plot(figures.lines),
        by_length=_by_length(figures.lines),
        latency=_latency_plot(figures.big) if figures.big else "",
        engines=figures.engines,
        names=NAMES,
        colors=COLORS,
        plain=PLAIN,
        deep=DEEP,
        rival=RIVAL,
        both=BOTH,
        has_deep=any(line.deep for line in figures.lines),
        has_rival=any(line.rival for line in figures.lines),
        limits=promises,
        seconds=EXCERPT_SECONDS,
    )


def rates(line: Line) -> Mapping[str, Rate]:
    """Give what was measured of a line, by series."""
    found = {PLAIN: line.plain, **line.engines}
    if line.deep:
        found[DEEP] = line.deep
    if line.rival:
        found[RIVAL] = line.rival
    return {name: found[name] for name in NAMES if name in found}


def _best(line: Line) -> float:
    return max(line.plain.rate, line.deep.rate if line.deep else 0.0)


def _is_reached(line: Line) -> bool:
    """Say whether a promise was measured and kept."""
    return not line.misses and not (line.promise and line.promise.is_deep and line.deep is None)


def _worst_first(line: Line) -> tuple[bool, float]:
    """Order by promise missed, then by how often the work was found."""
    return (not line.misses, _best(line))


def _sections(lines: Sequence[Line]) -> list[_Section]:
    groups: dict[str, list[Line]] = {}
    for line in lines:
        groups.setdefault(_TITLES[line.attack.kind], []).append(line)
    return [
        _Section(title=title, plot=_recall_plot(here), lines=tuple(here))
        for title, here in groups.items()
    ]


def _by_length(lines: Sequence[Line]) -> Mapping[str, Mapping[float, Line]]:
    """Give the lines of what was measured at several lengths: distortion, then seconds."""
    found: dict[str, dict[float, Line]] = {}
    for line in lines:
        found.setdefault(line.attack.name, {})[line.seconds] = line
    return {name: each for name, each in found.items() if len(each) > 1}


def _recall_plot(lines: Sequence[Line]) -> str:
    """Draw recall of every distortion of a family, with Wilson bars and what was asked."""

    def draw(figure: "Figure") -> None:
        panel = figure.subplots()
        series = [name for name in NAMES if any(name in rates(line) for line in lines)]
        width = 0.7 / max(1, len(series))
        for number, name in enumerate(series):
            shift = (number - (len(series) - 1) / 2) * width
            known = [
                (at, rates(line)[name]) for at, line in enumerate(lines) if name in rates(line)
            ]
            _points(panel, [at + shift for at, _ in known], [rate for _, rate in known], name)
        for at, line in enumerate(lines):
            if line.promise:
                panel.plot([at - 0.45, at + 0.45], [line.promise.recall] * 2, color="#111", lw=0.9)
        panel.set_xticks(
            range(len(lines)),
            [line.attack.name for line in lines],
            rotation=35 if len(lines) > 6 else 0,
            ha="right" if len(lines) > 6 else "center",
        )
        panel.set_xlim(-0.6, len(lines) - 0.4)
        _tidy(panel)

    return svg(draw, width=11.0, height=3.2 if len(lines) > 6 else 2.6)


def _length_plot(lines: Sequence[Line]) -> str:
    """Draw recall over the length of the excerpt, one panel a distortion."""
    table = _by_length(lines)
    if not table:
        return ""
    rows = -(-len(table) // _COLUMNS)

    def draw(figure: "Figure") -> None:
        panels = figure.subplots(rows, _COLUMNS, squeeze=False, sharey=True)
        flat = [panel for row in panels for panel in row]
        for panel, (name, here) in zip(flat, table.items(), strict=False):
            ordered = [here[seconds] for seconds in sorted(here)]
            for series in NAMES:
                known = [
                    (line.seconds, rates(line)[series]) for line in ordered if series in rates(line)
                ]
                if series in (PLAIN, CHROMAPRINT, LANDMARKS) and known:
                    _points(
                        panel, [at for at, _ in known], [rate for _, rate in known], series, "-"
                    )
            for line in ordered:
                if line.promise and not line.promise.is_deep:
                    panel.plot(
                        [line.seconds * 0.85, line.seconds * 1.18],
                        [line.promise.recall] * 2,
                        color="#111",
                        lw=0.9,
                    )
            panel.set_title(name, fontsize=9, fontweight="bold", loc="left")
            panel.set_xscale("log")
            panel.set_xticks([line.seconds for line in ordered])
            panel.set_xticklabels([f"{line.seconds:g}" for line in ordered])
            panel.minorticks_off()
            _tidy(panel)
        for panel in flat[-_COLUMNS:]:
            panel.set_xlabel("seconds")
        for panel in flat[len(table) :]:
            panel.set_axis_off()

    return svg(draw, width=11.0, height=2.1 * rows)


def _latency_plot(big: Sequence[Big]) -> str:
    """Draw time for a search over the size of the catalog, both scales logarithmic."""

    def draw(figure: "Figure") -> None:
        left, right = figure.subplots(1, 2, sharey=True)
        asked = {CHROMAPRINT: promises.MOST_CHROMAPRINT_MS, BOTH: promises.MOST_BOTH_MS}
        for panel, engine in ((left, CHROMAPRINT), (right, BOTH)):
            for place, name in enumerate(("p50", "p95", "p99")):
                sizes = sorted({each.works for each in big})
                worst = [
                    max(e.p_ms[engine][place] for e in big if e.works == size) for size in sizes
                ]
                panel.plot(
                    sizes,
                    worst,
                    marker="o",
                    markersize=4,
                    lw=1.2,
                    color=("#9aa3b2", "#5b3df5", "#d97706")[place],
                    label=name,
                )
            panel.axhline(asked[engine], color="#111", lw=0.9, linestyle="--")
            panel.annotate(
                f"p95 asked at {promises.BIG:,}: {asked[engine]:g} ms",
                (0.02, asked[engine]),
                xycoords=("axes fraction", "data"),
                va="bottom",
                fontsize=8,
            )
            panel.set_xscale("log")
            panel.set_yscale("log")
            panel.set_xlabel("works in the catalog")
            panel.set_title(
                NAMES.get(engine, "both engines"), fontsize=9, fontweight="bold", loc="left"
            )
            panel.grid(linewidth=0.4, alpha=0.6)
            panel.legend(frameon=False, fontsize=8, loc="lower right")
            for side in ("top", "right"):
                panel.spines[side].set_visible(False)
        left.set_ylabel("milliseconds a query of 10 s")

    return svg(draw, width=11.0, height=3.4)


def _points(
    panel: "Axes", places: Sequence[float], known: Sequence[Rate], series: str, line: str = "none"
) -> None:
    panel.errorbar(
        places,
        [rate.rate for rate in known],
        yerr=[
            [rate.rate - rate.low for rate in known],
            [rate.high - rate.rate for rate in known],
        ],
        fmt=_MARKERS[series],
        color=COLORS[series],
        linestyle=line,
        linewidth=1.0,
        markersize=4.4 if series == PLAIN else 3.6,
        capsize=1.6,
        elinewidth=0.8,
    )


def _tidy(panel: "Axes") -> None:
    panel.set_ylim(-0.05, 1.05)
    panel.grid(axis="y", linewidth=0.4, alpha=0.6)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
