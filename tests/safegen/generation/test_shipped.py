"""The weights that ship, asked for a few things in words nobody trained on."""

import json

import numpy as np
import pytest

from safegen.evaluation import meters
from safegen.generation.base import Request
from safegen.generation.music_flow import MusicFlow
from safegen.generation.story import MusicJoint
from safegen.generation.systems import load


@pytest.fixture(scope="module")
def shipped() -> MusicFlow:
    system = load("music-flow")
    assert isinstance(system, MusicFlow)
    return system


@pytest.mark.parametrize(
    ("prompt", "tempo_bpm", "key", "drums"),
    [
        ("a lonesome cello wanders through fog, B flat minor, 72 bpm, no drums", 72, "Bb minor", 0),
        ("garage band stomper with a thundering drummer at 168 bpm in E", 168, "E major", 1),
        ("Tempo: ninety-six. Key: C# minor. Rhodes. Leave the percussion out.", 96, "C# minor", 0),
        ("accordion tune, Gb major, with beats, 131 BPM", 131, "F# major", 1),
    ],
)
def test_what_a_prompt_names_is_in_the_plan(
    shipped: MusicFlow, prompt: str, tempo_bpm: int, key: str, drums: int
) -> None:
    plan = shipped.plan(Request(prompt=prompt, seconds=4.0, seed=1))

    assert meters.same_tempo(plan.tempo_bpm, tempo_bpm)
    assert meters.same_key(plan.key, key)
    assert plan.has_drums == bool(drums)


def test_the_same_seed_gives_the_same_bits_alone_and_after_another_item(
    shipped: MusicFlow,
) -> None:
    request = Request(prompt="warm strings, 84 bpm", seconds=2.0, seed=11)
    alone = shipped.generate(request)
    shipped.generate(Request(prompt="something else", seconds=1.0, seed=12))
    after = shipped.generate(request)

    assert np.array_equal(alone.audio.waveform, after.audio.waveform)


def test_what_is_played_has_the_tempo_of_its_plan(shipped: MusicFlow) -> None:
    made = shipped.generate(Request(prompt="drums and piano, 120 bpm", seconds=8.0, seed=3))
    heard = meters.read(made.audio)

    assert meters.same_tempo(heard.tempo_bpm, json.loads(made.plan_json)["tempo_bpm"])
    assert 0.03 < float(np.sqrt((made.audio.waveform**2).mean())) < 0.3


def test_the_tokens_it_used_are_the_ones_its_sound_encodes_to(shipped: MusicFlow) -> None:
    # The memorization check compares tokens, so both ways to get them must agree.
    made = shipped.generate(Request(prompt="marimba", seconds=4.0, seed=5))
    heard = shipped.codec.encode(made.audio)

    assert (heard[0] == made.codes[0]).mean() > 0.3


@pytest.mark.parametrize(
    ("prompt", "tempo_bpm", "key", "drums"),
    [
        ("sad cello music at 72 bpm in A# minor, no drums", 72, "A# minor", 0),
        ("playful marimba music at 150 bpm in D major, with drums", 150, "D major", 1),
    ],
)
def test_what_a_prompt_names_passes_through_the_joint_embedding(
    prompt: str, tempo_bpm: int, key: str, drums: int
) -> None:
    system = load("music-joint")
    assert isinstance(system, MusicJoint)
    plan = system.plan(Request(prompt=prompt, seconds=4.0, seed=1))

    assert meters.same_tempo(plan.tempo_bpm, tempo_bpm)
    assert meters.same_key(plan.key, key)
    assert plan.has_drums == bool(drums)
