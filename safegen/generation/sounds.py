"""Which sounds exist, when do their events happen, and how is one rendered?

``SOUNDS`` is fixed: its order is the order of channels in ``safegen.generation.scenes``,
so a name is only ever added at the end. A sound is named by three integers (which one,
how fast, which variant) and they give the same samples on the same build.

Twenty sounds are procedural (``sound_textures``, ``sound_events``). Five are cut from the
CC0 recordings of Debian's ``sonic-pi-samples`` and need that folder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np

from safegen.generation import sound_events, sound_samples, sound_textures
from safegen.generation.sound_parts import SAMPLE_RATE, Floats, Order

RATES: Final = ("slow", "medium", "fast")
VARIANTS: Final = 65_536
_LOUDEST_SHARE: Final = 0.03
_WINDOW_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """When the events of a sound happen.

    Attributes:
        gaps_seconds: Mean time from one group to the next, by rate.
        jitter: How far a gap strays from its mean, as a share of it.
        group: Fewest and most events of a group.
        spacing_seconds: Shortest and longest time between events of a group.
    """

    gaps_seconds: tuple[float, float, float]
    jitter: float
    group: tuple[int, int] = (1, 1)
    spacing_seconds: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """A sound effect.

    Attributes:
        name: The word used in scenes.
        make: Renders an order; the second argument is the samples folder.
        rhythm: Of its events, None if the sound goes on without any.
        source: "procedural", or "samples" if it needs the samples folder.
    """

    name: str
    make: Callable[[Order, Path | None], Floats]
    rhythm: Rhythm | None
    source: Literal["procedural", "samples"]

    @property
    def has_events(self) -> bool:
        """Whether the sound is a series of events."""
        return self.rhythm is not None


def _procedural(name: str, make: Callable[[Order], Floats], rhythm: Rhythm | None = None) -> Sound:
    def made(order: Order, _: Path | None) -> Floats:
        return make(order)

    return Sound(name=name, make=made, rhythm=rhythm, source="procedural")


def _sampled(
    name: str, make: Callable[[Order, Path | None], Floats], rhythm: Rhythm | None = None
) -> Sound:
    return Sound(name=name, make=make, rhythm=rhythm, source="samples")


_EVENTS: Final = (
    ("thunder", sound_events.thunder, Rhythm(gaps_seconds=(7.0, 4.5, 2.6), jitter=0.3)),
    ("bell", sound_events.bell, Rhythm(gaps_seconds=(3.6, 2.0, 1.0), jitter=0.04)),
    ("footsteps", sound_events.footsteps, Rhythm(gaps_seconds=(0.8, 0.54, 0.32), jitter=0.06)),
    ("dripping", sound_events.dripping, Rhythm(gaps_seconds=(1.4, 0.7, 0.28), jitter=0.35)),
    ("laser", sound_events.laser, Rhythm(gaps_seconds=(1.6, 0.8, 0.35), jitter=0.3)),
    ("alarm", sound_events.alarm,
     Rhythm(gaps_seconds=(1.9, 1.3, 0.9), jitter=0.0, group=(2, 4), spacing_seconds=(0.16, 0.3))),
    ("clock", sound_events.clock_ticking, Rhythm(gaps_seconds=(1.0, 0.5, 0.25), jitter=0.0)),
    ("telephone", sound_events.phone, Rhythm(gaps_seconds=(3.6, 2.6, 1.8), jitter=0.02)),
    ("birds", sound_events.birds,
     Rhythm(gaps_seconds=(2.8, 1.7, 1.0), jitter=0.35, group=(2, 5), spacing_seconds=(0.19, 0.3))),
    ("dog", sound_events.dog,
     Rhythm(gaps_seconds=(2.6, 1.5, 0.8), jitter=0.3, group=(1, 3), spacing_seconds=(0.28, 0.4))),
    ("knocking", sound_events.knocking,
     Rhythm(gaps_seconds=(3.0, 2.0, 1.2), jitter=0.2, group=(2, 5), spacing_seconds=(0.14, 0.26))),
    ("heartbeat", sound_events.heartbeat,
     Rhythm(gaps_seconds=(1.15, 0.85, 0.55), jitter=0.02, group=(2, 2),
            spacing_seconds=(0.2, 0.27))),
)  # fmt: skip

SOUNDS: Final = (
    _procedural("rain", sound_textures.rain),
    _procedural("wind", sound_textures.wind),
    _procedural("waves", sound_textures.waves),
    _procedural("fire", sound_textures.fire),
    _procedural("applause", sound_textures.applause),
    _procedural("siren", sound_textures.siren),
    _procedural("engine", sound_textures.engine),
    _procedural("helicopter", sound_textures.helicopter),
    *(_procedural(name, make, rhythm) for name, make, rhythm in _EVENTS),
    _sampled("crow", sound_samples.crow,
             Rhythm(gaps_seconds=(2.6, 1.6, 0.9), jitter=0.3, group=(1, 3),
                    spacing_seconds=(0.45, 0.6))),
    _sampled("tabla", sound_samples.tabla, Rhythm(gaps_seconds=(0.6, 0.34, 0.18), jitter=0.0)),
    _sampled("vinyl", sound_samples.vinyl),
    _sampled("swoosh", sound_samples.swoosh, Rhythm(gaps_seconds=(2.4, 1.4, 0.8), jitter=0.25)),
    _sampled("boom", sound_samples.boom, Rhythm(gaps_seconds=(4.0, 2.6, 1.5), jitter=0.15)),
)  # fmt: skip
NAMES: Final = tuple(sound.name for sound in SOUNDS)
EVENT_NAMES: Final = tuple(sound.name for sound in SOUNDS if sound.has_events)


def sound(name: str) -> Sound:
    """Look up a sound by name."""
    return SOUNDS[NAMES.index(name)]


def event_times(name: str, *, rate: str, variant: int, seconds: float) -> tuple[float, ...]:
    """Say when the events of a sound happen.

    Args:
        name: One of ``NAMES``.
        rate: One of ``RATES``.
        variant: In [0, ``VARIANTS``).
        seconds: Events begin before this time.

    Returns:
        Seconds from the start of the sound, ascending; more of them for a longer sound,
        never others. Empty for a sound that goes on.
    """
    rhythm = sound(name).rhythm
    if rhythm is None:
        return ()
    dice = np.random.default_rng([variant, NAMES.index(name), RATES.index(rate), 1])
    gap = rhythm.gaps_seconds[RATES.index(rate)] * dice.uniform(0.85, 1.18)
    spacing = dice.uniform(*rhythm.spacing_seconds)
    now = dice.uniform(0.02, min(0.8, gap))
    times: list[float] = []
    while now < seconds:
        count = int(dice.integers(rhythm.group[0], rhythm.group[1] + 1))
        wander = dice.uniform(-0.06, 0.06, rhythm.group[1]) * spacing
        inside = [float(now + i * spacing + wander[i] * (i > 0)) for i in range(count)]
        times.extend(time for time in inside if time < seconds)
        pause = gap * (1 + rhythm.jitter * dice.uniform(-1, 1))
        now += max(pause, 0.05 + count * spacing)
    return tuple(times)


def render_sound(
    name: str, *, rate: str, variant: int, seconds: float, samples: Path | None = None
) -> Floats:
    """Render one sound, as loud in its loud moments as any other.

    Args:
        name: One of ``NAMES``.
        rate: One of ``RATES``.
        variant: In [0, ``VARIANTS``).
        seconds: Length, > 0.
        samples: A folder with the ``sonic-pi-samples``, for the sounds that need it.

    Returns:
        Shape (round(seconds * SAMPLE_RATE),); the loudest moments have an RMS of 1.

    Raises:
        safegen.errors.InputError: If a sound needs the samples and they are not given.

    Cost: 0.02 to 0.15 s of one core for 10 s.
    """
    made = sound(name)
    times = event_times(name, rate=rate, variant=variant, seconds=seconds)
    order = Order(
        dice=np.random.default_rng([variant, NAMES.index(name), RATES.index(rate), 2]),
        samples=max(1, round(seconds * SAMPLE_RATE)),
        rate=RATES.index(rate),
        times=np.array(times),
    )
    out = made.make(order, samples)
    loud = _loudness(out)
    return out / loud if loud > 1e-9 else out


def _loudness(sound: Floats) -> float:
    """RMS of the loudest 50 ms windows, so that pauses do not make a sound louder."""
    window = round(_WINDOW_SECONDS * SAMPLE_RATE)
    if len(sound) < window:
        return float(np.sqrt(np.mean(np.square(sound))))
    rows = sound[: len(sound) // window * window].reshape(-1, window)
    power = np.sort(np.mean(np.square(rows), axis=1))
    count = max(1, round(_LOUDEST_SHARE * len(power)))
    return float(np.sqrt(power[-count:].mean()))
