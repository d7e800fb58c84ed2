"""Recipe: one more generator for the registry, from a folder or a function, in minutes.

Everything else a head needs ships with the package: the real windows. What is registered
is kept in the state folder and asked beside the shipped entries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np

from detectors.synthetic import comb
from detectors.synthetic.entries import Entry
from detectors.synthetic.finding import Comb
from detectors.synthetic.reference import Reference
from detectors.synthetic.traces import WINDOW_SECONDS
from safegen.audio import Audio, load, walk
from safegen.errors import InputError
from safegen.training import measured
from safegen.training.heads import Facts, fit, template
from safegen.training.measured import Sound

MOST_SECONDS: Final = 1_600.0
"""Sound beyond this adds time and little else."""
MOST_OF_A_FILE_SECONDS: Final = 40.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """A new entry and what was seen on the way.

    Attributes:
        entry: Calibrated on a third of the outputs.
        windows: That were measured.
        speech_share: Of them that sound like speech.
        hint: A comb that the outputs share and nobody named; None if there is none.
    """

    entry: Entry
    windows: int
    speech_share: float
    hint: Comb | None


def register(
    facts: Facts,
    outputs: Iterable[Sound],
    reference: Reference,
    *,
    by_comb: bool = False,
) -> Registered:
    """Measure a generator's outputs and make its entry.

    Args:
        facts: Of the generator.
        outputs: What it made; a source is never on both sides of a split.
        reference: Real windows, as shipped.
        by_comb: Fit nothing; the combs that ``facts`` names answer alone.

    Raises:
        InputError: If there are too few outputs, or none that can be judged.
    """
    tables = list(measured.measure(outputs))
    if not tables:
        raise InputError(
            f"{facts.name}: no output has four seconds of sound",
            remedy="Give longer files.",
        )
    table = measured.join(tables)
    speech = reference.speech_log_odds(table.windows.domain) > 0.0
    table = replace(table, kind=np.where(speech, "speech", "music"))
    clean = table.treatment == measured.CLEAN
    hint = None
    if not facts.spacings_hz:
        hint = comb.search(table.windows.residual[clean].mean(axis=0))
    entry = (template if by_comb else fit)(facts, table, reference)
    return Registered(
        entry=entry,
        windows=len(table),
        speech_share=float(speech.mean()),
        hint=hint,
    )


def from_folder(
    name: str, folder: Path, *, note: Callable[[str], None] = lambda _: None
) -> Iterator[Sound]:
    """Read outputs, up to ``MOST_SECONDS`` in all; files in one sub-folder are one source.

    Files that cannot be read are told and left out.

    Raises:
        InputError: If the folder holds no audio.
    """
    paths = list(walk((folder,)))
    if not paths:
        raise InputError(f"{folder}: no audio files", remedy="Name a folder with outputs.")
    # A little of every file rather than all of the first ones.
    share = max(WINDOW_SECONDS, MOST_SECONDS / len(paths))
    seconds = min(MOST_OF_A_FILE_SECONDS, share)
    left = MOST_SECONDS
    for path in paths:
        if left <= 0.0:
            note(f"{MOST_SECONDS:g} s of sound are enough; the rest of the files are not read")
            return
        try:
            audio = load(path)
        except InputError as error:
            note(f"left out: {error.problem}")
            continue
        part = audio.cut(0.0, min(audio.seconds, seconds))
        left -= part.seconds
        inside = path.relative_to(folder)
        source = inside.parent.as_posix() if len(inside.parts) > 1 else inside.stem
        yield _sound(name, part, source=source, number=inside.as_posix())


def from_copies(
    name: str,
    recordings: Path,
    copy: Callable[[Audio], Audio],
    *,
    count: int,
) -> Iterator[Sound]:
    """Pass recordings through a function: copy-synthesis.

    Args:
        name: Of the generator.
        recordings: Folder of real sound; each file is one source.
        copy: Takes mono sound and gives what the generator makes of it.
        count: Most recordings.

    Raises:
        InputError: If the folder holds no audio of four seconds.
    """
    paths = list(walk((recordings,)))
    if not paths:
        raise InputError(f"{recordings}: no audio files", remedy="Name a folder of recordings.")
    for path in islice(paths, count):
        audio = load(path)
        mono = Audio(waveform=audio.mono()[None], sample_rate=audio.sample_rate)
        part = mono.cut(0.0, min(mono.seconds, 2 * WINDOW_SECONDS))
        if part.seconds >= WINDOW_SECONDS:
            inside = path.relative_to(recordings).as_posix()
            yield _sound(name, copy(part), source=inside, number=inside)


def _sound(name: str, audio: Audio, *, source: str, number: str) -> Sound:
    return Sound(
        audio=audio, generator=name, source=source, role="train", kind="speech", name=number
    )
