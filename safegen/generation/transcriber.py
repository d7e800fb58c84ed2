"""What is this music, in the words of a plan?

A small network that reads codec latents and says the attributes of the plan they could
have been made from, with a probability for every value, and where beat and bar stand. On
the way it says for every 80 ms how far the bar has come, which pitch classes sound and
which drums are hit; this teaches it in minutes what the attributes alone would not.

What the model hears is its own kind of music; of other music it gives the nearest plan.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from safegen.generation import compose
from safegen.generation.backbone import Transformer
from safegen.generation.cards import WEIGHTS, WeightFile, load_tensors
from safegen.generation.codec import FRAME_RATE, Block

STRIDE: Final = 2
PHASES: Final = 4
PITCH_CLASSES: Final = 12
DRUMS: Final = len(compose.DRUM_PITCHES)
FRAME_TARGETS: Final = PHASES + PITCH_CLASSES + DRUMS
SHORTEST_SECONDS: Final = 1.0
"""Less says nothing about tempo or key."""
AGREEMENT: Final = 0.5
"""Log-odds that a tempo gains for each frame whose phase turns with it; neighboring frames
tell nearly the same, so it is less than one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscriberConfig:
    """Sizes of a transcriber.

    Attributes:
        latent: Dimensions of a codec latent.
        width: Channels.
        blocks: Convolution blocks before the transformer.
        layers: Of the transformer.
        heads: Of each layer.
    """

    latent: int = 64
    width: int = 128
    blocks: int = 2
    layers: int = 2
    heads: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What was heard in b excerpts.

    Attributes:
        features: One vector an excerpt, shape (b, 2 * width).
        header: Log-odds of the attributes' tokens, minus infinity where a token may not
            stand; shape (b, ``HEADER_TOKENS``, ``VOCABULARY``).
        frames: Every ``STRIDE`` codec frames: sine and cosine of the beat's phase, then
            of the bar's, then log-odds of sounding pitch classes and of drum hits; shape
            (b, n, FRAME_TARGETS).
    """

    features: Tensor
    header: Tensor
    frames: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """A reading of one excerpt.

    Attributes:
        header: The first ``HEADER_TOKENS`` tokens of a plan.
        bar_phase: How far the bar has come at the first frame, in [0, 1).
        pitch_classes: Probability that each sounds, every ``STRIDE`` codec frames, shape
            (n, 12).
    """

    header: tuple[int, ...]
    bar_phase: float
    pitch_classes: Tensor


class Transcriber(nn.Module):
    """Codec latents to attributes of a plan."""

    legal: Tensor

    def __init__(self, config: TranscriberConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.inlet = nn.Conv1d(config.latent, width, 2 * STRIDE + 1, STRIDE, padding=STRIDE)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(config.blocks)))
        self.backbone = Transformer(
            width=width, layers=config.layers, heads=config.heads, causal=False, growth=2
        )
        self.frames = nn.Linear(width, FRAME_TARGETS)
        self.header = nn.Linear(2 * width, compose.VOCABULARY)
        legal = torch.zeros(compose.HEADER_TOKENS, compose.VOCABULARY, dtype=torch.bool)
        for position in range(compose.HEADER_TOKENS):
            tokens = compose.legal_tokens(position)
            legal[position, tokens.start : tokens.stop] = True
        self.register_buffer("legal", legal, persistent=False)

    def forward(self, z: Tensor) -> Heard:
        """Listen to latents of shape (b, t, latent), t >= 1."""
        x = self.inlet(z.transpose(1, 2)).transpose(1, 2)
        y = self.backbone(self.blocks(x))
        features = torch.cat([y.mean(dim=1), y.amax(dim=1)], dim=1)
        logits = self.header(features).float()[:, None].expand(-1, compose.HEADER_TOKENS, -1)
        return Heard(
            features=features,
            header=logits.masked_fill(~self.legal, float("-inf")),
            frames=self.frames(y).float(),
        )


def sharpened(heard: Heard) -> Heard:
    """Add to the log-odds of the tempi how well the phases of all frames turn with them.

    The attributes' head hears about how fast a piece is; phases that drift by a quarter of
    a beat over eight seconds tell two tempi apart that differ by 2 bpm.
    """
    place = compose.header_names().index("tempo_bpm")
    tokens = compose.legal_tokens(place)
    tempi = torch.arange(compose.MIN_TEMPO_BPM, compose.MAX_TEMPO_BPM + 1, dtype=torch.float64)
    beats = _seconds(heard.frames.shape[1]) * tempi[:, None] / 60.0
    header = heard.header.clone()
    for i, period in enumerate((1, compose.BEATS_PER_BAR)):
        phases = torch.complex(heard.frames[..., 2 * i + 1], heard.frames[..., 2 * i])
        turned = phases.to(torch.complex128) @ torch.exp(-2j * torch.pi * beats / period).T
        header[:, place, tokens.start : tokens.stop] += AGREEMENT * turned.abs().float()
    return Heard(features=heard.features, header=header, frames=heard.frames)


def transcribe(
    transcriber: Transcriber, z: Tensor, dice: torch.Generator, *, temperature: float
) -> Transcript:
    """Draw the attributes of one excerpt from what was heard, and find its bar.

    Args:
        transcriber: The model.
        z: Latents, shape (frames, latent).
        dice: The item's own randomness.
        temperature: > 0; near 0 the likeliest values are taken.

    Returns:
        A reading; the phase of the bar belongs to the tempo that was drawn.
    """
    with torch.inference_mode():
        heard = sharpened(transcriber(z[None]))
        chances = (heard.header[0].double() / temperature).softmax(dim=-1)
        points = torch.rand((len(chances), 1), generator=dice, dtype=torch.float64)
        ranks = chances.cumsum(dim=-1)
        drawn = torch.searchsorted(ranks, points * ranks[:, -1:]).squeeze(1)
        header = tuple(int(token) for token in drawn)
        return Transcript(
            header=header,
            bar_phase=bar_phase(heard.frames[0], tempo_bpm=tempo_of(header)),
            pitch_classes=heard.frames[0, :, PHASES : PHASES + PITCH_CLASSES].sigmoid(),
        )


def tempo_of(header: tuple[int, ...]) -> int:
    """Read the tempo out of a header, in beats a minute."""
    place = compose.header_names().index("tempo_bpm")
    return compose.MIN_TEMPO_BPM + header[place] - compose.legal_tokens(place).start


def bar_phase(frames: Tensor, *, tempo_bpm: float) -> float:
    """Find how far the bar has come at the first frame, in [0, 1).

    The phases of all frames are turned back to the first one and averaged: of the beats,
    which stand out, for the place inside a beat, and of the bars for which beat it is.

    Args:
        frames: Of ``Heard``, for one excerpt, shape (n, FRAME_TARGETS).
        tempo_bpm: How fast the phases turn.
    """
    beats = _seconds(len(frames)) * tempo_bpm / 60.0
    beat = _first_phase(frames[:, 0], frames[:, 1], beats)
    bar = _first_phase(frames[:, 2], frames[:, 3], beats / compose.BEATS_PER_BAR)
    whole = round(bar * compose.BEATS_PER_BAR - beat)
    return (whole + beat) / compose.BEATS_PER_BAR % 1.0


def frame_targets(plan: compose.Plan, *, frames: int) -> npt.NDArray[np.float32]:
    """Say what ``Heard.frames`` should be for a plan, at every codec frame.

    Args:
        plan: The piece, from its start.
        frames: How many frames of 40 ms, >= 1.

    Returns:
        Shape (frames, FRAME_TARGETS): phases in [-1, 1], the rest 0 or 1.
    """
    rows = np.zeros((frames, FRAME_TARGETS), dtype=np.float32)
    beats = np.arange(frames) / FRAME_RATE * plan.tempo_bpm / 60
    for i, period in enumerate((1, compose.BEATS_PER_BAR)):
        rows[:, 2 * i] = np.sin(2 * np.pi * beats / period)
        rows[:, 2 * i + 1] = np.cos(2 * np.pi * beats / period)
    for note in compose.score(plan, seconds=frames / FRAME_RATE):
        first = int(note.start_seconds * FRAME_RATE)
        if note.track == "drums":
            # Two frames wide, so that every stride meets a hit.
            column = PHASES + PITCH_CLASSES + compose.DRUM_PITCHES.index(note.pitch)
            rows[first : first + STRIDE, column] = 1
        else:
            last = int(np.ceil(note.end_seconds * FRAME_RATE))
            rows[first:last, PHASES + note.pitch % PITCH_CLASSES] = 1
    return rows


def load_transcriber(file: WeightFile, *, folder: Path = WEIGHTS) -> Transcriber:
    """Build the shipped transcriber.

    Raises:
        IntegrityError: If the weight file is not the one the card names.
    """
    transcriber = Transcriber(TranscriberConfig())
    transcriber.load_state_dict(load_tensors(file, folder=folder))
    return transcriber.eval().requires_grad_(False)


def _seconds(frames: int) -> Tensor:
    """When the frames of ``Heard`` stand; shape (frames,)."""
    return torch.arange(frames, dtype=torch.float64) * STRIDE / FRAME_RATE


def _first_phase(sines: Tensor, cosines: Tensor, turns: Tensor) -> float:
    """Average phases after turning each back by its turns; in [0, 1)."""
    phases = torch.complex(cosines.double(), sines.double())
    first = (phases * torch.exp(-2j * torch.pi * turns)).sum()
    return float(first.angle()) / (2.0 * torch.pi) % 1.0
