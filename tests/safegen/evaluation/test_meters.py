import numpy as np
import pytest

from safegen.audio import Audio
from safegen.evaluation import meters
from safegen.evaluation.generation import Judged, Wish, ceilings, figures, read_prompts
from safegen.generation.compose import compose
from safegen.generation.procedural import render


def test_the_meters_are_right_about_most_procedural_scores() -> None:
    # The published ceilings come from the soundfont; sine waves are close.
    rates = figures(ceilings(16, seconds=10.0, soundfont=None))

    assert rates["tempo"] >= 0.9
    assert rates["key"] >= 0.6
    assert rates["drums"] >= 0.8
    assert rates["tempo_n"] == 16


def test_a_click_track_has_its_tempo() -> None:
    waveform = np.zeros((1, 32_000 * 8), dtype=np.float32)
    for beat in range(16):
        start = beat * 16_000
        waveform[0, start : start + 200] = np.sin(np.arange(200))
    reading = meters.read(Audio(waveform=waveform, sample_rate=32_000))

    assert meters.same_tempo(reading.tempo_bpm, 120.0)


@pytest.mark.parametrize(
    ("measured", "right"),
    [(120.0, True), (60.0, True), (240.0, True), (124.7, True), (125.0, False), (80.0, False)],
)
def test_an_octave_is_forgiven_and_four_percent(measured: float, right: bool) -> None:
    assert meters.same_tempo(measured, 120.0) == right


@pytest.mark.parametrize(
    ("name", "sharp"),
    [("Gb major", "F# major"), ("e♭ minor", "D# minor"), ("Cb major", "B major")],
)
def test_keys_are_compared_by_sound(name: str, sharp: str) -> None:
    assert meters.same_key(name, sharp)
    assert not meters.same_key(name, "C major")


def test_a_scale_is_in_its_key() -> None:
    for root in range(12):
        chroma = np.zeros(12)
        for step, weight in ((0, 5), (2, 2), (4, 4), (5, 2), (7, 4), (9, 2), (11, 2)):
            chroma[(root + step) % 12] = weight

        assert meters.key_of_chroma(chroma) == f"{meters.ROOTS[root]} major"


def test_drums_are_heard_when_they_are_added() -> None:
    from dataclasses import replace

    heard = []
    for seed in (0, 1, 5, 9):
        for drums in ("none", "rock"):
            plan = replace(compose(seed), drums=drums)
            heard.append(meters.read(render(plan, seconds=8.0)).drums == (drums == "rock"))

    assert sum(heard) >= 7


def test_an_attribute_nobody_named_does_not_count() -> None:
    reading = meters.Reading(tempo_bpm=120.0, key="C major", drums=True)
    silent = Wish(prompt="x", tempo_bpm=None, key=None, drums=None)
    named = Wish(prompt="x", tempo_bpm=60.0, key="A minor", drums=True)
    rows = [
        Judged(wish=wish, heard=reading, cpu_seconds=1.0, seconds=1.0) for wish in (silent, named)
    ]

    assert figures(rows) == {
        "tempo": 1.0,
        "tempo_n": 1,
        "key": 0.0,
        "key_n": 1,
        "drums": 1.0,
        "drums_n": 1,
    }


def test_there_are_two_hundred_held_out_prompts_with_readable_keys() -> None:
    wishes = read_prompts()

    assert len(wishes) == 200
    assert all(wish.key is None or meters.canonical_key(wish.key) for wish in wishes)
