"""Out of memory: the words tell what was asked, what is there and what would fit."""

from collections.abc import Iterator

import pytest
import torch

from safegen.errors import SafegenError
from safegen.generation import memory
from safegen.generation.cards import card
from safegen.generation.memory import Measured, measure, room_for_sound, room_for_weights
from safegen.generation.public_families import Device, Precision

GIB = 1 << 30
CARD = card("music-flow")
CPU_WORDS = (
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: "
    "you tried to allocate 8589934592 bytes. Error code 12 (Cannot allocate memory)"
)


@pytest.fixture
def gauge(monkeypatch: pytest.MonkeyPatch) -> list[Measured]:
    """Memory before and at the error: 2 GiB of weights, 6 free, 4 used when it came."""
    told = [
        Measured(used_bytes=2 * GIB, free_bytes=6 * GIB),
        Measured(used_bytes=6 * GIB, free_bytes=2 * GIB),
    ]
    shown: Iterator[Measured] = iter(told)
    monkeypatch.setattr(memory, "measure", lambda _device: next(shown))
    return told


def told(
    error: Exception,
    *,
    batch: int,
    seconds: float,
    device: Device = "cuda",
    precision: Precision = "bfloat16",
) -> SafegenError:
    with (
        pytest.raises(SafegenError) as caught,
        room_for_sound(CARD, batch=batch, seconds=seconds, device=device, precision=precision),
    ):
        raise error
    return caught.value


@pytest.mark.usefixtures("gauge")
def test_a_full_gpu_is_told_with_the_batch_that_would_fit() -> None:
    # 4 GiB in use and 5 more wanted for 8 items; 6 x 0.9 GiB hold 4 of them.
    found = told(
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 5.00 GiB."),
        batch=8,
        seconds=10,
    )

    assert "making 8 x 10 s in bfloat16 on cuda: 6.00 GiB were free, 2.00 GiB held" in found.problem
    assert "`--batch 4`" in found.remedy


@pytest.mark.usefixtures("gauge")
def test_one_item_is_told_with_the_seconds_that_would_fit() -> None:
    found = told(
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 5.00 GiB."),
        batch=1,
        seconds=10,
        precision="float32",
    )

    assert "`--seconds 6`" in found.remedy
    assert "`--precision bfloat16` needs about half" in found.remedy


@pytest.mark.usefixtures("gauge")
def test_a_full_cpu_is_told_from_the_allocators_plain_runtime_error() -> None:
    found = told(RuntimeError(CPU_WORDS), batch=2, seconds=10, device="cpu", precision="float32")

    assert "making 2 x 10 s in float32 on cpu" in found.problem
    # 4 GiB in use and 8 more wanted: 0.45 of 2 x 10 s is 9 s of one.
    assert "`--batch 1 --seconds 9`" in found.remedy
    assert "--device" not in found.remedy


def test_without_any_size_half_is_proposed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "measure", lambda _: Measured(used_bytes=0, free_bytes=0))
    found = told(MemoryError(), batch=4, seconds=10, device="cpu")

    assert "`--batch 2`" in found.remedy


def test_a_size_is_never_proposed_that_was_just_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "measure", lambda _: Measured(used_bytes=0, free_bytes=64 * GIB))
    found = told(torch.OutOfMemoryError("Tried to allocate 1.00 MiB"), batch=1, seconds=10)

    assert "`--seconds 9`" in found.remedy


@pytest.mark.usefixtures("gauge")
def test_where_not_even_the_shortest_fits_a_smaller_model_is_named() -> None:
    found = told(
        torch.OutOfMemoryError("Tried to allocate 900.00 GiB"), batch=1, seconds=10, device="cuda"
    )

    assert "smaller model" in found.remedy
    assert "--seconds" not in found.remedy


@pytest.mark.usefixtures("gauge")
def test_weights_that_do_not_fit_are_told() -> None:
    with (
        pytest.raises(SafegenError, match=r"weights of music-flow in float32 do not fit on cuda"),
        room_for_weights(CARD, device="cuda", precision="float32"),
    ):
        raise torch.OutOfMemoryError("Tried to allocate 2.00 GiB")


def test_other_errors_pass_unchanged() -> None:
    with (
        pytest.raises(RuntimeError, match="shapes differ"),
        room_for_sound(CARD, batch=1, seconds=1, device="cpu", precision="float32"),
    ):
        raise RuntimeError("shapes differ")


def test_a_real_refusal_of_the_cpu_allocator_is_recognized() -> None:
    with (
        pytest.raises(SafegenError, match="out of memory"),
        room_for_sound(CARD, batch=1, seconds=10, device="cpu", precision="float32"),
    ):
        torch.empty(1 << 55, dtype=torch.uint8)


def test_this_machines_memory_is_measured() -> None:
    found = measure("cpu")

    assert found.used_bytes > 1 << 20
    assert found.free_bytes > 1 << 20
