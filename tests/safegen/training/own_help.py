"""A folder of short sounds of one's own, and tiny networks that learn from them."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from safegen.audio import Audio, save, sha256_file
from safegen.generation.cards import ModelCard, WeightFile, card
from safegen.generation.renderer import Renderer
from safegen.generation.tokens import TokenModel
from safegen.generation.unet import UNet
from safegen.training.codec import CodecTraining
from safegen.training.own_captions import Captions, Row
from safegen.training.own_data import OwnData, gather
from safegen.training.own_rows import Base
from safegen.training.own_training import Wanted
from tests.safegen.conftest import tones
from tests.safegen.generation.debug_models import debug_planner, debug_renderer
from tests.safegen.generation.staged_models import CODEC, TOKENS, staged_codec
from tests.safegen.generation.test_cascade import TINY, UNET


def fill(folder: Path) -> Path:
    """Write three usable files and three that are not."""
    folder.mkdir()
    for seed, (name, seconds) in enumerate({"a": 12.0, "b": 10.5, "c": 6.0}.items(), 1):
        save(tones(seed, seconds=seconds), folder / f"{name}.wav")
    silence = np.zeros((1, 64_000), dtype=np.float32)
    save(Audio(waveform=silence, sample_rate=32_000), folder / "silent.wav")
    save(tones(5, seconds=0.5), folder / "short.wav")
    (folder / "torn.wav").write_bytes((folder / "a.wav").read_bytes()[:9000])
    return folder


def own_data(folder: Path) -> OwnData:
    """List all files of a folder, with two captions each."""
    rows = [
        Row(line=i, file=path.name, caption=text, license="", title="", rights_holder="")
        for i, path in enumerate(sorted(folder.iterdir()))
        for text in (f"tune {path.stem}", "a slow piano piece")
    ]
    captions = Captions(name="captions.csv", rows=tuple(rows), ignored=())
    return gather(folder, captions, license_="CC0-1.0", allow_unlicensed=False)


def tiny_base(folder: Path, *roles: str, from_scratch: bool = False) -> Base:
    """Build a row of tiny networks, its files written into a folder."""
    codec, planner = staged_codec(), debug_planner()
    models = {role: tiny(role) for role in roles}
    folder.mkdir(exist_ok=True)
    parts: dict[str, nn.Module] = {"codec": codec, "planner": planner, **models}
    files = []
    for role, model in parts.items():
        state = {k: v.contiguous() for k, v in model.state_dict().items()}
        save_file(state, folder / f"{role}.bin")
        digest = sha256_file(folder / f"{role}.bin")
        files.append(WeightFile(role=role, name=f"{role}.bin", sha256=digest))
    found: ModelCard = replace(card("music-flow"), files=tuple(files))
    return Base(
        card=found,
        folder=folder,
        codec=codec,
        planner=planner,
        reader=None,
        models=models,
        from_scratch=from_scratch,
    )


def tiny(role: str) -> nn.Module:
    """Build a tiny network for a role."""
    torch.manual_seed(7)
    if role == "renderer":
        return debug_renderer()
    if role == "generator":
        return Renderer(TINY)
    if role == "cascader":
        return UNet(UNET)
    if role == "codec":
        training = CodecTraining(CODEC)
        training.go_on_from(staged_codec())
        return training
    return TokenModel(TOKENS, codebook=staged_codec().quantizer.codebook)


def wanted(folder: Path, *, name: str = "mine", steps: int = 2) -> Wanted:
    """Ask for a few steps of two excerpts."""
    return Wanted(
        name=name,
        steps=steps,
        batch=2,
        folder=folder,
        command="safegen train music-flow --data data",
        today=date(2026, 11, 21),
    )
