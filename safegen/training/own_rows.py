"""Which rows can learn from own files, with which networks and how fast?

Training starts from the shipped weights, at a quarter of the recipe's learning rate, or
from random ones, which are told the scale of the items first.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from safegen.errors import InputError
from safegen.generation.cards import WEIGHTS, ModelCard, card, load_tensors
from safegen.generation.cascade import GENERATOR
from safegen.generation.codec import Codec, CodecConfig
from safegen.generation.parts import codec_of, planner_of
from safegen.generation.planner import Planner
from safegen.generation.renderer import Renderer, RendererConfig
from safegen.generation.scene_reader import SceneReader, load_scene_reader
from safegen.generation.tokens import TokenConfig, TokenModel
from safegen.generation.unet import UNet, UNetConfig
from safegen.training import cascade, codec, flow, own_learners, tokens
from safegen.training.loop import started_from
from safegen.training.own_items import OwnItems

FINE_TUNING: Final = 0.25
"""Share of a recipe's learning rate when training goes on from shipped weights."""
SEED: Final = 21
_TOKENS = ("tokens",)
TRAINED: Final = {
    "codec": ("codec",),
    "music-flow": ("renderer",),
    "music-cascade": ("generator", "cascader"),
    "music-ar": _TOKENS,
    "sfx-ar": _TOKENS,
    "sfx-masked": _TOKENS,
    "continue": _TOKENS,
    "music-joint": _TOKENS,
}
"""Row -> roles of its files that own data can train."""
RATES: Final = {
    "codec": codec.LEARNING_RATE,
    "renderer": flow.LEARNING_RATE,
    "generator": cascade.GENERATOR_LEARNING_RATE,
    "cascader": cascade.UNET_LEARNING_RATE,
    "tokens": tokens.LEARNING_RATE,
}

_PLANNED = (
    "The prompt reaches the trained part as one vector, which is what captions could teach, and "
    "by way of the score that the planner of {base}, not trained here, writes for it: tempo, "
    "key, drums and instruments, as far as the own sound follows a score."
)
_READ = (
    "Prompts are read by the reader of {base}, which knows the same sounds as before; captions "
    "that name none of them taught only what the files sound like."
)
_FOLLOWS: Final = {
    "codec": "It encodes and decodes, and follows no prompt.",
    "sfx-ar": _READ,
    "sfx-masked": _READ,
    "continue": "What is continued is heard by the transcriber of {base}. " + _PLANNED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A shipped row, ready to be trained.

    Attributes:
        card: Of the row.
        folder: Where its files are.
        codec: Names the sounds.
        planner: None for rows without.
        reader: None for rows without.
        models: Role -> network that is trained, in the order of training.
        from_scratch: Whether their weights are random.
    """

    card: ModelCard
    folder: Path
    codec: Codec
    planner: Planner | None
    reader: SceneReader | None
    models: dict[str, nn.Module]
    from_scratch: bool

    @property
    def keeps_mels(self) -> bool:
        """Whether log-mel frames of the items are needed."""
        return bool({"codec", "generator", "cascader"} & set(self.models))


def check_row(row: str) -> None:
    """Refuse a row that cannot learn from own files.

    Raises:
        InputError: If it has no network, or there is no such row.
    """
    card(row)
    if row not in TRAINED:
        raise InputError(
            f"{row} learns nothing, so it cannot learn from files",
            remedy=f"Choose one of: {', '.join(TRAINED)}.",
        )


def load_base(row: str, *, from_scratch: bool, folder: Path = WEIGHTS) -> Base:
    """Build a shipped row for training.

    Raises:
        InputError: If there is no such row, or it cannot learn from files.
        IntegrityError: If a weight file is not the one the card names.
    """
    check_row(row)
    found = card(row)
    roles = {file.role for file in found.files}
    heard = codec_of(found, folder=folder)
    with started_from(SEED):
        models = {role: _fresh(role, heard) for role in TRAINED[row]}
    if not from_scratch:
        for role, model in models.items():
            if isinstance(model, codec.CodecTraining):
                model.go_on_from(heard)
            else:
                model.load_state_dict(load_tensors(found.file(role), folder=folder))
    return Base(
        card=found,
        folder=folder,
        codec=heard,
        planner=planner_of(found, folder=folder) if "planner" in roles else None,
        reader=load_scene_reader(found.file("reader"), folder=folder)
        if "reader" in roles
        else None,
        models=models,
        from_scratch=from_scratch,
    )


def learning_rate(base: Base, role: str) -> float:
    """How fast a network learns."""
    return RATES[role] if base.from_scratch else FINE_TUNING * RATES[role]


def follows(row: str) -> str:
    """Say what in the sound of a row trained on own files follows the prompt."""
    return _FOLLOWS.get(row, _PLANNED).format(base=row)


def learner_of(
    base: Base, role: str, items: OwnItems, *, batch: int | None
) -> own_learners.Learner:
    """Put a network before its items.

    Raises:
        ValueError: If the row has no planner and the network needs one.
    """
    model, planner = base.models[role], base.planner
    sizes = {} if batch is None else {"batch": batch}
    if base.from_scratch:
        _scale(model, items)
    if isinstance(model, codec.CodecTraining):
        return own_learners.CodecLearner(model, items, is_started=not base.from_scratch, **sizes)
    if isinstance(model, TokenModel):
        return own_learners.TokenLearner(model, items, planner, base.reader, **sizes)
    if planner is None:
        msg = f"{base.card.name} has no planner, which {role} needs"
        raise ValueError(msg)
    if isinstance(model, UNet):
        return own_learners.DetailLearner(model, items, planner, **sizes)
    if isinstance(model, Renderer) and role == "generator":
        return own_learners.CoarseLearner(model, items, planner, **sizes)
    if isinstance(model, Renderer):
        return own_learners.RendererLearner(model, items, planner, **sizes)
    msg = f"nothing trains a {type(model).__name__}"
    raise ValueError(msg)


def _scale(model: nn.Module, items: OwnItems) -> None:
    """Tell a network with random weights mean and deviation of what it will see."""
    if isinstance(model, codec.CodecTraining):
        mels = own_learners.mels_of(items).astype(np.float32)
        model.codec.mean.copy_(torch.from_numpy(mels.mean(axis=(0, 1))))
        model.codec.scale.copy_(torch.tensor(mels.std()))
    elif isinstance(model, UNet):
        _measure(items.latents, model.mean, model.scale)
        _measure(own_learners.coarse_mels(items), model.coarse_mean, model.coarse_scale)
    elif isinstance(model, Renderer):
        coarse = model.config.latent != items.latents.shape[2]
        seen = own_learners.coarse_mels(items) if coarse else items.latents
        _measure(seen, model.mean, model.scale)


def _measure(rows: npt.NDArray[np.float16], mean: Tensor, scale: Tensor) -> None:
    """Write mean and deviation of rows of shape (n, t, d) into buffers of shape (d,)."""
    flat = rows.reshape(-1, rows.shape[2]).astype(np.float32)
    mean.copy_(torch.from_numpy(flat.mean(axis=0)))
    scale.copy_(torch.from_numpy(flat.std(axis=0)).clamp_min(1e-3))


def _fresh(role: str, heard: Codec) -> nn.Module:
    """Build the network of a role with random weights."""
    if role == "codec":
        return codec.CodecTraining(CodecConfig())
    if role == "renderer":
        return Renderer(RendererConfig())
    if role == "generator":
        return Renderer(GENERATOR)
    if role == "cascader":
        return UNet(UNetConfig())
    return TokenModel(TokenConfig(), codebook=heard.quantizer.codebook)
