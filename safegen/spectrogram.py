"""What does a sound look like? A small picture for reports, log frequency over time."""

import io
from typing import Final

import numpy as np

from safegen.audio import Audio

COLUMNS: Final = 720
ROWS: Final = 112
LOWEST_HZ: Final = 60.0
HIGHEST_HZ: Final = 16_000.0
_WINDOW: Final = 4096
_RANGE_DB: Final = 72.0


def spectrogram_png(audio: Audio) -> bytes:
    """Draw a sound as PNG, ``COLUMNS`` by ``ROWS`` pixels, low frequencies at the bottom.

    Columns are spread evenly over the whole sound, so a long one is sampled, not averaged.
    The loudest bin is bright, everything 72 dB below it is black.
    """
    import matplotlib.image

    mono = audio.mono().astype(np.float64)
    padded = np.pad(mono, (_WINDOW // 2, _WINDOW // 2))
    starts = np.linspace(0, len(mono) - 1, COLUMNS).astype(int)
    frames = padded[starts[:, None] + np.arange(_WINDOW)[None, :]] * np.hanning(_WINDOW)
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2  # (columns, bins)
    top = min(HIGHEST_HZ, audio.sample_rate / 2 * 0.98)
    edges = np.geomspace(min(LOWEST_HZ, top / 2), top, ROWS + 1) / audio.sample_rate * _WINDOW
    low = np.minimum(edges[:-1].astype(int), power.shape[1] - 1)
    high = np.minimum(np.maximum(edges[1:].astype(int), low + 1), power.shape[1])
    summed = np.concatenate([np.zeros((COLUMNS, 1)), np.cumsum(power, axis=1)], axis=1)
    bands = (summed[:, high] - summed[:, low]) / (high - low)
    level_db = 10.0 * np.log10(np.maximum(bands, 1e-20))
    shade = np.clip((level_db - level_db.max()) / _RANGE_DB + 1.0, 0.0, 1.0)
    if not mono.any():
        shade = np.zeros_like(shade)
    buffer = io.BytesIO()
    matplotlib.image.imsave(buffer, shade.T[::-1], cmap="magma", vmin=0.0, vmax=1.0, format="png")
    return buffer.getvalue()
