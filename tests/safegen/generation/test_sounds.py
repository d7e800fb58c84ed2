import zlib
from pathlib import Path

import numpy as np
import pytest

from safegen.audio import Audio, save
from safegen.errors import InputError
from safegen.generation import sound_samples
from safegen.generation.sound_parts import SAMPLE_RATE
from safegen.generation.sounds import (
    EVENT_NAMES,
    NAMES,
    RATES,
    SOUNDS,
    event_times,
    render_sound,
    sound,
)

SAMPLED = tuple(x.name for x in SOUNDS if x.source == "samples")


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with all recordings that are asked for, each a noise of its own."""
    folder = tmp_path_factory.mktemp("assets") / "sonic-pi-samples"
    folder.mkdir()
    names = (
        *sound_samples._CROWS,
        *sound_samples._TABLAS,
        sound_samples._VINYL,
        *sound_samples._SWOOSHES,
        *sound_samples._BOOMS,
    )
    for name in names:
        dice = np.random.default_rng(zlib.crc32(name.encode()))
        waveform = 0.3 * dice.standard_normal((1, 3 * SAMPLE_RATE)).astype(np.float32)
        waveform *= np.exp(-np.arange(waveform.shape[1]) / SAMPLE_RATE, dtype=np.float32)
        audio = Audio(waveform=waveform.clip(-1, 1), sample_rate=SAMPLE_RATE)
        save(audio, folder / f"{name}.flac")
    return folder.parent


def test_there_are_twenty_five_sounds_in_a_fixed_order() -> None:
    # Channels of trained models stand in this order: names are only ever added at the end.
    assert (
        *("rain", "wind", "waves", "fire", "applause", "siren", "engine", "helicopter"),
        *("thunder", "bell", "footsteps", "dripping", "laser", "alarm", "clock", "telephone"),
        *("birds", "dog", "knocking", "heartbeat"),
        *("crow", "tabla", "vinyl", "swoosh", "boom"),
    ) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_sound_is_audible_finite_and_the_same_twice(name: str, samples: Path) -> None:
    one, two = (
        render_sound(name, rate="medium", variant=7, seconds=3.0, samples=samples) for _ in range(2)
    )

    assert one.shape == (3 * SAMPLE_RATE,)
    assert np.isfinite(one).all()
    assert np.array_equal(one, two)
    assert 0.05 < np.sqrt(np.mean(np.square(one))) < 2.0


@pytest.mark.parametrize("name", NAMES)
def test_variants_and_rates_differ(name: str, samples: Path) -> None:
    made = [
        render_sound(name, rate=rate, variant=variant, seconds=2.0, samples=samples)
        for rate, variant in (("medium", 1), ("medium", 2), ("slow", 1))
    ]

    assert not np.allclose(made[0], made[1])
    assert not np.allclose(made[0], made[2])


@pytest.mark.parametrize("name", SAMPLED)
def test_a_recorded_sound_without_its_recordings_says_where_to_get_them(
    name: str, tmp_path: Path
) -> None:
    for folder in (None, tmp_path):
        with pytest.raises(InputError, match=r"\.flac") as caught:
            render_sound(name, rate="medium", variant=0, seconds=5.0, samples=folder)

        assert "safegen eval assets" in caught.value.remedy


@pytest.mark.parametrize("name", EVENT_NAMES)
def test_a_longer_sound_has_the_events_of_the_shorter_one_first(name: str) -> None:
    for variant in range(20):
        short, long = (
            event_times(name, rate="fast", variant=variant, seconds=s) for s in (4.0, 11.0)
        )

        assert len(short) >= 1
        assert long[: len(short)] == short
        assert all(time >= 4.0 for time in long[len(short) :])
        assert list(long) == sorted(long)


@pytest.mark.parametrize("name", EVENT_NAMES)
def test_a_faster_rate_has_more_events(name: str) -> None:
    counts = [
        sum(len(event_times(name, rate=rate, variant=v, seconds=30.0)) for v in range(12))
        for rate in RATES
    ]

    assert counts[0] < counts[1] < counts[2]


@pytest.mark.parametrize("name", ["footsteps", "clock", "laser", "knocking", "dog"])
def test_the_sound_rises_where_the_events_are(name: str) -> None:
    times = event_times(name, rate="slow", variant=5, seconds=8.0)
    made = render_sound(name, rate="slow", variant=5, seconds=8.0)
    power = np.square(made)

    for time in times:
        start = round(time * SAMPLE_RATE)
        before, after = power[max(0, start - 320) : start], power[start : start + 1600]

        assert after.mean() > 2 * (before.mean() if len(before) else 0.0)


def test_continuous_sounds_have_no_events() -> None:
    assert not sound("rain").has_events
    assert event_times("rain", rate="fast", variant=0, seconds=9.0) == ()
