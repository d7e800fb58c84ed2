"""Which public checkpoints are in this installation, and are they what they were?

An installed checkpoint is a folder below the models with its files, as their authors laid
them out, and ``public.json``, which names each file by sha256, says where it came from and
under which license; a field too many, too few or of another kind is refused. A folder
anywhere can be used without installing it; it is described in the same way, each time.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Final

from safegen.audio import sha256_file
from safegen.errors import InputError, IntegrityError, SafegenError
from safegen.generation import own, public_licenses
from safegen.generation.cards import ModelCard, WeightFile
from safegen.generation.public_families import (
    FAMILIES,
    Device,
    Family,
    Precision,
    module_of,
    recognize,
)
from safegen.generation.public_layout import check_folder, check_safetensors
from safegen.generation.strict import checked, refuse
from safegen.generation.verified import hashes

CARD_NAME: Final = "public.json"
SCHEMA: Final = "safegen.public-model.v1"
LOCAL: Final = "local files"
"""Origin of what was not fetched from the hub."""
_REPOSITORY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_ALIAS: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_MAX_ALIAS: Final = 64
_FILE: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9_-]{0,63}/)?[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_DAY: Final = re.compile(r"(\d{4}-\d{2}-\d{2})?")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_MAX_CARD_BYTES: Final = 1 << 20
_SPARE_BYTES: Final = 1 << 26
"""Left free on the disk by an installation."""
_ABOUT: Final = "about"

Progress = Callable[[int], None]
"""Called with the bytes that were copied since the last call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicFile:
    """A file of an installed checkpoint.

    Attributes:
        name: Below its folder, "transformer/config.json".
        role: "weights", "settings", or "about" for what no loader reads.
        sha256: Lower-case hex.
        size_bytes: Of the file.
    """

    name: str
    role: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicCard:
    """What ``public.json`` holds.

    Attributes:
        name: As typed after ``--model``: "owner/name" or a name of one's own.
        family: Key of ``public_families``.
        origin: "owner/name@commit", or ``LOCAL``.
        license: SPDX id or the name its authors give it, "unknown" if nobody told.
        license_source: Who told.
        accepted: Day on which the operator accepted the license, "2026-11-22", or "".
        created: Day of the installation.
        files: In the order of their names.
    """

    name: str
    family: str
    origin: str
    license: str
    license_source: str
    accepted: str
    created: str
    files: tuple[PublicFile, ...]

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return sum(file.size_bytes for file in self.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A public checkpoint that can be used.

    Attributes:
        public: What is known of it.
        folder: Where its files are.
        is_installed: Whether it lies among the models of this installation.
    """

    public: PublicCard
    folder: Path
    is_installed: bool

    @property
    def family(self) -> Family:
        """Which kind it is."""
        return next(x for x in FAMILIES if x.key == self.public.family)

    @property
    def card(self) -> ModelCard:
        """The same in the form of a shipped model's card, with what its settings say.

        Raises:
            InputError: If its settings say nothing usable.
        """
        told, family = module_of(self.family).describe(self.folder), self.family
        public = self.public
        read = tuple(
            WeightFile(role=file.role, name=file.name, sha256=file.sha256)
            for file in public.files
            if file.role != _ABOUT
        )
        weights = (self.folder / file.name for file in read if file.role == "weights")
        return ModelCard(
            name=public.name,
            version=_version(public),
            summary=f"{family.title}. {told.summary}",
            license=public.license,
            sample_rate=told.sample_rate,
            shortest_seconds=told.shortest_seconds,
            longest_seconds=told.longest_seconds,
            parameters=sum(check_safetensors(path).parameters for path in weights),
            files=read,
            recipes=(),
            training_data="What its authors say of it is in its model card (README.md in its "
            "folder); safegen does not know its training items.",
            limits=told.limits,
            mark="none",
            accepts=told.accepts,
            license_accepted=public.accepted,
        )


def _version(public: PublicCard) -> str:
    _, _, revision = public.origin.rpartition("@")
    if _COMMIT.fullmatch(revision):
        return revision[:12]
    lines = "".join(f"{file.sha256}\n" for file in public.files if file.role != _ABOUT)
    return hashlib.sha256(lines.encode()).hexdigest()[:12]


def is_repository(name: str) -> bool:
    """Tell whether a name has the form of one on the hub, "owner/name"."""
    return bool(_REPOSITORY.fullmatch(name)) and "--" not in name and ".." not in name


def check_name(name: str) -> None:
    """Refuse what cannot be the name of an installed checkpoint.

    Raises:
        InputError: If it is neither "owner/name" nor a free name of a-z, 0-9 and hyphens.
    """
    if is_repository(name):
        return
    if not _ALIAS.fullmatch(name) or len(name) > _MAX_ALIAS:
        raise InputError(
            f"{name[:80]!r} is no name for a public model",
            remedy="Give its name on the hub, OWNER/NAME, or 1 to 64 of the letters a to z, "
            "digits and single hyphens.",
        )
    own.check_name(name)


def folder_of(models: Path, name: str) -> Path:
    """Name the folder of an installed checkpoint, there or not."""
    return models / name.replace("/", "--")


def installed(models: Path) -> Iterator[Checkpoint]:
    """Read the installed checkpoints, in the order of their folders' names.

    Raises:
        IntegrityError: If one says nothing readable of itself.
    """
    if models.is_dir():
        for folder in sorted(models.iterdir()):
            if not folder.name.startswith(".") and (folder / CARD_NAME).is_file():
                yield _read(folder)


def find(name: str, *, models: Path | None) -> Checkpoint | None:
    """Look an installed checkpoint up; None if there is none of this name.

    Raises:
        IntegrityError: If it says nothing readable of itself.
    """
    if models is None or not (is_repository(name) or _ALIAS.fullmatch(name)):
        return None
    folder = folder_of(models, name)
    return _read(folder) if (folder / CARD_NAME).is_file() else None


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
        name=repository or _plain(folder.resolve().name),
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
    return named, f"{named}@{here.name}" if _COMMIT.fullmatch(here.name) else ""


def _plain(name: str) -> str:
    """Make a name for records of a folder's name; where it lies is nobody's business."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:_MAX_ALIAS].strip("-") or "local"


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
        **dict.fromkeys(layout.about, _ABOUT),
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
        text = _text(replace(public, files=tuple(files)))
        (fresh / CARD_NAME).write_text(text, encoding="utf-8")
        _read(fresh, name=public.name)
        if where.exists():
            where.rename(old)
        fresh.rename(where)
    return _read(where)


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
    files = [file for file in found.public.files if afresh or file.role != _ABOUT]
    remedy = f"Fetch it again: `safegen models pull {found.public.name} --overwrite`, or `add`."
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
    if is_ours:
        os.link(source.resolve(), target)
    else:
        shutil.copyfile(source, target)
    return target.stat().st_size


def _text(public: PublicCard) -> str:
    row = {"schema": SCHEMA, **asdict(public)}
    return json.dumps(row, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _read(folder: Path, *, name: str | None = None) -> Checkpoint:
    """Read and check ``public.json``; its name must be that of its folder, or the one given."""
    path = folder / CARD_NAME
    try:
        if path.stat().st_size > _MAX_CARD_BYTES:
            refuse("it is too large")
        row = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
        if not isinstance(row, dict) or row.pop("schema", None) != SCHEMA:
            refuse(f"not of schema {SCHEMA}")
        public = _public_card(row)
        if name is None and folder_of(folder.parent, public.name) != folder:
            refuse(f"it is of {public.name}")
        return Checkpoint(public=public, folder=folder, is_installed=True)
    except (OSError, ValueError, InputError) as error:
        problem = error.problem if isinstance(error, InputError) else str(error)
        raise IntegrityError(
            f"{path}: says nothing readable of a public model ({problem})",
            remedy=f"Delete {folder} and install it again.",
        ) from error


def _public_card(row: Mapping[str, Any]) -> PublicCard:
    """Build it from JSON that came from outside; ValueError says what is wrong."""
    if not isinstance(row.get("files"), list):
        refuse("files are missing")
    files = tuple(PublicFile(**checked(x, PublicFile)) for x in row["files"])
    public = PublicCard(**checked({**row, "files": files}, PublicCard))
    check_name(public.name)
    if public.family not in {family.key for family in FAMILIES}:
        refuse(f"{public.family!r} is no family known here")
    if not _DAY.fullmatch(public.accepted) or not _DAY.fullmatch(public.created):
        refuse("a day is not written like 2026-11-22")
    for file in files:
        if not _FILE.fullmatch(file.name) or PurePosixPath(file.name).name == CARD_NAME:
            refuse(f"{file.name!r} is no file of a checkpoint")
        if not _SHA256.fullmatch(file.sha256) or file.role not in ("weights", "settings", _ABOUT):
            refuse(f"{file.name}: no hash or role")
    if len({file.name for file in files}) != len(files):
        refuse("a file is named twice")
    return public
