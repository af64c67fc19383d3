"""Proofs that something is in the log, which verify offline (c2sp.org/tlog-proof).

The file holds the leaf's number, its audit path and the cosigned checkpoint; what the leaf says
must be known from elsewhere. It is the receipt that stays beside an installed component.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import MalformedError
from .checkpoint import SignedCheckpoint, open_checkpoint
from .merkle import HASH_BYTES, check_inclusion, leaf_hash
from .note import NoteKey, decode_base64
from .tiles import parse_size

HEADER = "c2sp.org/tlog-proof@v1"
SUFFIX = ".tlog-proof"
_MAX_HASHES = 63
_MAX_BYTES = 128 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class LogProof:
    """``checkpoint`` is the note in its exact bytes."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes

    def to_bytes(self) -> bytes:
        lines = [HEADER, f"index {self.index}"]
        lines += [base64.b64encode(each).decode() for each in self.hashes]
        return ("\n".join(lines) + "\n\n").encode() + self.checkpoint


def parse_proof(data: bytes, where: str = "log proof") -> LogProof:
    """Reads a proof. Nothing is verified here; an ``extra`` line is skipped, because nobody signed
    it.

    Raises:
        MalformedError: whatever the bytes are otherwise.
    """
    if len(data) > _MAX_BYTES:
        raise MalformedError(where, f"at most {_MAX_BYTES} bytes", len(data))
    head, blank, checkpoint = data.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise MalformedError(where, "ASCII text", "other bytes") from None
    if not blank or lines[0] != HEADER:
        raise MalformedError(where, HEADER, lines[0])
    rest = lines[1:]
    if rest and rest[0].startswith("extra "):
        decode_base64(rest[0].removeprefix("extra "), f"{where}: extra")
        rest = rest[1:]
    if not rest or not rest[0].startswith("index "):
        raise MalformedError(where, "an index line", rest[0] if rest else "nothing")
    hashes = tuple(decode_base64(line, f"{where}: hash") for line in rest[1:])
    if len(hashes) > _MAX_HASHES or any(len(each) != HASH_BYTES for each in hashes):
        raise MalformedError(where, f"at most {_MAX_HASHES} SHA-256 hashes", f"{len(hashes)}")
    return LogProof(
        index=parse_size(rest[0].removeprefix("index "), f"{where}: index"),
        hashes=hashes,
        checkpoint=checkpoint,
    )


def check_proof(
    proof: LogProof,
    entry: bytes,
    log_keys: Iterable[NoteKey],
    witness_keys: Iterable[NoteKey],
    subject: str,
) -> SignedCheckpoint:
    """Establishes that ``entry`` is in the log that the proof's checkpoint speaks of.

    Raises:
        VerificationError: ``not-in-log``, or a checkpoint that does not verify.
    """
    signed = open_checkpoint(proof.checkpoint, log_keys, witness_keys, f"{subject}: checkpoint")
    check_inclusion(
        leaf_hash(entry),
        proof.index,
        signed.checkpoint.size,
        proof.hashes,
        signed.checkpoint.root,
        subject,
    )
    return signed
