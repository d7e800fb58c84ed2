"""``safegen models pull`` and ``add``: public checkpoints, from the hub or from files."""

import shlex
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from safegen.cli.options import config, emit, format_option, quiet_option
from safegen.errors import InputError

if TYPE_CHECKING:
    from detectors.audioseal import Card
    from safegen.generation.public_arrivals import Arrival
    from safegen.generation.public_card import Checkpoint

_AUDIOCRAFT = 2
"""Files of a model in audiocraft's layout: the language model and the codec."""

accept_option = click.option(
    "--accept-license",
    "is_accepted",
    is_flag=True,
    help="Accept the license of the model, where it asks for that; today's date goes into the "
    "records of what it makes.",
)


@click.command()
@click.argument("name")
@click.option("--revision", default="", help="Branch, tag or commit. Default: the main branch.")
@accept_option
@click.option("--overwrite", is_flag=True, help="Replace what is installed.")
@quiet_option
@format_option
def pull(
    name: str, revision: str, is_accepted: bool, overwrite: bool, quiet: bool, format_: str
) -> None:
    """Fetch public model NAME from the hub, check it, and install it as safetensors.

    NAME is OWNER/NAME on the hub, or audioseal, the second watermark. What was fetched in
    part is continued. Every file is compared with the hash that the hub lists at one commit.

    \b
    Exit status:
      0  installed
      1  the network did not give the files; the message says how to go without
      2  no such model, it is installed already, or its license was not accepted
      4  what came is not the listed file

    \b
    Example:
      safegen models pull facebook/musicgen-small --accept-license
    """
    from safegen.checkpoints import PUBLIC_MODELS
    from safegen.generation import public_arrivals, public_pull

    if name in {model.name for model in PUBLIC_MODELS}:
        if revision:
            raise InputError(f"{name} is pinned to one revision", remedy="Leave --revision out.")
        _pull_audioseal(name, overwrite=overwrite, quiet=quiet, format_=format_)
        return
    models = config().models
    options = f" --revision {shlex.quote(revision)}" if revision else ""
    options += " --overwrite" if overwrite else ""
    arrival = public_pull.look(name, revision=revision, models=models, overwrite=overwrite)
    public_arrivals.check_consent(
        arrival, is_accepted=is_accepted, command=f"safegen models pull {name}{options}"
    )
    _tell(arrival)
    with click.progressbar(
        length=arrival.weights_bytes, label=f"Fetching {name}", file=sys.stderr, hidden=quiet
    ) as bar:
        made = public_pull.pull(
            arrival, models=models, day=_today(), overwrite=overwrite, progress=bar.update
        )
    _emit(made, format_)


@click.command()
@click.argument("name")
@click.argument(
    "paths",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, path_type=Path),
    metavar="FOLDER|FILE...",
)
@click.option(
    "--sha256",
    "hashes",
    multiple=True,
    metavar="NAME=HEX",
    help="Hash that a file must have; every pickle that is not pinned here needs one.",
)
@click.option("--convert", is_flag=True, help="Read the tensors of pickles, write safetensors.")
@click.option(
    "--text-encoder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="T5 of a model in audiocraft's layout, such as AudioGen's google-t5/t5-large.",
)
@click.option(
    "--license",
    "license_",
    default="",
    metavar="TEXT",
    help="License of the model, where neither its files nor its name tell.",
)
@accept_option
@click.option("--overwrite", is_flag=True, help="Replace what is installed.")
@quiet_option
@format_option
def add(
    name: str,
    paths: tuple[Path, ...],
    hashes: tuple[str, ...],
    convert: bool,
    text_encoder: Path | None,
    license_: str,
    is_accepted: bool,
    overwrite: bool,
    quiet: bool,
    format_: str,
) -> None:
    """Install public model NAME from a local FOLDER, or from checkpoint FILEs.

    NAME is OWNER/NAME as on the hub, or a name of your own. FOLDER holds a checkpoint of
    transformers or diffusers; a snapshot in the hub's own cache is one. A pickle is read
    only with --convert and if --sha256 names its hash; of it, tensors alone are read.

    FILEs are AudioSeal's generator and detector, or state_dict.bin and
    compression_state_dict.bin of AudioGen, with the folder of its T5 as --text-encoder.

    \b
    Exit status:
      0  installed
      2  not such files, a hash that nobody named, it is installed already, or its license
         was not accepted
      4  a file is not the one its hash names

    \b
    Example:
      safegen models add facebook/musicgen-small ~/musicgen-small --accept-license
    """
    from safegen.checkpoints import PUBLIC_MODELS
    from safegen.generation import public_add, public_arrivals

    told = _hashes(hashes)
    if name in {model.name for model in PUBLIC_MODELS}:
        if convert or text_encoder or license_ or any(path.is_dir() for path in paths):
            raise InputError(
                f"{name} is added from two files",
                remedy=f"Run `safegen models add {name} FILE FILE`.",
            )
        _add_audioseal(name, paths, told, overwrite=overwrite, format_=format_)
        return
    models = config().models
    given = [x for word in hashes for x in ("--sha256", word)]
    given += ["--convert"] if convert else []
    given += ["--text-encoder", str(text_encoder)] if text_encoder else []
    given += ["--license", license_] if license_ else []
    given += ["--overwrite"] if overwrite else []
    given += ["--accept-license"] if is_accepted else []
    command = shlex.join(["safegen", "models", "add", name, *map(str, paths), *given])
    if text_encoder is not None:
        if len(paths) != _AUDIOCRAFT or any(path.is_dir() for path in paths) or convert:
            raise InputError(
                "--text-encoder goes with two files in audiocraft's layout",
                remedy="Name state_dict.bin, then compression_state_dict.bin.",
            )
        made = public_add.add_audiocraft(
            name,
            public_add.Audiocraft(
                lm=paths[0], compression=paths[1], text_encoder=text_encoder, hashes=told
            ),
            license_=license_,
            is_accepted=is_accepted,
            command=command,
            models=models,
            day=_today(),
            overwrite=overwrite,
        )
        _emit(made, format_)
        return
    if len(paths) != 1 or not paths[0].is_dir():
        raise InputError(
            f"{', '.join(map(str, paths))}: no folder of a checkpoint",
            remedy="Name one folder with config.json or model_index.json; with AudioGen's two "
            "files add --text-encoder FOLDER.",
        )
    arrival = public_add.at(
        name, paths[0], license_=license_, is_converted=convert, command=command
    )
    public_arrivals.check_consent(arrival, is_accepted=is_accepted, command=command)
    _tell(arrival)
    with click.progressbar(
        length=arrival.size_bytes, label=f"Adding {name}", file=sys.stderr, hidden=quiet
    ) as bar:
        made = public_add.add(
            arrival,
            hashes=told,
            models=models,
            day=_today(),
            overwrite=overwrite,
            progress=bar.update,
        )
    _emit(made, format_)


def file_lines(found: "Checkpoint") -> list[str]:
    """Write a line for each file: hash, length, name."""
    return [
        f"file        {file.sha256}  {file.size_bytes:>13,}  {file.name}"
        for file in found.public.files
    ]


def emit_audioseal(card: "Card", format_: str) -> None:
    """Print what is installed of AudioSeal."""
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


def _tell(arrival: "Arrival") -> None:
    """Say what is about to come, before it does."""
    source = f" ({arrival.license.source})" if arrival.license.source else ""
    what = f"{len(arrival.weights)} files of weights" if len(arrival.weights) > 1 else "weights"
    pickles = ", pickles that are converted" if arrival.pickles else ""
    click.echo(
        f"{arrival.name}: {arrival.family.title}, {arrival.size_bytes / 1e9:.2f} GB with {what}"
        f"{pickles}; license {arrival.license.name}{source}",
        err=True,
    )


def _emit(made: "Checkpoint", format_: str) -> None:
    from safegen.generation.public_licenses import UNKNOWN

    public = made.public
    row = {**asdict(public), "size_bytes": public.size_bytes, "folder": str(made.folder)}
    accepted = f", accepted on {public.accepted}" if public.accepted else ""
    lines = [
        f"{public.name}: installed from {public.origin}",
        f"license     {public.license}{accepted}",
        f"size        {public.size_bytes / 1e9:.3f} GB",
        *file_lines(made),
        f"folder      {made.folder}",
    ]
    emit(row, "\n".join(lines), format_)
    if public.license == UNKNOWN and made.family.role == "generator":
        click.echo(
            f"{public.name}: nobody told its license, and strict refuses everything it makes "
            f"until `safegen models add {public.name} FOLDER --license LICENSE --overwrite` does.",
            err=True,
        )


def _pull_audioseal(name: str, *, overwrite: bool, quiet: bool, format_: str) -> None:
    import shutil

    from safegen import second_mark
    from safegen.checkpoints import fetch, public_model

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
    emit_audioseal(card, format_)


def _add_audioseal(
    name: str, files: tuple[Path, ...], hashes: dict[str, str], *, overwrite: bool, format_: str
) -> None:
    from safegen import second_mark
    from safegen.checkpoints import public_model

    model = public_model(name)
    card = second_mark.install(config(), files, sha256=hashes, overwrite=overwrite, public=model)
    emit_audioseal(card, format_)


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


def _today() -> str:
    return datetime.now(UTC).date().isoformat()
