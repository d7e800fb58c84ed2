"""How near are sounds to their prompts, as a CLAP hears it?

Each sound is compared with its prompt. Beside the mean stands how near the sounds are to the
prompts of the others, which is luck: models differ in how near everything is to everything,
so the two are read together, and scores of two models are not compared.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import numpy as np

from safegen.audio import Audio, load
from safegen.errors import InputError

if TYPE_CHECKING:
    from safegen.generation.transformers_models.clap import Clap

DEFAULT_MODEL: Final = "laion/larger_clap_general"
_MAX_PROMPTS_BYTES: Final = 1 << 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearness:
    """How near sounds are to prompts.

    Attributes:
        scores: Of each sound with its own prompt, cosines in [-1, 1].
        luck: Mean of each sound with the prompts of the others, None if all are the same.
    """

    scores: tuple[float, ...]
    luck: float | None


def nearness(clap: Clap, sounds: Iterable[Audio], prompts: Sequence[str]) -> Nearness:
    """Compare each sound with its prompt, and with those of the others.

    Args:
        clap: The model.
        sounds: At least one.
        prompts: One for each.

    Raises:
        InputError: If a sound cannot be heard or a prompt cannot be read.
    """
    words = clap.of_texts(prompts)
    heard = np.stack([clap.of_sound(sound) for sound in sounds])
    table = np.clip(heard @ words.T, -1.0, 1.0)
    others = np.array([[mine != other for other in prompts] for mine in prompts])
    return Nearness(
        scores=tuple(round(float(x), 4) for x in np.diag(table)),
        luck=round(float(table[others].mean()), 4) if others.any() else None,
    )


@click.command("clap")
@click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--model",
    default=DEFAULT_MODEL,
    show_default=True,
    metavar="NAME",
    help="A CLAP: OWNER/NAME as installed, or a folder.",
)
@click.option("--prompt", default=None, metavar="TEXT", help="Of every FILE.")
@click.option(
    "--prompts",
    default=None,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A text file with a prompt for each FILE, in their order, a line each.",
)
def command(files: tuple[Path, ...], model: str, prompt: str | None, prompts: Path | None) -> None:
    """Measure how near each FILE is to its prompt, as a CLAP hears it.

    The score is a cosine. Read it beside luck, the score with the prompts of the other files,
    and compare scores of one CLAP only.

    \b
    Exit status:
      0  measured
      2  no such model, an unreadable FILE, or not a prompt for each

    \b
    Example:
      safegen eval clap out/*.wav --prompts prompts.txt
    """
    texts = _texts(files, prompt, prompts)
    clap = _loaded(model)
    with click.progressbar(files, label="Hearing", file=sys.stderr) as bar:
        found = nearness(clap, (load(path) for path in bar), texts)
    row = {
        "benchmark": "clap",
        "model": clap.card.name,
        "n": len(files),
        "score": round(float(np.mean(found.scores)), 4),
        "luck": found.luck,
        "scores": dict(zip(map(str, files), found.scores, strict=True)),
        "weights_sha256": clap.facts.weights_sha256,
    }
    click.echo(json.dumps(row))


def _texts(files: tuple[Path, ...], prompt: str | None, prompts: Path | None) -> list[str]:
    if (prompt is None) == (prompts is None):
        raise InputError(
            "one of --prompt and --prompts is needed",
            remedy="Give the prompt of all files, or a file with a line for each.",
        )
    if len(set(files)) < len(files):
        raise InputError("a file is named twice", remedy="Name each once.")
    if prompts is None:
        return [prompt or ""] * len(files)
    try:
        if prompts.stat().st_size > _MAX_PROMPTS_BYTES:
            raise InputError(f"{prompts}: too large for prompts", remedy="Name a text file.")
        lines = [x for x in prompts.read_text(encoding="utf-8").splitlines() if x.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{prompts}: cannot be read as text ({type(error).__name__})",
            remedy="Write a prompt a line, in UTF-8.",
        ) from error
    if len(lines) != len(files):
        raise InputError(
            f"{prompts}: {len(lines)} prompts for {len(files)} files",
            remedy="Give a line for each file, in their order.",
        )
    return lines


def _loaded(name: str) -> Clap:
    import os

    from safegen.config import from_environment
    from safegen.generation import public_store
    from safegen.generation.known import usable
    from safegen.generation.systems import device_of

    models = from_environment(os.environ).models
    found = usable(name, models=models)
    if found.checkpoint is None or found.checkpoint.family.role != "scorer":
        raise InputError(f"{name} is no CLAP", remedy=f"Choose one, such as {DEFAULT_MODEL}.")
    clap: Clap = public_store.build(
        found.checkpoint,
        found.card,
        models=models,
        device=device_of(found, "auto"),
        precision="float32",
    )
    return clap
