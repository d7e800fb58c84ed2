"""What does a recording sound like, in 200 numbers that nobody here trained?

The penultimate layer of musicnn, a tagger of music trained on MagnaTagATune. Its weights
come inside the wheel ``musicnn`` on PyPI (ISC license) as a TensorFlow checkpoint; they
are fetched with ``safegen eval assets --out FOLDER musicnn``, read without TensorFlow and
never shipped.

Source: Pons and Serra, musicnn: pre-trained convolutional neural networks for music audio
tagging (2019); musicnn 0.1.0, models.py and extractor.py, for sizes and order of layers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from safegen.audio import Audio, resample
from safegen.errors import InputError
from safegen.evaluation.generation_bench.tf_bundle import read_index, read_tensor
from safegen.generation.stages import one_thread

SAMPLE_RATE: Final = 16_000
DIMENSIONS: Final = 200
PATCH_FRAMES: Final = 187
PATCH_SECONDS: Final = PATCH_FRAMES * 256 / SAMPLE_RATE
FOLDER: Final = "musicnn"
_MODEL: Final = "MTT_musicnn"
_N_FFT: Final = 512
_HOP: Final = 256
_MELS: Final = 96
_EPSILON: Final = 1e-3
_TALL: Final = {"conv2d": 1, "conv2d_1": 2}
"""Filters over time and frequency -> the normalization behind them."""
_LONG: Final = {"conv2d_2": 3, "conv2d_3": 4, "conv2d_4": 5}
"""Filters over time alone -> the normalization behind them."""
_MIDDLE: Final = {"conv2d_5": 6, "conv2d_6": 7, "conv2d_7": 8}


class Musicnn:
    """The network, with weights from a folder.

    Args:
        folder: Holds ``.index`` and ``.data-00000-of-00001`` of MTT_musicnn.

    Raises:
        InputError: If the files are missing or are not this checkpoint.
    """

    def __init__(self, folder: Path) -> None:
        index, data = folder / ".index", folder / ".data-00000-of-00001"
        if not index.is_file() or not data.is_file():
            raise InputError(
                f"{folder}: there is no checkpoint of musicnn",
                remedy="Run `safegen eval assets --out FOLDER musicnn`.",
            )
        entries, numbers = read_index(index.read_bytes()), data.read_bytes()
        self.sha256 = hashlib.sha256(numbers).hexdigest()
        names = [x for x in entries if "Adam" not in x and not x.endswith("_power")]
        self._tensors = {x: torch.from_numpy(read_tensor(entries, numbers, x)) for x in names}
        _check(self._tensors)
        self._mel = torch.from_numpy(_slaney()).float()

    def embed(self, audio: Audio) -> npt.NDArray[np.float64]:
        """Describe every patch of ``PATCH_SECONDS``; what is left at the end is not heard.

        Returns:
            Shape (patches, DIMENSIONS).

        Raises:
            InputError: If the sound is shorter than one patch.
        """
        with one_thread(), torch.inference_mode():
            return np.asarray(self._penultimate(self._patches(audio)).double().numpy())

    def tags(self, audio: Audio) -> npt.NDArray[np.float64]:
        """Rate the fifty tags of MagnaTagATune, in the order of the wheel; shape (50,)."""
        with one_thread(), torch.inference_mode():
            x = self._penultimate(self._patches(audio))
            logits = x @ self._tensors["dense_1/kernel"] + self._tensors["dense_1/bias"]
            return np.asarray(logits.sigmoid().mean(dim=0).double().numpy())

    def _patches(self, audio: Audio) -> Tensor:
        mono = torch.from_numpy(resample(audio, SAMPLE_RATE).mono())
        if mono.shape[0] < _HOP * PATCH_FRAMES:
            raise InputError(
                f"{audio.seconds:.2f} s is shorter than the {PATCH_SECONDS:.2f} s that "
                "musicnn hears at once",
                remedy="Give a longer sound.",
            )
        window = torch.hann_window(_N_FFT)
        padded = F.pad(mono[None], (_N_FFT // 2, _N_FFT // 2), mode="reflect")
        spectrum = torch.stft(
            padded, _N_FFT, _HOP, window=window, center=False, return_complex=True
        )[0]
        log_mel = torch.log10(10_000.0 * (self._mel @ spectrum.abs().square()) + 1.0).T
        count = log_mel.shape[0] // PATCH_FRAMES
        return log_mel[: count * PATCH_FRAMES].reshape(count, PATCH_FRAMES, _MELS)

    def _penultimate(self, patches: Tensor) -> Tensor:
        x = self._normalized(patches[:, None], 0)
        parts = []
        for name, place in _TALL.items():
            y = F.relu(F.conv2d(F.pad(x, (0, 0, 3, 3)), *self._filters(name)))
            parts.append(self._normalized(y, place).amax(dim=3))
        for name, place in _LONG.items():
            kernel, bias = self._filters(name)
            before = (kernel.shape[2] - 1) // 2
            y = F.pad(x, (0, 0, before, kernel.shape[2] - 1 - before))
            parts.append(self._normalized(F.relu(F.conv2d(y, kernel, bias)), place).amax(dim=3))
        features = [torch.cat(parts, dim=1)]
        for name, place in _MIDDLE.items():
            kernel, bias = self._filters(name)
            # Written as an image of one channel, this is a convolution over time.
            y = F.relu(F.conv1d(features[-1], kernel[:, 0].transpose(1, 2), bias, padding=3))
            y = self._normalized(y, place)
            features.append(y if len(features) == 1 else features[-1] + y)
        everything = torch.cat(features, dim=1)
        pooled = torch.stack([everything.amax(dim=2), everything.mean(dim=2)], dim=2).flatten(1)
        y = self._normalized(pooled, 9) @ self._tensors["dense/kernel"]
        return self._normalized(F.relu(y + self._tensors["dense/bias"]), 10)

    def _filters(self, name: str) -> tuple[Tensor, Tensor]:
        """Kernel as torch orders it, (out, in, time, frequency), and bias."""
        return self._tensors[f"{name}/kernel"].permute(3, 2, 0, 1), self._tensors[f"{name}/bias"]

    def _normalized(self, x: Tensor, place: int) -> Tensor:
        name = _normalization(place)
        mean, variance, weight, bias = (
            self._tensors[f"{name}/{part}"]
            for part in ("moving_mean", "moving_variance", "gamma", "beta")
        )
        return F.batch_norm(x, mean, variance, weight, bias, eps=_EPSILON)


def find_musicnn(assets: Path) -> Path | None:
    """Find the checkpoint below an assets folder; None if it was not fetched."""
    found = assets / FOLDER / _MODEL
    return found if found.is_dir() else None


def _check(tensors: Mapping[str, Tensor]) -> None:
    """Refuse another network than this one before it computes nonsense."""
    expected = {
        "conv2d/kernel": (7, 38, 1, 204),
        "conv2d_1/kernel": (7, 67, 1, 204),
        "conv2d_2/kernel": (128, 1, 1, 51),
        "conv2d_3/kernel": (64, 1, 1, 51),
        "conv2d_4/kernel": (32, 1, 1, 51),
        "conv2d_5/kernel": (7, 561, 1, 64),
        "conv2d_6/kernel": (7, 64, 1, 64),
        "conv2d_7/kernel": (7, 64, 1, 64),
        "dense/kernel": (1506, DIMENSIONS),
        "dense_1/kernel": (DIMENSIONS, 50),
    }
    for place, width in enumerate((1, 204, 204, 51, 51, 51, 64, 64, 64, 1506, DIMENSIONS)):
        for part in ("moving_mean", "moving_variance", "gamma", "beta"):
            expected[f"{_normalization(place)}/{part}"] = (width,)
    for name, shape in list(expected.items()):
        if name.endswith("/kernel"):
            expected[name.replace("kernel", "bias")] = shape[-1:]
    for name, shape in expected.items():
        found = tuple(tensors[name].shape) if name in tensors else None
        if found != shape:
            raise InputError(
                f"this is not MTT_musicnn: tensor {name} has shape {found}, not {shape}",
                remedy="Run `safegen eval assets --out FOLDER musicnn`.",
            )


def _normalization(place: int) -> str:
    return f"batch_normalization_{place}" if place else "batch_normalization"


def _slaney() -> npt.NDArray[np.float64]:
    """Build the mel filters musicnn was trained on: Slaney's scale, each of area 1.

    Returns:
        Shape (_MELS, _N_FFT // 2 + 1).

    Source: Slaney, Auditory Toolbox (1998), as librosa 0.7's defaults have it.
    """
    step = np.log(6.4) / 27.0
    top = 15.0 + np.log(SAMPLE_RATE / 2 / 1000.0) / step
    mels = np.linspace(0.0, top, _MELS + 2)
    edges = np.where(mels < 15.0, mels * 200.0 / 3.0, 1000.0 * np.exp(step * (mels - 15.0)))
    bins = np.linspace(0.0, SAMPLE_RATE / 2, _N_FFT // 2 + 1)[None]
    low, center, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (bins - low) / (center - low), (high - bins) / (high - center)
    filters = np.maximum(0.0, np.minimum(rising, falling)) * 2.0 / (high - low)
    return np.asarray(filters)
