"""How does a score become the recording a model learns from?

The door to tinysoundfont. Training items are rendered with an MIT-licensed General
MIDI soundfont (FluidR3Mono, in Debian's ``fluidr3mono-gm-soundfont``), mono, at
32 kHz, and brought to one loudness, so that an item is fully named by its seed.

tinysoundfont asks for PyAudio on installation and does not need it here: install it
with ``--no-deps``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from safegen.audio import Audio, Waveform
from safegen.errors import InputError
from safegen.generation.compose import Plan, score

SAMPLE_RATE: Final = 32_000
LOUDNESS_RMS: Final = 0.1
PEAK: Final = 0.98
_BLOCK: Final = 64
_CHANNELS: Final = {"melody": 0, "chords": 1, "bass": 2, "drums": 9}
_SOUNDFONTS: Final = "FluidR3Mono_GM.sf3"


class SoundfontRenderer:
    """Renders plans with a General MIDI soundfont.

    Args:
        soundfont: Path of an sf2 or sf3 file.

    Raises:
        InputError: If the file or the library is missing.
    """

    def __init__(self, soundfont: Path) -> None:
        if not soundfont.is_file():
            raise InputError(
                f"{soundfont}: no such soundfont",
                remedy="Run `safegen eval assets --assets FOLDER` to fetch it.",
            )
        try:
            import tinysoundfont
        except ImportError as error:
            raise InputError(
                "tinysoundfont is not installed",
                remedy="Run `pip install --no-deps tinysoundfont`.",
            ) from error
        self._synth = tinysoundfont.Synth(samplerate=SAMPLE_RATE, gain=-6)
        self._font = self._synth.sfload(str(soundfont))

    def render(self, plan: Plan, *, seconds: float) -> Audio:
        """Render the first seconds of a plan, mono, at ``LOUDNESS_RMS``.

        Args:
            plan: The piece.
            seconds: Length, > 0. Onsets are placed to the nearest 2 ms.

        Returns:
            Shape (1, round(seconds * 32000)).
        """
        synth = self._synth
        synth.sounds_off()
        notes = score(plan, seconds=seconds)
        for note in notes:
            channel = _CHANNELS[note.track]
            bank = 128 if note.track == "drums" else 0
            synth.program_select(channel, self._font, bank, note.program, channel == 9)
        events = sorted(
            [(_block(n.start_seconds), 1, n) for n in notes]
            + [(_block(n.end_seconds), 0, n) for n in notes],
            key=lambda e: (e[0], e[1], e[2].track, e[2].pitch),
        )
        total = round(seconds * SAMPLE_RATE)
        blocks = -(-total // _BLOCK)
        parts: list[Waveform] = []
        now = 0
        for block, starts, note in events:
            if block >= blocks:
                break
            if block > now:
                parts.append(self._generate((block - now) * _BLOCK))
                now = block
            if starts:
                synth.noteon(_CHANNELS[note.track], note.pitch, note.velocity)
            else:
                synth.noteoff(_CHANNELS[note.track], note.pitch)
        parts.append(self._generate((blocks - now) * _BLOCK))
        synth.sounds_off()
        self._generate(SAMPLE_RATE // 2)
        return Audio(
            waveform=normalized(np.concatenate(parts)[:total])[None], sample_rate=SAMPLE_RATE
        )

    def _generate(self, samples: int) -> Waveform:
        stereo = np.frombuffer(self._synth.generate(samples), dtype=np.float32)
        return np.asarray(stereo.reshape(-1, 2).mean(axis=1), dtype=np.float32)


def find_soundfont(assets: Path) -> Path | None:
    """Find the training soundfont below an assets folder; the first in sorted order."""
    return next(iter(sorted(assets.rglob(_SOUNDFONTS))), None)


def normalized(waveform: Waveform) -> Waveform:
    """Scale to ``LOUDNESS_RMS``, or to ``PEAK`` if that is quieter; silence stays silence."""
    rms = float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64))))
    peak = float(np.abs(waveform).max(initial=0.0))
    if rms < 1e-6:
        return waveform
    gain = min(LOUDNESS_RMS / rms, PEAK / peak)
    return np.asarray(waveform * gain, dtype=np.float32)


def _block(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE / _BLOCK)
