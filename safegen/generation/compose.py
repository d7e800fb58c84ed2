"""What is the music, before any of it is heard?

A *plan* is a piece on one line: tempo, key, instruments, eight chords and five
bars of melody. It is small enough to be written by a language model, exact
enough to be checked against a catalog before audio exists, and it expands
deterministically into a *score* of notes (``score``) of any length.

``compose`` draws plans from integers only (SplitMix64), so a seed means the same
piece on every platform and Python version. A training item is therefore nothing
but a seed.

What this module does not do: words (``safegen.generation.captions``), frames for
the renderer (``safegen.generation.rolls``), sound (``safegen.generation.procedural``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final, Literal, TypeVar

from safegen.errors import InputError

T = TypeVar("T")
Track = Literal["melody", "chords", "bass", "drums"]

MIN_TEMPO_BPM: Final = 60
MAX_TEMPO_BPM: Final = 180
BARS: Final = 8
BEATS_PER_BAR: Final = 4
SLOTS_PER_BAR: Final = 8
MELODY_BARS: Final = 5
MELODY_SLOTS: Final = MELODY_BARS * SLOTS_PER_BAR
REST: Final = 0
HOLD: Final = 1
FIRST_DEGREE: Final = 2
DEGREES: Final = 15
MODES: Final = ("major", "minor")
ROOTS: Final = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
SCALES: Final = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
DRUM_STYLES: Final = ("none", "rock", "four", "soft", "half")
KICK: Final = 36
SNARE: Final = 38
HAT: Final = 42
OPEN_HAT: Final = 46
CLAP: Final = 39
SHAKER: Final = 70
DRUM_PITCHES: Final = (KICK, SNARE, HAT, OPEN_HAT, CLAP, SHAKER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """A General MIDI sound and the register it is written in.

    Attributes:
        name: The word used in plans.
        program: General MIDI program, zero-based.
        low_pitch: The tonic of the melody is the first one at or above this MIDI pitch.
    """

    name: str
    program: int
    low_pitch: int


INSTRUMENTS: Final = (
    Instrument(name="piano", program=0, low_pitch=60),
    Instrument(name="electric piano", program=4, low_pitch=60),
    Instrument(name="music box", program=10, low_pitch=72),
    Instrument(name="vibraphone", program=11, low_pitch=60),
    Instrument(name="marimba", program=12, low_pitch=60),
    Instrument(name="organ", program=16, low_pitch=60),
    Instrument(name="accordion", program=21, low_pitch=60),
    Instrument(name="acoustic guitar", program=24, low_pitch=55),
    Instrument(name="electric guitar", program=27, low_pitch=55),
    Instrument(name="distorted guitar", program=30, low_pitch=52),
    Instrument(name="violin", program=40, low_pitch=64),
    Instrument(name="cello", program=42, low_pitch=45),
    Instrument(name="harp", program=46, low_pitch=60),
    Instrument(name="strings", program=48, low_pitch=60),
    Instrument(name="choir", program=52, low_pitch=60),
    Instrument(name="trumpet", program=56, low_pitch=60),
    Instrument(name="saxophone", program=65, low_pitch=57),
    Instrument(name="clarinet", program=71, low_pitch=60),
    Instrument(name="flute", program=73, low_pitch=67),
    Instrument(name="synth lead", program=81, low_pitch=60),
)
COMPS: Final = (
    Instrument(name="piano", program=0, low_pitch=52),
    Instrument(name="guitar", program=25, low_pitch=52),
    Instrument(name="strings", program=48, low_pitch=52),
    Instrument(name="electric piano", program=4, low_pitch=52),
    Instrument(name="synth pad", program=89, low_pitch=52),
)
BASS: Final = Instrument(name="bass", program=33, low_pitch=33)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mood:
    """How a mood leans on the other attributes, in percent and beats a minute.

    Attributes:
        name: The word used in plans.
        minor: Chance of the minor mode.
        drums: Chance of drums.
        slowest: Lower end of the usual tempo.
        fastest: Upper end of the usual tempo.
        density: Usual density, 0 sparse to 2 busy.
    """

    name: str
    minor: int
    drums: int
    slowest: int
    fastest: int
    density: int


MOODS: Final = (
    Mood(name="happy", minor=5, drums=60, slowest=100, fastest=160, density=1),
    Mood(name="sad", minor=95, drums=25, slowest=60, fastest=92, density=0),
    Mood(name="calm", minor=35, drums=20, slowest=60, fastest=95, density=0),
    Mood(name="energetic", minor=45, drums=90, slowest=120, fastest=180, density=2),
    Mood(name="dark", minor=97, drums=55, slowest=66, fastest=130, density=1),
    Mood(name="dreamy", minor=45, drums=25, slowest=64, fastest=105, density=1),
    Mood(name="tense", minor=92, drums=65, slowest=100, fastest=170, density=2),
    Mood(name="romantic", minor=40, drums=30, slowest=62, fastest=100, density=1),
    Mood(name="heroic", minor=30, drums=70, slowest=90, fastest=150, density=1),
    Mood(name="playful", minor=20, drums=50, slowest=105, fastest=170, density=2),
)

# Every progression starts on the tonic and the second half ends there: a key that
# cannot be heard could not be measured either.
PROGRESSIONS: Final = {
    "major": (
        (0, 3, 4, 0), (0, 4, 5, 3), (0, 5, 3, 4), (0, 3, 0, 4), (0, 1, 4, 0),
        (0, 4, 0, 3), (0, 2, 3, 4), (0, 4, 3, 4), (0, 3, 1, 4), (0, 0, 3, 4),
    ),
    "minor": (
        (0, 3, 4, 0), (0, 5, 3, 4), (0, 3, 0, 4), (0, 4, 0, 4), (0, 6, 5, 4),
        (0, 0, 3, 4), (0, 5, 4, 0), (0, 3, 5, 4), (0, 4, 3, 0), (0, 0, 5, 4),
    ),
}  # fmt: skip
ENDINGS: Final = ((3, 4, 0), (1, 4, 0), (5, 4, 0), (4, 3, 0), (0, 4, 0), (4, 4, 0))
# Onsets within a bar of eight eighth-notes, by density.
RHYTHMS: Final = (
    ((0, 4), (0, 2, 4), (0, 4, 6), (0, 2, 4, 6), (0, 6)),
    ((0, 2, 4, 6), (0, 2, 3, 4, 6), (0, 2, 4, 5, 6), (0, 3, 4, 6), (0, 1, 2, 4, 6)),
    (
        (0, 1, 2, 3, 4, 6), (0, 2, 3, 4, 5, 6, 7), (0, 1, 2, 4, 5, 6),
        (0, 1, 2, 3, 4, 5, 6, 7), (0, 2, 3, 4, 6, 7),
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A piece, before any of it is heard.

    Attributes:
        tempo_bpm: Beats a minute, 60 to 180.
        root: Pitch class of the tonic, 0 = C.
        mode: "major" or "minor".
        mood: Name of one of ``MOODS``.
        instrument: Name of one of ``INSTRUMENTS``, which plays the melody.
        comp: Name of one of ``COMPS``, which plays the chords.
        bass: Whether a bass plays.
        drums: One of ``DRUM_STYLES``.
        density: 0 sparse, 1 medium, 2 busy.
        chords: Eight scale degrees, one a bar, 0 = tonic.
        melody: Forty eighth-note slots: 0 rest, 1 hold, 2.. a scale degree counted
            upward from the tonic. The last eight replace the fourth bar at the end
            of the second half.
    """

    tempo_bpm: int
    root: int
    mode: str
    mood: str
    instrument: str
    comp: str
    bass: bool
    drums: str
    density: int
    chords: tuple[int, ...]
    melody: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse values outside the vocabulary, so that every plan has tokens."""
        for field in _FIELDS:
            value = getattr(self, field.name)
            items = value if isinstance(value, tuple) else (value,)
            if len(items) != field.count or any(x not in field.values for x in items):
                raise InputError(
                    f"plan field {field.name} is {value!r}, not {field.count} "
                    f"of {field.values[0]!r} .. {field.values[-1]!r}",
                    remedy="Write plans with safegen.generation.compose.compose.",
                )

    @property
    def key(self) -> str:
        """The key in words, such as "F# minor"."""
        return f"{ROOTS[self.root]} {self.mode}"

    @property
    def has_drums(self) -> bool:
        """Whether any drum plays."""
        return self.drums != "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """One sounding note of a score.

    Attributes:
        track: Which part plays it.
        program: General MIDI program, zero-based; 0 for drums.
        pitch: MIDI pitch, or the General MIDI drum number.
        start_seconds: Onset from the start of the piece.
        end_seconds: Release, later than the onset.
        velocity: Loudness, 1 to 127.
    """

    track: Track
    program: int
    pitch: int
    start_seconds: float
    end_seconds: float
    velocity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Field:
    """A field of the plan and the tokens it may take."""

    name: str
    values: tuple[object, ...]
    count: int
    offset: int


def _fields() -> tuple[_Field, ...]:
    """Lay the vocabulary out: one block of tokens per field, after the start token."""
    layout: tuple[tuple[str, tuple[object, ...], int], ...] = (
        ("drums", DRUM_STYLES, 1),
        ("mode", MODES, 1),
        ("root", tuple(range(12)), 1),
        ("tempo_bpm", tuple(range(MIN_TEMPO_BPM, MAX_TEMPO_BPM + 1)), 1),
        ("instrument", tuple(x.name for x in INSTRUMENTS), 1),
        ("mood", tuple(x.name for x in MOODS), 1),
        ("density", (0, 1, 2), 1),
        ("bass", (False, True), 1),
        ("comp", tuple(x.name for x in COMPS), 1),
        ("chords", tuple(range(7)), BARS),
        ("melody", tuple(range(FIRST_DEGREE + DEGREES)), MELODY_SLOTS),
    )
    fields, offset = [], 1
    for name, values, count in layout:
        fields.append(_Field(name=name, values=values, count=count, offset=offset))
        offset += len(values)
    return tuple(fields)


_FIELDS: Final = _fields()
START_TOKEN: Final = 0
VOCABULARY: Final = _FIELDS[-1].offset + len(_FIELDS[-1].values)
PLAN_TOKENS: Final = sum(field.count for field in _FIELDS)
HEADER_TOKENS: Final = sum(field.count for field in _FIELDS if field.count == 1)


def compose(seed: int) -> Plan:
    """Compose the piece that belongs to a seed.

    Args:
        seed: Any integer; it is taken modulo 2**64.

    Returns:
        The same plan for the same seed, on every platform.
    """
    dice = Dice(seed)
    mood = dice.choice(MOODS)
    mode = "minor" if dice.chance(mood.minor) else "major"
    if dice.chance(70):
        tempo = dice.between(mood.slowest, mood.fastest)
    else:
        tempo = dice.between(MIN_TEMPO_BPM, MAX_TEMPO_BPM)
    density = mood.density if dice.chance(60) else dice.below(3)
    drums = "none"
    if dice.chance(mood.drums):
        drums = dice.choice(DRUM_STYLES[1:])
    progression = dice.choice(PROGRESSIONS[mode])
    chords = (*progression, progression[0], *dice.choice(ENDINGS))
    return Plan(
        tempo_bpm=tempo,
        root=dice.below(12),
        mode=mode,
        mood=mood.name,
        instrument=dice.choice(INSTRUMENTS).name,
        comp=dice.choice(COMPS).name,
        bass=dice.chance(75),
        drums=drums,
        density=density,
        chords=chords,
        melody=_melody(dice, chords, density=density),
    )


def score(plan: Plan, *, seconds: float) -> tuple[Note, ...]:
    """Expand a plan into notes.

    The eight bars repeat until the time is full; notes that start before the end
    are kept whole, so a longer score begins with the shorter one.

    Args:
        plan: The piece.
        seconds: Notes start before this time, > 0.

    Returns:
        Notes ordered by onset, then track and pitch.
    """
    beat = 60.0 / plan.tempo_bpm
    bars = int(seconds / (beat * BEATS_PER_BAR)) + 1
    notes: list[Note] = []
    for bar in range(bars):
        for part in (_melody_bar, _chord_bar, _bass_bar, _drum_bar):
            notes.extend(part(plan, bar, beat))
    kept = (note for note in notes if note.start_seconds < seconds)
    return tuple(sorted(kept, key=lambda n: (n.start_seconds, n.track, n.pitch)))


def to_tokens(plan: Plan) -> tuple[int, ...]:
    """Write a plan as ``PLAN_TOKENS`` tokens in [1, ``VOCABULARY``)."""
    tokens: list[int] = []
    for field in _FIELDS:
        value = getattr(plan, field.name)
        items = value if isinstance(value, tuple) else (value,)
        tokens.extend(field.offset + field.values.index(item) for item in items)
    return tuple(tokens)


def from_tokens(tokens: Sequence[int]) -> Plan:
    """Read a plan back from its tokens.

    Raises:
        InputError: If a token does not belong to its position.
    """
    if len(tokens) != PLAN_TOKENS:
        raise InputError(f"{len(tokens)} plan tokens, not {PLAN_TOKENS}")
    values: dict[str, object] = {}
    position = 0
    for field in _FIELDS:
        indices = [t - field.offset for t in tokens[position : position + field.count]]
        if any(not 0 <= index < len(field.values) for index in indices):
            raise InputError(f"plan tokens of {field.name} are outside its vocabulary")
        items = tuple(field.values[index] for index in indices)
        values[field.name] = items if field.count > 1 else items[0]
        position += field.count
    return Plan(**values)  # type: ignore[arg-type]


def legal_tokens(position: int) -> range:
    """Name the tokens that may stand at a position of a plan."""
    for field in _FIELDS:
        if position < field.count:
            return range(field.offset, field.offset + len(field.values))
        position -= field.count
    msg = f"plans have {PLAN_TOKENS} tokens"
    raise ValueError(msg)


def header_names() -> tuple[str, ...]:
    """Name the attributes that precede chords and melody, in token order."""
    return tuple(field.name for field in _FIELDS if field.count == 1)


def to_json(plan: Plan) -> str:
    """Write a plan as canonical JSON: sorted keys, no spaces, ASCII."""
    return json.dumps(asdict(plan), sort_keys=True, separators=(",", ":"))


def from_json(text: str) -> Plan:
    """Read a plan from JSON.

    Raises:
        InputError: If the text is not a plan.
    """
    try:
        values = json.loads(text)
        for name in ("chords", "melody"):
            values[name] = tuple(values[name])
        return Plan(**values)
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"this is not a plan: {error}") from error


def digest(plan: Plan) -> str:
    """Name a plan by the sha256 of its canonical JSON, in hex."""
    return hashlib.sha256(to_json(plan).encode()).hexdigest()


def instrument(name: str) -> Instrument:
    """Look up a melody instrument by name."""
    return next(x for x in INSTRUMENTS if x.name == name)


def comp_instrument(name: str) -> Instrument:
    """Look up a chord instrument by name."""
    return next(x for x in COMPS if x.name == name)


class Dice:
    """Integers from a seed: SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""

    def __init__(self, seed: int) -> None:
        self._state = seed % 2**64

    def below(self, n: int) -> int:
        """Draw from [0, n)."""
        self._state = (self._state + 0x9E3779B97F4A7C15) % 2**64
        z = self._state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        return ((z ^ (z >> 31)) >> 11) % n

    def between(self, low: int, high: int) -> int:
        """Draw from [low, high]."""
        return low + self.below(high - low + 1)

    def choice(self, options: Sequence[T]) -> T:
        """Draw one of some options."""
        return options[self.below(len(options))]

    def chance(self, percent: int) -> bool:
        """Say yes so many times in a hundred."""
        return self.below(100) < percent


def _melody(dice: Dice, chords: Sequence[int], *, density: int) -> tuple[int, ...]:
    """Walk along the scale, on chord tones when the beat is strong."""
    slots: list[int] = []
    degree = dice.choice((4, 7, 9))
    motif = dice.choice(RHYTHMS[density])
    for bar in range(MELODY_BARS):
        last = bar == MELODY_BARS - 1
        chord = chords[-1] if last else chords[bar]
        rhythm = motif if dice.chance(60) else dice.choice(RHYTHMS[density])
        if last:
            rhythm = (0, 2, 4)
        row = [HOLD] * SLOTS_PER_BAR
        for slot in rhythm:
            if last and slot == rhythm[-1]:
                degree = _nearest(degree, (0,))
            elif slot % 4 == 0 or dice.chance(35):
                step = degree + dice.choice((-2, -1, 0, 1, 2))
                degree = _nearest(step, (chord, chord + 2, chord + 4))
            else:
                degree += dice.choice((-2, -1, -1, 1, 1, 2))
            degree = min(max(degree, 0), DEGREES - 1)
            resting = slot % 4 != 0 and dice.chance(8)
            row[slot] = REST if resting else FIRST_DEGREE + degree
        slots.extend(row)
    return tuple(slots)


def _nearest(degree: int, tones: Sequence[int]) -> int:
    """Move to the closest degree among the tones, in any octave; the lower one on a tie."""
    classes = {tone % 7 for tone in tones}
    options = [d for d in range(DEGREES) if d % 7 in classes]
    return min(options, key=lambda d: (abs(d - degree), d))


def _pitch(plan: Plan, degree: int, *, low: int, dominant: bool) -> int:
    """Turn a degree into a MIDI pitch; the dominant of minor raises its third."""
    scale = SCALES[plan.mode]
    pitch = low + (plan.root - low) % 12 + 12 * (degree // 7) + scale[degree % 7]
    raised = plan.mode == "minor" and dominant and degree % 7 == 6
    return pitch + int(raised)


def _melody_bar(plan: Plan, bar: int, beat: float) -> list[Note]:
    sounds = instrument(plan.instrument)
    row = bar % BARS
    source = MELODY_BARS - 1 if row == BARS - 1 else row % 4
    slots = plan.melody[source * SLOTS_PER_BAR : (source + 1) * SLOTS_PER_BAR]
    start = bar * BEATS_PER_BAR * beat
    notes = []
    for slot, value in enumerate(slots):
        if value < FIRST_DEGREE:
            continue
        length = 1
        while slot + length < SLOTS_PER_BAR and slots[slot + length] == HOLD:
            length += 1
        pitch = _pitch(
            plan,
            value - FIRST_DEGREE,
            low=sounds.low_pitch,
            dominant=plan.chords[row] == 4,
        )
        onset = start + slot * beat / 2
        notes.append(
            Note(
                track="melody",
                program=sounds.program,
                pitch=pitch,
                start_seconds=onset,
                end_seconds=onset + length * beat / 2 * 0.95,
                velocity=104 if slot % 4 == 0 else 96 if slot % 2 == 0 else 86,
            )
        )
    return notes


def _triad(plan: Plan, row: int) -> list[int]:
    """Voice the chord of a bar within an octave above the register's lowest pitch."""
    degree = plan.chords[row]
    low = comp_instrument(plan.comp).low_pitch
    pitches = (_pitch(plan, degree + step, low=low, dominant=degree == 4) for step in (0, 2, 4))
    return sorted(low + (pitch - low) % 12 for pitch in pitches)


def _chord_bar(plan: Plan, bar: int, beat: float) -> list[Note]:
    """Play the chord: half notes when sparse, quarters, or broken eighths when busy."""
    triad = _triad(plan, bar % BARS)
    start = bar * BEATS_PER_BAR * beat
    program = comp_instrument(plan.comp).program
    hits: list[tuple[float, float, list[int]]]
    if plan.density == 0:
        hits = [(0, 2, triad), (2, 2, triad)]
    elif plan.density == 1:
        hits = [(i, 1, triad) for i in range(4)]
    else:
        order = (0, 1, 2, 1)
        hits = [(i / 2, 0.5, [triad[order[i % 4]]]) for i in range(8)]
        hits += [(0, 2, [triad[0]]), (2, 2, [triad[0]])]
    return [
        Note(
            track="chords",
            program=program,
            pitch=pitch,
            start_seconds=start + at * beat,
            end_seconds=start + (at + length * 0.92) * beat,
            velocity=80 if at % 2 == 0 else 68,
        )
        for at, length, pitches in hits
        for pitch in pitches
    ]


def _bass_bar(plan: Plan, bar: int, beat: float) -> list[Note]:
    if not plan.bass:
        return []
    degree = plan.chords[bar % BARS]
    pitch = _pitch(plan, degree, low=BASS.low_pitch, dominant=False)
    pitch = BASS.low_pitch + (pitch - BASS.low_pitch) % 12
    start = bar * BEATS_PER_BAR * beat
    hits = ((0, 2), (2, 2)) if plan.density == 0 else ((0, 1), (1, 1), (2, 1), (3, 1))
    return [
        Note(
            track="bass",
            program=BASS.program,
            pitch=pitch,
            start_seconds=start + at * beat,
            end_seconds=start + (at + length * 0.9) * beat,
            velocity=100 if at == 0 else 90,
        )
        for at, length in hits
    ]


# Beats of a bar at which each drum is hit.
_PATTERNS: Final[dict[str, dict[int, tuple[float, ...]]]] = {
    "none": {},
    "rock": {KICK: (0, 2, 2.5), SNARE: (1, 3), HAT: (0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5)},
    "four": {KICK: (0, 1, 2, 3), CLAP: (1, 3), OPEN_HAT: (0.5, 1.5, 2.5, 3.5)},
    "soft": {KICK: (0, 2), SHAKER: (0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5), HAT: (1, 3)},
    "half": {KICK: (0, 1.5), SNARE: (2,), HAT: (0, 1, 2, 3)},
}


def _drum_bar(plan: Plan, bar: int, beat: float) -> list[Note]:
    start = bar * BEATS_PER_BAR * beat
    loud = {KICK: 118, SNARE: 112, CLAP: 108, HAT: 88, OPEN_HAT: 84, SHAKER: 92}
    return [
        Note(
            track="drums",
            program=0,
            pitch=pitch,
            start_seconds=start + at * beat,
            end_seconds=start + at * beat + 0.1,
            velocity=loud[pitch] - (12 if at % 1 else 0),
        )
        for pitch, hits in _PATTERNS[plan.drums].items()
        for at in hits
    ]
