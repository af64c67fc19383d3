"""Whether a checkpoint may be cosigned: the checks of c2sp.org/tlog-witness, in its order.

Pure: what was seen last comes in, signatures or a refusal come out. Nothing here trusts who asks;
a request is authenticated by the log's signature alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from signing.errors import MalformedError, SigningError, VerificationError
from signing.tlog.checkpoint import Checkpoint, check_cosignature, parse_tree_head
from signing.tlog.merkle import EMPTY_ROOT, check_consistency
from signing.tlog.note import Note, NoteKey, NoteSignature, check_note, parse_note
from signing.tlog.witnessing import AddCheckpoint, parse_add_checkpoint

from .errors import Refused

_WHERE = "checkpoint"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request to cosign, read and not verified."""

    request: AddCheckpoint
    note: Note
    head: Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the witness cosigned last of a log. ``raw`` is the note with the log's signatures and
    the witness's own."""

    head: Checkpoint
    raw: bytes


def read_request(body: bytes) -> Asked:
    """The request in ``body``.

    Raises:
        Refused: it has another form (400).
    """
    try:
        request = parse_add_checkpoint(body)
        note = parse_note(request.checkpoint, _WHERE)
        return Asked(request=request, note=note, head=parse_tree_head(note.text, _WHERE))
    except MalformedError as error:
        raise Refused(400, error.message) from None


def require_signed(note: Note, keys: Sequence[NoteKey]) -> tuple[NoteSignature, ...]:
    """The signatures of ``note`` by ``keys``, all verified and each once; those of unknown keys
    are ignored.

    Raises:
        Refused: there is none, or one of them does not verify (403).
    """
    try:
        check_note(note, keys, _WHERE)
    except VerificationError as error:
        raise Refused(403, error.message) from None
    return tuple(dict.fromkeys(each for key in keys for each in key.own(note)))


def require_remembered(asked: Asked, seen: Seen | None, own: NoteKey) -> None:
    """Establishes that the checkpoint is not one which this witness cosigned and then forgot.

    Our own cosignature on a larger tree than we remember means that what we remember came from an
    old copy. Whatever we cosigned since then, a fork of it would pass all other checks.

    Raises:
        Refused: it is one (503).
    """
    known = seen.head.size if seen else -1
    if asked.head.size > known and _is_cosigned(asked.note, own):
        raise Refused(
            503,
            f"{asked.head.origin}: expected to remember size {asked.head.size}, which this witness "
            f"cosigned, found {seen.head.size if seen else 'nothing'}: its memory is an old copy, "
            "and it cosigns nothing of this log until its operator has acted",
        )


def _is_cosigned(note: Note, own: NoteKey) -> bool:
    for each in own.own(note):
        with suppress(SigningError):
            check_cosignature(each, note.text, own)
            return True
    return False


def require_growth(asked: Asked, seen: Seen | None) -> None:
    """Establishes that the checkpoint continues what was cosigned last; its signature must have
    been verified.

    Raises:
        Refused: the sizes (400, 409) or the trees (422) do not fit.
    """
    old, head = asked.request.old, asked.head
    known = seen.head if seen else Checkpoint(origin=head.origin, size=0, root=EMPTY_ROOT)
    # Said whatever the answer will be: the order of the checks must not hide a fork.
    fork = _is_fork(head, known)
    if old > head.size:
        raise Refused(
            400,
            f"{head.origin}: expected an old size of at most {head.size}, found {old}",
            contradicts=fork,
        )
    if old != known.size:
        raise Refused(
            409,
            f"{head.origin}: expected old size {known.size}, found {old}",
            size=known.size,
            contradicts=fork,
        )
    try:
        check_consistency(
            old, head.size, known.root, head.root, asked.request.proof, f"{_WHERE} of {head.origin}"
        )
    except VerificationError as error:
        raise Refused(422, error.message, contradicts=fork, unproven=not fork) from None


def _is_fork(head: Checkpoint, known: Checkpoint) -> bool:
    """Whether the log signed two roots for one size; an empty tree has one root alone."""
    if head.size == 0 and head.root != EMPTY_ROOT:
        return True
    return head.size == known.size and head.root != known.root
