"""What does a plan sound like without weights and without a soundfont?

``--model procedural``: a composer and an additive synthesizer in numpy. It exists for
tests and for the works of the demo's catalog; it is never the default, because nothing
in it was learned from a prompt: words choose only what the tokenizer reads exactly
(tempo, key) and whether drums play.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from safegen.audio import Audio, Waveform
from safegen.generation.base import Generation, ModelFacts, Pieces, Request
from safegen.generation.cards import card
from safegen.generation.compose import (
    CLAP,
    HAT,
    KICK,
    MAX_TEMPO_BPM,
    MIN_TEMPO_BPM,
    OPEN_HAT,
    SHAKER,
    SNARE,
    Note,
    Plan,
    compose,
    score,
    to_json,
    to_tokens,
)
from safegen.generation.requests import check

SAMPLE_RATE: Final = 32_000
LOUDNESS_RMS: Final = 0.1
_RELEASE_SECONDS: Final = 0.08
_TAIL_SECONDS: Final = 0.5

Floats = npt.NDArray[np.float64]

# Amplitudes of the first harmonics, attack in seconds, decay per second, by family
# of eight General MIDI programs: piano, chromatic percussion, organ, guitar, bass,
# strings, ensemble, brass, reed, pipe, synth lead, synth pad.
_FAMILIES: Final[tuple[tuple[tuple[float, ...], float, float], ...]] = (
    ((1.0, 0.5, 0.35, 0.2, 0.12, 0.08), 0.004, 2.0),
    ((1.0, 0.1, 0.05, 0.35), 0.002, 3.5),
    ((1.0, 0.8, 0.5, 0.4, 0.2, 0.25), 0.01, 0.0),
    ((1.0, 0.7, 0.45, 0.3, 0.2, 0.1, 0.05), 0.003, 2.6),
    ((1.0, 0.6, 0.2, 0.1), 0.005, 1.2),
    ((1.0, 0.55, 0.45, 0.3, 0.25, 0.15, 0.1), 0.06, 0.0),
    ((1.0, 0.45, 0.3, 0.2, 0.1), 0.08, 0.0),
    ((1.0, 0.8, 0.7, 0.5, 0.35, 0.25, 0.15), 0.03, 0.2),
    ((1.0, 0.15, 0.6, 0.1, 0.35, 0.05, 0.15), 0.03, 0.1),
    ((1.0, 0.25, 0.08), 0.05, 0.1),
    ((1.0, 0.5, 0.33, 0.25, 0.2, 0.17, 0.14, 0.12), 0.005, 0.1),
    ((1.0, 0.4, 0.3, 0.1), 0.15, 0.0),
)
_GAINS: Final = {"melody": 0.5, "chords": 0.14, "bass": 0.5, "drums": 0.7}


def render(plan: Plan, *, seconds: float) -> Audio:
    """Play a plan on sine waves, mono, at ``LOUDNESS_RMS``.

    Args:
        plan: The piece.
        seconds: Length, > 0.

    Returns:
        Shape (1, round(seconds * SAMPLE_RATE)); the same plan gives the same bits on the
        same build of numpy.
    """
    total = round(seconds * SAMPLE_RATE)
    mix = np.zeros(total + SAMPLE_RATE)
    for note in score(plan, seconds=seconds):
        sound = _drum(note) if note.track == "drums" else _tone(note)
        start = round(note.start_seconds * SAMPLE_RATE)
        end = min(start + len(sound), len(mix))
        mix[start:end] += _GAINS[note.track] * note.velocity / 127 * sound[: end - start]
    mix = mix[:total]
    rms = np.sqrt(np.mean(mix**2)) + 1e-9
    gain = min(LOUDNESS_RMS / rms, 0.98 / (np.abs(mix).max() + 1e-9))
    return Audio(waveform=(mix * gain).astype(np.float32)[None], sample_rate=SAMPLE_RATE)


class ProceduralGenerator:
    """Composes by seed and plays on sine waves; for tests."""

    @property
    def facts(self) -> ModelFacts:
        """What the record says about the model."""
        return ModelFacts(name="procedural", version="1", license="Apache-2.0")

    def generate(
        self, request: Request, *, progress: Callable[[float], None] | None = None
    ) -> Generation:
        """Make one item; see ``safegen.generation.base.Generator``.

        Raises:
            InputError: If the request is outside what the card allows.
        """
        check(request, card("procedural"))
        plan = _plan(request)
        audio = render(plan, seconds=request.seconds)
        if progress is not None:
            progress(1.0)
        return Generation(
            audio=audio,
            plan_json=to_json(plan),
            plan_tokens=np.array(to_tokens(plan), dtype=np.int64),
            codes=np.zeros((0, 0), dtype=np.int64),
        )

    def stream(
        self, request: Request, *, progress: Callable[[float], None] | None = None
    ) -> Pieces:
        """Make one item and give it second by second; see ``base.StreamingGenerator``.

        It is loud by what is loud in all of it, so all of it is made first.

        Raises:
            InputError: As ``generate``.
        """
        check(request, card("procedural"))
        return self._pieces(request, progress)

    def _pieces(self, request: Request, progress: Callable[[float], None] | None) -> Pieces:
        piece = self.generate(request, progress=progress)
        sound = piece.audio
        for at in range(0, sound.waveform.shape[1], SAMPLE_RATE):
            part = sound.waveform[:, at : at + SAMPLE_RATE]
            yield replace(piece, audio=replace(sound, waveform=part))
            piece = replace(piece, plan_json="", plan_tokens=np.zeros(0, dtype=np.int64))


def _plan(request: Request) -> Plan:
    """Compose for a prompt and seed; a named tempo is followed, so are two words on drums."""
    name = f"{request.prompt}\n{request.seed}".encode()
    plan = compose(int.from_bytes(hashlib.sha256(name).digest()[:8], "big"))
    found = re.search(r"\b(\d{2,3})\s*(?:bpm|beats per minute)", request.prompt, re.IGNORECASE)
    if found:
        tempo = min(max(int(found.group(1)), MIN_TEMPO_BPM), MAX_TEMPO_BPM)
        plan = replace(plan, tempo_bpm=tempo)
    if re.search(r"\b(?:no|without) (?:drums|percussion|beat)", request.prompt, re.IGNORECASE):
        return replace(plan, drums="none")
    if "drums" in request.prompt.lower() and not plan.has_drums:
        return replace(plan, drums="rock")
    return plan


def _tone(note: Note) -> Floats:
    """Sum harmonics of a note, with attack, decay and release."""
    harmonics, attack, decay = _FAMILIES[min(note.program // 8, len(_FAMILIES) - 1)]
    length = note.end_seconds - note.start_seconds
    ringing = _TAIL_SECONDS if decay > 1 else _RELEASE_SECONDS
    t = np.arange(round((length + ringing) * SAMPLE_RATE)) / SAMPLE_RATE
    frequency = 440.0 * 2.0 ** ((note.pitch - 69) / 12)
    sound = np.zeros_like(t)
    for k, amplitude in enumerate(harmonics, 1):
        if k * frequency < SAMPLE_RATE / 2:
            fading = np.exp(-decay * (0.5 + 0.5 * k) * t)
            sound += amplitude * fading * np.sin(2 * np.pi * k * frequency * t)
    envelope = np.minimum(1.0, t / attack) * np.clip(1 - (t - length) / ringing, 0.0, 1.0)
    return np.asarray(sound * envelope / sum(harmonics))


def _drum(note: Note) -> Floats:
    """Make a drum from a falling sine or a burst of noise; the noise is always the same."""
    t = np.arange(round(0.3 * SAMPLE_RATE)) / SAMPLE_RATE
    noise = np.asarray(_NOISE[: len(t)], dtype=np.float64)
    bright = np.diff(noise, prepend=0.0)
    if note.pitch == KICK:
        sweep = 2 * np.pi * (50 * t + 110 * 0.03 * (1 - np.exp(-t / 0.03)))
        return np.asarray(np.sin(sweep) * np.exp(-t / 0.09) * 1.4)
    if note.pitch == SNARE:
        return np.asarray((0.7 * noise + 0.4 * np.sin(2 * np.pi * 190 * t)) * np.exp(-t / 0.07))
    lengths = {CLAP: 0.06, HAT: 0.025, OPEN_HAT: 0.12, SHAKER: 0.035}
    level = {CLAP: 0.7, HAT: 0.35, OPEN_HAT: 0.4, SHAKER: 0.25}
    return np.asarray(level[note.pitch] * bright * np.exp(-t / lengths[note.pitch]))


def _white_noise(samples: int) -> Waveform:
    """Make noise from a linear congruential generator: the same on every platform."""
    state, out = 12345, np.empty(samples, dtype=np.float32)
    for i in range(samples):
        state = (1_103_515_245 * state + 12_345) % 2**31
        out[i] = state / 2**30 - 1.0
    return out


_NOISE: Final = _white_noise(round(0.3 * SAMPLE_RATE))
