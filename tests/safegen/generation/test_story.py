import dataclasses

import numpy as np
import pytest
import torch

from safegen.errors import InputError
from safegen.generation import coarse_fine, compose
from safegen.generation.base import Chapter, Request
from tests.safegen.generation.debug_models import debug_planner
from tests.safegen.generation.staged_models import (
    TRANSCRIBER,
    music_joint,
    staged_joint,
    staged_transcriber,
    tune,
)

REQUEST = Request(prompt="calm harp", seconds=1.0, seed=5)
STORY = dataclasses.replace(
    REQUEST,
    prompt="",
    story=(
        Chapter(prompt="calm harp", start_seconds=0.0),
        Chapter(prompt="heavy rock", start_seconds=0.6),
    ),
)


def test_the_same_request_gives_the_same_bits_and_another_seed_others() -> None:
    first, second = (music_joint().generate(REQUEST) for _ in range(2))
    other = music_joint().generate(dataclasses.replace(REQUEST, seed=6))

    np.testing.assert_array_equal(first.audio.waveform, second.audio.waveform)
    assert first.audio.seconds == 1.0
    assert first.codes.shape == (4, 25)
    assert compose.from_tokens(first.plan_tokens.tolist()) == compose.from_json(first.plan_json)
    assert (other.codes != first.codes).any()


def test_a_story_starts_as_its_first_chapter_and_has_a_plan_for_each() -> None:
    system = music_joint()
    alone = system.generate(REQUEST)
    told = system.generate(STORY)
    plans = told.plan_tokens.reshape(2, compose.PLAN_TOKENS)

    # The coarse tokens of a chapter do not know how long it lasts.
    np.testing.assert_array_equal(told.codes[:2, :13], alone.codes[:2, :13])
    assert told.codes.shape == alone.codes.shape
    assert told.plan_json == alone.plan_json
    assert compose.from_tokens(plans[1].tolist()) != compose.from_tokens(plans[0].tolist())


def test_a_chapter_goes_on_from_the_tokens_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # With the same plan and words a story of two chapters hears what one of them would.
    calls: list[int] = []
    system = music_joint()
    drawn = coarse_fine.coarse_to_fine

    def watched(*args: object, prefix: torch.Tensor, **options: object) -> torch.Tensor:
        calls.append(prefix.shape[1])
        return drawn(*args, prefix=prefix, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("safegen.generation.story.coarse_to_fine", watched)
    monkeypatch.setattr("safegen.generation.story.CONTEXT_FRAMES", 10)
    system.generate(STORY)

    assert calls == [0, 10]


def test_a_melody_is_followed_in_place_of_the_notes() -> None:
    system = music_joint()
    low, high = (
        system.generate(dataclasses.replace(REQUEST, prompt="", melody=tune(1.0, hertz=hertz)))
        for hertz in (440.0, 523.25)
    )
    system.tokens.chroma.weight.data.zero_()
    deaf_low, deaf_high = (
        system.generate(dataclasses.replace(REQUEST, prompt="", melody=tune(1.0, hertz=hertz)))
        for hertz in (440.0, 523.25)
    )

    assert (low.codes != high.codes).any()
    np.testing.assert_array_equal(deaf_low.codes, deaf_high.codes)


def test_a_negative_prompt_changes_the_plan_or_the_sound() -> None:
    system = music_joint()
    plain = system.generate(REQUEST)
    steered = system.generate(dataclasses.replace(REQUEST, negative_prompt="drums"))

    assert (plain.codes != steered.codes).any()


def test_a_sound_to_continue_is_not_taken() -> None:
    with pytest.raises(InputError, match="takes no sound to continue"):
        music_joint().generate(dataclasses.replace(REQUEST, continue_from=tune(1.0)))


def test_sound_and_words_lie_on_one_sphere() -> None:
    joint = staged_joint()
    z = torch.randn(3, 40, TRANSCRIBER.latent, generator=torch.Generator().manual_seed(0))
    sounds = joint.hear(staged_transcriber()(z))
    words = joint.read(debug_planner(), ["a", "calm harp in D"])

    assert sounds.shape == (3, 8)
    assert words.shape == (2, 8)
    torch.testing.assert_close(sounds.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(words.norm(dim=1), torch.ones(2))
    assert joint.styled(words).shape == (2, 2, 16)


def test_crossing_takes_the_mean_of_the_words_to_that_of_the_sounds() -> None:
    joint = staged_joint()
    joint.word_mean.fill_(0.5)
    joint.sound_mean.fill_(-0.25)

    torch.testing.assert_close(joint.crossed(joint.word_mean[None]), joint.sound_mean[None])
