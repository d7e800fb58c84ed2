"""Does a generator play what the prompt asks for, and how long does it take?

``safegen eval generation`` sends held-out prompts, written by people who had not seen
the captions of training, through one or more models and reads tempo, key, drums and
instrument off the sound (``safegen.evaluation.meters``, ``safegen.evaluation.instrument``).
Beside each rate stand what luck gives and the meters' ceilings: how often the same meters
are right about scores rendered without any model. The parts are in
``safegen.evaluation.generation_bench``.
"""

from __future__ import annotations

import json
import shlex
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from safegen.audio import save
from safegen.errors import InputError
from safegen.evaluation.generation_bench.wishes import PROMPTS, Wish, read_prompts

if TYPE_CHECKING:
    from safegen.evaluation.codec_quality import Row as CodecRow

CODEC_SECONDS: Final = 3.0
__all__ = ["PROMPTS", "Wish", "command", "read_prompts"]


@click.command()
@click.option("--count", type=click.IntRange(1, 10_000), default=200, show_default=True)
@click.option("--seconds", type=click.FloatRange(4.0, 30.0), default=10.0, show_default=True)
@click.option(
    "--model", "models", multiple=True, default=("music-flow",), show_default=True,
    help="May be given several times.",
)  # fmt: skip
@click.option(
    "--prompts",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=PROMPTS,
    help="Our own JSON lines, or a .csv in MusicCaps' form.",
)
@click.option(
    "--assets",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=None,
    help="Folder of `safegen eval assets`: soundfonts for the ceilings (sine waves without), "
    "musicnn for the distance.",
)
@click.option(
    "--work",
    type=click.Path(file_okay=False, path_type=Path),
    default=None,
    help="Keep what was made and heard in this folder; a run found there goes on.",
)
@click.option(
    "--save",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=None,
    help="Keep the sounds in this folder as WAV, by number.",
)
@click.option(
    "--docs",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help="Write a page in Markdown, with pictures beside it.",
)
@click.option(
    "--codec-clips",
    type=click.IntRange(0, 50),
    default=0,
    show_default=True,
    help="Also measure the codec beside Opus, on as many clips of each kind (see codec-quality).",
)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option(
    "--timed",
    type=click.IntRange(1, 100),
    default=5,
    show_default=True,
    help="Items whose cost is measured.",
)
def command(
    count: int,
    seconds: float,
    models: tuple[str, ...],
    prompts: Path,
    assets: Path | None,
    work: Path | None,
    folder: Path | None,
    docs: Path | None,
    codec_clips: int,
    device: str,
    timed: int,
) -> None:
    """Measure how well prompts are followed, how far from renders it sounds, and the cost.

    One JSON object a model on stdout: rates of tempo, key, drums and instrument with
    intervals, luck and ceilings; the distance on musicnn's embedding; processor seconds
    per second of sound, time to the first sound, peak memory.

    \b
    Exit status:
      0  every model was measured
      1  something failed before that
      2  bad arguments, or a file of prompts that cannot be read

    \b
    Example:
      safegen eval generation --count 200 --assets assets/ --work work/
    """
    from safegen.evaluation.generation_bench import report
    from safegen.evaluation.generation_bench.bench import Bench, Conditions
    from safegen.generation.cards import card

    wishes = read_prompts(prompts)[:count]
    for model in models:
        card(model)  # so that an unknown name is told before anything is made
    if docs is not None and not docs.parent.is_dir():
        raise InputError(f"{docs.parent} is no folder", remedy="Make it, or choose another --docs.")
    if codec_clips and assets is None:
        raise InputError("--codec-clips needs sounds", remedy="Give --assets FOLDER, too.")
    with ExitStack() as stack:
        place = work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        conditions = Conditions(wishes=wishes, seconds=seconds, device=device, timed=timed)
        bench = Bench(place, conditions, assets=assets, watch=_watched)
        if not bench.hears_distance:
            click.echo("No musicnn in the assets: the distance is not measured.", err=True)
        rows = [bench.row(model) for model in models]
        if folder is not None:
            for model in models:
                for number, audio in enumerate(bench.sounds(model)):
                    name = f"{number:03d}.wav" if len(models) == 1 else f"{model}/{number:03d}.wav"
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    save(audio, folder / name)
        found = report.Found(
            rows=rows,
            ceilings=bench.ceilings(models),
            distances=bench.distances(),
            codec=_codec(assets, codec_clips, place) if assets and codec_clips else (),
            seconds=seconds,
            prompts=len(wishes),
            command=_typed(models, count, seconds),
        )
    if docs is not None:
        report.write(found, docs)
    for row in rows:
        click.echo(json.dumps(report.as_json(row, found)))


def _typed(models: tuple[str, ...], count: int, seconds: float) -> str:
    """Write the command down without the folders of this machine."""
    named = [part for model in models for part in ("--model", model)]
    words = [*named, "--count", str(count), "--seconds", f"{seconds:g}"]
    return f"safegen eval generation {shlex.join(words)} --assets ASSETS --docs docs/generation.md"


def _codec(assets: Path, clips: int, work: Path) -> tuple[CodecRow, ...]:
    """Measure the codec as `safegen eval codec-quality` does."""
    from safegen.evaluation import codec_quality
    from safegen.evaluation.state import State
    from safegen.generation import codec_file

    version = f"{codec_file.shipped_codec_id().hex()} {CODEC_SECONDS:g} s"
    state = State(work / "codec.jsonl", version)
    trials = codec_quality.measure(assets, count=clips, seconds=CODEC_SECONDS, state=state)
    return codec_quality.summary(list(trials))


def _watched(steps: Iterable[Any], length: int, label: str) -> Iterator[Any]:
    with click.progressbar(
        steps, length=length, label=label, file=sys.stderr, hidden=not sys.stderr.isatty()
    ) as bar:
        yield from bar
