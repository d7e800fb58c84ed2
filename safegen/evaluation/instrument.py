"""Which instrument plays the melody of a recording?

A small convolutional network over log-mel frames, trained on scores rendered with two
soundfonts, clean and through the codec (``safegen.evaluation.instrument_fit``), never on
anything a model generated. Its ceilings on rendered scores of other seeds are printed
beside every rate (``safegen.evaluation.generation``).

Instruments that are easily mistaken for each other form eight families, so that an
electric piano in place of a piano can be told from a trumpet in its place.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from safegen.audio import Audio, resample, sha256_file
from safegen.errors import IntegrityError
from safegen.generation.codec import LOUDNESS_RMS, MELS, SAMPLE_RATE, LogMel
from safegen.generation.compose import INSTRUMENTS
from safegen.generation.stages import one_thread

WEIGHTS: Final = Path(__file__).parent / "instrument.safetensors"
WEIGHTS_SHA256: Final = "c2ab9d5f51a3c90a27c1e6f4fb5bdb8d9688d9785e0d9ea0a3f66fc4cba16c51"
NAMES: Final = tuple(x.name for x in INSTRUMENTS)
FAMILIES: Final = {
    "keys": ("piano", "electric piano", "harp"),
    "mallets": ("music box", "vibraphone", "marimba"),
    "organs": ("organ", "accordion"),
    "guitars": ("acoustic guitar", "electric guitar"),
    "leads": ("distorted guitar", "synth lead"),
    "bowed": ("violin", "cello", "strings"),
    "voices": ("choir",),
    "winds": ("trumpet", "saxophone", "clarinet", "flute"),
}
"""Family -> its instruments."""


class Ear(nn.Module):
    """Log-mel frames to scores of the instruments.

    The frequency axis is kept until the end, because the melody is told from the chords
    by where it lies; the time axis is averaged with weights the network chooses.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        c1, c2, c3, c4 = width, 2 * width, 3 * width, 4 * width
        self.layers = nn.Sequential(
            nn.Conv2d(1, c1, 5, stride=2, padding=2), nn.BatchNorm2d(c1), nn.ReLU(),
            nn.Conv2d(c1, c2, 3, stride=2, padding=1), nn.BatchNorm2d(c2), nn.ReLU(),
            nn.Conv2d(c2, c3, 3, stride=2, padding=1), nn.BatchNorm2d(c3), nn.ReLU(),
            nn.Conv2d(c3, c4, 3, stride=(2, 1), padding=1), nn.BatchNorm2d(c4), nn.ReLU(),
        )  # fmt: skip
        rows = MELS // 16
        self.join = nn.Linear(c4 * rows, 6 * width)
        self.weight = nn.Linear(6 * width, 1)
        self.scores = nn.Linear(6 * width, len(NAMES))

    def forward(self, log_mel: Tensor) -> Tensor:
        """Score the instruments.

        Args:
            log_mel: Shape (b, t, MELS), of ``frames_of``; t >= 8.

        Returns:
            Logits, shape (b, instruments).
        """
        x = self.layers(((log_mel + 0.5) / 0.8).transpose(1, 2)[:, None])
        x = torch.relu(self.join(x.flatten(1, 2).transpose(1, 2)))
        share = self.weight(x).softmax(dim=1)
        logits: Tensor = self.scores((share * x).sum(dim=1))
        return logits


def family(name: str) -> str:
    """Name the family of an instrument."""
    return next(found for found, names in FAMILIES.items() if name in names)


def heard(audio: Audio, *, ear: Ear | None = None) -> str:
    """Name the instrument that seems to play the melody; the sound should last 4 s.

    Raises:
        IntegrityError: If the judge's weights are not the ones that ship.
    """
    judge = load() if ear is None else ear
    with one_thread(), torch.inference_mode():
        logits = judge(frames_of(audio)[None])[0]
    return NAMES[int(logits.argmax())]


def frames_of(audio: Audio) -> Tensor:
    """Analyze a sound as the codec does, at the codec's loudness; shape (t, MELS), 50 a second."""
    mono = torch.from_numpy(resample(audio, SAMPLE_RATE).mono())
    rms = mono.double().square().mean().sqrt().float()
    frames: Tensor = _log_mel()((mono * (LOUDNESS_RMS / rms.clamp_min(1e-6)))[None])[0]
    return frames


@cache
def load() -> Ear:
    """Load the judge that ships.

    Raises:
        IntegrityError: If the file is another one.
    """
    from safetensors.torch import load as read

    if not WEIGHTS.is_file() or sha256_file(WEIGHTS) != WEIGHTS_SHA256:
        raise IntegrityError(
            f"{WEIGHTS.name} is not the instrument meter that ships",
            remedy="Install safegen again; do not use this file.",
        )
    ear = Ear()
    ear.load_state_dict({k: v.float() for k, v in read(WEIGHTS.read_bytes()).items()})
    return ear.eval().requires_grad_(False)


@cache
def _log_mel() -> LogMel:
    return LogMel()
