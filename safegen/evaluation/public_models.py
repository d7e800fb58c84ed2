"""Is a public checkpoint slower here than in its own library, and what does the gate add?

Checkpoints of the real shape with random weights (time does not depend on what weights say),
the library's own pipeline and ours on the same folder in turns, then the gate around ours in
an installation of its own. A row for each model and batch: wall time, real-time factor,
memory, and the gate's share of the time of generate and gate together.
"""

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, cast

import click

from safegen.evaluation.gate import PROMPTS, open_installation
from safegen.evaluation.public_bench.checkpoints import Size
from safegen.evaluation.public_bench.contender import Contender, Match, opened, play
from safegen.evaluation.public_bench.musicgen import MusicGen
from safegen.evaluation.public_bench.stable_audio_3 import StableAudio3
from safegen.gate import Gate
from safegen.generation.base import Request
from safegen.generation.public_families import Device, Precision
from safegen.generation.systems import load

GATE_SECONDS: Final = 5.0
"""Shorter clips cannot be compared with the catalog, and the gate lets none of them out."""

CONTENDERS: Final[dict[str, Contender]] = {each.name: each for each in (MusicGen(), StableAudio3())}
"""What ``--model`` knows; a family that its library generates with needs one entry."""


@click.command()
@click.option(
    "--model",
    "models",
    type=click.Choice(sorted(CONTENDERS)),
    multiple=True,
    help="Only these; all without it.",
)
@click.option("--size", type=click.Choice(["tiny", "small"]), default="small", show_default=True)
@click.option("--seconds", type=click.FloatRange(0.5, 30.0), default=3.0, show_default=True)
@click.option("--batch", "batches", type=click.IntRange(1, 64), multiple=True, default=(1,))
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16", "float16"]),
    default="float32",
    show_default=True,
)
@click.option("--threads", type=click.IntRange(0), default=0, help="Of the CPU; 0 for all.")
def command(
    models: tuple[str, ...],
    size: str,
    seconds: float,
    batches: tuple[int, ...],
    rounds: int,
    device: str,
    precision: str,
    threads: int,
) -> None:
    """Time public checkpoints through their own library, here, and through the gate.

    \b
    Example:
      safegen eval public-models --size small --seconds 3 --batch 1 --batch 4
    """
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise click.UsageError("device cuda: there is no usable GPU; use --device cpu")
    if threads:
        torch.set_num_threads(threads)
    told: dict[str, Any] = {
        "benchmark": "public-models",
        "size": size,
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "precision": precision,
        "threads": torch.get_num_threads(),
        "seconds": seconds,
        "rounds": rounds,
    }
    for name in models or sorted(CONTENDERS):
        with tempfile.TemporaryDirectory(prefix="safegen-bench-") as folder:
            home = Path(folder)
            match = opened(
                CONTENDERS[name],
                home / name,
                size=cast("Size", size),
                device=cast("Device", device),
                precision=cast("Precision", precision),
            )
            gate = open_installation(home / "home", works=0)
            for batch in batches:
                click.echo(f"{name}, batch {batch}", err=True)
                requests = _requests(batch, seconds)
                play(match, requests, rounds=rounds, device=cast("Device", device))
                row = {**told, "model": name, "batch": batch}
                row |= _compared(match, sound_seconds=batch * seconds)
                row |= _through_gate(gate, match, requests, home / "out")
                click.echo(json.dumps(row))
                sys.stdout.flush()
            gate.close()


def _requests(batch: int, seconds: float) -> list[Request]:
    """Ask for clips of one length, as the library needs it, with prompts of several."""
    return [
        Request(prompt=PROMPTS[number % len(PROMPTS)], seconds=seconds, seed=number)
        for number in range(batch)
    ]


def _compared(match: Match, *, sound_seconds: float) -> dict[str, Any]:
    theirs = match.theirs.figures(sound_seconds=sound_seconds)
    ours = match.ours.figures(sound_seconds=sound_seconds)
    speedup = theirs["seconds_median"] / max(ours["seconds_median"], 1e-3)
    return {"theirs": theirs, "ours": ours, "times_faster": round(speedup, 2)}


def _through_gate(gate: Gate, match: Match, requests: list[Request], out: Path) -> dict[str, Any]:
    """Release what ours makes, of a length at which the gate can compare."""
    requests = [replace(x, seconds=max(x.seconds, GATE_SECONDS)) for x in requests]
    gate.generate(load("procedural"), requests[0], out=out)  # warms the detectors up
    releases = gate.generate_batch(match.generator, requests, out=out)
    generate = sum(found.timings_ms["generate"] for found in releases)
    total = sum(sum(found.timings_ms.values()) for found in releases)
    return {
        "gate_seconds": requests[0].seconds,
        "released": sum(found.is_released for found in releases),
        "gate_ms_each": round((total - generate) / len(releases), 1),
        "gate_share": round((total - generate) / total, 4),
    }
