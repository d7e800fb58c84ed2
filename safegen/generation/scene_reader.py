"""Which scene does this prompt ask for?

A small network reads the prompt and says for every sound whether it is named, whether it
is far, whether it comes later, and how fast it is. What a prompt leaves open (when events
happen, which dog barks) is drawn from dice, so a prompt and a seed give one scene.

A prompt that names no known sound is refused with the names of those that exist, because
a model that makes rain when asked for a piano would be believed to have tried.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from safegen.errors import InputError
from safegen.generation.cards import WEIGHTS, WeightFile, load_tensors
from safegen.generation.compose import Dice
from safegen.generation.scenes import MAX_LAYERS, SCENE_SECONDS, Scene, SoundLayer
from safegen.generation.sounds import NAMES, RATES, VARIANTS
from safegen.generation.text import TextBatch, TextConfig, TextEncoder, to_batch

READER_TEXT: Final = TextConfig(embedding=48, width=80, layers=2)
NAMED_PROB: Final = 0.7
"""A sound is named from here on: on captions of other seeds 99.5 % of prompts keep exactly
their sounds, and 1 % of strings of random letters name any."""
TRAITS: Final = 2 + len(RATES)
_FAR: Final = 0
_LATER: Final = 1
_RATES: Final = 2
_SHARPNESS: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a prompt says about one sound.

    Attributes:
        sound: One of ``safegen.generation.sounds.NAMES``.
        named_prob: How sure the reader is that the prompt names it.
        far_prob: That it is far away or behind the others.
        later_prob: That it comes after another one.
        rate_probs: Of each of ``safegen.generation.sounds.RATES``; even if nothing is said.
    """

    sound: str
    named_prob: float
    far_prob: float
    later_prob: float
    rate_probs: tuple[float, ...]


class SceneReader(nn.Module):
    """Prompt to what it says about every sound."""

    def __init__(self, config: TextConfig = READER_TEXT) -> None:
        super().__init__()
        self.text = TextEncoder(config)
        self.names = nn.Linear(config.width, len(NAMES))
        self.traits = nn.Parameter(torch.randn(len(NAMES), config.width, TRAITS) * 0.05)
        self.biases = nn.Parameter(torch.zeros(len(NAMES), TRAITS))

    def forward(self, batch: TextBatch) -> tuple[Tensor, Tensor]:
        """Read b prompts.

        Returns:
            Log-odds that a sound is named, shape (b, sounds): its strongest word counts.
            Log-odds of its traits (far, later, then one per rate), shape (b, sounds,
            ``TRAITS``), read where its name stands.
        """
        states = self.text(batch)
        evidence = self.names(states).masked_fill(~batch.mask[..., None], -30.0)
        named = evidence.amax(dim=1)
        where = (_SHARPNESS * evidence).softmax(dim=1)
        around = torch.einsum("bts,btw->bsw", where, states)
        traits = torch.einsum("bsw,swk->bsk", around, self.traits) + self.biases
        return named, traits

    def read(self, prompt: str, dice: torch.Generator, *, seconds: float = SCENE_SECONDS) -> Scene:
        """Make the scene that a prompt asks for.

        Args:
            prompt: In anyone's words.
            dice: Draws what the prompt leaves open.
            seconds: Length of the scene; a sound that comes later begins in its middle.

        Raises:
            InputError: If the prompt names no sound.
        """
        seed = int(torch.randint(2**62, (), generator=dice))
        return scene_of(self.readings(prompt), seed=seed, seconds=seconds)

    def readings(self, prompt: str) -> tuple[Reading, ...]:
        """Say what a prompt says about every sound, the surest first; ties by name order."""
        with torch.inference_mode():
            named, traits = self(to_batch([prompt]))
            probs = named[0].float().sigmoid().tolist()
            far = traits[0, :, _FAR].float().sigmoid().tolist()
            later = traits[0, :, _LATER].float().sigmoid().tolist()
            rates = traits[0, :, _RATES:].float().softmax(dim=-1).tolist()
        rows = [
            Reading(
                sound=name,
                named_prob=probs[i],
                far_prob=far[i],
                later_prob=later[i],
                rate_probs=tuple(rates[i]),
            )
            for i, name in enumerate(NAMES)
        ]
        return tuple(sorted(rows, key=lambda row: -row.named_prob))


def named_sounds(readings: tuple[Reading, ...]) -> tuple[Reading, ...]:
    """Keep the sounds that a prompt names, the surest ones if they are too many."""
    return tuple(row for row in readings if row.named_prob >= NAMED_PROB)[:MAX_LAYERS]


def scene_of(readings: tuple[Reading, ...], *, seed: int, seconds: float = SCENE_SECONDS) -> Scene:
    """Make a scene of what a prompt says.

    Args:
        readings: Of ``SceneReader.readings``.
        seed: Draws what the prompt leaves open.
        seconds: Length of the scene; a sound that comes later begins in its middle.

    Raises:
        InputError: If the prompt names no sound.
    """
    found = named_sounds(readings)
    if not found:
        raise InputError(
            "no sound of this model is named; it knows: " + ", ".join(NAMES),
            remedy="Name one to three of these sounds, in your own words.",
        )
    dice = Dice(seed)
    later = _later(found)
    is_near = any(row.far_prob < 0.5 for row in found)
    change = max(1, round(seconds * dice.between(25, 55) / 100 / 0.2))
    layers = []
    for place, row in enumerate(found):
        if row.far_prob >= 0.5:
            level = dice.choice((-9, -12)) if is_near else -12
        else:
            level = 0 if place == 0 else dice.choice((0, 0, -3))
        layers.append(
            SoundLayer(
                sound=row.sound,
                level_db=level,
                rate=_drawn(row.rate_probs, dice),
                start_step=change if row.sound in later else 0,
                end_step=change if later and row.sound not in later and len(found) == 2 else 0,
                variant=dice.below(VARIANTS),
            )
        )
    return Scene(layers=tuple(sorted(layers, key=lambda x: (x.start_step, -x.level_db))))


def load_scene_reader(file: WeightFile, *, folder: Path = WEIGHTS) -> SceneReader:
    """Build the shipped reader.

    Raises:
        safegen.errors.IntegrityError: If the weight file is not the one the card names.
    """
    reader = SceneReader()
    reader.load_state_dict(load_tensors(file, folder=folder))
    return reader.eval().requires_grad_(False)


def _later(found: tuple[Reading, ...]) -> frozenset[str]:
    """Name the sounds that come later; at least one sound is there from the start."""
    later = frozenset(row.sound for row in found if row.later_prob >= 0.5)
    return later if len(later) < len(found) else frozenset()


def _drawn(probs: tuple[float, ...], dice: Dice) -> str:
    """Draw a rate: the said one nearly always, any if nothing is said."""
    roll = dice.below(10_000) / 10_000
    for rate, prob in zip(RATES, probs, strict=True):
        roll -= prob
        if roll < 0:
            return rate
    return RATES[-1]
