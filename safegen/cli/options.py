"""Options and output shared by the commands: state folder, format, lines of JSON."""

import json
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from safegen.config import Config, from_environment
from safegen.errors import InputError

Command = TypeVar("Command", bound=Callable[..., Any])


def format_option(command: Command) -> Command:
    """Add ``--format text|jsonl`` as the parameter ``format_``."""
    return click.option(
        "--format",
        "format_",
        type=click.Choice(["text", "jsonl"]),
        default="text",
        show_default=True,
        help="text for people, jsonl (one object a line) for programs.",
    )(command)


def quiet_option(command: Command) -> Command:
    """Add ``-q/--quiet``, which turns the progress bar on stderr off."""
    return click.option("-q", "--quiet", is_flag=True, help="No progress bar on stderr.")(command)


def scan_option(command: Command) -> Command:
    """Add ``--scan plain|deep`` as the parameter ``scan_name``."""
    return click.option(
        "--scan",
        "scan_name",
        type=click.Choice(["plain", "deep"]),
        default="plain",
        show_default=True,
        help="deep also finds works that were retuned by up to 6 semitones or played up to a "
        "tenth faster or slower; it takes about 40 times as long, 0.2 s for a second of sound.",
    )(command)


def gate_options(command: Command) -> Command:
    """Add what every way through the gate takes: policy, scan, file format, output folder."""
    for option in (
        scan_option,
        click.option(
            "--out",
            type=click.Path(file_okay=False, path_type=Path),
            required=True,
            metavar="DIR",
            help="Output folder; only released files appear there.",
        ),
        click.option(
            "--file-format",
            type=click.Choice(["wav", "flac", "mp3"]),
            default="wav",
            show_default=True,
        ),
        click.option(
            "--policy", "policy_name", default="strict", show_default=True, metavar="NAME|FILE"
        ),
    ):
        command = option(command)
    return command


def prepare_pictures(folder: Path, *, overwrite: bool) -> None:
    """Make a folder for pictures.

    Raises:
        InputError: If it holds pictures already, or cannot be made.
    """
    if folder.is_dir() and next(folder.glob("*.png"), None) is not None and not overwrite:
        raise InputError(
            f"{folder}: holds pictures already", remedy="Name another folder, or add --overwrite."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be made ({error.strerror})", remedy="Name another folder."
        ) from error


def picture_name(file: str, sha256: str) -> str:
    """Name the picture of a file; uploads of one name in two folders do not collide."""
    stem = "".join(c if c.isalnum() or c in "._-" else "_" for c in Path(file).stem)
    return f"{stem[:60]}-{sha256[:12]}.png"


def place_text(match: Mapping[str, Any]) -> str:
    """Say for people which seconds of a sound are which seconds of a work, and how changed."""
    changed = [
        text
        for text, is_changed in (
            (f"{match['semitones']:+.2g} semitones", abs(match["semitones"]) >= 0.05),
            (f"at {match['speed']:.3f} of its speed", abs(match["speed"] - 1.0) >= 0.002),
        )
        if is_changed
    ]
    return (
        f"{match['query_start_seconds']:.1f}-{match['query_end_seconds']:.1f} s is "
        f"{match['reference_start_seconds']:.1f}-{match['reference_end_seconds']:.1f} s of the work"
        + "".join(f", {text}" for text in changed)
    )


def config() -> Config:
    """Read the state folder and database from the environment."""
    return from_environment(os.environ)


def json_line(row: Mapping[str, Any]) -> str:
    """Write one object as one line of standard JSON; NaN is a bug, not a value."""
    return json.dumps(row, ensure_ascii=False, allow_nan=False, separators=(", ", ": "))


def emit(row: Mapping[str, Any], text: str, format_: str, *, err: bool = False) -> None:
    """Print one result, as JSON or as the text made for people.

    It goes to stdout, or with ``err`` to stderr where stdout carries sound.
    """
    click.echo(json_line(row) if format_ == "jsonl" else text, err=err)


def moment(option: str, text: str | None) -> datetime | None:
    """Read a day (midnight UTC) or a time with its zone.

    Raises:
        InputError: If it is neither; the message names the option.
    """
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(
            f"{option} {text!r} is neither a day nor a time",
            remedy="Write 2026-11-21, or 2026-11-21T12:00Z.",
        ) from error
    if found.tzinfo is None and len(text) > len("2026-11-21"):
        raise InputError(f"{option} {text!r} has no time zone", remedy="Write 2026-11-21T12:00Z.")
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found
