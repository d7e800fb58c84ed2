"""Which recordings are in the catalog, which stand outside it, and who speaks over them?

Real game music from Debian (``safegen eval assets`` fetches it), and the spoken prompts
of four languages. Recordings outside the catalog are the other half of the same music, so
that every track serves as a stranger.
"""

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from safegen.audio import AUDIO_SUFFIXES, Audio, load, resample
from safegen.errors import InputError
from safegen.evaluation.assets import speech_files

PACKAGES: Final = (
    "asc-music",
    "hyperrogue-music/usr/share/hyperrogue/music",
    "ufoai-music",
    "warzone2100-music",
    "wesnoth-1.16-music",
)
LEAST_SECONDS: Final = 15.0
"""Shorter tracks (jingles, a file of silence) are left out."""
SILENT: Final = 1e-3
"""Root of the mean square of an excerpt that holds nothing to be found: -60 dB."""

REMASTERS: Final = (
    ("albums/aftermath_soundtrack/menu_enhanced.opus", "music/menu.opus"),
    ("albums/aftermath_soundtrack/track3_enhanced.opus", "original_soundtrack/track3.opus"),
)
"""Pairs that are one recording in two masterings; the names say so. Kept in one half."""

_SPEECH_RATE: Final = 16_000
_TRIES: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """A recording of the catalog.

    Attributes:
        name: The end of its path; unique, and its title in the catalog.
        path: The file.
        work_id: In every catalog of the benchmark; empty until it is in one.
        seconds: Its length; 0 until it was decoded.
    """

    name: str
    path: Path
    work_id: str = ""
    seconds: float = 0.0


def tracks(assets: Path, work: Path) -> list[Path]:
    """List the music files in a fixed order; zipped ones are unpacked into the work folder."""
    found: list[Path] = []
    for package in PACKAGES:
        folder = assets / package
        for archive in sorted(folder.rglob("*.pk3")):
            target = work / "unpacked" / archive.stem
            if not target.is_dir():
                partly = target.with_name(f"{target.name}.part")
                with zipfile.ZipFile(archive) as file:
                    file.extractall(partly)
                partly.rename(target)
            found += sorted(p for p in target.rglob("*") if p.suffix in AUDIO_SUFFIXES)
        found += sorted(p for p in folder.rglob("*") if p.suffix in AUDIO_SUFFIXES)
    return found


def spread(paths: Sequence[Path], count: int) -> list[Path]:
    """Take ``count`` of the files from all over the list, in its order; all if there are fewer."""
    if count >= len(paths):
        return list(paths)
    places = np.unique(np.linspace(0, len(paths) - 1, count).round().astype(int))
    return [paths[place] for place in places.tolist()]


def track_name(path: Path) -> str:
    """Name a file by the end of its path: two albums may both have a track1."""
    return "/".join(path.parts[-4:])


def halves(names: Sequence[str]) -> Mapping[str, int]:
    """Divide the works into two catalogs, 0 and 1; masterings of one recording stay together."""
    side = {name: number % 2 for number, name in enumerate(names)}
    for later, earlier in REMASTERS:
        first = next((name for name in side if name.endswith(earlier)), None)
        second = next((name for name in side if name.endswith(later)), None)
        if first and second:
            side[second] = side[first]
    return side


def lots(seed: int, *words: str) -> np.random.Generator:
    """Seed from what is drawn for, so that no trial depends on which others were run."""
    return np.random.default_rng([seed, *(zlib.crc32(word.encode()) for word in words)])


def places(
    audio: Audio, count: int, *, seconds: float, seed: int, words: Sequence[str]
) -> list[float]:
    """Draw where excerpts begin; silence (fades, gaps) is drawn again a few times.

    Args:
        audio: The whole track.
        count: How many.
        seconds: Length of an excerpt.
        seed: Of the run.
        words: What they are drawn for.

    Returns:
        Starts in seconds; the first of a longer list are those of a shorter one.
    """
    random = lots(seed, *words)
    room = max(0.0, audio.seconds - seconds)
    found = []
    for _ in range(count):
        start = 0.0
        for _ in range(_TRIES):
            start = float(random.uniform(0.0, room))
            cut = audio.cut(start, start + seconds).waveform
            if float(np.sqrt(np.mean(np.square(cut)))) > SILENT:
                break
        # Where on the grid of samples the cut falls is where it began.
        found.append(round(start * audio.sample_rate) / audio.sample_rate)
    return found


def speech(assets: Path, *, seconds: float, seed: int, words: Sequence[str]) -> Audio:
    """Join spoken prompts of one language until they are long enough; 16 kHz, mono.

    Raises:
        InputError: If the folder holds no prompts.
    """
    languages = [files for files in speech_files(assets).values() if files]
    if not languages:
        raise InputError(
            f"{assets}: no speech found",
            remedy=f"Fetch it with `safegen eval assets --out {assets}`.",
        )
    random = lots(seed, *words)
    files = languages[int(random.integers(len(languages)))]
    parts: list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]] = []
    held = 0
    while held < seconds * _SPEECH_RATE:
        path = files[int(random.integers(len(files)))]
        parts.append(resample(load(path), _SPEECH_RATE).waveform[:1])
        held += parts[-1].shape[1]
    waveform = np.concatenate(parts, axis=1)[:, : round(seconds * _SPEECH_RATE)]
    return Audio(waveform=np.ascontiguousarray(waveform), sample_rate=_SPEECH_RATE)
