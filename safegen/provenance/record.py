"""What is written down about an output, and in which bytes?

A record is JSON whose canonical bytes (RFC 8785) are the log's leaf: the same record
gives the same hash on every machine. Private values, the prompt first of all, enter
as salted commitments. The salt comes from a key, so whoever holds the key can show
what a commitment stands for, nobody can guess it, and destroying the key erases it.
"""

import hashlib
import hmac
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeAlias

import rfc8785

from safegen.errors import IntegrityError, SafegenError

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
"""What a record may hold; floats are finite and integers below 2**53."""

MAX_ENTRY_BYTES: Final = 65_535
"""Entries of a tlog-tiles bundle carry a 16-bit length."""

_ENTROPY_BYTES: Final = 10
_SAFE_DIGITS: Final = 17
"""A longer whole number is beyond 2**53 for sure."""
_SALT_BYTES: Final = 32
_TELLING_CHARACTERS: Final = 12
"""Shorter private values turn up inside other words by accident."""


def canonical(value: Json) -> bytes:
    """Write a value in the one form that is hashed and signed.

    Raises:
        ValueError: If it holds a NaN, an infinity, an integer of 2**53 or more, or a
            key that is not text.

    Source: RFC 8785.
    """
    return rfc8785.dumps(value)


def seal(record: Mapping[str, Json], *, private: Sequence[str]) -> bytes:
    """Turn a finished record into the log's leaf.

    Args:
        record: As it will be read by anyone.
        private: Values that must not be in it in clear: the prompt, the negative
            prompt. A value that equals one of them, or that quotes one of at least 12
            characters, is refused: a commitment is useless beside the clear text.

    Raises:
        SafegenError: If the record is too large for the log.
        ValueError: If it quotes a private value, or has no canonical form.
    """
    hidden = [text for text in private if text]
    for text in _texts(record):
        for secret in hidden:
            if text == secret or (len(secret) >= _TELLING_CHARACTERS and secret in text):
                msg = "the record quotes a private value; commit to it instead"
                raise ValueError(msg)
    entry = canonical(record)
    if len(entry) > MAX_ENTRY_BYTES:
        raise SafegenError(
            f"record of {len(entry)} bytes, the log takes at most {MAX_ENTRY_BYTES}",
            remedy="Shorten the evidence of its checks, or list fewer matches.",
        )
    return entry


def parse(entry: bytes) -> dict[str, Json]:
    """Read a record back from its canonical bytes.

    Raises:
        IntegrityError: If the bytes are not the canonical form of a JSON object.
    """
    try:
        record = read_json(entry)
        is_canonical = isinstance(record, dict) and canonical(record) == entry
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"record of {len(entry)} bytes is not canonical JSON") from error
    if not is_canonical:
        raise IntegrityError(f"record of {len(entry)} bytes is not a canonical JSON object")
    return dict(record)


def read_json(data: bytes) -> Any:
    """Read JSON as RFC 8785 sees it: an integer of 2**53 or more is a double.

    Raises:
        ValueError: If it is no JSON.
    """
    return json.loads(data, parse_int=_number)


def new_record_id(at: datetime, entropy: bytes) -> str:
    """Make a UUID of version 7: ordered by time, unguessable, unique across machines.

    Args:
        at: Aware time; its milliseconds become the first 48 bits.
        entropy: At least 10 bytes, from ``secrets.token_bytes`` outside tests.

    Raises:
        ValueError: If the time is naive or before 1970, or the entropy is too short.

    Source: RFC 9562 section 5.7.
    """
    if at.tzinfo is None or len(entropy) < _ENTROPY_BYTES:
        msg = f"a record id needs an aware time and {_ENTROPY_BYTES} bytes of entropy"
        raise ValueError(msg)
    milliseconds = int(at.timestamp() * 1000)
    if not 0 <= milliseconds < 1 << 48:
        msg = f"time {at.isoformat()} does not fit a record id"
        raise ValueError(msg)
    random = int.from_bytes(entropy[:_ENTROPY_BYTES]) & ((1 << 74) - 1)
    value = milliseconds << 80
    value |= 0x7 << 76 | (random >> 62) << 64
    value |= 0b10 << 62 | random & ((1 << 62) - 1)
    return str(uuid.UUID(int=value))


def commit(name: str, value: str, *, salt: bytes) -> str:
    """Commit to a private value; says nothing without the salt.

    Args:
        name: What it is ("prompt"), so that one value in two roles gives two commitments.
        value: The text.
        salt: From ``commitment_salt``.

    Returns:
        Lower-case hex of SHA-256 over salt, name and value, each with its length.
    """
    hasher = hashlib.sha256(b"safegen.commitment/1")
    for part in (salt, name.encode(), value.encode()):
        hasher.update(len(part).to_bytes(8))
        hasher.update(part)
    return hasher.hexdigest()


def commitment_salt(key: bytes, *, record_id: str, name: str) -> bytes:
    """Derive the salt of one value of one record from the commitment key.

    The salt may be disclosed to show this one value; it says nothing about others.
    """
    label = f"safegen.salt/1\n{record_id}\n{name}".encode()
    return hmac.digest(key, label, "sha256")[:_SALT_BYTES]


def verify_commitment(commitment: str, name: str, value: str, *, salt: bytes) -> None:
    """Check a disclosed value against the record's commitment.

    Raises:
        IntegrityError: If the record committed to another value.
    """
    if not hmac.compare_digest(commit(name, value, salt=salt), commitment):
        raise IntegrityError(f"the record's commitment is to another {name}")


def _number(text: str) -> int | float:
    return float(text) if len(text) > _SAFE_DIGITS or abs(int(text)) >= 1 << 53 else int(text)


def _texts(value: Json) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield name
            yield from _texts(item)
    elif isinstance(value, Sequence):
        for item in value:
            yield from _texts(item)
