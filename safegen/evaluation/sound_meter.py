"""Which sound effects does a recording contain?

A small convolutional network over log-mel frames, trained on rendered scenes, clean and
through the codec (``safegen.evaluation.sound_meter_fit``), never on anything a model
generated. Its ceilings on scenes of other seeds are printed beside every rate.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from safegen.audio import Audio, resample, sha256_file
from safegen.errors import IntegrityError
from safegen.generation.codec import LOUDNESS_RMS, MELS, SAMPLE_RATE, LogMel
from safegen.generation.sounds import NAMES
from safegen.generation.stages import one_thread

WEIGHTS: Final = Path(__file__).parent / "sound_meter.safetensors"
WEIGHTS_SHA256: Final = "1205e846c0b9064f59f898b310584234c25ae6449e29d79d1ade7c49bd094d17"
PRESENT_PROB: Final = 0.5
_BANDS: Final = 80
_WIDTH: Final = 64


class SoundMeter(nn.Module):
    """Log-mel frames to one log-odds per sound: what is heard on average, and at best."""

    def __init__(self) -> None:
        super().__init__()
        self.inlet = nn.Conv1d(_BANDS, _WIDTH, 5, stride=2, padding=2)
        self.inner = nn.ModuleList(
            nn.Conv1d(_WIDTH, _WIDTH, 5, stride=stride, padding=2) for stride in (1, 2)
        )
        self.outlet = nn.Linear(3 * _WIDTH, len(NAMES))

    def forward(self, log_mel: Tensor) -> Tensor:
        """Judge frames of shape (b, t, MELS), t >= 8; shape (b, sounds)."""
        b, t, _ = log_mel.shape
        x = log_mel.reshape(b, t, _BANDS, MELS // _BANDS).mean(dim=-1).transpose(1, 2) + 0.5
        y = F.gelu(self.inlet(x))
        for layer in self.inner:
            y = F.gelu(layer(y))
        spread = (y.var(dim=2, unbiased=False) + 1e-6).sqrt()
        out: Tensor = self.outlet(torch.cat([y.mean(dim=2), y.amax(dim=2), spread], dim=1))
        return out


def probabilities(audio: Audio, meter: SoundMeter | None = None) -> dict[str, float]:
    """Say how sure the meter is that a recording contains each sound.

    Args:
        audio: At least a second; any rate and channel count.
        meter: Another one than the shipped.

    Returns:
        Name to probability, the surest first.
    """
    meter = meter or load_meter()
    with one_thread(), torch.inference_mode():
        odds = meter(heard(audio))[0].sigmoid().tolist()
    rows = sorted(zip(NAMES, odds, strict=True), key=lambda row: -row[1])
    return dict(rows)


def heard(audio: Audio) -> Tensor:
    """Log-mel frames of a recording at the codec's loudness, shape (1, t, MELS)."""
    mono = torch.from_numpy(resample(audio, SAMPLE_RATE).mono())
    rms = mono.double().square().mean().sqrt().float()
    frames: Tensor = _log_mel()((mono * (LOUDNESS_RMS / rms.clamp_min(1e-6)))[None])
    return frames


@cache
def _log_mel() -> LogMel:
    return LogMel()


@cache
def load_meter() -> SoundMeter:
    """Load the shipped meter.

    Raises:
        IntegrityError: If the weight file is not the one named here.
    """
    from safetensors.torch import load_file

    found = sha256_file(WEIGHTS)
    if found != WEIGHTS_SHA256:
        raise IntegrityError(
            f"{WEIGHTS.name}: sha256 {found[:16]}..., expected {WEIGHTS_SHA256[:16]}...",
            remedy="Install the package again.",
        )
    meter = SoundMeter()
    meter.load_state_dict({name: x.float() for name, x in load_file(WEIGHTS).items()})
    return meter.eval().requires_grad_(False)
