"""Which system does a name stand for?

``load`` turns a name into a generator; ``safegen.generation.cards`` says which names
there are, ``safegen.generation.own`` which ones the users of an installation added. Each
system is a file that lists its stages.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

from safegen.errors import InputError
from safegen.generation import own
from safegen.generation.base import Generator
from safegen.generation.cards import DEFAULT_MODEL, WEIGHTS, ModelCard, card, load_tensors
from safegen.generation.codec import Codec, CodecConfig
from safegen.generation.music_flow import load_music_flow
from safegen.generation.procedural import ProceduralGenerator


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
    codec = Codec(CodecConfig())
    codec.load_state_dict(load_tensors(card(DEFAULT_MODEL).file("codec")))
    return codec.eval().requires_grad_(False)


@cache
def _built(row: str, found: ModelCard, folder: Path, device: str) -> Generator:
    """Build the system of a row for a card, with the weights of a folder."""
    if row == "music-flow":
        system = load_music_flow(found, folder=folder)
        system.renderer.to(device)
        return system
    raise InputError(
        f"{found.name} does not generate", remedy="Choose a model of `safegen models list`."
    )
