"""Attacks do what their names promise and leave the rest alone."""

from pathlib import Path

import numpy as np
import pytest

from safegen.audio import Audio, load
from safegen.evaluation.attacks import ATTACKS, CODECS, through_codec

ASSETS = Path(__file__).parents[2] / "assets"
MOVING = {"crop-half", "cut-1s", "speed-1.02", "speed-1.05"}


def clip(sample_rate: int, channels: int) -> Audio:
    """Two seconds of noise bursts below 3 kHz, different in each channel."""
    generator = np.random.default_rng(sample_rate + channels)
    seconds = np.arange(2 * sample_rate) / sample_rate
    bursts = np.sin(2 * np.pi * 1.3 * seconds) > 0
    noise = generator.standard_normal((channels, len(seconds)))
    spectrum = np.fft.rfft(noise)
    spectrum[:, np.fft.rfftfreq(len(seconds), 1 / sample_rate) > 3_000] = 0
    waveform = 0.2 * np.fft.irfft(spectrum, len(seconds)) * bursts
    return Audio(waveform=waveform.astype(np.float32), sample_rate=sample_rate)


def lag(before: Audio, after: Audio) -> int:
    """Find the shift in samples at which both agree best."""
    samples = before.waveform.shape[1]
    one = np.fft.rfft(before.waveform[0], 2 * samples)
    other = np.fft.rfft(after.waveform[0], 2 * samples)
    best = int(np.argmax(np.abs(np.fft.irfft(one.conj() * other))))
    return best if best < samples else best - 2 * samples


@pytest.mark.parametrize(("sample_rate", "channels"), [(16_000, 1), (44_100, 2)])
@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_an_attack_keeps_rate_channels_and_alignment(
    name: str, sample_rate: int, channels: int
) -> None:
    before = clip(sample_rate, channels)

    after = ATTACKS[name](before)

    assert after.sample_rate == sample_rate
    assert after.waveform.shape[0] == channels
    assert np.isfinite(after.waveform).all()
    if name not in MOVING:
        assert after.waveform.shape == before.waveform.shape
        assert abs(lag(before, after)) <= 2


@pytest.mark.parametrize("name", sorted(set(ATTACKS) - {"clean", *MOVING}))
def test_an_attack_changes_the_sound(name: str) -> None:
    before = load(ASSETS / "harmonics.flac")
    if name in ("pcm-16", "pcm-8"):
        before = Audio(waveform=before.waveform * np.float32(0.777), sample_rate=16_000)

    after = ATTACKS[name](before)

    assert not np.array_equal(after.waveform, before.waveform)


@pytest.mark.parametrize("name", ["noise-20db", "mp3-64k", "opus-32k"])
def test_an_attack_repeats_to_the_bit(name: str) -> None:
    sound = clip(16_000, 1)

    first, second = ATTACKS[name](sound), ATTACKS[name](sound)

    assert np.array_equal(first.waveform, second.waveform)


@pytest.mark.parametrize(("name", "asked"), [("noise-30db", 30.0), ("pink-20db", 20.0)])
def test_noise_has_the_level_of_its_name(name: str, asked: float) -> None:
    sound = clip(16_000, 1)

    noise = ATTACKS[name](sound).waveform - sound.waveform

    measured = 10 * np.log10(np.sum(sound.waveform**2) / np.sum(noise**2))
    assert measured == pytest.approx(asked, abs=0.05)


def test_fewer_bits_per_second_are_further_from_the_original() -> None:
    sound = load(ASSETS / "guitar.ogg").cut(0, 3)

    errors = [
        float(np.mean((through_codec(sound, "mp3", bitrate=rate).waveform - sound.waveform) ** 2))
        for rate in (128_000, 64_000, 32_000)
    ]

    assert errors == sorted(errors)


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_codecs_take_odd_rates_and_short_silent_sounds(codec: str) -> None:
    sound = Audio(waveform=np.zeros((2, 700), np.float32), sample_rate=37_800)

    after = through_codec(sound, codec, bitrate=64_000)

    assert after.waveform.shape == (2, 700)
    assert float(np.abs(after.waveform).max()) < 1e-3


def test_three_channels_are_refused_by_codecs() -> None:
    sound = Audio(waveform=np.zeros((3, 1000), np.float32), sample_rate=16_000)

    with pytest.raises(ValueError, match="not 3"):
        through_codec(sound, "mp3", bitrate=64_000)


def test_crops_and_speed_change_the_length() -> None:
    sound = clip(16_000, 1)

    lengths = {name: ATTACKS[name](sound).seconds for name in MOVING}

    assert lengths == pytest.approx(
        {"crop-half": 1.0, "cut-1s": 1.0, "speed-1.02": 2 / 1.02, "speed-1.05": 2 / 1.05}, abs=0.01
    )
