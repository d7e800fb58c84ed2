"""Which kinds of public checkpoints are known, and how is a folder recognized as one?

A family is a class of ``transformers`` or ``diffusers`` with all checkpoints that it reads.
The folder of a checkpoint names its class itself: ``model_type`` in ``config.json``, or
``_class_name`` in ``model_index.json``. Nothing here imports either library.

Each family has a module with the functions of ``FamilyModule``.
"""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Protocol, cast

from safegen.errors import InputError
from safegen.generation.model_card import ModelCard

Library = Literal["transformers", "diffusers"]
Role = Literal["generator", "codec", "scorer"]
Device = Literal["cpu", "cuda"]
Precision = Literal["float32", "bfloat16", "float16"]

_MAX_CONFIG_BYTES: Final = 1 << 22


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A kind of public checkpoint.

    Attributes:
        key: "musicgen".
        title: As people write it.
        library: That reads it.
        marker: What its folder says of itself.
        role: What it is for.
        module: Where its ``FamilyModule`` is.
        repositories: Names on the hub that are known to be of it.
    """

    key: str
    title: str
    library: Library
    marker: str
    role: Role
    module: str
    repositories: tuple[str, ...]

    @property
    def called(self) -> str:
        """The title with its article."""
        return f"{'an' if self.title[0] in 'AEIO' else 'a'} {self.title}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What a checkpoint's settings say, read without its weights and without its library.

    Attributes:
        summary: One sentence.
        sample_rate: Of what it makes or codes, in Hz.
        channels: Likewise.
        shortest_seconds: Shortest clip it makes.
        longest_seconds: Longest clip it makes: the limit of its positions.
        accepts: What it takes beside prompt, length and seed: some of ``model_card.INPUTS``.
        limits: What it cannot do.
    """

    summary: str
    sample_rate: int
    channels: int
    shortest_seconds: float
    longest_seconds: float
    accepts: tuple[str, ...] = ()
    limits: str = ""


class FamilyModule(Protocol):
    """What the module of a family offers."""

    def describe(self, folder: Path) -> Described:
        """Read a checkpoint's settings.

        Raises:
            InputError: If a file of settings is missing or says nothing usable.
        """

    def load(self, folder: Path, card: ModelCard, *, device: Device, precision: Precision) -> Any:
        """Build it: a ``Generator`` of a family of generators, else what the role's users take.

        Args:
            folder: Complete, safetensors only, its hashes compared with the card.
            card: What is reported about it; ``describe`` and the store filled it in.
            device: "cpu" or "cuda"; the caller made sure that it is there.
            precision: Of weights and activations.

        Raises:
            InputError: If the files do not make a model of this family.
        """


_TRANSFORMERS: Final = "safegen.generation.transformers_models"
_DIFFUSERS: Final = "safegen.generation.diffusers_models"

FAMILIES: Final = (
    Family(
        key="musicgen",
        title="MusicGen",
        library="transformers",
        marker="musicgen",
        role="generator",
        module=f"{_TRANSFORMERS}.musicgen",
        repositories=(
            "facebook/musicgen-small",
            "facebook/musicgen-medium",
            "facebook/musicgen-large",
            "facebook/musicgen-stereo-small",
            "facebook/musicgen-stereo-medium",
            "facebook/musicgen-stereo-large",
        ),
    ),
    Family(
        key="musicgen-melody",
        title="MusicGen Melody",
        library="transformers",
        marker="musicgen_melody",
        role="generator",
        module=f"{_TRANSFORMERS}.musicgen_melody",
        repositories=(
            "facebook/musicgen-melody",
            "facebook/musicgen-melody-large",
            "facebook/musicgen-stereo-melody",
            "facebook/musicgen-stereo-melody-large",
        ),
    ),
    Family(
        key="bark",
        title="Bark",
        library="transformers",
        marker="bark",
        role="generator",
        module=f"{_TRANSFORMERS}.bark",
        repositories=("suno/bark", "suno/bark-small"),
    ),
    Family(
        key="encodec",
        title="EnCodec",
        library="transformers",
        marker="encodec",
        role="codec",
        module=f"{_TRANSFORMERS}.codecs",
        repositories=("facebook/encodec_24khz", "facebook/encodec_32khz", "facebook/encodec_48khz"),
    ),
    Family(
        key="dac",
        title="DAC",
        library="transformers",
        marker="dac",
        role="codec",
        module=f"{_TRANSFORMERS}.codecs",
        repositories=("descript/dac_16khz", "descript/dac_24khz", "descript/dac_44khz"),
    ),
    Family(
        key="mimi",
        title="Mimi",
        library="transformers",
        marker="mimi",
        role="codec",
        module=f"{_TRANSFORMERS}.codecs",
        repositories=("kyutai/mimi",),
    ),
    Family(
        key="clap",
        title="CLAP",
        library="transformers",
        marker="clap",
        role="scorer",
        module=f"{_TRANSFORMERS}.clap",
        repositories=(
            "laion/clap-htsat-unfused",
            "laion/larger_clap_music",
            "laion/larger_clap_general",
        ),
    ),
    Family(
        key="stable-audio",
        title="Stable Audio Open",
        library="diffusers",
        marker="StableAudioPipeline",
        role="generator",
        module=f"{_DIFFUSERS}.stable_audio",
        repositories=("stabilityai/stable-audio-open-1.0",),
    ),
    Family(
        key="stable-audio-3",
        title="Stable Audio 3",
        library="diffusers",
        marker="StableAudio3Pipeline",
        role="generator",
        module=f"{_DIFFUSERS}.stable_audio_3",
        repositories=(
            "stabilityai/stable-audio-3-small-music",
            "stabilityai/stable-audio-3-small-sfx",
            "stabilityai/stable-audio-3-medium",
        ),
    ),
    Family(
        key="ace-step",
        title="ACE-Step 1.5",
        library="diffusers",
        marker="AceStepPipeline",
        role="generator",
        module=f"{_DIFFUSERS}.ace_step",
        repositories=("ACE-Step/acestep-v15-xl-turbo-diffusers",),
    ),
    Family(
        key="audioldm2",
        title="AudioLDM 2",
        library="diffusers",
        marker="AudioLDM2Pipeline",
        role="generator",
        module=f"{_DIFFUSERS}.audioldm2",
        repositories=("cvssp/audioldm2", "cvssp/audioldm2-large", "cvssp/audioldm2-music"),
    ),
)


def recognize(folder: Path) -> Family:
    """Tell of which family the checkpoint in a folder is.

    Raises:
        InputError: If the folder does not say so, or names a class that is not known here.
    """
    told = ""
    for name, key in (("model_index.json", "_class_name"), ("config.json", "model_type")):
        if (folder / name).is_file():
            told = str(settings(folder / name).get(key, ""))
            break
    for family in FAMILIES:
        if family.marker == told:
            return family
    if not told and (folder / "model_config.json").is_file():
        raise InputError(
            f"{folder}: a checkpoint in the layout of stable-audio-tools, which is not read here",
            remedy="Convert Stable Audio 3 with scripts/convert_stable_audio_3_to_diffusers.py of "
            "diffusers and name the folder it writes; Stable Audio Open Small it cannot hold.",
        )
    known = ", ".join(family.title for family in FAMILIES)
    if not told and (folder / "state_dict.bin").is_file():
        raise InputError(
            f"{folder}: state_dict.bin, a file of audiocraft's layout, and no config.json",
            remedy="Of AudioGen name its two files: `safegen models add facebook/audiogen-medium "
            "state_dict.bin compression_state_dict.bin --text-encoder FOLDER --accept-license "
            "--sha256 state_dict.bin=HEX --sha256 compression_state_dict.bin=HEX`; of MusicGen "
            "fetch the repository as transformers reads it.",
        )
    raise InputError(
        f"{folder}: {f'a checkpoint of {told!r}' if told else 'no checkpoint'}"
        f"{', which is not known here' if told else ' of a known class'}",
        remedy=f"Name a folder with the config.json or model_index.json of one of: {known}.",
    )


def module_of(family: Family) -> FamilyModule:
    """Import the module of a family; its library is imported when it loads a model."""
    return cast("FamilyModule", importlib.import_module(family.module))


def settings(path: Path) -> dict[str, Any]:
    """Read a JSON file of settings.

    Raises:
        InputError: If it is missing, too large, or holds no object.
    """
    try:
        if path.stat().st_size > _MAX_CONFIG_BYTES:
            raise InputError(f"{path}: too large for settings", remedy="Name a model's folder.")
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: cannot be read as settings ({type(error).__name__})",
            remedy="Fetch the checkpoint again.",
        ) from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: holds no settings", remedy="Fetch the checkpoint again.")
    return found
