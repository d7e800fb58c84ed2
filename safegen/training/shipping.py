"""How do finished runs become the files that ship?

Weights are rounded to float16 and written as safetensors with no metadata, so the same
weights always give the same bytes and the same sha256.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from safegen.audio import sha256_file
from safegen.errors import InputError
from safegen.generation.codec import Codec, CodecConfig
from safegen.generation.planner import Planner, PlannerConfig
from safegen.generation.text import TextConfig, TextEncoder
from safegen.generation.transcriber import Transcriber, TranscriberConfig


def ship(trained: Path, destination: Path) -> str:
    """Round a trained file to float16.

    Args:
        trained: Written by a recipe at the end of its run.
        destination: Of the file that ships.

    Returns:
        Its sha256, for the model card.

    Raises:
        InputError: If the run has not been finished.
    """
    if not trained.is_file():
        raise InputError(
            f"{trained}: this run has not been finished",
            remedy="Run the recipe until its last step.",
        )
    tensors = {
        name: value.to(torch.float16).contiguous() if value.is_floating_point() else value
        for name, value in sorted(load_file(trained).items())
    }
    save_file(tensors, destination)
    return sha256_file(destination)


def load_codec(shipped: Path) -> Codec:
    """Load a codec for a recipe that builds on it.

    Raises:
        InputError: If the recipe of the codec has not been finished.
    """
    codec = Codec(CodecConfig())
    codec.load_state_dict(_tensors(shipped, recipe="codec"))
    return codec.eval().requires_grad_(False)


def load_text(shipped: Path) -> TextEncoder:
    """Load the text encoder of a planner for a recipe that builds on it.

    Raises:
        InputError: If the recipe of the planner has not been finished.
    """
    return load_planner(shipped).text


def load_planner(shipped: Path) -> Planner:
    """Load a planner with its text encoder for a recipe that builds on it.

    Raises:
        InputError: If the recipe of the planner has not been finished.
    """
    planner = Planner(PlannerConfig(text=TextConfig()))
    planner.load_state_dict(_tensors(shipped, recipe="text-plan"))
    return planner.eval().requires_grad_(False)


def load_listener(shipped: Path) -> Transcriber:
    """Load a transcriber for a recipe that builds on it.

    Raises:
        InputError: If the recipe of the transcriber has not been finished.
    """
    transcriber = Transcriber(TranscriberConfig())
    transcriber.load_state_dict(_tensors(shipped, recipe="transcriber"))
    return transcriber.eval().requires_grad_(False)


def _tensors(shipped: Path, *, recipe: str) -> dict[str, torch.Tensor]:
    if not shipped.is_file():
        raise InputError(
            f"{shipped}: not there yet", remedy=f"Run `safegen train {recipe}` to its end first."
        )
    return {k: v.float() for k, v in load_file(shipped).items()}
