"""Tiny models of the real classes with random weights, saved as their authors would."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from detectors.synthetic import plugins
from detectors.synthetic.plugins import Crop, Description

FAKE_FIRST: Mapping[int, str] = {0: "fake", 1: "real"}
REAL_FIRST: Mapping[int, str] = {0: "real", 1: "fake"}


def wav2vec2(
    folder: Path, labels: Mapping[int, str] = FAKE_FIRST, *, safe: bool = True, rate: int = 16_000
) -> Path:
    """Save a wav2vec2 classifier that hears two convolutions' worth of sound."""
    from transformers import (
        Wav2Vec2Config,
        Wav2Vec2FeatureExtractor,
        Wav2Vec2ForSequenceClassification,
    )

    settings = Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(8, 8),
        conv_stride=(20, 16),
        conv_kernel=(20, 16),
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        classifier_proj_size=8,
        id2label=dict(labels),
        label2id={name: number for number, name in labels.items()},
    )
    torch.manual_seed(0)
    model: Any = Wav2Vec2ForSequenceClassification(settings)
    extractor: Any = Wav2Vec2FeatureExtractor
    return _saved(model, extractor(sampling_rate=rate), folder, safe=safe)


def ast(folder: Path) -> Path:
    """Save an audio spectrogram transformer of several labels that are not named."""
    from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification

    settings = ASTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_length=128,
        num_mel_bins=32,
        problem_type="multi_label_classification",
    )
    torch.manual_seed(0)
    model: Any = ASTForAudioClassification(settings)
    extractor: Any = ASTFeatureExtractor
    return _saved(model, extractor(num_mel_bins=32, max_length=128), folder, safe=True)


def described(folder: Path, **changes: Any) -> Description:
    """Describe a saved model as its author would have to."""
    usual = Description(
        name="tiny",
        kind=plugins.TRANSFORMERS,
        synthetic=("fake",),
        real=("real",),
        sample_rate=16_000,
        crop=Crop(rule="whole"),
        sounds=("speech", "music"),
        license="MIT",
        origin="a test",
        files=plugins.hashes(folder, str(changes.get("code", ""))),
        added="2026-11-21T00:00:00+00:00",
    )
    return replace(usual, **changes)


class Loudness(torch.nn.Module):
    """A module whose one output says how loud a sound is, times its only weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.lengths: list[int] = []

    def forward(self, sound: torch.Tensor) -> torch.Tensor:
        """Score sounds; shape (n, samples) to (n, 1)."""
        self.lengths.append(sound.shape[1])
        return sound.square().mean(dim=1, keepdim=True).sqrt() * self.weight


def build() -> torch.nn.Module:
    """Build what ``torch`` plug-ins of the tests name as their code."""
    return Loudness()


CODE = f"{__name__}:build"


def loudness(folder: Path, weight: float = 1.0) -> Path:
    """Save the weight of ``Loudness``."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file({"weight": torch.tensor([weight])}, folder / "loudness.safetensors")
    return folder


def _saved(model: Any, extractor: Any, folder: Path, *, safe: bool) -> Path:
    from transformers.utils import logging

    bars: Any = logging
    bars.disable_progress_bar()
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    if not safe:
        (folder / "model.safetensors").unlink()
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    return folder
