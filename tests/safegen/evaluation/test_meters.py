import numpy as np
import pytest

from safegen.audio import Audio
from safegen.evaluation import meters
from safegen.evaluation.generation import read_prompts
from safegen.evaluation.instrument import NAMES
from safegen.generation.compose import compose
from safegen.generation.procedural import render


def test_the_meters_are_right_about_most_procedural_scores() -> None:
    # The published ceilings come from the soundfont; sine waves are close.
    tempo = key = drums = 0
    for seed in range(9_000_000, 9_000_016):
        plan = compose(seed)
        found = meters.read(render(plan, seconds=10.0))
        tempo += meters.same_tempo(found.tempo_bpm, plan.tempo_bpm)
        key += meters.same_key(found.key, plan.key)
        drums += found.drums == plan.has_drums

    assert tempo >= 15
    assert key >= 10
    assert drums >= 13


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


def test_there_are_two_hundred_held_out_prompts_with_readable_keys() -> None:
    wishes = read_prompts()

    assert len(wishes) == 200
    assert all(wish.key is None or meters.canonical_key(wish.key) for wish in wishes)
    assert all(wish.instrument is None or wish.instrument in NAMES for wish in wishes)
    assert {wish.instrument for wish in wishes} == {*NAMES, None}
