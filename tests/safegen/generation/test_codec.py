import numpy as np
import pytest
import torch

from safegen.audio import Audio
from safegen.errors import InputError
from safegen.generation.codec import FRAME_RATE, SAMPLE_RATE, LogMel, griffin_lim
from safegen.generation.compose import compose
from safegen.generation.procedural import render
from tests.safegen.generation.debug_models import CODEC, debug_codec


@pytest.fixture(scope="module")
def music() -> Audio:
    return render(compose(3), seconds=2.0)


def test_codes_have_one_column_every_40_ms(music: Audio) -> None:
    codes = debug_codec().encode(music)

    assert codes.shape == (CODEC.codebooks, 2 * FRAME_RATE)
    assert codes.dtype == np.int16
    assert codes.min() >= 0
    assert codes.max() < CODEC.codes


def test_a_gain_change_leaves_the_codes_alone(music: Audio) -> None:
    codec = debug_codec()
    quiet = Audio(waveform=music.waveform * np.float32(0.25), sample_rate=music.sample_rate)

    agreement = (codec.encode(music) == codec.encode(quiet)).mean()

    assert agreement > 0.99


def test_decoding_twice_gives_the_same_bits() -> None:
    codec = debug_codec()
    z = torch.randn(20, CODEC.latent, generator=torch.Generator().manual_seed(1))
    first, second = codec.decode(z), codec.decode(z)

    assert first.waveform.shape == (1, round(20 / FRAME_RATE * SAMPLE_RATE))
    assert np.array_equal(first.waveform, second.waveform)


def test_codes_decode_like_the_latents_they_name() -> None:
    codec = debug_codec()
    codes = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], dtype=np.int16)
    z = codec.quantizer.decode(torch.from_numpy(codes.T.astype(np.int64).copy()))

    assert np.array_equal(codec.decode_codes(codes).waveform, codec.decode(z).waveform)


def test_a_code_names_the_nearest_entry() -> None:
    codec = debug_codec()
    z = codec.quantizer.codebook[0, 5]

    assert int(codec.quantizer.encode(z[None])[0, 0]) == 5


def test_griffin_lim_keeps_the_spectrogram_of_music(music: Audio) -> None:
    log_mel = LogMel()
    with torch.inference_mode():
        target = log_mel(torch.from_numpy(music.waveform))
        rebuilt = griffin_lim(log_mel.magnitudes(target)[0], music.waveform.shape[1])
        error = (log_mel(rebuilt[None]) - target).abs().mean()

    assert float(error) < 0.12  # log10 units; silence instead would be above 0.6


def test_a_sound_shorter_than_a_frame_is_refused() -> None:
    blip = Audio(waveform=np.ones((1, 100), dtype=np.float32), sample_rate=SAMPLE_RATE)

    with pytest.raises(InputError, match="shorter than one codec frame"):
        debug_codec().encode(blip)


def test_other_rates_and_channels_are_brought_to_the_codecs(music: Audio) -> None:
    from safegen.audio import resample

    stereo = resample(
        Audio(waveform=np.repeat(music.waveform, 2, axis=0), sample_rate=SAMPLE_RATE), 44_100
    )

    assert debug_codec().encode(stereo).shape[1] == 2 * FRAME_RATE
