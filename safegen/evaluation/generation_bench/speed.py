"""What does a model cost? Measured in a process of its own, on one thread.

Peak memory is that of the whole process, interpreter and libraries included, because that
is what a user must have. No system hands out sound before the whole item is made, so the
time to the first chunk is the time of the whole item.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Final

from safegen.generation.base import Request

_KIB_PER_UNIT: Final = 1 / 1024 if sys.platform == "darwin" else 1.0
"""``ru_maxrss`` counts bytes on macOS, KiB elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What some items cost.

    Attributes:
        device: What they were made on.
        items: How many were made.
        seconds: Length of all sounds together.
        cpu_seconds: Processor time of generation, loading left out.
        wall_seconds: Time by the clock, likewise; on a busy machine larger than alone.
        load_seconds: Processor time of loading the model.
        first_chunk_seconds: Mean processor time until sound of an item can be played.
        peak_mib: Most memory the process held.
        gpu_peak_mib: Most memory on the GPU, None on the CPU.
    """

    device: str
    items: int
    seconds: float
    cpu_seconds: float
    wall_seconds: float
    load_seconds: float
    first_chunk_seconds: float
    peak_mib: float
    gpu_peak_mib: float | None

    @property
    def real_time_factor(self) -> float:
        """Seconds of one core per second of sound; of the clock on a GPU."""
        spent = self.cpu_seconds if self.device == "cpu" else self.wall_seconds
        return spent / self.seconds


def cost(model: str, requests: Sequence[Request], *, device: str) -> Cost:
    """Measure a model in a fresh process.

    Args:
        model: Of a card.
        requests: What is made, at least one.
        device: "cpu" or "cuda".

    Raises:
        InputError: If the model or the device is not there.
    """
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(measured, model, tuple(requests), device).result()


def measured(model: str, requests: Sequence[Request], device: str) -> Cost:
    """Measure a model in this process; see ``cost``."""
    import torch

    from safegen.generation.stages import one_thread
    from safegen.generation.systems import load

    with one_thread():
        begun = time.process_time()
        generator = load(model, device=device)
        loaded = time.process_time() - begun
        begun, clock, seconds = time.process_time(), time.perf_counter(), 0.0
        for request in requests:
            seconds += generator.generate(request).audio.seconds
        spent = time.process_time() - begun
        wall = time.perf_counter() - clock
    is_gpu = device == "cuda"
    return Cost(
        device=device,
        items=len(requests),
        seconds=seconds,
        cpu_seconds=spent,
        wall_seconds=wall,
        load_seconds=loaded,
        first_chunk_seconds=(wall if is_gpu else spent) / len(requests),
        peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIB_PER_UNIT / 1024,
        gpu_peak_mib=torch.cuda.max_memory_allocated() / 2**20 if is_gpu else None,
    )
