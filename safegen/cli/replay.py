"""``safegen replay``: is a released sound made again, bit for bit?"""

import importlib.metadata
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import click

from safegen.cli.asking import load_sounds, sound_options
from safegen.cli.options import config, emit, format_option, quiet_option
from safegen.errors import InputError, IntegrityError, SafegenError

if TYPE_CHECKING:
    from collections.abc import Callable

    from safegen.generation.base import Request
    from safegen.replay import Given, Original, Replay


@click.command()
@click.argument("record_id", metavar="RECORD_ID")
@click.option("--prompt", help="What was asked, if the request was not kept.")
@click.option("--negative-prompt", default="", help="The same of the negative prompt.")
@sound_options
@click.option(
    "--chapter",
    "chapter_prompts",
    multiple=True,
    metavar="PROMPT",
    help="The same of a story's prompts, in order; where they start is in the record.",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="auto: where it was generated.",
)
@format_option
@quiet_option
def replay(
    record_id: str,
    prompt: str | None,
    negative_prompt: str,
    melody_file: Path | None,
    continue_file: Path | None,
    source_file: Path | None,
    chapter_prompts: tuple[str, ...],
    device: str,
    format_: str,
    quiet: bool,
) -> None:
    """Generate the output of RECORD_ID again and compare it with its record.

    The request comes from the private file that `safegen generate` kept. Without one,
    name the prompt and the input sounds; the record's commitments tell whether they are
    the ones. The samples are compared as they were before the mark, and the released
    file, if it still lies where it was released, by its hash. Nothing is written.

    \b
    Exit status:
      0  the same, bit for bit
      1  cannot be made again: foreign sound, or refused before it was made
      2  no such record, or another request than the record's
      3  it differs; what has changed since then is named
      4  the record is not what was logged, or weights are damaged

    \b
    Example:
      safegen replay 0198c0de-0000-7000-8000-000000000000
    """
    from registry import schema
    from safegen.audio import MAX_SECONDS
    from safegen.generation.systems import load
    from safegen.provenance.keys import KeyStore
    from safegen.provenance.log import open_log
    from safegen.provenance.record import commitment_salt
    from safegen.replay import Given, find
    from safegen.replay import replay as replay_one
    from safegen.requested import this_build

    record_id = _record_id(record_id)
    given = Given(
        prompt=prompt or "",
        negative_prompt=negative_prompt,
        chapters=chapter_prompts,
        sounds=load_sounds(
            melody=melody_file,
            continue_from=continue_file,
            source=source_file,
            max_seconds=MAX_SECONDS,
        ),
    )
    settings = config()
    keys = KeyStore(settings.keys)
    database = schema.open_database(settings.database_url)
    try:
        original = find(database, open_log(database, keys), record_id)
    finally:
        database.close()
    key = keys.commitment_key()

    def salt(name: str) -> bytes:
        return commitment_salt(key, record_id=record_id, name=name)

    request = _request(original, given, folder=settings.requests, salt=salt)
    _check_known(original, settings.models)
    where = (
        str(original.entry.get("build", {}).get("device", "cpu")) if device == "auto" else device
    )
    precision = str(original.entry.get("build", {}).get("precision", "float32"))
    generator = load(original.model_name, device=where, precision=precision, models=settings.models)
    hidden = quiet or not sys.stderr.isatty()
    with click.progressbar(length=100, label="Replaying", file=sys.stderr, hidden=hidden) as bar:
        found = replay_one(
            original,
            request,
            generator,
            salt=salt,
            code=importlib.metadata.version("safegen"),
            build=this_build(where, precision=precision),
            progress=lambda share: bar.update(max(0, int(100 * share) - bar.pos)),
        )
    emit(found.to_json(), _text(found), format_)
    raise SystemExit(0 if found.is_same else 3)


def _record_id(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError as error:
        raise InputError(
            f"{text[:80]!r} is no record id",
            remedy="Use the record id that `safegen generate` printed.",
        ) from error


def _request(
    original: "Original", given: "Given", *, folder: Path, salt: "Callable[[str], bytes]"
) -> "Request":
    """Take the request that was named, or the one that was kept, and hold it to the record."""
    from safegen.replay import Given, check_request, request_from
    from safegen.requested import kept

    if given != Given():
        request = request_from(original, given)
        check_request(original, request, salt=salt)
        return request
    found = kept(folder, record_id=original.record_id)
    if found is None:
        inputs = original.entry["request"].get("inputs", [])
        kinds = [str(row["kind"]).replace("_", " ") for row in inputs]
        raise InputError(
            f"{original.record_id}: the request was not kept, and the record only commits to it",
            remedy="Add --prompt TEXT"
            + (f" and what else was given: {', '.join(kinds)}." if kinds else "."),
        )
    try:
        check_request(original, found, salt=salt)
    except InputError as error:
        raise IntegrityError(
            f"{error.problem} than the request that was kept",
            remedy=f"Remove {original.record_id}.json below {folder}, and name the prompt again.",
        ) from error
    return found


def _check_known(original: "Original", models: Path) -> None:
    from safegen.generation.known import any_card

    try:
        any_card(original.model_name, models=models)
    except InputError as error:
        raise SafegenError(
            f"{original.record_id}: made by {original.model_name}, which is not installed here",
            remedy=f"{error.remedy} If it was made from a folder, install that: `safegen models "
            f"add {original.model_name} FOLDER`.",
        ) from error


def _text(found: "Replay") -> str:
    """Write the answer for people: the same or not, and what has changed since then."""
    from safegen.replay import FileState

    entry = found.original.entry
    head = "same, bit for bit" if found.is_same else "differs"
    sound = "every sample as recorded" if found.is_same_sound else "other samples than recorded"
    if found.agreement is not None:
        sound += f"; agreement with the released file {found.agreement:.4f} (1 is the same sound)"
    files = {
        FileState.SAME: "unchanged",
        FileState.CHANGED: "not the file that was released: another sha256",
        FileState.GONE: "no longer there",
        FileState.NONE: "none, the output was refused",
    }
    rows = [
        ("sound", f"{sound}, {found.pcm_sha256}"),
        (
            "file",
            f"{files[found.file]}" + (f", {found.original.path}" if found.original.path else ""),
        ),
        ("model", f"{found.original.model_name}, seed {entry['request']['seed']}"),
        *(
            ("changed", f"{each.name}: {each.then or '-'} -> {each.now or '-'}")
            for each in found.differences
        ),
    ]
    if not found.is_same_sound and not found.differences:
        rows.append(
            ("changed", "nothing that the record tells; perhaps the processor or a library")
        )
    return "\n".join([head, *(f"  {name:8} {value}" for name, value in rows)])
