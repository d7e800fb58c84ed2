"""What do the windows of a corpus measure, after each thing that happens to sound on its way?

A table of windows: one row per window, with what it is of and what it went through.
Both classes go through the same treatments with the same chances; one treatment in two
carries our watermark, real sound too, so that the mark is never what a head learns.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from detectors.synthetic.judging import UnheardError, hear
from detectors.synthetic.reference import Windows, joined
from detectors.synthetic.traces import WINDOW_SECONDS
from safegen.audio import Audio, resample
from safegen.evaluation.attacks import through_codec
from safegen.watermark import embed

CLEAN: Final = "clean"
TELEPHONE_RATE: Final = 8_000
TRAINING_CODECS: Final = ("mp3-64k", "aac-64k", "opus-48k", "opus-32k", "opus-24k")

Names = npt.NDArray[np.str_]
Treatment = Callable[[Audio], Audio]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """A sound and what it is.

    Attributes:
        audio: Any rate, mono or stereo.
        generator: Who made it, "" if it is real.
        source: Speaker, track or prompt: what must not be on both sides of a split.
        role: "train", "calibrate" or "held".
        kind: "speech" or "music".
        name: Distinguishes the sounds of a source.
    """

    audio: Audio
    generator: str
    source: str
    role: str
    kind: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Measured windows; every column but ``windows`` has shape (n,).

    Attributes:
        windows: The numbers.
        generator: Who made it, "" if it is real.
        source: Of the sound.
        role: Of the sound.
        kind: Of the sound.
        name: Of the sound.
        treatment: What it went through.
    """

    windows: Windows
    generator: Names
    source: Names
    role: Names
    kind: Names
    name: Names
    treatment: Names

    def __len__(self) -> int:
        return len(self.generator)

    def rows(self, chosen: npt.NDArray[np.bool_]) -> Table:
        """Keep some rows."""
        columns = {
            f.name: getattr(self, f.name)[chosen] for f in fields(Table) if f.name != "windows"
        }
        return Table(windows=self.windows.rows(chosen), **columns)


def _codec(name: str, bitrate: int) -> Treatment:
    return lambda audio: through_codec(audio, name, bitrate=bitrate)


def telephone(audio: Audio) -> Audio:
    """Keep what a telephone keeps."""
    return resample(resample(audio, TELEPHONE_RATE), audio.sample_rate)


TREATMENTS: Final[Mapping[str, Treatment]] = {
    CLEAN: lambda audio: audio,
    "mp3-64k": _codec("mp3", 64_000),
    "aac-64k": _codec("aac", 64_000),
    "opus-48k": _codec("opus", 48_000),
    "opus-32k": _codec("opus", 32_000),
    "opus-24k": _codec("opus", 24_000),
    "opus-12k": _codec("opus", 12_000),
    "telephone": telephone,
}


def for_training(sound: Sound) -> Iterator[tuple[str, Audio]]:
    """Give the sound as it is, and once more through a codec drawn by its name.

    One of the two carries a watermark in half of all cases.
    """
    dice = np.random.default_rng(
        zlib.crc32(f"{sound.generator} {sound.source} {sound.name}".encode())
    )
    codec = str(dice.choice(TRAINING_CODECS))
    marked = int(dice.integers(4))
    for number, name in enumerate((CLEAN, codec)):
        audio = sound.audio
        if marked == number:
            audio = embed(audio, payload=int(dice.integers(0, 2**63)), key=dice.bytes(32))
        yield name, TREATMENTS[name](audio)


def through(names: Sequence[str]) -> Callable[[Sound], Iterator[tuple[str, Audio]]]:
    """Give the sound through each of the treatments."""
    return lambda sound: ((name, TREATMENTS[name](sound.audio)) for name in names)


def measure(
    sounds: Iterable[Sound], treat: Callable[[Sound], Iterable[tuple[str, Audio]]] = for_training
) -> Iterator[Table]:
    """Measure sounds; a table each, in their order. Silent and short ones give no rows."""
    for sound in sounds:
        parts, treatments = [], []
        for name, audio in treat(sound):
            try:
                heard = hear(audio.waveform, audio.sample_rate)
            except UnheardError:
                continue
            # Every other window: the next one overlaps by half.
            apart = heard.windows.rows(np.arange(0, len(heard.starts), 2))
            parts.append(apart)
            treatments += [name] * len(apart)
        if parts:
            n = len(treatments)
            yield Table(
                windows=joined(parts),
                generator=np.full(n, sound.generator),
                source=np.full(n, sound.source),
                role=np.full(n, sound.role),
                kind=np.full(n, sound.kind),
                name=np.full(n, sound.name),
                treatment=np.array(treatments),
            )


def join(tables: Sequence[Table]) -> Table:
    """Put tables below each other."""
    columns = {
        f.name: np.concatenate([getattr(t, f.name) for t in tables])
        for f in fields(Table)
        if f.name != "windows"
    }
    return Table(windows=joined([t.windows for t in tables]), **columns)


def keep(table: Table, path: Path) -> None:
    """Write a table; it is complete if it is there."""
    columns = {f.name: getattr(table, f.name) for f in fields(Table) if f.name != "windows"}
    numbers = {f"windows_{f.name}": getattr(table.windows, f.name) for f in fields(Windows)}
    temporary = path.with_suffix(".part")
    with temporary.open("wb") as file:
        np.savez(file, **columns, **numbers)
    temporary.replace(path)


def kept(path: Path) -> Table:
    """Read a table back."""
    with np.load(path, allow_pickle=False) as data:
        return Table(
            windows=Windows(**{f.name: data[f"windows_{f.name}"] for f in fields(Windows)}),
            **{f.name: data[f.name] for f in fields(Table) if f.name != "windows"},
        )


def windows_in(seconds: float) -> int:
    """Count the windows of a sound that do not overlap, at least one."""
    return max(1, int(seconds // WINDOW_SECONDS))
