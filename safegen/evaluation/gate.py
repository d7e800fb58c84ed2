"""What does the gate cost, beside the generation it guards?

One installation in a temporary folder, a small catalog, and the same items through the
whole gate on one core. The first item warms up and is not counted. ``overhead_ms`` is
everything but ``generate``: log, checks, marking, encoding, C2PA, read-back, receipt.
"""

import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from safegen.audio import FileFormat
from safegen.demo import add_composed_works, install
from safegen.gate import Gate
from safegen.generation.base import Generator, Request
from safegen.recording import Release

FIRST_WORK_SEED = 80_000_000
"""Far from the seeds of the training items."""

PROMPTS = (
    "a calm piano piece in A minor, 80 bpm, no drums",
    "driving electric guitar, 140 bpm, E minor, with drums",
    "a happy flute melody in G major at 110 bpm",
    "slow strings in D minor, 66 bpm",
)


@click.command()
@click.option("--count", type=click.IntRange(2), default=8, show_default=True)
@click.option("--seconds", type=click.FloatRange(2.0, 60.0), default=10.0, show_default=True)
@click.option("--model", default="music-flow", show_default=True)
@click.option("--works", type=click.IntRange(0), default=20, show_default=True)
@click.option(
    "--file-format", type=click.Choice(["wav", "flac", "mp3"]), default="wav", show_default=True
)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
def command(
    count: int, seconds: float, model: str, works: int, file_format: FileFormat, threads: int
) -> None:
    """Time the whole gate around the shipped generator, step by step.

    \b
    Example:
      safegen eval gate --count 8
    """
    import torch

    from safegen.generation.systems import load

    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory(prefix="safegen-bench-") as folder:
        gate = open_installation(Path(folder) / "home", works=works)
        generator = load(model, device="cpu")
        releases = []
        with click.progressbar(range(count), label="Releasing", file=sys.stderr) as bar:
            for index in bar:
                request = Request(prompt=PROMPTS[index % len(PROMPTS)], seconds=seconds, seed=index)
                releases.append(_run(gate, generator, request, Path(folder) / "out", file_format))
        gate.close()
    click.echo(json.dumps(figures(releases[1:], seconds=seconds)))


def open_installation(home: Path, *, works: int) -> Gate:
    """Set up keys, database and a catalog of composed works in an empty folder."""
    config = install(home)
    if works:
        seeds = tuple(range(FIRST_WORK_SEED, FIRST_WORK_SEED + works))
        add_composed_works(config, home / "works", seeds=seeds)
    return Gate.open(home)


def figures(releases: list[Release], *, seconds: float) -> dict[str, Any]:
    """Summarize timings: medians of every step and of the whole overhead."""
    steps = sorted({name for release in releases for name in release.timings_ms})
    overhead = [
        sum(ms for name, ms in release.timings_ms.items() if name != "generate")
        for release in releases
    ]
    generate = [release.timings_ms.get("generate", 0.0) for release in releases]
    return {
        "benchmark": "gate",
        "n": len(releases),
        "seconds": seconds,
        "released": sum(release.is_released for release in releases),
        "overhead_ms_median": round(statistics.median(overhead), 1),
        "overhead_ms_max": round(max(overhead), 1),
        "generate_ms_median": round(statistics.median(generate), 1),
        "generate_real_time_factor": round(statistics.median(generate) / 1000.0 / seconds, 3),
        "steps_ms_median": {
            name: round(
                statistics.median([release.timings_ms.get(name, 0.0) for release in releases]), 1
            )
            for name in steps
        },
    }


def _run(
    gate: Gate, generator: Generator, request: Request, out: Path, file_format: FileFormat
) -> Release:
    return gate.generate(generator, request, out=out, file_format=file_format)
