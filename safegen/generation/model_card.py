"""What is said of a model, and how is a weight file known to be the right one?

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
from safegen.errors import IntegrityError, SafegenError
from safegen.generation.base import ModelFacts

WEIGHTS: Final = Path(__file__).parent / "weights"
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
        license_accepted: Day on which the operator accepted a license that asks for it, ""
            if none asks, or nobody did.
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
    license_accepted: str = ""

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
            license_accepted=self.license_accepted,
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
