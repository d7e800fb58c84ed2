"""How does a folder become a pipeline of ``diffusers``, with nothing in it trusted?

``model_index.json`` names a class for every part. Parts are built one by one, from the two
libraries and from nowhere else: no module that the folder names, no code of the checkpoint,
no pickle, no network. A part with missing tensors is refused; the library would fill them
with noise and say so in a log. What the library prints while it works reaches nobody.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import torch

from safegen.errors import InputError, SafegenError
from safegen.generation.public_families import Device, Precision, settings
from safegen.generation.transformers_models import loading

_OWN_PARTS: Final = ("stable_audio", "stable_audio_3", "ace_step", "audioldm2")
"""What ``model_index.json`` writes for parts that live beside their pipeline."""
_MOST_NAMED: Final = 3
_MOST: Final = 1e9
"""Above this a setting is no rate, no length and no count; NaN and infinity are not below it."""
_LOADING: Final[dict[str, Any]] = {
    "local_files_only": True,
    "use_safetensors": True,
    "trust_remote_code": False,
    "low_cpu_mem_usage": False,  # needs a further library
}


def diffusers() -> Any:
    """Import the library.

    Raises:
        SafegenError: If it is not installed.
    """
    try:
        with loading.quiet():
            return importlib.import_module("diffusers")
    except ImportError as error:
        raise SafegenError(
            f"models of diffusers need a package that is not installed ({error.name})",
            remedy="Run `pip install 'safegen[diffusers]'`.",
        ) from error


def load_pipeline(
    class_name: str,
    folder: Path,
    *,
    device: Device,
    precision: Precision,
    instead: dict[str, str] | None = None,
) -> Any:
    """Build a pipeline of ``diffusers``, ready to be run.

    Args:
        class_name: "StableAudioPipeline".
        folder: With ``model_index.json`` and a folder for every part.
        device: Where its models go.
        precision: Of their weights.
        instead: Class that the folder names -> class of the same library that is built.

    Raises:
        InputError: If a part is missing, broken, or of a class that is not built here.
        SafegenError: If the library is not installed.
    """
    library = diffusers()
    index = settings(folder / "model_index.json")
    parts = {
        name: _part(
            library,
            named,
            folder / name,
            device=device,
            precision=precision,
            instead=instead or {},
        )
        for name, named in index.items()
        if isinstance(named, list)
    }
    try:
        with quiet():
            pipeline = getattr(library, class_name)(**parts)
    except (TypeError, ValueError, AttributeError) as error:
        raise broken(folder, f"its parts make no {class_name} ({error})") from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@contextmanager
def quiet() -> Iterator[None]:
    """Keep both libraries' bars, logs and warnings to themselves; they return afterwards."""
    told = importlib.import_module("diffusers.utils.logging")
    level, has_bars = told.get_verbosity(), told.is_progress_bar_enabled()
    told.set_verbosity(logging.CRITICAL)
    told.disable_progress_bar()
    try:
        with loading.quiet():
            yield
    finally:
        told.set_verbosity(level)
        if has_bars:
            told.enable_progress_bar()


def broken(folder: Path, problem: str) -> InputError:
    """Say that a folder holds no pipeline that is read here."""
    return InputError(
        f"{folder}: {problem}",
        remedy="Fetch the checkpoint again with `safegen models pull OWNER/NAME`, or name a "
        "folder that diffusers saved with save_pretrained: model_index.json, a folder for "
        "every part, and safetensors.",
    )


def number(told: dict[str, Any], key: str, path: Path) -> int:
    """Read a whole number > 0 from settings.

    Raises:
        InputError: If they hold none.
    """
    found = amount(told, key, path)
    if not found.is_integer():
        raise broken(path, f"{key} is {found!r}, not a whole number")
    return int(found)


def amount(told: dict[str, Any], key: str, path: Path) -> float:
    """Read a number > 0 from settings.

    Raises:
        InputError: If they hold none.
    """
    found = told.get(key)
    if not isinstance(found, (int, float)) or isinstance(found, bool) or not 0 < found < _MOST:
        raise broken(path, f"{key} is {str(found)[:80]!r}, not a number above 0")
    return float(found)


def numbers(told: dict[str, Any], key: str, path: Path) -> list[int]:
    """Read a list of whole numbers > 0 from settings.

    Raises:
        InputError: If they hold none.
    """
    found = told.get(key)
    if not isinstance(found, list) or not found:
        raise broken(path, f"{key} is {str(found)[:80]!r}, not a list of numbers")
    return [number({key: each}, key, path) for each in found]


def _part(
    library: ModuleType,
    named: list[Any],
    folder: Path,
    *,
    device: Device,
    precision: Precision,
    instead: dict[str, str],
) -> Any:
    """Build one part; a part that may be left out is None."""
    if named == [None, None]:
        return None
    origin, told = named if len(named) == 2 else ("", "")
    class_name = instead.get(str(told), str(told))
    if not folder.is_dir():
        raise broken(folder.parent, f"the folder of its part {folder.name!r} is missing")
    if origin == "transformers":
        if (folder / "config.json").is_file():
            return loading.load_model(class_name, folder, device=device, precision=precision)
        return loading.load_settings_of(class_name, folder)
    found = _class(library, str(origin), class_name)
    if found is None:
        raise broken(
            folder.parent, f"its part {folder.name!r} is {origin}.{told}, which is not read here"
        )
    return _built(library, found, folder, device=device, precision=precision)


def _class(library: ModuleType, origin: str, class_name: str) -> Any:
    """Find a model or scheduler of the library; None for everything else."""
    if origin in _OWN_PARTS:
        where: Any = importlib.import_module(f"diffusers.pipelines.{origin}")
    elif origin == "diffusers":
        where = library
    else:
        return None
    found = getattr(where, class_name, None)
    bases: tuple[Any, ...] = (library.ModelMixin, library.SchedulerMixin)
    return found if isinstance(found, type) and issubclass(found, bases) else None


def _built(library: Any, found: Any, folder: Path, *, device: Device, precision: Precision) -> Any:
    """Build a model or a scheduler; whatever the library stumbles over is the folder's fault."""
    try:
        with quiet():
            if not issubclass(found, library.ModelMixin):
                return found.from_pretrained(folder, local_files_only=True)
            if "quantization_config" in settings(folder / "config.json"):
                raise broken(folder, "config.json asks for quantization_config")
            model, told = found.from_pretrained(
                folder,
                torch_dtype=loading.DTYPES[precision],
                output_loading_info=True,
                **_LOADING,
            )
    except (InputError, torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        lines = str(error).strip().splitlines()
        reason = f"{type(error).__name__}: {lines[0] if lines else ''}"[:200]
        raise broken(folder, f"{found.__name__} cannot be read from it ({reason})") from error
    missing = sorted(told["missing_keys"])
    if missing:
        named = ", ".join(missing[:_MOST_NAMED])
        raise broken(
            folder,
            f"{len(missing)} tensors of {found.__name__} are missing, {named}"
            + (", ..." if len(missing) > _MOST_NAMED else ""),
        )
    model.requires_grad_(requires_grad=False)
    return model.to(device).eval()
