"""The rows that draw codec tokens, on tiny models with random weights."""

import json

import numpy as np
import pytest
import torch

from safegen.errors import InputError
from safegen.generation.base import Request
from safegen.generation.scene_reader import SceneReader
from safegen.generation.scenes import from_json
from safegen.generation.text import TextConfig
from safegen.generation.token_rows import MusicTokens, SoundTokens
from safegen.generation.token_samplers import DrawSettings, FillSettings
from tests.safegen.generation.debug_models import debug_planner
from tests.safegen.generation.staged_models import (
    staged_card,
    staged_codec,
    staged_tokens,
    tune,
)

DRAW = DrawSettings(temperature=1.0, top_k=16, guidance=2.0)
FILL = FillSettings(passes=(2, 1, 1, 1), temperature=1.0, top_k=16, guidance=2.0)


@pytest.fixture(scope="module")
def music() -> MusicTokens:
    codec = staged_codec()
    card = staged_card("music-ar", "negative_prompt", "melody", "continue_from")
    return MusicTokens(
        card, codec=codec, planner=debug_planner(), model=staged_tokens(codec), settings=DRAW
    )


def sounds(settings: DrawSettings | FillSettings, *, bias: float = 3.0) -> SoundTokens:
    codec = staged_codec()
    torch.manual_seed(8)
    reader = SceneReader(TextConfig(embedding=8, width=16, layers=1, heads=2))
    torch.nn.init.constant_(reader.names.bias, -9.0)
    with torch.no_grad():
        reader.names.bias[2] = bias
    return SoundTokens(
        staged_card("sfx"),
        codec=codec,
        reader=reader,
        model=staged_tokens(codec),
        settings=settings,
    )


def test_an_item_is_the_same_alone_and_after_others(music: MusicTokens) -> None:
    request = Request(prompt="calm piano, 90 bpm", seconds=1.5, seed=7)
    alone = music.generate(request)
    torch.manual_seed(99)
    music.generate(Request(prompt="calm piano, 90 bpm", seconds=1.0, seed=8))
    among = music.generate(request)

    assert np.array_equal(alone.audio.waveform, among.audio.waveform)
    assert np.array_equal(alone.codes, among.codes)
    assert alone.audio.seconds == 1.5


def test_prompt_seed_negative_prompt_and_melody_all_matter(music: MusicTokens) -> None:
    plain = Request(prompt="harp", seconds=2.0, seed=1)
    others = (
        Request(prompt="trumpet", seconds=2.0, seed=1),
        Request(prompt="harp", seconds=2.0, seed=2),
        Request(prompt="harp", seconds=2.0, seed=1, negative_prompt="drums"),
        Request(prompt="harp", seconds=2.0, seed=1, melody=tune(2.0)),
        Request(prompt="harp", seconds=2.0, seed=1, melody=tune(2.0, hertz=523.25)),
    )
    made = [music.generate(request).codes.tobytes() for request in (plain, *others)]

    assert len(set(made)) == len(made)


def test_a_melody_shorter_than_the_clip_is_followed_as_far_as_it_goes(music: MusicTokens) -> None:
    made = music.generate(Request(prompt="harp", seconds=3.0, seed=1, melody=tune(1.2)))

    assert made.audio.seconds == 3.0


def test_a_continuation_keeps_its_beginning(music: MusicTokens) -> None:
    beginning = tune(1.2)
    request = Request(prompt="harp", seconds=2.4, seed=1, continue_from=beginning)

    made = music.generate(request)

    assert np.array_equal(made.codes[:, :30], music.codec.encode(beginning))
    assert made.codes.shape == (4, 60)


@pytest.mark.parametrize("settings", [DRAW, FILL])
def test_a_named_sound_becomes_a_scene_and_the_scene_a_sound(
    settings: DrawSettings | FillSettings,
) -> None:
    model = sounds(settings)
    request = Request(prompt="the sea", seconds=2.0, seed=3)

    made = model.generate(request)
    again = model.generate(request)
    other = model.generate(Request(prompt="the sea", seconds=2.0, seed=4))

    assert [layer.sound for layer in from_json(made.plan_json).layers] == ["waves"]
    assert json.loads(made.plan_json)
    assert np.array_equal(made.audio.waveform, again.audio.waveform)
    assert not np.array_equal(made.codes, other.codes)


def test_a_prompt_that_names_no_sound_is_refused_with_the_names_of_all() -> None:
    model = sounds(DRAW, bias=-9.0)

    with pytest.raises(InputError, match="it knows: rain, wind, waves"):
        model.generate(Request(prompt="a piano", seconds=2.0, seed=3))


def test_what_a_row_does_not_take_is_refused() -> None:
    with pytest.raises(InputError, match="sfx takes no melody"):
        sounds(DRAW).generate(Request(prompt="rain", seconds=2.0, seed=3, melody=tune(2.0)))
