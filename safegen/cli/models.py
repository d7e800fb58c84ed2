"""List the models, shipped and own, and put public checkpoints beside them."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from safegen.cli.options import config, emit, format_option, quiet_option

if TYPE_CHECKING:
    from detectors.audioseal import Card


@click.group()
def models() -> None:
    """List the models, their licenses and weights; install public checkpoints.

    \b
    Exit status:
      0  done
      2  no such model
      4  a weight file is not the one its card names (show --check)

    \b
    Example:
      safegen models show music-flow --check
    """


@models.command(name="list")
@format_option
def list_command(format_: str) -> None:
    """List the models by name: those that ship, can be installed, or were trained here.

    \b
    Exit status:
      0  done
      4  what is installed is damaged

    \b
    Example:
      safegen models list --format jsonl
    """
    from safegen import second_mark
    from safegen.checkpoints import PUBLIC_MODELS
    from safegen.generation import own, plugin_generators
    from safegen.generation.cards import CARDS, DEFAULT_MODEL

    found_here = {"audioseal": second_mark.installed(config())}

    for found in CARDS:
        default = found.name == DEFAULT_MODEL
        row = {
            "name": found.name,
            "version": found.version,
            "default": default,
            "own": False,
            "installed": True,
            "license": found.license,
            "sample_rate": found.sample_rate,
            "parameters": found.parameters,
            "weights_sha256": found.weights_sha256,
        }
        mark = " (default)" if default else ""
        emit(row, f"{found.name}{mark}: {found.summary} {found.license}", format_)
    for model in PUBLIC_MODELS:
        here = found_here[model.name]
        row = {
            "name": model.name,
            "version": model.revision[:12],
            "default": False,
            "own": False,
            "installed": here is not None,
            "license": here.license if here else model.license,
            "sample_rate": 16_000,
            "parameters": None,
            "weights_sha256": here.weights_sha256 if here else "",
        }
        state = "installed" if here else second_mark.NOT_INSTALLED
        emit(row, f"{model.name} ({state}): {model.summary} {model.license}", format_)
    for mine in own.installed(config().models):
        row = {
            "name": mine.own.name,
            "version": mine.card.version,
            "default": False,
            "own": True,
            "installed": True,
            "license": mine.own.license,
            "sample_rate": mine.card.sample_rate,
            "parameters": mine.card.parameters,
            "weights_sha256": mine.card.weights_sha256,
        }
        emit(row, f"{mine.own.name} (own): {mine.card.summary} {mine.own.license}", format_)
    for added in plugin_generators.installed(models=config().models):
        row = {
            "name": added.name,
            "version": added.version,
            "default": False,
            "own": False,
            "installed": not added.fault,
            "license": None,
            "sample_rate": None,
            "parameters": None,
            "weights_sha256": "",
            "package": added.origin,
            "fault": added.fault,
        }
        state = f"cannot be used: {added.fault}" if added.fault else "its license is told on use"
        emit(row, f"{added.name} (package {added.origin}): {state}", format_)


@models.command()
@click.argument("name")
@click.option("--check", is_flag=True, help="Compare the installed files with their hashes.")
@format_option
def show(name: str, check: bool, format_: str) -> None:
    """Show the card of model NAME.

    \b
    Exit status:
      0  done
      1  a weight file is missing (--check)
      2  no such model, or not installed
      4  a weight file is not the one the card names (--check)

    \b
    Example:
      safegen models show music-flow
    """
    from safegen.checkpoints import PUBLIC_MODELS
    from safegen.generation import own
    from safegen.generation.cards import WEIGHTS, checked_path
    from safegen.generation.known import any_card

    if name in {model.name for model in PUBLIC_MODELS}:
        _show_audioseal(check, format_)
        return
    mine = own.find(name, models=config().models)
    found = any_card(name, models=config().models)
    if check:
        for file in found.files:
            checked_path(file, folder=WEIGHTS if mine is None else mine.folder)
    row: dict[str, object] = {
        **asdict(found),
        "weights_sha256": found.weights_sha256,
        "training_manifest_sha256": found.training_manifest_sha256,
    }
    lines = [
        f"{found.name} {found.version}: {found.summary}",
        f"license     {found.license}",
        f"sound       mono, {found.sample_rate} Hz, "
        f"{found.shortest_seconds:g} to {found.longest_seconds:g} s",
        f"parameters  {found.parameters:,}",
        f"learned     {found.training_data}",
        f"takes       {', '.join(('prompt', *found.accepts)).replace('_', ' ')}",
        f"limits      {found.limits}",
        f"own mark    {found.mark}",
        *([f"measured    {found.measured}"] if found.measured else []),
        *([f"after       {found.after}"] if found.after else []),
        *(f"file        {file.sha256}  {file.name}" for file in found.files),
        *(f"recipe      {recipe}" for recipe in found.recipes),
    ]
    if mine is not None:
        row |= {"own": asdict(mine.own), "folder": str(mine.folder)}
        lines += [f"folder      {mine.folder}"]
    if check:
        lines.append("checked     every file is the one this card names")
    emit(row, "\n".join(lines), format_)


@models.command()
@click.argument("name")
@format_option
def remove(name: str, format_: str) -> None:
    """Delete own model NAME with all its files; records of what it made stay.

    \b
    Exit status:
      0  deleted
      2  no own model of this name
      4  its card is damaged; delete its folder by hand

    \b
    Example:
      safegen models remove my-music-flow
    """
    from safegen.generation import own

    own.remove(name, models=config().models)
    emit({"name": name, "removed": True}, f"{name}: deleted", format_)


@models.command()
@click.argument("name")
@click.option("--overwrite", is_flag=True, help="Replace what is installed.")
@quiet_option
@format_option
def pull(name: str, overwrite: bool, quiet: bool, format_: str) -> None:
    """Fetch public model NAME from the hub, check it, and install it as safetensors.

    What was fetched in part is continued. Only the pinned files are accepted.

    \b
    Exit status:
      0  installed
      1  the network did not give the files; the message says how to go without
      2  no such model, or it is installed already
      4  what came is not the pinned file

    \b
    Example:
      safegen models pull audioseal
    """
    import shutil

    from safegen import second_mark
    from safegen.checkpoints import fetch, public_model
    from safegen.errors import InputError

    model = public_model(name)
    settings = config()
    if second_mark.folder(settings).exists() and not overwrite:
        raise InputError(f"{name} is installed", remedy="Give --overwrite to fetch it again.")
    downloads = settings.models / "downloads" / model.name
    total = sum(file.size_bytes for file in model.files)
    done: dict[str, int] = {}
    with click.progressbar(
        length=total, label=f"Fetching {name}", file=sys.stderr, hidden=quiet
    ) as bar:

        def progress(file: str, at: int, size: int) -> None:
            bar.update(min(at, size) - done.get(file, 0))
            done[file] = min(at, size)

        files = fetch(model, downloads, progress=progress)
    card = second_mark.install(settings, files, sha256={}, overwrite=overwrite, public=model)
    shutil.rmtree(downloads)
    _emit_audioseal(card, format_)


@models.command()
@click.argument("name")
@click.argument(
    "files",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE...",
)
@click.option(
    "--sha256",
    "hashes",
    multiple=True,
    metavar="NAME=HEX",
    help="Hash of a file that is not one of the pinned public ones.",
)
@click.option("--overwrite", is_flag=True, help="Replace what is installed.")
@format_option
def add(
    name: str, files: tuple[Path, ...], hashes: tuple[str, ...], overwrite: bool, format_: str
) -> None:
    """Install public model NAME from local checkpoint FILEs: .pth, .pt or .safetensors.

    A file is read only if it is the pinned public one or --sha256 names its hash. Of a
    pickle, tensors alone are read; one that holds more is refused.

    \b
    Exit status:
      0  installed
      2  not such files, a hash that nobody named, or it is installed already
      4  a file is not the one its hash names

    \b
    Example:
      safegen models add audioseal generator_base.pth detector_base.pth
    """
    from safegen import second_mark
    from safegen.checkpoints import public_model

    model = public_model(name)
    card = second_mark.install(
        config(), files, sha256=_hashes(hashes), overwrite=overwrite, public=model
    )
    _emit_audioseal(card, format_)


@models.command()
@click.argument("name")
@click.argument(
    "paths",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, path_type=Path),
    metavar="PATH...",
)
@quiet_option
@format_option
def calibrate(name: str, paths: tuple[Path, ...], quiet: bool, format_: str) -> None:
    """Measure unmarked sound, so that model NAME can give a p-value; folders are walked.

    AudioSeal itself knows no chance of error. The smallest p-value it can give afterwards
    is one in the number of windows that were measured.

    \b
    Exit status:
      0  measured
      2  not a model that is calibrated, not installed, or an unreadable file
      4  the weights are damaged

    \b
    Example:
      safegen models calibrate audioseal recordings/
    """
    from safegen import second_mark
    from safegen.audio import load, walk
    from safegen.checkpoints import public_model

    public_model(name)
    files = list(walk(paths))
    with click.progressbar(files, label="Listening", file=sys.stderr, hidden=quiet) as bar:
        table = second_mark.calibrate(config(), (load(path) for path in bar))
    row = {
        "name": name,
        "files": len(files),
        "windows": table.windows,
        "smallest_p_value": 1 / (table.windows + 1),
        "weights_sha256": table.weights_sha256,
    }
    text = f"{name}: {table.windows} windows of {len(files)} files, p-values down to "
    emit(row, text + f"{1 / (table.windows + 1):.1e}", format_)


def _hashes(given: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in given:
        name, _, digits = word.rpartition("=")
        if not name or len(digits) != 64 or set(digits.lower()) - set("0123456789abcdef"):
            raise click.BadParameter(
                f"{word!r} is not NAME=HEX with 64 digits", param_hint="--sha256"
            )
        found[name] = digits
    return found


def _show_audioseal(check: bool, format_: str) -> None:
    from safegen import second_mark
    from safegen.errors import InputError

    settings = config()
    card = second_mark.installed(settings)
    if card is None:
        raise InputError(
            f"audioseal is not installed in {second_mark.folder(settings)}",
            remedy="Run `safegen models pull audioseal`, or `models add audioseal FILE...`.",
        )
    if check:
        second_mark.from_home(settings)
    _emit_audioseal(card, format_)


def _emit_audioseal(card: "Card", format_: str) -> None:
    row = {"name": "audioseal", **asdict(card), "weights_sha256": card.weights_sha256}
    lines = [
        f"audioseal: the second watermark, from {card.origin}",
        f"license     {card.license}",
        "sound       any; the mark is made and heard at 16000 Hz",
        *(
            f"{role:10}  {network.sha256}  ({network.n_filters} filters, "
            f"{network.dimension} wide, {network.lstm} recurrent)"
            for role, network in (("generator", card.generator), ("detector", card.detector))
        ),
    ]
    emit(row, "\n".join(lines), format_)
