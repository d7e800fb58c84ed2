"""Where do a sound and the words for it meet?

Two towers put sound and prompts on one sphere: what is said of a sound lies near it. The
audio tower stands on the transcriber, the text tower on the planner's text encoder, both
as they ship. A third part, the *style*, turns a point of the sphere into states that the
planner's language model reads in place of an encoded prompt. It learns from sound alone
and is used with words: in training the towers give it the sphere's audio side, in use
``crossed`` carries a prompt over to that side.

Source: two towers, Huang et al., MuLan (2022), section 3; style from audio in training
and from text in use, Agostinelli et al., MusicLM (2023), section 3.2; the constant part
of the gap between towers, Liang et al., Mind the Gap (2022), section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from safegen.generation import compose
from safegen.generation.cards import WEIGHTS, WeightFile, load_tensors
from safegen.generation.planner import Planner
from safegen.generation.text import pool, strongest, to_batch
from safegen.generation.transcriber import Heard

_GUESS_GAIN: Final = 4.0
"""Square roots of probabilities are small beside the features they stand with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JointConfig:
    """Sizes of the joint embedding.

    Attributes:
        heard: Features of the transcriber.
        read: Width of the text encoder, and of the states the language model reads.
        inner: Width inside the towers and the style.
        embedding: Dimensions of the sphere.
        states: How many states a style is.
    """

    heard: int = 256
    read: int = 160
    inner: int = 192
    embedding: int = 128
    states: int = 6


class Joint(nn.Module):
    """Sound and prompts to one sphere, and points of it to styles."""

    sound_mean: Tensor
    word_mean: Tensor
    spread: Tensor

    def __init__(self, config: JointConfig) -> None:
        super().__init__()
        self.config = config
        self.sounds = _perceptron(config.heard + compose.VOCABULARY, config.inner, config.embedding)
        self.words = _perceptron(
            2 * config.read + compose.VOCABULARY, config.inner, config.embedding
        )
        self.style = _perceptron(config.embedding, config.inner, config.states * config.read)
        # Both sides' means and how far pairs stray around them, averaged in training.
        self.register_buffer("sound_mean", torch.zeros(config.embedding))
        self.register_buffer("word_mean", torch.zeros(config.embedding))
        self.register_buffer("spread", torch.full((config.embedding,), 0.05))

    def hear(self, heard: Heard) -> Tensor:
        """Place sounds the transcriber has heard on the sphere; shape (b, embedding)."""
        x = torch.cat([heard.features, _guessed(heard.header)], dim=1)
        return F.normalize(self.sounds(x).float(), dim=1)

    def read(self, planner: Planner, prompts: list[str]) -> Tensor:
        """Place prompts on the sphere; shape (b, embedding)."""
        with torch.no_grad():
            batch = to_batch(prompts)
            states = planner.text(batch)
            guesses = planner.guess(states, batch.mask)
            parts = [
                pool(states, batch.mask),
                strongest(states, batch.mask),
                _guessed(guesses),
            ]
        return F.normalize(self.words(torch.cat(parts, dim=1)).float(), dim=1)

    def crossed(self, words: Tensor) -> Tensor:
        """Carry prompts' embeddings to the side of the sounds; shape (b, embedding)."""
        return words - self.word_mean + self.sound_mean

    def styled(self, points: Tensor) -> Tensor:
        """Turn points on the side of the sounds into styles; shape (b, states, read).

        A point at the origin is no style at all, which guidance needs.
        """
        out: Tensor = self.style(points)
        return out.reshape(len(points), self.config.states, self.config.read)


def load_joint(file: WeightFile, *, folder: Path = WEIGHTS) -> Joint:
    """Build the shipped joint embedding.

    Raises:
        IntegrityError: If the weight file is not the one the card names.
    """
    joint = Joint(JointConfig())
    joint.load_state_dict(load_tensors(file, folder=folder))
    return joint.eval().requires_grad_(False)


def _guessed(header: Tensor) -> Tensor:
    """Lay probabilities of all attributes side by side; shape (b, ``VOCABULARY``).

    Square roots, so that each attribute is a vector of one length whatever it says.
    """
    return _GUESS_GAIN * header.float().softmax(dim=-1).sum(dim=1).sqrt()


def _perceptron(inlet: int, inner: int, outlet: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inlet, inner), nn.GELU(), nn.Linear(inner, outlet))
