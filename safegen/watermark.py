"""Write a 64-bit id into a sound so that it survives copying, and listen for it.

The mark is computed at 16 kHz and only the *difference* is resampled and added:
the programme itself is never resampled, keeps its band and its channels, and is
bit-identical where it is silent. The pattern and its reading are in
``detectors.watermark``.

What the mark is not: proof. Whoever holds ten marked minutes can estimate the
pattern of one key, and anybody can copy a mark onto another recording; the payload
is a claim that ``safegen verify`` compares with the record it names.
"""

from collections.abc import Mapping
from math import gcd
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.ndimage import minimum_filter1d, uniform_filter1d
from scipy.signal import resample_poly

from detectors import watermark as ear
from detectors.base import WatermarkFinding
from safegen.audio import Audio

DEFAULT_STRENGTH: Final = 0.2
"""Change of a tile's log-magnitude at 1.2 kHz, in nepers; 0.1 at 312 Hz and 0.4 at 5 kHz."""

_BIN_HZ: Final = ear.SAMPLE_RATE / ear.WINDOW
_REFERENCE_HZ: Final = 1_200.0
_TILT: Final = 0.5
"""High tiles change more than low ones: measured on speech, PESQ forgives them most."""

__all__ = ["DEFAULT_STRENGTH", "WatermarkFinding", "detect", "embed"]


def embed(audio: Audio, *, payload: int, key: bytes, strength: float = DEFAULT_STRENGTH) -> Audio:
    """Mark every channel with the same id.

    Args:
        audio: Any rate and number of channels. Sounds of less than about three
            seconds are marked, too, but the id may not be readable afterwards.
        payload: In [0, 2**64).
        key: The secret, at least 16 bytes.
        strength: Change of a tile at 1.2 kHz in nepers, > 0.

    Returns:
        A sound of the same shape and rate. No sample goes beyond full scale that did not before.

    Raises:
        ValueError: If the payload or the key is out of range.

    Cost: about 6 ms of one core per second of 44.1 kHz stereo.
    """
    signs = ear.tile_signs(ear.pattern(key), payload)
    low = ear.to_mark_rate(audio.waveform, audio.sample_rate)
    delta = np.stack([_difference(channel, signs, strength) for channel in low])
    delta = _to_rate(delta, audio.sample_rate, audio.waveform.shape[1])
    marked = audio.waveform + _within_headroom(audio.waveform, delta)
    limit = np.maximum(np.abs(audio.waveform), 1.0)
    return Audio(
        waveform=np.clip(marked, -limit, limit).astype(np.float32), sample_rate=audio.sample_rate
    )


def detect(audio: Audio, *, keys: Mapping[str, bytes]) -> WatermarkFinding:
    """Listen for every key; the finding is the best key's, corrected for having tried all.

    Args:
        audio: Any rate, length and number of channels.
        keys: Key id -> secret.
    """
    return ear.detect(audio.waveform, audio.sample_rate, keys=keys)


def _difference(
    channel: npt.NDArray[np.float32], signs: ear.Signs, strength: float
) -> npt.NDArray[np.float32]:
    """Compute marked minus unmarked for one channel at the mark's rate."""
    first, last = ear.FIRST_BIN, ear.FIRST_BIN + ear.BANDS * ear.TILE_BINS
    center_hz = (first + ear.TILE_BINS * (np.arange(ear.BANDS) + 0.5)) * _BIN_HZ
    change = strength * (center_hz / _REFERENCE_HZ) ** _TILT * signs
    gains = np.repeat(np.expm1(change).astype(np.float32), ear.TILE_BINS, axis=1)
    out = np.zeros(len(channel) + 4 * ear.WINDOW, np.float32)
    done = 0
    for frames in ear.spectra(channel):
        slots = (np.arange(done, done + len(frames)) // ear.TILE_FRAMES) % ear.SLOTS
        changed = np.zeros_like(frames)
        changed[:, first:last] = frames[:, first:last] * gains[slots]
        pieces = np.fft.irfft(changed, ear.WINDOW, axis=1) * ear.WINDOW_SHAPE
        for part in range(ear.WINDOW // ear.HOP):
            rows = pieces[:, part * ear.HOP : (part + 1) * ear.HOP].reshape(-1)
            begin = (done + part) * ear.HOP
            # Four Hann windows squared overlap to 1.5.
            out[begin : begin + len(rows)] += rows / 1.5
        done += len(frames)
    return out[ear.WINDOW // 2 : ear.WINDOW // 2 + len(channel)]


def _to_rate(
    delta: npt.NDArray[np.float32], sample_rate: int, samples: int
) -> npt.NDArray[np.float32]:
    """Bring the difference to the programme's rate and length."""
    if sample_rate != ear.SAMPLE_RATE:
        common = gcd(ear.SAMPLE_RATE, sample_rate)
        delta = resample_poly(
            delta, sample_rate // common, ear.SAMPLE_RATE // common, axis=1
        ).astype(np.float32)
    missing = max(0, samples - delta.shape[1])
    return np.pad(delta, ((0, 0), (0, missing)))[:, :samples]


def _within_headroom(
    waveform: npt.NDArray[np.float32], delta: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Turn the mark down around peaks that it would push over full scale."""
    limit = np.maximum(np.abs(waveform), 1.0)
    over = np.abs(waveform + delta) > limit
    if not over.any():
        return delta
    room = np.maximum(limit - np.abs(waveform), 0.0)
    allowed = np.where(over, room / np.maximum(np.abs(delta), 1e-12), 1.0)
    # The mean of minima never exceeds what the sample in the middle allows.
    width = 255
    calm = uniform_filter1d(minimum_filter1d(allowed, width, axis=1), width, axis=1)
    return np.asarray(delta * np.clip(calm, 0.0, 1.0), dtype=np.float32)
