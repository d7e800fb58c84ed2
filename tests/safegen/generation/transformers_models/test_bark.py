"""Bark says what the library's Bark says, alone or in company, whole or part by part."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from safegen.errors import InputError
from safegen.generation.base import BatchGenerator, Request, StreamingGenerator, joined
from safegen.generation.public_families import Precision, module_of, recognize
from safegen.generation.stages import one_thread
from safegen.generation.transformers_models.bark import Bark, describe, load
from safegen.generation.transformers_models.loading import load_model, load_tokenizer, quiet
from tests.safegen.generation.tiny_bark import save_bark
from tests.safegen.generation.tiny_codecs import card_of

TEXT = "a calm piano song. a dog barks and the rain! happy voice with no low noise in the rock song"
"""Three sentences: the third is too long for a part of eight tokens."""


def loaded(folder: Path, precision: Precision = "float32") -> Bark:
    card = replace(card_of(folder), shortest_seconds=1.0, longest_seconds=300.0)
    return load(folder, card, device="cpu", precision=precision)


@pytest.fixture(autouse=True)
def one_thread_each() -> Iterator[None]:
    """Threads would wait for each other longer than these layers take."""
    with one_thread():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bark(tmp_path_factory.mktemp("bark") / "sampled")


@pytest.fixture(scope="module")
def bark(folder: Path) -> Bark:
    return loaded(folder)


def request(prompt: str = TEXT, *, seconds: float = 20.0, seed: int = 1) -> Request:
    return Request(prompt=prompt, seconds=seconds, seed=seed)


def by_the_library(folder: Path, prompts: list[str]) -> list[Any]:
    """Let the library say parts one after the other, each after the one before."""
    from transformers.models.bark import generation_configuration_bark

    library: Any = generation_configuration_bark
    model = load_model("BarkModel", folder, device="cpu", precision="float32")
    tokenizer = load_tokenizer(folder)
    told = json.loads((folder / "generation_config.json").read_text())
    semantic_config = library.BarkSemanticGenerationConfig(**told["semantic_config"])
    shared = {
        "semantic_generation_config": semantic_config,
        "coarse_generation_config": library.BarkCoarseGenerationConfig(
            **told["coarse_acoustics_config"]
        ),
        "codebook_size": told["codebook_size"],
    }
    history, said = None, []
    for prompt in prompts:
        ids = tokenizer(
            prompt,
            add_special_tokens=False,
            padding="max_length",
            max_length=8,
            return_tensors="pt",
        )
        with torch.inference_mode(), quiet():
            semantic = model.semantic.generate(
                ids["input_ids"],
                attention_mask=ids["attention_mask"],
                semantic_generation_config=semantic_config,
                history_prompt=history,
            )
            meaning = semantic[0][semantic[0] != semantic_config.eos_token_id]
            coarse = model.coarse_acoustics.generate(semantic, history_prompt=history, **shared)
            fine = model.fine_acoustics.generate(
                coarse,
                history_prompt=history,
                fine_generation_config=library.BarkFineGenerationConfig(
                    **told["fine_acoustics_config"]
                ),
                **shared,
            )
            sound = model.codec_decode(fine)
        said.append((fine[0], sound[0]))
        history = {
            "semantic_prompt": meaning,
            "coarse_prompt": fine[0][:2].long(),
            "fine_prompt": fine[0].long(),
        }
    return said


@pytest.mark.parametrize(
    ("says_much", "frames"), [(False, range(15, 48)), (True, range(90, 91))], ids=["ends", "is cut"]
)
def test_the_likeliest_is_what_the_library_says(
    tmp_path: Path, says_much: bool, frames: range
) -> None:
    folder = save_bark(tmp_path / "greedy", do_sample=False, says_much=says_much)

    mine = list(loaded(folder).stream(request("a calm piano song. a dog barks and the rain")))
    theirs = by_the_library(folder, ["a calm piano song.", "a dog barks and the rain"])

    assert len(mine) == len(theirs) == 2
    for piece, (codes, sound) in zip(mine, theirs, strict=True):
        assert np.array_equal(piece.codes, codes.numpy())
        assert np.abs(piece.audio.waveform[0] - sound.numpy()).max() < 1e-5
    assert mine[0].codes.shape[1] in frames
    assert len(np.unique(mine[0].codes)) > 8


def test_an_item_is_the_same_alone_and_in_a_batch_of_four(bark: Bark) -> None:
    requests = [
        request(seed=1),
        request("a dog barks", seed=2),
        request(seed=3, seconds=1.7),
        request("a piano piece. the rain and a dog. calm voice", seed=2**62),
    ]

    together = bark.generate_batch(requests)
    alone = [bark.generate(one) for one in requests]

    assert isinstance(bark, BatchGenerator)
    for a, b in zip(together, alone, strict=True):
        assert np.array_equal(a.codes, b.codes)
        assert np.array_equal(a.audio.waveform, b.audio.waveform)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_the_precision_speaks_and_company_changes_nothing(
    folder: Path, precision: Precision
) -> None:
    bark = loaded(folder, precision)
    requests = [request("a dog barks", seed=seed) for seed in (2, 3, 4)]

    together = bark.generate_batch(requests)

    for made, one in zip(together, requests, strict=True):
        assert np.array_equal(made.audio.waveform, bark.generate(one).audio.waveform)
        assert np.isfinite(made.audio.waveform).all()


def test_a_seed_says_the_same_again_and_another_one_something_else(bark: Bark) -> None:
    state = torch.get_rng_state()

    first, again, other = (bark.generate(request(seed=seed)) for seed in (5, 5, 6))

    assert np.array_equal(first.audio.waveform, again.audio.waveform)
    assert not np.array_equal(first.codes[:, :20], other.codes[:, :20])
    assert torch.equal(torch.get_rng_state(), state)


def test_parts_that_follow_each_other_are_the_whole(bark: Bark) -> None:
    told: list[float] = []

    pieces = list(bark.stream(request(), progress=told.append))
    whole = bark.generate(request())

    assert isinstance(bark, StreamingGenerator)
    assert len(pieces) == 4
    assert np.array_equal(joined(pieces).audio.waveform, whole.audio.waveform)
    assert np.array_equal(joined(pieces).codes, whole.codes)
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_the_length_is_the_most_that_is_said(bark: Bark) -> None:
    whole = bark.generate(request())
    cut = bark.generate(request(seconds=1.5))

    assert 1.5 < whole.audio.seconds < 20
    assert 1.3 < cut.audio.seconds <= 1.5
    assert whole.audio.sample_rate == 11_250
    assert cut.audio.waveform.shape == (1, cut.codes.shape[1] * 150)
    assert (cut.plan_json, cut.plan_tokens.size) == ("", 0)


def test_every_word_is_said_once(bark: Bark) -> None:
    parts = bark._parts(TEXT)

    assert [len(part) for part in parts] == [5, 7, 8, 2]
    assert [x for part in parts for x in part] == [
        x for sentence in TEXT.replace("!", "! ").split() for x in bark._ids(sentence)
    ]


def test_short_sentences_are_said_together(bark: Bark) -> None:
    assert len(bark._parts("a dog. a voice.")) == 1
    assert len(bark._parts("a dog. a voice. the rain and a voice")) == 2


def test_a_word_that_is_too_long_is_refused(bark: Bark, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bark, "_ids", lambda text: tuple(range(len(text))))

    with pytest.raises(InputError, match="a sentence of 9 tokens"):
        bark.generate(request("no pianissim"[3:]))


@pytest.mark.parametrize(
    "change",
    [
        {"melody": None, "seconds": 0.5},
        {"seconds": 301.0},
        {"seconds": float("nan")},
        {"prompt": " "},
        {"negative_prompt": "rain"},
    ],
    ids=str,
)
def test_what_it_cannot_do_is_refused_before_the_first_part(
    bark: Bark, change: dict[str, Any]
) -> None:
    wrong = replace(request(), **change)

    for ask in (bark.generate, bark.stream):
        with pytest.raises(InputError):
            ask(wrong)


def test_settings_are_described_without_the_library(folder: Path) -> None:
    told = describe(folder)

    assert module_of(recognize(folder)).describe is describe
    assert (told.sample_rate, told.channels, told.accepts) == (11_250, 1, ())
    assert "the most that is said" in told.limits
    assert "At most 1 s are said at once" in told.limits


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x["semantic_config"].update(semantic_rate_hz=0),
        lambda x: x["semantic_config"].update(temperature=-1),
        lambda x: x["semantic_config"].update(top_p=0),
        lambda x: x["coarse_acoustics_config"].update(sliding_window_len=7),
        lambda x: x["coarse_acoustics_config"].update(coarse_rate_hz="fast"),
        lambda x: x["fine_acoustics_config"].update(max_fine_history_length=64),
        lambda x: x.update(fine_acoustics_config=[1]),
    ],
)
def test_settings_that_cannot_be_followed_are_refused(
    folder: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    told = json.loads((folder / "generation_config.json").read_text())
    change(told)
    (tmp_path / "generation_config.json").write_text(json.dumps(told))
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())

    with pytest.raises(InputError, match="not a Bark's"):
        describe(tmp_path)
