"""Which pitch class leads in each 40 ms?

The melody as MusicGen takes it: one pitch class a frame and nothing else, so that it can
be followed in any key, register and instrument without carrying a recording's timbre
along. Models are trained on, and asked by, the same function.

Source: Copet et al., Simple and Controllable Music Generation (2023), section 2.3
(the strongest chroma bin alone, which keeps the sound itself from leaking).
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from safegen.audio import Audio, resample
from safegen.generation.codec import SAMPLE_RATE, SAMPLES_PER_FRAME

PITCH_CLASSES: Final = 12
NONE: Final = 255
"""Stands for a frame in which nothing leads."""
_N_FFT: Final = 8192
_LOWEST_HZ: Final = 180.0
_HIGHEST_HZ: Final = 2500.0
_QUIET: Final = 0.02
"""A frame below this share of the loudest frame's energy has no leading pitch."""

Classes = npt.NDArray[np.uint8]


def classes_of(audio: Audio) -> Classes:
    """Find the leading pitch class of each frame.

    Args:
        audio: Any rate and channel count.

    Returns:
        Shape (frames,), 0 = C to 11, ``NONE`` where nothing leads; one value for each
        whole 40 ms.
    """
    mono = torch.from_numpy(resample(audio, SAMPLE_RATE).mono())
    frames = mono.shape[0] // SAMPLES_PER_FRAME
    if frames == 0:
        return np.zeros(0, dtype=np.uint8)
    # Centers of the analysis stand in the middle of the frames.
    shifted = mono[SAMPLES_PER_FRAME // 2 :]
    spectrum = torch.stft(
        shifted,
        _N_FFT,
        SAMPLES_PER_FRAME,
        window=torch.hann_window(_N_FFT),
        return_complex=True,
        pad_mode="constant",
    )
    magnitude = spectrum.abs()
    # Peaks only: the skirts of loud partials would fill the neighboring classes.
    inner = magnitude[1:-1]
    peaks = (inner >= magnitude[2:]) & (inner >= magnitude[:-2])
    strength = _weights() @ (inner.sqrt() * peaks)
    strength = torch.nn.functional.pad(strength, (0, max(0, frames - strength.shape[1])))[
        :, :frames
    ]
    loud = strength.sum(dim=0)
    leads = strength.argmax(dim=0).numpy().astype(np.uint8)
    leads[(loud <= _QUIET * loud.max()).numpy()] = NONE
    return np.asarray(leads)


def one_hot(classes: Classes) -> npt.NDArray[np.float32]:
    """Spread classes of shape (t,) over columns of shape (t, 12); ``NONE`` is all zero."""
    out = np.zeros((len(classes), PITCH_CLASSES), dtype=np.float32)
    known = classes != NONE
    out[known, classes[known]] = 1.0
    return out


def chroma_of(audio: Audio) -> npt.NDArray[np.float32]:
    """Give the melody of a sound as the token model takes it, shape (frames, 12)."""
    return one_hot(classes_of(audio))


@cache
def _weights() -> torch.Tensor:
    """How much each bin but the first and last says about each class; shape (12, bins)."""
    hertz = torch.arange(1, _N_FFT // 2, dtype=torch.float64) * SAMPLE_RATE / _N_FFT
    pitch = 69 + 12 * torch.log2(hertz / 440.0)
    near = torch.exp(-0.5 * ((pitch - pitch.round()) / 0.2) ** 2)
    use = (hertz >= _LOWEST_HZ) & (hertz <= _HIGHEST_HZ)
    classes = pitch.round().long() % PITCH_CLASSES
    table = torch.zeros(PITCH_CLASSES, len(hertz), dtype=torch.float64)
    table[classes, torch.arange(len(hertz))] = near * use
    return table.float()
