"""``safegen codec``: sound into codec files and back."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from safegen.cli.options import config, emit, format_option, quiet_option
from safegen.cli.whole_files import (
    STDIN,
    make_folder,
    opened,
    planned,
    progress_bar,
    written_whole,
)
from safegen.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from safegen.generation.bitstream import Head
    from safegen.generation.codec import Codec
    from safegen.generation.known import Known

_PIECE = 2048
"""Bytes read at a time: 16 s at 1000 bit/s."""

_model_option = click.option(
    "--model",
    "model_name",
    default="codec",
    show_default=True,
    metavar="NAME",
    help="The shipped codec, an own model with a codec of its own (safegen train codec), or a "
    "public codec: EnCodec, DAC or Mimi, as OWNER/NAME or as a folder.",
)
_accept_option = click.option(
    "--accept-license",
    "is_accepted",
    is_flag=True,
    help="Accept the license of a public codec in a folder.",
)


@click.group(name="codec")
def codec_command() -> None:
    """Encode sound into codec files of 250 to 1000 bit/s, and decode them.

    What is decoded is made by the shipped codec and carries its decoder's mark. It has not
    been through the gate: it is neither judged nor signed nor logged. Send it through
    `safegen release` before it leaves the house.

    Public codecs (EnCodec, DAC, Mimi) write their codes into safetensors files. What they
    decode carries no mark, not even a decoder's, and has not been through the gate either.

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
    type=click.IntRange(min=1),
    default=None,
    help="Quality: each of the shipped codec's 4 costs 250 bit/s; what one of a public codec "
    "costs says `safegen models show`.  [default: all]",
)
@click.option(
    "--out", required=True, metavar="DIR", type=click.Path(file_okay=False, path_type=Path)
)
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@_model_option
@_accept_option
@format_option
@quiet_option
def encode(
    files: tuple[Path, ...],
    codebooks: int | None,
    out: Path,
    overwrite: bool,
    model_name: str,
    is_accepted: bool,
    format_: str,
    quiet: bool,
) -> None:
    """Encode each FILE into DIR/NAME.sgc; channels are mixed to one.

    With --model and a public codec it is DIR/NAME.safetensors, which only the same weights
    decode, at the codec's rate and with its channels.

    A file is written when it is complete. At the first bad FILE the command stops; those
    before it are done.

    \b
    Exit status:
      0  every file was encoded
      2  bad arguments, a file that exists already, or an unreadable FILE

    \b
    Example:
      safegen codec encode *.wav --codebooks 2 --out small/
      safegen codec encode *.wav --model facebook/encodec_24khz --codebooks 8 --out small/
    """
    public = _public(model_name, is_accepted=is_accepted)
    if public is not None:
        from safegen.cli.codec_public import encode_files

        encode_files(
            public, files, out,
            codebooks=codebooks, overwrite=overwrite, format_=format_, quiet=quiet,
        )  # fmt: skip
        return
    targets = planned(files, out, ".sgc", overwrite=overwrite)
    from safegen.audio import load
    from safegen.generation import codec_file
    from safegen.generation.bitstream import read

    codec, codec_id = _codec(model_name)
    codebooks = _checked(codebooks, codec)
    make_folder(out)
    with progress_bar(targets, "Encoding", quiet=quiet) as bar:
        for path, target in bar:
            audio = load(path)
            data = codec_file.encode(audio, codec, codec_id=codec_id, codebooks=codebooks)
            with written_whole(target, overwrite=overwrite) as file:
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
@_accept_option
@format_option
@quiet_option
def decode(
    files: tuple[Path, ...],
    out: Path,
    stream: bool,
    overwrite: bool,
    model_name: str,
    is_accepted: bool,
    format_: str,
    quiet: bool,
) -> None:
    """Decode each FILE into DIR/NAME.wav, 16 bits, mono and 32 kHz unless --model is public.

    The sound carries the decoder's mark. It has not been through the gate: run
    `safegen release` on it to have it judged, marked as yours, signed and logged.

    With --model and a public codec FILE is the .safetensors that it wrote, and the sound has
    the codec's rate and channels. It is no generator and its decoder writes no mark: what
    comes out is as little marked as what was encoded.

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
    public = _public(model_name, is_accepted=is_accepted)
    if public is not None:
        from safegen.cli.codec_public import decode_files

        if stream:
            raise InputError(
                f"{model_name} decodes no streams", remedy="Leave --stream out, and name files."
            )
        decode_files(public, files, out, overwrite=overwrite, format_=format_, quiet=quiet)
        return
    if STDIN in files and not stream:
        raise InputError("- is read only as a stream", remedy="Add --stream.")
    from safegen.cli.codec_public import refuse_codes

    targets = planned(files, out, ".wav", overwrite=overwrite)
    refuse_codes(files)
    codec, codec_id = _codec(model_name)
    make_folder(out)
    with progress_bar(targets, "Decoding", quiet=quiet) as bar:
        for path, target in bar:
            with opened(path) as source, written_whole(target, overwrite=overwrite) as file:
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
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
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
    from safegen.cli.codec_public import told_by
    from safegen.generation.bitstream import Reader

    public = told_by(file)
    if public is not None:
        emit(public, _table(public), format_)
        return
    reader = Reader()
    with opened(file) as source:
        for piece in iter(lambda: source.read(_PIECE), b""):
            reader.feed(piece)
    row = {"file": str(file), **_facts(reader.finish())}
    emit(row, _table(row), format_)


def _table(row: dict[str, Any]) -> str:
    width = max(map(len, row))
    return "\n".join(f"{name.replace('_', ' '):<{width}}  {x}" for name, x in row.items())


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


def _public(model_name: str, *, is_accepted: bool) -> "Known | None":
    """Look a public codec up; None if the name stands for another model."""
    if model_name == "codec":
        return None
    from datetime import UTC, datetime

    from safegen.generation.known import find, usable

    models = config().models
    found = find(model_name, models=models)
    if found.checkpoint is None:
        return None
    if found.checkpoint.family.role != "codec":
        raise InputError(
            f"{model_name}, {found.checkpoint.family.called}, is no codec",
            remedy="Name an EnCodec, a DAC or a Mimi.",
        )
    day = datetime.now(UTC).date().isoformat() if is_accepted else ""
    return usable(model_name, models=models, accepted=day)


def _checked(codebooks: int | None, codec: "Codec") -> int:
    most = codec.config.codebooks
    if codebooks is not None and codebooks > most:
        raise InputError(
            f"{codebooks} codebooks, the codec has {most}", remedy=f"Choose 1 to {most}."
        )
    return codebooks or most


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
