"""Train a shipped row on a folder of one's own audio; a part of ``safegen train``."""

import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from safegen.cli.options import config, emit
from safegen.errors import InputError

if TYPE_CHECKING:
    from safegen.generation.own import OwnModel
    from safegen.training.own_data import LeftOut, OwnData

ROWS = ("music-flow", "music-ar", "sfx-ar", "sfx-masked", "music-cascade", "continue",
        "music-joint", "procedural")  # fmt: skip
"""What --data may follow, beside the recipe and row ``codec``."""

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnOptions:
    """What was typed about one's own files.

    Attributes:
        data: Folder of audio.
        captions: Table, None without.
        license_: Of files whose line names none, "" without.
        name: Of the new model, "" for one after the row.
        allow_unlicensed: Whether files without a license are let in.
        from_scratch: Whether training begins at random weights.
        minutes: When to stop, None for never.
        overwrite: Whether a model of this name may be replaced.
    """

    data: Path | None
    captions: Path | None
    license_: str
    name: str
    allow_unlicensed: bool
    from_scratch: bool
    minutes: float | None
    overwrite: bool

    @property
    def is_given(self) -> bool:
        """Whether anything was typed."""
        texts = (self.data, self.captions, self.license_, self.name, self.minutes)
        return any(texts) or self.allow_unlicensed or self.from_scratch or self.overwrite


def own_options(command: Command) -> Command:
    """Add the options about one's own files."""
    for option in (
        click.option("--overwrite", is_flag=True, help="Replace the own model of this name."),
        click.option(
            "--minutes",
            type=click.FloatRange(min=0.0, min_open=True),
            help="Keep a checkpoint and stop after so long; the same command continues.",
        ),
        click.option("--from-scratch", is_flag=True, help="Begin at random weights."),
        click.option(
            "--allow-unlicensed",
            is_flag=True,
            help="Let files without a license in; the model's card says so for ever.",
        ),
        click.option(
            "--name", default="", metavar="NAME", help="Of the new model. Default: my-ROW."
        ),
        click.option(
            "--license",
            "license_",
            default="",
            metavar="SPDX",
            help="Of the files; a column license of the captions takes precedence.",
        ),
        click.option(
            "--captions",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            metavar="FILE.csv",
            help="Columns file and caption; also license, title, rights_holder.",
        ),
        click.option(
            "--data",
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            metavar="FOLDER",
            help="Train ROW on the audio files of this folder.",
        ),
    ):
        command = option(command)
    return command


def train_own(
    row: str,
    own_: OwnOptions,
    *,
    folder: Path,
    steps: int | None,
    batch: int | None,
    format_: str,
    hidden: bool,
) -> None:
    """Train a row on one's own files and make it a model of this installation.

    Raises:
        InputError: If row, name, captions, files or licenses cannot be used.
    """
    from safegen.generation import own
    from safegen.training import own_rows, own_training
    from safegen.training.own_manifest import all_left_out

    own_rows.check_row(row)
    name = own_.name or f"my-{row}"
    models = config().models
    own.check_free(models, name, overwrite=own_.overwrite)
    data = _gather(row, own_)
    deadline = None if own_.minutes is None else time.monotonic() + 60 * own_.minutes
    wanted = own_training.Wanted(
        name=name,
        steps=steps or own_training.STEPS,
        batch=batch,
        folder=folder,
        command=_command(row, own_, name=name, steps=steps or own_training.STEPS, batch=batch),
        today=datetime.now(UTC).date(),
    )
    base = own_rows.load_base(row, from_scratch=own_.from_scratch)
    with click.progressbar(
        length=len(data.files), label="Encoding files", file=sys.stderr, hidden=hidden
    ) as bar:
        for done in own_training.prepare(base, data, wanted):
            bar.update(done - bar.pos)
    items = own_training.items_of(base, data, wanted)
    left_out = all_left_out(data, items)
    _tell_left_out(left_out)
    total, step = wanted.steps * len(base.models), 0
    with click.progressbar(
        length=total, label=f"Training {name}", file=sys.stderr, hidden=hidden
    ) as bar:
        for progress in own_training.train(
            base,
            items,
            wanted,
            stop=lambda: deadline is not None and time.monotonic() >= deadline,
        ):
            step = progress.step
            bar.update(step - bar.pos)
    if not own_training.is_finished(base, wanted):
        stopped = {"model": name, "finished": False, "step": step, "steps": total}
        emit(stopped, f"stopped after step {step} of {total}; run the same to continue", format_)
        return
    made = own_training.finish(base, data, items, wanted, models=models, overwrite=own_.overwrite)
    _emit(made, left_out, format_)


def _gather(row: str, own_: OwnOptions) -> "OwnData":
    """List the files; say which columns of the table mean nothing."""
    from safegen.training.own_captions import read_captions
    from safegen.training.own_data import gather

    if own_.data is None:
        raise InputError(
            f"{row} is no recipe of its own; it is trained on files and none are named",
            remedy=f"Name a folder: safegen train {row} --data FOLDER --captions FILE.csv "
            "--license SPDX.",
        )
    if own_.captions is None and row != "codec":
        raise InputError(
            f"{row} learns from captions and there are none",
            remedy="Name a table with the columns file and caption with --captions.",
        )
    captions = None if own_.captions is None else read_captions(own_.captions)
    if captions is not None and captions.ignored:
        click.echo(f"Columns that mean nothing here: {', '.join(captions.ignored)}", err=True)
    return gather(
        own_.data, captions, license_=own_.license_, allow_unlicensed=own_.allow_unlicensed
    )


def _command(row: str, own_: OwnOptions, *, name: str, steps: int, batch: int | None) -> str:
    """Write the command that trains the model again."""
    words = ["safegen", "train", row, "--data", str(own_.data)]
    words += [] if own_.captions is None else ["--captions", str(own_.captions)]
    words += ["--license", own_.license_] if own_.license_ else []
    words += ["--name", name, "--steps", str(steps)]
    words += [] if batch is None else ["--batch", str(batch)]
    words += ["--allow-unlicensed"] if own_.allow_unlicensed else []
    words += ["--from-scratch"] if own_.from_scratch else []
    return shlex.join(words)


def _tell_left_out(left_out: "tuple[LeftOut, ...]") -> None:
    if left_out:
        click.echo(f"{len(left_out)} files are left out:", err=True)
    for found in left_out:
        click.echo(f"  {found.name}: {found.reason}", err=True)


def _emit(made: "OwnModel", left_out: "tuple[LeftOut, ...]", format_: str) -> None:
    learned = made.own.learned
    row = {
        "model": made.own.name,
        "finished": True,
        "base": made.own.base,
        "folder": str(made.folder),
        "files": learned.files,
        "items": learned.items,
        "hours": learned.hours,
        "licenses": learned.licenses,
        "license": made.own.license,
        "steps": learned.steps,
        "loss": learned.loss,
        "left_out": [{"name": x.name, "reason": x.reason} for x in left_out],
        "weights_sha256": made.card.weights_sha256,
        "training_manifest_sha256": made.card.training_manifest_sha256,
    }
    lines = [
        f"{made.own.name}: {made.card.summary}",
        f"learned   {learned.items} items, {learned.hours:g} h; loss {learned.loss:.4f} after "
        f"{learned.steps} steps",
        f"license   {made.own.license}",
        f"folder    {made.folder}",
        f"card      safegen models show {made.own.name}",
    ]
    emit(row, "\n".join(lines), format_)
