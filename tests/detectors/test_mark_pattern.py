"""The pattern of a key: fixed forever, balanced, and different in every block."""

import hashlib

import numpy as np
import pytest

from detectors import mark_pattern
from detectors.mark_code import CODE_BITS, EPOCH_CODE_BITS
from detectors.mark_pattern import BUCKETS, TILES, block_signs, first_bucket, pattern

KEY = b"a secret of thirty-two bytes ..."
OTHER = b"another secret, 32 bytes long..."


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="not 15"):
        pattern(b"x" * 15)


def test_the_pattern_of_a_key_is_the_same_everywhere_and_forever() -> None:
    # Marked files outlive releases: if this fails, old marks can no longer be read.
    used = pattern(KEY)

    digest = hashlib.sha256()
    for part in (used.presence, used.epoch, used.id_sync, used.id_data):
        digest.update(part.astype("<i1").tobytes())
    for index in (used.epoch_index, used.id_index):
        digest.update(index.astype("<i2").tobytes())
    digest.update(bytes(first_bucket(KEY, payload) for payload in (0, 1, 2**64 - 1)))
    assert digest.hexdigest() == "c0379a39158e18e3686a6af2b92701afe1e8c252b74cb10dea4a454fce23dacf"


def test_every_tile_has_one_role_and_every_code_bit_its_tiles() -> None:
    used = pattern(KEY)

    roles = sum(
        (signs != 0).astype(int)
        for signs in (used.presence, used.epoch, used.id_sync[0], used.id_data[0])
    )
    id_uses = np.bincount(used.id_index[used.id_index >= 0], minlength=CODE_BITS)
    epoch_uses = np.bincount(used.epoch_index[used.epoch_index >= 0], minlength=EPOCH_CODE_BITS)
    assert (roles == 1).all()
    assert (used.presence != 0).sum() == TILES // 4
    assert id_uses.max() - id_uses.min() <= 1
    assert epoch_uses.max() - epoch_uses.min() <= 1


def test_signs_are_balanced() -> None:
    used = pattern(KEY)

    assert abs(float(used.presence[used.presence != 0].mean())) < 0.1
    assert abs(float(used.id_data[used.id_data != 0].mean())) < 0.01


def test_two_keys_share_nothing_but_the_grid() -> None:
    one = block_signs(pattern(KEY), bucket=0, payload=5, epoch=5)
    other = block_signs(pattern(OTHER), bucket=0, payload=5, epoch=5)

    assert abs(float((one * other).mean())) < 0.05


def test_the_id_layer_of_each_sub_key_is_its_own() -> None:
    # What the averaging attack needs is the same sign in many blocks.
    layer = pattern(KEY).id_sync.reshape(BUCKETS, -1)[:, pattern(KEY).id_sync[0].ravel() != 0]

    alike = (layer @ layer.T.astype(np.int64)) / layer.shape[1]
    assert np.abs(alike - np.eye(BUCKETS)).max() < 0.3
    assert abs(float((alike - np.eye(BUCKETS)).mean())) < 0.01


def test_ids_choose_sub_keys_evenly_and_differently_under_each_key() -> None:
    chosen = np.bincount([first_bucket(KEY, payload) for payload in range(25_600)], minlength=256)

    assert chosen.min() > 50
    assert [first_bucket(KEY, n) for n in range(8)] != [first_bucket(OTHER, n) for n in range(8)]


def test_ids_that_differ_in_one_bit_differ_in_many_tiles_and_words_in_theirs() -> None:
    used = pattern(KEY)
    zero = block_signs(used, bucket=3, payload=0, epoch=0)

    by_id = zero != block_signs(used, bucket=3, payload=1, epoch=0)
    by_word = zero != block_signs(used, bucket=3, payload=0, epoch=1)
    assert by_id.mean() > 0.05
    assert by_word.mean() > 0.02
    assert not by_id[used.id_index < 0].any()
    assert not by_word[used.epoch_index < 0].any()


def test_the_ring_of_sub_keys_closes() -> None:
    used = pattern(KEY)

    first = block_signs(used, bucket=0, payload=9, epoch=1)
    assert np.array_equal(first, block_signs(used, bucket=mark_pattern.BUCKETS, payload=9, epoch=1))
