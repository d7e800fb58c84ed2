"""Is this speech machine-made, by whatever generator?

A network that listens to how sound moves, not to how it is colored. It sees four maps of
a window, over time and 57 bands between 125 and 7250 Hz: the level of a band, how far its
partials stand out, how evenly their phases turn in time, and how evenly across frequency.
What stands still in a map (the voice, the microphone, an equalizer) is subtracted before
anything is learned from it. A few networks of different seeds are asked and averaged.

It is for speech: it has learned from nothing else, and for anything else its score means
nothing. It says "synthetic or not", never who, and its score is no
probability: calibration and silence outside the domain are the caller's.

What it learned from, and how well it does on generators and speakers it never heard, is
in the data card that the weights carry. The recipe is ``safegen.training.generic``.

Sources: mean and spread over time as what a network sums a recording up by, Snyder et al.
(ICASSP 2018); averaged weights, Izmailov et al. (UAI 2018).
"""

import functools
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from detectors.errors import DetectorError

WEIGHTS: Final = "generic.safetensors"
WEIGHTS_SHA256: Final = "7be484865071d64b05051cf18c090658735b9b02e32c1cc1f030343288900a2c"
SAMPLE_RATE: Final = 16_000
WINDOW_SAMPLES: Final = 64_000

MAPS: Final = 4
ALL_BANDS: Final = 64
"""Of 125 Hz each, from 0 to 8 kHz; the networks see those from LOW to HIGH."""
LOW: Final = 1
HIGH: Final = 58
BANDS: Final = HIGH - LOW
_N_FFT: Final = 1024
_HOP: Final = 256
_BINS: Final = _N_FFT // 2 // ALL_BANDS
_LEVEL: Final = 0.1
_FLOOR: Final = 1e-6
_AT_ONCE: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Generic:
    """The shipped networks.

    Attributes:
        networks: Asked and averaged, at least one.
        model_id: Name and hash of the weights.
        card: The data card: sources, licenses, counts, figures, seeds.
    """

    networks: tuple["Network", ...]
    model_id: str
    card: dict[str, Any]

    def logits(self, windows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Score windows; the level of a window does not matter.

        Args:
            windows: Mono at ``SAMPLE_RATE``, shape (n, WINDOW_SAMPLES).

        Returns:
            Shape (n,); above 0 sounds synthetic. Uncalibrated.

        Raises:
            ValueError: If the shape is another, or a value is not finite.

        Cost: about 5 ms of one core per second of sound.
        """
        if windows.ndim != 2 or windows.shape[1] != WINDOW_SAMPLES:
            msg = f"windows of shape {windows.shape}, expected (n, {WINDOW_SAMPLES})"
            raise ValueError(msg)
        if not np.isfinite(windows).all():
            msg = "windows hold values that are not finite"
            raise ValueError(msg)
        scores = np.zeros(len(windows))
        with torch.inference_mode():
            for start in range(0, len(windows), _AT_ONCE):
                part = np.ascontiguousarray(windows[start : start + _AT_ONCE], dtype=np.float32)
                seen = maps(torch.from_numpy(part))[..., LOW:HIGH]
                asked = torch.stack([network(seen) for network in self.networks])
                scores[start : start + len(part)] = asked.mean(dim=0).numpy()
        return scores


class Network(nn.Module):
    """Three layers along time, then mean and spread, then two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_layer(MAPS * BANDS, 64, stride=1),
            *_layer(64, 64, stride=2),
            nn.Dropout(0.1),
            *_layer(64, 96, stride=1),
        )
        self.head = nn.Sequential(
            nn.Dropout(0.3), nn.Linear(192, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 1)
        )

    def forward(self, seen: Tensor) -> Tensor:
        """Score maps of shape (n, MAPS, frames, BANDS); shape (n,)."""
        moving = seen - seen.mean(dim=2, keepdim=True)
        heard = self.body(moving.transpose(2, 3).flatten(1, 2))
        summed = torch.cat([heard.mean(dim=2), (heard.var(dim=2) + 1e-4).sqrt()], dim=1)
        score: Tensor = self.head(summed)[:, 0]
        return score


@functools.cache
def load() -> Generic:
    """Read the networks that ship with the package.

    Raises:
        DetectorError: If the weights are missing or not those pinned here.
    """
    source = resources.files("detectors") / "weights" / WEIGHTS
    try:
        data = source.read_bytes()
    except OSError as error:
        msg = f"the generic model's weights cannot be read: {error}"
        raise DetectorError(msg) from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != WEIGHTS_SHA256:
        msg = f"detectors/weights/{WEIGHTS} has sha256 {digest}, pinned is {WEIGHTS_SHA256}"
        raise DetectorError(msg)
    return parse(data)


def pack(networks: Sequence[Network], card: dict[str, Any]) -> bytes:
    """Write networks as float16 with their data card; the same ones give the same bytes."""
    from safetensors.torch import save

    tensors = {
        f"{number}.{name}": value.half().contiguous() if value.is_floating_point() else value
        for number, network in enumerate(networks)
        for name, value in sorted(network.state_dict().items())
    }
    packed: bytes = save(tensors, metadata={"card": json.dumps(card, sort_keys=True)})
    return packed


def parse(data: bytes) -> Generic:
    """Read what ``pack`` wrote.

    Raises:
        DetectorError: If the bytes are no networks of this kind.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as read

    try:
        tensors = read(data)
        size = int.from_bytes(data[:8], "little")
        card = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["card"])
        networks = []
        for number in sorted({int(name.split(".", 1)[0]) for name in tensors}):
            network = Network()
            prefix = f"{number}."
            network.load_state_dict(
                {
                    name.removeprefix(prefix): value.float() if value.is_floating_point() else value
                    for name, value in tensors.items()
                    if name.startswith(prefix)
                }
            )
            networks.append(network.eval().requires_grad_(False))
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        msg = f"these are no weights of the generic model: {error}"
        raise DetectorError(msg) from error
    if not networks:
        msg = "the generic model's weights hold no network"
        raise DetectorError(msg)
    return Generic(
        networks=tuple(networks),
        model_id=f"generic-{hashlib.sha256(data).hexdigest()[:12]}",
        card=card,
    )


def maps(windows: Tensor) -> Tensor:
    """Draw the four maps of windows.

    Args:
        windows: Mono at ``SAMPLE_RATE``, shape (n, samples), float32.

    Returns:
        Shape (n, MAPS, frames, ALL_BANDS): level as log10 of power, how far the mean of
        logarithms lies below it (0 is flat), and how evenly phase turns in time and across
        frequency, both in [-1, 1].
    """
    centered = windows - windows.mean(dim=1, keepdim=True)
    rms = centered.square().mean(dim=1, keepdim=True).sqrt()
    spectrum = torch.stft(
        centered * _LEVEL / rms.clamp_min(1e-9),
        _N_FFT,
        _HOP,
        window=torch.hann_window(_N_FFT),
        center=False,
        return_complex=True,
    ).transpose(1, 2)
    magnitude = spectrum.abs()
    unit = spectrum / magnitude.clamp_min(1e-12)
    power = _banded(magnitude[:, 1:-1].square() + _FLOOR)
    level = power.mean(dim=-1).log10()
    flatness = power.log10().mean(dim=-1) - level
    weight = _banded(magnitude[:, 1:-1]).clamp_min(1e-12)
    # Second difference of phase, as a product of unit vectors: 1 where phase turns evenly.
    in_time = (unit[:, 2:] * unit[:, 1:-1].conj() ** 2 * unit[:, :-2]).real
    across = torch.zeros_like(in_time)
    inner = unit[:, 1:-1]
    across[..., 1:-1] = -(inner[..., 2:] * inner[..., 1:-1].conj() ** 2 * inner[..., :-2]).real
    steady = [
        (_banded(turn) * weight).sum(dim=-1) / weight.sum(dim=-1) for turn in (in_time, across)
    ]
    return torch.stack([level, flatness, *steady], dim=1)


def _banded(values: Tensor) -> Tensor:
    """Group bins into bands; shape (n, frames, bins) to (n, frames, ALL_BANDS, bins a band)."""
    return values[..., 1:].reshape(*values.shape[:2], ALL_BANDS, _BINS)


def _layer(inputs: int, outputs: int, *, stride: int) -> list[nn.Module]:
    convolution = nn.Conv1d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    return [convolution, nn.BatchNorm1d(outputs), nn.ReLU()]
