"""The cascade, with tiny models: two stages, one sound."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from safegen.errors import InputError
from safegen.generation.base import Request
from safegen.generation.cards import card
from safegen.generation.cascade import (
    GENERATOR,
    CascadeSettings,
    MusicCascade,
    coarse_roll,
)
from safegen.generation.codec import MELS
from safegen.generation.compose import compose, from_tokens, to_json
from safegen.generation.renderer import Renderer, toward
from safegen.generation.rolls import ROLL_CHANNELS, roll
from safegen.generation.samplers import FlowSettings
from safegen.generation.stages import dice
from safegen.generation.unet import UNet, UNetConfig, coarsen, sample_details
from tests.safegen.generation.debug_models import debug_codec, debug_planner

UNET = UNetConfig(latent=8, widths=(8, 8, 16), blocks=1, steer=8)
TINY = replace(GENERATOR, text_width=16, width=16, layers=2, heads=2, reach=4)


def debug_generator() -> Renderer:
    torch.manual_seed(4)
    generator = Renderer(TINY)
    torch.nn.init.normal_(generator.outlet.weight, std=0.5)
    torch.nn.init.normal_(generator.roll.weight, std=0.5)
    return generator.eval()


def debug_unet() -> UNet:
    torch.manual_seed(5)
    unet = UNet(UNET)
    torch.nn.init.normal_(unet.outlet.weight, std=0.5)
    return unet.eval()


@pytest.fixture(scope="module")
def system() -> MusicCascade:
    return MusicCascade(
        card("music-flow"),
        codec=debug_codec(),
        planner=debug_planner(),
        generator=debug_generator(),
        unet=debug_unet(),
        settings=CascadeSettings(
            generator=FlowSettings(steps=2, guidance=2.0), details=2, noise=0.3
        ),
    )


def request(seed: int, seconds: float = 1.5, prompt: str = "calm piano, 90 bpm") -> Request:
    return Request(prompt=prompt, seconds=seconds, seed=seed)


def details(coarse: torch.Tensor, rows: torch.Tensor, *, noise: float = 0.3) -> torch.Tensor:
    return sample_details(debug_unet(), coarse, rows, dice(1, "details"), steps=1, noise=noise)


def test_an_item_is_the_same_alone_and_after_others(system: MusicCascade) -> None:
    alone = system.generate(request(7))
    torch.manual_seed(123)
    system.generate(request(5))
    among = system.generate(request(7))

    assert np.array_equal(alone.audio.waveform, among.audio.waveform)
    assert np.array_equal(alone.codes, among.codes)


def test_generating_leaves_the_global_seed_alone(system: MusicCascade) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    system.generate(request(1))

    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("seconds", [1.0, 1.013, 1.08, 1.16, 3.0, 30.0])
def test_the_length_is_exactly_what_was_asked(system: MusicCascade, seconds: float) -> None:
    made = system.generate(request(1, seconds))

    assert made.audio.waveform.shape == (1, round(seconds * 32_000))
    assert made.codes.shape[1] == int(np.ceil(seconds * 25))
    assert np.isfinite(made.audio.waveform).all()


def test_a_length_outside_the_card_is_refused(system: MusicCascade) -> None:
    with pytest.raises(InputError, match="music-flow makes"):
        system.generate(request(1, 0.5))


def test_the_plan_in_the_record_is_the_plan_that_was_played(system: MusicCascade) -> None:
    made = system.generate(request(4))

    assert to_json(from_tokens(made.plan_tokens.tolist())) == made.plan_json
    assert system.plan(request(4)) == from_tokens(made.plan_tokens.tolist())


def test_a_negative_prompt_changes_the_plan(system: MusicCascade) -> None:
    plain = [to_json(system.plan(request(seed))) for seed in range(4)]
    away = [
        to_json(system.plan(replace(request(seed), negative_prompt="loud drums, 170 bpm")))
        for seed in range(4)
    ]

    assert plain != away


def test_progress_runs_from_above_zero_to_one(system: MusicCascade) -> None:
    seen: list[float] = []
    system.generate(request(1), progress=seen.append)

    assert seen == [0.25, 0.5, 0.75, 1.0]


def test_the_first_stage_hears_the_plan_unless_it_is_dropped(system: MusicCascade) -> None:
    rows = torch.from_numpy(roll(compose(1), frames=16))
    told = system._conditions(request(1), rows)
    other = system._conditions(request(1), torch.from_numpy(roll(compose(2), frames=16)))
    x, time = torch.zeros(1, 8, MELS), torch.tensor([0.5])
    generator = debug_generator()

    assert not torch.equal(generator(x, time, told), generator(x, time, other))
    assert not torch.equal(generator(x, time, told), generator(x, time, told.unconditional()))
    assert torch.equal(
        generator(x, time, told.unconditional()), generator(x, time, other.unconditional())
    )


def test_the_second_stage_hears_the_plan_unless_it_is_dropped() -> None:
    unet = debug_unet()
    x, time, noise = torch.zeros(1, 16, 8), torch.tensor([0.5]), torch.tensor([0.2])
    out = {
        (seed, is_told): unet(
            x,
            time,
            unet.outline(
                torch.zeros(1, 8, MELS),
                torch.from_numpy(roll(compose(seed), frames=16))[None],
                torch.tensor([is_told]),
                noise=noise,
                dice=dice(1, "x"),
            ),
        )
        for seed in (1, 2)
        for is_told in (True, False)
    }

    assert not torch.equal(out[1, True], out[2, True])
    assert not torch.equal(out[1, True], out[1, False])
    assert torch.equal(out[1, False], out[2, False])


def test_the_second_stage_follows_the_first() -> None:
    rows = torch.zeros(40, ROLL_CHANNELS)
    first = details(torch.zeros(20, MELS), rows)
    second = details(torch.ones(20, MELS), rows)

    assert first.shape == (40, 8)
    assert not torch.allclose(first, second, atol=1e-3)


def test_a_longer_clip_starts_from_the_same_noise_and_far_frames_change_nothing() -> None:
    # One step: what a frame hears is then limited to the network's own reach.
    coarse = torch.randn(200, MELS, generator=torch.Generator().manual_seed(0))
    rows = torch.from_numpy(roll(compose(1), frames=400))
    long, short = details(coarse, rows), details(coarse[:100], rows[:200])

    assert torch.allclose(short[:150], long[:150], atol=1e-5)
    assert not torch.allclose(short[-1], long[199], atol=1e-5)


def test_noise_on_the_coarse_mel_keeps_its_deviation() -> None:
    clean = torch.randn(1, 400, MELS, generator=torch.Generator().manual_seed(0))
    noise, here = torch.tensor([0.6]), torch.ones(1, dtype=torch.bool)
    outline = debug_unet().outline(
        clean, torch.zeros(1, 800, ROLL_CHANNELS), here, noise=noise, dice=dice(1, "x")
    )
    kept = (outline.coarse * clean).mean()

    assert float(outline.coarse.std()) == pytest.approx(1.0, abs=0.02)
    assert float(kept) == pytest.approx(0.8, abs=0.02)


def test_a_coarse_frame_is_the_mean_of_four_mel_frames() -> None:
    mel = torch.arange(8.0)[None, :, None].expand(1, 8, MELS)

    assert coarsen(mel)[0, :, 0].tolist() == [1.5, 5.5]


def test_both_halves_of_a_coarse_frame_stand_side_by_side() -> None:
    rows = torch.arange(4.0)[None, :, None].expand(1, 4, ROLL_CHANNELS)
    paired = coarse_roll(rows)

    assert paired.shape == (1, 2, 2 * ROLL_CHANNELS)
    assert paired[0, :, 0].tolist() == [0.0, 2.0]
    assert paired[0, :, -1].tolist() == [1.0, 3.0]


def test_a_step_along_the_whole_flow_ends_where_the_network_says() -> None:
    x, end = torch.zeros(2, 3, 4), torch.ones(2, 3, 4)
    time = torch.tensor([0.0, 0.5])
    reached = x + (1 - time)[:, None, None] * toward(end, x, time)

    assert torch.allclose(reached, end)
    assert torch.isfinite(toward(end, x, torch.ones(2))).all()


def test_the_shipped_sizes_fit_into_four_megabytes_of_half_precision() -> None:
    numbers = sum(
        value.numel()
        for model in (Renderer(GENERATOR), UNet(UNetConfig()))
        for value in model.state_dict().values()
    )

    assert 2 * numbers < 4_000_000
