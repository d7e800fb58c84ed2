"""List the models, shipped and own, and put public checkpoints beside them."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from safegen.cli.models_public import add, emit_audioseal, file_lines, pull
from safegen.cli.options import config, emit, format_option, quiet_option

if TYPE_CHECKING:
    from safegen.generation.known import Known


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


models.add_command(pull)
models.add_command(add)


@models.command(name="list")
@click.option("--all", "is_all", is_flag=True, help="Also public models that could be fetched.")
@format_option
def list_command(is_all: bool, format_: str) -> None:
    """List the models by name: those that ship, are installed, or were trained here.

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
    from safegen.generation import own, plugin_generators, public_store
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
    names = set()
    for public in public_store.installed(config().models):
        card, told = public.card, public.public
        names.add(told.name)
        row = {
            "name": told.name,
            "version": card.version,
            "default": False,
            "own": False,
            "installed": True,
            "license": told.license,
            "sample_rate": card.sample_rate,
            "parameters": card.parameters,
            "weights_sha256": card.weights_sha256,
            "family": told.family,
            "size_bytes": told.size_bytes,
            "folder": str(public.folder),
        }
        size = f"{told.size_bytes / 1e9:.2f} GB"
        emit(row, f"{told.name} (public, {size}): {card.summary} {told.license}", format_)
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
    if is_all:
        _emit_known(names, format_)


def _emit_known(installed: set[str], format_: str) -> None:
    """Print the public models that are known and not installed."""
    from safegen.generation.public_families import FAMILIES
    from safegen.generation.public_licenses import known_license

    for family in FAMILIES:
        for name in family.repositories:
            if name in installed:
                continue
            license_ = known_license(name)
            row = {
                "name": name,
                "version": "",
                "default": False,
                "own": False,
                "installed": False,
                "license": license_,
                "sample_rate": None,
                "parameters": None,
                "weights_sha256": "",
                "family": family.key,
            }
            text = f"{name} (not installed): {family.title}, a {family.role}. {license_}"
            emit(row, text, format_)


@models.command()
@click.argument("name")
@click.option("--check", is_flag=True, help="Compare the installed files with their hashes.")
@format_option
def show(name: str, check: bool, format_: str) -> None:
    """Show the card of model NAME, or of the public checkpoint in a folder.

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
    from safegen.generation import public_store
    from safegen.generation.cards import checked_path
    from safegen.generation.known import find

    if name in {model.name for model in PUBLIC_MODELS}:
        _show_audioseal(check, format_)
        return
    folder = config().models
    known = find(name, models=folder)
    if check and known.checkpoint is not None:
        public_store.check_files(known.checkpoint, models=folder, afresh=True)
    elif check and known.folder is not None:
        for file in known.card.files:
            checked_path(file, folder=known.folder)
    lines = [*_card_lines(known), *_origin_lines(known)]
    if check:
        lines.append("checked     every file is the one this card names")
    emit(_card_row(known), "\n".join(lines), format_)


def _card_row(known: "Known") -> dict[str, object]:
    found = known.card
    row: dict[str, object] = {
        **asdict(found),
        "weights_sha256": found.weights_sha256,
        "training_manifest_sha256": found.training_manifest_sha256,
    }
    if known.own is not None:
        row |= {"own": asdict(known.own.own), "folder": str(known.folder)}
    if known.checkpoint is not None:
        public = known.checkpoint.public
        row |= {"public": asdict(public), "folder": str(known.folder)}
        row |= {"size_bytes": public.size_bytes}
    return row


def _card_lines(known: "Known") -> list[str]:
    found = known.card
    if known.kind == "plugin":
        return [f"{found.name} {found.version}: {found.summary}", f"license     {found.license}"]
    channels = "" if known.checkpoint else "mono, "
    lines = [
        f"{found.name} {found.version}: {found.summary}",
        f"license     {found.license}",
        # Of a package's generator, only the package knows.
        f"sound       {channels}{found.sample_rate} Hz, "
        f"{found.shortest_seconds:g} to {found.longest_seconds:g} s"
        if found.sample_rate
        else "sound       told by the package",
        *([f"parameters  {found.parameters:,}"] if found.sample_rate else []),
        f"learned     {found.training_data}",
        f"takes       {', '.join(('prompt', *found.accepts)).replace('_', ' ')}",
        f"limits      {found.limits}",
        f"own mark    {found.mark}",
    ]
    lines += [f"measured    {found.measured}"] if found.measured else []
    return lines + ([f"after       {found.after}"] if found.after else [])


def _origin_lines(known: "Known") -> list[str]:
    """Say where a model lives, what its files are, and who answers for its license."""
    if known.checkpoint is None:
        lines = [f"file        {file.sha256}  {file.name}" for file in known.card.files]
        lines += [f"recipe      {recipe}" for recipe in known.card.recipes]
        return lines + ([f"folder      {known.folder}"] if known.own else [])
    public = known.checkpoint.public
    accepted = f"; accepted on {public.accepted}" if public.accepted else ""
    return [
        f"consent     {_told(public.license_source)}{accepted}",
        f"from        {public.origin}",
        f"size        {public.size_bytes / 1e9:.3f} GB",
        *file_lines(known.checkpoint),
        f"folder      {known.folder}",
    ]


def _told(source: str) -> str:
    """Say who told a license."""
    if not source:
        return "no license was told"
    # Cards that were written before say "of".
    known = source.replace("known of ", "known for ")
    return f"license {known}" if known.startswith("known ") else f"license told by {known}"


@models.command()
@click.argument("name")
@format_option
def remove(name: str, format_: str) -> None:
    """Delete own or public model NAME with all its files; records of what it made stay.

    \b
    Exit status:
      0  deleted
      2  no own or installed public model of this name
      4  its card is damaged; delete its folder by hand

    \b
    Example:
      safegen models remove my-music-flow
    """
    from safegen.generation import own, public_store

    folder = config().models
    if public_store.find(name, models=folder) is not None:
        public_store.remove(name, models=folder)
    else:
        own.remove(name, models=folder)
    emit({"name": name, "removed": True}, f"{name}: deleted", format_)


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
    emit_audioseal(card, format_)
