"""How does a public checkpoint get into this house, and how is it known to be the right one?

Three steps: fetch (or take a local file), compare the sha256 with the one pinned here, read
tensors and nothing else. A file whose hash nobody named is refused before a byte of it is
read; a hash that was first seen today is no reason to trust it.

Pickles are read with ``weights_only=True`` alone. Old checkpoints carry their settings as
OmegaConf objects beside the tensors; those names stand for an object here that takes anything
and does nothing, so no code of theirs runs. Any other name in a pickle is a refusal.
"""

import hashlib
import io
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from safegen.errors import InputError, IntegrityError, SafegenError

if TYPE_CHECKING:
    import torch

_BLOCK_BYTES: Final = 1 << 20
_TIMEOUT_SECONDS: Final = 60.0
_PARTIAL: Final = 206
_HARMLESS: Final = frozenset(
    {
        *("typing.Any", "collections.defaultdict"),
        *(f"builtins.{name}" for name in ("dict", "list", "int", "float", "str", "bool", "tuple")),
    }
)
"""Names beside OmegaConf's own that a pickled configuration uses; they stand for nothing, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicFile:
    """A file of a public checkpoint.

    Attributes:
        role: What it is for.
        name: In the repository.
        sha256: Lower-case hex.
        size_bytes: Of the file.
    """

    role: str
    name: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicModel:
    """A public checkpoint, pinned to one revision.

    Attributes:
        name: As typed after ``safegen models pull``.
        repository: Name on the hub.
        revision: Commit there.
        license: SPDX id of the weights.
        summary: One sentence.
        files: What is fetched.
    """

    name: str
    repository: str
    revision: str
    license: str
    summary: str
    files: tuple[PublicFile, ...]

    @property
    def origin(self) -> str:
        """Where it comes from, for cards."""
        return f"{self.repository}@{self.revision}"

    def url(self, file: PublicFile) -> str:
        """Where a file is."""
        return f"https://huggingface.co/{self.repository}/resolve/{self.revision}/{file.name}"


AUDIOSEAL: Final = PublicModel(
    name="audioseal",
    repository="facebook/audioseal",
    revision="3c19eba53390776cf2cc9ed5f6c9ac67ce72ecba",
    license="MIT",
    summary="Second watermark: 16 bits at 16 kHz, a trained generator and detector.",
    # The hashes are told alike by facebookresearch/audioseal issue 107 and by
    # ZachJon1/audioseal-robustness, outputs/model_provenance.json.
    files=(
        PublicFile(
            role="generator",
            name="generator_base.pth",
            sha256="7a845b5fbe9364a63a3909d8ab3fe064d13a76ae4c2e983573e08c69b7b51748",
            size_bytes=58_805_980,
        ),
        PublicFile(
            role="detector",
            name="detector_base.pth",
            sha256="8a78e8a83584113523e161fc599fcab10fd0e94c04d2eb9d2fa1e9ec91ab69d9",
            size_bytes=34_667_641,
        ),
    ),
)
PUBLIC_MODELS: Final = (AUDIOSEAL,)


class Response(Protocol):
    """What an opener gives; ``http.client.HTTPResponse`` fits."""

    status: int

    def read(self, amount: int, /) -> bytes:
        """Give at most so many bytes; none at the end."""


Opener = Callable[[urllib.request.Request], AbstractContextManager[Response]]
Progress = Callable[[str, int, int], None]


def public_model(name: str) -> PublicModel:
    """Look a public model up.

    Raises:
        InputError: If none has this name.
    """
    for model in PUBLIC_MODELS:
        if model.name == name:
            return model
    names = ", ".join(model.name for model in PUBLIC_MODELS)
    raise InputError(f"{name}: not a model that can be fetched", remedy=f"Known here: {names}.")


def fetch(
    model: PublicModel,
    folder: Path,
    *,
    opener: Opener | None = None,
    progress: Progress | None = None,
) -> tuple[Path, ...]:
    """Download every file that is not there yet, continuing what was broken off.

    Args:
        model: Pinned.
        folder: Made if missing; whole files stand under their own name, others end in ``.part``.
        opener: Opens a request; the default asks the network.
        progress: Called with a file's name, its bytes so far and its size.

    Raises:
        SafegenError: If the network does not give the file.
        IntegrityError: If a whole file is not the pinned one; it is deleted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    report = progress or (lambda _name, _done, _size: None)
    paths = []
    for file in model.files:
        path = folder / file.name
        if not path.is_file():
            part = folder / f"{file.name}.part"
            _download(model, file, part, opener or _open, report)
            found = sha256_of(part.read_bytes())
            if found != file.sha256:
                part.unlink()
                raise IntegrityError(
                    f"{file.name}: sha256 {found}, pinned is {file.sha256}",
                    remedy="What came was deleted. Try again; if it stays so, the repository or "
                    "the line to it cannot be trusted.",
                )
            part.rename(path)
        paths.append(path)
    return tuple(paths)


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """What a checkpoint holds: tensors, and texts beside them.

    Attributes:
        tensors: By name, at least one.
        texts: By name at the top of the file: settings, a version.
    """

    tensors: "Mapping[str, torch.Tensor]"
    texts: Mapping[str, str]


def read_checkpoint(path: Path, *, sha256: str) -> "Mapping[str, torch.Tensor]":
    """Read the tensors of a ``.safetensors``, ``.pth``, ``.pt`` or ``.bin`` file.

    Args:
        path: The file.
        sha256: What it must be, 64 hex digits. The bytes that are hashed are the bytes that
            are read.

    Raises:
        InputError: If the file cannot be read, or holds more than tensors and settings.
        IntegrityError: If it is another file.
    """
    return read_package(path, sha256=sha256).tensors


def read_package(path: Path, *, sha256: str) -> Package:
    """Read a checkpoint as ``read_checkpoint`` does, with the texts beside the tensors.

    Raises:
        InputError: If the file cannot be read, or holds more than tensors and settings.
        IntegrityError: If it is another file.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}", remedy="Name a readable file.") from error
    found = sha256_of(data)
    if found != sha256.lower():
        raise IntegrityError(
            f"{path}: sha256 {found}, expected {sha256.lower()}",
            remedy="This is not the file that was named. Fetch it again; do not use this one.",
        )
    nested = _safetensors(path, data) if path.suffix == ".safetensors" else _pickled(path, data)
    tensors = _state(nested)
    if not tensors:
        raise InputError(
            f"{path}: no tensors in it", remedy="Name a checkpoint: a state dict of tensors."
        )
    texts = nested.items() if isinstance(nested, Mapping) else ()
    return Package(
        tensors=tensors,
        texts={k: v for k, v in texts if isinstance(k, str) and isinstance(v, str)},
    )


def sha256_of(data: bytes) -> str:
    """Hash bytes, as lower-case hex."""
    return hashlib.sha256(data).hexdigest()


def _download(
    model: PublicModel, file: PublicFile, part: Path, opener: Opener, report: Progress
) -> None:
    done = part.stat().st_size if part.exists() else 0
    if done > file.size_bytes:
        part.unlink()
        done = 0
    if done == file.size_bytes:
        return
    # The address is https and made of constants above.
    request = urllib.request.Request(model.url(file))  # noqa: S310
    if done:
        request.add_header("Range", f"bytes={done}-")
    try:
        with opener(request) as response:
            if done and response.status != _PARTIAL:
                done = 0  # the server sends all of it again
            with part.open("ab" if done else "wb") as out:
                while done <= file.size_bytes and (block := response.read(_BLOCK_BYTES)):
                    out.write(block)
                    done += len(block)
                    report(file.name, done, file.size_bytes)
    except (OSError, urllib.error.URLError) as error:
        raise SafegenError(
            f"{model.url(file)} cannot be fetched: {error}",
            remedy=_elsewhere(model, part.parent),
        ) from error
    if done != file.size_bytes:
        raise SafegenError(
            f"{file.name}: {done} bytes came, {file.size_bytes} expected",
            remedy=f"Run `safegen models pull {model.name}` again; it continues where it stopped.",
        )


def _elsewhere(model: PublicModel, folder: Path) -> str:
    names = " ".join(file.name for file in model.files)
    return (
        f"Run `safegen models pull {model.name}` again when there is a network, or fetch {names} "
        f"of {model.repository} on another machine and either put them into {folder} and pull "
        f"again, or run `safegen models add {model.name} {names}`."
    )


def _open(request: urllib.request.Request) -> AbstractContextManager[Response]:
    response: AbstractContextManager[Response] = urllib.request.urlopen(  # noqa: S310
        request, timeout=_TIMEOUT_SECONDS
    )
    return response


def _safetensors(path: Path, data: bytes) -> "Mapping[str, torch.Tensor]":
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(data)
    except SafetensorError as error:
        raise InputError(
            f"{path}: not a safetensors file ({error})", remedy="Name the whole file."
        ) from error


def _pickled(path: Path, data: bytes) -> object:
    import torch

    try:
        named = torch.serialization.get_unsafe_globals_in_checkpoint(io.BytesIO(data))
    except Exception as error:
        raise InputError(
            f"{path}: not a checkpoint that torch wrote ({type(error).__name__})",
            remedy="Name a file written by torch.save of version 1.6 or later, or safetensors.",
        ) from error
    foreign = sorted(x for x in named if x not in _HARMLESS and not x.startswith("omegaconf."))
    if foreign:
        raise InputError(
            f"{path}: reading it would run {', '.join(foreign)}; only tensors are read here",
            remedy="Ask for the tensors alone, as safetensors; no option reads this file.",
        )
    try:
        with torch.serialization.safe_globals([(_Inert, name) for name in named]):
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(
            f"{path}: cannot be read as tensors alone ({type(error).__name__})",
            remedy="Ask for the tensors alone, as safetensors; no option reads this file.",
        ) from error


class _Inert:
    """Stands for every object of a pickled configuration: takes anything, does nothing."""

    def __new__(cls, *_: object) -> "_Inert":
        return super().__new__(cls)

    def __init__(self, *_: object) -> None:
        """Forget what it was made of."""

    def __setstate__(self, _: object) -> None:
        """Forget what it held."""


def _state(nested: object) -> "dict[str, torch.Tensor]":
    """Find the state dict: at the top, or where training loops put it."""
    import torch

    found: Any = nested
    for name in ("best_state", "model", "state_dict"):
        if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
            found = found[name]
    if not isinstance(found, Mapping):
        return {}
    return {
        name: tensor
        for name, tensor in found.items()
        if isinstance(name, str) and isinstance(tensor, torch.Tensor)
    }
