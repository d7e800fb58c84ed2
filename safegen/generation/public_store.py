"""Which public checkpoints are in this installation, and are they what they were?

An installed checkpoint is a folder below the models with its files, as their authors laid
them out, and a card. A folder anywhere can be used without installing it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from safegen.audio import sha256_file
from safegen.errors import InputError, IntegrityError, SafegenError
from safegen.generation import public_licenses
from safegen.generation.cards import ModelCard
from safegen.generation.public_card import (
    ABOUT,
    CARD_NAME,
    Checkpoint,
    PublicCard,
    PublicFile,
    again,
    check_name,
    folder_of,
    is_alias,
    is_commit,
    is_repository,
    plain,
    read,
    text_of,
)
from safegen.generation.public_families import FAMILIES, Device, Precision, module_of, recognize
from safegen.generation.public_layout import check_folder
from safegen.generation.verified import hashes

LOCAL: Final = "local files"
"""Origin of what was not fetched from the hub."""
_SPARE_BYTES: Final = 1 << 26
"""Left free on the disk by an installation."""

Progress = Callable[[int], None]
"""Called with the bytes that were copied since the last call."""


def installed(models: Path) -> Iterator[Checkpoint]:
    """Read the installed checkpoints, in the order of their folders' names.

    Raises:
        IntegrityError: If one says nothing readable of itself.
    """
    if models.is_dir():
        for folder in sorted(models.iterdir()):
            if not folder.name.startswith(".") and (folder / CARD_NAME).is_file():
                yield read(folder)


def find(name: str, *, models: Path | None) -> Checkpoint | None:
    """Look an installed checkpoint up; None if there is none of this name.

    Raises:
        IntegrityError: If it says nothing readable of itself.
    """
    if models is None or not (is_repository(name) or is_alias(name)):
        return None
    folder = folder_of(models, name)
    return read(folder) if (folder / CARD_NAME).is_file() else None


def in_folder(folder: Path, *, models: Path | None, license_: str = "") -> Checkpoint:
    """Describe a checkpoint in a folder of somebody's, which is not installed.

    Args:
        folder: Of a checkpoint, also of a snapshot in the hub's own cache.
        models: Of the installation, for its note of hashes.
        license_: As the operator tells, where nobody else does.

    Raises:
        InputError: If it is not a whole checkpoint of a known family.
    """
    family = recognize(folder)
    layout = check_folder(folder, family)
    repository, origin = repository_of(folder)
    roles = {
        **dict.fromkeys(layout.weights, "weights"),
        **dict.fromkeys(layout.settings, "settings"),
    }
    digests = hashes([folder / name for name in sorted(roles)], models=models)
    found = public_licenses.license_of(folder, repository=repository, told=license_)
    public = PublicCard(
        name=repository or plain(folder.resolve().name),
        family=family.key,
        origin=origin or LOCAL,
        license=found.name,
        license_source=found.source,
        accepted="",
        created="",
        files=tuple(
            PublicFile(
                name=name,
                role=roles[name],
                sha256=digests[folder / name],
                size_bytes=(folder / name).stat().st_size,
            )
            for name in sorted(roles)
        ),
    )
    return Checkpoint(public=public, folder=folder, is_installed=False)


def repository_of(folder: Path) -> tuple[str, str]:
    """Read "owner/name" and "owner/name@commit" from a snapshot's path in the hub's cache."""
    here = folder.resolve()
    words = here.parent.parent.name.split("--")
    named = "/".join(words[1:])
    if here.parent.name != "snapshots" or words[0] != "models" or not is_repository(named):
        return "", ""
    return named, f"{named}@{here.name}" if is_commit(here.name) else ""


def install(
    models: Path,
    public: PublicCard,
    source: Path,
    *,
    expected: Mapping[str, str],
    overwrite: bool,
    is_ours: bool = False,
    progress: Progress | None = None,
) -> Checkpoint:
    """Put a checkpoint in place, all of it or nothing.

    Args:
        models: Folder of models.
        public: What is known of it; ``files`` are filled in here.
        source: A whole checkpoint of this family.
        expected: File name -> sha256 that it must have, as far as somebody told.
        overwrite: Whether one of this name may be replaced.
        is_ours: Whether the files of ``source`` may be taken instead of copied.
        progress: Told about bytes.

    Raises:
        InputError: If the name is no name or taken, the folder is not whole, or its license
            asks for a consent that is missing.
        IntegrityError: If a file is not the expected one.
        SafegenError: If the disk is too small.
    """
    check_name(public.name)
    where = folder_of(models, public.name)
    check_free(models, public.name, overwrite=overwrite)
    family = next(x for x in FAMILIES if x.key == public.family)
    layout = check_folder(source, family)
    module_of(family).describe(source)
    roles = {
        **dict.fromkeys(layout.weights, "weights"),
        **dict.fromkeys(layout.settings, "settings"),
        **dict.fromkeys(layout.about, ABOUT),
    }
    if not is_ours:
        check_space(models, sum((source / name).stat().st_size for name in roles))
    models.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=models, prefix=f".{where.name}-") as work:
        fresh, old = Path(work) / "new", Path(work) / "old"
        files = []
        for name in sorted(roles):
            target = fresh / name
            target.parent.mkdir(parents=True, exist_ok=True)
            size = _bring(source / name, target, is_ours=is_ours)
            digest = sha256_file(target)
            if expected.get(name, digest) != digest:
                raise IntegrityError(
                    f"{name}: sha256 {digest}, expected {expected[name]}",
                    remedy="This is not the file that was named; nothing was installed.",
                )
            files.append(PublicFile(name=name, role=roles[name], sha256=digest, size_bytes=size))
            if progress is not None:
                progress(size)
        text = text_of(replace(public, files=tuple(files)))
        (fresh / CARD_NAME).write_text(text, encoding="utf-8")
        read(fresh, name=public.name)
        if where.exists():
            where.rename(old)
        fresh.rename(where)
    return read(where)


def check_free(models: Path, name: str, *, overwrite: bool) -> None:
    """Refuse a name that is taken, before anything is fetched or copied.

    Raises:
        InputError: If a model of this name exists that may not be replaced.
    """
    check_name(name)
    where = folder_of(models, name)
    if not where.exists():
        return
    if not (where / CARD_NAME).is_file():
        raise InputError(f"{where} exists and is no public model", remedy="Choose another name.")
    if not overwrite:
        raise InputError(f"{name} is installed", remedy="Give --overwrite to replace it.")


def check_space(models: Path, needed_bytes: int) -> None:
    """Refuse what does not fit on the disk.

    Raises:
        SafegenError: If fewer bytes are free.
    """
    here = next(path for path in (models, *models.parents) if path.exists())
    free = shutil.disk_usage(here).free
    if free < needed_bytes + _SPARE_BYTES:
        raise SafegenError(
            f"{free / 1e9:.2f} GB are free in {here}, {needed_bytes / 1e9:.2f} GB needed",
            remedy="Make room, or set SAFEGEN_HOME to a folder on a larger disk.",
        )


def remove(name: str, *, models: Path) -> None:
    """Delete an installed checkpoint with all its files.

    Raises:
        InputError: If there is none of this name.
    """
    if find(name, models=models) is None:
        raise InputError(
            f"{name}: no public model of this name is installed",
            remedy="Run `safegen models list` for the names.",
        )
    shutil.rmtree(folder_of(models, name))


def check_files(found: Checkpoint, *, models: Path | None, afresh: bool = False) -> None:
    """Compare every file that is read with its hash.

    Args:
        found: Installed, or a folder.
        models: Of the installation, for its note of hashes.
        afresh: Whether to hash files that did not change since they were hashed, too.

    Raises:
        IntegrityError: If a file is missing or another one.
    """
    files = [file for file in found.public.files if afresh or file.role != ABOUT]
    remedy = again(found.public.name)
    for file in files:
        if not (found.folder / file.name).is_file():
            raise IntegrityError(f"{found.folder / file.name}: missing", remedy=remedy)
    paths = {found.folder / file.name: file for file in files}
    digests = hashes(list(paths), models=models, afresh=afresh)
    for path, file in paths.items():
        if digests[path] != file.sha256:
            raise IntegrityError(
                f"{path}: sha256 {digests[path]}, installed was {file.sha256}", remedy=remedy
            )


def build(
    found: Checkpoint,
    card: ModelCard,
    *,
    models: Path | None,
    device: Device,
    precision: Precision,
) -> Any:
    """Build the model of a checkpoint, its files compared with their hashes first.

    Args:
        found: Installed, or a folder.
        card: What is reported about it.
        models: Of the installation, for its note of hashes.
        device: Where it runs.
        precision: Of its weights.

    Raises:
        IntegrityError: If a file is missing or another one.
        InputError: If the files do not make a model of their family.
    """
    check_files(found, models=models)
    return module_of(found.family).load(found.folder, card, device=device, precision=precision)


def _bring(source: Path, target: Path, *, is_ours: bool) -> int:
    is_linked = False
    if is_ours:
        # Not every file system knows links.
        with contextlib.suppress(OSError):
            os.link(source.resolve(), target)
            is_linked = True
    if not is_linked:
        shutil.copyfile(source, target)
    return target.stat().st_size
