"""What is a clip of a corpus, and how is a folder of clips kept?

An item is a plan: its sound is made when it is asked for. A folder holds the clips as
FLAC and one row for each in ``manifest.csv``, written when the clip is whole.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal

import numpy as np

from safegen.audio import Audio, load, save
from safegen.errors import InputError
from safegen.training.sources import ROLES, Role

MANIFEST: Final = "manifest.csv"
COLUMNS: Final = (
    "file",
    "label",
    "generator",
    "family",
    "source",
    "role",
    "license",
    "seconds",
    "history",
)
_OPEN: Final = ("CC0", "CC-BY", "MIT", "Apache", "BSD")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A clip that can be made.

    Attributes:
        file: Where it is kept, below the folder of the corpus.
        generator: Name of the synthesizer; empty for real clips.
        family: Of the synthesizer; empty for real clips.
        source: Speaker or track; for text, the voice and its sentences.
        role: What may be done with it.
        license: All that apply, joined by " + ".
        seconds: Its length.
        history: Codecs since the sound was made, in their order, joined by " ".
        make: Makes the sound.
    """

    file: str
    generator: str
    family: str
    source: str
    role: Role
    license: str
    seconds: float
    history: str
    make: Callable[[], Audio]

    @property
    def label(self) -> Literal["real", "fake"]:
        """Its class."""
        return "fake" if self.generator else "real"


def trains_weights(license_: str) -> bool:
    """Say whether weights that ship may learn from a clip with this license."""
    return all(part.startswith(_OPEN) for part in license_.split(" + "))


def write(folder: Path, items: Iterable[Item], *, note: Callable[[str], None]) -> int:
    """Keep items as FLAC of 16-bit values, one row each in the manifest.

    Items that are in the manifest and on disk are not made again, so a stopped run is
    continued by the same call.

    Args:
        folder: Of the corpus; made if it is not there.
        items: What to keep.
        note: Is told about every 20th clip that was made.

    Returns:
        How many clips were made.

    Raises:
        InputError: If the folder's manifest is not one of ours.
    """
    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / MANIFEST
    done = {row["file"] for row in _rows(manifest)} if manifest.exists() else set()
    if manifest.exists():
        _mend(manifest)
    else:
        manifest.write_text(",".join(COLUMNS) + "\n", encoding="utf-8")
    made = 0
    for item in items:
        path = folder / item.file
        if item.file in done and path.is_file():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}")
        save(_in_16_bits(item.make()), part)
        part.replace(path)
        if item.file not in done:
            _append(manifest, item)
            done.add(item.file)
        made += 1
        if made % 20 == 0:
            note(f"{made} clips made, the last is {item.file}")
    return made


def read(folder: Path) -> Iterator[Item]:
    """Yield what ``write`` kept, in the order in which it was written.

    Raises:
        InputError: If there is no manifest, or it is not one of ours.
    """
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise InputError(
            f"{folder}: no {MANIFEST}", remedy="Give a folder that `corpora.write` has filled."
        )
    for row in _rows(manifest):
        yield Item(
            file=row["file"],
            generator=row["generator"],
            family=row["family"],
            source=row["source"],
            role=_role(manifest, row["role"]),
            license=row["license"],
            seconds=float(row["seconds"]),
            history=row["history"],
            make=partial(load, folder / row["file"]),
        )


def _in_16_bits(audio: Audio) -> Audio:
    whole = np.clip(np.round(audio.waveform * 32_768.0), -32_768, 32_767)
    return Audio(waveform=(whole / 32_768.0).astype(np.float32), sample_rate=audio.sample_rate)


def _append(manifest: Path, item: Item) -> None:
    row = {column: getattr(item, column) for column in COLUMNS}
    with manifest.open("a", encoding="utf-8", newline="") as file:
        csv.DictWriter(file, COLUMNS, lineterminator="\n").writerow(row)


def _mend(manifest: Path) -> None:
    """Drop a last line that a stopped run left half written."""
    text = manifest.read_text(encoding="utf-8")
    if not text.endswith("\n"):
        manifest.write_text(text[: text.rfind("\n") + 1], encoding="utf-8")


def _rows(manifest: Path) -> list[dict[str, str]]:
    """Read whole rows.

    Raises:
        InputError: If the columns are others, or a row has too few.
    """
    text = manifest.read_text(encoding="utf-8")
    reader = csv.DictReader(text[: text.rfind("\n") + 1].splitlines())
    rows = list(reader)
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise InputError(
            f"{manifest}: columns {', '.join(reader.fieldnames or ())} instead of "
            f"{', '.join(COLUMNS)}",
            remedy="Give another folder, or move this manifest away.",
        )
    for number, row in enumerate(rows, start=2):
        if None in row.values() or None in row:
            raise InputError(
                f"{manifest}: line {number} has not {len(COLUMNS)} columns",
                remedy="Delete the line; its clip is made again.",
            )
    return rows


def _role(manifest: Path, text: str) -> Role:
    for role in ROLES:
        if role == text:
            return role
    raise InputError(
        f"{manifest}: role {text!r} is none of {', '.join(ROLES)}",
        remedy="Delete the line; its clip is made again.",
    )
