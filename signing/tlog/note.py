"""Signed notes (c2sp.org/signed-note): a text, a blank line, and a line for each signature.

A key is named by its name and a four-byte id. Signatures by unknown keys are ignored, as the
specification demands: that is how witnesses and future algorithms fit in. A signature by a
known key that does not verify spoils the whole note.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ed25519

from ..encoding import is_plain
from ..errors import MalformedError, VerificationError
from ..keys import PublicKey

ED25519 = 0x01  # signs the note's text
COSIGNATURE = 0x04  # a witness's: signs the text with a time (c2sp.org/tlog-cosignature)
MAX_NOTE_BYTES = 64 * 1024
MAX_SIGNATURES = 64
_DASH = "\u2014 "
_NAME = re.compile(r"[^\s+]{1,255}")


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteSignature:
    """One signature line. ``data`` is what follows the key id, whatever its algorithm."""

    name: str
    key_id: bytes
    data: bytes

    @property
    def line(self) -> str:
        return f"{_DASH}{self.name} {base64.b64encode(self.key_id + self.data).decode()}\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """``text`` ends in a newline and is what the signatures are over."""

    text: str
    signatures: tuple[NoteSignature, ...]

    def to_bytes(self) -> bytes:
        return (self.text + "\n" + "".join(each.line for each in self.signatures)).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteKey:
    """A verifier key: who may sign notes under ``name``, and how (`ED25519`, `COSIGNATURE`)."""

    name: str
    kind: int
    public: PublicKey

    @classmethod
    def parse(cls, vkey: str, where: str = "verifier key") -> NoteKey:
        """Reads ``<name>+<key id in hex>+<base64 of kind and key>``.

        Raises:
            MalformedError: not that form, a kind that is not supported, an id of another key.
        """
        parts = vkey.split("+", 2)
        if len(parts) != 3 or not is_name(parts[0]):
            raise MalformedError(where, "name+id+key", vkey)
        raw = decode_base64(parts[2], where)
        if len(raw) != 33 or raw[0] not in (ED25519, COSIGNATURE):
            raise MalformedError(where, "an Ed25519 key (kind 1 or 4)", f"kind {raw[:1].hex()}")
        try:
            public = PublicKey(ed25519.Ed25519PublicKey.from_public_bytes(raw[1:]))
        except ValueError:
            raise MalformedError(where, "an Ed25519 key", "other bytes") from None
        key = cls(name=parts[0], kind=raw[0], public=public)
        if parts[1] != key.key_id.hex():
            raise MalformedError(where, f"key id {key.key_id.hex()}", parts[1])
        return key

    @property
    def raw(self) -> bytes:
        """The kind and the 32 bytes of the public key."""
        return bytes([self.kind]) + bytes.fromhex(self.public.tuf.keyval["public"])

    @property
    def key_id(self) -> bytes:
        """Four bytes; an identifier, not a commitment."""
        return hashlib.sha256(self.name.encode() + b"\n" + self.raw).digest()[:4]

    @property
    def vkey(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(self.raw).decode()}"

    def own(self, note: Note) -> list[NoteSignature]:
        """The signature lines of ``note`` that claim to be by this key."""
        return [
            each
            for each in note.signatures
            if each.name == self.name and each.key_id == self.key_id
        ]


def is_name(text: str) -> bool:
    """Whether ``text`` may name a key or a log: no spaces, no plus, no control characters."""
    return bool(_NAME.fullmatch(text)) and is_plain(text)


def parse_note(data: bytes, where: str = "note") -> Note:
    """Reads a note. No signature is verified here.

    Raises:
        MalformedError: whatever the bytes are otherwise.
    """
    if len(data) > MAX_NOTE_BYTES:
        raise MalformedError(where, f"at most {MAX_NOTE_BYTES} bytes", len(data))
    try:
        whole = data.decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedError(where, "UTF-8 text", "other bytes") from None
    if any(char < " " and char != "\n" for char in whole):
        raise MalformedError(where, "no control characters", "one")
    text, blank, tail = whole.rpartition("\n\n")
    if not blank or not tail.endswith("\n"):
        raise MalformedError(where, "a text, a blank line and signatures", "another form")
    lines = tail[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise MalformedError(where, f"at most {MAX_SIGNATURES} signatures", len(lines))
    return Note(text=text + "\n", signatures=tuple(parse_signature(line, where) for line in lines))


def parse_signature(line: str, where: str) -> NoteSignature:
    """Reads one signature line, without its newline."""
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not space or not is_name(name):
        raise MalformedError(where, "a signature line", line)
    raw = decode_base64(encoded, where)
    if len(raw) < 5:
        raise MalformedError(where, "a key id and a signature", f"{len(raw)} bytes")
    return NoteSignature(name=name, key_id=raw[:4], data=raw[4:])


def check_note(note: Note, keys: Iterable[NoteKey], subject: str) -> NoteKey:
    """The first of ``keys`` (of kind `ED25519`) that signed ``note``.

    Raises:
        VerificationError: none of them did (``threshold-not-met``), or a signature under the name
            of one of them does not verify (``signature-invalid``).
    """
    keys = list(keys)
    signed = [key for key in keys if _signed_by(note, key, subject)]
    if not signed:
        names = ", ".join(sorted({each.name for each in note.signatures})) or "nobody"
        expected = ", ".join(f"{key.name} ({key.key_id.hex()})" for key in keys) or "a known key"
        raise VerificationError(
            "threshold-not-met", subject, f"a signature by {expected}", f"signed by {names}"
        )
    return signed[0]


def _signed_by(note: Note, key: NoteKey, subject: str) -> bool:
    own = key.own(note)
    for each in own:
        key.public.verify(each.data, note.text.encode(), f"{subject}: signature of {key.name}")
    return bool(own)


def merge_signatures(note: Note, added: Sequence[NoteSignature]) -> Note:
    """``note`` with ``added`` behind its own signatures; one line for each key."""
    kept = [
        each
        for each in note.signatures
        if not any((each.name, each.key_id) == (new.name, new.key_id) for new in added)
    ]
    return Note(text=note.text, signatures=(*kept, *added))


def decode_base64(text: str, where: str) -> bytes:
    """The bytes of ``text``, which must be standard base64 in its one spelling."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise MalformedError(where, "base64", text) from None
    if base64.b64encode(raw).decode() != text:
        raise MalformedError(where, "canonical base64", text)
    return raw
