"""Which models ship, and how is a weight file known to be the right one?

A card names every file of a model by its sha256. A file that does not match is refused
before a single tensor is read. Weights are safetensors in float16; nothing is unpickled.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from torch import Tensor

from safegen.audio import sha256_file
from safegen.errors import InputError, IntegrityError, SafegenError
from safegen.generation.base import ModelFacts

WEIGHTS: Final = Path(__file__).parent / "weights"
DEFAULT_MODEL: Final = "music-flow"
INPUTS: Final = ("negative_prompt", "melody", "continue_from", "source", "inpaint", "story")
"""Fields of ``safegen.generation.base.Request`` that not every model takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFile:
    """A file that belongs to a model.

    Attributes:
        role: What it is for: "codec", "planner", "renderer" or "manifest".
        name: File name inside the weights folder.
        sha256: Lower-case hex.
    """

    role: str
    name: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """What a user should know about a model.

    Attributes:
        name: As typed after ``--model``.
        version: Of the weights and the decoder; another version gives other bits.
        summary: One sentence.
        license: SPDX id of weights and code.
        sample_rate: Of what it makes, in Hz.
        shortest_seconds: Shortest clip it makes.
        longest_seconds: Longest clip it makes.
        parameters: Trained numbers, all files together.
        files: Weights, then the training manifest.
        recipes: Commands that train it again.
        training_data: What it learned from.
        limits: What it cannot do.
        mark: What its own code writes into every sound, whoever runs it.
        accepts: What it takes beside prompt, length and seed: some of ``INPUTS``.
        after: The published system it was built after.
        measured: What was measured, with the command; "" if nothing was.
    """

    name: str
    version: str
    summary: str
    license: str
    sample_rate: int
    shortest_seconds: float
    longest_seconds: float
    parameters: int
    files: tuple[WeightFile, ...]
    recipes: tuple[str, ...]
    training_data: str
    limits: str
    mark: str
    accepts: tuple[str, ...] = ()
    after: str = ""
    measured: str = ""

    @property
    def weights_sha256(self) -> str:
        """One hash for all weights: of the files' hashes, a line each; "" if none."""
        lines = [f"{x.sha256}\n" for x in self.files if not x.role.endswith("manifest")]
        return hashlib.sha256("".join(lines).encode()).hexdigest() if lines else ""

    @property
    def training_manifest_sha256(self) -> str:
        """Hash of the training manifest, "" if there is none."""
        return next((x.sha256 for x in self.files if x.role == "manifest"), "")

    @property
    def facts(self) -> ModelFacts:
        """What goes into the record of an output."""
        return ModelFacts(
            name=self.name,
            version=self.version,
            license=self.license,
            weights_sha256=self.weights_sha256,
            training_manifest_sha256=self.training_manifest_sha256,
        )

    def file(self, role: str) -> WeightFile:
        """Find the file of a role.

        Raises:
            KeyError: If the model has none.
        """
        for found in self.files:
            if found.role == role:
                return found
        raise KeyError(role)


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


def load_tensors(file: WeightFile, *, folder: Path = WEIGHTS) -> dict[str, Tensor]:
    """Read a weight file after checking its hash; half precision becomes float32.

    Raises:
        SafegenError: If the file is missing.
        IntegrityError: If the file is not the one the card names.
    """
    from safetensors.torch import load

    path = checked_path(file, folder=folder)
    tensors = load(path.read_bytes())
    return {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}


def checked_path(file: WeightFile, *, folder: Path = WEIGHTS) -> Path:
    """Find a file of a model and check its hash.

    Raises:
        SafegenError: If the file is missing.
        IntegrityError: If the file is not the one the card names.
    """
    path = folder / file.name
    if not path.is_file():
        raise SafegenError(
            f"{file.name}: the weight file is missing from the package",
            remedy="Install safegen again, or train it with the recipes of its card.",
        )
    found = sha256_file(path)
    if found != file.sha256:
        raise IntegrityError(
            f"{file.name}: sha256 {found[:16]}..., the model card says {file.sha256[:16]}...",
            remedy="Install safegen again; do not use this file.",
        )
    return path
