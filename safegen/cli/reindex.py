"""``safegen catalog reindex``: make the index of the catalog anew from the database."""

import sys
import time
from typing import TYPE_CHECKING

import click

from safegen.cli.options import config, emit, format_option, quiet_option
from safegen.errors import InputError, SafegenError

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar

    from registry.reindexing import Progress


@click.command()
@click.option("--engine", "only", default="", metavar="NAME", help="[default: every engine]")
@format_option
@quiet_option
def reindex(only: str, format_: str, quiet: bool) -> None:
    """Make the index that works are found by anew, from the database.

    It is made when it is first needed and follows the catalog by itself; this command
    does it ahead of time, or after a disk lost some of it. Until the new index is whole
    the old one is used. A run that was stopped goes on where it was.

    \b
    Exit status:
      0  the index is whole
      1  the database or the folder cannot be used
      2  no such engine

    \b
    Example:
      safegen catalog reindex --engine chromaprint
    """
    from registry import schema
    from registry.reindexing import inspect, rebuild
    from safegen.matching import INDEXES

    if only and only not in INDEXES:
        raise InputError(f"{only}: no such engine", remedy=f"Known are {', '.join(INDEXES)}.")
    settings = config()
    with schema.open_database(settings.database_url) as database:
        for name in (only,) if only else tuple(INDEXES):
            folder = settings.index / name
            started = time.monotonic()
            bars = _Bars(name, quiet=quiet)
            try:
                rebuild(database, INDEXES[name], folder, on_progress=bars.advance)
            except OSError as error:
                raise SafegenError(
                    f"{folder}: cannot be written to ({error.strerror or error})",
                    remedy="Free some space or mend the folder's rights, then run it again.",
                ) from error
            finally:
                bars.finish()
            with database.read() as session:
                state = inspect(session, INDEXES[name], folder)
            seconds = time.monotonic() - started
            works, size = (state.works, state.size_bytes) if state else (0, 0)
            row = {
                "engine": name,
                "works": works,
                "size_bytes": size,
                "seconds": round(seconds, 3),
                "path": str(folder),
            }
            emit(row, f"{name}: {works} works, {size / 1e6:.1f} MB, {seconds:.1f} s", format_)


class _Bars:
    """Draws one bar for reading and one for merging, with works a second and the time left."""

    def __init__(self, name: str, *, quiet: bool) -> None:
        self._name = name
        self._hidden = quiet or not sys.stderr.isatty()
        self._started = time.monotonic()
        self._first: int | None = None
        self._bar: ProgressBar[str] | None = None

    def advance(self, progress: "Progress") -> None:
        """Move the bar of this stage."""
        label = f"{self._name}, {'reading' if progress.stage == 'read' else 'merging'}"
        if self._bar is None or self._bar.label != label:
            self.finish()
            self._bar = click.progressbar(
                length=progress.total, label=label, file=sys.stderr, hidden=self._hidden,
                item_show_func=lambda pace: pace or "",
            )  # fmt: skip
        if self._first is None:
            self._first = progress.done  # what an earlier run did says nothing about the pace
        seconds = max(time.monotonic() - self._started, 1e-3)
        pace = f"{(progress.done - self._first) / seconds:.0f} works/s"
        self._bar.update(progress.done - self._bar.pos, pace if progress.stage == "read" else "")

    def finish(self) -> None:
        """End the line of the bar."""
        if self._bar is not None:
            self._bar.render_finish()
