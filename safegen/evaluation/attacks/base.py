"""What is an attack, and what do all of them share?

An attack keeps the sample rate and the channels. It is deterministic: whatever is
drawn is seeded from the sound itself, so that a benchmark repeats to the bit and
each clip still has noise of its own.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from safegen.audio import Audio, Waveform, resample

Floats = npt.NDArray[np.floating[Any]]


class Kind(StrEnum):
    """Families of attacks, in the order in which reports show them."""

    NONE = "none"
    CODEC = "codec"
    NOISE = "noise"
    FILTER = "filter"
    LEVEL = "level"
    TIME = "time"
    MIX = "mix"
    VOCODER = "vocoder"
    ADVERSARIAL = "adversarial"


class Companion(StrEnum):
    """What other sound an attack takes, by the name of the role it plays."""

    NONE = "none"
    BABBLE = "babble"
    MUSIC = "music"
    SPEECH = "speech"
    NEIGHBOR = "neighbor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """One row of a benchmark.

    Attributes:
        name: As on the command line; the number in it is the strength, as people say it.
        kind: The family.
        series: Rows of one series differ in strength only; a plot draws them as one line.
        strength: How hard, in ``unit``; larger is not always harder (bitrates, SNRs).
        unit: Of ``strength``; empty where there is nothing to vary.
        description: One line for people, no full stop.
        function: Takes a sound, or a sound and ``other=`` if there is a companion.
        companion: The other sound it needs.
        keeps_length: Whether as many samples come out as went in, at the same places.
    """

    name: str
    kind: Kind
    series: str
    strength: float
    unit: str
    description: str
    function: Callable[..., Audio]
    companion: Companion = Companion.NONE
    keeps_length: bool = True

    def __call__(self, audio: Audio, other: Audio | None = None) -> Audio:
        """Attack a sound.

        Args:
            audio: One or two channels.
            other: The companion; attacks without one ignore it.

        Raises:
            ValueError: If the attack has a companion and none is given.
        """
        if self.companion is Companion.NONE:
            return self.function(audio)
        if other is None:
            msg = f"the attack {self.name} needs another sound ({self.companion.value})"
            raise ValueError(msg)
        return self.function(audio, other=other)


def like(waveform: Floats, model: Audio) -> Audio:
    """Wrap numbers as a sound at the rate of ``model``."""
    return Audio(
        waveform=np.ascontiguousarray(waveform, dtype=np.float32), sample_rate=model.sample_rate
    )


def fit(waveform: Floats, model: Audio) -> Audio:
    """Cut or pad with silence to the length of ``model``."""
    samples = model.waveform.shape[1]
    missing = samples - waveform.shape[1]
    if missing > 0:
        waveform = np.pad(waveform, ((0, 0), (0, missing)))
    return like(waveform[:, :samples], model)


def matched(other: Audio, model: Audio, *, samples: int) -> Waveform:
    """Bring a companion to the rate and channels of ``model``, repeated to a length.

    Returns:
        Shape (channels of ``model``, ``samples``).
    """
    waveform = resample(other, model.sample_rate).waveform
    channels = model.waveform.shape[0]
    if waveform.shape[0] != channels:
        waveform = np.repeat(waveform.mean(axis=0, keepdims=True), channels, axis=0)
    repeats = -(-samples // waveform.shape[1])
    return np.asarray(np.tile(waveform, (1, repeats))[:, :samples], dtype=np.float32)


def generator(audio: Audio) -> np.random.Generator:
    """Seed from the sound, so that each clip has its own noise, the same every time."""
    return np.random.default_rng(zlib.crc32(np.ascontiguousarray(audio.waveform).tobytes()))


def power(waveform: Floats) -> float:
    """Mean square over all channels."""
    return float(np.mean(np.square(waveform, dtype=np.float64)))


def add_below(audio: Audio, noise: Floats, snr_db: float) -> Audio:
    """Add ``noise`` scaled to lie ``snr_db`` below the sound's mean power; silence stays silent."""
    scale = np.sqrt(power(audio.waveform) / max(power(noise), _LEAST)) * 10 ** (-snr_db / 20)
    return like(audio.waveform + scale * noise, audio)


_LEAST: Final = 1e-30
