"""What a log asks a witness and what the witness answers (c2sp.org/tlog-witness).

``add-checkpoint`` alone; ``sign-subtree`` is optional and is not spoken here.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import MalformedError
from .merkle import HASH_BYTES
from .note import MAX_NOTE_BYTES, MAX_SIGNATURES, NoteSignature, decode_base64, parse_signature
from .tiles import parse_size

SIZE_TYPE = "text/x.tlog.size"  # the Content-Type of the answer 409
MAX_PROOF_HASHES = 63
MAX_REQUEST_BYTES = MAX_NOTE_BYTES + 4096  # the note, and 63 hashes with the line above them
_OLD = "old "


@dataclass(frozen=True, slots=True, kw_only=True)
class AddCheckpoint:
    """Please cosign ``checkpoint`` (a note in its exact bytes), which ``proof`` shows to continue
    the tree of ``old`` leaves."""

    old: int
    proof: tuple[bytes, ...]
    checkpoint: bytes


def render_add_checkpoint(old: int, proof: Sequence[bytes], checkpoint: bytes) -> bytes:
    """The body of the request. ``checkpoint`` is the signed note."""
    lines = [f"{_OLD}{old}", *(base64.b64encode(each).decode() for each in proof)]
    return ("\n".join(lines) + "\n\n").encode() + checkpoint


def parse_add_checkpoint(data: bytes, where: str = "add-checkpoint") -> AddCheckpoint:
    """Reads the body of the request. The note in it is not looked at.

    Raises:
        MalformedError: whatever the bytes are otherwise.
    """
    if len(data) > MAX_REQUEST_BYTES:
        raise MalformedError(where, f"at most {MAX_REQUEST_BYTES} bytes", len(data))
    head, blank, checkpoint = data.partition(b"\n\n")
    try:
        first, *hashes = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise MalformedError(where, "ASCII text before the checkpoint", "other bytes") from None
    if not blank or not first.startswith(_OLD):
        raise MalformedError(
            where, "an 'old <size>' line, proof lines, an empty line and a checkpoint", first
        )
    old = parse_size(first.removeprefix(_OLD), f"{where}: old")
    if len(hashes) > MAX_PROOF_HASHES:
        raise MalformedError(f"{where}: proof", f"at most {MAX_PROOF_HASHES} hashes", len(hashes))
    return AddCheckpoint(
        old=old,
        proof=tuple(_hash(line, f"{where}: proof[{at}]") for at, line in enumerate(hashes)),
        checkpoint=checkpoint,
    )


def _hash(line: str, where: str) -> bytes:
    found = decode_base64(line, where)
    if len(found) != HASH_BYTES:
        raise MalformedError(where, f"{HASH_BYTES} bytes", len(found))
    return found


def render_size(size: int) -> bytes:
    """The body of the answer 409: the size that the witness cosigned last."""
    return f"{size}\n".encode()


def parse_size_answer(body: bytes, where: str = "witness") -> int:
    """Reads the body of the answer 409.

    Raises:
        MalformedError: whatever the bytes are otherwise.
    """
    if not body.endswith(b"\n"):
        raise MalformedError(where, "a size and a newline", body[:40])
    try:
        return parse_size(body[:-1].decode("ascii"), where)
    except UnicodeDecodeError:
        raise MalformedError(where, "a size and a newline", body[:40]) from None


def parse_cosignatures(body: bytes, where: str = "witness") -> tuple[NoteSignature, ...]:
    """Reads the body of the answer 200: one or more signature lines. None of them is verified
    here, and those of unknown keys are to be ignored.

    Raises:
        MalformedError: whatever the bytes are otherwise.
    """
    if len(body) > MAX_NOTE_BYTES:
        raise MalformedError(where, f"at most {MAX_NOTE_BYTES} bytes", len(body))
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedError(where, "UTF-8 text", "other bytes") from None
    lines = text.split("\n")
    if lines.pop() or not lines:
        raise MalformedError(where, "signature lines that end in a newline", text)
    if len(lines) > MAX_SIGNATURES:
        raise MalformedError(where, f"at most {MAX_SIGNATURES} signatures", len(lines))
    return tuple(parse_signature(line, where) for line in lines)
