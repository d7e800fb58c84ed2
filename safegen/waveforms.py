"""What numbers does a caller hand over as sound?

Programs keep sound as numpy arrays, as tensors on a GPU with a gradient, in half
precision, with one axis or three. Here it becomes ``Audio``, or an error that says what to
do: samples are never guessed to be channels, and integers never to be full scale.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from safegen.audio import MAX_CHANNELS, Audio, checked
from safegen.errors import InputError

if TYPE_CHECKING:
    import torch

Sound: TypeAlias = "npt.ArrayLike | torch.Tensor"
"""Shape (channels, samples) or (samples,), floats in [-1, 1]."""
Batch: TypeAlias = "npt.ArrayLike | torch.Tensor | Iterable[Sound]"
"""Shape (batch, channels, samples), or one ``Sound`` after the other."""

LOUDEST: Final = 16.0
"""Peak above which numbers are no samples in [-1, 1]: 24 dB over full scale."""


def as_audio(waveform: Sound, sample_rate: float, *, name: str = "waveform") -> Audio:
    """Take one sound, from whatever device and of whatever precision.

    Args:
        waveform: Array or tensor of floats; a copy is made, the original is not touched.
        sample_rate: In Hz, a whole number.
        name: What error messages call it.

    Raises:
        InputError: If it is not one sound: of other than one or two axes, with channels
            last, of integers, far above full scale, with NaN, or without a sample.
    """
    numbers = _numbers(waveform, name)
    if numbers.ndim == 3:
        raise InputError(
            f"{name}: shape {numbers.shape} has three axes, one sound has (channels, samples)",
            remedy="Hand over one item, or the batch to Gate.release_batch.",
        )
    if numbers.ndim not in (1, 2):
        raise InputError(
            f"{name}: shape {numbers.shape} is no sound",
            remedy="Hand over (channels, samples) or (samples,).",
        )
    if numbers.ndim == 2 and numbers.shape[1] <= MAX_CHANNELS < numbers.shape[0]:
        raise InputError(
            f"{name}: shape {numbers.shape} has {numbers.shape[0]} channels of "
            f"{numbers.shape[1]} samples",
            remedy="Channels come first: hand over its transpose, waveform.T.",
        )
    audio = checked(np.atleast_2d(numbers), _rate(sample_rate, name), name=name)
    peak = float(np.abs(audio.waveform).max())
    if peak > LOUDEST:
        raise InputError(
            f"{name}: the loudest sample is {peak:g}, samples are in -1 to 1",
            remedy="Divide samples of 16 bits by 32768.",
        )
    return audio


def as_audios(waveforms: Batch, sample_rate: float, *, name: str = "waveforms") -> list[Audio]:
    """Take a batch; items of a sequence may differ in length and channels.

    Raises:
        InputError: If it is empty, of two axes, which could be a batch or channels, or if
            an item is not one sound. The message names the item.
    """
    axes = getattr(waveforms, "ndim", None)
    if axes is not None and axes != 3:
        raise InputError(
            f"{name}: {axes} axes are no batch, which has (batch, channels, samples)",
            remedy="Hand over one sound to Gate.release, or a list of sounds.",
        )
    rows: list[Any] = list(waveforms)  # type: ignore[arg-type]  # an array has rows, too
    if not rows:
        raise InputError(f"{name}: the batch is empty", remedy="Hand over at least one sound.")
    return [as_audio(row, sample_rate, name=f"{name}[{i}]") for i, row in enumerate(rows)]


def _numbers(waveform: Sound, name: str) -> npt.NDArray[np.float32]:
    """Bring an array or tensor to the CPU as float32."""
    given: Any = waveform
    try:
        if hasattr(given, "detach"):  # a tensor, without importing torch to ask
            given = given.detach().cpu()
            # numpy knows no bfloat16.
            given = (given.float() if given.is_floating_point() else given).numpy()
        numbers = np.asarray(given)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{name}: a {type(waveform).__name__} is no row of numbers",
            remedy="Hand over a dense array or tensor of floats.",
        ) from error
    if numbers.dtype.kind != "f":
        raise InputError(
            f"{name}: samples are {numbers.dtype}, not floats in -1 to 1",
            remedy="Convert them; samples of 16 bits are divided by 32768.",
        )
    return numbers.astype(np.float32, copy=True)


def _rate(sample_rate: float, name: str) -> int:
    if isinstance(sample_rate, bool) or not float(sample_rate).is_integer():
        raise InputError(
            f"{name}: sample rate {sample_rate!r} is no whole number of Hz",
            remedy="Give it in Hz, like 44100.",
        )
    return int(sample_rate)
