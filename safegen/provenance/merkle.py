"""How does one hash stand for a whole log, and how is that shown in a few hashes?

Pure functions over leaf hashes; nothing here stores or signs. A log of ``n`` leaves
is cut into complete subtrees, addressed as ``Node(level, position)``: the subtree
over the ``2**level`` leaves from ``position * 2**level`` on. Complete subtrees never
change again, so a store keeps them and every root or proof is a fold of at most
``2 * log2(n)`` of them.

Source: RFC 6962 section 2.1 (hashing, paths) and RFC 9162 section 2.1.3.2 and
2.1.4.2 (the verifying algorithms).
"""

import hashlib
import hmac
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from safegen.errors import IntegrityError

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()
MAX_SIZE: Final = 1 << 62
"""Larger sizes in a proof are refused before any work is done on them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """Address of a complete subtree.

    Attributes:
        level: log2 of its number of leaves; 0 is a leaf.
        position: Index among the subtrees of that level, from 0.
    """

    level: int
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A run of leaves [start, end) that the recursive split of RFC 6962 visits."""

    start: int
    end: int


Lookup = Callable[[Node], bytes]
"""Gives the hash of a complete subtree."""


def leaf_hash(entry: bytes) -> bytes:
    """Hash an entry as a leaf; the prefix keeps a leaf from posing as a node."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two subtrees into their parent."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def cover(span: Span) -> tuple[Node, ...]:
    """Cut a span into the fewest complete subtrees, left to right.

    The span must start where the RFC's split starts one: at a multiple of the
    largest power of two that it holds.
    """
    nodes: list[Node] = []
    start, left = span.start, span.end - span.start
    while left:
        level = left.bit_length() - 1
        nodes.append(Node(level=level, position=start >> level))
        start += 1 << level
        left -= 1 << level
    return tuple(nodes)


def fold(hashes: Sequence[bytes]) -> bytes:
    """Join the hashes of a cover, right to left, into the hash of its span."""
    if not hashes:
        return EMPTY_ROOT
    joined = hashes[-1]
    for left in reversed(hashes[:-1]):
        joined = node_hash(left, joined)
    return joined


def span_hash(span: Span, lookup: Lookup) -> bytes:
    """Hash a span from its complete subtrees."""
    return fold([lookup(node) for node in cover(span)])


def root(leaves: Sequence[bytes]) -> bytes:
    """Compute the root over leaf hashes; the root of nothing is SHA-256 of nothing."""
    peaks = Peaks()
    for leaf in leaves:
        peaks.push(leaf)
    return peaks.root()


class Peaks:
    """The right edge of a growing tree: all that is needed to add leaves.

    Args:
        size: Leaves so far.
        hashes: Of ``cover(Span(start=0, end=size))``, in that order.
    """

    def __init__(self, size: int = 0, hashes: Iterable[bytes] = ()) -> None:
        self.size = size
        self._stack = list(hashes)
        if len(self._stack) != size.bit_count():
            msg = f"a tree of {size} leaves has {size.bit_count()} peaks, not {len(self._stack)}"
            raise ValueError(msg)

    def push(self, leaf: bytes) -> list[tuple[Node, bytes]]:
        """Add a leaf; returns the subtrees of level >= 1 that it completes, lowest first."""
        completed: list[tuple[Node, bytes]] = []
        joined, position, level = leaf, self.size, 0
        while position & 1:
            joined = node_hash(self._stack.pop(), joined)
            position >>= 1
            level += 1
            completed.append((Node(level=level, position=position), joined))
        self._stack.append(joined)
        self.size += 1
        return completed

    def root(self) -> bytes:
        """Hash of the whole tree as it stands."""
        return fold(self._stack)


def inclusion_spans(position: int, size: int) -> tuple[Span, ...]:
    """List the siblings of a leaf's path to the root, from the leaf up.

    Raises:
        ValueError: If the tree has no such leaf.
    """
    if not 0 <= position < size:
        msg = f"a log of {size} entries has no position {position}"
        raise ValueError(msg)
    spans: list[Span] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if position < middle:
            spans.append(Span(start=middle, end=end))
            end = middle
        else:
            spans.append(Span(start=start, end=middle))
            start = middle
    return tuple(reversed(spans))


def consistency_spans(old_size: int, new_size: int) -> tuple[Span, ...]:
    """List what shows that the first ``old_size`` leaves of a log never changed.

    Nothing is needed for an empty old log or for two equal sizes.

    Raises:
        ValueError: If the log shrank.
    """
    if not 0 <= old_size <= new_size:
        msg = f"a log of {new_size} entries cannot extend one of {old_size}"
        raise ValueError(msg)
    if old_size in (0, new_size):
        return ()
    spans: list[Span] = []
    start, end, known = 0, new_size, True
    while old_size != end:
        middle = start + _split(end - start)
        if old_size <= middle:
            spans.append(Span(start=middle, end=end))
            end = middle
        else:
            spans.append(Span(start=start, end=middle))
            start, known = middle, False
    if not known:
        spans.append(Span(start=start, end=end))
    return tuple(reversed(spans))


def inclusion_proof(leaves: Sequence[bytes], position: int) -> tuple[bytes, ...]:
    """Prove that a leaf hash is in the tree over ``leaves``; O(n), for small trees and tests."""
    spans = inclusion_spans(position, len(leaves))
    return tuple(root(leaves[span.start : span.end]) for span in spans)


def consistency_proof(leaves: Sequence[bytes], old_size: int) -> tuple[bytes, ...]:
    """Prove that the tree over ``leaves`` extends its first ``old_size``; O(n)."""
    spans = consistency_spans(old_size, len(leaves))
    return tuple(root(leaves[span.start : span.end]) for span in spans)


def verify_inclusion(
    leaf: bytes, position: int, *, size: int, proof: Sequence[bytes], expected_root: bytes
) -> None:
    """Check that ``leaf`` is at ``position`` of the log that has this size and root.

    Raises:
        IntegrityError: If it is not, or if the proof is not of the one right length.
    """
    if not 0 <= position < size <= MAX_SIZE:
        raise IntegrityError(f"inclusion proof: a log of {size} entries has no position {position}")
    _check_shape("inclusion", [leaf, *proof, expected_root])
    _check_length("inclusion", proof, len(inclusion_spans(position, size)))
    joined, at, last = leaf, position, size - 1
    for sibling in proof:
        # On the right edge (at == last) every further sibling lies to the left; the
        # RFC's inner loop skips levels there, which a checked length makes needless.
        is_left = at & 1 or at == last
        joined = node_hash(sibling, joined) if is_left else node_hash(joined, sibling)
        at >>= 1
        last >>= 1
    if not hmac.compare_digest(joined, expected_root):
        raise IntegrityError(
            f"inclusion proof: position {position} leads to root {joined.hex()}, "
            f"the checkpoint of {size} entries says {expected_root.hex()}"
        )


def verify_consistency(
    old_size: int, old_root: bytes, *, new_size: int, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that the newer log holds the older one unchanged, as its beginning.

    Raises:
        IntegrityError: If it does not: entries were changed, removed or reordered.
    """
    if not 0 <= old_size <= new_size <= MAX_SIZE:
        raise IntegrityError(
            f"consistency proof: the log has {new_size} entries, it had {old_size} before"
        )
    _check_shape("consistency", [old_root, *proof, new_root])
    _check_length("consistency", proof, len(consistency_spans(old_size, new_size)))
    if old_size == 0:
        _check_old(0, EMPTY_ROOT, old_root)
        return
    if old_size == new_size:
        _check_old(old_size, new_root, old_root)
        return
    path = list(proof) if old_size & (old_size - 1) else [old_root, *proof]
    at, last = old_size - 1, new_size - 1
    while at & 1:
        at >>= 1
        last >>= 1
    old = new = path[0]
    for sibling in path[1:]:
        if at & 1 or at == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
        else:
            new = node_hash(new, sibling)
        at >>= 1
        last >>= 1
    _check_old(old_size, old, old_root)
    if not hmac.compare_digest(new, new_root):
        raise IntegrityError(
            f"consistency proof: leads to root {new.hex()} at {new_size} entries, "
            f"the checkpoint says {new_root.hex()}"
        )


def _split(size: int) -> int:
    """Largest power of two below ``size``, for size >= 2."""
    return 1 << ((size - 1).bit_length() - 1)


def _check_old(size: int, computed: bytes, expected: bytes) -> None:
    if not hmac.compare_digest(computed, expected):
        raise IntegrityError(
            f"the log's first {size} entries are not what they were: root {computed.hex()}, "
            f"earlier {expected.hex()}"
        )


def _check_shape(kind: str, hashes: Iterable[bytes]) -> None:
    if any(len(item) != HASH_BYTES for item in hashes):
        raise IntegrityError(f"{kind} proof: every hash must have {HASH_BYTES} bytes")


def _check_length(kind: str, proof: Sequence[bytes], expected: int) -> None:
    if len(proof) != expected:
        raise IntegrityError(f"{kind} proof: {len(proof)} hashes, {expected} needed")
