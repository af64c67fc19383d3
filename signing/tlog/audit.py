"""Going through a log from its first leaf: is it what its checkpoint says, and does it make sense.

The auditor keeps no leaves, only the right edge of the tree and the last version of each role, so
a million leaves cost hardly any memory, and an audit can go on where the last one ended.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ..encoding import Fields, canonical_json, parse_json
from ..errors import MalformedError, VerificationError
from .checkpoint import Checkpoint
from .entries import ROLE, Entry, parse_entry
from .merkle import HASH_BYTES, Frontier, leaf_hash
from .note import decode_base64

_SCHEMA = "forge-log-audit-1"
_MAX_BYTES = 64 * 1024 * 1024


@dataclass(slots=True)
class Auditor:
    """``problems`` says, in words, what no honest log of this registry contains."""

    tree: Frontier = field(default_factory=Frontier)
    heads: dict[str, int] = field(default_factory=dict)  # {role: newest version}
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def add(self, leaves: Iterable[bytes]) -> Iterator[tuple[int, Entry]]:
        """Takes the next leaves; yields ``(number, entry)`` of those that are understood."""
        for data in leaves:
            number = self.size
            self.tree.add(leaf_hash(data))
            try:
                entry = parse_entry(data, f"leaf {number}")
            except MalformedError as error:
                self.problems.append(error.message)
                continue
            self._judge(number, entry)
            yield number, entry

    def _judge(self, number: int, entry: Entry) -> None:
        self.counts[entry.act] += 1
        if entry.act != ROLE or entry.version is None:
            return
        expected = self.heads.get(entry.subject, 0) + 1
        if entry.version != expected:
            self.problems.append(
                f"leaf {number}: role {entry.subject}: expected version {expected}, "
                f"found {entry.version}"
            )
        self.heads[entry.subject] = max(entry.version, expected - 1)

    @property
    def size(self) -> int:
        """How many leaves were taken so far."""
        return self.tree.size

    @property
    def root(self) -> bytes:
        """The root of what was taken so far."""
        return self.tree.root

    def require(self, checkpoint: Checkpoint) -> None:
        """Establishes that the leaves taken are all those of ``checkpoint`` and no others.

        Raises:
            VerificationError: ``log-inconsistent``.
        """
        if (self.size, self.root) != (checkpoint.size, checkpoint.root):
            raise VerificationError(
                "log-inconsistent",
                f"log {checkpoint.origin}",
                f"{checkpoint.size} leaves with root {checkpoint.root.hex()}",
                f"{self.size} leaves with root {self.root.hex()}",
                "the leaves that are served are not the ones that the log signed: tell everybody",
            )

    def to_bytes(self) -> bytes:
        """What is needed to go on another day."""
        return canonical_json(
            {
                "schema": _SCHEMA,
                "size": self.size,
                "edge": [base64.b64encode(each).decode() for each in self.tree.edge],
                "heads": self.heads,
                "counts": dict(self.counts),
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes, where: str = "audit state") -> Auditor:
        """Reads what `to_bytes` wrote.

        Raises:
            MalformedError: another form.
        """
        fields = Fields.of(parse_json(data, where, max_bytes=_MAX_BYTES), where)
        fields.only(("schema", "size", "edge", "heads", "counts"))
        fields.literal("schema", _SCHEMA)
        size = fields.integer("size")
        edge = [decode_base64(text, fields.path("edge")) for text in fields.texts("edge")]
        if len(edge) != size.bit_count() or any(len(each) != HASH_BYTES for each in edge):
            raise MalformedError(fields.path("edge"), f"{size.bit_count()} hashes", len(edge))
        heads, counts = fields.object("heads"), fields.object("counts")
        return cls(
            tree=Frontier(size, edge),
            heads={role: heads.integer(role, low=1) for role in heads.value},
            counts=Counter({act: counts.integer(act) for act in counts.value}),
        )


def concerns(entry: Entry, org: str) -> bool:
    """Whether a leaf is about organisation ``org``: its role, its projects' or something done
    to it or to a component of it."""
    name = entry.subject
    return name == org or name.startswith((f"{org}.", f"{org}/"))


def summary(auditor: Auditor) -> Sequence[tuple[str, int]]:
    """``(act, how many leaves)``, most frequent first."""
    return auditor.counts.most_common()
