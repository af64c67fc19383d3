"""Evidence that a log showed two histories: a file that anybody can check with the log's key.

It holds two checkpoints that the log signed and that cannot both be true. Of the same size, their
roots differ. Of different sizes, a proof leads from hashes to the newer root, and the same hashes
show that its first leaves are not the ones that the older checkpoint was signed for.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..encoding import Fields, canonical_json, parse_json
from ..errors import MalformedError, VerificationError
from .checkpoint import Checkpoint, open_checkpoint, parse_checkpoint
from .merkle import HASH_BYTES, prefix_ranges, prefix_roots
from .note import MAX_NOTE_BYTES, NoteKey, decode_base64, parse_note

SCHEMA = "forge-log-fork-1"
_MAX_BYTES = 3 * MAX_NOTE_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """Two contradicting checkpoints in the bytes that were signed, the smaller one first.
    ``prefix`` is empty where the sizes are equal."""

    first: bytes
    second: bytes
    prefix: tuple[bytes, ...] = ()

    def to_bytes(self) -> bytes:
        return canonical_json(
            {
                "schema": SCHEMA,
                "first": self.first.decode(),
                "second": self.second.decode(),
                "prefix": [base64.b64encode(each).decode() for each in self.prefix],
            }
        )


def parse_fork(data: bytes, where: str = "evidence of a fork") -> Fork:
    """Reads an evidence file; nothing is verified here.

    Raises:
        MalformedError: another form.
    """
    fields = Fields.of(parse_json(data, where, max_bytes=_MAX_BYTES), where)
    fields.only(("schema", "first", "second", "prefix"))
    fields.literal("schema", SCHEMA)
    prefix = tuple(decode_base64(text, fields.path("prefix")) for text in fields.texts("prefix"))
    if any(len(each) != HASH_BYTES for each in prefix):
        raise MalformedError(fields.path("prefix"), "SHA-256 hashes", "another length")
    first, second = (
        fields.text(name, max_chars=MAX_NOTE_BYTES).encode() for name in ("first", "second")
    )
    return Fork(first=first, second=second, prefix=prefix)


def origin_of(fork: Fork) -> str:
    """The log that the evidence speaks of, by its own words: unverified."""
    return parse_checkpoint(parse_note(fork.first).text).origin


def check_fork(fork: Fork, keys: Iterable[NoteKey]) -> tuple[Checkpoint, Checkpoint]:
    """The two checkpoints, after establishing that one of ``keys`` signed both and that they
    contradict each other.

    Raises:
        VerificationError: they do not (``no-fork``), or were not signed by the log.
    """
    keys = list(keys)
    first = open_checkpoint(fork.first, keys, (), "first checkpoint").checkpoint
    second = open_checkpoint(fork.second, keys, (), "second checkpoint").checkpoint
    if contradiction(first, second, fork.prefix):
        return first, second
    raise VerificationError(
        "no-fork",
        f"evidence about {first.origin}",
        "two checkpoints that contradict each other",
        f"{first.size} and {second.size} entries that may both be true",
    )


def contradiction(first: Checkpoint, second: Checkpoint, prefix: Sequence[bytes]) -> bool:
    """Whether the two cannot both be true. For different sizes ``prefix`` must lead to the root of
    the larger one; what else it leads to is then what the smaller one should have been."""
    if first.size == second.size:
        return first.root != second.root
    if not 0 < first.size < second.size:
        return False
    if len(prefix) != len(prefix_ranges(first.size, second.size)):
        return False
    before, after = prefix_roots(first.size, second.size, prefix)
    return after == second.root and before != first.root
