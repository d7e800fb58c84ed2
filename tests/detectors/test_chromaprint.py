"""Fingerprints: two implementations that agree, items that survive what codecs do."""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors import chromaprint
from detectors.chromaprint import (
    HOP,
    SAMPLE_RATE,
    SILENCE,
    SPAN_SECONDS,
    decode,
    fingerprint,
    from_blob,
    items_of,
    pcm,
    query_fingerprints,
    to_blob,
)
from detectors.errors import DetectorError
from safegen.audio import Waveform, load

CLIPS = Path(__file__).parents[1] / "assets"
NAMES = ("guitar.ogg", "tabla.ogg", "synth-loop.ogg", "safari-loop.ogg")

needs_library = pytest.mark.skipif(
    chromaprint.backend() != "libchromaprint",
    reason=f"libchromaprint is not installed ({chromaprint.backend_note()})",
)


def melody(seconds: float, *, seed: int, sample_rate: int = SAMPLE_RATE) -> Waveform:
    """Random notes, a quarter of a second each; shape (1, samples)."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * sample_rate)) / sample_rate
    notes = 220.0 * 2 ** (rng.integers(0, 24, size=(3, int(seconds * 4) + 1)) / 12)
    wave = sum(np.sin(2 * np.pi * voice[(t * 4).astype(int)] * t) for voice in notes)
    return np.asarray(wave / 4.0, dtype=np.float32)[np.newaxis]


@needs_library
@pytest.mark.parametrize("name", NAMES)
def test_numpy_gives_the_bits_of_libchromaprint_on_recordings(name: str) -> None:
    audio = load(CLIPS / name)
    samples = pcm(audio.waveform, audio.sample_rate)

    ours = items_of(samples, using="numpy")
    theirs = items_of(samples, using="libchromaprint")
    np.testing.assert_array_equal(ours, theirs)


@needs_library
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 999),
    seconds=st.floats(2.0, 12.0),
    level=st.sampled_from([0.001, 0.1, 1.0, 4.0]),
    noise=st.floats(0.0, 0.5),
)
def test_numpy_gives_the_bits_of_libchromaprint_on_anything(
    seed: int, seconds: float, level: float, noise: float
) -> None:
    wave = melody(seconds, seed=seed)
    wave = wave + noise * np.random.default_rng(seed).standard_normal(wave.shape).astype(np.float32)
    samples = pcm(level * wave, SAMPLE_RATE)

    ours = items_of(samples, using="numpy")
    theirs = items_of(samples, using="libchromaprint")
    # Both work in float32, so a level within rounding of a threshold may fall either
    # way: 1 bit in 700,000 of real music.
    assert ours.shape == theirs.shape
    assert int(np.bitwise_count(ours ^ theirs).sum()) <= 1


def test_a_recording_has_the_items_it_always_had() -> None:
    # Registries hold these numbers: a change here is a change of engine.
    items = items_of(pcm(melody(6.0, seed=1), SAMPLE_RATE), using="numpy")

    assert len(items) == 27
    assert [int(item) for item in items[[0, 13, 26]]] == [2836582486, 3972435844, 4076003530]


def test_silence_has_its_own_item() -> None:
    items = fingerprint(np.zeros((1, 5 * SAMPLE_RATE), np.float32), SAMPLE_RATE)

    assert set(items.tolist()) == {SILENCE}


def test_a_sound_shorter_than_one_item_hears_has_none() -> None:
    shorter = round(SPAN_SECONDS * SAMPLE_RATE) - 1

    assert len(items_of(np.ones(shorter, np.int16))) == 0
    assert len(items_of(np.ones(shorter + 1, np.int16))) == 1


@pytest.mark.parametrize("sample_rate", [8_000, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000])
def test_the_sample_rate_hardly_matters(sample_rate: int) -> None:
    here = fingerprint(melody(8.0, seed=2), SAMPLE_RATE)
    there = fingerprint(melody(8.0, seed=2, sample_rate=sample_rate), sample_rate)

    count = min(len(here), len(there))
    assert count >= 42
    assert np.bitwise_count(here[:count] ^ there[:count]).mean() / 32 < 0.03


def test_channels_are_mixed() -> None:
    left = melody(6.0, seed=3)
    both = np.concatenate((left, left))

    np.testing.assert_array_equal(fingerprint(both, SAMPLE_RATE), fingerprint(left, SAMPLE_RATE))


def test_shifted_queries_meet_a_reference_cut_between_hops() -> None:
    wave = melody(12.0, seed=4)
    reference = fingerprint(wave, SAMPLE_RATE)
    begin = 20 * HOP + 700  # half a hop off

    queries = query_fingerprints(wave[:, begin:], SAMPLE_RATE)
    rates = [
        float(np.bitwise_count(q[:40] ^ reference[first : first + 40]).mean() / 32)
        for q in queries
        for first in (20, 21)
    ]
    assert min(rates) < 0.01
    assert rates[0] > 0.03


@settings(max_examples=40, deadline=None)
@given(items=st.lists(st.integers(0, 2**32 - 1), max_size=60))
def test_a_compressed_fingerprint_is_unpacked(items: list[int]) -> None:
    values = np.array(items, dtype=np.uint32)

    np.testing.assert_array_equal(decode(compressed(values)), values)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "not a fingerprint"),
        ("!!!!", "not base64"),
        ("AgAAAA", "algorithm 1"),
        ("AQAABQ", "cut: 0 of 5 items"),
        ("AQAAAf8", "cut"),
    ],
)
def test_a_damaged_string_is_refused(text: str, fault: str) -> None:
    with pytest.raises(DetectorError, match=fault):
        decode(text)


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=60))
def test_any_bytes_are_unpacked_or_refused(data: bytes) -> None:
    import base64

    text = base64.urlsafe_b64encode(b"\x01\x00\x00" + data).decode()
    try:
        items = decode(text)
    except DetectorError:
        return

    assert items.dtype == np.uint32


def test_an_unrelated_module_of_the_same_name_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "chromaprint", ModuleType("chromaprint"))
    chromaprint._probe.cache_clear()
    try:
        assert chromaprint.backend() == "numpy"
        assert "not pyacoustid's" in chromaprint.backend_note()
        assert len(fingerprint(melody(4.0, seed=5), SAMPLE_RATE)) == 11
        with pytest.raises(DetectorError, match="not pyacoustid's"):
            items_of(pcm(melody(4.0, seed=5), SAMPLE_RATE), using="libchromaprint")
    finally:
        chromaprint._probe.cache_clear()


def test_blobs_are_little_endian_and_whole() -> None:
    items = np.array([1, 2**31], dtype=np.uint32)

    assert to_blob(items) == b"\x01\0\0\0\0\0\0\x80"
    np.testing.assert_array_equal(from_blob(to_blob(items)), items)
    with pytest.raises(ValueError, match="multiple"):
        from_blob(b"\x01\0\0")


def compressed(items: chromaprint.Items) -> str:
    """Write what fpcalc would write; the encoder exists only here."""
    import base64

    normal: list[int] = []
    long: list[int] = []
    previous = 0
    for item in items.tolist():
        changed, reached = item ^ previous, 0
        previous = item
        for bit in range(1, 33):
            if changed >> (bit - 1) & 1:
                gap, reached = bit - reached, bit
                normal.append(min(gap, 7))
                if gap >= 7:
                    long.append(gap - 7)
        normal.append(0)
    body = _packed(normal, 3) + _packed(long, 5)
    head = bytes([1]) + len(items).to_bytes(3, "big")
    return base64.urlsafe_b64encode(head + body).decode().rstrip("=")


def _packed(values: list[int], width: int) -> bytes:
    bits = [value >> place & 1 for value in values for place in range(width)]
    return np.packbits(np.array(bits, dtype=np.uint8), bitorder="little").tobytes()
