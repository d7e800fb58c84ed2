"""Does the shipped generator play what the prompt asks for, and how long does it take?

``safegen eval generation`` sends held-out prompts, written by people who had not seen
the captions of training, through a model and reads tempo, key and drums off the sound
with the meters of ``safegen.evaluation.meters``. A prompt that does not name an
attribute does not count for it. Beside each rate stands the meter's ceiling: how often
the same meter is right about scores rendered without any model.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from safegen.audio import Audio, save
from safegen.errors import InputError
from safegen.evaluation import meters
from safegen.generation.base import Generator, Request
from safegen.generation.compose import compose
from safegen.generation.procedural import render
from safegen.generation.soundfont import SoundfontRenderer, find_soundfont

PROMPTS: Final = Path(__file__).parent / "heldout_prompts.jsonl"
CEILING_SEEDS: Final = range(9_000_000, 9_001_000)
"""Scores for the ceilings; no training seed is among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a prompt asks for.

    Attributes:
        prompt: As typed.
        tempo_bpm: Named tempo, None if none is.
        key: Named key, None if none is.
        drums: Whether drums are wanted, None if the prompt does not say.
    """

    prompt: str
    tempo_bpm: float | None
    key: str | None
    drums: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What one recording made of a wish.

    Attributes:
        wish: What was asked for.
        heard: What the meters say.
        cpu_seconds: Processor time it took.
        seconds: Length of the sound.
    """

    wish: Wish
    heard: meters.Reading
    cpu_seconds: float
    seconds: float

    @property
    def tempo(self) -> bool | None:
        """Whether the tempo is right, None if none was named."""
        if self.wish.tempo_bpm is None:
            return None
        return meters.same_tempo(self.heard.tempo_bpm, self.wish.tempo_bpm)

    @property
    def key(self) -> bool | None:
        """Whether root and mode are right, None if none was named."""
        return None if self.wish.key is None else meters.same_key(self.heard.key, self.wish.key)

    @property
    def drums(self) -> bool | None:
        """Whether drums play as asked, None if the prompt does not say."""
        return None if self.wish.drums is None else self.heard.drums == self.wish.drums


def read_prompts(path: Path = PROMPTS) -> tuple[Wish, ...]:
    """Read held-out prompts, one JSON object a line.

    Raises:
        InputError: If a line is not a prompt.
    """
    wishes = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            wish = Wish(
                prompt=row["prompt"],
                tempo_bpm=row["tempo_bpm"],
                key=row["key"],
                drums=row["drums"],
            )
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path.name}, line {number}: not a prompt: {error}") from error
        wishes.append(wish)
    return tuple(wishes)


def judge(
    generator: Generator,
    wishes: Iterable[Wish],
    *,
    seconds: float,
    folder: Path | None = None,
) -> Iterator[Judged]:
    """Generate for every wish and read the meters; item i has seed i.

    Args:
        generator: The model.
        wishes: What is asked for.
        seconds: Length of every item.
        folder: Where the sounds are kept as WAV; nowhere if None.
    """
    for seed, wish in enumerate(wishes):
        begun = time.process_time()
        request = Request(prompt=wish.prompt, seconds=seconds, seed=seed)
        audio = generator.generate(request).audio
        spent = time.process_time() - begun
        if folder is not None:
            save(audio, folder / f"{seed:03d}.wav")
        yield Judged(wish=wish, heard=meters.read(audio), cpu_seconds=spent, seconds=audio.seconds)


def ceilings(count: int, *, seconds: float, soundfont: Path | None) -> Iterator[Judged]:
    """Read the meters on scores rendered without any model.

    Args:
        count: How many scores.
        seconds: Length of each.
        soundfont: Renders them; sine waves do if None.
    """
    sampled = None if soundfont is None else SoundfontRenderer(soundfont)
    for seed in CEILING_SEEDS[:count]:
        plan = compose(seed)
        audio: Audio
        if sampled is None:
            audio = render(plan, seconds=seconds)
        else:
            audio = sampled.render(plan, seconds=seconds)
        wish = Wish(prompt="", tempo_bpm=float(plan.tempo_bpm), key=plan.key, drums=plan.has_drums)
        yield Judged(wish=wish, heard=meters.read(audio), cpu_seconds=0.0, seconds=seconds)


def figures(judged: Iterable[Judged]) -> dict[str, float | int]:
    """Count: the rate and the number of prompts for each attribute."""
    rows = list(judged)
    out: dict[str, float | int] = {}
    for name in ("tempo", "key", "drums"):
        named = [right for row in rows if (right := getattr(row, name)) is not None]
        out[name] = round(sum(named) / len(named), 3) if named else 0.0
        out[f"{name}_n"] = len(named)
    return out


@click.command()
@click.option("--count", type=click.IntRange(1, 1000), default=100, show_default=True)
@click.option("--seconds", type=click.FloatRange(4.0, 30.0), default=10.0, show_default=True)
@click.option("--model", default="music-flow", show_default=True)
@click.option("--prompts", type=click.Path(exists=True, path_type=Path), default=PROMPTS)
@click.option(
    "--assets",
    type=click.Path(path_type=Path),
    default=None,
    help="Folder with the training soundfont, for the ceilings; sine waves without it.",
)
@click.option(
    "--save",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=None,
    help="Keep the sounds in this folder.",
)
def command(
    count: int, seconds: float, model: str, prompts: Path, assets: Path | None, folder: Path | None
) -> None:
    """Measure how well prompts are followed: tempo, key, drums, and processor time.

    \b
    Example:
      safegen eval generation --count 100 --assets assets/
    """
    import sys

    from safegen.generation.systems import load

    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    wishes = read_prompts(prompts)[:count]
    generator = load(model)
    judged: list[Judged] = []
    soundfont = None if assets is None else find_soundfont(assets)
    with click.progressbar(
        judge(generator, wishes, seconds=seconds, folder=folder),
        length=len(wishes),
        label="Generating",
        file=sys.stderr,
        hidden=not sys.stderr.isatty(),
    ) as rows:
        judged.extend(rows)
    known = figures(ceilings(count, seconds=seconds, soundfont=soundfont))
    cpu = sum(row.cpu_seconds for row in judged) / sum(row.seconds for row in judged)
    click.echo(
        json.dumps(
            {
                "benchmark": "generation",
                "model": model,
                **figures(judged),
                "tempo_ceiling": known["tempo"],
                "key_ceiling": known["key"],
                "drums_ceiling": known["drums"],
                "ceiling_n": known["tempo_n"],
                "ceiling_renderer": "procedural" if soundfont is None else "soundfont",
                "cpu_seconds_per_audio_second": round(cpu, 3),
                "seconds": seconds,
                "weights_sha256": generator.facts.weights_sha256,
            }
        )
    )
