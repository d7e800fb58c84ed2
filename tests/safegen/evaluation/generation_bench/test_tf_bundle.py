import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safegen.errors import InputError
from safegen.evaluation.generation_bench.tf_bundle import read_index, read_tensor

from .bundles import bundle

TENSORS = {
    "conv2d/kernel": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "conv2d/bias": np.array([0.5, -1.0, 3e9], dtype=np.float32),
    "beta1_power": np.array(0.9, dtype=np.float32),
    **{f"layer_{i}/gamma": np.full(i + 1, i, dtype=np.float32) for i in range(40)},
}


def test_every_tensor_comes_back_with_its_shape() -> None:
    index, data = bundle(TENSORS)
    entries = read_index(index)

    assert set(entries) == set(TENSORS)
    for name, tensor in TENSORS.items():
        found = read_tensor(entries, data, name)
        assert found.shape == tensor.shape
        assert np.array_equal(found, tensor)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda index: b"", "magic"),
        (lambda index: index[:-1], "magic"),
        (lambda index: b"PK\x03\x04" + bytes(200), "magic"),
        (lambda index: index[:20] + index[400:], "block|restarts|early|shares|table"),
    ],
)
def test_a_damaged_index_is_refused_in_words(fault: object, message: str) -> None:
    index, _ = bundle(TENSORS)

    with pytest.raises(InputError, match=message):
        read_index(fault(index))  # type: ignore[operator]


def test_compressed_blocks_are_refused_in_words() -> None:
    index, _ = bundle(TENSORS, packed=1)

    with pytest.raises(InputError, match="compressed"):
        read_index(index)


def test_a_data_file_that_is_cut_is_refused_by_the_tensors_name() -> None:
    index, data = bundle(TENSORS)

    with pytest.raises(InputError, match="layer_9/gamma ends at byte"):
        read_tensor(read_index(index), data[:-4], "layer_9/gamma")


def test_a_missing_tensor_is_named() -> None:
    index, data = bundle(TENSORS)

    with pytest.raises(InputError, match="no tensor dense/kernel"):
        read_tensor(read_index(index), data, "dense/kernel")


def test_another_type_than_float32_is_refused() -> None:
    index, data = bundle({"a": np.zeros(4, dtype=np.float32)}, kind=2)

    with pytest.raises(InputError, match="type 2"):
        read_tensor(read_index(index), data, "a")


@given(place=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_any_changed_byte_is_read_or_refused_and_never_worse(place: int, byte: int) -> None:
    index, data = bundle({"a": np.ones((2, 2), np.float32), "ab": np.ones(3, np.float32)})
    changed = bytearray(index)
    changed[place % len(index)] = byte
    try:
        entries = read_index(bytes(changed))
        for name in entries:
            read_tensor(entries, data, name)
    except InputError:
        return
