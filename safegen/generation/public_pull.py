"""How does a public checkpoint come from the hub into this installation?

``look`` fetches settings alone, a few hundred kilobytes; ``pull`` the weights they need.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Final

from safegen import hub
from safegen.errors import InputError
from safegen.generation import public_card, public_store
from safegen.generation.own import DOWNLOADS
from safegen.generation.public_arrivals import Arrival, forget, put
from safegen.generation.public_card import Checkpoint
from safegen.generation.public_families import FAMILIES, recognize
from safegen.generation.public_layout import (
    MAX_SETTINGS_BYTES,
    about_of,
    missing_settings,
    pickles_at,
    places,
    settings_of,
    weights_at,
)
from safegen.generation.public_licenses import ACCEPT, asks_for_consent, consent_to, license_of
from safegen.generation.public_store import Progress

_TOPS: Final = ("model_index.json", "config.json", "model_config.json")
"""Of diffusers, of transformers, and of a layout that is recognized only to be refused."""
_NO_CLASS: Final = "stabilityai/stable-audio-open-small"
"""Published in that layout, and diffusers has no class that holds it."""


def look(name: str, *, revision: str, models: Path, overwrite: bool) -> Arrival:
    """Ask the hub what a repository holds, and fetch its settings.

    Args:
        name: "owner/name".
        revision: Branch, tag or commit; "" for the main branch.
        models: Folder of models.
        overwrite: Whether one that is installed may be replaced.

    Raises:
        InputError: If there is no such repository or nothing in it that is known here, or it
            is installed already.
        SafegenError: If the hub does not give it.
        IntegrityError: If a file that came is not the listed one.
    """
    if not public_card.is_repository(name):
        raise InputError(
            f"{name[:80]!r} is no name on the hub",
            remedy="Give OWNER/NAME, such as facebook/musicgen-small; `safegen models list --all` "
            "names what is known here.",
        )
    if name == _NO_CLASS:
        raise InputError(
            f"{name} is published in the layout of stable-audio-tools only",
            remedy="No class of diffusers reads it; choose stabilityai/stable-audio-open-1.0 or "
            "one of stabilityai/stable-audio-3-*.",
        )
    public_store.check_free(models, name, overwrite=overwrite)
    below = models / DOWNLOADS / name.replace("/", "--")
    found = hub.listing(name, revision=revision, folder=below, options=consent_to(name))
    if not any(top in found.files for top in _TOPS):
        raise _not_known(name)
    try:
        return _looked(name, found, below / found.commit)
    except InputError:
        forget(below / found.commit)
        raise


def _looked(name: str, found: hub.Repository, folder: Path) -> Arrival:
    tops = [top for top in _TOPS if top in found.files][:1]
    hub.fetch(found, tops, folder)
    family = recognize(folder)
    parts, names = places(folder, family), set(found.files)
    small = [
        x
        for x in sorted(settings_of(parts, names) | about_of(names) | _indexes(names))
        if found.files[x].size_bytes <= MAX_SETTINGS_BYTES
    ]
    hub.fetch(found, small, folder)
    weights, pickles, absent = [], [], missing_settings(parts, names)
    for place in parts:
        if place.needs == "weights":
            safe = weights_at(place, names, folder)
            unsafe = [] if safe else pickles_at(place, names, folder)
            absent += [x for x in (*safe, *unsafe) if x not in names]
            absent += [] if safe or unsafe else [place.at(f"{place.stem}.safetensors")]
            weights += [*safe, *unsafe]
            pickles += unsafe
    if absent:
        raise InputError(
            f"{found.origin}: not a whole checkpoint of {family.title}, "
            f"missing {', '.join(absent)}",
            remedy="Choose another --revision, or another repository of the same model.",
        )
    needed = {*small, *tops, *weights}
    license_found = license_of(folder, repository=name, told="")
    options = ACCEPT if asks_for_consent(license_found.name) else ""
    return Arrival(
        name=name,
        family=family,
        license=license_found,
        repository=replace(found, options=options),
        folder=folder,
        weights=tuple(sorted(set(weights))),
        pickles=tuple(sorted(set(pickles))),
        size_bytes=sum(found.files[x].size_bytes for x in needed),
        weights_bytes=sum(found.files[x].size_bytes for x in set(weights)),
    )


def pull(
    arrival: Arrival, *, models: Path, day: str, overwrite: bool, progress: Progress | None = None
) -> Checkpoint:
    """Fetch and install what ``look`` found; its license was accepted, if it asks for that.

    Args:
        arrival: From the hub.
        models: Folder of models.
        day: Today, "2026-11-22".
        overwrite: Whether one that is installed may be replaced.
        progress: Told about bytes that arrive.

    Raises:
        SafegenError: If the hub does not give a file, or the disk has no room.
        IntegrityError: If a file that came is not the listed one.
        InputError: If the files do not make a checkpoint of their family.
    """
    found = arrival.repository
    if found is None:
        msg = "an arrival from the hub is needed"
        raise ValueError(msg)
    there = sum(path.stat().st_size for path in arrival.folder.rglob("*") if path.is_file())
    twice = sum(found.files[name].size_bytes for name in arrival.pickles)
    public_store.check_space(models, max(0, arrival.size_bytes - there) + twice)
    hub.fetch(found, list(arrival.weights), arrival.folder, progress=progress)
    listed = {name: found.files[name].sha256 for name in arrival.weights}
    hashes = {name: sha256 for name, sha256 in listed.items() if sha256}
    made = put(
        arrival,
        origin=found.origin,
        hashes=hashes,
        models=models,
        day=day,
        overwrite=overwrite,
        is_ours=True,
    )
    shutil.rmtree(arrival.folder.parent)
    return made


def _indexes(names: Collection[str]) -> set[str]:
    return {name for name in names if name.endswith(".bin.index.json") and name.count("/") <= 1}


def _not_known(name: str) -> InputError:
    known = ", ".join(family.title for family in FAMILIES)
    if name.startswith("facebook/audiogen-"):
        return InputError(
            f"{name} is published in audiocraft's layout only, without its text encoder",
            remedy=f"Fetch state_dict.bin and compression_state_dict.bin of {name} and the folder "
            f"of google-t5/t5-large, then run `safegen models add {name} state_dict.bin "
            "compression_state_dict.bin --text-encoder FOLDER --accept-license --sha256 "
            "state_dict.bin=HEX --sha256 compression_state_dict.bin=HEX`.",
        )
    return InputError(
        f"{name}: no config.json or model_index.json in it",
        remedy=f"Choose a repository of one of: {known}.",
    )
