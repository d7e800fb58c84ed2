import dataclasses

import numpy as np
import pytest
import torch

from safegen.audio import Audio
from safegen.errors import InputError
from safegen.generation.base import Request, Span
from safegen.generation.compose import compose, from_tokens, to_json
from safegen.generation.music_flow import MusicFlow
from safegen.generation.samplers import FlowSettings, sample_latents
from safegen.generation.stages import dice
from safegen.generation.systems import load
from tests.safegen.generation.debug_models import debug_renderer, debug_system


@pytest.fixture(scope="module")
def system() -> MusicFlow:
    return debug_system()


def request(seed: int, seconds: float = 1.5, prompt: str = "calm piano, 90 bpm") -> Request:
    return Request(prompt=prompt, seconds=seconds, seed=seed)


def test_an_item_is_the_same_alone_and_after_others(system: MusicFlow) -> None:
    alone = system.generate(request(7))
    torch.manual_seed(123)
    for other in (5, 6):
        system.generate(request(other))
    among = system.generate(request(7))

    assert np.array_equal(alone.audio.waveform, among.audio.waveform)
    assert alone.plan_json == among.plan_json
    assert np.array_equal(alone.codes, among.codes)


def test_the_number_of_threads_changes_no_bit(system: MusicFlow) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = system.generate(request(3)).audio.waveform
        torch.set_num_threads(2)
        two = system.generate(request(3)).audio.waveform
    finally:
        torch.set_num_threads(before)

    assert np.array_equal(one, two)


def test_generating_leaves_the_global_seed_alone(system: MusicFlow) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    system.generate(request(1))

    assert torch.equal(state, torch.get_rng_state())


def test_another_seed_is_another_piece(system: MusicFlow) -> None:
    first, second = system.generate(request(1)), system.generate(request(2))

    assert first.plan_json != second.plan_json
    assert not np.array_equal(first.audio.waveform, second.audio.waveform)


@pytest.mark.parametrize("seconds", [1.0, 1.013, 3.0, 30.0])
def test_the_length_is_exactly_what_was_asked(system: MusicFlow, seconds: float) -> None:
    made = system.generate(request(1, seconds))

    assert made.audio.waveform.shape == (1, round(seconds * 32_000))
    assert made.codes.shape[1] == int(np.ceil(seconds * 25))
    assert np.isfinite(made.audio.waveform).all()
    assert np.abs(made.audio.waveform).max() <= 1.0


@pytest.mark.parametrize("seconds", [0.0, -1.0, 0.5, 1e6])
def test_a_length_outside_the_card_is_refused(system: MusicFlow, seconds: float) -> None:
    with pytest.raises(InputError, match="music-flow makes"):
        system.generate(request(1, seconds))


def test_the_plan_in_the_record_is_the_plan_that_was_played(system: MusicFlow) -> None:
    made = system.generate(request(4))

    assert to_json(from_tokens(made.plan_tokens.tolist())) == made.plan_json
    assert system.plan(request(4)) == from_tokens(made.plan_tokens.tolist())


def test_another_plan_is_heard(system: MusicFlow) -> None:
    first = system.render(compose(1), request(1))
    second = system.render(compose(2), request(1))

    assert not np.array_equal(first.audio.waveform, second.audio.waveform)


def test_progress_runs_from_above_zero_to_one(system: MusicFlow) -> None:
    seen: list[float] = []
    system.generate(request(1), progress=seen.append)

    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_guidance_of_one_is_the_conditional_flow() -> None:
    system, renderer = debug_system(), debug_renderer()
    conditions = system._conditions(compose(1), request(1), frames=10)
    plain = sample_latents(
        renderer, conditions, dice(1, "latents"), settings=FlowSettings(steps=3, guidance=1.0)
    )
    pushed = sample_latents(
        renderer, conditions, dice(1, "latents"), settings=FlowSettings(steps=3, guidance=3.0)
    )

    assert plain.shape == pushed.shape == (10, 8)
    assert not torch.equal(plain, pushed)


def test_far_frames_do_not_change_near_ones() -> None:
    # The reach is what makes thirty seconds no different from ten.
    system, renderer = debug_system(), debug_renderer()
    plan = compose(1)
    out = [
        sample_latents(
            renderer,
            system._conditions(plan, request(1), frames=frames),
            dice(1, "latents"),
            settings=FlowSettings(steps=1, guidance=1.0),
        )
        for frames in (40, 80)
    ]

    assert torch.allclose(out[0][:15], out[1][:15], atol=1e-5)
    assert not torch.allclose(out[0][-1], out[1][39], atol=1e-5)


def test_an_unknown_model_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(InputError, match="no such model"):
        load("musicgen-huge")


def with_inputs(system: MusicFlow) -> MusicFlow:
    card = dataclasses.replace(system.card, accepts=("negative_prompt", "source", "inpaint"))
    return MusicFlow(
        card,
        codec=system.codec,
        planner=system.planner,
        renderer=system.renderer,
        settings=system.settings,
    )


def noise(seconds: float) -> Audio:
    samples = np.random.default_rng(3).normal(0, 0.1, round(seconds * 32_000))
    return Audio(waveform=samples.astype(np.float32)[None], sample_rate=32_000)


def test_what_is_not_made_anew_keeps_the_tokens_of_the_source() -> None:
    system = with_inputs(debug_system())
    source = noise(4.0)
    made = [
        system.generate(
            Request(
                prompt="strings",
                seconds=4.0,
                seed=seed,
                source=source,
                inpaint=(Span(start_seconds=1.0, end_seconds=2.0),),
            )
        ).codes
        for seed in (1, 2)
    ]
    heard = system.codec.encode(source)

    for codes in made:
        assert (codes[:, :25] == heard[:, :25]).all()
        assert (codes[:, 50:] == heard[:, 50:]).all()
    assert (made[0][:, 25:50] != made[1][:, 25:50]).any()
    assert (made[0][:, 25:50] != heard[:, 25:50]).any()


def test_the_less_strength_the_closer_to_the_source() -> None:
    system = with_inputs(debug_system())
    source = noise(3.0)
    heard = system.codec.encode(source)

    kept = [
        (
            system.generate(
                Request(prompt="harp", seconds=3.0, seed=1, source=source, strength=strength)
            ).codes
            == heard
        ).mean()
        for strength in (0.05, 0.4, 1.0)
    ]

    assert kept[0] > kept[1] > kept[2]


def test_a_source_goes_on_beyond_its_end() -> None:
    system = with_inputs(debug_system())
    source = noise(2.0)

    made = system.generate(Request(prompt="harp", seconds=3.0, seed=1, source=source))

    assert made.audio.seconds == 3.0
    assert (made.codes[:, :50] == system.codec.encode(source)).all()


def test_a_source_is_refused_by_a_model_that_takes_none() -> None:
    system = debug_system()
    bare = MusicFlow(
        dataclasses.replace(system.card, accepts=()),
        codec=system.codec,
        planner=system.planner,
        renderer=system.renderer,
    )

    with pytest.raises(InputError, match="takes no source"):
        bare.generate(Request(prompt="harp", seconds=2.0, seed=1, source=noise(2.0)))
