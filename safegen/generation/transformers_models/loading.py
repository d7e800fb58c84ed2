"""How does a folder become a model of ``transformers``, with nothing in it trusted?

Weights are safetensors, read from the folder alone: no network, no code of the checkpoint,
no pickle. A checkpoint with missing tensors is refused; the library would fill them with
noise and say so in a log. What the library prints while it works reaches nobody.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch

from safegen.errors import InputError
from safegen.generation.public_families import Device, Precision, settings

DTYPES: Final[dict[Precision, torch.dtype]] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
_MOST_NAMED: Final = 3
_VOCABULARIES: Final = (
    *("tokenizer.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model"),
    *("vocab.json", "vocab.txt"),
)
"""Without one of these the library makes a tokenizer up that knows nothing."""
_RUNS_MORE: Final = ("auto_map", "quantization_config")
"""Settings that ask for code of the checkpoint, or for libraries that unpack its weights."""


def load_model(class_name: str, folder: Path, *, device: Device, precision: Precision) -> Any:
    """Build a model of a class of ``transformers``, ready to be run and not to be trained.

    Args:
        class_name: "MusicgenForConditionalGeneration".
        folder: With ``config.json`` and ``*.safetensors``.
        device: Where it goes.
        precision: Of its weights.

    Raises:
        InputError: If the folder holds no such model, or not all of its tensors.
    """
    for key in _RUNS_MORE:
        if key in settings(folder / "config.json"):
            raise InputError(
                f"{folder}: config.json asks for {key}, which is not read here",
                remedy="Save the model again with plain safetensors and without it.",
            )

    def load() -> tuple[Any, dict[str, Any]]:
        import transformers

        found: tuple[Any, dict[str, Any]] = getattr(transformers, class_name).from_pretrained(
            folder,
            dtype=DTYPES[precision],
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
        return found

    model, told = _attempt(load, folder, class_name)
    missing = sorted(told["missing_keys"])
    if missing:
        raise _broken(
            folder,
            f"{len(missing)} tensors of {class_name} are missing, "
            f"{', '.join(missing[:_MOST_NAMED])}{', ...' if len(missing) > _MOST_NAMED else ''}",
        )
    model.requires_grad_(requires_grad=False)
    return model.to(device).eval()


def load_tokenizer(folder: Path) -> Any:
    """Read the tokenizer of a checkpoint.

    Raises:
        InputError: If the folder holds none.
    """

    def load() -> Any:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)

    if not any((folder / name).is_file() for name in _VOCABULARIES):
        raise _broken(folder, "no vocabulary of a tokenizer in it")
    return _attempt(load, folder, "a tokenizer")


def load_settings_of(class_name: str, folder: Path) -> Any:
    """Read a part that has settings and no weights: a feature extractor, a processor.

    Raises:
        InputError: If the folder holds none.
    """

    def load() -> Any:
        import transformers

        return getattr(transformers, class_name).from_pretrained(folder, local_files_only=True)

    return _attempt(load, folder, class_name)


def owned(part: Any) -> Any:
    """Copy the tensors of a part of a model, whose rest is not needed any longer.

    They lie in one mapped file; while one of them is used, all of it stays in memory.
    """
    for parameter in part.parameters():
        parameter.data = parameter.data.clone()
    for module in part.modules():
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, buffer.clone())  # the old one is a view of the file
    return part


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the library's bars, logs and warnings to itself; they return afterwards."""
    from transformers.utils import logging as told

    library: Any = told
    level, has_bars = library.get_verbosity(), library.is_progress_bar_enabled()
    library.set_verbosity(logging.CRITICAL)
    library.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        library.set_verbosity(level)
        if has_bars:
            library.enable_progress_bar()


def _attempt(load: Callable[[], Any], folder: Path, what: str) -> Any:
    """Run the library on foreign files; whatever it stumbles over is the folder's fault."""
    try:
        with quiet():
            return load()
    except (torch.OutOfMemoryError, MemoryError):
        raise  # not the folder's fault
    except Exception as error:
        lines = str(error).strip().splitlines()
        reason = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
        raise _broken(folder, f"{what} cannot be read from it ({reason[:200]})") from error


def _broken(folder: Path, problem: str) -> InputError:
    return InputError(
        f"{folder}: {problem}",
        remedy="Fetch the checkpoint again with `safegen models pull OWNER/NAME`, or name a "
        "folder that transformers saved with save_pretrained: settings, tokenizer and "
        "safetensors.",
    )
