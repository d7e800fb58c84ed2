"""The token model and its two samplers, on a tiny model with random weights."""

import dataclasses

import pytest
import torch

from safegen.generation.token_samplers import (
    DrawSettings,
    FillSettings,
    draw,
    sample_autoregressive,
    sample_masked,
)
from safegen.generation.tokens import (
    AUTOREGRESSIVE,
    MASKED,
    UNKNOWN,
    FrameConditions,
    TokenConfig,
    TokenModel,
    delayed,
    shifted,
)

CONFIG = TokenConfig(
    codebooks=3, codes=16, latent=8, text_width=12, width=32, layers=2, heads=2, reach=5
)


@pytest.fixture(scope="module")
def model() -> TokenModel:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        made = TokenModel(CONFIG, codebook=torch.randn(3, 16, 8))
        for parameter in made.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return made.eval().requires_grad_(False)


def conditions(frames: int, *, seed: int = 0) -> FrameConditions:
    noise = torch.Generator().manual_seed(seed)
    return FrameConditions.of(
        frames,
        roll=torch.rand(200, 390, generator=noise)[:frames],
        text=torch.randn(12, generator=noise),
    )


def test_the_roll_of_the_tests_has_as_many_columns_as_a_roll() -> None:
    from safegen.generation.rolls import ROLL_CHANNELS

    assert ROLL_CHANNELS == 390


def dice(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_delayed_codes_lag_one_frame_per_codebook_and_may_be_read_one_place_later() -> None:
    codes = torch.arange(12).reshape(1, 4, 3)

    laid = delayed(codes)

    assert laid[0, :, 0].tolist() == [0, 3, 6, 9]
    assert laid[0, :, 1].tolist() == [UNKNOWN, 1, 4, 7]
    assert laid[0, :, 2].tolist() == [UNKNOWN, UNKNOWN, 2, 5]
    assert shifted(laid)[0, :, 0].tolist() == [UNKNOWN, 0, 3, 6]


def test_frame_by_frame_the_model_says_what_it_says_about_the_whole(model: TokenModel) -> None:
    told = conditions(20)
    tokens = shifted(delayed(torch.randint(16, (1, 20, 3), generator=dice())))
    whole = model(tokens, told, task=AUTOREGRESSIVE)

    step = model.stepper(told, longest=20)
    inputs = model.read(tokens) + model.told(told)
    single = torch.stack([model.score(step(inputs[:, i])) for i in range(20)], dim=1)

    torch.testing.assert_close(single, whole, atol=1e-4, rtol=1e-4)


def test_only_the_masked_task_sees_what_comes_later(model: TokenModel) -> None:
    told = conditions(12)
    tokens = torch.randint(16, (1, 12, 3), generator=dice())
    other = tokens.clone()
    other[0, 11] = (other[0, 11] + 1) % 16

    for task, changed in ((AUTOREGRESSIVE, False), (MASKED, True)):
        before = model(tokens, told, task=task)[0, 9]
        after = model(other, told, task=task)[0, 9]

        assert bool((before != after).any()) is changed


@pytest.mark.parametrize("name", ["notes", "rhythm", "sounds", "text"])
def test_what_is_hidden_has_no_influence(model: TokenModel, name: str) -> None:
    tokens = torch.zeros(1, 6, 3, dtype=torch.long)
    hidden = torch.tensor([False])
    others = [n for n in ("notes", "rhythm", "sounds", "text") if n != name]
    first = conditions(6, seed=1)
    second = conditions(6, seed=2)
    told = {f"has_{n}": hidden for n in others}
    heard = [model(tokens, dataclasses.replace(x, **told), task=MASKED) for x in (first, second)]
    none = [model(tokens, x.unconditional(), task=MASKED) for x in (first, second)]

    assert not torch.equal(heard[0], heard[1])
    assert torch.equal(none[0], none[1])


def test_a_longer_clip_starts_with_the_shorter_one(model: TokenModel) -> None:
    settings = DrawSettings(temperature=1.0, top_k=16, guidance=2.0)
    short = sample_autoregressive(model, conditions(10), dice(), settings=settings)
    long = sample_autoregressive(model, conditions(25), dice(), settings=settings)
    other = sample_autoregressive(model, conditions(10), dice(2), settings=settings)

    # The last frames of the shorter clip close without the frames that would follow.
    assert torch.equal(short[:, :8], long[:, :8])
    assert not torch.equal(short, other)
    assert short.shape == (3, 10)
    assert int(short.min()) >= 0


def test_a_beginning_stays_and_what_follows_depends_on_it(model: TokenModel) -> None:
    settings = DrawSettings(temperature=1.0, top_k=16, guidance=1.0)
    first = torch.zeros(3, 6, dtype=torch.long)
    second = torch.full((3, 6), 9)

    made = [
        sample_autoregressive(model, conditions(16), dice(), settings=settings, prefix=p)
        for p in (first, second)
    ]

    assert torch.equal(made[0][:, :6], first)
    assert torch.equal(made[1][:, :6], second)
    assert not torch.equal(made[0][:, 6:], made[1][:, 6:])


def test_the_coarse_stage_draws_the_first_codebooks_only(model: TokenModel) -> None:
    made = sample_autoregressive(
        model, conditions(9), dice(), settings=DrawSettings(top_k=16), levels=2
    )

    assert made.shape == (2, 9)


def test_filling_keeps_what_is_known_and_leaves_nothing_open(model: TokenModel) -> None:
    known = torch.full((3, 14), UNKNOWN)
    known[:, 3:9] = 7
    settings = FillSettings(passes=(4, 2, 1), temperature=1.0, top_k=16, guidance=2.0)

    made = sample_masked(model, conditions(14), dice(), settings=settings, known=known)
    again = sample_masked(model, conditions(14), dice(), settings=settings, known=known)
    other = sample_masked(model, conditions(14), dice(3), settings=settings, known=known)

    assert (made[:, 3:9] == 7).all()
    assert int(made.min()) >= 0
    assert torch.equal(made, again)
    assert not torch.equal(made, other)


def test_guidance_moves_away_from_what_is_not_wanted(model: TokenModel) -> None:
    told = conditions(12)
    made = [
        sample_autoregressive(
            model,
            told,
            dice(),
            settings=DrawSettings(temperature=1.0, top_k=16, guidance=3.0),
            unwanted=unwanted,
        )
        for unwanted in (None, conditions(12, seed=9))
    ]

    assert not torch.equal(made[0], made[1])


def test_the_likeliest_token_is_drawn_when_only_one_may_be() -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0], [3.0, 2.0, 1.0]])

    drawn = draw(logits, torch.tensor([0.99, 0.0], dtype=torch.float64), 1.0, 1)

    assert drawn.tolist() == [1, 0]


def test_tokens_are_drawn_as_often_as_their_log_odds_say() -> None:
    logits = torch.tensor([0.7, 0.2, 0.1]).log().expand(3000, 3)
    luck = torch.rand(3000, generator=dice(), dtype=torch.float64)

    shares = draw(logits, luck, 1.0, 3).bincount(minlength=3) / 3000

    assert shares.tolist() == pytest.approx([0.7, 0.2, 0.1], abs=0.03)
