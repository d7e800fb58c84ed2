"""Every row on the weights that ship: a short sound each, through the real loading code."""

import numpy as np
import pytest

from detectors import decoder_mark
from safegen import memorization
from safegen.audio import Audio
from safegen.errors import InputError
from safegen.generation.base import Chapter, Request, StreamingGenerator, joined
from safegen.generation.cards import CARDS, INPUTS, WEIGHTS, card
from safegen.generation.compose import PLAN_TOKENS, from_tokens
from safegen.generation.scenes import from_json
from safegen.generation.systems import load
from tests.safegen.generation.staged_models import asked_of

SECONDS = 4.0
MAX_WEIGHT_BYTES = 40_000_000
GENERATING = [found.name for found in CARDS if found.name not in ("codec", "procedural")]


def request(name: str, seed: int = 1) -> Request:
    return asked_of(name, seconds=SECONDS, seed=seed)


@pytest.mark.parametrize("name", GENERATING)
def test_a_row_makes_the_wanted_length_with_the_mark_of_the_codec_in_it(name: str) -> None:
    generator = load(name)
    made = generator.generate(request(name))
    mark = decoder_mark.hear(made.audio.waveform, made.audio.sample_rate, search=False)

    assert made.audio.seconds == SECONDS
    assert 0.01 < np.sqrt(np.mean(made.audio.waveform**2)) < 0.5
    assert mark.detected
    assert made.codes.shape == (4, 100)
    assert generator.facts == card(name).facts
    assert memorization.for_model(generator.facts) is not None


@pytest.mark.parametrize("name", GENERATING)
def test_a_stream_has_the_length_the_plan_and_the_mark_of_the_codec(name: str) -> None:
    generator = load(name)
    assert isinstance(generator, StreamingGenerator)
    first, *rest = generator.stream(request(name))
    made = joined([first, *rest])
    mark = decoder_mark.hear(made.audio.waveform, made.audio.sample_rate, search=False)

    assert made.audio.seconds == SECONDS
    assert made.plan_json
    assert made.codes.shape == (4, 100)
    assert mark.detected


@pytest.mark.parametrize("name", ["music-ar", "sfx-ar", "sfx-masked", "music-cascade"])
def test_the_same_request_gives_the_same_bits(name: str) -> None:
    short = Request(prompt=request(name).prompt, seconds=1.0, seed=5)
    first = load(name).generate(short)
    load(name).generate(Request(prompt=short.prompt, seconds=1.0, seed=6))
    again = load(name).generate(short)

    assert np.array_equal(first.audio.waveform, again.audio.waveform)


def test_a_mixed_caption_becomes_a_scene_of_both_sounds() -> None:
    made = load("sfx-masked").generate(request("sfx-masked"))

    assert {layer.sound for layer in from_json(made.plan_json).layers} == {"siren", "rain"}


def test_a_story_changes_its_score_at_the_chapter() -> None:
    story = (
        Chapter(prompt="calm piano, 70 bpm, no drums", start_seconds=0.0),
        Chapter(prompt="fast trumpet, 150 bpm, loud drums", start_seconds=2.0),
    )
    made = load("music-joint").generate(Request(prompt="", seconds=SECONDS, seed=1, story=story))

    plans = [from_tokens(tokens.tolist()) for tokens in made.plan_tokens.reshape(2, PLAN_TOKENS)]

    assert made.audio.seconds == SECONDS
    assert not plans[0].has_drums
    assert plans[1].has_drums
    assert plans[0].tempo_bpm < 100 < plans[1].tempo_bpm


def test_the_codec_turns_no_text_into_sound() -> None:
    with pytest.raises(InputError, match="turns no text into sound"):
        load("codec")


def test_all_weights_together_stay_small() -> None:
    files = {x.name for found in CARDS for x in found.files if x.role != "manifest"}
    assert sum((WEIGHTS / name).stat().st_size for name in files) <= MAX_WEIGHT_BYTES
    assert {x.name for x in WEIGHTS.iterdir()} == files | {
        x.name for found in CARDS for x in found.files if x.role == "manifest"
    }


@pytest.mark.parametrize("found", CARDS, ids=lambda found: found.name)
def test_every_card_says_what_people_need_to_know(found: object) -> None:
    row = card(getattr(found, "name", ""))

    assert set(row.accepts) <= set(INPUTS)
    assert row.license == "Apache-2.0"
    assert row.limits
    assert row.training_data
    if row.name != "procedural":
        assert row.after
        assert row.recipes
        assert row.training_manifest_sha256


def test_silence_is_no_beginning() -> None:
    silent = Audio(waveform=np.zeros((1, 96_000), dtype=np.float32), sample_rate=32_000)

    with pytest.raises(InputError, match="silent"):
        load("continue").generate(Request(prompt="", seconds=SECONDS, seed=1, continue_from=silent))
