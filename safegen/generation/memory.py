"""What does a user read when a model does not fit into memory?

What was asked, how much memory there is, and the size that would fit: the batch is
scaled down first, then the seconds. The estimate takes what was used when the error came,
less what the weights hold, as growing with batch times seconds. Attention grows faster and
the run was not yet at its peak, so a tenth is held back, and the next try may be told again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from safegen.errors import SafegenError
from safegen.generation.model_card import ModelCard
from safegen.generation.public_families import Device, Precision

HELD_BACK: Final = 0.1
"""Share of the free memory that the estimate leaves alone."""
_SIGNS: Final = ("DefaultCPUAllocator", "can't allocate memory", "not enough memory")
"""What torch's allocator for the CPU says; it raises a plain RuntimeError."""
_TRIED: Final = re.compile(r"ried to allocate ([\d.]+) ?(bytes|KiB|MiB|GiB)")
_UNITS: Final = {"bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_GIB: Final = float(1 << 30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Memory of a device as seen by this process.

    Attributes:
        used_bytes: Held by this process: tensors on a GPU, resident memory on a CPU.
        free_bytes: That this process could still take.
    """

    used_bytes: int
    free_bytes: int


@contextmanager
def room_for_sound(
    card: ModelCard, *, batch: int, seconds: float, device: Device, precision: Precision
) -> Iterator[None]:
    """Turn running out of memory while making sounds into an error with a remedy.

    Args:
        card: Of the model that makes them.
        batch: Sounds made together, >= 1.
        seconds: Of the longest of them.
        device: That holds weights and activations.
        precision: Of both.

    Raises:
        SafegenError: If memory runs out within. The remedy names a batch or a length.
    """
    before = measure(device)
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        share = _share(error, before, measure(device))
        raise SafegenError(
            f"out of memory: {card.name} was making {batch} x {seconds:g} s in {precision} "
            f"on {_state(device, before)}",
            remedy=_smaller(card, batch, seconds, share) + _cheaper(device, precision),
        ) from error


@contextmanager
def room_for_weights(card: ModelCard, *, device: Device, precision: Precision) -> Iterator[None]:
    """Turn running out of memory while loading a model into an error with a remedy.

    Raises:
        SafegenError: If memory runs out within.
    """
    before = measure(device)
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise SafegenError(
            f"out of memory: the weights of {card.name} in {precision} do not fit on "
            f"{_state(device, before)}",
            remedy="Choose a smaller model of the family, or end other programs."
            + _cheaper(device, precision),
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that memory ran out, on a GPU or a CPU."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


def measure(device: Device) -> Measured:
    """Measure a device's memory; zeros where the system does not tell."""
    if device == "cuda":
        free, _ = torch.cuda.mem_get_info()
        used = torch.cuda.memory_allocated()
        # Blocks that torch keeps for later are free to this process.
        return Measured(used_bytes=used, free_bytes=free + torch.cuda.memory_reserved() - used)
    return Measured(
        used_bytes=_told(Path("/proc/self/status"), "VmRSS"),
        free_bytes=_told(Path("/proc/meminfo"), "MemAvailable"),
    )


def _told(path: Path, key: str) -> int:
    """Read "Key:  123 kB" from a file of Linux, 0 elsewhere."""
    try:
        found = re.search(rf"^{key}:\s+(\d+) kB", path.read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) << 10 if found else 0


def _share(error: BaseException, before: Measured, after: Measured) -> float:
    """Estimate which share of what was asked would have fitted, in (0, 1)."""
    found = _TRIED.search(str(error))
    tried = round(float(found[1]) * _UNITS[found[2]]) if found else 0
    needed = max(after.used_bytes - before.used_bytes, 0) + tried
    if not needed or not before.free_bytes:
        return 0.5
    return min(0.9, (1 - HELD_BACK) * before.free_bytes / needed)


def _smaller(card: ModelCard, batch: int, seconds: float, share: float) -> str:
    fits = math.floor(batch * share)
    if fits >= 1 and batch > 1:
        return f"Make fewer at once: `--batch {fits}`."
    shorter = math.floor(batch * seconds * share * 10) / 10
    if shorter >= seconds:
        shorter = seconds
    if shorter < max(card.shortest_seconds, 0.1):
        return "Choose a smaller model of the family, or end other programs."
    fewer = "--batch 1 " if batch > 1 else ""
    return f"Make it shorter: `{fewer}--seconds {shorter:g}`."


def _cheaper(device: Device, precision: Precision) -> str:
    if device == "cuda" and precision == "float32":
        return " `--precision bfloat16` needs about half."
    return " `--device cpu` uses the machine's memory instead." if device == "cuda" else ""


def _state(device: Device, before: Measured) -> str:
    return (
        f"{device}: {before.free_bytes / _GIB:.2f} GiB were free, "
        f"{before.used_bytes / _GIB:.2f} GiB held by this process"
    )
