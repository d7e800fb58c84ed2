import pytest

from safegen.errors import InputError
from safegen.evaluation.generation_bench.speed import cost
from safegen.generation.base import Request

REQUESTS = [Request(prompt="90 bpm", seconds=1.5, seed=seed) for seed in range(2)]


@pytest.mark.slow
def test_a_process_of_its_own_says_what_it_took() -> None:
    found = cost("procedural", REQUESTS, device="cpu")

    assert (found.items, found.seconds) == (2, 3.0)
    assert found.real_time_factor == pytest.approx(found.cpu_seconds / 3.0)
    assert found.first_chunk_seconds == pytest.approx(found.cpu_seconds / 2)
    # An interpreter with torch needs more than 50 MiB, and this test does not need 4 GiB.
    assert 50 < found.peak_mib < 4096
    assert found.gpu_peak_mib is None


@pytest.mark.slow
def test_an_unknown_model_is_told_from_the_other_process() -> None:
    with pytest.raises(InputError, match="no such model"):
        cost("nonsense", REQUESTS, device="cpu")
