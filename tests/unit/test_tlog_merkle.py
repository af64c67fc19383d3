"""Merkle trees against RFC 6962 read literally, and every proof of every small tree."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signing.errors import VerificationError
from signing.tlog.merkle import (
    EMPTY_ROOT,
    Frontier,
    Node,
    check_consistency,
    check_inclusion,
    leaf_hash,
    prove_consistency,
    prove_inclusion,
    root_of,
)

# RFC 6962's test data, as Certificate Transparency's own implementations use it.
ENTRIES = [
    bytes.fromhex(text)
    for text in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
# Their proofs: {(index, size): path} and {(old, new): proof}.
PATHS = {
    (0, 1): [],
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
CONSISTENCY = {
    (1, 1): [],
    (1, 8): PATHS[0, 8],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
LARGEST = 300


def literally(entries: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962 §2.1, word for word."""
    if not entries:
        return hashlib.sha256(b"").digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\x00" + entries[0]).digest()
    k = split(len(entries))
    return hashlib.sha256(b"\x01" + literally(entries[:k]) + literally(entries[k:])).digest()


def split(n: int) -> int:
    """k of RFC 6962 §2.1: the largest power of two smaller than n."""
    k = 1
    while k * 2 < n:
        k *= 2
    return k


@cache
def mth(low: int, high: int) -> bytes:
    """`literally` of the entries of `MANY` from ``low`` to before ``high``."""
    if high - low < 2:
        return literally(MANY[low:high])
    k = low + split(high - low)
    return hashlib.sha256(b"\x01" + mth(low, k) + mth(k, high)).digest()


def path(m: int, low: int, high: int) -> list[bytes]:
    """PATH of RFC 6962 §2.1.1, word for word, of the entries from ``low`` to before ``high``."""
    if high - low == 1:
        return []
    k = split(high - low)
    if m < k:
        return [*path(m, low, low + k), mth(low + k, high)]
    return [*path(m - k, low + k, high), mth(low, low + k)]


def subproof(m: int, low: int, high: int, known: bool) -> list[bytes]:
    """SUBPROOF of RFC 6962 §2.1.2, word for word."""
    if m == high - low:
        return [] if known else [mth(low, high)]
    k = split(high - low)
    if m <= k:
        return [*subproof(m, low, low + k, known), mth(low + k, high)]
    return [*subproof(m - k, low + k, high, False), mth(low, low + k)]


class Memory:
    """The nodes of a tree over ``entries``, computed when asked for and kept."""

    def __init__(self, entries: Sequence[bytes]) -> None:
        self.entries = entries
        self.nodes: dict[Node, bytes] = {}

    def __call__(self, nodes: Iterable[Node]) -> Mapping[Node, bytes]:
        return {node: self.node(node) for node in nodes}

    def node(self, node: Node) -> bytes:
        if node not in self.nodes:
            low, high = node.number << node.level, (node.number + 1) << node.level
            assert high <= len(self.entries), "a node that is not complete was asked for"
            self.nodes[node] = literally(self.entries[low:high])
        return self.nodes[node]


MANY = [b"entry %d" % number for number in range(LARGEST + 1)]
TREE = Memory(MANY)


def test_reference_values() -> None:
    for size, root in enumerate(ROOTS):
        assert root_of(size, Memory(ENTRIES)).hex() == root


def test_reference_proofs() -> None:
    for (index, size), hashes in PATHS.items():
        assert [each.hex() for each in prove_inclusion(index, size, Memory(ENTRIES))] == hashes
        proof = [bytes.fromhex(each) for each in hashes]
        root = bytes.fromhex(ROOTS[size])
        check_inclusion(leaf_hash(ENTRIES[index]), index, size, proof, root, "x")
    for (old, new), hashes in CONSISTENCY.items():
        assert [each.hex() for each in prove_consistency(old, new, Memory(ENTRIES))] == hashes
        proof = [bytes.fromhex(each) for each in hashes]
        roots = bytes.fromhex(ROOTS[old]), bytes.fromhex(ROOTS[new])
        check_consistency(old, new, *roots, proof, "x")


def test_the_empty_tree() -> None:
    assert root_of(0, TREE) == EMPTY_ROOT


def test_every_root_and_path_up_to_300_is_the_one_of_the_specification() -> None:
    for size in range(1, LARGEST + 1):
        assert root_of(size, TREE) == mth(0, size)
        for index in range(size):
            assert prove_inclusion(index, size, TREE) == path(index, 0, size)


def test_every_consistency_proof_up_to_300_is_the_one_of_the_specification() -> None:
    for new in range(1, LARGEST + 1):
        for old in range(1, new + 1):
            assert prove_consistency(old, new, TREE) == subproof(old, 0, new, True)


def test_roots_by_the_words_of_the_specification_alone() -> None:
    for size in (0, 1, 2, 3, 8, 255, 257, LARGEST):
        assert mth(0, size) == literally(MANY[:size])


def test_a_tree_grown_leaf_by_leaf_is_the_tree_of_every_size() -> None:
    grown = Frontier()
    for size, entry in enumerate(MANY):
        assert grown.root == root_of(size, TREE)
        assert Frontier.of(size, TREE) == grown
        for level, value in enumerate(grown.add(leaf_hash(entry))):
            assert value == TREE.node(Node(level, size >> level))
        assert (size + 1) % (1 << level) == 0  # every subtree that ends here, and no others
        assert (size + 1) % (2 << level) != 0


def test_every_inclusion_proof_up_to_300_holds() -> None:
    for size in range(1, LARGEST + 1):
        root = root_of(size, TREE)
        for index in range(size):
            proof = prove_inclusion(index, size, TREE)
            check_inclusion(leaf_hash(MANY[index]), index, size, proof, root, "x")


def test_every_consistency_proof_up_to_300_holds() -> None:
    roots = [root_of(size, TREE) for size in range(LARGEST + 1)]
    for new in range(LARGEST + 1):
        for old in range(new + 1):
            proof = prove_consistency(old, new, TREE)
            check_consistency(old, new, roots[old], roots[new], proof, "x")


@given(data=st.data(), size=st.integers(2, LARGEST))
def test_a_changed_inclusion_proof_never_holds(data: st.DataObject, size: int) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = prove_inclusion(index, size, TREE)
    root = root_of(size, TREE)
    leaf = leaf_hash(MANY[index])
    place = data.draw(st.integers(0, len(proof) - 1))
    flipped = bytes([proof[place][0] ^ 1]) + proof[place][1:]
    wrong = [
        (leaf, index, size, [*proof[:place], flipped, *proof[place + 1 :]]),
        (leaf, index, size, proof[:-1]),
        (leaf, index, size, [*proof, proof[0]]),
        (leaf_hash(b"another"), index, size, proof),
        (leaf, size, size, proof),
        (leaf, -1, size, proof),
        (leaf, data.draw(st.integers(0, size - 1).filter(lambda n: n != index)), size, proof),
    ]
    for bad_leaf, bad_index, bad_size, bad in wrong:
        with pytest.raises(VerificationError) as caught:
            check_inclusion(bad_leaf, bad_index, bad_size, bad, root, "x")
        assert caught.value.code == "not-in-log"


@given(data=st.data(), new=st.integers(2, LARGEST))
def test_a_changed_history_is_never_consistent(data: st.DataObject, new: int) -> None:
    old = data.draw(st.integers(1, new - 1))
    proof = prove_consistency(old, new, TREE)
    old_root, new_root = root_of(old, TREE), root_of(new, TREE)
    other = hashlib.sha256(b"other").digest()
    wrong = [
        (old, new, other, new_root, proof),
        (old, new, old_root, other, proof),
        (old, new, old_root, new_root, proof[1:]),
        (old, new, old_root, new_root, [*proof, other]),
        (old, new, old_root, new_root, [other, *proof[1:]]),
        (old, new, old_root, new_root, [*proof[:-1], other]),
        (new, old, new_root, old_root, proof),
        (old, old, old_root, other, []),
        (0, new, other, new_root, []),
        (-1, new, old_root, new_root, proof),
    ]
    for bad_old, bad_new, first, second, bad in wrong:
        with pytest.raises(VerificationError) as caught:
            check_consistency(bad_old, bad_new, first, second, bad, "x")
        assert caught.value.code == "log-inconsistent"


def test_an_impossible_proof_is_not_made() -> None:
    with pytest.raises(ValueError, match="not in a tree"):
        prove_inclusion(3, 3, TREE)
    with pytest.raises(ValueError, match="prefix"):
        prove_consistency(4, 3, TREE)
