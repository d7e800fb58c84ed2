"""What is written down about a public checkpoint, and can it still be read?

``public.json`` in the folder of an installed checkpoint names each file by sha256 and says
where it came from and under which license; a field too many, too few or of another kind is
refused. A folder that is not installed is described in the same way, each time.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from safegen.errors import InputError, IntegrityError
from safegen.generation import own
from safegen.generation.cards import ModelCard, WeightFile
from safegen.generation.public_families import FAMILIES, Family, module_of
from safegen.generation.public_layout import check_safetensors
from safegen.generation.public_licenses import consent_to
from safegen.generation.strict import checked, refuse

CARD_NAME: Final = "public.json"
SCHEMA: Final = "safegen.public-model.v1"
ABOUT: Final = "about"
"""Role of files that no loader reads."""
_REPOSITORY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_ALIAS: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_MAX_ALIAS: Final = 64
_FILE: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9_-]{0,63}/)?[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_DAY: Final = re.compile(r"(\d{4}-\d{2}-\d{2})?")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_MAX_CARD_BYTES: Final = 1 << 20


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
            InputError: If the settings of a folder say nothing usable.
            IntegrityError: If those of an installed checkpoint do not any more.
        """
        try:
            return self._card()
        except (InputError, OSError) as error:
            if not self.is_installed:
                raise
            problem = error.problem if isinstance(error, InputError) else str(error)
            raise IntegrityError(problem, remedy=again(self.public.name)) from error

    def _card(self) -> ModelCard:
        told, family = module_of(self.family).describe(self.folder), self.family
        public = self.public
        read = tuple(
            WeightFile(role=file.role, name=file.name, sha256=file.sha256)
            for file in public.files
            if file.role != ABOUT
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
    lines = "".join(f"{file.sha256}\n" for file in public.files if file.role != ABOUT)
    return hashlib.sha256(lines.encode()).hexdigest()[:12]


def is_commit(text: str) -> bool:
    """Tell whether a text is a commit's name."""
    return bool(_COMMIT.fullmatch(text))


def is_repository(name: str) -> bool:
    """Tell whether a name has the form of one on the hub, "owner/name"."""
    return bool(_REPOSITORY.fullmatch(name)) and "--" not in name and ".." not in name


def is_alias(name: str) -> bool:
    """Tell whether a name has the form of one of one's own: a-z, 0-9 and single hyphens."""
    return bool(_ALIAS.fullmatch(name)) and len(name) <= _MAX_ALIAS


def check_name(name: str) -> None:
    """Refuse what cannot be the name of an installed checkpoint.

    Raises:
        InputError: If it is neither "owner/name" nor a free name of a-z, 0-9 and hyphens.
    """
    if is_repository(name):
        return
    if not is_alias(name):
        raise InputError(
            f"{name[:80]!r} is no name for a public model",
            remedy="Give its name on the hub, OWNER/NAME, or 1 to 64 of the letters a to z, "
            "digits and single hyphens.",
        )
    own.check_name(name)


def folder_of(models: Path, name: str) -> Path:
    """Name the folder of an installed checkpoint, there or not."""
    return models / name.replace("/", "--")


def plain(name: str) -> str:
    """Make a name for records of a folder's name; where it lies is nobody's business."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:_MAX_ALIAS].strip("-") or "local"


def again(name: str) -> str:
    """Say how a damaged checkpoint is repaired."""
    return (
        f"Fetch it again: `safegen models pull {name} --overwrite{consent_to(name)}`, or "
        "`models add` it again."
    )


def text_of(public: PublicCard) -> str:
    """Write ``public.json``."""
    row = {"schema": SCHEMA, **asdict(public)}
    return json.dumps(row, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def read(folder: Path, *, name: str | None = None) -> Checkpoint:
    """Read and check ``public.json`` in a folder.

    Args:
        folder: Of a checkpoint.
        name: That it must have; None for the name of its folder.

    Raises:
        IntegrityError: If it is not what this version writes.
    """
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
        if not _SHA256.fullmatch(file.sha256) or file.role not in ("weights", "settings", ABOUT):
            refuse(f"{file.name}: no hash or role")
    if len({file.name for file in files}) != len(files):
        refuse("a file is named twice")
    return public
