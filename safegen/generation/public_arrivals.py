"""What do checkpoints from the hub and from folders have in common on their way in?

 1. see what it is, under which license, and how large, from its small files
 2. see that the license was accepted, where it asks for that, and that the disk has room
 3. bring the weights, compared with the hashes that the hub or the caller names
 4. make safetensors of pickles
 5. install, all of it or nothing

Steps 1 and 3 are those of ``public_pull`` and ``public_add``; what the first finds is shown
to people before the others are taken.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safegen import hub
from safegen.generation import public_card, public_store
from safegen.generation.public_card import Checkpoint, PublicCard
from safegen.generation.public_convert import convert
from safegen.generation.public_families import Family
from safegen.generation.public_licenses import License, asks_for_consent, refuse
from safegen.generation.public_store import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A checkpoint that could be installed.

    Attributes:
        name: Under which.
        family: Which kind it is.
        license: And who told.
        repository: What the hub lists; None for local files.
        folder: Where its files are, or will be fetched to.
        weights: Safetensors and pickles that it needs, below the folder.
        pickles: Those of them that are pickles.
        size_bytes: Of all files that are needed.
        weights_bytes: Of the weights among them.
    """

    name: str
    family: Family
    license: License
    repository: hub.Repository | None
    folder: Path
    weights: tuple[str, ...]
    pickles: tuple[str, ...]
    size_bytes: int
    weights_bytes: int


def check_consent(arrival: Arrival, *, is_accepted: bool, command: str) -> None:
    """Refuse a license that asks for a consent that is missing; what was fetched is deleted.

    Raises:
        InputError: If it does; ``command`` is named with ``--accept-license``.
    """
    if asks_for_consent(arrival.license.name) and not is_accepted:
        if arrival.repository is not None:
            forget(arrival.folder)
        repository = arrival.name if public_card.is_repository(arrival.name) else ""
        raise refuse(arrival.name, arrival.license.name, repository=repository, command=command)


def put(
    arrival: Arrival,
    *,
    origin: str,
    hashes: Mapping[str, str],
    models: Path,
    day: str,
    overwrite: bool,
    is_ours: bool,
    progress: Progress | None = None,
) -> Checkpoint:
    """Install a checkpoint whose files are there, its pickles as safetensors.

    Args:
        arrival: Its license was accepted, if it asks for that.
        origin: Where it comes from.
        hashes: File -> sha256 that it must have, as far as somebody told; of every pickle.
        models: Folder of models.
        day: Today, "2026-11-22".
        overwrite: Whether one that is installed may be replaced.
        is_ours: Whether the files may be taken instead of copied.
        progress: Told about bytes.

    Raises:
        InputError: If a hash is missing, or the files make no checkpoint of their family.
        IntegrityError: If a file is not the expected one.
        SafegenError: If the disk has no room.
    """
    public = PublicCard(
        name=arrival.name,
        family=arrival.family.key,
        origin=origin,
        license=arrival.license.name,
        license_source=arrival.license.source,
        accepted=day if asks_for_consent(arrival.license.name) else "",
        created=day,
        files=(),
    )
    if not arrival.pickles:
        return public_store.install(
            models,
            public,
            arrival.folder,
            expected=hashes,
            overwrite=overwrite,
            is_ours=is_ours,
            progress=progress,
        )
    models.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=models, prefix=".converted-") as work:
        out = Path(work) / "model"
        told = {name: hashes[name] for name in hashes if not name.endswith(".safetensors")}
        convert(arrival.folder, out, arrival.family, sha256=told)
        return public_store.install(
            models, public, out, expected={}, overwrite=overwrite, is_ours=True, progress=progress
        )


def forget(folder: Path) -> None:
    """Delete settings that were fetched for nothing; weights that began to arrive are kept."""
    begun = [path for path in folder.rglob("*") if path.suffix in (".part", ".safetensors", ".bin")]
    if begun:
        return
    shutil.rmtree(folder, ignore_errors=True)
    for parent in (folder.parent, folder.parent.parent, folder.parent.parent.parent):
        if not parent.is_dir() or any(parent.iterdir()):
            break
        parent.rmdir()
