"""``safegen detectors explain``: what does the classifier hear in these files, and why?"""

from pathlib import Path
from typing import Any

import click

from safegen.cli.options import (
    config,
    emit,
    format_option,
    picture_name,
    prepare_pictures,
)
from safegen.errors import InputError


@click.command()
@click.argument(
    "paths", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--out",
    "out",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Also draw a picture of each file here: spectrum, timeline, marks.",
)
@click.option("--overwrite", is_flag=True, help="Replace pictures that DIR holds.")
@format_option
def explain(paths: tuple[Path, ...], out: Path | None, overwrite: bool, format_: str) -> None:
    """Say what each FILE sounds like to the classifier of synthetic audio, and why.

    Folders are walked. Only this one question is asked, nothing is judged or logged. Our
    own marks are listened for, too, where this installation has keys: what is known goes
    before what is guessed. No answer says that people made a sound.

    \b
    Exit status:
      0  every file was heard
      1  something failed
      2  bad arguments or an unreadable file

    \b
    Example:
      safegen detectors explain uploads/ --out pictures
    """
    from detectors import decoder_mark
    from safegen import watermark
    from safegen.audio import load, sha256_file, walk
    from safegen.provenance.keys import KeyStore
    from safegen.recording import intervals_json, mark_json
    from safegen.synthesis import classifier_of, origin_of, synthesis_json

    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder", remedy="Check the path.")
    files = tuple(walk(paths))
    if not files:
        raise InputError(
            f"{', '.join(map(str, paths))}: no audio file found", remedy="Name another folder."
        )
    if out is not None:
        prepare_pictures(out, overwrite=overwrite)
    settings = config()
    store = KeyStore(settings.keys)
    keys = store.watermark_keys() if store.exists else None
    inflation = watermark.inflation_of(settings)
    classify = classifier_of(settings)
    is_readable = True
    for path in files:
        try:
            audio = load(path)
        except InputError as error:
            is_readable = False
            click.echo(f"Error: {error}", err=True)
            continue
        finding = classify(audio)
        mark = None
        if keys is not None:
            mark = watermark.detect(audio, keys=keys, inflation=inflation)
        root = decoder_mark.hear(audio.waveform, audio.sample_rate)
        origin = origin_of(finding, mark=mark, root=root)
        row: dict[str, Any] = {
            "file": str(path),
            "sha256": sha256_file(path),
            "seconds": round(audio.seconds, 3),
            "synthetic": synthesis_json(finding, origin),
            "watermark": None if mark is None else mark_json(mark),
            "decoder_mark": {
                "detected": root.detected,
                "p_value": root.p_value,
                "intervals": intervals_json(root.intervals),
            },
        }
        if out is not None:
            from safegen.synthesis_picture import explanation_png

            drawn = out / picture_name(path.name, row["sha256"])
            drawn.write_bytes(
                explanation_png(audio, finding, origin, name=path.name, mark=mark, root=root)
            )
            row["explanation"] = str(drawn)
        emit(row, _text(row), format_)
    if not is_readable:
        raise SystemExit(InputError.exit_code)


def _text(row: dict[str, Any]) -> str:
    """Write an answer for people: what, why, who was asked, which lines stand out."""
    from safegen.synthesis_words import headline, sentences

    found = row["synthetic"]
    lines = [
        f"{found['verdict'] or 'no answer'}: {row['file']}",
        f"  {headline(found)}",
        *(f"  {sentence}" for sentence in sentences(found)),
    ]
    lines += [
        f"  asked  {head['name']:20} {_number(head['llr'], '+.1f'):>6}  "
        f"p {_number(head['p_value'], '.2g')}"
        for head in found["heads"]
    ]
    lines += [
        f"  line   {_number(peak['hz'], '.0f')} Hz, {_number(peak['excess_db'], '+.1f')} dB"
        + (f", stride {peak['stride']}" if peak["stride"] else "")
        for peak in found["peaks"][:6]
    ]
    if "explanation" in row:
        lines.append(f"  drawn  {row['explanation']}")
    return "\n".join(lines)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
