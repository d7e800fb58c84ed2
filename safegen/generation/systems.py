"""Which system does a name stand for?

``load`` turns a name into a generator; ``safegen.generation.known`` says what names stand
for. Each shipped system is a file that lists its stages; public checkpoints are built by the
module of their family.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from functools import cache, lru_cache
from pathlib import Path
from typing import Final, cast, get_args

import torch

from safegen.errors import InputError
from safegen.generation import known, plugin_generators, public_store
from safegen.generation.base import Generator
from safegen.generation.cards import DEFAULT_MODEL, WEIGHTS, ModelCard, card
from safegen.generation.cascade import load_music_cascade
from safegen.generation.codec import Codec
from safegen.generation.continuation import load_continuation
from safegen.generation.known import Known
from safegen.generation.music_flow import load_music_flow
from safegen.generation.parts import codec_of
from safegen.generation.procedural import ProceduralGenerator
from safegen.generation.public_card import Checkpoint
from safegen.generation.public_families import Device, Precision, Role
from safegen.generation.story import load_music_joint
from safegen.generation.token_rows import (
    SFX_AR,
    SFX_MASKED,
    load_music_tokens,
    load_sound_tokens,
)


def load(
    name: str = DEFAULT_MODEL,
    *,
    device: str = "auto",
    precision: str = "auto",
    models: Path | None = None,
    accepted: str = "",
) -> Generator:
    """Load a model by name; a second call gives the same object.

    Args:
        name: Of a model, or the path of a folder with a public checkpoint;
            ``safegen.generation.known`` says in which order names are looked up.
        device: "cpu", "cuda", or "auto": a GPU for public checkpoints where there is one.
            The shipped models are so small that "auto" means the CPU, whose bits are
            reproducible.
        precision: Of a public checkpoint: "float32", "bfloat16", "float16", or "auto",
            float32 on the CPU and bfloat16 on a GPU. The shipped models have float32 only.
        models: Folder of models (``Config.models``); None knows what ships, folders and
            packages.
        accepted: Day on which the operator accepts the license of a folder that is not
            installed, "" if they did not.

    Raises:
        InputError: If no model has this name, there is no such device or precision, or a
            license was not accepted.
        IntegrityError: If a weight file is not the one the card names.
    """
    found = known.usable(name, models=models, accepted=accepted)
    where = device_of(found, device)
    if found.kind == "plugin":
        added = plugin_generators.find(name, device=where, models=models)
        if added is not None:
            return added
    if found.checkpoint is not None:
        if found.checkpoint.family.role != "generator":
            raise _makes_nothing(name, found.checkpoint.family.role)
        return _public(found.checkpoint, found.card, models, where, precision_of(precision, where))
    if precision not in ("auto", "float32"):
        raise InputError(
            f"precision {precision}: {found.card.name} has float32 only",
            remedy="Leave --precision out.",
        )
    row = found.card.name if found.own is None else found.own.own.base
    if row == "procedural":
        return ProceduralGenerator()
    return _built(row, found.card, found.folder or WEIGHTS, where)


def device_of(found: Known, device: str) -> Device:
    """Say where a model runs if it is asked to run on "auto", "cpu" or "cuda".

    Raises:
        InputError: If there is no such device.
    """
    has_gpu = torch.cuda.is_available()
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(f"device {device[:80]!r}", remedy="Choose auto, cpu or cuda.")
    if device == "cuda" and not has_gpu and found.card.name != "procedural":
        raise InputError("device cuda: there is no usable GPU", remedy="Use --device cpu.")
    is_large = found.checkpoint is not None
    return "cuda" if device == "cuda" or (device == "auto" and is_large and has_gpu) else "cpu"


def precision_of(precision: str, device: Device) -> Precision:
    """Say what "auto" means there, and refuse what is no precision.

    Raises:
        InputError: If there is no such precision.
    """
    if precision == "auto":
        return "bfloat16" if device == "cuda" else "float32"
    for each in get_args(Precision):
        if precision == each:
            return cast("Precision", each)
    raise InputError(
        f"precision {precision[:80]!r}", remedy=f"Choose auto, {', '.join(get_args(Precision))}."
    )


def load_codec() -> Codec:
    """Load the codec of the shipped system alone.

    Raises:
        IntegrityError: If the weight file is not the one the card names.
    """
    return codec_of(card(DEFAULT_MODEL))


@cache
def _built(row: str, found: ModelCard, folder: Path, device: str) -> Generator:
    """Build the system of a row for a card, with the weights of a folder."""
    if row not in _ROWS:
        raise _makes_nothing(found.name, "codec")
    system = _ROWS[row](found, folder)
    # The large network of each system; the others are faster where the samples are.
    for name in ("renderer", "model", "tokens", "generator", "unet"):
        part = getattr(system, name, None)
        if isinstance(part, torch.nn.Module):
            part.to(device)
    return system


@lru_cache(maxsize=1)
def _public(
    found: Checkpoint, told: ModelCard, models: Path | None, device: Device, precision: Precision
) -> Generator:
    """Build a public checkpoint; one at a time is kept, because they are large."""
    made: Generator = public_store.build(
        found, told, models=models, device=device, precision=precision
    )
    return made


def _makes_nothing(name: str, role: Role) -> InputError:
    model = f"--model {shlex.quote(name)}"
    use = {
        "codec": f"Run `safegen codec encode FILE {model} --out DIR` to encode a file",
        "scorer": f"Run `safegen eval clap FILE --prompts FILE {model}` to compare sounds with "
        "their prompts",
    }[role]
    return InputError(
        f"{name} turns no text into sound",
        remedy=f"{use}; `safegen models list` names the models that generate.",
    )


_ROWS: Final[dict[str, Callable[[ModelCard, Path], Generator]]] = {
    "music-flow": lambda card, folder: load_music_flow(card, folder=folder),
    "music-ar": lambda card, folder: load_music_tokens(card, folder=folder),
    "music-cascade": lambda card, folder: load_music_cascade(card, folder=folder),
    "music-joint": lambda card, folder: load_music_joint(card, folder=folder),
    "continue": lambda card, folder: load_continuation(card, folder=folder),
    "sfx-ar": lambda card, folder: load_sound_tokens(card, settings=SFX_AR, folder=folder),
    "sfx-masked": lambda card, folder: load_sound_tokens(card, settings=SFX_MASKED, folder=folder),
}
"""Row -> how its system is built from a card and a folder of weights."""
