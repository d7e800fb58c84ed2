"""``safegen codec`` with a public codec: EnCodec, DAC or Mimi."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from safegen.cli.options import config, emit
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
    from safegen.generation.known import Known
    from safegen.generation.public_codes import Codes
    from safegen.generation.transformers_models.codecs import PublicCodec

_HEAD_BYTES = 4096


def encode_files(
    model: Known,
    files: tuple[Path, ...],
    out: Path,
    *,
    codebooks: int | None,
    overwrite: bool,
    format_: str,
    quiet: bool,
) -> None:
    """Encode each file into a safetensors file, and say what it holds."""
    from safegen.audio import load
    from safegen.generation import public_codes

    targets = planned(files, out, public_codes.SUFFIX, overwrite=overwrite)
    codec = _loaded(model)
    make_folder(out)
    with progress_bar(targets, "Encoding", quiet=quiet) as bar:
        for path, target in bar:
            coded = codec.encode(load(path), codebooks=codebooks)
            data = public_codes.write(coded, codec)
            with written_whole(target, overwrite=overwrite) as file:
                file.write(data)
            row = {"file": str(path), "path": str(target), **_facts(public_codes.read(data))}
            emit(row, f"{target}  {row['seconds']:.2f} s, {row['bitrate']:.0f} bit/s", format_)


def decode_files(
    model: Known,
    files: tuple[Path, ...],
    out: Path,
    *,
    overwrite: bool,
    format_: str,
    quiet: bool,
) -> None:
    """Decode each file that the same weights wrote into a WAV file."""
    from safegen.audio import encode
    from safegen.generation import public_codes

    if STDIN in files:
        raise InputError("- is not read by public codecs", remedy="Name files.")
    targets = planned(files, out, ".wav", overwrite=overwrite)
    codec = _loaded(model)
    make_folder(out)
    with progress_bar(targets, "Decoding", quiet=quiet) as bar:
        for path, target in bar:
            with opened(path) as source, written_whole(target, overwrite=overwrite) as file:
                found = public_codes.read(source.read(public_codes.MAX_FILE_BYTES + 1))
                public_codes.refuse_other(found, codec.card)
                file.write(encode(codec.decode(found.coded), "wav"))
            row = {"file": str(path), "path": str(target), **_facts(found)}
            row |= {"marked": False, "released": False}
            emit(row, f"{target}  {row['seconds']:.2f} s, not marked, not released", format_)


def refuse_codes(files: tuple[Path, ...]) -> None:
    """Refuse files of public codecs, where none was named.

    Raises:
        InputError: If one is.
    """
    for path in files:
        found = None if path == STDIN or not path.is_file() else told_by(path)
        if found is not None:
            raise InputError(
                f"{path}: codes of {found['model']}, a public codec",
                remedy=f"Decode it with --model {found['model']}, or the folder of that codec.",
            )


def told_by(file: Path) -> dict[str, Any] | None:
    """Say what a file of a public codec holds; None if it is none."""
    from safegen.generation import public_codes

    with opened(file) as source:
        beginning = source.read(_HEAD_BYTES)
        if not public_codes.is_one(beginning):
            return None
        data = beginning + source.read(public_codes.MAX_FILE_BYTES + 1 - len(beginning))
        return {"file": str(file), **_facts(public_codes.read(data))}


def _loaded(model: Known) -> PublicCodec:
    from safegen.generation import public_store
    from safegen.generation.systems import device_of

    if model.checkpoint is None:
        msg = "a public codec has a checkpoint"
        raise ValueError(msg)
    codec: PublicCodec = public_store.build(
        model.checkpoint,
        model.card,
        models=config().models,
        device=device_of(model, "auto"),
        precision="float32",
    )
    return codec


def _facts(found: Codes) -> dict[str, Any]:
    return {
        "seconds": round(found.seconds, 5),
        "samples": found.coded.samples,
        "sample_rate": found.sample_rate,
        "channels": found.coded.channels,
        "codebooks": len(found.coded.codes),
        "size_bytes": found.size_bytes,
        "bitrate": round(8 * found.size_bytes / found.seconds, 1),
        "model": found.model,
        "weights_sha256": found.weights_sha256,
    }
