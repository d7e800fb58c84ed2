"""How do EnCodec, DAC and Mimi turn sound into codes and back?

One door for three codecs of ``transformers``: any rate and any channels go in, codes of
shape (codebooks, frames) come out, and decoding gives exactly as many samples as went in,
counted at the codec's rate. The codebooks of each are residual: the first n of many are
what encoding with n gives, so fewer codebooks are a smaller file of the same sound.

A codec holds no decoder mark and is no generator: what it decodes is as little marked as
what was encoded.

EnCodec's 48 kHz model codes chunks of one second, each at a loudness of its own, and blends
them. The library cannot encode every length that way (it stacks chunks of unequal length);
here each chunk is coded alone, and one that the chunk before it covers is left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from safegen.audio import Audio, Waveform, resample
from safegen.errors import InputError
from safegen.generation.base import ModelFacts
from safegen.generation.model_card import ModelCard
from safegen.generation.public_families import Described, Device, Precision, settings
from safegen.generation.transformers_models.loading import load_model, quiet

LONGEST_SECONDS: Final = 300.0
"""Longest sound that is coded at once; Mimi has positions for 320 s."""
_SHORTEST_SECONDS: Final = 0.02
_STEREO: Final = 2

_CLASSES: Final = {"encodec": "EncodecModel", "dac": "DacModel", "mimi": "MimiModel"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Coded:
    """A sound as codes, with what decoding must know beside them.

    Attributes:
        codes: Shape (codebooks, frames), one after the other where chunks are coded.
        scales: Loudness of each chunk, shape (chunks,), empty for codecs without.
        samples: Length of the sound, at the codec's rate.
        channels: Of the sound, 1 or 2.
    """

    codes: npt.NDArray[np.int64]
    scales: npt.NDArray[np.float32]
    samples: int
    channels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a codec's settings say.

    Attributes:
        sample_rate: In Hz.
        channels: 1 or 2.
        codebooks: Most that it has.
        codebook_size: Codes in each.
        frame_rate: Frames a second.
        hop: Samples a frame.
    """

    sample_rate: int
    channels: int
    codebooks: int
    codebook_size: int
    frame_rate: float
    hop: int

    @property
    def codebook_bitrate(self) -> float:
        """What each codebook costs, in bit/s."""
        return self.frame_rate * math.log2(self.codebook_size)


def describe(folder: Path) -> Described:
    """Read a codec's settings.

    Raises:
        InputError: If they say nothing usable.
    """
    shape = shape_of(folder)
    return Described(
        summary=f"A codec of {shape.sample_rate} Hz, {'stereo' if shape.channels > 1 else 'mono'}: "
        f"{shape.codebooks} codebooks of {shape.codebook_bitrate:.0f} bit/s each.",
        sample_rate=shape.sample_rate,
        channels=shape.channels,
        shortest_seconds=_SHORTEST_SECONDS,
        longest_seconds=LONGEST_SECONDS,
        limits=f"Turns no text into sound. Codes up to {LONGEST_SECONDS:g} s at once. Writes no "
        "mark into what it decodes.",
    )


def shape_of(folder: Path) -> Shape:
    """Read the numbers of a codec from its ``config.json``; what it leaves out are defaults.

    Raises:
        InputError: If they say nothing usable.
    """
    found = settings(folder / "config.json")
    try:
        shape = _SHAPES[found["model_type"]](found)
    except (KeyError, TypeError, ValueError, ZeroDivisionError, IndexError) as error:
        raise InputError(
            f"{folder}: config.json describes no codec ({type(error).__name__}: {error})",
            remedy="Fetch the checkpoint again.",
        ) from error
    if shape.channels not in (1, _STEREO) or min(shape.codebooks, shape.hop) < 1:
        raise InputError(
            f"{folder}: config.json describes {shape.codebooks} codebooks, {shape.channels} "
            f"channels and {shape.hop} samples a frame",
            remedy="Fetch the checkpoint again.",
        )
    return shape


def load(folder: Path, card: ModelCard, *, device: Device, precision: Precision) -> PublicCodec:
    """Build a codec.

    Raises:
        InputError: If the files do not make one.
    """
    kind = settings(folder / "config.json").get("model_type")
    shape = shape_of(folder)
    model = load_model(_CLASSES[str(kind)], folder, device=device, precision=precision)
    engine = _ENGINES[str(kind)](model, shape)
    return PublicCodec(card=card, shape=shape, engine=engine, model=model)


class PublicCodec:
    """A public neural codec."""

    def __init__(self, *, card: ModelCard, shape: Shape, engine: _Engine, model: Any) -> None:
        self.card = card
        self.shape = shape
        self._engine = engine
        self._model = model

    @property
    def facts(self) -> ModelFacts:
        """What a record says about it."""
        return self.card.facts

    def encode(self, audio: Audio, *, codebooks: int | None = None) -> Coded:
        """Name a sound by codes.

        Args:
            audio: Any rate. A codec of one channel gets the mean of all; a stereo codec gets
                one channel twice, and more than two as their mean.
            codebooks: In [1, shape.codebooks]; None for all.

        Raises:
            InputError: If the sound is too long, or the codec has fewer codebooks.
        """
        wanted = self.shape.codebooks if codebooks is None else codebooks
        if not 1 <= wanted <= self.shape.codebooks:
            raise InputError(
                f"{wanted} codebooks, {self.card.name} has 1 to {self.shape.codebooks}",
                remedy="Choose a number within these limits.",
            )
        if audio.seconds > LONGEST_SECONDS:
            raise InputError(
                f"{audio.seconds:.1f} s are longer than the {LONGEST_SECONDS:g} s that are coded "
                "at once",
                remedy="Cut the sound into shorter pieces.",
            )
        at_rate = resample(audio, self.shape.sample_rate).waveform
        mapped = _to_channels(at_rate, self.shape.channels)
        first = next(self._model.parameters())
        wave = torch.from_numpy(mapped).to(device=first.device, dtype=first.dtype)
        with torch.inference_mode(), quiet():
            codes, scales = self._engine.encode(wave)
        return Coded(
            codes=codes[:wanted].cpu().numpy().astype(np.int64),
            scales=scales.float().cpu().numpy(),
            samples=at_rate.shape[1],
            channels=1 if audio.waveform.shape[0] != _STEREO else _STEREO,
        )

    def decode(self, coded: Coded) -> Audio:
        """Make the sound of codes, at the codec's rate, of exactly ``coded.samples``.

        Mono comes back as mono; stereo as stereo, if the codec has two channels.

        Raises:
            InputError: If they are not codes of this codec.
        """
        self._check(coded)
        first = next(self._model.parameters())
        codes = torch.from_numpy(coded.codes).to(first.device)
        scales = torch.from_numpy(coded.scales).to(device=first.device, dtype=first.dtype)
        with torch.inference_mode(), quiet():
            wave = self._engine.decode(codes, scales, coded.samples).float().cpu().numpy()
        short = max(0, coded.samples - wave.shape[1])  # DAC gives a few samples less
        wave = np.pad(wave, ((0, 0), (0, short)))[:, : coded.samples]
        return Audio(
            waveform=np.ascontiguousarray(_to_channels(wave, min(len(wave), coded.channels))),
            sample_rate=self.shape.sample_rate,
        )

    def _check(self, coded: Coded) -> None:
        frames, scales = self._engine.size(coded.samples)
        books = len(coded.codes)
        if (
            not 1 <= books <= self.shape.codebooks
            or coded.codes.shape != (books, frames)
            or coded.scales.shape != (scales,)
            or not np.isfinite(coded.scales).all()
            or coded.codes.min() < 0
            or coded.codes.max() >= self.shape.codebook_size
        ):
            raise InputError(
                f"codes of shape {coded.codes.shape} with {coded.scales.size} scales are not "
                f"{coded.samples} samples of {self.card.name}: (1 to {self.shape.codebooks}, "
                f"{frames}) with {scales}, each code below {self.shape.codebook_size}",
                remedy="Encode the sound again with this codec.",
            )


def _to_channels(wave: Waveform, channels: int) -> Waveform:
    if len(wave) == channels:
        return wave
    mean: Waveform = wave.mean(axis=0, keepdims=True, dtype=np.float32)
    return np.repeat(mean, channels, axis=0)


class _Engine:
    """A codec that is given the whole sound: DAC, Mimi, EnCodec of 24 and 32 kHz."""

    def __init__(self, model: Any, shape: Shape) -> None:
        self.model = model
        self.shape = shape

    def size(self, samples: int) -> tuple[int, int]:
        """Say how many frames and scales so many samples have."""
        return -(-samples // self.shape.hop), 0

    def encode(self, wave: Tensor) -> tuple[Tensor, Tensor]:
        """Turn (channels, samples) into codes of (codebooks, frames) and scales of (chunks,)."""
        padded = torch.nn.functional.pad(wave, (0, -wave.shape[1] % self.shape.hop))
        codes = self.model.encode(padded[None]).audio_codes[0]
        return codes, wave.new_zeros(0)

    def decode(self, codes: Tensor, scales: Tensor, samples: int) -> Tensor:
        """Turn them back into (channels, about ``samples``)."""
        found: Tensor = self.model.decode(audio_codes=codes[None]).audio_values
        return found.reshape(self.shape.channels, -1)


class _Encodec(_Engine):
    """EnCodec, which codes chunks where its settings say so."""

    def __init__(self, model: Any, shape: Shape) -> None:
        super().__init__(model, shape)
        config = model.config
        self.chunk, self.stride = config.chunk_length, config.chunk_stride
        self.is_normalized = bool(config.normalize)
        # From here on each call of the library codes one chunk.
        config.chunk_length_s = None

    def _chunks(self, samples: int) -> list[tuple[int, int]]:
        """Where chunks start and how long they are; the last one ends with the sound."""
        if not self.chunk:
            return [(0, samples)]
        starts = [0]
        while starts[-1] + self.chunk < samples:
            starts.append(starts[-1] + (self.stride or self.chunk))
        return [(start, min(self.chunk, samples - start)) for start in starts]

    def size(self, samples: int) -> tuple[int, int]:
        chunks = self._chunks(samples)
        frames = sum(-(-length // self.shape.hop) for _, length in chunks)
        return frames, len(chunks) if self.is_normalized else 0

    def encode(self, wave: Tensor) -> tuple[Tensor, Tensor]:
        codes, scales = [], []
        for start, length in self._chunks(wave.shape[1]):
            told = self.model.encode(
                wave[None, :, start : start + length],
                bandwidth=self.model.config.target_bandwidths[-1],
            )
            codes.append(told.audio_codes[0, 0])
            if self.is_normalized:
                scales.append(told.audio_scales[0].reshape(1))
        return torch.cat(codes, dim=1), torch.cat(scales) if scales else wave.new_zeros(0)

    def decode(self, codes: Tensor, scales: Tensor, samples: int) -> Tensor:
        chunks = self._chunks(samples)
        out = scales.new_zeros(self.shape.channels, samples)
        weights = scales.new_zeros(samples)
        ramp = torch.linspace(0, 1, (self.chunk or samples) + 2, device=out.device)[1:-1]
        blend = (0.5 - (ramp - 0.5).abs()).to(out.dtype)
        frames = torch.split(codes, [-(-length // self.shape.hop) for _, length in chunks], dim=1)
        for number, ((start, length), part) in enumerate(zip(chunks, frames, strict=True)):
            scale = scales[number].reshape(1, 1) if self.is_normalized else None
            told = self.model.decode(part[None, None], [scale])
            piece = told.audio_values[0, :, :length]
            out[:, start : start + length] += blend[:length] * piece
            weights[start : start + length] += blend[:length]
        return out / weights


def _encodec_shape(found: dict[str, Any]) -> Shape:
    rate = int(found.get("sampling_rate", 24_000))
    size = int(found.get("codebook_size", 1024))
    hop = math.prod(found.get("upsampling_ratios", (8, 5, 4, 2)))
    frame_rate = math.ceil(rate / hop)
    most = float(found.get("target_bandwidths", (24.0,))[-1])
    return Shape(
        sample_rate=rate,
        channels=int(found.get("audio_channels", 1)),
        codebooks=int(1000 * most // (frame_rate * math.ceil(math.log2(size)))),
        codebook_size=size,
        frame_rate=frame_rate,
        hop=hop,
    )


def _dac_shape(found: dict[str, Any]) -> Shape:
    rate = int(found.get("sampling_rate", 16_000))
    hop = math.prod(found.get("downsampling_ratios", (2, 4, 8, 8)))
    return Shape(
        sample_rate=rate,
        channels=1,
        codebooks=int(found.get("n_codebooks", 9)),
        codebook_size=int(found.get("codebook_size", 1024)),
        frame_rate=rate / hop,
        hop=hop,
    )


def _mimi_shape(found: dict[str, Any]) -> Shape:
    rate = int(found.get("sampling_rate", 24_000))
    # The last layer halves the rate of frames once more.
    hop = 2 * math.prod(found.get("upsampling_ratios") or (8, 6, 5, 4))
    return Shape(
        sample_rate=rate,
        channels=int(found.get("audio_channels", 1)),
        codebooks=int(found.get("num_quantizers", 32)),
        codebook_size=int(found.get("codebook_size", 2048)),
        frame_rate=rate / hop,
        hop=hop,
    )


_SHAPES: Final[dict[str, Callable[[dict[str, Any]], Shape]]] = {
    "encodec": _encodec_shape,
    "dac": _dac_shape,
    "mimi": _mimi_shape,
}
_ENGINES: Final[dict[str, type[_Engine]]] = {"encodec": _Encodec, "dac": _Engine, "mimi": _Engine}
