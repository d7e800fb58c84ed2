"""The decoder's mark, heard on the shipped codec and on small imitations of it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from detectors import decoder_mark
from detectors.base import Waveform
from detectors.decoder_mark import BANDS, FIRST_BAND, LABEL, STRENGTH, bias, hear, signs
from safegen.audio import Audio, load, resample, save
from safegen.generation import codec
from safegen.generation.codec import SAMPLE_RATE, LogMel, griffin_lim

ASSETS = Path(__file__).parent.parent / "assets"
OTHER = b"some other label"


def sung(seconds: float, *, seed: int = 1, marked: bool = True) -> Waveform:
    """Shape noise like music and give it a phase, as the codec does."""
    dice = np.random.default_rng(seed)
    frames = round(seconds / decoder_mark.FRAME_SECONDS)
    slope = np.linspace(0.3, -1.0, codec.MELS)
    swell = 0.3 * np.sin(np.arange(frames)[:, None] / 11.0 + dice.random(codec.MELS) * 6)
    log_mel = slope + swell + 0.1 * dice.standard_normal((frames, codec.MELS))
    if marked:
        log_mel = log_mel + bias(frames)
    with torch.inference_mode():
        magnitudes = LogMel().magnitudes(torch.from_numpy(log_mel).float()[None])[0]
        waveform = griffin_lim(magnitudes, frames * codec.HOP)
    return np.asarray(waveform[None].numpy() / waveform.abs().max().item(), np.float32)


@pytest.fixture(scope="module")
def marked() -> Waveform:
    return sung(8.0)


@pytest.fixture(scope="module")
def unmarked() -> Waveform:
    return sung(8.0, marked=False)


def played(waveform: Waveform, *, speed: float) -> Waveform:
    fast = Audio(waveform=waveform, sample_rate=round(SAMPLE_RATE * speed))
    return resample(fast, SAMPLE_RATE).waveform


def test_the_grid_is_that_of_the_codec() -> None:
    assert decoder_mark.MELS == codec.MELS
    assert decoder_mark.TOP_HZ == codec.SAMPLE_RATE / 2
    assert decoder_mark.FRAME_SECONDS == codec.HOP / codec.SAMPLE_RATE


def test_the_pattern_is_fair_and_outlasts_every_clip() -> None:
    pattern = signs(LABEL)

    assert abs(float(pattern.mean())) < 4 / np.sqrt(pattern.size)
    assert decoder_mark.PERIOD_FRAMES * decoder_mark.FRAME_SECONDS > 120.0
    # No two stretches of a second agree by more than chance: there is no rhythm.
    seconds = pattern[:1612].reshape(-1, 13 * BANDS).astype(np.float64)
    agreement = np.abs(np.corrcoef(seconds) - np.eye(len(seconds)))
    assert float(agreement.max()) < 0.2


def test_the_pattern_is_the_same_on_every_platform() -> None:
    # A golden value: another pattern would orphan everything that was ever made.
    first = "".join("+" if sign > 0 else "-" for sign in signs(LABEL)[0, :24])

    assert first == "+--++++-+-++-+--+-++++-+"


def test_what_is_added_stays_below_one_decibel_and_inside_the_band() -> None:
    added = bias(50)

    assert set(np.unique(np.abs(added))) == {np.float32(0.0), np.float32(STRENGTH)}
    assert 20 * STRENGTH < 1.0
    assert not added[:, :FIRST_BAND].any()
    assert not added[:, FIRST_BAND + BANDS :].any()
    assert np.array_equal(bias(20), added[:20])


def test_a_marked_sound_is_heard_from_beginning_to_end(marked: Waveform) -> None:
    finding = hear(marked, SAMPLE_RATE)

    assert finding.detected
    assert finding.p_value < 1e-30
    assert (finding.speed, finding.semitones) == (1.0, 0.0)
    assert finding.intervals[0].start_seconds < 0.5
    assert finding.intervals[-1].end_seconds > 7.5


def test_the_same_sound_without_the_mark_is_not_heard(unmarked: Waveform) -> None:
    finding = hear(unmarked, SAMPLE_RATE)

    assert not finding.detected
    assert finding.p_value > 1e-3
    assert finding.intervals == ()


def test_another_pattern_is_not_heard(marked: Waveform) -> None:
    assert not hear(marked, SAMPLE_RATE, label=OTHER).detected


def test_listening_twice_gives_the_same_finding(marked: Waveform) -> None:
    assert hear(marked, SAMPLE_RATE) == hear(marked, SAMPLE_RATE)


def test_it_survives_an_mp3_at_64_kbit_per_s(marked: Waveform, tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    save(Audio(waveform=marked, sample_rate=SAMPLE_RATE), path, bitrate=64_000)
    heard = load(path)

    assert hear(heard.waveform, heard.sample_rate, search=False).detected


@pytest.mark.parametrize(
    "change",
    [
        lambda sound: sound[:, 40_123:],
        lambda sound: -0.1 * sound,
        lambda sound: np.concatenate([sound, 0.5 * sound]),
        lambda sound: resample(Audio(waveform=sound, sample_rate=SAMPLE_RATE), 8_000).waveform,
    ],
    ids=["beginning cut off", "quiet and inverted", "two channels", "8 kHz"],
)
def test_it_survives_handling(marked: Waveform, change: Callable[[Waveform], Waveform]) -> None:
    changed = change(marked).astype(np.float32)
    rate = 8_000 if changed.shape[1] < marked.shape[1] // 2 else SAMPLE_RATE

    assert hear(changed, rate, search=False).detected


@pytest.mark.parametrize("speed", [0.955, 1.03])
def test_another_speed_is_found_by_the_search_only(marked: Waveform, speed: float) -> None:
    changed = played(marked, speed=speed)
    finding = hear(changed, SAMPLE_RATE)

    assert finding.detected
    assert finding.speed == pytest.approx(speed, abs=0.011)
    assert finding.semitones == pytest.approx(12 * np.log2(speed), abs=0.2)
    assert not hear(changed, SAMPLE_RATE, search=False).detected


def test_only_the_marked_stretch_of_a_long_sound_is_named(marked: Waveform) -> None:
    # Longer than a minute, so that it is heard in more than one stretch.
    long = np.concatenate(
        [sung(30.0, seed=2, marked=False), sung(32.0, seed=3, marked=False), marked], axis=1
    )
    finding = hear(long, SAMPLE_RATE, search=False)

    assert finding.detected
    assert len(finding.intervals) == 1
    assert finding.intervals[0].start_seconds == pytest.approx(62.0, abs=2.0)
    assert finding.intervals[0].end_seconds == pytest.approx(70.0, abs=1.0)


@pytest.mark.parametrize("name", ["guitar.ogg", "harmonics.flac", "safari-loop.ogg", "tabla.ogg"])
def test_recordings_do_not_carry_it(name: str) -> None:
    audio = load(ASSETS / name)

    assert not hear(audio.waveform, audio.sample_rate).detected


@pytest.mark.parametrize(
    "waveform",
    [
        np.zeros((1, 0), np.float32),
        np.zeros((0, 0), np.float32),
        np.ones((1, 100), np.float32),
        np.zeros((2, 4 * SAMPLE_RATE), np.float32),
        np.ones((1, 4 * SAMPLE_RATE), np.float32),
        np.full((1, 2 * SAMPLE_RATE), np.nan, np.float32),
        np.eye(1, 2 * SAMPLE_RATE, dtype=np.float32),
        np.random.default_rng(0).standard_normal((1, SAMPLE_RATE + 1)).astype(np.float32),
    ],
    ids=["empty", "no channel", "a blip", "silence", "DC", "NaN", "a click", "a second of noise"],
)
def test_odd_sounds_give_an_answer(waveform: Waveform) -> None:
    finding = hear(waveform, SAMPLE_RATE)

    assert not finding.detected
    assert 0.0 <= finding.p_value <= 1.0
    assert np.isfinite(finding.score)
