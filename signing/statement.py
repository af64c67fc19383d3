"""in-toto Statements v1 in DSSE envelopes, as reviewers sign them.

One signature in each envelope (two on waivers), by keys that the body's delegation lists, over the
canonical JSON of a statement. Statement: in-toto Attestation Framework v1; envelope: DSSE v1.0.2.
Members that are not ours to know are refused, because what a person did not see signed must not
travel along.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from .bodies import MAX_ENVELOPE_BYTES
from .digests import parse_digest
from .dsse import envelope_json, pae, parse_envelope
from .encoding import Fields, canonical_json, is_plain, parse_json
from .errors import MalformedError, VerificationError
from .keys import PublicKey, SigningKey

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
MAX_TEXT: Final = 4000


@dataclass(frozen=True, slots=True)
class Resource:
    """Something that a statement refers to: where it is, and its SHA-256."""

    uri: str
    sha256: str

    def to_json(self) -> dict[str, Any]:
        return {"digest": {"sha256": self.sha256}, "uri": self.uri}

    @classmethod
    def read(cls, fields: Fields) -> Resource:
        fields.only(("uri", "digest"))
        uri = fields.text("uri", max_chars=400)
        if not uri or not is_plain(uri) or " " in uri:
            raise MalformedError(fields.path("uri"), "a URI", repr(uri))
        digest = fields.object("digest").only(["sha256"])
        return cls(uri, parse_digest(digest.value["sha256"], digest.path("sha256")))


def sign_statement(
    subjects: Mapping[str, str], predicate_type: str, predicate: Any, keys: Iterable[SigningKey]
) -> bytes:
    """An envelope about ``subjects`` (``{name: sha256}``), signed by each of ``keys``."""
    payload = canonical_json(
        {
            "_type": STATEMENT_TYPE,
            "subject": [
                {"digest": {"sha256": digest}, "name": name} for name, digest in subjects.items()
            ],
            "predicateType": predicate_type,
            "predicate": predicate,
        }
    )
    signed = pae(PAYLOAD_TYPE, payload)
    signatures = [(key.public.keyid, key.sign(signed)) for key in keys]
    return canonical_json(envelope_json(PAYLOAD_TYPE, payload, signatures))


def add_signature(data: bytes, key: SigningKey, where: str) -> bytes:
    """The envelope ``data``, whose payload somebody else signed, with a signature by ``key``.

    Raises:
        MalformedError: no such envelope, or ``key`` signed it before.
    """
    document = Fields.of(parse_json(data, where, max_bytes=MAX_ENVELOPE_BYTES), where)
    envelope = parse_envelope(document, PAYLOAD_TYPE)
    if key.public.keyid in dict(envelope.signatures):
        raise MalformedError(f"{where}: signatures", "a signature by another key", "the same")
    signature = key.sign(pae(PAYLOAD_TYPE, envelope.payload))
    signatures = [*envelope.signatures, (key.public.keyid, signature)]
    return canonical_json(envelope_json(PAYLOAD_TYPE, envelope.payload, signatures))


@dataclass(frozen=True, slots=True)
class Verified:
    """A statement whose signatures hold. ``signers`` are the keys, in the envelope's order."""

    subjects: Mapping[str, str]
    predicate: Fields
    signers: tuple[PublicKey, ...]


def verify_statement(
    data: bytes, predicate_type: str, keys: Iterable[PublicKey], where: str, *, signatures: int = 1
) -> Verified:
    """The statement in ``data``, after establishing that exactly ``signatures`` different ones of
    ``keys`` signed it.

    Raises:
        VerificationError: signed by another key (``key-unlisted``), or it does not verify
            (``signature-invalid``).
        MalformedError: not exactly this form.
    """
    document = Fields.of(parse_json(data, where, max_bytes=MAX_ENVELOPE_BYTES), where)
    envelope = parse_envelope(document, PAYLOAD_TYPE)
    if len(envelope.signatures) != signatures:
        raise MalformedError(
            f"{where}: signatures", f"{signatures} signature(s)", len(envelope.signatures)
        )
    listed = {key.keyid: key for key in keys}
    signers: list[PublicKey] = []
    for keyid, signature in envelope.signatures:
        key = listed.get(keyid)
        if key is None:
            raise VerificationError(
                "key-unlisted", where, "a signature by a key that is delegated", keyid[:12]
            )
        key.verify(signature, pae(PAYLOAD_TYPE, envelope.payload), where)
        signers.append(key)
    if len(set(signers)) != signatures:
        raise VerificationError("key-unlisted", where, f"{signatures} different keys", "one twice")
    # Only now, with the signatures known to be good, is the payload looked into.
    return _parse(envelope.payload, predicate_type, tuple(signers), where)


def _parse(
    payload: bytes, predicate_type: str, signers: tuple[PublicKey, ...], where: str
) -> Verified:
    statement = Fields.of(parse_json(payload, where, max_bytes=MAX_ENVELOPE_BYTES), where)
    statement.only(("_type", "subject", "predicateType", "predicate"))
    statement.literal("_type", STATEMENT_TYPE)
    statement.literal("predicateType", predicate_type)
    subjects: dict[str, str] = {}
    for item in statement.objects("subject"):
        item.only(("name", "digest"))
        name = item.text("name", max_chars=200)
        digest = item.object("digest").only(["sha256"])
        if name in subjects:
            raise MalformedError(item.path("name"), "each subject once", repr(name))
        subjects[name] = parse_digest(digest.value["sha256"], digest.path("sha256"))
    if not subjects:
        raise MalformedError(f"{where}: subject", "a subject", "none")
    return Verified(subjects, statement.object("predicate"), signers)


def instant(at: datetime) -> str:
    """As statements write it: UTC, to the second."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def check_text(text: str | None, where: str) -> str | None:
    """``text`` if it may stand in a statement: plain lines, something in them."""
    if text is not None and (
        not text.strip() or len(text) > MAX_TEXT or not is_plain(text, many_lines=True)
    ):
        raise MalformedError(where, f"plain text, at most {MAX_TEXT} characters", repr(text[:100]))
    return text
