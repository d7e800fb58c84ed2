"""What does one key say about the tiles?

Two layers share the tiles of a block, each tile belonging to one of them:

* *presence* repeats in every block: tiles whose signs follow from the key alone, by
  which the mark is found at any speed, and tiles that spell a 16-bit word;
* *id* never repeats within 17 minutes: block after block uses the next of 256 sub-keys,
  beginning at one that the id chooses. An eighth of the tiles follows from the
  sub-key alone, half of them spell the 64-bit id.

Averaging many blocks of marked sound therefore shows the presence layer, which it can
remove, and nothing of the id layer, by which the mark is still found.

All secrets come from the key by HMAC-SHA-256 with a label, signs by SHAKE-256.
"""

import hashlib
import hmac
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from detectors.mark_code import (
    CODE_BITS,
    EPOCH_CODE_BITS,
    PAYLOAD_BITS,
    encode_epoch,
    encode_payload,
)
from detectors.tiles import BANDS, SLOTS

TILES: Final = SLOTS * BANDS
PRESENCE_TILES: Final = TILES // 4
EPOCH_TILES: Final = TILES // 8
ID_SYNC_TILES: Final = TILES // 8
BUCKETS: Final = 256
KEYS_KEPT: Final = 64
"""Keys whose patterns stay in memory, 10 MB each."""
_FORMAT: Final = b"safegen watermark 2"

Signs = npt.NDArray[np.int8]
"""Shape (SLOTS, BANDS), values -1, 0 and +1."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pattern:
    """The roles and signs of all tiles of a block under one key.

    Attributes:
        presence: Shape (SLOTS, BANDS); signs of the presence layer's known tiles, else 0.
        epoch: The same for the tiles that spell the 16-bit word, before the word.
        epoch_index: Shape (SLOTS, BANDS); which code bit of the word, -1 elsewhere.
        id_sync: Shape (BUCKETS, SLOTS, BANDS); signs of the id layer's known tiles, else 0.
        id_data: The same for the tiles that spell the id, before the id.
        id_index: Shape (SLOTS, BANDS); which code bit of the id, -1 elsewhere.
    """

    presence: Signs
    epoch: Signs
    epoch_index: npt.NDArray[np.int16]
    id_sync: npt.NDArray[np.int8]
    id_data: npt.NDArray[np.int8]
    id_index: npt.NDArray[np.int16]


@lru_cache(maxsize=KEYS_KEPT)
def pattern(secret: bytes) -> Pattern:
    """Expand a secret into signs and roles, the same on every platform.

    Raises:
        ValueError: If the secret is shorter than 16 bytes.

    Cost: about 15 ms, 3 MB.
    """
    if len(secret) < 16:
        msg = f"a watermark secret has at least 16 bytes, not {len(secret)}"
        raise ValueError(msg)
    shape = (SLOTS, BANDS)
    lots = np.frombuffer(hashlib.shake_256(_sub_key(secret, b"roles")).digest(TILES * 8), ">u8")
    order = np.argsort(lots, kind="stable")
    ends = np.cumsum([PRESENCE_TILES, EPOCH_TILES, ID_SYNC_TILES])
    presence, epoch, id_sync, id_data = np.split(order, ends)
    epoch_index = np.full(TILES, -1, np.int16)
    epoch_index[epoch] = np.arange(len(epoch)) % EPOCH_CODE_BITS
    id_index = np.full(TILES, -1, np.int16)
    id_index[id_data] = np.arange(len(id_data)) % CODE_BITS
    coins = _coins(_sub_key(secret, b"presence"))
    buckets = np.stack([_coins(_sub_key(secret, b"id %d" % bucket)) for bucket in range(BUCKETS)])
    return Pattern(
        presence=_only(coins, presence).reshape(shape),
        epoch=_only(coins, epoch).reshape(shape),
        epoch_index=epoch_index.reshape(shape),
        id_sync=_only(buckets, id_sync).reshape(BUCKETS, *shape),
        id_data=_only(buckets, id_data).reshape(BUCKETS, *shape),
        id_index=id_index.reshape(shape),
    )


def first_bucket(secret: bytes, payload: int) -> int:
    """Choose the sub-key that the first block of this id is marked with.

    Raises:
        ValueError: If the payload is not in [0, 2**64).
    """
    if not 0 <= payload < 1 << PAYLOAD_BITS:
        msg = f"a payload is in [0, 2**64), not {payload}"
        raise ValueError(msg)
    digest = hmac.digest(secret, _FORMAT + b" bucket" + payload.to_bytes(8, "big"), "sha256")
    return digest[0]


def block_signs(used: Pattern, *, bucket: int, payload: int | None, epoch: int | None) -> Signs:
    """Say for each tile of one block whether the mark makes it louder or softer.

    Args:
        used: The key's pattern.
        bucket: Which sub-key the block is marked with; counted around the ring.
        payload: The id; None leaves its tiles 0.
        epoch: The 16-bit word; None leaves its tiles 0.
    """
    signs = used.presence + used.id_sync[bucket % BUCKETS]
    if epoch is not None:
        code = 1 - 2 * encode_epoch(epoch).astype(np.int8)
        signs = signs + used.epoch * code[used.epoch_index]
    if payload is not None:
        code = 1 - 2 * encode_payload(payload).astype(np.int8)
        signs = signs + used.id_data[bucket % BUCKETS] * code[used.id_index]
    return np.asarray(signs, dtype=np.int8)


def _sub_key(secret: bytes, label: bytes) -> bytes:
    return hmac.digest(secret, _FORMAT + b" " + label, "sha256")


def _coins(seed: bytes) -> npt.NDArray[np.int8]:
    """Toss a fair coin for each tile: shape (TILES,), -1 or +1."""
    tossed = np.frombuffer(hashlib.shake_256(seed).digest(-(-TILES // 8)), np.uint8)
    return np.unpackbits(tossed)[:TILES].astype(np.int8) * 2 - 1


def _only(coins: npt.NDArray[np.int8], tiles: npt.NDArray[np.int64]) -> npt.NDArray[np.int8]:
    """Keep the coins of some tiles; the others become 0."""
    out = np.zeros_like(coins)
    out[..., tiles] = coins[..., tiles]
    return out
