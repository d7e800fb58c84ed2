"""The tree against its definition, against another implementation, and against forgers."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scitt_cose import merkle as oracle

from safegen.errors import IntegrityError
from safegen.provenance import merkle
from safegen.provenance.merkle import Node, Peaks, Span

SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 31, 32, 33, 100, 255, 256, 257, 300)
# RFC 6962's well-known test entries and the roots of their first n, as used by
# Certificate Transparency implementations.
CT_ENTRIES = (
    b"",
    b"\x00",
    b"\x10",
    b"\x20\x21",
    b"\x30\x31",
    b"\x40\x41\x42\x43",
    b"\x50\x51\x52\x53\x54\x55\x56\x57",
    b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
)
CT_ROOT_OF_1 = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
CT_ROOT_OF_8 = "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


def entries(n: int) -> list[bytes]:
    return [f"entry {i}".encode() for i in range(n)]


def leaves(n: int) -> list[bytes]:
    return [merkle.leaf_hash(entry) for entry in entries(n)]


def test_the_root_of_nothing_is_the_hash_of_nothing() -> None:
    assert merkle.root([]) == hashlib.sha256().digest()


@pytest.mark.parametrize(("n", "root"), [(1, CT_ROOT_OF_1), (8, CT_ROOT_OF_8)])
def test_roots_are_those_of_certificate_transparency(n: int, root: str) -> None:
    found = merkle.root([merkle.leaf_hash(entry) for entry in CT_ENTRIES[:n]])

    assert found.hex() == root


@pytest.mark.parametrize("n", SIZES)
def test_roots_and_proofs_are_those_of_another_implementation(n: int) -> None:
    texts = [entry.hex() for entry in entries(n)]
    hashes = leaves(n)

    assert merkle.root(hashes).hex() == oracle.merkle_root(texts)
    for position in {0, n // 3, n // 2, n - 1}:
        proof = [item.hex() for item in merkle.inclusion_proof(hashes, position)]
        assert proof == oracle.inclusion_proof(texts, position)
    for old in {1, n // 2 or 1, n - 1 or 1, n}:
        proof = [item.hex() for item in merkle.consistency_proof(hashes, old)]
        assert proof == oracle.consistency_proof(texts, old, n)


@given(n=st.integers(1, 140), data=st.data())
def test_every_entry_is_proved_and_no_other_in_its_place(n: int, data: st.DataObject) -> None:
    position = data.draw(st.integers(0, n - 1))
    other = data.draw(st.integers(0, n))
    hashes = leaves(n)
    proof, root = merkle.inclusion_proof(hashes, position), merkle.root(hashes)

    merkle.verify_inclusion(hashes[position], position, size=n, proof=proof, expected_root=root)
    with pytest.raises(IntegrityError):
        merkle.verify_inclusion(
            merkle.leaf_hash(b"forged"), position, size=n, proof=proof, expected_root=root
        )
    if other != position:
        with pytest.raises(IntegrityError):
            merkle.verify_inclusion(
                hashes[position], other, size=n, proof=proof, expected_root=root
            )


@given(new=st.integers(1, 140), data=st.data())
def test_a_log_that_grew_is_consistent_and_a_rewritten_one_is_not(
    new: int, data: st.DataObject
) -> None:
    old = data.draw(st.integers(1, new))
    changed = data.draw(st.integers(0, old - 1))
    honest, forged = leaves(new), leaves(new)
    forged[changed] = merkle.leaf_hash(b"forged")
    old_root = merkle.root(honest[:old])

    merkle.verify_consistency(
        old,
        old_root,
        new_size=new,
        new_root=merkle.root(honest),
        proof=merkle.consistency_proof(honest, old),
    )
    with pytest.raises(IntegrityError):
        merkle.verify_consistency(
            old,
            old_root,
            new_size=new,
            new_root=merkle.root(forged),
            proof=merkle.consistency_proof(forged, old),
        )


@given(n=st.integers(2, 100), data=st.data())
def test_any_change_to_a_proof_breaks_it(n: int, data: st.DataObject) -> None:
    position = data.draw(st.integers(0, n - 1))
    hashes = leaves(n)
    proof = list(merkle.inclusion_proof(hashes, position))
    where = data.draw(st.integers(0, len(proof) - 1))
    bit = data.draw(st.integers(0, 255))
    changed = bytearray(proof[where])
    changed[bit // 8] ^= 1 << bit % 8
    forgeries = [
        [*proof[:where], bytes(changed), *proof[where + 1 :]],
        proof[:-1],
        [*proof, proof[-1]],
        [*proof[:where], proof[where][:-1], *proof[where + 1 :]],
    ]

    for forged in forgeries:
        with pytest.raises(IntegrityError):
            merkle.verify_inclusion(
                hashes[position],
                position,
                size=n,
                proof=forged,
                expected_root=merkle.root(hashes),
            )


@given(old=st.integers(1, 99), new=st.integers(2, 100))
def test_our_consistency_proofs_convince_another_implementation(old: int, new: int) -> None:
    old = min(old, new)
    hashes = leaves(new)
    proof = [item.hex() for item in merkle.consistency_proof(hashes, old)]
    old_root, new_root = merkle.root(hashes[:old]).hex(), merkle.root(hashes).hex()

    assert oracle.verify_consistency(old_root, new_root, old, new, proof)


def test_the_empty_log_is_the_beginning_of_every_log() -> None:
    root = merkle.root(leaves(5))

    merkle.verify_consistency(0, merkle.EMPTY_ROOT, new_size=5, new_root=root, proof=())
    with pytest.raises(IntegrityError, match="first 0 entries"):
        merkle.verify_consistency(0, root, new_size=5, new_root=root, proof=())


def test_a_log_that_shrank_is_not_consistent() -> None:
    root = merkle.root(leaves(5))

    with pytest.raises(IntegrityError, match="has 4 entries, it had 5"):
        merkle.verify_consistency(5, root, new_size=4, new_root=root, proof=())


@pytest.mark.parametrize("size", [1 << 62, (1 << 63) + 1, 1 << 4000])
def test_a_hostile_size_costs_nothing(size: int) -> None:
    with pytest.raises(IntegrityError):
        merkle.verify_inclusion(
            b"\x00" * 32, 0, size=size, proof=[b"\x00" * 32] * 5, expected_root=b"\x00" * 32
        )


@given(n=st.integers(0, 200))
def test_growing_leaf_by_leaf_stores_each_complete_subtree_once(n: int) -> None:
    peaks = Peaks()
    stored: dict[Node, bytes] = {}
    for position, leaf in enumerate(leaves(n)):
        stored[Node(level=0, position=position)] = leaf
        for node, joined in peaks.push(leaf):
            assert node not in stored
            stored[node] = joined

    assert len(stored) == sum(n >> level for level in range(n.bit_length()))
    assert peaks.root() == merkle.root(leaves(n))
    assert merkle.span_hash(Span(start=0, end=n), stored.__getitem__) == peaks.root()


@given(n=st.integers(1, 200), more=st.integers(0, 40))
def test_a_tree_goes_on_from_its_stored_edge(n: int, more: int) -> None:
    hashes = leaves(n + more)
    edge = [
        merkle.root(hashes[node.position << node.level :][: 1 << node.level])
        for node in merkle.cover(Span(start=0, end=n))
    ]
    peaks = Peaks(n, edge)
    for leaf in hashes[n:]:
        peaks.push(leaf)

    assert peaks.root() == merkle.root(hashes)


def test_an_edge_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="2 peaks, not 1"):
        Peaks(3, [b"\x00" * 32])


def test_a_leaf_cannot_pose_as_a_node() -> None:
    left, right = leaves(2)

    assert merkle.leaf_hash(left + right) != merkle.node_hash(left, right)
