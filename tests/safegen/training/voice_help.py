"""Something like speech for tests: syllables of a buzz with a moving pitch, and pauses."""

import numpy as np

from safegen.audio import Audio


def babbling(seconds: float, *, sample_rate: int, seed: int) -> Audio:
    """Make syllables of .2 s with harmonics up to 4 kHz, two in three of them voiced."""
    dice = np.random.default_rng(seed)
    time = np.arange(round(0.2 * sample_rate)) / sample_rate
    shape = np.sin(np.pi * time / 0.2) ** 0.5
    parts = []
    for _ in range(int(np.ceil(seconds / 0.2))):
        if dice.random() < 2 / 3:
            pitch = float(dice.uniform(90, 220))
            turn = 2 * np.pi * np.cumsum(pitch * (1 + 0.1 * time / 0.2)) / sample_rate
            tone = float(dice.uniform(300, 2500))
            sound = sum(
                np.sin(k * turn) / (1 + ((k * pitch - tone) / 400) ** 2)
                for k in range(1, int(4_000 / pitch))
            )
        else:
            sound = dice.standard_normal(len(time)) * 0.5
        parts.append(0.3 * shape * sound / max(1e-9, float(np.abs(sound).max())))
    samples = np.concatenate(parts)[: round(seconds * sample_rate)].astype(np.float32)
    return Audio(waveform=samples[None], sample_rate=sample_rate)
