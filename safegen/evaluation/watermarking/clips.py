"""Which sounds is the watermark measured on?

Ten seconds each: prompts of four languages joined end to end, music of four packages at
its native rate and channels, and effects: CC0 samples, scores played on sine waves, and
weather and machines made of noise. A clip is described before it is loaded, so that any
process can load any clip, and the order is fixed, so that a shorter run is the beginning
of a longer one.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, zip_longest
from pathlib import Path
from typing import Final, Literal

import numpy as np
from scipy.signal import butter, sosfilt

from safegen.audio import Audio, load, resample
from safegen.errors import InputError
from safegen.evaluation.assets import music_files, speech_files

Kind = Literal["speech", "music", "effects"]

KINDS: Final[tuple[Kind, ...]] = ("speech", "music", "effects")
SECONDS: Final = 10.0
_TURN: Final[tuple[Kind, ...]] = ("speech", "music", "speech", "music", "effects")
_SPEECH_RATE: Final = 16_000
_G722_BYTES_PER_SECOND: Final = 8_000
_EFFECT_RATE: Final = 44_100
_MUSIC_STARTS: Final = (0.3, 0.55, 0.15, 0.7, 0.42)
"""Music clips begin at these shares of a track, past the fade-in, one after the other."""
_EFFECT_TURN: Final = ("samples", "samples", "samples", "scores", "environment")
_MIN_PEAK: Final = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipSpec:
    """How one clip is made.

    Attributes:
        name: Names it in the state file; the same on every machine.
        kind: What it is.
        source: Language, package, family of samples, or synthesizer.
        files: What is joined or cut; empty if it is synthesized.
        number: Which of its source: the share of a track, or a seed.
    """

    name: str
    kind: Kind
    source: str
    files: tuple[Path, ...]
    number: int


def plan(assets: Path, count: int) -> tuple[ClipSpec, ...]:
    """Describe the first ``count`` clips: two of speech, two of music and one effect in turn.

    Raises:
        InputError: If the folder does not hold the audio, or not enough of it.
    """
    rows: Mapping[Kind, Iterator[ClipSpec]] = {
        "speech": _speech(assets),
        "music": _music(assets),
        "effects": _effects(assets),
    }
    found: list[ClipSpec] = []
    for number in range(count):
        kind = _TURN[number % len(_TURN)]
        spec = next(rows[kind], None)
        if spec is None:
            raise InputError(
                f"{assets}: {sum(each.kind == kind for each in found)} clips of {kind}, "
                f"not enough for {count} clips",
                remedy=f"Fetch the audio with `safegen eval assets --out {assets}`.",
            )
        found.append(spec)
    return tuple(found)


@lru_cache(maxsize=24)
def load_clip(spec: ClipSpec) -> Audio:
    """Make the clip, ``SECONDS`` long; the last few are kept in memory.

    Raises:
        InputError: If one of its files cannot be read.
    """
    if spec.kind == "speech":
        return _joined(spec.files, _SPEECH_RATE, spec.number)
    if spec.kind == "music":
        return _stretch(load(spec.files[0]), spec.number)
    if spec.files:
        return _joined(spec.files, _EFFECT_RATE, spec.number)
    if spec.source == "scores":
        return _score(spec.number)
    return _ENVIRONMENTS[spec.source](np.random.default_rng(spec.number))


def _speech(assets: Path) -> Iterator[ClipSpec]:
    """Take the languages in turn; each clip takes the next prompts that fill it."""
    rows = [_prompts(language, files) for language, files in speech_files(assets).items()]
    return _in_turn(rows)


def _prompts(language: str, files: tuple[Path, ...]) -> Iterator[ClipSpec]:
    held: list[Path] = []
    samples, number = 0.0, 0
    for path in _mixed(files):
        held.append(path)
        samples += path.stat().st_size / _G722_BYTES_PER_SECOND
        if samples >= SECONDS:
            yield ClipSpec(
                name=f"{language} {number}",
                kind="speech",
                source=f"speech {language}",
                files=tuple(held),
                number=number,
            )
            held, samples, number = [], 0.0, number + 1


def _music(assets: Path) -> Iterator[ClipSpec]:
    """Take the packages in turn, and in each all tracks before one comes again."""
    packages: dict[str, list[Path]] = {}
    for path in music_files(assets):
        packages.setdefault(path.relative_to(assets).parts[0], []).append(path)
    return _in_turn([_tracks(assets, package, files) for package, files in packages.items()])


def _tracks(assets: Path, package: str, files: list[Path]) -> Iterator[ClipSpec]:
    for number in range(len(_MUSIC_STARTS)):
        for path in _mixed(tuple(files)):
            yield ClipSpec(
                # Two albums may both have a track1: only the whole path is a name.
                name=f"{path.relative_to(assets).as_posix()} {number}",
                kind="music",
                source=package,
                files=(path,),
                number=number,
            )


def _effects(assets: Path) -> Iterator[ClipSpec]:
    rows = {
        "samples": _samples(assets),
        "scores": (
            ClipSpec(name=f"score {seed}", kind="effects", source="scores", files=(), number=seed)
            for seed in range(10_000)
        ),
        "environment": (
            ClipSpec(name=f"{name} {seed}", kind="effects", source=name, files=(), number=seed)
            for seed in range(10_000)
            for name in _ENVIRONMENTS
        ),
    }
    while True:
        for name in _EFFECT_TURN:
            spec = next(rows[name], None)
            if spec is None:
                return
            yield spec


def _samples(assets: Path) -> Iterator[ClipSpec]:
    """Join four samples of one family; every family comes before one comes again."""
    families: dict[str, list[Path]] = {}
    for path in sorted((assets / "sonic-pi-samples").rglob("*.flac")):
        families.setdefault(path.name.partition("_")[0], []).append(path)

    def of(family: str, files: list[Path]) -> Iterator[ClipSpec]:
        mixed = _mixed(tuple(files))
        for number in range(-(-len(mixed) // 4)):
            yield ClipSpec(
                name=f"sonic-pi {family} {number}",
                kind="effects",
                source=f"sonic-pi {family}",
                files=mixed[4 * number : 4 * number + 4],
                number=number,
            )

    return _in_turn([of(family, files) for family, files in families.items()])


def _in_turn(rows: list[Iterator[ClipSpec]]) -> Iterator[ClipSpec]:
    for turn in zip_longest(*rows):
        yield from (spec for spec in turn if spec is not None)


def _mixed(files: tuple[Path, ...]) -> tuple[Path, ...]:
    """Order files far from their alphabet, always in the same way."""
    order = sorted(range(len(files)), key=lambda place: (place * 0.6180339887498949) % 1.0)
    return tuple(files[place] for place in order)


def _joined(files: tuple[Path, ...], sample_rate: int, number: int) -> Audio:
    """Play the files one after the other, mono or stereo as the first is, until it is long."""
    samples = round(SECONDS * sample_rate)
    parts = [resample(load(path), sample_rate).waveform for path in files]
    channels = parts[0].shape[0]
    even = [
        part if part.shape[0] == channels else np.tile(part.mean(axis=0), (channels, 1))
        for part in parts
    ]
    once = np.concatenate(even, axis=1)
    if float(np.abs(once).max()) < _MIN_PEAK:
        raise InputError(f"{files[0].name}: silent (clip {number})", remedy="Fetch it again.")
    repeats = -(-samples // once.shape[1])
    waveform = np.ascontiguousarray(np.tile(once, (1, repeats))[:, :samples], dtype=np.float32)
    return Audio(waveform=waveform, sample_rate=sample_rate)


def _stretch(track: Audio, number: int) -> Audio:
    """Cut ten seconds; where they are silent or too short, from the middle on."""
    for share in (_MUSIC_STARTS[number], 0.5, 0.2, 0.0):
        cut = track.cut(share * track.seconds, share * track.seconds + SECONDS)
        if cut.seconds >= SECONDS - 0.01 and float(np.abs(cut.waveform).max()) > _MIN_PEAK:
            return cut
    raise InputError(
        f"a track of {track.seconds:.1f} s has no {SECONDS:g} s of sound",
        remedy="Fetch the assets again.",
    )


def _score(seed: int) -> Audio:
    """Compose and play a piece on sine waves."""
    from safegen.generation.compose import compose
    from safegen.generation.procedural import render

    return render(compose(0x5EED0000 + seed), seconds=SECONDS)


def _rain(random: np.random.Generator) -> Audio:
    """Hiss, and drops that ring for some milliseconds."""
    samples = round(SECONDS * _EFFECT_RATE)
    out = 0.15 * _band(random.standard_normal(samples), 1_000, 12_000)
    ring = np.exp(-np.arange(600) / 90) * np.sin(np.arange(600) * random.uniform(0.2, 0.6))
    for start in random.integers(0, samples - 600, 900):
        out[start : start + 600] += random.exponential(0.25) * ring
    return _effect(out)


def _wind(random: np.random.Generator) -> Audio:
    """Low noise that swells with each gust."""
    samples = round(SECONDS * _EFFECT_RATE)
    gusts = np.interp(np.arange(samples), np.linspace(0, samples, 14), random.uniform(0.1, 1, 14))
    whistle = _band(random.standard_normal(samples), 400, 1_200) * gusts**2
    return _effect(gusts * _band(random.standard_normal(samples), 60, 500) + 0.5 * whistle)


def _engine(random: np.random.Generator) -> Audio:
    """Harmonics of a speed that wanders, and the noise of the road."""
    samples = round(SECONDS * _EFFECT_RATE)
    hertz = np.interp(np.arange(samples), np.linspace(0, samples, 8), random.uniform(45, 110, 8))
    turns = 2 * np.pi * np.cumsum(hertz) / _EFFECT_RATE
    tones = sum(np.sin(k * turns + random.uniform(0, 6)) / k for k in range(1, 24))
    return _effect(np.asarray(tones) + 0.6 * _band(random.standard_normal(samples), 80, 3_000))


def _surf(random: np.random.Generator) -> Audio:
    """Waves that rise slowly and break."""
    samples = round(SECONDS * _EFFECT_RATE)
    phase = (np.arange(samples) / _EFFECT_RATE / random.uniform(3, 5) + random.random()) % 1.0
    swell = 0.08 + phase**3 * np.exp(-8 * np.maximum(phase - 0.85, 0))
    return _effect(swell * _band(random.standard_normal(samples), 150, 9_000))


_ENVIRONMENTS: Final[Mapping[str, Callable[[np.random.Generator], Audio]]] = {
    "rain": _rain,
    "wind": _wind,
    "engine": _engine,
    "surf": _surf,
}


def _band(
    noise: np.ndarray[tuple[int, ...], np.dtype[np.float64]], low: float, high: float
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    sections = butter(2, [low, high], "bandpass", fs=_EFFECT_RATE, output="sos")
    return np.asarray(sosfilt(sections, noise), dtype=np.float64)


def _effect(waveform: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Audio:
    level = 0.1 / np.sqrt(np.mean(waveform**2))
    out = np.clip(level * waveform, -0.98, 0.98).astype(np.float32)[None]
    return Audio(waveform=out, sample_rate=_EFFECT_RATE)


def others(specs: tuple[ClipSpec, ...], place: int, kind: Kind, count: int) -> list[ClipSpec]:
    """Name the next clips of a kind after a place, going round; never the clip itself."""
    order = [*specs[place + 1 :], *specs[:place]]
    return list(islice((spec for spec in order if spec.kind == kind), count))
