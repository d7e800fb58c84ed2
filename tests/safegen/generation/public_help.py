"""Folders that look like public checkpoints, and a family that loads them without a library."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from safegen.audio import Audio
from safegen.generation import public_card, public_store
from safegen.generation.base import Generation, ModelFacts, Request
from safegen.generation.cards import ModelCard
from safegen.generation.public_families import Described, Device, Precision, settings
from safegen.generation.requests import check

RATE = 16_000


def tensors(seed: int = 0) -> dict[str, torch.Tensor]:
    """Make a few numbers."""
    made = torch.Generator().manual_seed(seed)
    return {name: torch.randn(3, 4, generator=made) for name in ("a", "b")}


def save_checkpoint(folder: Path, *, license_: str = "mit", seed: int = 0) -> Path:
    """Write what a MusicGen's folder looks like, with far too small weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "musicgen"}))
    (folder / "generation_config.json").write_text("{}")
    (folder / "tokenizer.json").write_text('{"words": ["rain"]}')
    save_file(tensors(seed), folder / "model.safetensors", metadata={"format": "pt"})
    head = f"---\nlicense: {license_}\ntags:\n- audio\n---\n" if license_ else ""
    (folder / "README.md").write_text(f"{head}# A model\n")
    return folder


def save_pipeline(folder: Path) -> Path:
    """Write what a Stable Audio's folder looks like, with shards and a component left out."""
    rows = {
        "_class_name": "StableAudioPipeline",
        "_diffusers_version": "0.42.1",
        "scheduler": ["diffusers", "CosineDPMSolverMultistepScheduler"],
        "text_encoder": ["transformers", "T5EncoderModel"],
        "tokenizer": ["transformers", "T5TokenizerFast"],
        "transformer": ["diffusers", "StableAudioDiTModel"],
        "audio_tokenizer": ["stable_audio", "StableAudioTokenizerModel"],
        "safety_checker": [None, None],
    }
    for name in ("audio_tokenizer", "scheduler", "text_encoder", "tokenizer", "transformer"):
        (folder / name).mkdir(parents=True)
    (folder / "model_index.json").write_text(json.dumps(rows))
    (folder / "scheduler" / "scheduler_config.json").write_text("{}")
    (folder / "tokenizer" / "spiece.model").write_bytes(b"pieces")
    for name in ("audio_tokenizer", "text_encoder", "transformer"):
        (folder / name / "config.json").write_text("{}")
    save_file(tensors(), folder / "audio_tokenizer" / "diffusion_pytorch_model.safetensors")
    save_file(tensors(), folder / "text_encoder" / "model.safetensors")
    shards = {}
    for number, (name, tensor) in enumerate(tensors().items(), 1):
        shards[name] = f"diffusion_pytorch_model-{number:05}-of-00002.safetensors"
        save_file({name: tensor}, folder / "transformer" / shards[name])
    index = folder / "transformer" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": shards}))
    return folder


@dataclass
class Noise:
    """Makes noise whose level is that of the weights' first number."""

    card: ModelCard
    level: float
    device: Device = "cpu"
    precision: Precision = "float32"

    @property
    def facts(self) -> ModelFacts:
        return self.card.facts

    def generate(
        self, request: Request, *, progress: Callable[[float], None] | None = None
    ) -> Generation:
        check(request, self.card)
        dice = np.random.default_rng(request.seed)
        sound = dice.normal(0, self.level, (1, round(request.seconds * RATE)))
        return Generation(
            audio=Audio(waveform=sound.astype(np.float32), sample_rate=RATE),
            plan_json="",
            plan_tokens=np.zeros(0, np.int64),
            codes=np.zeros((0, 0), np.int64),
        )


class NoiseFamily:
    """What a family's module offers."""

    def describe(self, folder: Path) -> Described:
        is_pipeline = (folder / "model_index.json").is_file()
        settings(folder / ("model_index.json" if is_pipeline else "config.json"))
        return Described(
            summary="Noise.",
            sample_rate=RATE,
            channels=1,
            shortest_seconds=1.0,
            longest_seconds=30.0,
            limits="Noise only.",
        )

    def load(self, folder: Path, card: ModelCard, *, device: Device, precision: Precision) -> Noise:
        from safetensors.torch import load_file

        first = load_file(folder / "model.safetensors")["a"][0, 0]
        level = 0.05 + 0.01 * abs(float(first))
        return Noise(card, level, device, precision)


@pytest.fixture
def noise_family(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every family be this one."""
    for module in (public_card, public_store):
        monkeypatch.setattr(module, "module_of", lambda _family: NoiseFamily())
