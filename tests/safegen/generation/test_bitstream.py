"""A codec file gives back what was written, and nothing else gets through."""

import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safegen.errors import InputError, IntegrityError
from safegen.generation import bitstream
from safegen.generation.bitstream import HEAD_BYTES, Codes, Head, Reader, read, write

CODEC_ID = bytes(range(16))


def head(*, samples: int = 70_000, codebooks: int = 3, gain: float = 0.5) -> Head:
    return Head(codec_id=CODEC_ID, codebooks=codebooks, samples=samples, gain=gain)


def codes(of: Head, seed: int = 0) -> Codes:
    shape = (of.codebooks, of.frames)
    return np.random.default_rng(seed).integers(0, 1024, shape).astype(np.int16)


@given(
    samples=st.integers(1, 200_000),
    codebooks=st.integers(1, 4),
    gain=st.floats(0, 1000, width=32),
    seed=st.integers(0, 99),
)
def test_what_was_written_is_read(samples: int, codebooks: int, gain: float, seed: int) -> None:
    said = head(samples=samples, codebooks=codebooks, gain=gain)
    written = codes(said, seed)

    data = write(said, written)
    found, given_back = read(data)

    assert found == said
    assert len(data) == said.size_bytes
    assert np.array_equal(given_back, written)


@given(pieces=st.lists(st.integers(1, 200), max_size=30))
def test_the_size_of_the_pieces_does_not_matter(pieces: list[int]) -> None:
    said = head()
    data, reader, parts, at = write(said, codes(said)), Reader(), [], 0
    for size in [*pieces, len(write(said, codes(said)))]:
        part = reader.feed(data[at : at + size])
        parts += [] if part is None else [part]
        at += size

    assert reader.finish() == said
    assert np.array_equal(np.concatenate(parts, axis=1), codes(said))


def test_a_second_of_codes_is_given_when_its_last_byte_arrives() -> None:
    said = head()
    data, reader = write(said, codes(said)), Reader()
    block = HEAD_BYTES + said.block_bytes(0)
    early = reader.feed(data[: block - 1])
    first = reader.feed(data[block - 1 : block])

    assert early is None
    assert first is not None
    assert first.shape == (3, 25)


@pytest.mark.parametrize(("codebooks", "rate"), [(1, 250), (2, 500), (3, 750), (4, 1000)])
def test_the_bitrate_is_a_choice(codebooks: int, rate: int) -> None:
    said = head(codebooks=codebooks, samples=60 * 32_000)
    checks = 8 * (HEAD_BYTES + 60 * 5)  # four bytes and less than one of padding a second

    assert rate <= 8 * said.size_bytes / 60 <= rate + checks / 60


@given(st.data())
def test_no_changed_bit_goes_unnoticed(data: st.DataObject) -> None:
    said = head()
    whole = bytearray(write(said, codes(said)))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))

    with pytest.raises((InputError, IntegrityError)):
        read(bytes(whole))


@given(st.data())
def test_a_cut_file_is_refused_wherever_it_was_cut(data: st.DataObject) -> None:
    said = head()
    whole = write(said, codes(said))
    end = data.draw(st.integers(0, len(whole) - 1))

    with pytest.raises((InputError, IntegrityError)):
        read(whole[:end])


@given(st.binary(max_size=200))
def test_noise_is_refused(noise: bytes) -> None:
    for start in (b"", bitstream.MAGIC, bitstream.MAGIC + b"\x01"):
        with pytest.raises((InputError, IntegrityError)):
            read(start + noise)


def with_head(data: bytes, *, at: int, value: bytes) -> bytes:
    """Change a field of the head and make its checksum right."""
    first = data[:at] + value + data[at + len(value) : HEAD_BYTES - 4]
    return first + struct.pack("<I", zlib.crc32(first)) + data[HEAD_BYTES:]


def swapped(data: bytes) -> bytes:
    size = head().block_bytes(0)
    a, b = HEAD_BYTES, HEAD_BYTES + size
    return data[:a] + data[b : b + size] + data[a:b] + data[b + size :]


BAD: dict[str, tuple[Callable[[bytes], bytes], type[Exception], str]] = {
    "empty": (lambda data: b"", InputError, "empty"),
    "another format": (lambda data: b"RIFF" + data, InputError, "begins with"),
    "a later version": (lambda data: data[:8] + b"\x02" + data[9:], InputError, "version 2"),
    "an hour and a sample": (
        lambda data: with_head(data, at=12, value=(115_200_001).to_bytes(4, "little")),
        InputError,
        "115200001 samples",
    ),
    "no sample": (lambda data: with_head(data, at=12, value=bytes(4)), InputError, "0 samples"),
    "five codebooks": (lambda data: with_head(data, at=9, value=b"\x05"), InputError, "5 code"),
    "stereo": (lambda data: with_head(data, at=10, value=b"\x02"), InputError, "2 channels"),
    "a gain that is no number": (
        lambda data: with_head(data, at=16, value=np.float32(np.nan).tobytes()),
        InputError,
        "nan",
    ),
    "a longer sound than its codes": (
        lambda data: with_head(data, at=12, value=(90_000).to_bytes(4, "little")),
        IntegrityError,
        "damaged",
    ),
    "blocks in another order": (swapped, IntegrityError, "block 1 of 3"),
    "cut in the head": (lambda data: data[:20], IntegrityError, "20 of the 40 bytes"),
    "cut in a block": (lambda data: data[:-1], IntegrityError, "2 of 3 s"),
    "bytes at the end": (lambda data: data + b"more", IntegrityError, "4 bytes follow"),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_file_is_refused_by_its_name(fault: str) -> None:
    spoil, error, words = BAD[fault]
    said = head()

    with pytest.raises(error, match=words) as found:
        read(spoil(write(said, codes(said))))

    assert getattr(found.value, "remedy", "")


def test_a_head_that_promises_an_hour_reserves_nothing() -> None:
    said = head(samples=bitstream.MAX_SAMPLES, codebooks=4)
    reader = Reader()
    promise = with_head(write(head(), codes(head())), at=9, value=b"\x04")
    promise = with_head(promise, at=12, value=bitstream.MAX_SAMPLES.to_bytes(4, "little"))

    assert reader.feed(promise[:HEAD_BYTES]) is None
    assert reader.head == said
    with pytest.raises(IntegrityError, match="0 of 3600 s"):
        reader.finish()


def test_bits_after_the_last_code_must_be_zero() -> None:
    packed = bytearray(bitstream.pack(np.zeros((1, 1), np.int16)))
    packed[-1] |= 1

    with pytest.raises(IntegrityError, match="not 0"):
        bitstream.unpack(bytes(packed), codebooks=1, frames=1)


@pytest.mark.parametrize("wrong", [-1, 1024])
def test_codes_outside_ten_bits_are_not_written(wrong: int) -> None:
    said = head(codebooks=1, samples=1)

    with pytest.raises(ValueError, match="outside 0 to 1023"):
        write(said, np.full((1, 1), wrong, np.int16))
