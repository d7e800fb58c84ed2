"""How do weights that were published as a pickle become safetensors?

Pickles are read by ``safegen.checkpoints`` alone: the whole file must have the hash that
somebody named, and of what is in it only tensors count; a pickle that would run something is
refused. Nothing is renamed or cast. Tensors that share memory are written apart, so that the
file holds every name that the pickle held.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from safegen.checkpoints import read_checkpoint
from safegen.errors import InputError
from safegen.generation.public_families import Family
from safegen.generation.public_layout import (
    Place,
    about_of,
    names_in,
    pickles_at,
    places,
    settings_of,
    weights_at,
)

if TYPE_CHECKING:
    import torch


def pickles_in(folder: Path, family: Family) -> tuple[str, ...]:
    """Name the pickles that stand where safetensors are missing.

    Raises:
        InputError: If a file of settings cannot be read.
    """
    names = names_in(folder, family)
    return tuple(
        name
        for place in places(folder, family)
        if place.needs == "weights" and not weights_at(place, names, folder)
        for name in pickles_at(place, names, folder)
    )


def convert(folder: Path, out: Path, family: Family, *, sha256: Mapping[str, str]) -> None:
    """Write a checkpoint again, with safetensors where it has pickles.

    Args:
        folder: With pickles for some or all of its weights.
        out: Made; must not exist.
        family: Of the checkpoint.
        sha256: Of every pickle that is read, by its path below the folder or its file name.

    Raises:
        InputError: If a hash is missing or unused, or a pickle holds more than tensors.
        IntegrityError: If a pickle is not the one that was named.
    """
    pickled = pickles_in(folder, family)
    hashes = {name: sha256.get(name, sha256.get(PurePosixPath(name).name, "")) for name in pickled}
    unknown = sorted(set(sha256) - set(pickled) - {PurePosixPath(x).name for x in pickled})
    if unknown:
        raise InputError(
            f"--sha256 names {', '.join(unknown)}, which is not among the pickles of {folder}",
            remedy=f"They are: {', '.join(pickled) or 'none; leave --convert out'}.",
        )
    if untold := [name for name in pickled if not hashes[name]]:
        raise InputError(
            f"{folder}: nobody told the sha256 of {', '.join(untold)}",
            remedy="Get it from whoever made the file, the hub shows it on the file's page, and "
            f"add {' '.join(f'--sha256 {name}=HEX' for name in untold)}.",
        )
    names, parts = names_in(folder, family), places(folder, family)
    for name in sorted(settings_of(parts, names) | about_of(names)):
        _copy(folder / name, out / name)
    for place in parts:
        if place.needs != "weights":
            continue
        kept = weights_at(place, names, folder)
        for name in kept:
            _copy(folder / name, out / name)
        if not kept:
            _convert(place, pickles_at(place, names, folder), folder, out, hashes)


def _convert(
    place: Place, pickled: list[str], folder: Path, out: Path, hashes: Mapping[str, str]
) -> None:
    from safetensors.torch import save_file

    weight_map: dict[str, str] = {}
    for name in pickled:
        tensors = read_checkpoint(folder / name, sha256=hashes[name])
        old = PurePosixPath(name).name
        new = old.replace(place.pickle_stem, place.stem, 1).removesuffix(".bin") + ".safetensors"
        target = out / place.at(new)
        target.parent.mkdir(parents=True, exist_ok=True)
        save_file(_apart(tensors), target, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(tensors, new)
    if len(pickled) > 1:
        index = out / place.at(f"{place.stem}.safetensors.index.json")
        index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}, indent=1))


def _apart(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copy tensors that share memory with another, or are a part of a larger one."""
    seen: set[int] = set()
    found = {}
    for name, tensor in tensors.items():
        storage = tensor.untyped_storage()
        is_shared = storage.data_ptr() in seen
        seen.add(storage.data_ptr())
        is_part = storage.nbytes() != tensor.numel() * tensor.element_size()
        found[name] = tensor.clone() if is_shared or is_part else tensor.contiguous()
    return {name: tensor.contiguous() for name, tensor in found.items()}


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
