"""Is the second mark, AudioSeal, installed here? Load it once, put it in place, check its promise.

The folder ``models/audioseal`` of the state folder decides: where it exists, every release
carries both marks; a folder that is damaged is an error, never a reason to go without.
"""

import functools
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from detectors.audioseal import NULL_NAME, AudioSeal, Card, Checkpoint, read_card, write_weights
from detectors.errors import DetectorError
from detectors.presence import NullTable
from safegen.audio import Audio
from safegen.checkpoints import AUDIOSEAL, PublicModel, read_checkpoint
from safegen.config import Config
from safegen.errors import InputError, IntegrityError

FOLDER_NAME: Final = "audioseal"
NOT_INSTALLED: Final = "not installed"
_ROLES: Final = ("generator", "detector")


def folder(config: Config) -> Path:
    """Name the folder of the weights, there or not."""
    return config.models / FOLDER_NAME


def installed(config: Config) -> Card | None:
    """Read the card of what is installed; None if nothing is.

    Raises:
        IntegrityError: If there is a folder without a card that can be read.
    """
    where = folder(config)
    if not where.exists():
        return None
    with _promised(where):
        return read_card(where)


def from_home(config: Config, *, device: str = "cpu") -> AudioSeal | None:
    """Load the networks, once in a process; None only if the folder does not exist.

    Args:
        config: Of the installation.
        device: "cpu" or "cuda".

    Raises:
        IntegrityError: If the folder is not what its card says.
    """
    card = installed(config)
    if card is None:
        return None
    where = folder(config)
    with _promised(where):
        return _load(where, card, device)


def install(
    config: Config,
    files: Sequence[Path],
    *,
    sha256: Mapping[str, str],
    overwrite: bool = False,
    public: PublicModel = AUDIOSEAL,
) -> Card:
    """Convert a generator and a detector to safetensors and put them in place, all or nothing.

    Args:
        config: Of the installation.
        files: Two checkpoints: ``.pth``, ``.pt`` or ``.safetensors``.
        sha256: File name -> hash, for files that are not the public ones.
        overwrite: Whether an installed pair may be replaced.
        public: Gives the pinned hashes.

    Raises:
        InputError: If the files are not a generator and a detector whose hashes are known.
        IntegrityError: If a file is not the one its hash names.
    """
    where = folder(config)
    if where.exists() and not overwrite:
        raise InputError(f"{where} exists", remedy="Give --overwrite to replace what is there.")
    unknown = sorted(set(sha256) - {path.name for path in files})
    if unknown:
        raise InputError(
            f"--sha256 names {', '.join(unknown)}, which is not among the files",
            remedy="Write --sha256 NAME=HEX with the file's name, without folders.",
        )
    by_role = {_role(path, public): path for path in files}
    if len(files) != len(_ROLES) or set(by_role) != set(_ROLES):
        raise InputError(
            f"{len(files)} files, for {', '.join(sorted(by_role)) or 'nothing'}; "
            "one generator and one detector are needed",
            remedy="Name two files, with `generator` and `detector` in their names.",
        )
    hashes = {role: _expected(path, sha256, public) for role, path in by_role.items()}
    pinned = {file.sha256 for file in public.files} == set(hashes.values())
    checkpoints = {
        role: Checkpoint(tensors=read_checkpoint(path, sha256=hashes[role]), sha256=hashes[role])
        for role, path in by_role.items()
    }
    where.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=where.parent, prefix=f".{FOLDER_NAME}-") as work:
        fresh, old = Path(work) / "new", Path(work) / "old"
        fresh.mkdir()
        try:
            card = write_weights(
                fresh,
                generator=checkpoints["generator"],
                detector=checkpoints["detector"],
                license=public.license if pinned else "unknown",
                origin=public.origin if pinned else "local file",
            )
        except DetectorError as error:
            raise InputError(
                str(error), remedy="Name checkpoints of AudioSeal with 16 bits at 16 kHz."
            ) from error
        if where.exists():
            where.rename(old)
        fresh.rename(where)
    return card


def calibrate(config: Config, sounds: Iterable[Audio]) -> NullTable:
    """Measure unmarked sounds and keep the table beside the weights; it replaces an older one.

    Raises:
        InputError: If nothing is installed, or there is nothing to hear.
        IntegrityError: If the weights are damaged.
    """
    mark = from_home(config)
    if mark is None:
        raise InputError(
            f"audioseal is not installed in {folder(config)}",
            remedy="Run `safegen models pull audioseal`, or `models add audioseal FILE...`.",
        )
    try:
        table = mark.calibrate((audio.waveform, audio.sample_rate) for audio in sounds)
    except ValueError as error:
        raise InputError(str(error), remedy="Name files or folders of unmarked sound.") from error
    path = folder(config) / NULL_NAME
    fresh = path.with_suffix(".new")
    table.write(fresh)
    fresh.replace(path)
    _load.cache_clear()
    return table


@contextmanager
def _promised(where: Path) -> Iterator[None]:
    try:
        yield
    except DetectorError as error:
        raise IntegrityError(
            f"{where}: {error}",
            remedy="Install the weights again: `safegen models pull audioseal --overwrite`, or "
            "`safegen models add audioseal FILE... --overwrite`.",
        ) from error


@functools.lru_cache(maxsize=2)
def _load(where: Path, card: Card, device: str) -> AudioSeal:
    return AudioSeal.load(where, card=card, device=device)


def _role(path: Path, public: PublicModel) -> str:
    for role in _ROLES:
        if role in path.name.lower():
            return role
    names = ", ".join(file.name for file in public.files)
    raise InputError(
        f"{path}: neither `generator` nor `detector` is in its name",
        remedy=f"Name the file for what it is; the public ones are {names}.",
    )


def _expected(path: Path, sha256: Mapping[str, str], public: PublicModel) -> str:
    if path.name in sha256:
        return sha256[path.name].lower()
    for file in public.files:
        if file.name == path.name:
            return file.sha256
    raise InputError(
        f"{path}: no hash is pinned for a file of this name",
        remedy=f"Get the hash from whoever made the file, and add `--sha256 {path.name}=HEX`.",
    )
