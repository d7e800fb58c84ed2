"""``safegen codec``: sound into codec files and back."""

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from safegen.cli.options import config, emit, format_option, quiet_option
from safegen.errors import InputError, SafegenError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from safegen.generation.bitstream import Head
    from safegen.generation.codec import Codec

_PIECE = 2048
"""Bytes read at a time: 16 s at 1000 bit/s."""
_STDIN = Path("-")

_model_option = click.option(
    "--model",
    "model_name",
    default="codec",
    show_default=True,
    metavar="NAME",
    help="The shipped codec, or an own model with a codec of its own (safegen train codec).",
)


@click.group(name="codec")
def codec_command() -> None:
    """Encode sound into codec files of 250 to 1000 bit/s, and decode them.

    What is decoded is made by the shipped codec and carries its decoder's mark. It has not
    been through the gate: it is neither judged nor signed nor logged. Send it through
    `safegen release` before it leaves the house.

    \b
    Exit status:
      0  done
      1  could not
      2  bad arguments, an unreadable file, or a file of another codec
      4  a codec file is damaged or cut

    \b
    Example:
      safegen codec encode song.wav --codebooks 4 --out small/
      safegen codec decode small/song.sgc --out back/
    """


@codec_command.command()
@click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--codebooks",
    type=click.IntRange(1, 4),
    default=4,
    show_default=True,
    help="Quality: each costs 250 bit/s.",
)
@click.option(
    "--out", required=True, metavar="DIR", type=click.Path(file_okay=False, path_type=Path)
)
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@_model_option
@format_option
@quiet_option
def encode(
    files: tuple[Path, ...],
    codebooks: int,
    out: Path,
    overwrite: bool,
    model_name: str,
    format_: str,
    quiet: bool,
) -> None:
    """Encode each FILE into DIR/NAME.sgc; channels are mixed to one.

    A file is written when it is complete. At the first bad FILE the command stops; those
    before it are done.

    \b
    Exit status:
      0  every file was encoded
      2  bad arguments, a file that exists already, or an unreadable FILE

    \b
    Example:
      safegen codec encode *.wav --codebooks 2 --out small/
    """
    targets = _targets(files, out, ".sgc", overwrite=overwrite)
    from safegen.audio import load
    from safegen.generation import codec_file
    from safegen.generation.bitstream import read

    codec, codec_id = _codec(model_name)
    _make(out)
    with _bar(targets, "Encoding", quiet=quiet) as bar:
        for path, target in bar:
            audio = load(path)
            data = codec_file.encode(audio, codec, codec_id=codec_id, codebooks=codebooks)
            with _complete(target, overwrite=overwrite) as file:
                file.write(data)
            row = {"file": str(path), "path": str(target), **_facts(read(data)[0])}
            emit(row, f"{target}  {row['seconds']:.2f} s, {row['bitrate']:.0f} bit/s", format_)


@codec_command.command()
@click.argument(
    "files",
    metavar="FILE...",
    nargs=-1,
    required=True,
    type=click.Path(allow_dash=True, path_type=Path),
)
@click.option(
    "--out", required=True, metavar="DIR", type=click.Path(file_okay=False, path_type=Path)
)
@click.option(
    "--stream",
    is_flag=True,
    help="Decode while FILE arrives, in little memory; needed above five minutes. With it, "
    "FILE may be - for stdin.",
)
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@_model_option
@format_option
@quiet_option
def decode(
    files: tuple[Path, ...],
    out: Path,
    stream: bool,
    overwrite: bool,
    model_name: str,
    format_: str,
    quiet: bool,
) -> None:
    """Decode each FILE into DIR/NAME.wav, mono, 32 kHz, 16 bits.

    The sound carries the decoder's mark. It has not been through the gate: run
    `safegen release` on it to have it judged, marked as yours, signed and logged.

    A file is written when it is complete. At the first bad FILE the command stops; those
    before it are done.

    \b
    Exit status:
      0  every file was decoded
      2  bad arguments, a file that exists already, or a FILE of another codec
      4  FILE is damaged or cut

    \b
    Example:
      safegen codec decode small/*.sgc --out back/
      curl -s https://example.org/song.sgc | safegen codec decode - --stream --out back/
    """
    if _STDIN in files and not stream:
        raise InputError("- is read only as a stream", remedy="Add --stream.")
    targets = _targets(files, out, ".wav", overwrite=overwrite)
    codec, codec_id = _codec(model_name)
    _make(out)
    with _bar(targets, "Decoding", quiet=quiet) as bar:
        for path, target in bar:
            with _source(path) as source, _complete(target, overwrite=overwrite) as file:
                head, waited = _decode(source, file, codec, codec_id, stream=stream)
            row = {
                "file": str(path),
                "path": str(target),
                **_facts(head),
                "first_sound_after_seconds": round(waited, 3),
                "marked": True,
                "released": False,
            }
            emit(row, f"{target}  {row['seconds']:.2f} s, marked, not released", format_)


@codec_command.command()
@click.argument("file", metavar="FILE.sgc", type=click.Path(path_type=Path))
@format_option
def info(file: Path, format_: str) -> None:
    """Say what a codec file holds, after checking every block of it.

    \b
    Exit status:
      0  the file is whole
      2  it is no codec file, or one of another version
      4  it is damaged or cut

    \b
    Example:
      safegen codec info small/song.sgc
    """
    from safegen.generation.bitstream import Reader

    reader = Reader()
    with _source(file) as source:
        for piece in iter(lambda: source.read(_PIECE), b""):
            reader.feed(piece)
    row = {"file": str(file), **_facts(reader.finish())}
    width = max(map(len, row))
    emit(
        row,
        "\n".join(f"{name.replace('_', ' '):<{width}}  {x}" for name, x in row.items()),
        format_,
    )


def _decode(
    source: BinaryIO, file: BinaryIO, codec: "Codec", codec_id: bytes, *, stream: bool
) -> "tuple[Head, float]":
    """Write the sound as WAV; give the head and the seconds until there was sound."""
    import wave

    from safegen.generation import codec_file
    from safegen.generation.bitstream import MAX_FILE_BYTES, read
    from safegen.generation.codec_stream import StreamDecoder

    begun, waited = time.monotonic(), 0.0
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(32_000)
        if not stream:
            # One byte more than a file can have is enough to see that it is too long.
            data = source.read(MAX_FILE_BYTES + 1)
            audio = codec_file.decode(data, codec, codec_id=codec_id)
            sound.writeframes(_pcm(audio.waveform))
            return read(data)[0], time.monotonic() - begun
        decoder = StreamDecoder(codec, codec_id=codec_id)
        for piece in iter(lambda: source.read(_PIECE), b""):
            part = decoder.feed(piece)
            if part is not None:
                waited = waited or time.monotonic() - begun
                sound.writeframes(_pcm(part.waveform))
        part = decoder.finish()
        if part is not None:
            waited = waited or time.monotonic() - begun
            sound.writeframes(_pcm(part.waveform))
    if decoder.head is None:
        msg = "a finished stream has a head"
        raise ValueError(msg)
    return decoder.head, waited


def _pcm(waveform: "npt.NDArray[np.float32]") -> bytes:
    import numpy as np

    return bytes(np.round(np.clip(waveform[0], -1.0, 1.0) * 32_767).astype("<i2"))


def _facts(head: "Head") -> dict[str, Any]:
    from safegen.generation.codec_file import shipped_codec_id

    return {
        "seconds": round(head.seconds, 5),
        "samples": head.samples,
        "sample_rate": 32_000,
        "codebooks": head.codebooks,
        "size_bytes": head.size_bytes,
        "bitrate": round(8 * head.size_bytes / head.seconds, 1),
        "gain": head.gain,
        "codec": head.codec_id.hex(),
        "is_shipped_codec": head.codec_id == shipped_codec_id(),
    }


def _codec(model_name: str) -> "tuple[Codec, bytes]":
    """Load the codec of a model, and say which one it is."""
    from safegen.generation.cards import WEIGHTS
    from safegen.generation.codec_file import codec_id_of
    from safegen.generation.known import find
    from safegen.generation.parts import codec_of

    found = find(model_name, models=config().models)
    if not any(file.role == "codec" for file in found.card.files):
        raise InputError(f"{model_name} has no codec", remedy="Use the one that ships: codec.")
    return codec_of(found.card, folder=found.folder or WEIGHTS), codec_id_of(found.card)


def _bar(targets: dict[Path, Path], label: str, *, quiet: bool) -> Any:
    hidden = quiet or not sys.stderr.isatty() or sys.stdout.isatty()
    return click.progressbar(list(targets.items()), label=label, file=sys.stderr, hidden=hidden)


def _targets(
    files: tuple[Path, ...], out: Path, suffix: str, *, overwrite: bool
) -> dict[Path, Path]:
    """Name what will be written, before anything is read."""
    found: dict[Path, Path] = {}
    for path in files:
        if path != _STDIN and not path.is_file():
            raise InputError(f"{path}: no such file", remedy="Check the path.")
        target = out / ("stdin" if path == _STDIN else path.stem)
        target = target.with_name(target.name + suffix)
        if target in found.values():
            raise InputError(
                f"{target}: would be written twice", remedy="Use one folder for each of the two."
            )
        if target.exists() and not overwrite:
            raise InputError(f"{target}: exists already", remedy="Add --overwrite to replace it.")
        found[path] = target
    return found


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be made ({error.strerror})", remedy="Name another folder."
        ) from error


@contextmanager
def _source(path: Path) -> Iterator[BinaryIO]:
    """Open a file or stdin; errors about what is in it name it."""
    try:
        if path == _STDIN:
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
def _complete(target: Path, *, overwrite: bool) -> Iterator[BinaryIO]:
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
