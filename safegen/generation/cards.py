"""Which models ship?

One card for each row; ``safegen.generation.systems`` builds the row from it. Rows share
files: all decode with one codec, and the rows that draw tokens share one token model.
"""

from __future__ import annotations

from typing import Final

from safegen.errors import InputError
from safegen.generation.model_card import (
    INPUTS,
    WEIGHTS,
    ModelCard,
    WeightFile,
    checked_path,
    load_tensors,
)

__all__ = [
    "CARDS",
    "DEFAULT_MODEL",
    "INPUTS",
    "WEIGHTS",
    "ModelCard",
    "WeightFile",
    "card",
    "checked_path",
    "load_tensors",
]

DEFAULT_MODEL: Final = "music-flow"

CARDS: Final = (
    ModelCard(
        name="music-flow",
        version="2",
        summary="Writes a score for the prompt, then renders it with a flow through a mel codec.",
        license="Apache-2.0",
        sample_rate=32_000,
        shortest_seconds=1.0,
        longest_seconds=120.0,
        parameters=9_309_467,
        files=(
            WeightFile(
                role="codec",
                name="codec.safetensors",
                sha256="7f0be7b635ef13615f5c12f860b850a7903134713f68d24af0157f5877974b2b",
            ),
            WeightFile(
                role="planner",
                name="planner.safetensors",
                sha256="5f08be4c7e4340d93b5a908bb1c9b78e20c5f173e3f3d111056558b317ee4fcc",
            ),
            WeightFile(
                role="renderer",
                name="renderer.safetensors",
                sha256="4eb6ea39a1fa57660d53853a407a43351c555b171b87b1421501982c3d557c32",
            ),
            WeightFile(
                role="manifest",
                name="music-flow.manifest.safetensors",
                sha256="2cb1d4abbedc8d5ecf79ccd208cc2447e71ea004137600cead520e03bfbf982c",
            ),
        ),
        # The shipped runs were stopped and continued with other --steps on the way, so
        # these commands give weights of the same quality, not the same bits.
        recipes=(
            "safegen train codec --steps 2000 --items 2500",
            "safegen train text-plan --steps 1500",
            "safegen train flow --steps 2900",
            "safegen train manifest",
        ),
        training_data=(
            "Procedural scores, each named by a seed, rendered with the MIT-licensed "
            "FluidR3Mono soundfont. No recording by anybody else was used."
        ),
        limits=(
            "Instrumental music in 4/4, 60 to 180 bpm, 20 instruments; no singing, no "
            "speech, no sound effects. Phase comes from Griffin-Lim and sounds soft."
        ),
        mark=(
            "The decoder writes a public pattern of 0.8 dB into every sound it makes, which "
            "`safegen verify` and `safegen screen` hear. It names the codec, nobody's key or "
            "installation; whoever edits the decoder can leave it out."
        ),
        accepts=("negative_prompt", "source", "inpaint"),
    ),
    ModelCard(
        name="procedural",
        version="1",
        summary="Composes by seed and plays on sine waves; for tests and the demo's catalog.",
        license="Apache-2.0",
        sample_rate=32_000,
        shortest_seconds=0.1,
        longest_seconds=600.0,
        parameters=0,
        files=(),
        recipes=(),
        training_data="None.",
        limits="Follows a named tempo and the presence of drums, nothing else of a prompt.",
        mark="None: it has no decoder. Only the gate marks what it makes.",
    ),
)


def card(name: str) -> ModelCard:
    """Look a model up.

    Raises:
        InputError: If no model has this name.
    """
    for found in CARDS:
        if found.name == name:
            return found
    names = ", ".join(x.name for x in CARDS)
    raise InputError(f"{name}: no such model", remedy=f"Choose one of: {names}.")
