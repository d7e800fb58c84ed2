"""Is a given melody followed?

Melodies are rendered scores no model learned from; each is given to the model together
with an instrument to play it. Of the frames in which both the melody and what was made
have a leading pitch, how many agree? Beside it stands how much the same outputs agree
with each other's melodies, which is luck.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click
import numpy as np

from safegen.audio import Audio
from safegen.errors import InputError
from safegen.generation.base import Generator, Request
from safegen.generation.compose import INSTRUMENTS, compose
from safegen.generation.melody import NONE, Classes, classes_of
from safegen.generation.soundfont import SoundfontRenderer, find_soundfont

MELODY_SEEDS: Final = range(9_000_100, 9_001_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """How well melodies were followed.

    Attributes:
        agreement: Of each output with its own melody, in [0, 1].
        luck: Mean agreement of outputs with the melodies of the others.
    """

    agreement: tuple[float, ...]
    luck: float


def agreement(one: Classes, other: Classes) -> float:
    """Share of the frames with a leading pitch in both that agree; 0 if there is none."""
    n = min(len(one), len(other))
    both = (one[:n] != NONE) & (other[:n] != NONE)
    return float((one[:n][both] == other[:n][both]).mean()) if both.any() else 0.0


def followed(melodies: Sequence[Audio], outputs: Sequence[Audio]) -> Followed:
    """Compare every output with every melody; at least two of each."""
    given = [classes_of(audio) for audio in melodies]
    made = [classes_of(audio) for audio in outputs]
    table = np.array([[agreement(melody, output) for output in made] for melody in given])
    others = table[~np.eye(len(table), dtype=bool)]
    return Followed(
        agreement=tuple(np.diag(table).round(3).tolist()), luck=round(float(others.mean()), 3)
    )


def request(number: int, melody: Audio) -> Request:
    """Ask for a melody on the instrument whose turn it is."""
    name = INSTRUMENTS[number % len(INSTRUMENTS)].name
    return Request(
        prompt=f"{name} plays the melody", seconds=melody.seconds, seed=number, melody=melody
    )


@click.command("melody")
@click.option("--model", default="music-ar", show_default=True, metavar="NAME")
@click.option("--count", type=click.IntRange(2, 900), default=20, show_default=True)
@click.option("--seconds", type=click.FloatRange(2.0, 30.0), default=8.0, show_default=True)
@click.option(
    "--assets",
    required=True,
    metavar="FOLDER",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with the training soundfont (safegen eval assets).",
)
def command(model: str, count: int, seconds: float, assets: Path) -> None:
    """Measure how well a model follows melodies it is given.

    \b
    Exit status:
      0  measured
      2  the model takes no melody, or there is no soundfont

    \b
    Example:
      safegen eval melody --model music-ar --assets assets/
    """
    from safegen.generation.systems import load

    soundfont = find_soundfont(assets)
    if soundfont is None:
        raise InputError(
            f"{assets}: no FluidR3Mono_GM.sf3 below it", remedy="Run `safegen eval assets`."
        )
    generator: Generator = load(model)
    renderer = SoundfontRenderer(soundfont)
    melodies = [renderer.render(compose(s), seconds=seconds) for s in MELODY_SEEDS[:count]]
    requests = [request(number, melody) for number, melody in enumerate(melodies)]
    with click.progressbar(requests, label="Following", file=sys.stderr) as bar:
        outputs = [generator.generate(asked).audio for asked in bar]
    found = followed(melodies, outputs)
    row = {
        "benchmark": "melody",
        "model": model,
        "n": count,
        "seconds": seconds,
        "agreement": round(float(np.mean(found.agreement)), 3),
        "least": min(found.agreement),
        "luck": found.luck,
        "weights_sha256": generator.facts.weights_sha256,
    }
    click.echo(json.dumps(row))
