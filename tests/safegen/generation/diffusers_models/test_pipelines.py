"""Stable Audio, Stable Audio 3, ACE-Step and AudioLDM 2: tiny models of the real classes.

Importing diffusers costs seconds, so everything that needs it is tested in this file.
"""

import importlib
import json
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from safegen.audio import Audio
from safegen.errors import InputError, SafegenError
from safegen.evaluation.public_bench.stable_audio_3 import save_stable_audio_3
from safegen.generation.base import BatchGenerator, Generation, Request, Span
from safegen.generation.diffusers_models import (
    ace_step,
    audioldm2,
    loading,
    running,
    stable_audio,
    stable_audio_3,
)
from safegen.generation.diffusers_models.running import Diffuser
from safegen.generation.model_card import ModelCard
from safegen.generation.public_families import module_of, recognize
from safegen.generation.stages import dice
from tests.safegen.generation import tiny_diffusion
from tests.safegen.generation.tiny_diffusion import SAMPLE_RATE

ROOT = Path(__file__).resolve().parents[4]
STEPS = 3
EDGE = round(running.EDGE_SECONDS * SAMPLE_RATE)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A family with a tiny checkpoint."""

    save: Callable[[Path], Path]
    key: str
    seconds: float
    longest: float
    channels: int
    accepts: tuple[str, ...]


KINDS = {
    "Stable Audio Open": Kind(
        save=tiny_diffusion.save_stable_audio,
        key="stable-audio",
        seconds=1.5,
        longest=4.096,
        channels=2,
        accepts=("negative_prompt", "source"),
    ),
    "Stable Audio 3": Kind(
        save=save_stable_audio_3,
        key="stable-audio-3",
        seconds=2.0001,
        longest=8.0,
        channels=2,
        accepts=("continue_from", "source", "inpaint"),
    ),
    "Stable Audio 3 base": Kind(
        save=lambda folder: save_stable_audio_3(folder, distilled=False),
        key="stable-audio-3",
        seconds=2.0,
        longest=8.0,
        channels=2,
        accepts=("negative_prompt", "continue_from", "source", "inpaint"),
    ),
    "ACE-Step": Kind(
        save=tiny_diffusion.save_ace_step,
        key="ace-step",
        seconds=10.0,
        longest=600.0,
        channels=2,
        accepts=(),
    ),
    "ACE-Step base": Kind(
        save=lambda folder: tiny_diffusion.save_ace_step(folder, turbo=False),
        key="ace-step",
        seconds=10.0,
        longest=600.0,
        channels=2,
        accepts=(),
    ),
    "AudioLDM 2": Kind(
        save=tiny_diffusion.save_audioldm2,
        key="audioldm2",
        seconds=1.2345,
        longest=2.048,
        channels=1,
        accepts=("negative_prompt",),
    ),
}


class Zoo:
    """Checkpoints and their generators, each made once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loaded: dict[str, Diffuser] = {}

    def folder(self, name: str) -> Path:
        found = self._folder / name
        return found if found.exists() else KINDS[name].save(found)

    def __call__(self, name: str) -> Diffuser:
        if name not in self._loaded:
            folder = self.folder(name)
            module = module_of(recognize(folder))
            self._loaded[name] = module.load(
                folder, card_of(folder), device="cpu", precision="float32"
            )
        return self._loaded[name]


def card_of(folder: Path) -> ModelCard:
    found = module_of(recognize(folder)).describe(folder)
    return ModelCard(
        name=folder.name,
        version="1",
        summary=found.summary,
        license="none",
        sample_rate=found.sample_rate,
        shortest_seconds=found.shortest_seconds,
        longest_seconds=found.longest_seconds,
        parameters=0,
        files=(),
        recipes=(),
        training_data="noise",
        limits=found.limits,
        mark="",
        accepts=found.accepts,
    )


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    return Zoo(tmp_path_factory.mktemp("pipelines"))


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three steps instead of up to two hundred."""
    for module, names in {
        stable_audio: ("STEPS",),
        stable_audio_3: ("STEPS", "STEPS_OF_BASE"),
        ace_step: ("STEPS", "STEPS_OF_TURBO"),
        audioldm2: ("STEPS",),
    }.items():
        for name in names:
            monkeypatch.setattr(module, name, STEPS)


def asked(name: str, **changes: Any) -> Request:
    """Ask for a sound of the family's length; seed and prompt may be changed."""
    return replace(Request(prompt="calm piano", seconds=KINDS[name].seconds, seed=7), **changes)


def tone(seconds: float, *, sample_rate: int = SAMPLE_RATE) -> Audio:
    """Let a tone swell, so that every moment of it is another one."""
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    wave = 0.6 * (time / seconds) * np.sin(2 * np.pi * 220 * time)
    return Audio(waveform=wave[None].astype(np.float32), sample_rate=sample_rate)


def heard(made: Generation) -> np.ndarray[Any, Any]:
    return made.audio.waveform


@pytest.mark.parametrize("name", KINDS)
def test_a_folder_says_what_its_model_makes(zoo: Zoo, name: str) -> None:
    folder, kind = zoo.folder(name), KINDS[name]
    family = recognize(folder)
    found = module_of(family).describe(folder)

    assert family.key == kind.key
    assert found.sample_rate == SAMPLE_RATE
    assert found.channels == kind.channels
    assert found.longest_seconds == pytest.approx(kind.longest)
    assert found.accepts == kind.accepts


@pytest.mark.parametrize("name", KINDS)
def test_a_request_gives_exactly_the_asked_samples_and_the_same_bits_twice(
    zoo: Zoo, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    shares: list[float] = []
    first = zoo(name).generate(asked(name), progress=shares.append)
    again = zoo(name).generate(asked(name))

    samples = round(KINDS[name].seconds * SAMPLE_RATE)
    assert heard(first).shape == (KINDS[name].channels, samples)
    assert heard(first).dtype == np.float32
    assert first.audio.sample_rate == SAMPLE_RATE
    assert np.array_equal(heard(first), heard(again))
    assert shares == sorted(shares)
    assert len(shares) == STEPS
    assert shares[-1] == 1.0
    assert (first.plan_json, first.plan_tokens.shape, first.codes.shape) == ("", (0,), (0, 0))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", KINDS)
def test_an_item_has_the_same_bits_alone_and_in_a_batch_of_four(zoo: Zoo, name: str) -> None:
    wanted = [
        asked(name, prompt="loud rock guitar with drums", seed=1),
        asked(name),
        asked(name, seed=2, seconds=KINDS[name].seconds * 1.1),
        asked(name, seed=3),
    ]
    made = zoo(name).generate_batch(wanted)

    assert isinstance(zoo(name), BatchGenerator)
    assert np.array_equal(heard(made[1]), heard(zoo(name).generate(wanted[1])))
    assert np.array_equal(heard(made[2]), heard(zoo(name).generate(wanted[2])))
    assert not np.array_equal(heard(made[1]), heard(made[3]))


@pytest.mark.parametrize("name", KINDS)
def test_items_made_together_differ_from_alone_only_in_rounding(
    zoo: Zoo, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = [
        asked(name, seed=seed, prompt=prompt)
        for seed, prompt in enumerate(
            ("calm piano", "loud guitar", "calm piano", "fast drums and loud guitar")
        )
    ]
    alone = [zoo(name).generate(wanted[place]) for place in (0, 2)]
    groups: list[list[int]] = []
    inner = zoo(name)._groups

    def together(requests: Any) -> list[list[int]]:
        with monkeypatch.context() as patch:
            patch.setattr(zoo(name), "device", "cuda")
            groups.extend(inner(requests))
        return groups

    monkeypatch.setattr(zoo(name), "_groups", together)
    made = zoo(name).generate_batch(wanted)

    assert max(map(len, groups)) > 1
    for one, other in zip((made[0], made[2]), alone, strict=True):
        assert np.allclose(heard(one), heard(other), atol=1e-4)


@pytest.mark.parametrize("name", KINDS)
def test_the_global_generator_neither_matters_nor_moves(zoo: Zoo, name: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        before = torch.get_rng_state()
        first = zoo(name).generate(asked(name))
        after = torch.get_rng_state()
        torch.manual_seed(2)
        second = zoo(name).generate(asked(name))

    assert torch.equal(before, after)
    assert np.array_equal(heard(first), heard(second))


def test_two_threads_do_not_disturb_each_other(zoo: Zoo) -> None:
    wanted = [asked("Stable Audio 3", seed=seed) for seed in (1, 2)]
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(zoo("Stable Audio 3").generate, wanted))

    for request, one in zip(wanted, made, strict=True):
        assert np.array_equal(heard(one), heard(zoo("Stable Audio 3").generate(request)))


@pytest.mark.parametrize("name", KINDS)
def test_seed_and_prompt_are_heard(zoo: Zoo, name: str) -> None:
    found = heard(zoo(name).generate(asked(name)))

    assert np.abs(found - heard(zoo(name).generate(asked(name, seed=8)))).max() > 1e-3
    other = heard(zoo(name).generate(asked(name, prompt="loud guitar rock")))
    assert not np.array_equal(found, other)


@pytest.mark.parametrize("name", [x for x, y in KINDS.items() if "negative_prompt" in y.accepts])
def test_a_negative_prompt_is_heard(zoo: Zoo, name: str) -> None:
    plain = heard(zoo(name).generate(asked(name)))
    steered = heard(zoo(name).generate(asked(name, negative_prompt="noise")))

    assert not np.array_equal(plain, steered)


@pytest.mark.parametrize(
    ("prompt", "tags", "lyrics"),
    [
        ("calm piano", "calm piano", "[Instrumental]"),
        ("pop,\nfast\n[verse]\nrain\n[chorus]\ndog", "pop,\nfast", "[verse]\nrain\n[chorus]\ndog"),
        ("  [intro]\nrain", "", "[intro]\nrain"),
        ("rock [live]", "rock [live]", "[Instrumental]"),
    ],
)
def test_lyrics_begin_with_the_first_line_in_brackets(prompt: str, tags: str, lyrics: str) -> None:
    assert (ace_step.tags(prompt), ace_step.lyrics(prompt)) == (tags, lyrics)


def test_lyrics_are_heard(zoo: Zoo) -> None:
    plain = heard(zoo("ACE-Step").generate(asked("ACE-Step")))
    sung = heard(zoo("ACE-Step").generate(asked("ACE-Step", prompt="calm piano\n[verse]\nthe dog")))

    assert not np.array_equal(plain, sung)


@pytest.mark.parametrize("name", ["Stable Audio 3", "ACE-Step", "AudioLDM 2"])
def test_half_precision_makes_the_same_lengths(zoo: Zoo, name: str) -> None:
    folder = zoo.folder(name)
    model = module_of(recognize(folder)).load(
        folder, card_of(folder), device="cpu", precision="bfloat16"
    )
    made = heard(model.generate(asked(name)))

    assert made.shape == heard(zoo(name).generate(asked(name))).shape
    assert np.isfinite(made).all()


@pytest.mark.parametrize("name", ["Stable Audio Open", "Stable Audio 3", "Stable Audio 3 base"])
def test_a_small_strength_changes_a_source_less_than_a_large_one(zoo: Zoo, name: str) -> None:
    source = tone(2.5, sample_rate=16_000)  # neither the model's rate nor its channels
    same = told_again(zoo(name), source, samples=round(KINDS[name].seconds * SAMPLE_RATE))

    def change(strength: float) -> float:
        made = zoo(name).generate(asked(name, source=source, strength=strength))
        return float(np.abs(heard(made) - same)[:, :-EDGE].mean())

    assert change(0.02) < 0.6 * change(1.0)
    assert change(0.02) == change(0.02)


def told_again(model: Diffuser, source: Audio, *, samples: int) -> np.ndarray[Any, Any]:
    """Let a model's autoencoder code a sound and decode it."""
    vae = model.pipeline.vae
    with torch.inference_mode():
        like = torch.empty(2, 32_768)
        coded = vae.encode(running.fitted([source], like, sample_rate=SAMPLE_RATE))
        latents = coded.latents if hasattr(coded, "latents") else coded.latent_dist.mean
        made: np.ndarray[Any, Any] = vae.decode(latents).sample[0, :, :samples].numpy()
    return made / max(1.0, float(np.abs(made).max()))


def test_inpainting_keeps_the_rest_bit_for_bit(zoo: Zoo) -> None:
    source = tone(2.0)
    request = asked(
        "Stable Audio 3",
        seconds=2.0,
        source=source,
        inpaint=(Span(start_seconds=0.5, end_seconds=1.0),),
    )
    made = heard(zoo("Stable Audio 3").generate(request))
    first, last = SAMPLE_RATE // 2, SAMPLE_RATE

    kept = np.repeat(source.waveform, 2, axis=0)
    assert np.array_equal(made[:, : first - EDGE], kept[:, : first - EDGE])
    assert np.array_equal(made[:, last + EDGE : -EDGE], kept[:, last + EDGE : -EDGE])
    assert np.abs(made - kept)[:, first:last].mean() > 1e-3


@pytest.mark.parametrize("field", ["continue_from", "source"])
def test_a_sound_goes_on_after_its_end(zoo: Zoo, field: str) -> None:
    beginning = tone(1.0)
    request = asked("Stable Audio 3", seconds=3.0, **{field: beginning})
    made = heard(zoo("Stable Audio 3").generate(request))

    assert made.shape == (2, 3 * SAMPLE_RATE)
    assert np.array_equal(made[1, : SAMPLE_RATE - EDGE], beginning.waveform[0, :-EDGE])
    assert np.abs(made[:, SAMPLE_RATE:-EDGE]).min(axis=0).max() > 0.0


@pytest.mark.parametrize(
    ("name", "changes", "problem"),
    [
        ("Stable Audio Open", {"prompt": "piano " * 20}, r"21 tokens, .* reads 16"),
        ("Stable Audio Open", {"seconds": 4.2}, r"4\.2 s is outside the limits"),
        ("Stable Audio 3", {"negative_prompt": "noise"}, "takes no negative prompt"),
        ("Stable Audio 3", {"seconds": 9.0}, "9 s is outside the limits"),
        (
            "Stable Audio 3",
            {
                "source": tone(1.0),
                "strength": 0.5,
                "seconds": 1.0,
                "inpaint": (Span(start_seconds=0, end_seconds=0.5),),
            },
            "strength of 0.5 and stretches",
        ),
        (
            "Stable Audio 3 base",
            {"source": tone(1.0), "seconds": 1.0, "negative_prompt": "noise"},
            "negative prompt and a sound",
        ),
        ("ACE-Step", {"seconds": 9.0}, "9 s is outside the limits"),
        ("ACE-Step", {"prompt": "piano " * 300}, r"tokens, .* reads 256"),
        ("ACE-Step", {"prompt": "[verse]" + "a." * 1500}, r"tokens, .* reads 2048"),
        ("AudioLDM 2", {"prompt": "abcdefghij " * 5}, r"tokens, .* reads 48"),
        ("AudioLDM 2", {"source": tone(1.0)}, "takes no source"),
    ],
)
def test_what_a_pipeline_cannot_do_is_refused(
    zoo: Zoo, name: str, changes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InputError, match=problem):
        zoo(name).generate_batch([asked(name), asked(name, **changes)])


def test_the_steps_are_those_that_the_models_cards_recommend_and_our_page_tells(
    zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    found = {name: zoo(name).steps(asked(name)) for name in KINDS}

    assert found == {
        "Stable Audio Open": 200,
        "Stable Audio 3": 8,
        "Stable Audio 3 base": 100,
        "ACE-Step": 8,
        "ACE-Step base": 50,
        "AudioLDM 2": 200,
    }
    page = (ROOT / "docs" / "public-models.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+) \| (\d+) \| ([\d.]+|none) \|", page, re.MULTILINE)
    assert [int(steps) for _, steps, _ in rows] == list(found.values())
    assert [guidance for _, _, guidance in rows] == [
        f"{stable_audio.GUIDANCE:g}",
        "none",
        f"{stable_audio_3.GUIDANCE_OF_BASE:g}",
        "none",
        f"{ace_step.GUIDANCE:g}",
        f"{audioldm2.GUIDANCE:g}",
    ]
    assert f"{running.EDGE_SECONDS * 1000:g} ms" in page


def test_out_of_memory_names_the_size_that_would_fit(
    zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 900.00 GiB.")

    model = zoo("Stable Audio Open")
    monkeypatch.setattr(model, "make", full)
    with pytest.raises(
        SafegenError, match=r"out of memory: Stable Audio Open was making 1 x 1.5 s"
    ):
        model.generate(asked("Stable Audio Open"))


def test_numbers_that_overflow_are_an_error(zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    model = zoo("Stable Audio Open")
    monkeypatch.setattr(model, "make", lambda *_: torch.full((1, 2, 99_999), torch.nan))
    with pytest.raises(SafegenError, match="NaN or infinite in float32") as caught:
        model.generate(asked("Stable Audio Open"))

    assert "--precision float32" in caught.value.remedy


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("CosineDPMSolverMultistepScheduler", {}),
        ("FlowMatchEulerDiscreteScheduler", {"stochastic_sampling": True}),
        ("EulerAncestralDiscreteScheduler", {}),
        ("DDIMScheduler", {}),
    ],
)
def test_a_scheduler_draws_from_the_items_dice_though_its_pipeline_hands_none_on(
    name: str, settings: dict[str, Any]
) -> None:
    with loading.quiet():
        scheduler = getattr(loading.diffusers(), name)(**settings)

    def stepped(seeds: tuple[int, ...]) -> torch.Tensor:
        dices = [dice(seed, "diffusion") for seed in seeds]
        fresh = running.seeded(scheduler, dices)
        fresh.set_timesteps(4)
        x = torch.ones(len(seeds), 2, 3)
        for t in fresh.timesteps:
            x = fresh.step(0.5 * x, t, x).prev_sample
        return x

    with torch.random.fork_rng(), loading.quiet():
        before = torch.get_rng_state()
        alone, among = stepped((5,)), stepped((1, 5, 2))

        assert torch.equal(before, torch.get_rng_state())
    assert torch.allclose(alone[0], among[1])
    assert name == "DDIMScheduler" or not torch.allclose(among[0], among[1])


def broken_copy(zoo: Zoo, folder: Path) -> Path:
    return Path(shutil.copytree(zoo.folder("Stable Audio Open"), folder / "copy"))


def without_a_part(copy: Path) -> None:
    shutil.rmtree(copy / "vae")


def without_settings(copy: Path) -> None:
    (copy / "vae" / "config.json").unlink()


def without_weights(copy: Path) -> None:
    (copy / "transformer" / "diffusion_pytorch_model.safetensors").unlink()


def with_pickled_weights(copy: Path) -> None:
    path = copy / "transformer" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(path), path.with_suffix(".bin"))
    path.unlink()


def without_a_tensor(copy: Path) -> None:
    path = copy / "transformer" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    tensors.pop(sorted(tensors)[0])
    save_file(tensors, path)


def with_cut_weights(copy: Path) -> None:
    path = copy / "transformer" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def renamed(copy: Path, part: str, named: list[str]) -> None:
    path = copy / "model_index.json"
    index = json.loads(path.read_text())
    index[part] = named
    path.write_text(json.dumps(index))


def with_a_foreign_module(copy: Path) -> None:
    renamed(copy, "vae", ["antigravity", "AutoencoderOobleck"])


def with_a_class_that_is_no_model(copy: Path) -> None:
    renamed(copy, "vae", ["diffusers", "DiffusionPipeline"])


def with_a_missing_entry(copy: Path) -> None:
    path = copy / "model_index.json"
    index = json.loads(path.read_text())
    del index["projection_model"]
    path.write_text(json.dumps(index))


def with_a_scheduler_of_unseeded_noise(copy: Path) -> None:
    renamed(copy, "scheduler", ["diffusers", "KDPM2AncestralDiscreteScheduler"])


FAULTS: dict[Callable[[Path], None], str] = {
    without_a_part: "the folder of its part 'vae' is missing",
    without_settings: "AutoencoderOobleck cannot be read|config.json: cannot be read",
    without_weights: "StableAudioDiTModel cannot be read",
    with_pickled_weights: "StableAudioDiTModel cannot be read",
    without_a_tensor: "1 tensors of StableAudioDiTModel are missing",
    with_cut_weights: "StableAudioDiTModel cannot be read",
    with_a_foreign_module: "antigravity.AutoencoderOobleck, which is not read here",
    with_a_class_that_is_no_model: "DiffusionPipeline, which is not read here",
    with_a_missing_entry: "make no StableAudioPipeline",
    with_a_scheduler_of_unseeded_noise: "whose noise cannot be repeated here",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_broken_folder_is_refused_in_words(
    zoo: Zoo, tmp_path: Path, fault: Callable[[Path], None]
) -> None:
    copy = broken_copy(zoo, tmp_path)
    card = card_of(copy)
    fault(copy)
    with pytest.raises(InputError, match=FAULTS[fault]) as caught:
        stable_audio.load(copy, card, device="cpu", precision="float32")

    assert caught.value.remedy


@pytest.mark.parametrize("name", KINDS)
def test_settings_that_are_missing_are_named(zoo: Zoo, tmp_path: Path, name: str) -> None:
    copy = Path(shutil.copytree(zoo.folder(name), tmp_path / "copy"))
    module = module_of(recognize(copy))
    (copy / "vae" / "config.json").unlink()
    with pytest.raises(InputError, match=r"vae/config\.json: cannot be read as settings"):
        module.describe(copy)


@pytest.mark.parametrize(
    ("name", "file", "key", "value"),
    [
        ("Stable Audio Open", "vae/config.json", "sampling_rate", "loud"),
        ("Stable Audio Open", "vae/config.json", "downsampling_ratios", []),
        ("Stable Audio Open", "transformer/config.json", "sample_size", 0),
        ("Stable Audio Open", "projection_model/config.json", "max_value", None),
        ("Stable Audio 3", "duration_embedder/config.json", "max_val", float("nan")),
        ("ACE-Step", "vae/config.json", "audio_channels", True),
        ("AudioLDM 2", "vocoder/config.json", "upsample_rates", [8, 0.5]),
        ("AudioLDM 2", "unet/config.json", "sample_size", 1.5),
    ],
)
def test_settings_that_say_nothing_usable_are_named(
    zoo: Zoo, tmp_path: Path, name: str, file: str, key: str, value: object
) -> None:
    copy = Path(shutil.copytree(zoo.folder(name), tmp_path / "copy"))
    told = json.loads((copy / file).read_text())
    (copy / file).write_text(json.dumps(told | {key: value}))
    with pytest.raises(InputError, match=rf"{file}: {key} is ") as caught:
        card_of(copy)

    assert "safegen models pull" in caught.value.remedy


def test_without_diffusers_the_command_that_installs_it_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def missing(name: str) -> None:
        raise ImportError("No module named 'diffusers'", name=name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(SafegenError) as caught:
        loading.load_pipeline("StableAudioPipeline", tmp_path, device="cpu", precision="float32")

    assert "pip install 'safegen[diffusers]'" in caught.value.remedy


def test_the_layout_of_stable_audio_tools_is_told_from_others(tmp_path: Path) -> None:
    (tmp_path / "model_config.json").write_text('{"model_type": "diffusion_cond"}')
    with pytest.raises(InputError, match="layout of stable-audio-tools") as caught:
        recognize(tmp_path)

    assert "convert_stable_audio_3_to_diffusers.py" in caught.value.remedy
