"""How does a public checkpoint get into this installation, from the hub or from a folder?

 1. see what it is, under which license, and how large, from its small files
 2. see that the license was accepted, where it asks for that, and that the disk has room
 3. bring the weights, compared with the hashes that the hub or the caller names
 4. make safetensors of pickles
 5. install, all of it or nothing

Step 1 is ``look`` or ``at``; what they find is shown to people before ``pull`` or ``add``
take the other steps.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from safegen import hub
from safegen.errors import InputError
from safegen.generation import public_store
from safegen.generation.own import DOWNLOADS
from safegen.generation.public_convert import convert, pickles_in
from safegen.generation.public_families import FAMILIES, Family, recognize
from safegen.generation.public_layout import (
    MAX_SETTINGS_BYTES,
    about_of,
    check_folder,
    missing_settings,
    pickles_at,
    places,
    settings_of,
    weights_at,
)
from safegen.generation.public_licenses import License, asks_for_consent, license_of, refuse
from safegen.generation.public_store import LOCAL, Checkpoint, Progress, PublicCard

_TOPS: Final = ("model_index.json", "config.json")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Audiocraft:
    """The files of a model in audiocraft's layout.

    Attributes:
        lm: ``state_dict.bin``.
        compression: ``compression_state_dict.bin``.
        text_encoder: Folder of its T5.
        hashes: File name -> sha256 of the first two.
    """

    lm: Path
    compression: Path
    text_encoder: Path
    hashes: Mapping[str, str]


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
    if not public_store.is_repository(name):
        raise InputError(
            f"{name[:80]!r} is no name on the hub",
            remedy="Give OWNER/NAME, such as facebook/musicgen-small; `safegen models list --all` "
            "names what is known here.",
        )
    public_store.check_free(models, name, overwrite=overwrite)
    below = models / DOWNLOADS / name.replace("/", "--")
    found = hub.listing(name, revision=revision, folder=below)
    if not any(top in found.files for top in _TOPS):
        raise _not_known(name)
    try:
        return _looked(name, found, below / found.commit)
    except InputError:
        _forget(below / found.commit)
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
    return Arrival(
        name=name,
        family=family,
        license=license_of(folder, repository=name, told=""),
        repository=found,
        folder=folder,
        weights=tuple(sorted(set(weights))),
        pickles=tuple(sorted(set(pickles))),
        size_bytes=sum(found.files[x].size_bytes for x in needed),
        weights_bytes=sum(found.files[x].size_bytes for x in set(weights)),
    )


def at(name: str, folder: Path, *, license_: str, is_converted: bool) -> Arrival:
    """See what a local folder holds.

    Args:
        name: Under which it shall be installed.
        folder: Of a checkpoint, also of a snapshot in the hub's own cache.
        license_: As the operator tells, where nobody else does.
        is_converted: Whether pickles may be read.

    Raises:
        InputError: If it is no whole checkpoint of a known family, or holds pickles only and
            they may not be read.
    """
    public_store.check_name(name)
    family = recognize(folder)
    pickles = pickles_in(folder, family)
    if is_converted and not pickles:
        raise InputError(
            f"{folder}: has safetensors, nothing is to be converted",
            remedy="Leave --convert out.",
        )
    if is_converted:
        weights, files = pickles, [folder / x for x in pickles]
    else:
        layout = check_folder(folder, family)
        weights = layout.weights
        files = [folder / x for x in (*layout.weights, *layout.settings, *layout.about)]
    named = public_store.repository_of(folder)[0]
    repository = name if public_store.is_repository(name) else named
    return Arrival(
        name=name,
        family=family,
        license=license_of(folder, repository=repository, told=license_),
        repository=None,
        folder=folder,
        weights=weights,
        pickles=pickles if is_converted else (),
        size_bytes=sum(path.stat().st_size for path in files),
        weights_bytes=sum((folder / x).stat().st_size for x in weights),
    )


def check_consent(arrival: Arrival, *, is_accepted: bool, command: str) -> None:
    """Refuse a license that asks for a consent that is missing; what was fetched is deleted.

    Raises:
        InputError: If it does; ``command`` is named with ``--accept-license``.
    """
    if asks_for_consent(arrival.license.name) and not is_accepted:
        if arrival.repository is not None:
            _forget(arrival.folder)
        repository = arrival.name if public_store.is_repository(arrival.name) else ""
        raise refuse(arrival.name, arrival.license.name, repository=repository, command=command)


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
    made = _installed(
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


def add(
    arrival: Arrival,
    *,
    hashes: Mapping[str, str],
    models: Path,
    day: str,
    overwrite: bool,
    progress: Progress | None = None,
) -> Checkpoint:
    """Install what ``at`` found; its license was accepted, if it asks for that.

    Args:
        arrival: Local.
        hashes: sha256 of files, by their paths below the folder or their names; every
            pickle needs one.
        models: Folder of models.
        day: Today, "2026-11-22".
        overwrite: Whether one that is installed may be replaced.
        progress: Told about bytes that were copied.

    Raises:
        SafegenError: If the disk has no room.
        IntegrityError: If a file is not the one that was named.
        InputError: If a hash is missing, or the files make no checkpoint of their family.
    """
    public_store.check_free(models, arrival.name, overwrite=overwrite)
    public_store.check_space(models, arrival.size_bytes)
    if not arrival.pickles:
        hashes = _by_path(hashes, arrival)
    origin = public_store.repository_of(arrival.folder)[1]
    return _installed(
        arrival,
        origin=origin or LOCAL,
        hashes=hashes,
        models=models,
        day=day,
        overwrite=overwrite,
        is_ours=False,
        progress=progress,
    )


def add_audiocraft(
    name: str,
    files: Audiocraft,
    *,
    license_: str,
    is_accepted: bool,
    command: str,
    models: Path,
    day: str,
    overwrite: bool,
) -> Checkpoint:
    """Install a model that was published in audiocraft's layout, such as AudioGen.

    Args:
        name: Under which it shall be installed.
        files: What was published, and the text encoder.
        license_: As the operator tells, where nobody else does.
        is_accepted: Whether the operator accepts the license.
        command: Named in a refusal.
        models: Folder of models.
        day: Today, "2026-11-22".
        overwrite: Whether one that is installed may be replaced.

    Raises:
        InputError: If the files are no such model, a hash is missing, or the license was not
            accepted.
        IntegrityError: If a file is not the one that was named.
    """
    from safegen.generation.transformers_models.audiogen import convert as from_audiocraft

    public_store.check_free(models, name, overwrite=overwrite)
    repository = name if public_store.is_repository(name) else ""
    # The text encoder's folder may have a README of its own, which speaks for it alone.
    license_found = license_of(files.lm, repository=repository, told=license_)
    if asks_for_consent(license_found.name) and not is_accepted:
        raise refuse(name, license_found.name, repository=repository, command=command)
    models.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=models, prefix=".converted-") as work:
        out = Path(work) / "model"
        from_audiocraft(files.lm, files.compression, files.text_encoder, out, sha256=files.hashes)
        arrival = at(name, out, license_=license_, is_converted=False)
        return _installed(
            arrival,
            origin=LOCAL,
            hashes={},
            models=models,
            day=day,
            overwrite=overwrite,
            is_ours=True,
        )


def _installed(
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


def _forget(folder: Path) -> None:
    """Delete settings that were fetched for nothing; weights that began to arrive are kept."""
    begun = [path for path in folder.rglob("*") if path.suffix in (".part", ".safetensors", ".bin")]
    if begun:
        return
    shutil.rmtree(folder, ignore_errors=True)
    for parent in (folder.parent, folder.parent.parent, folder.parent.parent.parent):
        if not parent.is_dir() or any(parent.iterdir()):
            break
        parent.rmdir()


def _indexes(names: Collection[str]) -> set[str]:
    return {name for name in names if name.endswith(".bin.index.json") and name.count("/") <= 1}


def _by_path(hashes: Mapping[str, str], arrival: Arrival) -> dict[str, str]:
    """Give hashes that were told by file names the files' paths.

    Raises:
        InputError: If one names no weights of the checkpoint.
    """
    found = {}
    for name, sha256 in hashes.items():
        paths = [x for x in arrival.weights if name in (x, PurePosixPath(x).name)]
        if len(paths) != 1:
            raise InputError(
                f"--sha256 names {name}, which is {len(paths)} of the files of {arrival.folder}",
                remedy=f"They are: {', '.join(arrival.weights)}.",
            )
        found[paths[0]] = sha256.lower()
    return found


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
