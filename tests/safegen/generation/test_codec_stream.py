"""Codec files give the sound back, whole or while they arrive."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from detectors import decoder_mark
from safegen.audio import Audio, resample
from safegen.errors import InputError, IntegrityError
from safegen.generation import codec_file
from safegen.generation.bitstream import Head, read, write
from safegen.generation.codec import HOP, SAMPLE_RATE, Codec, LogMel
from safegen.generation.codec_stream import StreamDecoder
from safegen.generation.compose import compose
from safegen.generation.loudness import PEAK, Limiter, loudness
from safegen.generation.procedural import render
from safegen.generation.systems import load_codec
from tests.safegen.generation.debug_models import CODEC, debug_codec

ID = bytes(16)


@pytest.fixture(scope="module")
def music() -> Audio:
    return render(compose(3), seconds=5.01)


@pytest.fixture(scope="module")
def shipped() -> Codec:
    return load_codec()


@pytest.fixture(scope="module")
def data(shipped: Codec, music: Audio) -> bytes:
    return codec_file.encode(music, shipped, codec_id=ID, codebooks=4)


@pytest.fixture(scope="module")
def whole(shipped: Codec, data: bytes) -> Audio:
    return codec_file.decode(data, shipped, codec_id=ID)


@pytest.fixture(scope="module")
def streamed(shipped: Codec, data: bytes) -> list[Audio]:
    return pieces_of(data, shipped, size=64)


def pieces_of(data: bytes, codec: Codec, *, size: int) -> list[Audio]:
    decoder = StreamDecoder(codec, codec_id=ID)
    parts = [decoder.feed(data[at : at + size]) for at in range(0, len(data), size)]
    return [part for part in (*parts, decoder.finish()) if part is not None]


def joined(parts: list[Audio]) -> Audio:
    waveform = np.concatenate([part.waveform for part in parts], axis=1)
    return Audio(waveform=waveform, sample_rate=SAMPLE_RATE)


def log_mel(audio: Audio) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = LogMel()(torch.from_numpy(audio.waveform))[0]
    return found


def test_a_short_sound_has_the_codes_of_the_codec(music: Audio, shipped: Codec) -> None:
    whole_frames = music.cut(0, 2)
    _, codes = read(codec_file.encode(whole_frames, shipped, codec_id=ID, codebooks=2))

    assert np.array_equal(codes, shipped.encode(whole_frames)[:2])


def test_a_long_sound_is_encoded_in_pieces_as_if_it_were_whole(
    monkeypatch: pytest.MonkeyPatch, music: Audio, shipped: Codec
) -> None:
    _, at_once = read(codec_file.encode(music, shipped, codec_id=ID, codebooks=4))
    monkeypatch.setattr(codec_file, "_ENCODED_FRAMES", 30)
    _, in_pieces = read(codec_file.encode(music, shipped, codec_id=ID, codebooks=4))

    assert (at_once == in_pieces).mean() > 0.999


def test_length_and_loudness_come_back(music: Audio, whole: Audio, streamed: list[Audio]) -> None:
    for audio in (whole, joined(streamed)):
        ratio = loudness(audio) / loudness(music)

        assert audio.waveform.shape == music.waveform.shape
        assert audio.sample_rate == SAMPLE_RATE
        assert 0.95 < ratio < 1.05


def test_a_stream_sounds_like_the_whole(whole: Audio, streamed: list[Audio]) -> None:
    difference = (log_mel(joined(streamed)) - log_mel(whole)).abs().mean()

    assert float(difference) < 0.02  # log10 units; two music files differ by 0.6


def test_nothing_is_heard_where_two_pieces_meet(whole: Audio, streamed: list[Audio]) -> None:
    audio = joined(streamed)
    ends = np.cumsum([part.waveform.shape[1] for part in streamed])[:-1]
    error = (log_mel(audio) - log_mel(whole)).abs().mean(dim=1).numpy()
    at_seams = np.array([error[end // HOP - 1 : end // HOP + 2].mean() for end in ends])
    # A click is a step: a bend of the waveform far above those of the sound around it.
    bend = np.abs(np.diff(audio.waveform[0], n=2))
    steps = [bend[end - 3 : end + 3].max() / bend[end - HOP : end + HOP].max() for end in ends]

    assert at_seams.max() < 0.08
    assert np.mean(steps) < 0.8


def test_a_piece_comes_with_each_second_of_codes(streamed: list[Audio]) -> None:
    lengths = [round(part.seconds, 2) for part in streamed]

    assert lengths[0] == pytest.approx(0.2)
    assert lengths[1:-1] == pytest.approx([1.0, 1.0, 1.0, 1.04])  # 5.01 s are 126 frames


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_the_same_bytes_give_the_same_samples_in_pieces_of_any_size(size: int) -> None:
    codec = debug_codec()
    head = Head(codec_id=ID, codebooks=2, samples=100_000, gain=0.1)
    codes = np.random.default_rng(1).integers(0, CODEC.codes, (2, head.frames)).astype(np.int16)
    data = write(head, codes)

    ours = joined(pieces_of(data, codec, size=size))

    assert ours.waveform.shape == (1, 100_000)
    assert np.array_equal(ours.waveform, joined(pieces_of(data, codec, size=100)).waveform)


def test_the_stream_carries_the_decoders_mark_where_the_whole_does(
    music: Audio, whole: Audio, streamed: list[Audio]
) -> None:
    ours = joined(streamed)
    heard, expected = (
        decoder_mark.hear(audio.waveform, audio.sample_rate, search=False)
        for audio in (ours, whole)
    )
    other = decoder_mark.hear(
        ours.waveform, ours.sample_rate, search=False, label=b"some other label"
    )

    assert heard.detected
    assert not other.detected
    assert heard.score > 0.9 * expected.score
    # Deep in the sound, too: the mark counts frames from the start, not from the piece.
    late = ours.cut(2.5, 5.0)
    assert decoder_mark.hear(late.waveform, late.sample_rate, search=False).detected
    assert not decoder_mark.hear(music.waveform, music.sample_rate, search=False).detected


@pytest.mark.parametrize("position", [0, 7, 3239, 3240, 90_000])
def test_a_part_has_the_spectrogram_it_has_in_the_whole(position: int) -> None:
    codec = debug_codec()
    z = torch.randn(40, CODEC.latent, generator=torch.Generator().manual_seed(2))
    mark = decoder_mark.bias(2 * (position + 40))[2 * position :]
    with torch.inference_mode():
        whole = codec.log_mel.magnitudes(codec.decode_mel(z[None]) + torch.from_numpy(mark))[0]
        part = codec.marked_magnitudes(z[5:35], part=range(10, 20), position=position + 15)

    assert torch.allclose(part, whole[:, 30:50], atol=1e-4)


def test_a_stream_keeps_little(shipped: Codec) -> None:
    head = Head(codec_id=ID, codebooks=1, samples=20 * SAMPLE_RATE, gain=1.0)
    data = write(head, np.zeros((1, head.frames), np.int16))
    decoder = StreamDecoder(shipped, codec_id=ID)
    kept = []
    for at in range(0, len(data), 36):
        decoder.feed(data[at : at + 36])
        sound = decoder._sound
        if sound is not None:
            waiting = sound._phase._waiting
            kept.append((len(sound._z), 0 if waiting is None else waiting.shape[1]))

    assert max(latents for latents, _ in kept) <= 55  # 2.2 s
    assert max(hops for _, hops in kept) <= 110


@pytest.mark.parametrize(("samples", "codebooks"), [(1, 1), (1279, 2), (1281, 2), (40_000, 1)])
def test_the_shortest_sounds_come_back_too(samples: int, codebooks: int) -> None:
    codec = debug_codec()
    sound = Audio(waveform=np.full((1, samples), 0.1, np.float32), sample_rate=SAMPLE_RATE)
    data = codec_file.encode(sound, codec, codec_id=ID, codebooks=codebooks)

    assert codec_file.decode(data, codec, codec_id=ID).waveform.shape == (1, samples)
    assert joined(pieces_of(data, codec, size=50)).waveform.shape == (1, samples)


def test_silence_comes_back_as_silence() -> None:
    codec = debug_codec()
    silence = Audio(waveform=np.zeros((1, 50_000), np.float32), sample_rate=SAMPLE_RATE)
    data = codec_file.encode(silence, codec, codec_id=ID, codebooks=2)

    assert not codec_file.decode(data, codec, codec_id=ID).waveform.any()


def test_other_rates_and_channels_are_mixed_to_32_khz(music: Audio) -> None:
    stereo = resample(
        Audio(waveform=np.repeat(music.waveform, 2, axis=0), sample_rate=SAMPLE_RATE), 44_100
    )
    head, _ = read(codec_file.encode(stereo, debug_codec(), codec_id=ID, codebooks=1))

    assert head.samples == pytest.approx(music.waveform.shape[1], abs=1)


def test_a_file_of_another_codec_is_refused_before_it_sounds(data: bytes, shipped: Codec) -> None:
    other = bytes(15) + b"\x01"

    with pytest.raises(InputError, match="written by the codec 000000000000"):
        codec_file.decode(data, shipped, codec_id=other)
    with pytest.raises(InputError, match="written by the codec"):
        StreamDecoder(shipped, codec_id=other).feed(data[:40])


def test_a_code_that_the_codec_does_not_have_is_refused() -> None:
    head = Head(codec_id=ID, codebooks=1, samples=1280, gain=1.0)
    data = write(head, np.full((1, 1), CODEC.codes, np.int16))

    with pytest.raises(IntegrityError, match="code 16"):
        codec_file.decode(data, debug_codec(), codec_id=ID)


def test_a_stream_that_breaks_off_says_so(data: bytes, shipped: Codec) -> None:
    decoder = StreamDecoder(shipped, codec_id=ID)
    decoder.feed(data[:300])

    with pytest.raises(IntegrityError, match="truncated, 2 of 6 s"):
        decoder.finish()


def test_a_long_file_is_decoded_as_a_stream_only() -> None:
    head = Head(codec_id=ID, codebooks=1, samples=301 * SAMPLE_RATE, gain=1.0)
    data = write(head, np.zeros((1, head.frames), np.int16))

    with pytest.raises(InputError, match="301 s are longer than the 300 s"):
        codec_file.decode(data, debug_codec(), codec_id=ID)


def test_a_sine_of_full_scale_has_the_loudness_of_the_standard() -> None:
    t = np.arange(3 * 48_000) / 48_000
    sine = np.sin(2 * np.pi * 997 * t).astype(np.float32)[None]

    assert -0.691 + 20 * np.log10(
        loudness(Audio(waveform=sine, sample_rate=48_000))
    ) == pytest.approx(-3.01, abs=0.02)


@pytest.mark.parametrize("size", [1, 500, 640, 5000])
def test_the_limiter_turns_peaks_down_and_leaves_the_rest_alone(size: int) -> None:
    x = np.random.default_rng(0).uniform(-0.9, 0.9, 7000).astype(np.float32)
    x[3000], x[6999] = 2.0, -1.5
    limiter = Limiter()
    out = [limiter.feed(x[at : at + size]) for at in range(0, len(x), size)]
    y = np.concatenate([*out, limiter.finish()])

    assert y.shape == x.shape
    assert np.abs(y).max() <= PEAK + 1e-6
    assert np.array_equal(y[:1920], x[:1920])
    assert np.array_equal(y[3840:5760], x[3840:5760])
    assert all(abs(a - b) < 2 for a, b in pairwise(y))
