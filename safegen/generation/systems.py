"""Which system does a name stand for?

``load`` turns a name into a generator; ``safegen.generation.cards`` says which names
there are, ``safegen.generation.own`` which ones the users of an installation added. Each
system is a file that lists its stages.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

import torch

from safegen.errors import InputError
from safegen.generation import own, plugin_generators
from safegen.generation.base import Generator
from safegen.generation.cards import CARDS, DEFAULT_MODEL, WEIGHTS, ModelCard, card
from safegen.generation.cascade import load_music_cascade
from safegen.generation.codec import Codec
from safegen.generation.continuation import load_continuation
from safegen.generation.music_flow import load_music_flow
from safegen.generation.parts import codec_of
from safegen.generation.procedural import ProceduralGenerator
from safegen.generation.story import load_music_joint
from safegen.generation.token_rows import (
    SFX_AR,
    SFX_MASKED,
    load_music_tokens,
    load_sound_tokens,
)


def load(
    name: str = DEFAULT_MODEL, *, device: str = "auto", models: Path | None = None
) -> Generator:
    """Load a model by name; a second call gives the same object.

    Args:
        name: Of a card.
        device: "cpu", "cuda" for the renderer on a GPU, or "auto". The shipped model
            is so small that "auto" means the CPU, whose bits are reproducible.
        models: Folder of own models (``Config.models``); None knows shipped models only.

    Raises:
        InputError: If no model has this name, or there is no such device.
        IntegrityError: If a weight file is not the one the card names.
    """
    mine = own.find(name, models=models)
    if mine is None and all(name != shipped.name for shipped in CARDS):
        where = "cuda" if device == "cuda" else "cpu"
        added = plugin_generators.find(name, device=where, models=models)
        if added is not None:
            return added
    found = card(name) if mine is None else mine.card
    row, folder = (name, WEIGHTS) if mine is None else (mine.own.base, mine.folder)
    if row == "procedural":
        return ProceduralGenerator()
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("device cuda: there is no usable GPU", remedy="Use --device cpu.")
    return _built(row, found, folder, "cuda" if device == "cuda" else "cpu")


def load_codec() -> Codec:
    """Load the codec of the shipped system alone.

    Raises:
        IntegrityError: If the weight file is not the one the card names.
    """
    return codec_of(card(DEFAULT_MODEL))


@cache
def _built(row: str, found: ModelCard, folder: Path, device: str) -> Generator:
    """Build the system of a row for a card, with the weights of a folder."""
    if row not in _ROWS:
        raise InputError(
            f"{found.name} turns no text into sound",
            remedy="Run `safegen codec encode FILE` to encode a file; `safegen models list` "
            "names the models that generate.",
        )
    system = _ROWS[row](found, folder)
    # The large network of each system; the others are faster where the samples are.
    for name in ("renderer", "model", "tokens", "generator", "unet"):
        part = getattr(system, name, None)
        if isinstance(part, torch.nn.Module):
            part.to(device)
    return system


_ROWS: Final[dict[str, Callable[[ModelCard, Path], Generator]]] = {
    "music-flow": lambda card, folder: load_music_flow(card, folder=folder),
    "music-ar": lambda card, folder: load_music_tokens(card, folder=folder),
    "music-cascade": lambda card, folder: load_music_cascade(card, folder=folder),
    "music-joint": lambda card, folder: load_music_joint(card, folder=folder),
    "continue": lambda card, folder: load_continuation(card, folder=folder),
    "sfx-ar": lambda card, folder: load_sound_tokens(card, settings=SFX_AR, folder=folder),
    "sfx-masked": lambda card, folder: load_sound_tokens(card, settings=SFX_MASKED, folder=folder),
}
"""Row -> how its system is built from a card and a folder of weights."""
