"""The recipes of the rows that draw tokens, a few steps on tiny models."""

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from safegen.audio import Audio
from safegen.cli.train import train
from safegen.errors import InputError
from safegen.generation.codec import CodecConfig
from safegen.generation.text import TextConfig, TextEncoder
from safegen.generation.tokens import TokenConfig
from safegen.training import sounds_decoder, token_items, tokens
from safegen.training.token_items import TokenItems
from tests.safegen.generation.staged_models import CODEC, staged_codec

TOKENS = TokenConfig(codes=16, latent=8, text_width=16, width=16, layers=1, heads=2, reach=8)
FRAMES = 24


def items(first: int, count: int) -> TokenItems:
    dice = np.random.default_rng(first)
    return TokenItems(
        seeds=range(first, first + count),
        codes=dice.integers(0, 16, (count, 4, 40)).astype(np.int16),
        melody=dice.integers(0, 12, (count, 40)).astype(np.uint8),
    )


def run(folder: Path, steps: int, *, total: int = 10) -> list[float]:
    torch.manual_seed(0)
    text = TextEncoder(TextConfig(embedding=8, width=16, layers=1, heads=2)).eval()
    source = tokens.Source(items(1_000_000, 5), items(3_000_000, 5), frames=FRAMES)
    progress = tokens.train(
        source,
        codebook=staged_codec().quantizer.codebook,
        text=text,
        folder=folder,
        steps=total,
        batch=3,
        config=TOKENS,
        save_every=1,
    )
    losses = []
    for step in progress:
        losses.append(step.loss)
        if step.step == steps:
            break
    return losses


def test_a_stopped_run_of_the_token_model_goes_on_as_if_it_was_not_stopped(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", 6)
    first = run(tmp_path / "parts", 3)
    second = run(tmp_path / "parts", 6)

    # The third step of the first part was done, not saved, when it was stopped.
    assert first == whole[:3]
    assert second[-3:] == whole[3:]


def test_the_token_model_learns_the_tokens_it_is_shown(tmp_path: Path) -> None:
    losses = run(tmp_path, 120, total=120)

    assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 0.15


def test_what_is_told_is_hidden_at_random_but_never_more_than_there_is() -> None:
    source = tokens.Source(items(1_000_000, 5), items(3_000_000, 5), frames=FRAMES)
    drawn = [source.draw(random.Random(i)) for i in range(200)]  # noqa: S311
    scenes = [x for x in drawn if x.scene is not None]
    music = [x for x in drawn if x.roll is not None]

    assert len(scenes) + len(music) == 200
    assert 60 < len(scenes) < 140
    assert all(x.prompt == "" and x.melody is None for x in scenes)
    assert 0 < sum(x.prompt == "" for x in music) < 40


def test_items_are_recorded_once_and_read_back_in_the_order_of_their_seeds(tmp_path: Path) -> None:
    codec = staged_codec()
    made: list[int] = []

    def sound_of(seed: int) -> Audio:
        made.append(seed)
        noise = np.random.default_rng(seed).normal(0, 0.1, 32_000).astype(np.float32)
        return Audio(waveform=noise[None], sample_rate=32_000)

    def record() -> Iterator[int]:
        return token_items.record(sound_of, codec, range(5, 9), folder=tmp_path)

    assert list(record())[-1] == 4
    assert list(record())[-1] == 4
    assert made == [5, 6, 7, 8]
    read = token_items.recorded(range(5, 9), folder=tmp_path)

    assert read.codes.shape == (4, CODEC.codebooks, 25)
    assert np.array_equal(read.codes[2], codec.encode(sound_of(7)))
    assert read.melody.shape == (4, 25)


def test_only_the_decoder_learns_what_sound_effects_look_like(tmp_path: Path) -> None:
    codec = staged_codec()
    before = {k: v.clone() for k, v in codec.state_dict().items()}
    dice = np.random.default_rng(1)
    mels = dice.normal(-1.0, 0.3, (4, 64, 160)).astype(np.float16)

    done = list(
        sounds_decoder.train(mels, codec=codec, folder=tmp_path, steps=60, batch=2, frames=16)
    )
    learned = load_file(tmp_path / "sounds-decoder.safetensors")
    after = codec.state_dict()

    assert done[-1].loss < done[0].loss - 0.05
    assert {name.split(".")[0] for name in learned} == set(sounds_decoder.DECODER)
    assert set(learned) < set(before)
    kept = [k for k in before if k.split(".")[0] not in sounds_decoder.DECODER]
    assert all(torch.equal(before[k], after[k]) for k in kept)


def test_mels_of_scenes_are_rendered_once(tmp_path: Path) -> None:
    path = tmp_path / "mels.npy"
    silence = Audio(waveform=np.zeros((1, 64_000), dtype=np.float32), sample_rate=32_000)

    first = list(sounds_decoder.render_mels(lambda _: silence, range(3), seconds=2.0, path=path))
    again = list(
        sounds_decoder.render_mels(lambda _: pytest.fail("again"), range(3), seconds=2.0, path=path)
    )

    assert first == [1, 2, 3]
    assert again == [3]
    assert np.load(path).shape == (3, 100, 160)


@pytest.mark.parametrize("recipe", ["tokens", "sounds-decoder", "sfx-manifest"])
def test_a_recipe_names_what_it_builds_on(recipe: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        CliRunner().invoke(
            train, [recipe, "--folder", str(tmp_path), "--quiet"], catch_exceptions=False
        )

    assert "Run `safegen" in refused.value.remedy
    assert not list(tmp_path.rglob("*.safetensors"))


def test_the_default_codec_of_the_tests_has_the_shape_of_the_real_one() -> None:
    assert CODEC.codebooks == CodecConfig().codebooks
