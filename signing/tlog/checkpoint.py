"""Checkpoints (c2sp.org/tlog-checkpoint) and witnesses' cosignatures (c2sp.org/tlog-cosignature).

A checkpoint says that a log of this name has so many leaves with this root. The log signs it;
each witness that saw it grow out of what it saw before adds a cosignature with the time.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from ..errors import MalformedError, VerificationError
from ..keys import PrivateKey
from .merkle import EMPTY_ROOT, HASH_BYTES
from .note import (
    COSIGNATURE,
    ED25519,
    Note,
    NoteKey,
    NoteSignature,
    check_note,
    decode_base64,
    is_name,
    parse_note,
)
from .tiles import parse_size

_MAX_TIME = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """``size`` leaves hash to ``root`` in the log called ``origin``."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The note's text: three lines."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedCheckpoint:
    """A checkpoint whose signatures were verified. ``witnesses`` maps each known witness that
    cosigned it to when it did. ``raw`` is the note in the bytes that were verified."""

    checkpoint: Checkpoint
    raw: bytes
    key: NoteKey
    witnesses: Mapping[str, datetime]


def parse_checkpoint(text: str, where: str = "checkpoint") -> Checkpoint:
    """Reads the text of a checkpoint's note.

    Extension lines are refused: no witness makes a statement about them, so that two views could
    differ in them and still be cosigned.
    """
    checkpoint = parse_tree_head(text, where)
    if text != checkpoint.text:
        found = f"{text.count(chr(10))} lines"
        raise MalformedError(where, "three lines: origin, size, root", found)
    if not is_name(checkpoint.origin):
        raise MalformedError(f"{where}: origin", "a name without spaces or plus", checkpoint.origin)
    if checkpoint.size == 0 and checkpoint.root != EMPTY_ROOT:
        raise MalformedError(f"{where}: root", "the hash of the empty tree", checkpoint.root.hex())
    return checkpoint


def parse_tree_head(text: str, where: str = "checkpoint") -> Checkpoint:
    """Reads the first three lines of a checkpoint as a witness does: whatever tlog-checkpoint
    allows, extension lines among it. The root of an empty tree is not checked.

    Raises:
        MalformedError: whatever the text is otherwise.
    """
    lines = text.split("\n")
    if len(lines) < 4 or lines.pop() or not all(lines):
        raise MalformedError(where, "lines with origin, size and root, none empty", text)
    size = parse_size(lines[1], f"{where}: size")
    root = decode_base64(lines[2], f"{where}: root")
    if len(root) != HASH_BYTES:
        raise MalformedError(f"{where}: root", f"{HASH_BYTES} bytes", len(root))
    return Checkpoint(origin=lines[0], size=size, root=root)


def log_key(origin: str, key: PrivateKey) -> NoteKey:
    """The verifier key of the log that ``key`` signs for."""
    return _key(origin, ED25519, key)


def witness_key(name: str, key: PrivateKey) -> NoteKey:
    """The verifier key of the witness that cosigns with ``key``."""
    return _key(name, COSIGNATURE, key)


def _key(name: str, kind: int, key: PrivateKey) -> NoteKey:
    if key.public.algorithm != "ed25519" or not is_name(name):
        raise MalformedError("note key", "an Ed25519 key and a name without spaces or plus", name)
    return NoteKey(name=name, kind=kind, public=key.public)


def sign_checkpoint(checkpoint: Checkpoint, key: PrivateKey) -> Note:
    """The log's own signature. Whoever calls this must never sign two roots for one size."""
    own = log_key(checkpoint.origin, key)
    signature = NoteSignature(
        name=own.name, key_id=own.key_id, data=key.sign(checkpoint.text.encode())
    )
    return Note(text=checkpoint.text, signatures=(signature,))


def cosign(text: str, name: str, key: PrivateKey, now: datetime) -> NoteSignature:
    """A witness's cosignature over the text of a checkpoint, made at ``now``."""
    seconds = int(now.timestamp())
    data = seconds.to_bytes(8, "big") + key.sign(_cosigned(text, seconds))
    return NoteSignature(name=name, key_id=witness_key(name, key).key_id, data=data)


def _cosigned(text: str, seconds: int) -> bytes:
    return f"cosignature/v1\ntime {seconds}\n{text}".encode()


def check_cosignature(signature: NoteSignature, text: str, key: NoteKey) -> datetime:
    """When the witness with ``key`` made ``signature`` over ``text``.

    Raises:
        MalformedError: another length, or a time beyond 2^63 - 1.
        VerificationError: it does not verify (``signature-invalid``).
    """
    subject = f"cosignature of {key.name}"
    if len(signature.data) != 72:
        raise MalformedError(subject, "72 bytes", len(signature.data))
    seconds = int.from_bytes(signature.data[:8], "big")
    if seconds > _MAX_TIME:
        raise MalformedError(subject, "a time below 2^63", seconds)
    key.public.verify(signature.data[8:], _cosigned(text, seconds), subject)
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        raise MalformedError(subject, "a time before the year 10000", seconds) from None


def open_checkpoint(
    data: bytes,
    log_keys: Iterable[NoteKey],
    witness_keys: Iterable[NoteKey],
    where: str = "checkpoint",
) -> SignedCheckpoint:
    """Reads a checkpoint and verifies the log's signature and each known witness's.

    Not checked here: how many witnesses there must be.

    Raises:
        MalformedError: not a checkpoint.
        VerificationError: no signature of a known log key for its origin, or one that does not
            verify.
    """
    note = parse_note(data, where)
    checkpoint = parse_checkpoint(note.text, where)
    own = [key for key in log_keys if key.name == checkpoint.origin]
    if not own:
        raise VerificationError("log-unknown", where, "a log that is trusted", checkpoint.origin)
    key = check_note(note, own, where)
    witnesses: dict[str, datetime] = {}
    for witness in witness_keys:
        times = [check_cosignature(each, note.text, witness) for each in witness.own(note)]
        if times:
            witnesses[witness.name] = max(times)
    return SignedCheckpoint(checkpoint=checkpoint, raw=data, key=key, witnesses=witnesses)
