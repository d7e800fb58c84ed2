"""Is a folder a whole checkpoint, and can it be read without unpickling anything?

A checkpoint of ``transformers`` is one place: settings, a tokenizer, weights. One of
``diffusers`` is a ``model_index.json`` and a folder for each component it names. Weights
are safetensors, alone or in the shards that an index names. Pickles beside them are passed
over; where there are pickles only, the refusal names the command that converts them.

Nothing here reads a tensor: headers tell how long a file must be and what it holds.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal

from safegen.errors import InputError
from safegen.generation.public_families import Family, settings

Needs = Literal["weights", "tokenizer", "scheduler", "processor"]
MAX_SETTINGS_BYTES: Final = 1 << 26
"""Tokenizers of a quarter of a million words have 30 MB."""
_MAX_HEADER_BYTES: Final = 100_000_000
"""The limit of the safetensors library itself."""
_LENGTH_BYTES: Final = 8
_SHARD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_COMPONENT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_ABOUT: Final = re.compile(r"(README|LICEN[SC]E|NOTICE)[A-Za-z0-9_-]*(\.(md|txt))?", re.IGNORECASE)
_ONE_OF: Final[dict[Needs, tuple[str, ...]]] = {
    "tokenizer": (
        *("tokenizer.json", "spiece.model", "tokenizer.model", "sentencepiece.bpe.model"),
        *("vocab.txt", "vocab.json"),
    ),
    "scheduler": ("scheduler_config.json",),
    "processor": ("preprocessor_config.json", "processor_config.json"),
}
"""What a part without weights needs: one of these files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A folder inside a checkpoint, and what it must hold.

    Attributes:
        folder: Below the checkpoint, "" for itself.
        needs: What.
        stem: Of the safetensors, "model"; "" without weights.
        pickle_stem: Of the same weights as a pickle.
    """

    folder: str
    needs: Needs
    stem: str = ""
    pickle_stem: str = ""

    def at(self, name: str) -> str:
        """Name a file of this place from the checkpoint on."""
        return f"{self.folder}/{name}" if self.folder else name


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The files of a whole checkpoint, as paths below its folder, in the order of their names.

    Attributes:
        weights: Safetensors.
        settings: Settings and tokenizers.
        about: What its authors say of it; never read to make sound.
    """

    weights: tuple[str, ...]
    settings: tuple[str, ...]
    about: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What the header of a safetensors file says.

    Attributes:
        parameters: Floating point numbers in it.
        size_bytes: That the whole file must have.
    """

    parameters: int
    size_bytes: int


def check_folder(folder: Path, family: Family, *, command: str = "") -> Layout:
    """Find the files of a checkpoint, and see that all are there and whole.

    Args:
        folder: Of a checkpoint of this family.
        family: As ``public_families.recognize`` told.
        command: That shall install it, as it was typed; "" if none was.

    Raises:
        InputError: If a file is missing or cut off, leads out of the folder, or the weights
            are pickles only.
    """
    names = names_in(folder, family)
    parts = places(folder, family)
    absent = missing_settings(parts, names)
    weights: list[str] = []
    pickled: list[str] = []
    for place in parts:
        if place.needs != "weights":
            continue
        found = weights_at(place, names, folder)
        pickles = [] if found else pickles_at(place, names, folder)
        weights += found
        pickled += pickles
        absent += [] if found or pickles else [place.at(f"{place.stem}.safetensors")]
    absent += [name for name in weights if name not in names]
    if absent:
        raise InputError(
            f"{folder}: not a whole checkpoint of {family.title}, missing {', '.join(absent)}",
            remedy="Fetch all its files: `safegen models pull OWNER/NAME`, or copy the rest.",
        )
    if pickled:
        command = command or f"safegen models add NAME {shlex.quote(str(folder))}"
        untold = [name for name in pickled if f"{PurePosixPath(name).name}=" not in command]
        options = " ".join(["--convert", *(f"--sha256 {name}=HEX" for name in untold)])
        raise InputError(
            f"{folder}: {', '.join(pickled)} is a pickle, which can run code when it is read",
            remedy="Convert it, reading tensors alone, with the hash that its authors tell: "
            f"`{command} {options}`.",
        )
    for name in weights:
        check_safetensors(folder / name)
    return Layout(
        weights=tuple(sorted(set(weights))),
        settings=tuple(sorted(settings_of(parts, names))),
        about=tuple(sorted(about_of(names))),
    )


def places(folder: Path, family: Family) -> tuple[Place, ...]:
    """Say what must be where, from the settings at the top of a checkpoint.

    Raises:
        InputError: If ``model_index.json`` cannot be read or names odd folders.
    """
    if family.library == "transformers":
        model = Place(folder="", needs="weights", stem="model", pickle_stem="pytorch_model")
        words = (Place(folder="", needs="tokenizer"),) if family.role != "codec" else ()
        return (model, *words)
    path = folder / "model_index.json"
    found = []
    for name, row in settings(path).items():
        if not isinstance(row, list) or not all(isinstance(word, str) for word in row):
            continue  # a setting of the pipeline, or a component that is left out
        if len(row) != len(("library", "class")) or not _COMPONENT.fullmatch(name):
            raise InputError(
                f"{path}: {name[:80]!r} is no component", remedy="Fetch the checkpoint again."
            )
        found.append(_component(name, *row))
    return tuple(found)


def _component(name: str, library: str, kind: str) -> Place:
    if "Tokenizer" in kind and library == "transformers":
        return Place(folder=name, needs="tokenizer")
    if kind.endswith("Scheduler"):
        return Place(folder=name, needs="scheduler")
    if kind.endswith(("FeatureExtractor", "Processor")):
        return Place(folder=name, needs="processor")
    if library == "transformers":
        return Place(folder=name, needs="weights", stem="model", pickle_stem="pytorch_model")
    stem = "diffusion_pytorch_model"
    return Place(folder=name, needs="weights", stem=stem, pickle_stem=stem)


def names_in(folder: Path, family: Family) -> set[str]:
    """Name the files of a folder that could belong to a checkpoint.

    Raises:
        InputError: If the folder cannot be read, or a link in it leads elsewhere.
    """
    inside = {"", *(place.folder for place in places(folder, family))}
    found = set()
    root = _root(folder)
    for below in inside:
        here = folder / below
        for path in here.iterdir() if here.is_dir() else ():
            if not path.is_file():
                continue
            if not path.resolve().is_relative_to(root):
                raise InputError(
                    f"{path}: a link that leads out of {root}",
                    remedy="Put the file itself there.",
                )
            found.add(path.relative_to(folder).as_posix())
    return found


def _root(folder: Path) -> Path:
    """Say how far links may lead: a snapshot in the hub's cache links to its blobs."""
    here = folder.resolve()
    if here.parent.name == "snapshots" and here.parent.parent.name.startswith("models--"):
        return here.parent.parent
    return here


def weights_at(place: Place, names: Collection[str], folder: Path) -> list[str]:
    """Name the safetensors of a place: one, or the shards of its index; none if it has none.

    Raises:
        InputError: If the index cannot be read.
    """
    return _files(place, place.stem, ".safetensors", names, folder)


def pickles_at(place: Place, names: Collection[str], folder: Path) -> list[str]:
    """Name the pickles of a place that ``convert`` can read; none if it has none.

    Raises:
        InputError: If their index cannot be read.
    """
    return _files(place, place.pickle_stem, ".bin", names, folder)


def _files(place: Place, stem: str, suffix: str, names: Collection[str], folder: Path) -> list[str]:
    one = place.at(f"{stem}{suffix}")
    if one in names:
        return [one]
    index = f"{one}.index.json"
    if index not in names:
        return []
    shards = settings(folder / index).get("weight_map")
    listed = sorted(set(shards.values())) if isinstance(shards, dict) else []
    if not listed or not all(isinstance(x, str) and _SHARD.fullmatch(x) for x in listed):
        raise InputError(f"{folder / index}: names no shards", remedy="Fetch it again.")
    return [place.at(name) for name in listed]


def missing_settings(parts: Collection[Place], names: Collection[str]) -> list[str]:
    """Name the settings and tokenizers that a checkpoint needs and lacks."""
    absent = []
    for place in parts:
        if place.needs == "weights":
            absent += [x for x in (place.at("config.json"),) if x not in names]
        elif not any(place.at(name) in names for name in _ONE_OF[place.needs]):
            absent.append(place.at(_ONE_OF[place.needs][0]))
    return absent


def settings_of(parts: Collection[Place], names: Collection[str]) -> set[str]:
    """Choose the settings and tokenizers among file names."""
    inside = {"", *(place.folder for place in parts)}
    return {
        name
        for name in names
        if _parent(name) in inside
        and PurePosixPath(name).suffix in (".json", ".txt", ".model")
        and not name.endswith(".bin.index.json")
        and not _ABOUT.fullmatch(PurePosixPath(name).name)
        and name not in ("public.json", "card.json")
    }


def about_of(names: Collection[str]) -> set[str]:
    """Choose what authors say of their model among file names."""
    return {name for name in names if _ABOUT.fullmatch(name)}


def _parent(name: str) -> str:
    parent = PurePosixPath(name).parent.as_posix()
    return "" if parent == "." else parent


def check_safetensors(path: Path) -> Header:
    """Read the header of a safetensors file, and compare its length with the file's.

    Raises:
        InputError: If it is no such file, or has too few or too many bytes.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        if size < _LENGTH_BYTES or length > _MAX_HEADER_BYTES:
            raise _no_tensors(path, f"{size} bytes, and no header of safetensors")
        text = file.read(length)
    if len(text) < length:
        raise _no_tensors(path, f"{size} bytes, at least {_LENGTH_BYTES + length} needed")
    try:
        header = json.loads(text)
        tensors = [row for name, row in header.items() if name != "__metadata__"]
        end = max((_end(row) for row in tensors), default=0)
        parameters = sum(
            math.prod(row["shape"]) for row in tensors if row["dtype"].startswith(("F", "BF"))
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _no_tensors(path, "its header is not one of safetensors") from error
    needed = _LENGTH_BYTES + length + end
    if size != needed:
        raise _no_tensors(path, f"{size} bytes, {needed} needed")
    return Header(parameters=parameters, size_bytes=needed)


def _end(row: dict[str, Any]) -> int:
    begin, end = row["data_offsets"]
    shape = row["shape"]
    if not all(type(x) is int and x >= 0 for x in (begin, end, *shape)) or begin > end:
        msg = "offsets and shapes are counts"
        raise ValueError(msg)
    return int(end)


def _no_tensors(path: Path, problem: str) -> InputError:
    return InputError(
        f"{path}: {problem}",
        remedy="The file is cut off or damaged; fetch it again: `safegen models pull OWNER/NAME`.",
    )
