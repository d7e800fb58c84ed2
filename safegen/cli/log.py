"""``safegen log``: verify, prove, checkpoint and export the tamper-evident log."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from safegen.cli.options import config, emit, format_option, quiet_option

if TYPE_CHECKING:
    from safegen.provenance.log import Log

_public_key_option = click.option(
    "--public-key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The log's public key, one a line. Default: from the key store.",
)


@click.group()
def log_command() -> None:
    """Verify, prove and export the tamper-evident log.

    Save a checkpoint now and then, somewhere out of reach of this machine: only
    against it does a history show that was rewritten with the log's own key.

    \b
    Exit status:
      0  done, and everything holds
      1  something failed
      2  bad arguments
      4  the log was tampered with or is damaged

    \b
    Example:
      safegen log checkpoint > monday.txt
      safegen log verify --against monday.txt
    """


@log_command.command()
@click.option(
    "--against",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A checkpoint saved earlier; shows whether the history was rewritten since.",
)
@_public_key_option
@format_option
@quiet_option
def verify(against: Path | None, public_key: Path | None, format_: str, quiet: bool) -> None:
    """Hash every entry again; compare with the tree, the checkpoints and the registry.

    Stops at the first thing that is wrong and names its position.

    \b
    Exit status:
      0  everything holds
      1  something failed
      2  bad arguments
      4  an entry, a hash, a checkpoint or a record is not what was signed

    \b
    Example:
      safegen log verify --against monday.txt
    """
    with _open(public_key) as log, log.database.read() as session:
        with _counted("Hashing", quiet=quiet) as progress:
            report = log.verify(session, progress=progress)
        saved = None
        if against is not None:
            saved = log.check_against(session, against.read_text(encoding="utf-8"))
        row = {
            "size": report.size,
            "root": report.root.hex(),
            "nodes": report.nodes,
            "checkpoints": report.checkpoints,
            "checkpoint": report.note,
            "against": None if saved is None else {"size": saved.size, "consistent": True},
        }
    text = (
        f"{report.size} entries, {report.nodes} subtree hashes and {report.checkpoints} "
        "signed checkpoints hold"
    )
    if saved is not None:
        text += f"\nthe first {saved.size} entries are those of {against}"
    emit(row, text, format_)


@log_command.command()
@click.argument("entry", metavar="INDEX|RECORD_ID")
@click.option(
    "--receipt",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the proof as a receipt that can be checked offline.",
)
@_public_key_option
@format_option
def prove(entry: str, receipt: Path | None, public_key: Path | None, format_: str) -> None:
    """Prove that one entry is in the log, under its newest checkpoint.

    \b
    Exit status:
      0  done
      1  something failed
      2  there is no such entry
      4  the log cannot prove it: it is damaged

    \b
    Example:
      safegen log prove 17 --format jsonl
    """
    from registry import log as rows
    from safegen.errors import InputError
    from safegen.provenance import receipts

    with _open(public_key) as log, log.database.read() as session:
        position = (
            int(entry) if entry.isdecimal() else rows.position_of_output(session, entry.lower())
        )
        if position is None:
            raise InputError(
                f"{entry}: neither an index of the log nor a record id",
                remedy="Give the record_id that `safegen generate` printed.",
            )
        proof = log.prove_inclusion(session, position)
        found = receipts.issue(session, log, position=position)
    if receipt is not None:
        receipts.write(found, receipt)
    row = {
        "index": position,
        "leaf_hash": proof.leaf_hash.hex(),
        "proof": [item.hex() for item in proof.hashes],
        "tree_size": proof.checkpoint.size,
        "root": proof.checkpoint.root.hex(),
        "checkpoint": proof.checkpoint.note,
        "entry": found.record,
    }
    lines = [
        f"entry {position} of {proof.checkpoint.size} is in the log",
        f"leaf  {proof.leaf_hash.hex()}",
        *(f"with  {item.hex()}" for item in proof.hashes),
        f"root  {proof.checkpoint.root.hex()}",
    ]
    emit(row, "\n".join(lines), format_)


@log_command.command()
@_public_key_option
@format_option
def checkpoint(public_key: Path | None, format_: str) -> None:
    """Print the newest checkpoint: size and root, signed. Save it elsewhere.

    \b
    Exit status:
      0  done
      1  the log is empty
      4  the checkpoint's signature does not hold

    \b
    Example:
      safegen log checkpoint > monday.txt
    """
    with _open(public_key) as log, log.database.read() as session:
        found = log.checkpoint(session)
        origin = log.origin
    row = {
        "origin": origin,
        "size": found.size,
        "root": found.root.hex(),
        "checkpoint": found.note,
    }
    emit(row, found.note.removesuffix("\n"), format_)


@log_command.command()
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@_public_key_option
@format_option
@quiet_option
def export(folder: Path, public_key: Path | None, format_: str, quiet: bool) -> None:
    """Write the log as static files in DIR, in the C2SP tlog-tiles layout.

    Any web server can serve them; auditors and witnesses check them without us.
    Exporting again into the same DIR adds what is new.

    \b
    Exit status:
      0  done
      1  DIR cannot be written, or the log is empty
      2  bad arguments
      4  the log is damaged, or DIR holds another history

    \b
    Example:
      safegen log export public/log
    """
    from safegen.provenance import tiles

    with (
        _open(public_key) as log,
        log.database.read() as session,
        _counted("Exporting", quiet=quiet) as progress,
    ):
        done = tiles.export(session, log, folder, progress=progress)
    row = {"folder": str(folder), "size": done.size, "written": done.written, "kept": done.kept}
    text = f"{folder}: {done.size} entries; {done.written} files written, {done.kept} kept"
    emit(row, text, format_)


@contextlib.contextmanager
def _open(public_key: Path | None) -> Iterator["Log"]:
    """Open the log for reading, with the key given or those of the key store."""
    from registry import schema
    from safegen.provenance.keys import KeyStore
    from safegen.provenance.log import Log
    from safegen.provenance.notes import parse_verifiers

    settings = config()
    verifiers = (
        KeyStore(settings.keys).log_verifiers()
        if public_key is None
        else parse_verifiers(public_key.read_text(encoding="utf-8"))
    )
    database = schema.open_database(settings.database_url)
    try:
        yield Log(database, None, verifiers[0].name, verifiers=verifiers)
    finally:
        database.close()


@contextlib.contextmanager
def _counted(label: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Draw a bar on stderr for a callback that says how much is done of how much."""
    if quiet or not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    with click.progressbar(length=1, label=label, file=sys.stderr) as bar:

        def advance(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        yield advance
