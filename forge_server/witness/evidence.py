"""What is kept when a log contradicts itself: both signed notes, in a file anyone can check.

``fork-*`` convicts the log: it signed two roots for one size. ``unproven-*`` convicts nobody by
itself, since a stranger can send a genuine checkpoint with a wrong proof; the log must show that
one of the two continues the other. There is one file for each pair of statements, strangers'
signature lines are left out, and the second kind has a low limit: repeating a request fills no
disk, and keeps no fork from being written down.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from signing.digests import sha256_hex
from signing.tlog.note import Note, NoteKey, NoteSignature
from storage.durable import write_file_durably

from .judging import Asked, Seen

# {kind: (how many files of it, what it claims)}
KINDS: Mapping[str, tuple[int, str]] = {
    "fork": (1000, "the log signed two roots for one size"),
    "unproven": (100, "the log signed a tree that was not shown to continue the one before"),
}


def keep_evidence(
    folder: Path,
    *,
    kind: str,
    asked: Asked,
    signatures: Sequence[NoteSignature],
    seen: Seen | None,
    keys: Sequence[NoteKey],
    now: datetime,
) -> Path | None:
    """Writes down that ``asked`` does not go with ``seen``; ``kind`` is one of `KINDS`,
    ``signatures`` are the log's, verified.

    Returns the file, which may have been there already; None where there are too many.
    """
    offered = Note(text=asked.note.text, signatures=tuple(signatures)).to_bytes()
    seen_raw = seen.raw if seen else b""
    pair = sha256_hex((seen.head.text if seen else "").encode() + asked.note.text.encode())
    path = folder / f"{kind}-{sha256_hex(asked.head.origin.encode())[:16]}-{pair[:16]}.json"
    if path.exists():
        return path
    limit, claim = KINDS[kind]
    if sum(1 for _ in folder.glob(f"{kind}-*.json")) >= limit:
        return None
    document = {
        "claim": claim,
        "log_keys": [key.vkey for key in keys],
        "seen": seen_raw.decode(),
        "offered": offered.decode(),
        "old": asked.request.old,
        "proof": [base64.b64encode(each).decode() for each in asked.request.proof],
        "at": now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    text = json.dumps(document, ensure_ascii=False, indent=2) + "\n"
    with suppress(FileExistsError):
        write_file_durably(path, text.encode())
    return path
