"""Are copies of training items flagged, and nothing else?

Three questions, each answered with the manifest that ships:

* *planted*: a planner and a renderer are trained on twenty training items until they know
  them by heart, with the same recipes as the shipped model. Asked for these items, every
  output is a copy and must be flagged, with the right item.
* *shipped*: how often is the shipped model flagged on prompts it never read?
* *control*: how often are pieces flagged that nobody learned from, rendered and encoded
  like training items? That is the false-flag rate.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import click
import numpy as np

from detectors.memorization import MemorizationFinding, TrainingItems
from safegen.errors import InputError, SafegenError
from safegen.evaluation.generation import read_prompts
from safegen.evaluation.metrics import wilson
from safegen.generation.base import Generation
from safegen.generation.codec import Codec
from safegen.generation.compose import HEADER_TOKENS, compose, to_json, to_tokens
from safegen.generation.music_flow import MusicFlow
from safegen.generation.samplers import sample_plan
from safegen.generation.soundfont import SoundfontRenderer, find_soundfont
from safegen.generation.stages import dice
from safegen.memorization import examine, for_model
from safegen.training.manifests import ITEM_SECONDS, TRAINING_SEEDS
from safegen.training.outputs import generated, prompts_of, requests_for

T = TypeVar("T")

PLANTED_ITEMS: Final = 20
CONTROL_SEEDS: Final = range(7_500_000, 7_600_000)
"""Apart from the training seeds and from those the rungs are calibrated on."""
MORE_PROMPTS: Final = range(8_500_000, 8_600_000)
"""Pieces whose captions are asked for when the held-out prompts are used up."""
FIRST_SEED: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """One output and what the comparison says.

    Attributes:
        finding: The comparison.
        milliseconds: Processor time it took.
        copied_item: Training item it was made to copy, empty if none.
    """

    finding: MemorizationFinding
    milliseconds: float
    copied_item: str = ""


@click.command("memorization")
@click.option(
    "--assets",
    required=True,
    metavar="FOLDER",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder filled by `safegen eval assets`; only the soundfont is read.",
)
@click.option(
    "--work",
    required=True,
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where outputs and the overfitted model are kept, so that a stopped run continues.",
)
@click.option("--count", type=click.IntRange(1), default=200, show_default=True, help="Prompts.")
@click.option("--controls", type=click.IntRange(0), default=200, show_default=True)
@click.option("--seconds", type=click.FloatRange(2.0, 60.0), default=8.0, show_default=True)
@click.option(
    "--steps",
    type=click.IntRange(0),
    default=1500,
    show_default=True,
    help="Optimizer steps of each stage of the overfitted model; 0 leaves it out.",
)
@click.option("--model", default="music-flow", show_default=True)
def command(
    assets: Path, work: Path, count: int, controls: int, seconds: float, steps: int, model: str
) -> None:
    """Flag planted copies, and publish how often the shipped model is flagged.

    \b
    Exit status:
      0  the figures were measured
      1  the model names no training manifest
      2  the soundfont is missing

    \b
    Example:
      safegen eval memorization --assets ~/assets --work ~/work
    """
    from safegen.generation.systems import load, load_codec

    soundfont = find_soundfont(assets)
    if soundfont is None:
        raise InputError(
            f"{assets}: no soundfont", remedy="Run `safegen eval assets --out FOLDER` first."
        )
    generator = load(model)
    items = for_model(generator.facts)
    if items is None:
        raise SafegenError(
            f"{model} names no training manifest",
            remedy="Choose a model whose card names one.",
        )
    codec = load_codec()
    row: dict[str, object] = {"model": model, "seconds": seconds}
    if steps:
        planted = plant(soundfont, codec, folder=work / "planted", steps=steps)
        row["planted"] = figures(planted_copies(planted, items))
    prompts = tuple(wish.prompt for wish in read_prompts())
    prompts = (*prompts, *prompts_of(MORE_PROMPTS[: max(0, count - len(prompts))]))[:count]
    requests = requests_for(prompts, seconds=seconds, first_seed=FIRST_SEED)
    outputs = generated(generator, requests, folder=work / "outputs")
    row["shipped"] = figures(_watched((_examined(x, items) for x in outputs), count, "Prompts"))
    if controls:
        unseen = control_pieces(soundfont, codec, CONTROL_SEEDS[:controls])
        examined = (_examined(piece, items) for piece in unseen)
        row["control"] = figures(_watched(examined, controls, "Controls"))
    click.echo(json.dumps(row))


def plant(soundfont: Path, codec: Codec, *, folder: Path, steps: int) -> MusicFlow:
    """Train a planner and a renderer on ``PLANTED_ITEMS`` items until they copy them.

    The recipes are those of the shipped model; only the data is smaller, and the models.
    """
    from safetensors.torch import load_file

    from safegen.generation.cards import card
    from safegen.generation.planner import Planner, PlannerConfig
    from safegen.generation.renderer import Renderer, RendererConfig
    from safegen.generation.text import TextConfig
    from safegen.training import flow, text_plan
    from safegen.training.mels import read_mels, render_mels

    seeds = TRAINING_SEEDS[:PLANTED_ITEMS]
    sizes = PlannerConfig(text=TextConfig(width=96, layers=2), layers=3)
    small = RendererConfig(text_width=96, width=160, layers=4)
    for _ in render_mels(soundfont, seeds, folder=folder):
        pass
    plans = text_plan.train(
        folder=folder / "planner", steps=steps, batch=32, config=sizes, seeds=seeds
    )
    for _ in _watched(plans, steps, "Overfitting the planner"):
        pass
    planner = Planner(sizes)
    planner.load_state_dict(load_file(folder / "planner" / "planner.safetensors"))
    planner.eval().requires_grad_(False)
    velocities = flow.train(
        read_mels(folder, seeds),
        seeds,
        codec=codec,
        text=planner.text,
        folder=folder / "renderer",
        steps=steps,
        batch=8,
        config=small,
    )
    for _ in _watched(velocities, steps, "Overfitting the renderer"):
        pass
    renderer = Renderer(small)
    renderer.load_state_dict(load_file(folder / "renderer" / "renderer.safetensors"))
    return MusicFlow(card("music-flow"), codec=codec, planner=planner, renderer=renderer)


def planted_copies(generator: MusicFlow, items: TrainingItems) -> Iterable[Examined]:
    """Ask the overfitted model for the items it knows and examine what it plays.

    A caption alone may fit several of the twenty, so each request also gives the item's
    attributes, as published extraction tests give the first tokens of a training item;
    chords, melody and sound are the model's own.
    """
    seeds = TRAINING_SEEDS[:PLANTED_ITEMS]
    requests = requests_for(prompts_of(seeds), seconds=ITEM_SECONDS, first_seed=FIRST_SEED)
    made = (
        generator.render(
            sample_plan(
                generator.planner,
                request.prompt,
                dice(request.seed, "plan"),
                given=to_tokens(compose(seed))[:HEADER_TOKENS],
            ),
            request,
        )
        for request, seed in zip(requests, seeds, strict=True)
    )
    for generation, seed in zip(_watched(made, PLANTED_ITEMS, "Copies"), seeds, strict=True):
        yield _examined(generation, items, copied=f"seed:{seed}")


def control_pieces(soundfont: Path, codec: Codec, seeds: range) -> Iterable[Generation]:
    """Render and encode pieces that nobody learned from."""
    renderer = SoundfontRenderer(soundfont)
    for seed in seeds:
        plan = compose(seed)
        audio = renderer.render(plan, seconds=ITEM_SECONDS)
        yield Generation(
            audio=audio,
            plan_json=to_json(plan),
            plan_tokens=np.array(to_tokens(plan), dtype=np.int64),
            codes=codec.encode(audio).astype(np.int64),
        )


def figures(examined: Iterable[Examined]) -> dict[str, object]:
    """Count flags, by rung, with intervals."""
    rows = list(examined)
    flagged = [row for row in rows if row.finding.flag]
    rungs = {
        "plan": [row.finding.plan_agreement for row in rows],
        "tokens": [row.finding.token_agreement for row in rows],
        "fingerprint": [row.finding.fingerprint_agreement for row in rows],
    }
    out: dict[str, object] = {"flagged": wilson(len(flagged), len(rows)).as_json()}
    out["by_rung"] = {kind: sum(row.finding.rung == kind for row in flagged) for kind in rungs}
    for kind, shares in rungs.items():
        known = np.array([share for share in shares if share is not None])
        if len(known):
            low, middle, high = np.quantile(known, [0.05, 0.5, 0.95])
            out[f"{kind}_agreement"] = {
                "n": len(known),
                "q05": round(float(low), 3),
                "median": round(float(middle), 3),
                "q95": round(float(high), 3),
                "max": round(float(known.max()), 3),
            }
    copied = [row for row in rows if row.copied_item]
    if copied:
        named = sum(row.finding.nearest_item == row.copied_item for row in copied)
        out["right_item"] = wilson(named, len(copied)).as_json()
    out["scores"] = [round(row.finding.score, 3) for row in flagged][:50]
    out["milliseconds_median"] = round(float(np.median([row.milliseconds for row in rows])), 1)
    return out


def _examined(generation: Generation, items: TrainingItems, *, copied: str = "") -> Examined:
    start = time.process_time()
    finding = examine(generation, items)
    taken = (time.process_time() - start) * 1e3
    return Examined(finding=finding, milliseconds=taken, copied_item=copied)


def _watched(work: Iterable[T], length: int, label: str) -> Iterator[T]:
    """Pass items on and draw a bar on stderr."""
    with click.progressbar(length=length, label=label, file=sys.stderr) as bar:
        for item in work:
            yield item
            bar.update(1)
