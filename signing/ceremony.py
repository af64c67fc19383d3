"""The file that keyholders carry from machine to machine, and its exact bytes.

A ceremony is one or more new versions of the authority's roles (root, targets, registrar) that
belong together. The file holds for each the very bytes to be signed and the signatures so far,
and beside them the signed metadata that it follows from: the chain of roots from the first one,
and the current targets and registrar roles. It holds nothing else. What it would change is
computed from these bytes on every machine (`signing.ceremony_words`), because words in a file
could say one thing while the bytes say another.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuf.api.metadata import Metadata, Root, Signature, Targets
from tuf.api.serialization.json import CanonicalJSONSerializer

from .digests import sha256_hex
from .encoding import Fields, canonical_json, parse_json
from .errors import MalformedError
from .roles import parse_signed

SCHEMA = "forge-ceremony-1"
ROLES = ("root", "targets", "registrar")  # in the order in which one leads to the next
MAX_BYTES = 32_000_000
_KEYID = re.compile(r"[0-9a-f]{64}")
_SIGNATURE = re.compile(r"(?:[0-9a-f]{2}){1,256}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A new version of one role. ``signatures`` is ``{keyid: signature in hex}``."""

    role: str
    payload: bytes
    signatures: Mapping[str, str]

    @property
    def metadata(self) -> Metadata[Any]:
        """The role as TUF metadata with the signatures so far; parsed anew each time."""
        # TUF's canonical JSON writes a line break as itself, which in JSON stands nowhere but in
        # strings (keys in PEM have some) and there as \\n.
        text = self.payload.replace(b"\n", b"\\n")
        value = {"signed": parse_json(text, self.role), "signatures": []}
        # Through the same border as every role: whatever the bytes, only MalformedError.
        parsed = parse_signed(canonical_json(value), self.role, kind_of(self.role))
        for keyid, signature in sorted(self.signatures.items()):
            parsed.signatures[keyid] = Signature(keyid, signature)
        return parsed

    @property
    def version(self) -> int:
        version: int = self.metadata.signed.version
        return version

    @property
    def digest(self) -> str:
        """The SHA-256 of the bytes to be signed."""
        return sha256_hex(self.payload)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceremony:
    """``roots`` is the chain of roots before, first one first, and empty for a first root;
    ``targets`` and ``registrar`` are the current ones, None likewise."""

    roots: tuple[bytes, ...]
    targets: bytes | None
    registrar: bytes | None
    changes: tuple[Change, ...]

    def change(self, role: str) -> Change | None:
        return next((change for change in self.changes if change.role == role), None)

    @property
    def digest(self) -> str:
        """What keyholders read to each other: ``sha256:`` over all that is to be signed and the
        roots it follows from. Signatures do not change it."""
        value = [
            SCHEMA,
            [sha256_hex(root) for root in self.roots],
            [[change.role, change.digest] for change in self.changes],
        ]
        return f"sha256:{sha256_hex(canonical_json(value))}"


def kind_of(role: str) -> str:
    """TUF's type of the role: everything below the root is of type targets."""
    return "root" if role == "root" else "targets"


def payload_of(signed: Root | Targets) -> bytes:
    """The bytes that TUF signs: canonical JSON of the signed part (TUF 1.0 §4.2)."""
    data: bytes = CanonicalJSONSerializer().serialize(signed)
    return data


def encode_ceremony(ceremony: Ceremony) -> bytes:
    """The file's bytes: the same ceremony is the same file on every machine."""
    return canonical_json(
        {
            "schema": SCHEMA,
            "roots": [root.decode() for root in ceremony.roots],
            "targets": None if ceremony.targets is None else ceremony.targets.decode(),
            "registrar": None if ceremony.registrar is None else ceremony.registrar.decode(),
            "changes": [
                {
                    "role": change.role,
                    "version": change.version,
                    "payload": change.payload.decode(),
                    "signatures": dict(change.signatures),
                }
                for change in ceremony.changes
            ],
        }
    )


def parse_ceremony(data: bytes, where: str = "ceremony") -> Ceremony:
    """Reads a carried file. Only its form is checked here; `check_ceremony` says what it is worth.

    Raises:
        MalformedError: not such a file, or bytes to be signed that are not the one encoding of
            what they say (two programs could read two things into them).
    """
    fields = Fields.of(parse_json(data, where, max_bytes=MAX_BYTES), where)
    fields.only(("schema", "roots", "targets", "registrar", "changes"))
    fields.literal("schema", SCHEMA)
    changes = tuple(_parse_change(item) for item in fields.objects("changes"))
    roles = [change.role for change in changes]
    if not roles or roles != [role for role in ROLES if role in roles]:
        expected = f"some of {', '.join(ROLES)}, in this order, each once"
        raise MalformedError(fields.path("changes"), expected, ", ".join(roles) or "none")
    ceremony = Ceremony(
        roots=tuple(_text(item, fields.path("roots")) for item in fields.items("roots")),
        targets=_optional(fields, "targets"),
        registrar=_optional(fields, "registrar"),
        changes=changes,
    )
    first = not ceremony.roots
    if first != (ceremony.targets is None) or first != (ceremony.registrar is None):
        expected = "roots, targets and registrar, or none of them"
        raise MalformedError(where, expected, "some of them")
    return ceremony


def _parse_change(fields: Fields) -> Change:
    fields.only(("role", "version", "payload", "signatures"))
    role = fields.text("role", max_chars=20)
    if role not in ROLES:
        raise MalformedError(fields.path("role"), f"one of {', '.join(ROLES)}", repr(role))
    change = Change(
        role=role,
        payload=fields.text("payload", max_chars=MAX_BYTES).encode(),
        signatures=_parse_signatures(fields.object("signatures")),
    )
    signed = change.metadata.signed
    if payload_of(signed) != change.payload:
        raise MalformedError(fields.path("payload"), "canonical JSON", "another encoding")
    if fields.integer("version", low=1) != signed.version:
        raise MalformedError(
            fields.path("version"), f"version {signed.version} as in the payload", "another"
        )
    return change


def _parse_signatures(fields: Fields) -> dict[str, str]:
    signatures = {}
    for keyid in fields.value:
        signature = fields.text(keyid, max_chars=512)
        if not _KEYID.fullmatch(keyid) or not _SIGNATURE.fullmatch(signature):
            raise MalformedError(fields.path(keyid), "a keyid and a signature in hex", signature)
        signatures[keyid] = signature
    return signatures


def _text(value: object, where: str) -> bytes:
    if not isinstance(value, str):
        raise MalformedError(where, "text", type(value).__name__)
    return value.encode()


def _optional(fields: Fields, key: str) -> bytes | None:
    value = fields.value[key]
    return None if value is None else _text(value, fields.path(key))
