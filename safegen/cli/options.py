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


def gate_options(command: Command) -> Command:
    """Add what every way through the gate takes: policy, file format, output folder."""
    for option in (
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


def config() -> Config:
    """Read the state folder and database from the environment."""
    return from_environment(os.environ)


def json_line(row: Mapping[str, Any]) -> str:
    """Write one object as one line of standard JSON; NaN is a bug, not a value."""
    return json.dumps(row, ensure_ascii=False, allow_nan=False, separators=(", ", ": "))


def emit(row: Mapping[str, Any], text: str, format_: str) -> None:
    """Print one result on stdout, as JSON or as the text made for people."""
    click.echo(json_line(row) if format_ == "jsonl" else text)


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
