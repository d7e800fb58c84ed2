"""How are the items of one command made: one by one, together, or heard as they come?"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import click

from safegen.cli.hearing import Hearing, ListenerLeftError
from safegen.errors import ReleaseBlockedError

if TYPE_CHECKING:
    from safegen.audio import FileFormat
    from safegen.gate import Gate
    from safegen.generation.base import Generator
    from safegen.generation.batches import BatchItem
    from safegen.recording import Release

Progress = Callable[[float], None]
"""Takes the share done of what is being made, in [0, 1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """From a generator through a gate into a folder.

    Attributes:
        gate: Open.
        generator: That makes the sound.
        out: Output folder.
        file_format: "wav", "flac" or "mp3".
        device: Where the generator computes, "cpu" or "cuda".
        precision: In which it computes.
        keep_in: Where requests are kept for a replay; None keeps none.
        input_files: Field of a request that holds a sound -> the file it was read from.
    """

    gate: "Gate"
    generator: "Generator"
    out: Path
    file_format: "FileFormat"
    device: str
    precision: str
    keep_in: Path | None
    input_files: Mapping[str, Path] = field(default_factory=dict)

    def made(self, items: "list[BatchItem]", progress: Progress) -> "list[Release]":
        """Make items, together if they are many; a refusal is returned."""
        requests = [item.request for item in items]
        if len(requests) > 1:
            return self.gate.generate_batch(
                self.generator, requests, progress=progress, **self._told()
            )
        return [
            self.gate.generate(self.generator, request, progress=progress, **self._told())
            for request in requests
        ]

    def heard(self, item: "BatchItem", hearing: Hearing, progress: Progress) -> "Release":
        """Make one item and write what leaves the gate as it leaves; a refusal is returned.

        Raises:
            ListenerLeftError: If nobody reads any more; the stream is broken off then, as by
                an interrupt, and its record named.
        """
        stream = self.gate.stream(self.generator, item.request, progress=progress, **self._told())
        with stream:
            try:
                for chunk in stream:
                    hearing.write(chunk)
            except ReleaseBlockedError:
                pass  # the record tells why, as that of every refusal does
            except (KeyboardInterrupt, ListenerLeftError):
                stream.close()
                with contextlib.suppress(ValueError):  # there is none if nothing had left
                    record_id = stream.release.item.record_id
                    click.echo(f"\nThe stream broke off; its record is {record_id}.", err=True)
                raise
        return stream.release

    def _told(self) -> "_Told":
        return {
            "out": self.out,
            "file_format": self.file_format,
            "device": self.device,
            "precision": self.precision,
            "keep_in": self.keep_in,
            "input_files": self.input_files,
        }


class _Told(TypedDict):
    """What every way of making is told alike."""

    out: Path
    file_format: "FileFormat"
    device: str
    precision: str
    keep_in: Path | None
    input_files: Mapping[str, Path]


def grouped(items: "Iterable[BatchItem]", size: int) -> "Iterator[list[BatchItem]]":
    """Cut items into groups of at most ``size``."""
    rest = iter(items)
    while group := list(islice(rest, size)):
        yield group
