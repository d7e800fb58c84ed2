"""The code is decoded from its own words, from damaged ones, and never from nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors import mark_code

payloads = st.integers(0, 2**64 - 1)


@given(payload=payloads)
@settings(max_examples=25, deadline=None)
def test_every_id_is_decoded_from_its_own_code(payload: int) -> None:
    soft = 1.0 - 2.0 * mark_code.encode_payload(payload)

    assert mark_code.decode_payload(soft) == payload


@given(payload=payloads, seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_an_id_survives_noise_that_flips_a_tenth_of_its_code_bits(payload: int, seed: int) -> None:
    soft = 1.0 - 2.0 * mark_code.encode_payload(payload)
    soft += 0.75 * np.random.default_rng(seed).standard_normal(len(soft))

    assert mark_code.decode_payload(soft) == payload


@given(epoch=st.integers(0, 2**16 - 1), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_a_word_survives_noise(epoch: int, seed: int) -> None:
    soft = 1.0 - 2.0 * mark_code.encode_epoch(epoch)
    soft += 0.5 * np.random.default_rng(seed).standard_normal(len(soft))

    assert mark_code.decode_epoch(soft) == epoch


def test_random_evidence_is_not_an_id() -> None:
    generator = np.random.default_rng(5)

    read = [
        mark_code.decode_payload(generator.standard_normal(mark_code.CODE_BITS)) for _ in range(200)
    ]

    assert read == [None] * 200


@pytest.mark.parametrize("payload", [-1, 2**64], ids=["negative", "65 bits"])
def test_an_id_out_of_range_is_refused(payload: int) -> None:
    with pytest.raises(ValueError, match="2\\*\\*64"):
        mark_code.encode_payload(payload)


@pytest.mark.parametrize("epoch", [-1, 2**16], ids=["negative", "17 bits"])
def test_a_word_out_of_range_is_refused(epoch: int) -> None:
    with pytest.raises(ValueError, match="2\\*\\*16"):
        mark_code.encode_epoch(epoch)
