"""How do people read the figures? One page that stands alone, failures as plain as successes.

The page is written by a template that escapes every value, carries no script and loads
nothing; the plots are SVG inside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from safegen.evaluation.attacks.base import Kind
from safegen.evaluation.metrics import Rate, between, percent
from safegen.evaluation.watermarking.markers import AUDIOSEAL, KEYED, PERTH
from safegen.evaluation.watermarking.promises import (
    LEAST_OVERLAP,
    LEAST_PESQ,
    MOST_PLAIN,
    MOST_SEARCH,
)
from safegen.evaluation.watermarking.summary import Figures, Line, Rates
from safegen.pages import page, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NAMES: Final = {KEYED: "keyed mark", PERTH: "Perth", AUDIOSEAL: "AudioSeal"}
_COLORS: Final = {KEYED: "#5b3df5", PERTH: "#d97706", AUDIOSEAL: "#0f8b8d"}
_EXACT_COLOR: Final = "#a594f9"
_COLUMNS: Final = 4
_LITTLE: Final = 0.9
"""Rates below this are red, whether or not anything was promised."""
_TITLES: Final = {
    Kind.NONE: "Nothing done",
    Kind.CODEC: "Codecs",
    Kind.NOISE: "Noise",
    Kind.FILTER: "Filters, rooms and re-recording",
    Kind.LEVEL: "Levels and bits",
    Kind.TIME: "Time, speed and pitch",
    Kind.MIX: "Mixed and spliced",
    Kind.VOCODER: "Vocoders",
    Kind.ADVERSARIAL: "Attackers who know how it works",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Section:
    """One family of attacks."""

    title: str
    plot: str
    lines: tuple[Line, ...]


def html(figures: Figures) -> str:
    """Lay out the page: verdict, promises with the missed ones first, families, quality, gaps."""
    promised = [line for line in figures.lines if line.promise]
    marks = [name for name in _NAMES if any(name in line.marks for line in figures.lines)]
    return page(
        "watermark.html",
        filters={"percent": percent, "between": between},
        figures=figures,
        promised=sorted(promised, key=_worst_first),
        missed=sum(bool(line.misses) for line in promised),
        lost=[line for line in figures.lines if _is_lost(line)],
        little=_LITTLE,
        behind=[line for line in figures.lines if line.behind],
        sections=_sections(figures.lines),
        marks=marks,
        rivals=[name for name in marks if name != KEYED],
        names=_NAMES,
        colors=_COLORS,
        exact_color=_EXACT_COLOR,
        keyed=KEYED,
        meters=_meters(figures),
        asked={
            "pesq": LEAST_PESQ,
            "overlap": LEAST_OVERLAP,
            "plain": MOST_PLAIN,
            "search": MOST_SEARCH,
        },
    )


def _is_lost(line: Line) -> bool:
    """Say whether an attack that nothing is promised for takes the mark more than now and then."""
    return line.promise is None and not line.is_forgery and _heard(line) < _LITTLE


def _worst_first(line: Line) -> tuple[bool, float]:
    """Order by promise missed, then by how often the mark was heard."""
    return (not line.misses, _heard(line))


def _heard(line: Line) -> float:
    rates = line.marks.get(KEYED)
    return rates.detected.rate if rates else 1.0


def _sections(lines: Sequence[Line]) -> list[_Section]:
    found = []
    for kind in Kind:
        here = [line for line in lines if line.attack.kind is kind]
        if here:
            found.append(
                _Section(
                    title=_TITLES[kind],
                    plot=_plot(here),
                    lines=tuple(sorted(here, key=_worst_first)),
                )
            )
    return found


def _meters(figures: Figures) -> list[tuple[str, list[str]]]:
    """Rows of the table of sound quality: name, and for each mark mean and range."""
    names = dict.fromkeys(meter for table in figures.quality.values() for meter in table)
    rows = []
    for meter in names:
        cells = []
        for mark in (name for name in _NAMES if name in figures.quality):
            spread = figures.quality[mark].get(meter)
            cells.append(
                f"{spread.mean:.2f} ({spread.low:.2f} to {spread.high:.2f}, n = {spread.n})"
                if spread and spread.n
                else "not measured"
            )
        rows.append((_meter_name(meter), cells))
    return rows


def _meter_name(meter: str) -> str:
    word, _, kind = meter.partition(" ")
    titles = {
        "pesq": "PESQ wide-band, speech",
        "visqol": "ViSQOL, audio mode",
        "snr_db": "signal to mark, dB",
    }
    return f"{titles[word]}{', ' + kind if kind else ''}"


def _plot(lines: Sequence[Line]) -> str:
    """Draw one panel a series, rates over strength with Wilson bars; base64 of an SVG."""
    series: dict[str, list[Line]] = {}
    for line in lines:
        series.setdefault(line.attack.series, []).append(line)
    rows = -(-len(series) // _COLUMNS)

    def draw(figure: "Figure") -> None:
        panels = figure.subplots(rows, _COLUMNS, squeeze=False, sharey=True)
        flat = [panel for row in panels for panel in row]
        for panel, (name, here) in zip(flat, series.items(), strict=False):
            _panel(panel, name, sorted(here, key=lambda line: line.attack.strength))
        for panel in flat[len(series) :]:
            panel.set_axis_off()

    return svg(draw, width=11.0, height=2.15 * rows)


def _panel(panel: "Axes", series: str, lines: Sequence[Line]) -> None:
    places = range(len(lines))
    marks = [name for name in _NAMES if any(name in line.marks for line in lines)]
    width = 0.14
    drawn = [(KEYED, "exact"), *((name, "detected") for name in marks)]
    for number, (mark, what) in enumerate(drawn):
        shift = (number - (len(drawn) - 1) / 2) * width
        rates = [(place, _rate(line.marks.get(mark), what)) for place, line in enumerate(lines)]
        known = [(place + shift, rate) for place, rate in rates if rate is not None]
        if not known:
            continue
        panel.errorbar(
            [place for place, _ in known],
            [rate.rate for _, rate in known],
            yerr=[
                [rate.rate - rate.low for _, rate in known],
                [rate.high - rate.rate for _, rate in known],
            ],
            fmt="s" if what == "exact" else "o",
            color=_EXACT_COLOR if what == "exact" else _COLORS[mark],
            linestyle="-" if len(known) > 1 else "none",
            linewidth=0.9,
            markersize=3.6,
            capsize=1.8,
            elinewidth=1.0,
        )
    for place, line in zip(places, lines, strict=True):
        if line.promise:
            panel.plot(
                [place - 0.4, place + 0.4], [line.promise.detected] * 2, color="#111", lw=0.9
            )
    panel.set_title(series, fontsize=9, fontweight="bold", loc="left")
    panel.set_xticks(list(places), [_tick(line) for line in lines])
    panel.set_xlabel(lines[0].attack.unit)
    panel.set_xlim(-0.6, len(lines) - 0.4)
    panel.set_ylim(-0.05, 1.05)
    panel.grid(axis="y", linewidth=0.4, alpha=0.6)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)


def _rate(rates: Rates | None, what: str) -> Rate | None:
    if rates is None:
        return None
    return rates.exact if what == "exact" else rates.detected


def _tick(line: Line) -> str:
    return f"{line.attack.strength:g}" if line.attack.unit else line.attack.name
