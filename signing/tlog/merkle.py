"""Merkle trees as RFC 6962 §2.1 defines them: roots, inclusion proofs, consistency proofs.

A tree of ``size`` leaves is never held here. Each procedure first says which *nodes* it needs
(complete subtrees, which never change once they exist), somebody reads them, and the rest is
arithmetic: plan, execute, compute. ``Node(level, number)`` is the subtree over the leaves
``number * 2**level`` to ``(number + 1) * 2**level``; a leaf's hash has level 0.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ..errors import VerificationError

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()  # RFC 6962 §2.1: the hash of an empty list
MAX_SIZE = 2**63 - 1


class Node(NamedTuple):
    """A complete subtree of ``2**level`` leaves, the ``number``-th of its level."""

    level: int
    number: int


Range = tuple[int, int]  # leaves from the first to before the second
ReadNodes = Callable[[Iterable[Node]], Mapping[Node, bytes]]


def leaf_hash(entry: bytes) -> bytes:
    """The hash of a leaf (RFC 6962 §2.1): another prefix than `node_hash`, so that no leaf can
    pass for a node."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node (RFC 6962 §2.1)."""
    return pair_hash(left + right)


def pair_hash(pair: bytes) -> bytes:
    """`node_hash` of two hashes that lie behind each other."""
    return hashlib.sha256(b"\x01" + pair).digest()


def _split(count: int) -> int:
    """The largest power of two smaller than ``count`` (> 1): RFC 6962 §2.1's k."""
    return 1 << ((count - 1).bit_length() - 1)


def nodes_of(leaves: Range) -> list[Node]:
    """The complete subtrees that make up ``leaves``, from left to right.

    ``leaves`` must be a range that RFC 6962's recursion visits: its start is a multiple of the
    power of two that holds its length.
    """
    low, high = leaves
    nodes = []
    while low < high:
        level = (high - low).bit_length() - 1
        nodes.append(Node(level, low >> level))
        low += 1 << level
    return nodes


def _fold(hashes: Sequence[bytes]) -> bytes:
    """The hash over subtrees of falling size, as `nodes_of` lists them."""
    result = hashes[-1]
    for left in reversed(hashes[:-1]):
        result = node_hash(left, result)
    return result


def hashes_of(ranges: Sequence[Range], read: ReadNodes) -> list[bytes]:
    """The Merkle tree hash of each of ``ranges``, with one call of ``read`` for all of them."""
    nodes = [nodes_of(leaves) for leaves in ranges]
    found = read([node for each in nodes for node in each])
    return [_fold([found[node] for node in each]) for each in nodes]


def root_of(size: int, read: ReadNodes) -> bytes:
    """The root of the first ``size`` leaves."""
    return hashes_of([(0, size)], read)[0] if size else EMPTY_ROOT


@dataclass(slots=True)
class Frontier:
    """The right edge of a tree of ``size`` leaves: its complete subtrees, the largest first, at
    most one for each bit of the size. It is all that appending and the root need."""

    size: int = 0
    edge: list[bytes] = field(default_factory=list)

    @classmethod
    def of(cls, size: int, read: ReadNodes) -> Frontier:
        """The edge of the first ``size`` leaves, with one call of ``read``."""
        nodes = nodes_of((0, size))
        found = read(nodes)
        return cls(size, [found[node] for node in nodes])

    def add(self, leaf: bytes) -> list[bytes]:
        """Takes the hash of the next leaf; returns those of the complete subtrees that end with
        it: of level 0, which is the leaf itself, of level 1 and so on."""
        completed, size = [leaf], self.size
        while size & 1:  # two subtrees of equal size become one
            completed.append(node_hash(self.edge.pop(), completed[-1]))
            size >>= 1
        self.edge.append(completed[-1])
        self.size += 1
        return completed

    @property
    def root(self) -> bytes:
        return _fold(self.edge) if self.edge else EMPTY_ROOT


# --- proofs: which ranges they are made of ---------------------------------------------------


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """What an audit path for leaf ``index`` in a tree of ``size`` is made of, from the leaf's
    sibling up (RFC 6962 §2.1.1)."""
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    low, high, path = 0, size, []
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            path.append((middle, high))
            high = middle
        else:
            path.append((low, middle))
            low = middle
    return path[::-1]


def consistency_ranges(old: int, new: int) -> list[Range]:
    """What a proof that the first ``old`` leaves are a prefix of the first ``new`` is made of
    (RFC 6962 §2.1.2). Empty for 0 and for equal sizes: nothing is left to prove."""
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {old} cannot be a prefix of one of {new}")
    if old in (0, new):
        return []
    low, high, ranges = 0, new, []
    while old != high:
        middle = low + _split(high - low)
        if old <= middle:
            ranges.append((middle, high))
            high = middle
        else:
            ranges.append((low, middle))
            low = middle
    if low:  # otherwise the verifier knows this hash: it is the old root
        ranges.append((low, high))
    return ranges[::-1]


def prove_inclusion(index: int, size: int, read: ReadNodes) -> list[bytes]:
    """The audit path of leaf ``index`` in the tree of the first ``size`` leaves."""
    return hashes_of(inclusion_ranges(index, size), read)


def prove_consistency(old: int, new: int, read: ReadNodes) -> list[bytes]:
    """The proof that the tree of ``old`` leaves is a prefix of the tree of ``new``."""
    return hashes_of(consistency_ranges(old, new), read)


# --- proofs: whether they hold ------------------------------------------------------------------


def check_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes, subject: str
) -> None:
    """Establishes that the leaf with hash ``leaf`` is number ``index`` in the tree with ``root``
    (RFC 9162 §2.1.3.2).

    Raises:
        VerificationError: ``not-in-log``.
    """
    if not 0 <= index < size:
        raise VerificationError("not-in-log", subject, f"an index below {size}", index)
    ranges = inclusion_ranges(index, size)
    if len(proof) != len(ranges):
        raise VerificationError("not-in-log", subject, f"{len(ranges)} hashes", len(proof))
    found = leaf
    for (low, _), sibling in zip(ranges, proof, strict=True):
        found = node_hash(sibling, found) if low <= index else node_hash(found, sibling)
    if found != root:
        raise VerificationError(
            "not-in-log", subject, f"log root {root.hex()}", found.hex(),
            "the log does not contain it: do not use it, tell the registry's operator",
        )  # fmt: skip


def check_consistency(
    old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes], subject: str
) -> None:
    """Establishes that the tree of ``old`` leaves with ``old_root`` is a prefix of the tree of
    ``new`` leaves with ``new_root`` (RFC 9162 §2.1.4.2).

    Raises:
        VerificationError: ``log-inconsistent``.
    """
    if not 0 <= old <= new:
        raise VerificationError("log-inconsistent", subject, f"at least {old} entries", new)
    ranges = consistency_ranges(old, new)
    if len(proof) != len(ranges):
        raise VerificationError("log-inconsistent", subject, f"{len(ranges)} hashes", len(proof))
    if old == 0:
        found_old, found_new = EMPTY_ROOT, new_root if new else EMPTY_ROOT
    elif old == new:
        found_old = found_new = old_root
    else:
        # Where the proof does not begin with the old tree's last part, the old root itself does.
        whole = proof if ranges[0][1] == old else [old_root, *proof]
        found_old, found_new = prefix_roots(old, new, whole)
    for expected, found in ((old_root, found_old), (new_root, found_new)):
        if expected != found:
            raise VerificationError(
                "log-inconsistent", subject, f"root {expected.hex()}", found.hex()
            )


def prefix_ranges(old: int, new: int) -> list[Range]:
    """`consistency_ranges` with the old tree's hash always among them: from these alone both roots
    can be computed, so that they show what the first ``old`` leaves of the new tree are."""
    ranges = consistency_ranges(old, new)
    return ranges if ranges and ranges[0][1] == old else [(0, old), *ranges]


def prove_prefix(old: int, new: int, read: ReadNodes) -> list[bytes]:
    """The hashes of `prefix_ranges` (0 < ``old`` < ``new``)."""
    return hashes_of(prefix_ranges(old, new), read)


def prefix_roots(old: int, new: int, proof: Sequence[bytes]) -> tuple[bytes, bytes]:
    """The roots of the first ``old`` and of all ``new`` leaves that ``proof`` leads to.

    What lies left of ``old`` belongs to both trees, what lies right of it to the new one alone.
    """
    before = after = proof[0]
    for (low, _), part in zip(prefix_ranges(old, new)[1:], proof[1:], strict=True):
        if low < old:
            before, after = node_hash(part, before), node_hash(part, after)
        else:
            after = node_hash(after, part)
    return before, after
