"""What does a released file carry with it, so that anyone can check it without us?

A sidecar ``<file>.receipt.json``: the record, where it is in the log, the proof, and
the signed checkpoint that the proof leads to. With the log's public key, which is
published once, it shows offline that this file was logged as it is. It holds no
secret, and the log can write it again at any time.
"""

import binascii
import contextlib
import hmac
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy.orm import Session

from safegen.errors import InputError, IntegrityError
from safegen.provenance import merkle
from safegen.provenance.log import Log
from safegen.provenance.notes import open_checkpoint, parse_verifiers
from safegen.provenance.record import Json, canonical, parse, read_json

SUFFIX: Final = ".receipt.json"
_SCHEMA: Final = "safegen.receipt/1"
_MAX_BYTES: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A record and the proof that it is in the log.

    Attributes:
        record: As logged; its canonical bytes are the leaf.
        position: Of the leaf.
        tree_size: Of the log when the receipt was issued.
        hashes: Siblings from the leaf up, 32 bytes each.
        checkpoint: The signed note over that size.
    """

    record: Mapping[str, Json]
    position: int
    tree_size: int
    hashes: tuple[bytes, ...]
    checkpoint: str

    @property
    def record_id(self) -> str:
        """Id of the record, "" if it has none."""
        return str(self.record.get("record_id", ""))

    @property
    def sha256(self) -> str:
        """SHA-256 of the file the record is about, "" if it is about none."""
        output = self.record.get("output")
        found = output.get("sha256") if isinstance(output, Mapping) else None
        return str(found or "")

    def to_json(self) -> dict[str, Json]:
        """Give the sidecar's content."""
        return {
            "schema": _SCHEMA,
            "record": self.record,
            "inclusion": {
                "position": self.position,
                "tree_size": self.tree_size,
                "hashes": [item.hex() for item in self.hashes],
            },
            "checkpoint": self.checkpoint,
        }


def sidecar(path: Path) -> Path:
    """Name the receipt of a file."""
    return path.with_name(path.name + SUFFIX)


def issue(session: Session, log: Log, *, position: int) -> Receipt:
    """Prove the entry at ``position`` under the log's newest checkpoint.

    Raises:
        InputError: If the log has no such position.
        IntegrityError: If the log cannot prove it, or the entry is no record.
    """
    proof = log.prove_inclusion(session, position)
    return Receipt(
        record=parse(log.entry(session, position)),
        position=position,
        tree_size=proof.checkpoint.size,
        hashes=proof.hashes,
        checkpoint=proof.checkpoint.note,
    )


def write(receipt: Receipt, path: Path) -> None:
    """Write a receipt so that its name never shows half of it; replaces an older one."""
    text = json.dumps(receipt.to_json(), ensure_ascii=False, allow_nan=False, indent=1)
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with draft.open("w", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise


def load(path: Path) -> Receipt:
    """Read a receipt; its proof is not checked yet.

    Raises:
        InputError: If it is missing or not a receipt.
    """
    remedy = "Ask for a new one: `safegen log prove RECORD_ID --receipt FILE`."
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(f"{path}: larger than any receipt", remedy=remedy)
        found = read_json(path.read_bytes())
        return _receipt(found)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})", remedy=remedy) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: is not a receipt of safegen", remedy=remedy) from error


def verify(path: Path, *, sha256: str, log_public_key: str) -> Receipt:
    """Check, without database and network, that a file is the one that was logged.

    1. The checkpoint is signed by the log whose key was given.
    2. The record's canonical bytes are the leaf that the proof leads from.
    3. The record is about a file with this hash.

    Args:
        path: The receipt.
        sha256: Of the file's bytes, lower-case hex.
        log_public_key: As ``KeyStore.log_public_key`` gives it: one key a line.

    Raises:
        InputError: If the receipt or the public key cannot be read.
        IntegrityError: If any of the three does not hold.
    """
    receipt = load(path)
    verifiers = parse_verifiers(log_public_key)

    # 1 Signed.
    checkpoint = open_checkpoint(receipt.checkpoint, verifiers, origin=verifiers[0].name)
    if checkpoint.size != receipt.tree_size:
        raise IntegrityError(
            f"{path}: proof for {receipt.tree_size} entries, checkpoint of {checkpoint.size}"
        )

    # 2 Logged.
    merkle.verify_inclusion(
        merkle.leaf_hash(canonical(receipt.record)),
        receipt.position,
        size=checkpoint.size,
        proof=receipt.hashes,
        expected_root=checkpoint.root,
    )

    # 3 About this file.
    if not receipt.sha256 or not hmac.compare_digest(receipt.sha256.encode(), sha256.encode()):
        raise IntegrityError(
            f"{path}: the record is about a file with SHA-256 {receipt.sha256 or 'none'}, "
            f"this one has {sha256}",
            remedy="The file was changed after its release, or the receipt is of another file.",
        )
    return receipt


def _receipt(found: Any) -> Receipt:
    if found["schema"] != _SCHEMA or not isinstance(found["record"], dict):
        msg = "another schema"
        raise ValueError(msg)
    inclusion = found["inclusion"]
    try:
        hashes = tuple(bytes.fromhex(item) for item in inclusion["hashes"])
    except binascii.Error as error:
        msg = "a hash is not hex"
        raise ValueError(msg) from error
    canonical(found["record"])
    return Receipt(
        record=found["record"],
        position=_whole(inclusion["position"]),
        tree_size=_whole(inclusion["tree_size"]),
        hashes=hashes,
        checkpoint=str(found["checkpoint"]),
    )


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        msg = f"{value!r} is not a whole number"
        raise TypeError(msg)
    return value
