"""What is heard in a scene, before any of it is heard?

A *scene* is to sound effects what a plan is to music: one to three layers, each a sound
with a level, a stretch of time, a rate and a variant. It says everything the renderer
needs, can be checked and kept before audio exists, and turns into frames (``scene_roll``)
that tell a model where every event is.

``compose_scene`` draws scenes from integers only, so a seed means the same scene on
every platform.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from safegen.audio import Audio
from safegen.errors import InputError
from safegen.generation.codec import FRAME_RATE
from safegen.generation.compose import Dice
from safegen.generation.sound_parts import SAMPLE_RATE, Floats, filtered, noise, slope
from safegen.generation.soundfont import normalized
from safegen.generation.sounds import (
    EVENT_NAMES,
    NAMES,
    RATES,
    VARIANTS,
    event_times,
    render_sound,
)

MAX_LAYERS: Final = 3
LEVELS_DB: Final = (0, -3, -6, -9, -12, -15)
DISTANT_DB: Final = -9
"""Layers at or below this level lose their treble, as far things do."""
STEP_SECONDS: Final = 0.2
LAST_STEP: Final = 300
"""Layers begin and end within the first minute; one without an end goes on."""
SCENE_SECONDS: Final = 10.0
"""Length that composed scenes have in mind."""

_FADE_SECONDS: Final = 0.08
_TAIL_SECONDS: Final = 0.4
_ROOM_DB: Final = (-36.0, -29.0)
_DISTANT_HZ: Final = 1500.0
_ONSETS: Final = 2 * len(NAMES)
SCENE_CHANNELS: Final = 2 * len(NAMES) + 2 * len(EVENT_NAMES)

_BYTE: Final = 256
_TOKENS: Final = (
    len(NAMES), len(LEVELS_DB), len(RATES), LAST_STEP + 1, LAST_STEP + 1, _BYTE, _BYTE,
)  # fmt: skip
LAYER_TOKENS: Final = len(_TOKENS)
SCENE_VOCABULARY: Final = 1 + sum(_TOKENS)


@dataclass(frozen=True, slots=True, kw_only=True)
class SoundLayer:
    """One sound of a scene.

    Attributes:
        sound: One of ``safegen.generation.sounds.NAMES``.
        level_db: One of ``LEVELS_DB``; the loudest layer is the foreground.
        rate: One of ``safegen.generation.sounds.RATES``: pace of the events, or density.
        start_step: When it begins, in steps of ``STEP_SECONDS``.
        end_step: When it ends, > ``start_step``; 0 if it goes on.
        variant: Which of its kind, in [0, ``VARIANTS``).
    """

    sound: str
    level_db: int
    rate: str
    start_step: int
    end_step: int
    variant: int

    def __post_init__(self) -> None:
        """Refuse values outside the vocabulary, so that every layer has tokens."""
        legal = (
            self.sound in NAMES
            and self.level_db in LEVELS_DB
            and self.rate in RATES
            and _within(self.start_step, LAST_STEP)
            and _within(self.end_step, LAST_STEP)
            and (self.end_step == 0 or self.end_step > self.start_step)
            and _within(self.variant, VARIANTS - 1)
        )
        if not legal:
            raise InputError(
                f"this is not a layer of a scene: {self}",
                remedy="Make scenes with safegen.generation.scenes.compose_scene.",
            )

    @property
    def start_seconds(self) -> float:
        """When it begins."""
        return self.start_step * STEP_SECONDS

    def end_seconds(self, seconds: float) -> float:
        """When it ends in a scene of so many seconds."""
        return min(seconds, self.end_step * STEP_SECONDS) if self.end_step else seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What is heard, before it is heard.

    Attributes:
        layers: One to ``MAX_LAYERS``, each of another sound; one of them at 0 dB or all of
            them far away.
    """

    layers: tuple[SoundLayer, ...]

    def __post_init__(self) -> None:
        """Refuse scenes that are empty, crowded or say a sound twice."""
        if not 1 <= len(self.layers) <= MAX_LAYERS:
            raise InputError(f"{len(self.layers)} layers in a scene, 1 to {MAX_LAYERS} are allowed")
        if len(set(self.sounds)) < len(self.layers):
            raise InputError(f"a scene has a sound twice: {', '.join(self.sounds)}")

    @property
    def sounds(self) -> tuple[str, ...]:
        """Names of the sounds, in the order of the layers."""
        return tuple(layer.sound for layer in self.layers)


def compose_scene(seed: int) -> Scene:
    """Compose the scene that belongs to a seed.

    Sixty in a hundred have one sound, thirty-five two, five three. Two sounds are heard
    together, one behind the other, or one after the other.

    Args:
        seed: Any integer; it is taken modulo 2**64.

    Returns:
        The same scene for the same seed, on every platform.
    """
    dice = Dice(seed)
    roll = dice.below(100)
    count = 1 if roll < 60 else 2 if roll < 95 else 3
    names: list[str] = []
    while len(names) < count:
        name = dice.choice(NAMES)
        if name not in names:
            names.append(name)
    relation = dice.choice(("together", "together", "behind", "behind", "then"))
    change = dice.between(12, 28)
    layers = []
    for place, name in enumerate(names):
        level = 0
        if count == 1:
            level = -12 if dice.chance(15) else 0
        elif relation == "behind" and place > 0:
            level = dice.choice((-6, -9, -12))
        elif place > 0:
            level = dice.choice((0, 0, -3))
        follows = relation == "then" and count == 2
        layers.append(
            SoundLayer(
                sound=name,
                level_db=level,
                rate=dice.choice(RATES),
                start_step=change if follows and place == 1 else 0,
                end_step=change if follows and place == 0 else 0,
                variant=dice.below(VARIANTS),
            )
        )
    return Scene(layers=tuple(layers))


def events(layer: SoundLayer, seconds: float) -> tuple[float, ...]:
    """Say when the events of a layer happen in a scene of so many seconds.

    Renderer and roll both ask here, so they cannot disagree. A longer scene has the
    events of the shorter one and more.
    """
    length = layer.end_seconds(seconds) - layer.start_seconds
    times = event_times(layer.sound, rate=layer.rate, variant=layer.variant, seconds=length)
    return tuple(layer.start_seconds + time for time in times)


def render_scene(scene: Scene, *, seconds: float, samples: Path | None = None) -> Audio:
    """Render a scene, mono, at the loudness of the other training items.

    Args:
        scene: What is heard.
        seconds: Length, > 0.
        samples: Folder with the ``sonic-pi-samples``, for the sounds that need it.

    Returns:
        Shape (1, round(seconds * SAMPLE_RATE)).

    Raises:
        InputError: If a sound needs the samples and they are not given.
    """
    total = round(seconds * SAMPLE_RATE)
    mix = np.zeros(total)
    for layer in scene.layers:
        length = layer.end_seconds(seconds) - layer.start_seconds
        if length <= 0:
            continue
        sound = render_sound(
            layer.sound, rate=layer.rate, variant=layer.variant, seconds=length, samples=samples
        )
        if layer.level_db <= DISTANT_DB:
            sound = filtered(sound, _far)
        start = round(layer.start_seconds * SAMPLE_RATE)
        fading = layer.end_step > 0 and start + len(sound) < total
        sound = _faded(sound, at_start=start > 0, at_end=fading)[: total - start]
        mix[start : start + len(sound)] += 10.0 ** (layer.level_db / 20) * sound
    mix += _room(scene, total)
    return Audio(waveform=normalized(mix.astype(np.float32))[None], sample_rate=SAMPLE_RATE)


def scene_roll(scene: Scene, *, frames: int) -> npt.NDArray[np.float32]:
    """Lay a scene out over codec frames.

    Args:
        scene: What is heard.
        frames: How many frames of 40 ms, >= 1.

    Returns:
        Shape (frames, SCENE_CHANNELS). For each sound its level (1 at 0 dB, 1/4 at -15 dB,
        0 while it is silent), then for each its rate (-1 slow, 0 medium, 1 fast) while it
        sounds, then for each sound with events two channels: 1 in the frame of an event,
        and the place within that frame in [0, 1).
    """
    rows = np.zeros((frames, SCENE_CHANNELS), dtype=np.float32)
    # As in a longer scene: a minute is where the last layer ends.
    seconds = max(frames / FRAME_RATE, LAST_STEP * STEP_SECONDS)
    for layer in scene.layers:
        channel = NAMES.index(layer.sound)
        first = round(layer.start_seconds * FRAME_RATE)
        last = round(layer.end_seconds(seconds) * FRAME_RATE)
        rows[first:last, channel] = 1.0 + layer.level_db / 20
        rows[first:last, len(NAMES) + channel] = RATES.index(layer.rate) - 1
        for time in events(layer, frames / FRAME_RATE):
            frame = int(time * FRAME_RATE)
            if frame < frames:
                onset = _ONSETS + 2 * EVENT_NAMES.index(layer.sound)
                rows[frame, onset] = 1.0
                rows[frame, onset + 1] = time * FRAME_RATE - frame
    return rows


def to_tokens(scene: Scene) -> tuple[int, ...]:
    """Write a scene as ``LAYER_TOKENS`` tokens a layer, each in [1, ``SCENE_VOCABULARY``)."""
    tokens: list[int] = []
    for layer in scene.layers:
        values = (
            NAMES.index(layer.sound),
            LEVELS_DB.index(layer.level_db),
            RATES.index(layer.rate),
            layer.start_step,
            layer.end_step,
            layer.variant // _BYTE,
            layer.variant % _BYTE,
        )
        offset = 1
        for value, size in zip(values, _TOKENS, strict=True):
            tokens.append(offset + value)
            offset += size
    return tuple(tokens)


def from_tokens(tokens: Sequence[int]) -> Scene:
    """Read a scene back from its tokens.

    Raises:
        InputError: If a token does not belong to its position.
    """
    if len(tokens) % LAYER_TOKENS:
        raise InputError(f"{len(tokens)} scene tokens are not a multiple of {LAYER_TOKENS}")
    layers = []
    for start in range(0, len(tokens), LAYER_TOKENS):
        values, offset = [], 1
        for token, size in zip(tokens[start : start + LAYER_TOKENS], _TOKENS, strict=True):
            if not offset <= token < offset + size:
                raise InputError(f"scene token {token} is outside [{offset}, {offset + size})")
            values.append(int(token) - offset)
            offset += size
        name, level, rate, first, last, high, low = values
        layers.append(
            SoundLayer(
                sound=NAMES[name],
                level_db=LEVELS_DB[level],
                rate=RATES[rate],
                start_step=first,
                end_step=last,
                variant=high * _BYTE + low,
            )
        )
    return Scene(layers=tuple(layers))


def to_json(scene: Scene) -> str:
    """Write a scene as canonical JSON: sorted keys, no spaces, ASCII."""
    return json.dumps(asdict(scene), sort_keys=True, separators=(",", ":"))


def from_json(text: str) -> Scene:
    """Read a scene from JSON.

    Raises:
        InputError: If the text is not a scene.
    """
    try:
        rows = json.loads(text)["layers"]
        return Scene(layers=tuple(SoundLayer(**row) for row in rows))
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"this is not a scene: {error}") from error


def digest(scene: Scene) -> str:
    """Name a scene by the sha256 of its canonical JSON, in hex."""
    return hashlib.sha256(to_json(scene).encode()).hexdigest()


def _within(value: object, top: int) -> bool:
    return type(value) is int and 0 <= value <= top


def _room(scene: Scene, samples: int) -> Floats:
    """The faint noise of a place, which every recording has and the codec expects.

    Pure tones on digital silence are unlike anything the codec heard: with this floor its
    log-mel error on sirens, birds and beeps halves.
    """
    dice = np.random.default_rng([*(layer.variant for layer in scene.layers), 3])
    level = 10.0 ** (dice.uniform(*_ROOM_DB) / 20)
    sound = noise(dice, samples, slope(60.0, dice.uniform(4000.0, 9000.0), 0.45))
    return np.asarray(level * sound)


def _far(frequencies: Floats) -> Floats:
    """What air and houses leave of a far sound."""
    return np.asarray(1.0 / (1.0 + np.square(frequencies / _DISTANT_HZ)))


def _faded(sound: Floats, *, at_start: bool, at_end: bool) -> Floats:
    """Take the clicks off a layer that begins or ends within the scene."""
    fade = min(len(sound), round(_FADE_SECONDS * SAMPLE_RATE))
    out = sound.copy()
    if at_start:
        out[:fade] *= np.sin(np.linspace(0.0, 0.5 * np.pi, fade))
    if at_end:
        tail = min(len(sound), round(_TAIL_SECONDS * SAMPLE_RATE))
        out[len(out) - tail :] *= np.cos(np.linspace(0.0, 0.5 * np.pi, tail))
    return out
