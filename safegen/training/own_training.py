"""How is a shipped row trained on somebody's own files?

    files -> items (``own_items``) -> one or two networks (``own_learners``)
          -> training manifest (``own_manifest``) -> a model in the state folder

Training starts from the shipped weights, at a quarter of the recipe's learning rate, or
from scratch. What is not trained is taken over as it ships. A run is a folder; the same
call in the same folder continues it and computes the losses of a run that was never
stopped. Data and settings of a run that is continued must be those it was started with.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Final

from safetensors.torch import load_file

from safegen.audio import sha256_file
from safegen.errors import InputError
from safegen.generation import own
from safegen.generation.cards import checked_path
from safegen.generation.codec import FRAME_RATE, Codec
from safegen.training.loop import Progress, Run, draw_losses, read_losses, save_module
from safegen.training.own_data import UNLICENSED, OwnData
from safegen.training.own_items import OwnItems, encode, encoded
from safegen.training.own_manifest import all_left_out, strangers_of, write_own_manifest
from safegen.training.own_rows import SEED, Base, follows, learner_of, learning_rate
from safegen.training.shipping import ship

CHECKPOINT_SECONDS: Final = 60.0
STEPS: Final = 1000
_FACTS_NAME: Final = "run.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a user asked for.

    Attributes:
        name: Of the new model.
        steps: Of the optimizer, for each network.
        batch: Excerpts per step, None for the recipe's own choice.
        folder: Runs and items are kept here.
        command: What trains the model again.
        today: Day of the training.
    """

    name: str
    steps: int
    batch: int | None
    folder: Path
    command: str
    today: date

    @property
    def run(self) -> Path:
        """Folder of this run."""
        return self.folder / f"own-{self.name}"


def prepare(base: Base, data: OwnData, wanted: Wanted) -> Iterator[int]:
    """Encode the files for a row, unless that was done before.

    Yields:
        How many files are done.

    Raises:
        InputError: If the run's folder holds a run on other data or of other settings.
    """
    _claim(base, data, wanted)
    yield from encode(data, base.codec, folder=wanted.folder, keep_mels=base.keeps_mels)


def items_of(base: Base, data: OwnData, wanted: Wanted) -> OwnItems:
    """Read what ``prepare`` made.

    Raises:
        InputError: If no file gave an item.
    """
    return encoded(data, base.codec, folder=wanted.folder, keep_mels=base.keeps_mels)


def train(
    base: Base,
    items: OwnItems,
    wanted: Wanted,
    *,
    stop: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Progress]:
    """Train the networks of a row, or continue the run found in the folder.

    Args:
        base: The row.
        items: What is learned from.
        wanted: Steps, batch and folder.
        stop: Asked after every step; a run that is stopped keeps a checkpoint.
        clock: In seconds; a checkpoint is kept every ``CHECKPOINT_SECONDS``.

    Yields:
        The loss of each step; steps of all networks are counted through. The last step
        is only reached if nothing stopped the run.
    """
    total = wanted.steps * len(base.models)
    for place, role in enumerate(base.models):
        learner = learner_of(base, role, items, batch=wanted.batch)
        rate = learning_rate(base, role)
        run = Run(learner.model, steps=wanted.steps, learning_rate=rate, seed=SEED)
        folder = wanted.run / role
        run.resume(folder)
        saved = clock()
        while run.step < wanted.steps:
            made = run.update(learner.loss(run.step, run.generator()))
            is_stopped = stop()
            if is_stopped or run.step == wanted.steps or clock() - saved >= CHECKPOINT_SECONDS:
                run.save(folder)
                saved = clock()
            yield Progress(
                step=place * wanted.steps + made.step, steps=total, loss=made.loss, figures={}
            )
            if is_stopped and run.step < wanted.steps:
                return
        prefix = "codec." if role == "codec" else ""
        save_module(run.averaged(), wanted.run / f"{role}.safetensors", prefix=prefix)


def is_finished(base: Base, wanted: Wanted) -> bool:
    """Whether every network of a run was trained to its last step."""
    return all(
        (wanted.run / f"{role}.safetensors").is_file()
        and len(read_losses(wanted.run / role)) >= wanted.steps
        for role in base.models
    )


def finish(
    base: Base, data: OwnData, items: OwnItems, wanted: Wanted, *, models: Path, overwrite: bool
) -> own.OwnModel:
    """Make a finished run a model of this installation.

    Args:
        base: The row.
        data: The files.
        items: What was learned from.
        wanted: Name and folder of the run.
        models: Folder of own models.
        overwrite: Whether a model of this name may be replaced.

    Raises:
        InputError: If the run is not finished, or the name is taken.
    """
    made: dict[str, Path] = {}
    losses: list[float] = []
    for role in base.models:
        made[role] = wanted.run / f"{role}.fp16.safetensors"
        ship(wanted.run / f"{role}.safetensors", made[role])
        losses += read_losses(wanted.run / role)
    files = _files(base, data, items, wanted, made)
    picture = wanted.run / own.LOSSES_NAME
    draw_losses(losses, picture, title=wanted.name)
    last = losses[-max(1, wanted.steps // 20) :]
    used = replace(data, files=tuple(dict.fromkeys(items.files)))
    found = own.OwnCard(
        name=wanted.name,
        base=base.card.name,
        base_version=base.card.version,
        license=license_of(base.card.license, used),
        created=wanted.today.isoformat(),
        command=wanted.command,
        files=(),
        learned=own.Learned(
            files=len(used.files),
            items=len(items.files),
            hours=round(float(items.sounding.sum()) / FRAME_RATE / 3600, 4),
            licenses=used.licenses,
            allow_unlicensed=data.allow_unlicensed,
            left_out=len(all_left_out(data, items)),
            from_scratch=base.from_scratch,
            steps=wanted.steps,
            loss=round(sum(last) / len(last), 6),
            data_sha256=data.digest,
        ),
        follows=follows(base.card.name),
    )
    return own.install(models, found, files, losses=picture, overwrite=overwrite)


def license_of(base: str, data: OwnData) -> str:
    """Write the license of a model: that of the base and all of the data, or "unknown"."""
    if UNLICENSED in data.licenses:
        return "unknown"
    names = sorted({base, *data.licenses})
    return " AND ".join(f"({name})" if " " in name else name for name in names)


def _files(
    base: Base, data: OwnData, items: OwnItems, wanted: Wanted, made: dict[str, Path]
) -> dict[str, Path]:
    """List the files of the new model, its training manifest made."""
    weights = {
        file.role: made.get(file.role) or checked_path(file, folder=base.folder)
        for file in base.card.files
        if file.role != "manifest"
    }
    heard, sizes = items, base.codec.config
    if "codec" in made:
        heard = _heard_anew(base, data, wanted)
    codec_sha256 = sha256_file(weights["codec"])
    shipped = [file for file in base.card.files if file.role == "manifest"]
    old = checked_path(shipped[0], folder=base.folder) if shipped else None
    manifest = wanted.run / "manifest.safetensors"
    write_own_manifest(
        manifest,
        heard,
        data,
        codes=sizes.codes,
        codec_sha256=codec_sha256,
        strangers=None if old is None else strangers_of(old, codec_sha256=codec_sha256),
    )
    return {**weights, "manifest": manifest} | ({} if old is None else {own.BASE_MANIFEST: old})


def _heard_anew(base: Base, data: OwnData, wanted: Wanted) -> OwnItems:
    """Encode the files with the codec that was just trained."""
    trained = Codec(base.codec.config)
    path = wanted.run / "codec.fp16.safetensors"
    trained.load_state_dict({k: v.float() for k, v in load_file(path).items()})
    trained.eval().requires_grad_(False)
    for _ in encode(data, trained, folder=wanted.folder, keep_mels=False):
        pass
    return encoded(data, trained, folder=wanted.folder, keep_mels=False)


def _claim(base: Base, data: OwnData, wanted: Wanted) -> None:
    """Keep what a run is about in its folder, or compare it with what is kept there.

    Raises:
        InputError: If the run found there is about something else.
    """
    facts = {
        "row": base.card.name,
        "weights_sha256": "" if base.from_scratch else base.card.weights_sha256,
        "from_scratch": base.from_scratch,
        "data_sha256": data.digest,
        "batch": wanted.batch,
    }
    path = wanted.run / _FACTS_NAME
    if not path.exists():
        wanted.run.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".part")
        temporary.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        temporary.replace(path)
        return
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: cannot be read ({error})", remedy="Delete the run.") from error
    other = [name for name, value in facts.items() if kept.get(name) != value]
    if other:
        raise InputError(
            f"{wanted.run} holds a run with another {', '.join(other)}",
            remedy="Choose another --name, or delete that folder to start anew.",
        )
