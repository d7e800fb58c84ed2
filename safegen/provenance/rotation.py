"""How is a key replaced so that the log tells when, and the old key vouches for the new?"""

from datetime import datetime

from safegen.provenance.keys import KeyInfo, KeyStore, RotatableKind
from safegen.provenance.log import Log
from safegen.provenance.record import canonical


def rotate(keys: KeyStore, kind: RotatableKind, *, log: Log, at: datetime) -> KeyInfo:
    """Add the next epoch of a key and log it; the checkpoint is signed with the old key.

    An auditor who knows only the old log key can therefore follow the log to the entry
    that names the new one.

    Args:
        keys: Where the new key is written.
        kind: Which.
        log: Opened before, so that it still signs with the old key.
        at: Time of the entry, aware.

    Raises:
        IntegrityError: If the log does not carry its last checkpoint; no key is made.
        SafegenError: If the keys cannot be read or written.
    """
    with log.database.begin() as session:
        if log.size(session):
            log.checkpoint(session)
        info = keys.rotate(kind)
        entry = canonical(
            {
                "v": 1,
                "type": "key-rotated",
                "kind": info.kind,
                "key_id": info.key_id,
                "public": info.public,
                "time": at.isoformat(timespec="milliseconds"),
            }
        )
        log.append(session, [entry])
    return info
