"""Which system does a name stand for?

``load`` turns a name into a generator; ``safegen.generation.cards`` says which names
there are. Each system is a file that lists its stages.
"""

from __future__ import annotations

from functools import cache

import torch

from safegen.errors import InputError
from safegen.generation.base import Generator
from safegen.generation.cards import DEFAULT_MODEL, card, load_tensors
from safegen.generation.codec import Codec, CodecConfig
from safegen.generation.music_flow import MusicFlow, load_music_flow
from safegen.generation.procedural import ProceduralGenerator


def load(name: str = DEFAULT_MODEL, *, device: str = "auto") -> Generator:
    """Load a model of the card table; a second call gives the same object.

    Args:
        name: Of a card.
        device: "cpu", "cuda" for the renderer on a GPU, or "auto". The shipped model
            is so small that "auto" means the CPU, whose bits are reproducible.

    Raises:
        InputError: If no model has this name, or there is no such device.
        IntegrityError: If a weight file is not the one the card names.
    """
    found = card(name)
    if found.name == "procedural":
        return ProceduralGenerator()
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("device cuda: there is no usable GPU", remedy="Use --device cpu.")
    return _music_flow(found.name, "cuda" if device == "cuda" else "cpu")


def load_codec() -> Codec:
    """Load the codec of the shipped system alone.

    Raises:
        IntegrityError: If the weight file is not the one the card names.
    """
    codec = Codec(CodecConfig())
    codec.load_state_dict(load_tensors(card(DEFAULT_MODEL).file("codec")))
    return codec.eval().requires_grad_(False)


@cache
def _music_flow(name: str, device: str) -> MusicFlow:
    system = load_music_flow(card(name))
    system.renderer.to(device)
    return system
