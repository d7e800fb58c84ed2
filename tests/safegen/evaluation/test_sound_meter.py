from pathlib import Path

import numpy as np
import pytest
import torch

from safegen.audio import Audio
from safegen.errors import IntegrityError
from safegen.evaluation import sound_meter, sound_meter_fit
from safegen.evaluation.sound_meter import SoundMeter, load_meter, probabilities
from safegen.generation.codec import MELS
from safegen.generation.scenes import Scene, SoundLayer, render_scene
from safegen.generation.sounds import NAMES, SOUNDS
from safegen.training.scene_text import SCENE_SEEDS

PROCEDURAL = tuple(x.name for x in SOUNDS if x.source == "procedural")


def scene(*names: str, variant: int = 40_000, start_step: int = 0) -> Scene:
    return Scene(
        layers=tuple(
            SoundLayer(
                sound=name,
                level_db=0,
                rate="medium",
                start_step=start_step,
                end_step=0,
                variant=variant,
            )
            for name in names
        )
    )


def test_the_meter_knows_most_sounds_of_a_fresh_variant() -> None:
    # The published ceilings come from hundreds of scenes; this asks about each sound once.
    firsts = [
        next(iter(probabilities(render_scene(scene(name), seconds=5.0)))) for name in PROCEDURAL
    ]

    assert sum(a == b for a, b in zip(firsts, PROCEDURAL, strict=True)) >= 17


def test_a_gain_changes_nothing() -> None:
    audio = render_scene(scene("siren"), seconds=3.0)
    quiet = Audio(waveform=0.1 * audio.waveform, sample_rate=audio.sample_rate)

    assert probabilities(quiet) == pytest.approx(probabilities(audio), abs=1e-3)


def test_silence_is_judged_without_a_crash() -> None:
    silence = Audio(waveform=np.zeros((1, 64_000), dtype=np.float32), sample_rate=32_000)

    assert set(probabilities(silence)) == set(NAMES)


def test_weights_that_are_not_the_ones_named_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other.safetensors").write_bytes(b"12345678")
    monkeypatch.setattr(sound_meter, "WEIGHTS", tmp_path / "other.safetensors")
    load_meter.cache_clear()

    with pytest.raises(IntegrityError, match="expected"):
        load_meter()
    load_meter.cache_clear()


def test_the_weights_are_small() -> None:
    assert sound_meter.WEIGHTS.stat().st_size <= 200_000


def test_the_meter_learns_a_set_it_can_tell_apart(tmp_path: Path) -> None:
    dice = torch.Generator().manual_seed(0)
    present = torch.zeros(12, len(NAMES))
    present[torch.arange(12), torch.arange(12) % 3] = 1.0
    mels = torch.randn(12, 24, MELS, generator=dice) * 0.1 - 1.0
    for row in range(12):
        mels[row, :, 40 * (row % 3) : 40 * (row % 3) + 30] += 2.0
    items = sound_meter_fit.HeardScenes(mels=mels, sounds=present)
    losses = [p.loss for p in sound_meter_fit.fit(items, folder=tmp_path, steps=60, batch=8)]

    assert np.mean(losses[-10:]) < 0.2 * np.mean(losses[:5])
    assert (tmp_path / "sound-meter.safetensors").exists()


def test_only_what_is_heard_is_labeled() -> None:
    late = scene("rain", start_step=40)
    row = sound_meter_fit.labels(late, seconds=6.0)

    assert row.sum() == 0
    assert sound_meter_fit.labels(late, seconds=12.0)[NAMES.index("rain")] == 1


def test_the_meter_hears_no_scene_that_a_model_trains_on() -> None:
    assert not set(SCENE_SEEDS) & {*sound_meter_fit.SEEDS, *sound_meter_fit.CEILING_SEEDS}


def test_two_sounds_laid_over_each_other_are_both_labeled_and_louder() -> None:
    present = torch.eye(len(NAMES))[:2]
    items = sound_meter_fit.HeardScenes(mels=torch.zeros(2, 10, MELS), sounds=present)
    mels, labels = sound_meter_fit._batch(items, torch.Generator().manual_seed(1), 64)

    assert set(labels.sum(dim=1).tolist()) == {1.0, 2.0}
    assert mels.mean(dim=(1, 2))[labels.sum(dim=1) == 2].mean() > -0.25
    assert SoundMeter()(mels).shape == (64, len(NAMES))
