"""What happens in each 40 ms of a score?

The renderer reads a *roll*: one row per codec frame with the notes that sound, how much
of the frame they fill, where within the frame they start, the drums, the phase of beat
and bar, and which instruments play. Notes stand at absolute pitches, so the renderer
never has to know what a key is.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from safegen.generation.codec import FRAME_RATE
from safegen.generation.compose import (
    BEATS_PER_BAR,
    COMPS,
    DRUM_PITCHES,
    INSTRUMENTS,
    Plan,
    score,
)

_RANGES: Final = {"melody": (40, 112), "chords": (48, 72), "bass": (30, 50)}
"""Lowest pitch and the first one above the highest, by track."""

_CHANNELS: Final = sum(high - low for low, high in _RANGES.values())
_ONSETS: Final = 2 * sum(high - low for low, high in _RANGES.values())
_DRUMS: Final = 2 * len(DRUM_PITCHES)
_PHASES: Final = 4
_SOUNDS: Final = len(INSTRUMENTS) + len(COMPS) + 1
ROLL_CHANNELS: Final = _CHANNELS + _ONSETS + _DRUMS + _PHASES + _SOUNDS
NOTES: Final = slice(0, _CHANNELS + _ONSETS)
RHYTHM: Final = slice(_CHANNELS + _ONSETS, _CHANNELS + _ONSETS + _DRUMS + _PHASES)
SOUNDS: Final = slice(ROLL_CHANNELS - _SOUNDS, ROLL_CHANNELS)
"""Columns of a roll: what is played, when the beat falls, and which instruments play."""
_DECAY_FRAMES: Final = 25.0


def roll(plan: Plan, *, frames: int) -> npt.NDArray[np.float32]:
    """Lay a plan out over codec frames.

    Args:
        plan: The piece.
        frames: How many frames of 40 ms, >= 1.

    Returns:
        Shape (frames, ROLL_CHANNELS): sounding notes (share of the frame, fading after
        the onset), onsets (1 in the frame, then the place within it in [0, 1)), drum
        hits (likewise), phases, and constant rows for the instruments.
    """
    rows = np.zeros((frames, ROLL_CHANNELS), dtype=np.float32)
    bases = _bases()
    onsets = _CHANNELS
    drums = onsets + _ONSETS
    for note in score(plan, seconds=frames / FRAME_RATE):
        start = note.start_seconds * FRAME_RATE
        first = int(start)
        if first >= frames:
            continue
        if note.track == "drums":
            place = drums + 2 * DRUM_PITCHES.index(note.pitch)
            rows[first, place] = note.velocity / 127
            rows[first, place + 1] = start - first
            continue
        channel = bases[note.track] + note.pitch - _RANGES[note.track][0]
        end = min(note.end_seconds * FRAME_RATE, float(frames))
        for frame in range(first, int(np.ceil(end))):
            share = min(end, frame + 1) - max(start, frame)
            age = max(0.0, frame - start)
            value = share * (0.4 + 0.6 * np.exp(-age / _DECAY_FRAMES))
            rows[frame, channel] = max(rows[frame, channel], value)
        rows[first, onsets + 2 * channel] = note.velocity / 127
        rows[first, onsets + 2 * channel + 1] = start - first
    phases = drums + _DRUMS
    beats = np.arange(frames) / FRAME_RATE * plan.tempo_bpm / 60
    for i, period in enumerate((1, BEATS_PER_BAR)):
        rows[:, phases + 2 * i] = np.sin(2 * np.pi * beats / period)
        rows[:, phases + 2 * i + 1] = np.cos(2 * np.pi * beats / period)
    sounds = phases + _PHASES
    rows[:, sounds + [x.name for x in INSTRUMENTS].index(plan.instrument)] = 1
    rows[:, sounds + len(INSTRUMENTS) + [x.name for x in COMPS].index(plan.comp)] = 1
    rows[:, sounds + _SOUNDS - 1] = float(plan.bass)
    return rows


def _bases() -> dict[str, int]:
    """First channel of each pitched track."""
    bases, total = {}, 0
    for track, (low, high) in _RANGES.items():
        bases[track] = total
        total += high - low
    return bases
