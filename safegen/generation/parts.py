"""How are the parts of a system built from the files its card names?

Several rows share a part: all decode with the codec, all that make music read prompts
with the planner's text encoder, and four draw tokens with one token model.
"""

from __future__ import annotations

from pathlib import Path

from safegen.generation.cards import WEIGHTS, ModelCard, load_tensors
from safegen.generation.codec import Codec, CodecConfig
from safegen.generation.planner import Planner, PlannerConfig
from safegen.generation.text import TextConfig
from safegen.generation.tokens import TokenConfig, TokenModel


def codec_of(card: ModelCard, *, folder: Path = WEIGHTS) -> Codec:
    """Load the codec of a card; with its own decoder if the card names one.

    Raises:
        IntegrityError: If a weight file is not the one the card names.
    """
    codec = Codec(CodecConfig())
    codec.load_state_dict(load_tensors(card.file("codec"), folder=folder))
    if any(file.role == "decoder" for file in card.files):
        decoder = load_tensors(card.file("decoder"), folder=folder)
        codec.load_state_dict(codec.state_dict() | decoder)
    return codec.eval().requires_grad_(False)


def planner_of(card: ModelCard, *, folder: Path = WEIGHTS) -> Planner:
    """Load the planner of a card, with its text encoder.

    Raises:
        IntegrityError: If the weight file is not the one the card names.
    """
    planner = Planner(PlannerConfig(text=TextConfig()))
    planner.load_state_dict(load_tensors(card.file("planner"), folder=folder))
    return planner.eval().requires_grad_(False)


def tokens_of(card: ModelCard, codec: Codec, *, folder: Path = WEIGHTS) -> TokenModel:
    """Load the token model of a card; it reads tokens as entries of this codec.

    Raises:
        IntegrityError: If the weight file is not the one the card names.
    """
    model = TokenModel(TokenConfig(), codebook=codec.quantizer.codebook)
    model.load_state_dict(load_tensors(card.file("tokens"), folder=folder))
    return model.eval().requires_grad_(False)
