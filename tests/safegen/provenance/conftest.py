"""What the tests of the evidence share: a log with its keys, and a signed file."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import settings

from registry.session import Database
from safegen.provenance.keys import KeyStore
from safegen.provenance.log import Log
from safegen.provenance.notes import NoteSigner

ORIGIN = "safegen/test"

# A busy machine is no fault of the code.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def signer(number: int = 1) -> NoteSigner:
    """Make the log key with this number; the same number gives the same key."""
    key = Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)
    return NoteSigner(name=ORIGIN, private_key=key)


def new_log(database: Database) -> Log:
    """Open a log under key 1."""
    return Log(database, signer(), ORIGIN)


def add(log: Log, *entries: bytes) -> tuple[int, ...]:
    """Append in a transaction of its own."""
    with log.database.begin() as session:
        return log.append(session, entries)


@pytest.fixture
def keys(tmp_path: Path) -> KeyStore:
    """Make the keys of one installation."""
    store = KeyStore(tmp_path / "keys")
    store.init(organization="Example Audio")
    return store
