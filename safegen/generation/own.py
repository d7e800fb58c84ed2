"""Which models did the users of this installation train, and are they what they were?

An own model is a folder with every file it needs, those of the shipped model it stands on
included, so that it goes on working when another version ships other weights. Its
``card.json`` names each file by sha256 and says what was learned from; a card with a
field too many, too few or of another kind is refused. ``safegen.training.own_training``
makes such folders.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from safegen.audio import sha256_file
from safegen.checkpoints import PUBLIC_MODELS
from safegen.errors import InputError, IntegrityError
from safegen.generation.cards import CARDS, ModelCard, WeightFile, card
from safegen.generation.strict import checked, refuse

CARD_NAME: Final = "card.json"
SCHEMA: Final = "safegen.own-model.v1"
BASE_MANIFEST: Final = "base-manifest"
"""Role of the training manifest of the model that an own one stands on."""
LOSSES_NAME: Final = "losses.png"
DOWNLOADS: Final = "downloads"
"""A folder beside the models, of what is being fetched."""
_NAME: Final = re.compile(r"[a-z0-9-]{1,64}")
_FILE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_MAX_CARD_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What an own model learned from, and how long.

    Attributes:
        files: How many.
        items: Stretches of up to ten seconds they were cut into.
        hours: Of sound in these.
        licenses: License -> files under it.
        allow_unlicensed: Whether files without a license were let in.
        left_out: Files of the folder that were not learned from.
        from_scratch: Whether training began at random weights.
        steps: Of the optimizer, of each part that was trained.
        loss: Of the last step, mean over the last twentieth of the run.
        data_sha256: Of names, bytes, licenses and captions of the files.
    """

    files: int
    items: int
    hours: float
    licenses: dict[str, int]
    allow_unlicensed: bool
    left_out: int
    from_scratch: bool
    steps: int
    loss: float
    data_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnCard:
    """What ``card.json`` holds.

    Attributes:
        name: As typed after ``--model``.
        base: The shipped model it stands on.
        base_version: Of that model, when this one was trained.
        license: Of base and data together, "unknown" if a file has none.
        created: Day of the training, "2026-11-21".
        command: That trains it again.
        files: Weights, then its training manifest, then that of its base.
        learned: What from.
        follows: What in its sound follows the prompt.
    """

    name: str
    base: str
    base_version: str
    license: str
    created: str
    command: str
    files: tuple[WeightFile, ...]
    learned: Learned
    follows: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnModel:
    """An own model of this installation.

    Attributes:
        own: What its folder says.
        card: The same in the form of a shipped model's card.
        folder: Where its files are.
    """

    own: OwnCard
    card: ModelCard
    folder: Path


def check_name(name: str) -> None:
    """Refuse what cannot be the name of an own model.

    Raises:
        InputError: If it is not 1 to 64 of a-z, 0-9 and "-", or is taken.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{name[:80]!r} is no name for a model",
            remedy="Choose 1 to 64 of the letters a to z, digits and hyphens.",
        )
    if name in _reserved():
        raise InputError(f"{name} is the name of something that ships", remedy="Choose another.")


def check_free(models: Path, name: str, *, overwrite: bool) -> None:
    """Refuse a name that is taken, before anything is learned.

    Raises:
        InputError: If it is no name, or a model has it that may not be replaced.
    """
    check_name(name)
    where = models / name
    if where.exists() and not (where / CARD_NAME).is_file():
        raise InputError(f"{name} is the name of a public model", remedy="Choose another.")
    if where.exists() and not overwrite:
        raise InputError(
            f"{name} exists", remedy="Give --overwrite to replace it, or choose another name."
        )


def installed(models: Path) -> Iterator[OwnModel]:
    """Read the own models of an installation, in the order of their names.

    Raises:
        IntegrityError: If a card cannot be read.
    """
    if not models.is_dir():
        return
    for folder in sorted(models.iterdir()):
        if folder.name not in _reserved() and (folder / CARD_NAME).is_file():
            yield _read(folder)


def find(name: str, *, models: Path | None) -> OwnModel | None:
    """Look an own model up; None if there is none of this name.

    Raises:
        IntegrityError: If its card cannot be read.
    """
    if models is None or not _NAME.fullmatch(name) or name in _reserved():
        return None
    folder = models / name
    return _read(folder) if (folder / CARD_NAME).is_file() else None


def install(
    models: Path, own: OwnCard, files: Mapping[str, Path], *, losses: Path, overwrite: bool
) -> OwnModel:
    """Put a model in place, all of it or nothing.

    Args:
        models: Folder of own models.
        own: Its card; the files' hashes are filled in here.
        files: Role -> file, in the order of the card.
        losses: Picture of the loss.
        overwrite: Whether a model of this name may be replaced.

    Raises:
        InputError: If the name is no name or taken.
    """
    check_free(models, own.name, overwrite=overwrite)
    where = models / own.name
    models.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=models, prefix=f".{own.name}-") as work:
        fresh, old = Path(work) / "new", Path(work) / "old"
        fresh.mkdir()
        named = []
        for role, path in files.items():
            name = f"{role}.safetensors"
            shutil.copyfile(path, fresh / name)
            named.append(WeightFile(role=role, name=name, sha256=sha256_file(fresh / name)))
        shutil.copyfile(losses, fresh / LOSSES_NAME)
        row = {"schema": SCHEMA, **asdict(replace(own, files=tuple(named)))}
        text = json.dumps(row, indent=1, ensure_ascii=False, allow_nan=False)
        (fresh / CARD_NAME).write_text(text + "\n", encoding="utf-8")
        _read(fresh, name=own.name)
        if where.exists():
            where.rename(old)
        fresh.rename(where)
    return _read(where)


def remove(name: str, *, models: Path) -> None:
    """Delete an own model with all its files.

    Raises:
        InputError: If there is none of this name.
    """
    if find(name, models=models) is None:
        raise InputError(
            f"{name}: no own model of this name", remedy="Run `safegen models list` for the names."
        )
    shutil.rmtree(models / name)


def _reserved() -> frozenset[str]:
    shipped = {found.name for found in CARDS} | {model.name for model in PUBLIC_MODELS}
    return frozenset({*shipped, DOWNLOADS})


def _read(folder: Path, *, name: str | None = None) -> OwnModel:
    """Read and check a card; its name must be that of its folder, or the one given."""
    path = folder / CARD_NAME
    try:
        if path.stat().st_size > _MAX_CARD_BYTES:
            refuse("the card is too large")
        row = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
        if not isinstance(row, dict) or row.pop("schema", None) != SCHEMA:
            refuse(f"not of schema {SCHEMA}")
        own = _own_card(row)
        if own.name != (name or folder.name):
            refuse(f"it is the card of {own.name}")
        return OwnModel(own=own, card=_as_shipped(own), folder=folder)
    except (OSError, ValueError, InputError) as error:
        problem = error.problem if isinstance(error, InputError) else str(error)
        raise IntegrityError(
            f"{path}: no card of an own model ({problem})",
            remedy=f"Train it again, or delete {folder}.",
        ) from error


def _own_card(row: Mapping[str, Any]) -> OwnCard:
    """Build a card from JSON that came from outside; ValueError says what is wrong."""
    if not isinstance(row.get("files"), list) or not isinstance(row.get("learned"), dict):
        refuse("files and learned are missing")
    files = tuple(WeightFile(**checked(x, WeightFile)) for x in row["files"])
    learned = Learned(**checked(row["learned"], Learned))
    for license_, count in learned.licenses.items():
        if type(count) is not int:
            refuse(f"files under {license_} are not counted")
    own = OwnCard(**checked({**row, "files": files, "learned": learned}, OwnCard))
    for file in files:
        if not _FILE_NAME.fullmatch(file.name) or not _SHA256.fullmatch(file.sha256):
            refuse(f"{file.name!r} is no file of a model")
    if len({file.role for file in files}) != len(files):
        refuse("a role is given twice")
    check_name(own.name)
    card(own.base)
    return own


def _as_shipped(own: OwnCard) -> ModelCard:
    """Write an own card in the form that generators and doors know."""
    base, learned = card(own.base), own.learned
    licenses = ", ".join(f"{name} ({count} files)" for name, count in learned.licenses.items())
    began = "random weights" if learned.from_scratch else f"the shipped weights of {own.base}"
    return replace(
        base,
        name=own.name,
        summary=f"{own.base}, trained on {learned.files} files of this installation's own.",
        license=own.license,
        files=own.files,
        recipes=(own.command,),
        training_data=(
            f"{learned.files} own files, {learned.hours:.2f} h in {learned.items} items, under "
            f"{licenses}; training began at {began}, which learned from: {base.training_data}"
        ),
        limits=f"{own.follows} Of {own.base}: {base.limits}",
        measured=f"Loss {learned.loss:.4f} after {learned.steps} steps, on {own.created}.",
    )
