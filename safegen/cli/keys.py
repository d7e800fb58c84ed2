"""``safegen keys``: create, list and rotate keys. Nothing here prints a secret."""

from typing import TYPE_CHECKING

import click

from safegen.cli.options import config, emit, format_option

if TYPE_CHECKING:
    from safegen.provenance.keys import KeyInfo, KeyStore


@click.group()
def keys_command() -> None:
    """Create, list and rotate keys.

    One folder of the state folder holds them, readable by its owner alone: the
    watermark's master key, the log's signing key, the key that salts commitments,
    and a private authority for C2PA signatures. Secrets are never printed.

    \b
    Exit status:
      0  done
      1  keys are missing, damaged, or readable by others
      2  bad arguments, or the keys exist already

    \b
    Example:
      safegen keys init --organization "Example Audio"
      safegen keys list
    """


@keys_command.command()
@click.option(
    "--organization",
    default="safegen private authority",
    show_default=True,
    help="Who signs, as every reader of a C2PA manifest will see it.",
)
@format_option
def init(organization: str, format_: str) -> None:
    """Create every key of an installation.

    Back the folder up: without the watermark key nobody can tell again which outputs
    are yours. Keys that exist are never overwritten.

    \b
    Exit status:
      0  done
      1  the folder could not be written
      2  there are keys already

    \b
    Example:
      safegen keys init --organization "Example Audio"
    """
    from safegen.errors import InputError

    if not 0 < len(organization.strip()) <= 64:
        raise InputError(
            f"--organization has {len(organization.strip())} characters, 1 to 64 are possible",
            remedy="Shorten the name.",
        )
    keys = _store()
    found = keys.init(organization=organization.strip())
    for info in found:
        emit(_row(info), _text(info), format_)
    click.echo(f"Back up {keys.folder}; keep it as secret as a password.", err=True)


@keys_command.command("list")
@format_option
def list_(format_: str) -> None:
    """List the keys: kind, id, age, and the public part where there is one.

    The log's line ends in its public key: give it to whoever checks receipts.

    \b
    Exit status:
      0  done
      1  keys are missing, damaged, or readable by others

    \b
    Example:
      safegen keys list --format jsonl
    """
    for info in _store().list():
        emit(_row(info), _text(info), format_)


@keys_command.command()
@click.argument("kind", type=click.Choice(["watermark", "log", "c2pa"]))
@format_option
def rotate(kind: str, format_: str) -> None:
    """Replace a key by a new one of the same KIND; old ones go on being recognized.

    A new watermark key marks from now on, and outputs under the old one are still
    detected. A new log key signs from now on; the rotation itself is logged under the
    old one. A new c2pa leaf is signed by the same root. Restart running processes.

    \b
    Exit status:
      0  done
      1  keys are missing, damaged or readable by others, or there is no database
      2  unknown kind
      4  the log does not carry its last checkpoint; nothing was rotated

    \b
    Example:
      safegen keys rotate watermark
    """
    from datetime import UTC, datetime

    from registry import schema
    from safegen.provenance.keys import ROTATABLE
    from safegen.provenance.log import open_log
    from safegen.provenance.rotation import rotate as rotate_key

    keys = _store()
    chosen = next(name for name in ROTATABLE if name == kind)
    database = schema.open_database(config().database_url)
    try:
        log = open_log(database, keys)
        info = rotate_key(keys, chosen, log=log, at=datetime.now(UTC))
    finally:
        database.close()
    emit(_row(info), _text(info), format_)


def _store() -> "KeyStore":
    from safegen.provenance.keys import KeyStore

    return KeyStore(config().keys)


def _row(info: "KeyInfo") -> dict[str, object]:
    return {
        "kind": info.kind,
        "epoch": info.epoch,
        "key_id": info.key_id,
        "current": info.is_current,
        "created_at": info.created_at.isoformat(timespec="seconds"),
        "expires_at": info.expires_at.isoformat(timespec="seconds") if info.expires_at else None,
        "public": info.public,
    }


def _text(info: "KeyInfo") -> str:
    mark = "in use" if info.is_current else "old"
    until = f" to {info.expires_at:%Y-%m-%d}" if info.expires_at else ""
    line = f"{info.key_id:<26} {mark:<7} {info.created_at:%Y-%m-%d}{until}  {info.public}"
    return line.rstrip()
