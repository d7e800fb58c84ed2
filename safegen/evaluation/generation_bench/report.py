"""How do people read the figures? One page in Markdown with two pictures beside it.

Nothing in it is written by hand: the page is what a run found, with its command, its
weights and how each figure was counted.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from safegen.evaluation.generation_bench.adherence import DEALS, LEVEL, Adherence
from safegen.evaluation.generation_bench.bench import Row
from safegen.evaluation.generation_bench.frechet import Distance
from safegen.evaluation.generation_bench.tasks import BEGINNING_SECONDS, Ceiling
from safegen.evaluation.metrics import percent
from safegen.pages import svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ATTRIBUTES: Final = ("tempo", "key", "drums", "instrument", "family")
_COLORS: Final = ("#5b3df5", "#12805c", "#d97706", "#0f8b8d", "#c62f3b", "#7a5195", "#5d6675")
_INK: Final = "#1b1f27"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Everything a run found.

    Attributes:
        rows: One per model.
        ceilings: Of the meters, for every task of the rows.
        distances: Anchors of the distance, empty without musicnn.
        seconds: Length of every sound.
        prompts: How many prompts there were.
        command: What was typed.
    """

    rows: Sequence[Row]
    ceilings: Sequence[Ceiling]
    distances: Mapping[str, Distance]
    seconds: float
    prompts: int
    command: str


def as_json(row: Row, found: Found) -> dict[str, Any]:
    """Write one model's figures for programs."""
    clean, coded = [x for x in found.ceilings if x.task == row.task][:2]
    out: dict[str, Any] = {
        "benchmark": "generation",
        "model": row.card.name,
        "after": row.card.after,
        "task": row.task,
        "seconds": found.seconds,
        "items": row.items,
    }
    for name in ATTRIBUTES:
        rate = row.rates.get(name)
        out[name] = round(rate.rate.rate, 3) if rate else 0.0
        out[f"{name}_n"] = rate.rate.n if rate else 0
        out[f"{name}_ceiling"] = round(clean.rates[name].rate.rate, 3)
        out[f"{name}_coded_ceiling"] = round(coded.rates[name].rate.rate, 3)
        if rate:
            out[f"{name}_low95"] = round(rate.rate.low, 3)
            out[f"{name}_high95"] = round(rate.rate.high, 3)
            out[f"{name}_chance"] = round(rate.chance, 3)
            out[f"{name}_p"] = rate.p_value
            out[f"{name}_better_than_chance"] = rate.is_better_than_chance
        if name in row.planned:
            out[f"{name}_planned"] = round(row.planned[name].rate.rate, 3)
    out |= {
        "ceiling_n": max(x.rate.n for x in clean.rates.values()),
        "ceiling_renderer": clean.source,
        "fad_musicnn": None if row.distance is None else round(row.distance.value, 3),
        "fad_sounds": None if row.distance is None else row.distance.sounds,
        "fad_embeddings": None if row.distance is None else row.distance.embeddings,
        "cpu_seconds_per_audio_second": round(row.item_cpu_seconds, 3),
        "device": row.cost.device,
        "real_time_factor": round(row.cost.real_time_factor, 3),
        "first_chunk_seconds": round(row.cost.first_chunk_seconds, 3),
        "load_seconds": round(row.cost.load_seconds, 3),
        "peak_mib": round(row.cost.peak_mib, 1),
        "gpu_peak_mib": row.cost.gpu_peak_mib,
        "weights_sha256": row.card.weights_sha256,
    }
    return out


def write(found: Found, page: Path) -> None:
    """Write the page and its pictures, ``<name>-adherence.svg`` and ``<name>-speed.svg``."""
    height = 1.2 + 0.45 * (len(found.rows) + 2)
    pictures = {
        "adherence": svg(lambda figure: _draw_rates(figure, found), width=8.6, height=height),
        "speed": svg(
            lambda figure: _draw_speed(figure, found), width=8.6, height=0.9 + 0.3 * len(found.rows)
        ),
    }
    names = {part: f"{page.stem}-{part}.svg" for part in pictures}
    for part, drawn in pictures.items():
        (page.parent / names[part]).write_bytes(base64.b64decode(drawn))
    page.write_text("\n".join(_page(found, names)) + "\n", encoding="utf-8")


def _page(found: Found, pictures: Mapping[str, str]) -> Iterable[str]:
    whole = [x for x in found.ceilings if x.task == "music"]
    rest = [x for x in found.ceilings if x.task == "continuation"]
    yield "# The generation layer, measured"
    yield ""
    yield f"Written by `{found.command}`; nothing on this page was typed by hand."
    yield ""
    yield (
        f"{found.prompts} held-out prompts in everyday words, written without looking at the "
        f"captions the models learned from, {found.seconds:g} s each, item *i* with seed *i*. A "
        "prompt that does not name an attribute does not count for it. In brackets: the 95 % "
        "Wilson interval."
    )
    yield ""
    yield "## Does it play what was asked for?"
    yield ""
    yield f"![Adherence of every model beside the meters' ceilings]({pictures['adherence']})"
    yield ""
    yield from _rates_table([(row.card.name, row.rates) for row in found.rows])
    yield ""
    yield (
        f"**bold**: better than luck. The test deals the prompts anew {DEALS} times and counts "
        f"how often a deal fits as well; better than luck is p < {LEVEL:g}, one-sided. What luck "
        "gives: key 1/24, instrument 1/20, drums the more frequent answer, tempo and family "
        "what wrong prompts get. Tempo counts within 4 % of the named one, its half or double; "
        "family is one of eight groups of the twenty instruments."
    )
    yield ""
    yield from _luck_table(found.rows)
    yield ""
    planned = [(row.card.name, row.planned) for row in found.rows if row.planned]
    if planned:
        yield "### What the written scores say, before any sound"
        yield ""
        yield from _rates_table(planned)
        yield ""
        yield "The gap to the table above belongs to the renderer, the codec and the meters."
        yield ""
    yield "### Ceilings: the same meters on scores no model made"
    yield ""
    yield from _rates_table([(x.name, x.rates) for x in whole])
    yield ""
    yield (
        "FluidR3 is what the models learned from; MuseScore's timbres are new to them. A model "
        "that uses the codec cannot be expected above the codec's line."
    )
    yield ""
    if rest:
        yield (
            f"Continuations are judged on what comes after the given {BEGINNING_SECONDS:g} s; "
            "the score's own continuation, cut alike, reaches:"
        )
        yield ""
        yield from _rates_table([(x.name, x.rates) for x in rest])
        yield ""
    if found.distances:
        yield from _distances(found)
    yield from _costs(found, pictures["speed"])
    yield "## Weights"
    yield ""
    yield "| model | after | version | sha256 of the weights |"
    yield "| --- | --- | --- | --- |"
    for row in found.rows:
        sha = f"`{row.card.weights_sha256[:16]}`" if row.card.weights_sha256 else "none"
        yield f"| {row.card.name} | {row.card.after or '–'} | {row.card.version} | {sha} |"


def _rates_table(rows: Iterable[tuple[str, Mapping[str, Adherence]]]) -> Iterable[str]:
    yield f"| | {' | '.join(ATTRIBUTES)} |"
    yield f"| --- |{' --- |' * len(ATTRIBUTES)}"
    for name, rates in rows:
        yield f"| {name} | {' | '.join(_cell(rates.get(x)) for x in ATTRIBUTES)} |"


def _cell(found: Adherence | None) -> str:
    if found is None:
        return "–"
    rate = found.rate
    share = f"**{percent(rate)}**" if found.is_better_than_chance else percent(rate)
    return f"{share} ({100 * rate.low:.0f}–{100 * rate.high:.0f}, n {rate.n})"


def _luck_table(rows: Sequence[Row]) -> Iterable[str]:
    yield f"| luck and p | {' | '.join(ATTRIBUTES)} |"
    yield f"| --- |{' --- |' * len(ATTRIBUTES)}"
    for row in rows:
        cells = [
            "–" if (x := row.rates.get(name)) is None else f"{100 * x.chance:.1f} %, p {_p(x)}"
            for name in ATTRIBUTES
        ]
        yield f"| {row.card.name} | {' | '.join(cells)} |"


def _p(found: Adherence) -> str:
    return f"{found.p_value:.4f}" if found.p_value > 1 / (1 + DEALS) else f"≤ {found.p_value:.4f}"


def _distances(found: Found) -> Iterable[str]:
    yield "## How far from renders of the training soundfont does it sound?"
    yield ""
    yield (
        "Fréchet audio distance on the 200 numbers of musicnn (MTT), which nobody here trained, "
        "to renders of scores of other seeds. Lower is nearer. The estimate is biased upward for "
        "few sounds, so the number of sounds is the same in every line that can have it; the "
        "first anchor is what no difference at all looks like."
    )
    yield ""
    yield "| | distance | sounds | embeddings |"
    yield "| --- | --- | --- | --- |"
    lines = [(f"**{row.card.name}**", row.distance) for row in found.rows]
    for name, distance in [*found.distances.items(), *lines]:
        if distance is not None:
            yield f"| {name} | {distance.value:.2f} | {distance.sounds} | {distance.embeddings} |"
    yield ""


def _costs(found: Found, picture: str) -> Iterable[str]:
    yield "## What does it cost?"
    yield ""
    yield f"![Seconds of one core per second of sound]({picture})"
    yield ""
    yield "| | real-time factor | first sound after | to load | peak memory | device | items |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for row in found.rows:
        cost = row.cost
        gpu = "" if cost.gpu_peak_mib is None else f", {cost.gpu_peak_mib:.0f} MiB on the GPU"
        yield (
            f"| {row.card.name} | {cost.real_time_factor:.3f} | {cost.first_chunk_seconds:.1f} s "
            f"| {cost.load_seconds:.1f} s | {cost.peak_mib:.0f} MiB{gpu} | {cost.device} "
            f"| {cost.items} × {found.seconds:g} s |"
        )
    yield ""
    yield (
        "Processor seconds of one thread per second of sound, in a process of its own; on a GPU, "
        "seconds of the clock. No model streams: the first sound is there when the item is, so "
        "that time is the time of the whole item. Peak memory is that of the whole process."
    )
    yield ""


def _draw_rates(figure: Figure, found: Found) -> None:
    """One panel an attribute: a point with its interval for each model and each ceiling."""
    shown = ATTRIBUTES[:4]
    panels = figure.subplots(1, len(shown), sharey=True)
    whole = [x for x in found.ceilings if x.task == "music"][:2]
    lines = [
        *[(row.card.name, row.rates, _COLORS[i % 7]) for i, row in enumerate(found.rows)],
        *[(ceiling.name, ceiling.rates, _INK) for ceiling in whole],
    ]
    for panel, attribute in zip(panels, shown, strict=True):
        for place, (_, rates, color) in enumerate(lines):
            if (rate := rates.get(attribute)) is None:
                continue
            panel.plot(
                [100 * rate.rate.low, 100 * rate.rate.high], [place, place], color=color, lw=2
            )
            panel.plot([100 * rate.rate.rate], [place], "o", color=color, ms=5)
            panel.plot([100 * rate.chance], [place], "|", color="#9aa3b2", ms=9)
        panel.set_title(attribute, fontsize=9)
        panel.set_xlim(0, 102)
        panel.set_xlabel("%, gray: luck")
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(axis="x", color="#e5e8ee")
    panels[0].set_yticks(range(len(lines)), [name for name, _, _ in lines])
    panels[0].set_ylim(len(lines) - 0.5, -0.5)


def _draw_speed(figure: Figure, found: Found) -> None:
    """Bars of real-time factors; beyond the line a sound takes longer than it lasts."""
    axes = figure.subplots()
    factors = [row.cost.real_time_factor for row in found.rows]
    axes.barh(range(len(factors)), factors, color=_COLORS[0], height=0.6)
    axes.axvline(1.0, color=_INK, lw=1)
    axes.set_yticks(range(len(factors)), [row.card.name for row in found.rows])
    axes.invert_yaxis()
    axes.set_xlabel("seconds of one core per second of sound")
    axes.spines[["top", "right"]].set_visible(False)
