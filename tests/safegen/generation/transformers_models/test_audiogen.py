"""A converted AudioGen is the same model: every tensor finds its place, or nothing is written."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from safegen.audio import sha256_file
from safegen.errors import InputError, IntegrityError
from safegen.generation.base import Request
from safegen.generation.public_families import module_of, recognize
from safegen.generation.transformers_models.audiogen import convert
from safegen.generation.transformers_models.loading import load_model, load_tokenizer
from tests.safegen.generation.tiny_audiogen import (
    CODEC_SETTINGS,
    LM_SETTINGS,
    AudioGen,
    save,
    save_audiogen,
)
from tests.safegen.generation.tiny_codecs import card_of


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> AudioGen:
    return save_audiogen(tmp_path_factory.mktemp("audiogen"))


@pytest.fixture(scope="module")
def converted(published: AudioGen, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("converted") / "audiogen-tiny"
    convert(
        published.lm,
        published.compression,
        published.text_encoder,
        out,
        sha256=published.sha256,
    )
    return out


def loaded(folder: Path) -> Any:
    return load_model("MusicgenForConditionalGeneration", folder, device="cpu", precision="float32")


def test_the_language_model_gives_the_same_logits(published: AudioGen, converted: Path) -> None:
    model = loaded(converted)
    words = load_tokenizer(converted)(["a dog barks", "rain"], padding=True, return_tensors="pt")
    codes = torch.arange(2 * 4 * 6).reshape(8, 6) % 64
    with torch.inference_mode():
        mine = model(**words, decoder_input_ids=codes).logits
        theirs = published.model(**words, decoder_input_ids=codes).logits

    assert torch.equal(mine, theirs)
    assert mine.std() > 0.1


def test_the_codec_gives_the_same_codes_and_the_same_sound(
    published: AudioGen, converted: Path
) -> None:
    mine, theirs = loaded(converted).audio_encoder, published.model.audio_encoder
    sound = torch.randn(1, 1, 4000, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        codes = mine.encode(sound).audio_codes
        same_codes = theirs.encode(sound).audio_codes
        back, same_back = (x.decode(codes, [None]).audio_values for x in (mine, theirs))

    assert torch.equal(codes, same_codes)
    assert len(codes.unique()) > 6
    assert torch.equal(back, same_back)


def test_the_settings_are_those_of_the_published_ones(converted: Path) -> None:
    model = loaded(converted)
    wanted = model.generation_config

    assert model.config.audio_encoder.sampling_rate == 16_000
    assert model.config.audio_encoder.pad_mode == "constant"
    assert model.config.decoder.max_position_embeddings == 2 * 50 + 4
    assert (wanted.decoder_start_token_id, wanted.pad_token_id) == (64, 64)
    assert (wanted.guidance_scale, wanted.top_k, wanted.do_sample) == (3.0, 250, True)


def test_what_was_converted_makes_sound(converted: Path) -> None:
    module = module_of(recognize(converted))
    told = module.describe(converted)
    card = replace(card_of(converted), longest_seconds=told.longest_seconds)
    model = module.load(converted, card, device="cpu", precision="float32")

    made = model.generate(Request(prompt="a dog barks", seconds=1.0, seed=1))

    assert told.sample_rate == made.audio.sample_rate == 16_000
    assert told.longest_seconds == pytest.approx(2.0, abs=0.1)
    assert made.audio.waveform.shape == (1, 16_000)
    assert made.codes.shape == (4, 50)


def changed(
    published: AudioGen,
    folder: Path,
    *,
    lm: Callable[[dict[str, Any]], Any] = lambda _: None,
    codec: Callable[[dict[str, Any]], Any] = lambda _: None,
    lm_settings: str = LM_SETTINGS,
    codec_settings: str = CODEC_SETTINGS,
) -> None:
    """Convert other files than the published ones."""
    paths = []
    for path, change, settings in (
        (published.lm, lm, lm_settings),
        (published.compression, codec, codec_settings),
    ):
        state = torch.load(path, weights_only=True)["best_state"]
        change(state)
        paths.append(save(folder / path.name, state, settings))
    convert(
        paths[0],
        paths[1],
        published.text_encoder,
        folder / "out",
        sha256={path.name: sha256_file(path) for path in paths},
    )


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "a tensor is missing": (
        {"lm": lambda x: x.pop("transformer.layers.1.norm_cross.bias")},
        "transformer.layers.1.norm_cross.bias",
    ),
    "a tensor is left over": (
        {"lm": lambda x: x.update({"condition_provider.self_wav.x": torch.zeros(1)})},
        "condition_provider.self_wav.x",
    ),
    "a tensor of the codec is missing": (
        {"codec": lambda x: x.pop("decoder.model.3.convtr.convtr.weight_g")},
        "decoder.model.3.convtr.convtr.weight_g",
    ),
    "a tensor of the codec is left over": (
        {"codec": lambda x: x.update({"encoder.model.99.bias": torch.zeros(1)})},
        "encoder.model.99.bias",
    ),
    "a tensor has another shape": (
        {"lm": lambda x: x.update({"linears.3.weight": torch.zeros(64, 31)})},
        "linears.3.weight has shape",
    ),
    "no text is followed": (
        {"lm": lambda x: x.pop("condition_provider.conditioners.description.output_proj.weight")},
        "output_proj.weight",
    ),
    "the text encoder is another": (
        {
            "lm": lambda x: x.update(
                {
                    "condition_provider.conditioners.description.output_proj.weight": torch.zeros(
                        32, 1024
                    )
                }
            )
        },
        "t5-large",
    ),
    "the codebooks are not delayed": (
        {"lm_settings": LM_SETTINGS.replace("modeling: delay", "modeling: unroll")},
        "'unroll'",
    ),
    "the delays are a stereo model's": (
        {"lm_settings": LM_SETTINGS.replace("[0, 1, 2, 3]", "[0, 0, 1, 1]")},
        "[0, 0, 1, 1]",
    ),
    "the codec has other codebooks": (
        {"codec_settings": CODEC_SETTINGS.replace("bins: 64", "bins: 32")},
        "64",
    ),
    "the settings are no settings": ({"lm_settings": "[1, 2]"}, "xp.cfg"),
    "the settings are no YAML": ({"codec_settings": "a: [1"}, "xp.cfg"),
    "a setting stands for itself": (
        {"codec_settings": CODEC_SETTINGS.replace("channels: 1", "channels: ${channels}")},
        "stands for itself",
    ),
    "a count is missing": (
        {"lm_settings": LM_SETTINGS.replace("num_heads: 2", "")},
        "transformer_lm.num_heads",
    ),
}


@pytest.mark.parametrize(("change", "told"), BAD.values(), ids=BAD)
def test_what_does_not_fit_is_named_and_nothing_is_written(
    published: AudioGen, tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    with pytest.raises(InputError) as caught:
        changed(published, tmp_path, **change)

    assert told in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "compression_state_dict.bin",
        "state_dict.bin",
    ]


def test_a_file_of_another_hash_is_not_read(published: AudioGen, tmp_path: Path) -> None:
    with pytest.raises(IntegrityError):
        convert(
            published.lm,
            published.compression,
            published.text_encoder,
            tmp_path / "out",
            sha256={**published.sha256, "state_dict.bin": "0" * 64},
        )

    assert list(tmp_path.iterdir()) == []


def test_a_file_without_a_hash_is_not_read(published: AudioGen, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"compression_state_dict\.bin"):
        convert(
            published.lm,
            published.compression,
            published.text_encoder,
            tmp_path / "out",
            sha256={"state_dict.bin": published.sha256["state_dict.bin"]},
        )


def test_a_folder_that_exists_is_kept(published: AudioGen, converted: Path) -> None:
    before = sha256_file(converted / "model.safetensors")

    with pytest.raises(InputError, match="exists already"):
        convert(
            published.lm,
            published.compression,
            published.text_encoder,
            converted,
            sha256=published.sha256,
        )

    assert sha256_file(converted / "model.safetensors") == before
