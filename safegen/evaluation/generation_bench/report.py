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

from safegen.evaluation.generation_bench import plots
from safegen.evaluation.generation_bench.adherence import DEALS, LEVEL, Adherence
from safegen.evaluation.generation_bench.bench import Row
from safegen.evaluation.generation_bench.frechet import Distance
from safegen.evaluation.generation_bench.tasks import BEGINNING_SECONDS, Ceiling
from safegen.evaluation.metrics import percent

if TYPE_CHECKING:
    from safegen.evaluation.codec_quality import Row as CodecRow

ATTRIBUTES: Final = ("tempo", "key", "drums", "instrument", "family")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Everything a run found.

    Attributes:
        rows: One per model.
        ceilings: Of the meters, for every task of the rows.
        distances: Anchors of the distance, empty without musicnn.
        codec: Of ``codec_quality``, empty if the codec was not measured.
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
    codec: Sequence[CodecRow] = ()


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
    for name in row.attributes:
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
    """Write the page and its pictures beside it, named after it."""
    drawn = {"speed": plots.speed(found.rows)}
    if _music(found):
        ceilings = [x for x in found.ceilings if x.task == "music"][:2]
        drawn["adherence"] = plots.adherence(_music(found), ceilings, ATTRIBUTES[:4])
    names = {part: f"{page.stem}-{part}.svg" for part in drawn}
    for part, picture in drawn.items():
        (page.parent / names[part]).write_bytes(base64.b64decode(picture))
    page.write_text("\n".join(_page(found, names)) + "\n", encoding="utf-8")


def _page(found: Found, pictures: Mapping[str, str]) -> Iterable[str]:
    yield "# The generation layer, measured"
    yield ""
    yield f"Written by `{found.command}`; nothing on this page was typed by hand."
    yield ""
    yield (
        f"{found.prompts} held-out prompts in everyday words, those of music written without "
        f"looking at the captions the models learned from, {found.seconds:g} s each, item "
        "*i* with seed *i*. A prompt that does not name an attribute does not count for it. In "
        "brackets: the 95 % "
        f"Wilson interval. **bold**: better than luck. The test deals the prompts anew {DEALS} "
        "times and counts how often a deal fits as well; better than luck is "
        f"p < {LEVEL:g}, one-sided."
    )
    yield ""
    if _music(found):
        yield from _adherence(found, pictures["adherence"])
    if len(_music(found)) < len(found.rows):
        yield from _sounds(found)
    if found.distances:
        yield from _distances(found)
    if found.codec:
        yield from _codec(found.codec)
    yield from _costs(found, pictures["speed"])
    yield "## Weights"
    yield ""
    yield "| model | after | version | sha256 of the weights |"
    yield "| --- | --- | --- | --- |"
    for row in found.rows:
        sha = f"`{row.card.weights_sha256[:16]}`" if row.card.weights_sha256 else "none"
        yield f"| {row.card.name} | {row.card.after or '–'} | {row.card.version} | {sha} |"


def _music(found: Found) -> list[Row]:
    return [row for row in found.rows if row.task != "sounds"]


def _adherence(found: Found, picture: str) -> Iterable[str]:
    music = _music(found)
    yield "## Does it play what was asked for?"
    yield ""
    yield f"![Adherence of every model beside the meters' ceilings]({picture})"
    yield ""
    yield from _rates_table([(row.card.name, row.rates) for row in music])
    yield ""
    yield (
        "Tempo counts within 4 % of the named one, its half or double; family is one of eight "
        "groups of the twenty instruments. What luck gives: key 1/24, instrument 1/20, drums the "
        "more frequent answer, tempo and family what wrong prompts get."
    )
    yield ""
    yield from _luck_table(music)
    yield ""
    planned = [(row.card.name, row.planned) for row in music if row.planned]
    if planned:
        yield "### What the written scores say, before any sound"
        yield ""
        yield from _rates_table(planned)
        yield ""
        yield "The gap to the table above belongs to the renderer, the codec and the meters."
        yield ""
    yield "### Ceilings: the same meters on scores no model made"
    yield ""
    yield from _rates_table([(x.name, x.rates) for x in found.ceilings if x.task == "music"])
    yield ""
    yield (
        "FluidR3 is what the models learned from; MuseScore's timbres are new to them, not to the "
        "meter of instruments, which learned from other scores of both. A model that decodes "
        "codes cannot be expected above the codec's line."
    )
    yield ""
    rest = [(x.name, x.rates) for x in found.ceilings if x.task == "continuation"]
    if rest:
        yield (
            f"Continuations are judged on what comes after the given {BEGINNING_SECONDS:g} s; "
            "the score's own continuation, cut alike, reaches:"
        )
        yield ""
        yield from _rates_table(rest)
        yield ""


def _rates_table(
    rows: Iterable[tuple[str, Mapping[str, Adherence]]],
    attributes: Sequence[str] = ATTRIBUTES,
) -> Iterable[str]:
    yield f"| | {' | '.join(attributes)} |"
    yield f"| --- |{' --- |' * len(attributes)}"
    for name, rates in rows:
        yield f"| {name} | {' | '.join(_cell(rates.get(x)) for x in attributes)} |"


def _cell(found: Adherence | None) -> str:
    if found is None:
        return "–"
    rate = found.rate
    share = f"**{percent(rate)}**" if found.is_better_than_chance else percent(rate)
    return f"{share} ({100 * rate.low:.0f}–{100 * rate.high:.0f}, n {rate.n})"


def _sounds(found: Found) -> Iterable[str]:
    rows = [row for row in found.rows if row.task == "sounds"]
    attributes = rows[0].attributes
    yield "## Sound effects: is heard what was asked for?"
    yield ""
    ceilings = [(x.name, x.rates) for x in found.ceilings if x.task == "sounds"]
    lines = [(row.card.name, row.rates) for row in rows]
    yield from _rates_table([*lines, *ceilings], attributes)
    yield ""
    yield (
        "surest: the sound the meter is surest of is one the prompt names. all: asked for n "
        "sounds, they are the n surest. Luck is what wrong prompts get. The last lines are the "
        "meter's ceilings, on scenes no model made. Unlike the prompts of music, these were "
        "written by the author of the captions that the reader of scenes learned from, so they "
        "flatter it."
    )
    yield ""
    yield from _luck_table(rows, attributes)
    yield ""


def _luck_table(rows: Sequence[Row], attributes: Sequence[str] = ATTRIBUTES) -> Iterable[str]:
    yield f"| luck and p | {' | '.join(attributes)} |"
    yield f"| --- |{' --- |' * len(attributes)}"
    for row in rows:
        cells = [
            "–" if (x := row.rates.get(name)) is None else f"{100 * x.chance:.1f} %, p {_p(x)}"
            for name in attributes
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


def _codec(rows: Sequence[CodecRow]) -> Iterable[str]:
    yield "## How well does the codec carry sound?"
    yield ""
    yield "| clips | coding | kbit/s | ViSQOL, mean | worst clip | log-mel difference | clips |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for row in rows:
        yield (
            f"| {row.kind} | {row.coding} | {row.bitrate / 1000:.2f} | {row.visqol:.2f} "
            f"| {row.visqol_least:.2f} | {row.log_mel:.3f} | {row.clips} |"
        )
    yield ""
    yield "ViSQOL in [1, 4.74]; 0 kbit/s: nothing was stored. See `safegen eval codec-quality`."
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
        "seconds of the clock. Items are made whole here, so the first sound is there when the "
        "item is; with `--stream` it comes earlier (docs/streaming.md). Peak memory is that "
        "of the whole process."
    )
    yield ""
