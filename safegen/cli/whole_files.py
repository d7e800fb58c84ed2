"""How does a command write files whole or not at all, and name what it could not read?"""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

import click

from safegen.errors import InputError, SafegenError

STDIN: Final = Path("-")


def progress_bar(targets: dict[Path, Path], label: str, *, quiet: bool) -> Any:
    """Go through the files, with a progress bar on a terminal."""
    hidden = quiet or not sys.stderr.isatty() or sys.stdout.isatty()
    return click.progressbar(list(targets.items()), label=label, file=sys.stderr, hidden=hidden)


def planned(
    files: tuple[Path, ...], out: Path, suffix: str, *, overwrite: bool
) -> dict[Path, Path]:
    """Name what will be written, before anything is read.

    Raises:
        InputError: If a file is not there, or an output is or would be written twice.
    """
    found: dict[Path, Path] = {}
    for path in files:
        if path != STDIN and not path.is_file():
            raise InputError(f"{path}: no such file", remedy="Check the path.")
        target = out / ("stdin" if path == STDIN else path.stem)
        target = target.with_name(target.name + suffix)
        if target in found.values():
            raise InputError(
                f"{target}: would be written twice", remedy="Use one folder for each of the two."
            )
        if target.exists() and not overwrite:
            raise InputError(f"{target}: exists already", remedy="Add --overwrite to replace it.")
        found[path] = target
    return found


def make_folder(folder: Path) -> None:
    """Make the output folder.

    Raises:
        InputError: If it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be made ({error.strerror})", remedy="Name another folder."
        ) from error


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file or stdin; errors about what is in it name it."""
    try:
        if path == STDIN:
            yield sys.stdin.buffer
            return
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror})",
            remedy="Check the path and its permissions.",
        ) from error
    except SafegenError as error:
        raise type(error)(f"{path}: {error.problem}", remedy=error.remedy) from error


@contextmanager
def written_whole(target: Path, *, overwrite: bool) -> Iterator[BinaryIO]:
    """Write under another name; the file appears when the block ends well, or not at all."""
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
    except OSError as error:
        raise InputError(
            f"{target}: cannot be written ({error.strerror})", remedy="Name another folder."
        ) from error
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        part.chmod(0o644)
        if overwrite:
            part.replace(target)
        else:
            os.link(part, target)
    except FileExistsError as error:
        raise InputError(
            f"{target}: exists already", remedy="Add --overwrite to replace it."
        ) from error
    finally:
        part.unlink(missing_ok=True)
