"""How does a public checkpoint come from local files into this installation?"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from safegen.errors import InputError
from safegen.generation import public_card, public_store
from safegen.generation.public_arrivals import Arrival, put
from safegen.generation.public_card import Checkpoint
from safegen.generation.public_convert import pickles_in
from safegen.generation.public_families import recognize
from safegen.generation.public_layout import check_folder
from safegen.generation.public_licenses import asks_for_consent, license_of, refuse
from safegen.generation.public_store import LOCAL, Progress


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


def at(name: str, folder: Path, *, license_: str, is_converted: bool, command: str = "") -> Arrival:
    """See what a local folder holds.

    Args:
        name: Under which it shall be installed.
        folder: Of a checkpoint, also of a snapshot in the hub's own cache.
        license_: As the operator tells, where nobody else does.
        is_converted: Whether pickles may be read.
        command: As it was typed, named in a refusal.

    Raises:
        InputError: If it is no whole checkpoint of a known family, or holds pickles only and
            they may not be read.
    """
    public_card.check_name(name)
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
        layout = check_folder(folder, family, command=command)
        weights = layout.weights
        files = [folder / x for x in (*layout.weights, *layout.settings, *layout.about)]
    named = public_store.repository_of(folder)[0]
    repository = name if public_card.is_repository(name) else named
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
    return put(
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
    repository = name if public_card.is_repository(name) else ""
    # The text encoder's folder may have a README of its own, which speaks for it alone.
    license_found = license_of(files.lm, repository=repository, told=license_)
    if asks_for_consent(license_found.name) and not is_accepted:
        raise refuse(name, license_found.name, repository=repository, command=command)
    models.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=models, prefix=".converted-") as work:
        out = Path(work) / "model"
        from_audiocraft(files.lm, files.compression, files.text_encoder, out, sha256=files.hashes)
        arrival = at(name, out, license_=license_, is_converted=False)
        return put(
            arrival,
            origin=LOCAL,
            hashes={},
            models=models,
            day=day,
            overwrite=overwrite,
            is_ours=True,
        )


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
                f"--sha256 names {name}, {arrival.folder} has "
                f"{f'{len(paths)} such files' if paths else 'no such file of weights'}",
                remedy=f"Name one of these by its path: {', '.join(paths or arrival.weights)}.",
            )
        found[paths[0]] = sha256.lower()
    return found
