"""Models of strangers are asked only if what they say is known."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detectors.errors import DetectorError
from detectors.synthetic import plugin_scores, plugins
from detectors.synthetic.plugin_scores import Scores, Sound
from detectors.synthetic.plugins import Crop, Description, open_model, parse_crop
from tests.detectors import plugin_models as models

WINDOWS = np.random.default_rng(0).normal(0.0, 0.1, (3, 64_000)).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.wav2vec2(tmp_path_factory.mktemp("models") / "tiny")


def test_a_wav2vec2_classifier_gives_the_log_odds_of_its_own_outputs(folder: Path) -> None:
    import torch
    from transformers import AutoModelForAudioClassification

    scores = open_model(models.described(folder), folder)(WINDOWS)
    model = AutoModelForAudioClassification.from_pretrained(folder)
    leveled = (WINDOWS - WINDOWS.mean(axis=1)[:, None]) / WINDOWS.std(axis=1)[:, None]
    with torch.inference_mode():
        outputs = model(torch.from_numpy(leveled)).logits.numpy()

    assert scores == pytest.approx(outputs[:, 0] - outputs[:, 1], abs=1e-4)
    assert scores.std() > 0


def test_the_label_map_and_not_the_order_of_outputs_says_what_is_synthetic(
    folder: Path, tmp_path: Path
) -> None:
    swapped = models.wav2vec2(tmp_path / "swapped", models.REAL_FIRST)

    ours = open_model(models.described(folder), folder)(WINDOWS)
    theirs = open_model(models.described(swapped), swapped)(WINDOWS)

    # The same weights, and the outputs mean the opposite.
    assert ours == pytest.approx(-theirs)


def test_a_spectrogram_transformer_with_labels_without_meaning_is_heard(tmp_path: Path) -> None:
    folder = models.ast(tmp_path / "ast")
    described = models.described(folder, synthetic=("LABEL_0",), real=("LABEL_1",))

    scores = open_model(described, folder)(WINDOWS)

    assert scores.shape == (3,)
    assert np.isfinite(scores).all()


def test_a_torch_module_is_given_the_length_that_its_crop_says(tmp_path: Path) -> None:
    folder = models.loudness(tmp_path)
    described = _loudness(folder, crop=Crop(rule="repeat", samples=64_600))

    scores = open_model(described, folder)(WINDOWS)

    assert scores == pytest.approx(np.sqrt((WINDOWS.astype(float) ** 2).mean(axis=1)), rel=0.01)


def test_one_output_that_means_real_counts_against_synthetic(tmp_path: Path) -> None:
    folder = models.loudness(tmp_path)

    synthetic = open_model(_loudness(folder), folder)(WINDOWS)
    real = open_model(_loudness(folder, synthetic=(), real=("0",)), folder)(WINDOWS)

    assert (synthetic > 0).all()
    assert real == pytest.approx(-synthetic)


def test_sound_is_brought_to_the_rate_of_the_model(tmp_path: Path) -> None:
    folder = models.loudness(tmp_path)
    tone = np.sin(2 * np.pi * 200 * np.arange(64_000) / 16_000).astype(np.float32)[None]

    for rate in (8_000, 22_050, 44_100):
        described = _loudness(folder, sample_rate=rate, crop=Crop(rule="center", samples=3 * rate))
        scores = open_model(described, folder)(tone)

        assert scores == pytest.approx([np.sqrt(0.5)], rel=0.01), rate


@pytest.mark.parametrize(
    ("crop", "shape", "first", "last"),
    [
        ("whole", (1, 1, 8), 0, 7),
        ("repeat:11", (1, 1, 11), 0, 2),
        ("pad:11", (1, 1, 11), 0, 0),
        ("center:4", (1, 1, 4), 2, 5),
        ("slide:4", (1, 3, 4), 0, 7),
        ("slide:8", (1, 1, 8), 0, 7),
    ],
)
def test_crops(crop: str, shape: tuple[int, ...], first: int, last: int) -> None:
    pieces = parse_crop(crop).pieces(np.arange(8, dtype=np.float32)[None])

    assert str(parse_crop(crop)) == crop
    assert pieces.shape == shape
    assert pieces.flatten()[[0, -1]].tolist() == [first, last]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no label map": ({"synthetic": (), "real": ()}, "no label map"),
    "only one side of two": ({"real": ()}, "neither synthetic nor real"),
    "both sides the same": ({"synthetic": ("fake",), "real": ("fake",)}, "named twice"),
    "everything on one side": ({"synthetic": ("fake", "real"), "real": ()}, "mean the same"),
    "a label in other letters": ({"synthetic": ("Fake",)}, "no label 'Fake'.*'fake', 'real'"),
    "a number for a name": ({"synthetic": ("0",), "real": ("1",)}, "no label '0'"),
    "another sample rate": ({"sample_rate": 8_000}, "extractor says 16000"),
    "an impossible rate": ({"sample_rate": 16}, "16 Hz"),
    "a crop that does not crop": ({"crop": Crop(rule="repeat", samples=100)}, "center or slide"),
    "a crop that cannot fill": ({"crop": Crop(rule="slide", samples=99_000)}, "repeat or pad"),
    "an endless crop": ({"crop": Crop(rule="pad", samples=10**9)}, "are possible"),
    "for no sound": ({"sounds": ()}, "for nothing"),
    "no license": ({"license": " "}, "license"),
    "code of its own": ({"code": "os:abort"}, "MODULE:FUNCTION"),
    "files of somebody else": ({"files": {"config.json": "0"}}, "not those"),
    "a path for a name": ({"name": "../x"}, "lower-case"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_description_is_refused(wrong: str, folder: Path) -> None:
    changes, said = WRONG[wrong]

    with pytest.raises(DetectorError, match=said):
        open_model(replace(models.described(folder), **changes), folder)


def test_weights_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    folder = models.loudness(tmp_path, float("nan"))

    with pytest.raises(DetectorError, match="weight holds a number that is not finite"):
        open_model(_loudness(folder), folder)


def test_an_answer_that_is_no_number_is_an_error_and_not_a_score(tmp_path: Path) -> None:
    folder = models.loudness(tmp_path, 3e38)

    logits = open_model(_loudness(folder), folder)

    with pytest.raises(DetectorError, match="not finite"):
        logits(WINDOWS * 1e6)


def test_a_pickle_is_never_read(tmp_path: Path) -> None:
    folder = models.wav2vec2(tmp_path / "old", safe=False)

    with pytest.raises(DetectorError, match=r"no .safetensors, only pytorch_model.bin"):
        plugins.hashes(folder)


def test_a_model_that_lacks_a_tensor_is_refused_and_not_filled_with_chance(
    tmp_path: Path,
) -> None:
    from safetensors.torch import load_file, save_file

    folder = models.wav2vec2(tmp_path / "cut")
    tensors = load_file(folder / "model.safetensors")
    del tensors["classifier.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})

    with pytest.raises(DetectorError, match=r"1 of its tensors are missing, e.g. classifier"):
        open_model(models.described(folder), folder)


def test_changed_weights_are_refused(tmp_path: Path) -> None:
    folder = models.loudness(tmp_path)
    described = _loudness(folder)
    models.loudness(tmp_path, 2.0)

    with pytest.raises(DetectorError, match="not those that it was added with"):
        open_model(described, folder)


@pytest.mark.parametrize("word", ["auto_map", "quantization_config"])
def test_settings_that_ask_for_code_are_refused(word: str, tmp_path: Path) -> None:
    folder = models.wav2vec2(tmp_path / "code")
    settings = json.loads((folder / "config.json").read_text())
    reference = {word: {"AutoModelForAudioClassification": "evil.Model"}}
    (folder / "config.json").write_text(json.dumps(settings | reference))

    with pytest.raises(DetectorError, match=f"asks for code .*{word}"):
        open_model(models.described(folder), folder)


def test_code_that_is_not_installed_is_named(tmp_path: Path) -> None:
    with pytest.raises(DetectorError, match=r"module no_such.module is not installed"):
        plugins.hashes(models.loudness(tmp_path), "no_such.module:build")


def test_what_goes_wrong_inside_a_module_names_the_plug_in(tmp_path: Path) -> None:
    folder = models.loudness(tmp_path)
    described = _loudness(folder, code="tests.detectors.plugin_models:described")

    with pytest.raises(DetectorError, match=r"plug-in tiny: .*missing 1 required"):
        open_model(described, folder)


def test_a_description_survives_its_file(folder: Path) -> None:
    described = models.described(folder, crop=Crop(rule="slide", samples=16_000))
    text = json.dumps(described.to_json())

    assert plugins.parse(json.loads(text)) == described


@pytest.mark.parametrize("left_out", ["synthetic", "real", "sample_rate", "crop", "license"])
def test_a_description_that_leaves_something_to_guess_is_refused(
    left_out: str, folder: Path
) -> None:
    facts = models.described(folder).to_json()
    del facts[left_out]

    with pytest.raises(DetectorError, match=f"lacks '{left_out}'"):
        plugins.parse(facts)


def _sounds(count: int, *, synthetic: bool, speech: bool = True) -> list[Sound]:
    dice = np.random.default_rng([count, synthetic, speech])
    return [
        Sound(
            sha256=f"{synthetic}-{speech}-{n}",
            source=f"source {n % 6}",
            synthetic=synthetic,
            speech=speech,
            seconds=8.0,
            scores=tuple(dice.normal(3.0 * synthetic, 1.0, 3).tolist()),
        )
        for n in range(count)
    ]


def _scores(described: Description, *sounds: Sound) -> bytes:
    made = Scores(plugin=described.digest, made="2026-11-21", how="a test", sounds=sounds)
    return made.to_bytes()


def test_a_calibrated_plug_in_is_a_model_with_a_yardstick_for_each_length(folder: Path) -> None:
    described = models.described(folder)
    data = _scores(described, *_sounds(40, synthetic=False), *_sounds(20, synthetic=True))

    model = plugin_scores.model_of(described, folder, data)

    assert model.speech is not None
    assert [y.seconds for y in model.speech.yardsticks] == [4.0, 8.0]
    assert model.speech.at(30.0).llr(4.0) > 1.0
    # No music was heard, so it does not judge any.
    assert model.music is None
    assert model.logits(WINDOWS).shape == (3,)


@pytest.mark.parametrize(
    ("real", "synthetic", "said"),
    [(29, 0, "too few"), (0, 40, "too few")],
    ids=["few real", "no real"],
)
def test_a_plug_in_with_too_few_sounds_is_refused(
    real: int, synthetic: int, said: str, folder: Path
) -> None:
    described = models.described(folder)
    sounds = (*_sounds(real, synthetic=False), *_sounds(synthetic, synthetic=True))

    with pytest.raises(DetectorError, match=said):
        plugin_scores.model_of(described, folder, _scores(described, *sounds))


def test_a_few_synthetic_sounds_are_not_used(folder: Path) -> None:
    described = models.described(folder)
    sounds = (*_sounds(40, synthetic=False), *_sounds(9, synthetic=True))

    model = plugin_scores.model_of(described, folder, _scores(described, *sounds))

    assert model.speech is not None
    assert {y.slope for y in model.speech.yardsticks} == {0.0}


def test_a_plug_in_without_a_calibration_is_refused(folder: Path) -> None:
    with pytest.raises(DetectorError, match="not calibrated"):
        plugin_scores.model_of(models.described(folder), folder, None)


def test_a_calibration_with_the_labels_the_other_way_round_is_refused(folder: Path) -> None:
    described = models.described(folder)
    swapped = replace(described, synthetic=described.real, real=described.synthetic)
    data = _scores(swapped, *_sounds(40, synthetic=False))

    with pytest.raises(DetectorError, match="of another model or label map"):
        plugin_scores.model_of(described, folder, data)


def test_a_damaged_calibration_is_refused(folder: Path) -> None:
    data = _scores(models.described(folder), *_sounds(40, synthetic=False))

    for broken in (data[:-9], b"[]", data.replace(b'"scores": [', b'"scores": [1e999, ', 1)):
        with pytest.raises(DetectorError):
            plugin_scores.parse(broken)


def test_the_score_of_a_length_is_that_of_the_middle_of_a_file() -> None:
    sound = replace(
        _sounds(1, synthetic=False)[0], seconds=20.0, scores=tuple(map(float, range(9)))
    )

    assert sound.score(4.0) == 4.0
    assert sound.score(8.0) == pytest.approx(np.mean([3, 4, 5]))
    assert sound.score(20.0) == pytest.approx(4.0)
    assert replace(sound, seconds=7.9).score(8.0) is None


def _loudness(folder: Path, **changes: Any) -> Description:
    usual: dict[str, Any] = {
        "kind": plugins.TORCH,
        "code": models.CODE,
        "synthetic": ("0",),
        "real": (),
    }
    return models.described(folder, **(usual | changes))
