"""What is timed: one kind of checkpoint, through its library's own pipeline and through ours.

Both are loaded from the same folder into one process and take turns, so that what else the
machine does meets both. Memory is what a side added to the process when it was loaded, and
what it needed beside that while it ran.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Protocol

import torch

from safegen.evaluation.public_bench.checkpoints import Size
from safegen.generation.base import Generator, Request, together
from safegen.generation.public_families import Device, Precision
from safegen.generation.systems import load

_STATM: Final = Path("/proc/self/statm")
_PAGE_BYTES: Final = 4096
_LOOK_SECONDS: Final = 0.02
_WARM_UP_SECONDS: Final = 0.5
_README: Final = "---\nlicense: cc0-1.0\n---\nRandom weights: nobody has rights in them.\n"

Run = Callable[[Sequence[Request]], object]
"""Makes the sound of all requests, and returns when it is there."""


class Contender(Protocol):
    """A kind of checkpoint that two pipelines read."""

    @property
    def name(self) -> str:
        """What rows call it."""

    def save(self, folder: Path, size: Size) -> None:
        """Write a checkpoint with random weights."""

    def theirs(self, folder: Path, *, device: Device, precision: Precision) -> Run:
        """Load it with the library's own pipeline, as its documentation does."""


@dataclass(slots=True, kw_only=True)
class Side:
    """One of two pipelines.

    Attributes:
        run: Makes sound.
        loaded_bytes: Memory that it added when it was loaded.
        seconds: Wall time of each round.
        cpu_seconds: Time of all threads in each round.
        peak_bytes: Memory that it needed beside that, most of all rounds.
    """

    run: Run
    loaded_bytes: int
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    peak_bytes: int = 0

    def figures(self, *, sound_seconds: float) -> dict[str, Any]:
        """Say it in a row: ``sound_seconds`` of sound are made a round."""
        median = statistics.median(self.seconds)
        return {
            "seconds_median": round(median, 3),
            "seconds_min": round(min(self.seconds), 3),
            "cpu_seconds_median": round(statistics.median(self.cpu_seconds), 3),
            "real_time_factor": round(median / sound_seconds, 3),
            "loaded_mib": round(self.loaded_bytes / 2**20),
            "peak_mib": round((self.loaded_bytes + self.peak_bytes) / 2**20),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Two pipelines on one checkpoint.

    Attributes:
        theirs: The library's own.
        ours: The one of this house.
        generator: Ours, as the gate takes it.
    """

    theirs: Side
    ours: Side
    generator: Generator


def opened(
    contender: Contender, folder: Path, *, size: Size, device: Device, precision: Precision
) -> Match:
    """Save a checkpoint, and load it with both pipelines."""
    contender.save(folder, size)
    (folder / "README.md").write_text(_README, encoding="utf-8")
    first = [Request(prompt="warm up", seconds=_WARM_UP_SECONDS, seed=0)]
    before = _memory(device)
    run = contender.theirs(folder, device=device, precision=precision)
    run(first)  # weights that were mapped are in memory once they were used
    between = _memory(device)
    generator = load(str(folder), device=device, precision=precision)
    generator.generate(first[0])
    after = _memory(device)
    return Match(
        theirs=Side(run=run, loaded_bytes=between - before),
        ours=Side(
            run=lambda requests: together(generator, requests),
            loaded_bytes=after - between,
        ),
        generator=generator,
    )


def play(match: Match, requests: Sequence[Request], *, rounds: int, device: Device) -> None:
    """Let both run, in turns, after a short round each that is not counted."""
    for side in (match.theirs, match.ours):
        side.seconds, side.cpu_seconds, side.peak_bytes = [], [], 0
        side.run([replace(request, seconds=_WARM_UP_SECONDS) for request in requests])
    for number in range(rounds):
        for side in (match.ours, match.theirs) if number % 2 else (match.theirs, match.ours):
            with _watched(device) as peak:
                start, cpu = time.perf_counter(), time.process_time()
                side.run(requests)
                side.seconds.append(time.perf_counter() - start)
                side.cpu_seconds.append(time.process_time() - cpu)
            side.peak_bytes = max(side.peak_bytes, peak())


def _memory(device: Device) -> int:
    """Tell how much memory is in use there; 0 where the system does not say."""
    if device == "cuda":
        return int(torch.cuda.memory_allocated())
    if not _STATM.is_file():
        return 0
    return int(_STATM.read_text(encoding="ascii").split()[1]) * _PAGE_BYTES


@contextmanager
def _watched(device: Device) -> Iterator[Callable[[], int]]:
    """Watch how much memory is needed beside what is in use now."""
    before, most = _memory(device), [0]
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        yield lambda: int(torch.cuda.max_memory_allocated()) - before
        return
    is_over = threading.Event()

    def look() -> None:
        while not is_over.wait(_LOOK_SECONDS):
            most[0] = max(most[0], _memory(device) - before)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield lambda: most[0]
    finally:
        is_over.set()
        thread.join()
