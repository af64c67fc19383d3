"""The registrar's refusal of an application, signed, so that a server cannot invent one.

A DSSE envelope over a small JSON document that names the application by its digest: an answer to
one application says nothing of the next. TUF metadata cannot carry it, because a name that was
refused is delegated to nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from .digests import parse_digest, sha256_hex
from .dsse import envelope_json, pae, parse_envelope
from .encoding import Fields, canonical_json, parse_json
from .errors import MalformedError, VerificationError
from .keys import SigningKey
from .names import OrgName, parse_org_name
from .publisher_keys import parse_instant
from .roles import Delegation, check_reason

PAYLOAD_TYPE = "application/vnd.forge.organisation-refusal+json"
_MAX_BYTES = 64 * 1024
_WHERE = "refusal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A verified refusal of the application whose bytes have this digest."""

    org: OrgName
    application_sha256: str
    reason: str
    refused: datetime


def sign_refusal(
    org: str, application: bytes, reason: str, keys: Sequence[SigningKey], now: datetime
) -> bytes:
    """The refusal of ``application`` for ``reason``, signed by the registrar's ``keys``.

    Raises:
        MalformedError: a reason that is empty or not one line of plain text.
    """
    payload = canonical_json(
        {
            "schema": 1,
            "organisation": org,
            "application_sha256": sha256_hex(application),
            "reason": check_reason(reason, required=True),
            "refused": now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
    )
    message = pae(PAYLOAD_TYPE, payload)
    signatures = [(key.public.keyid, key.sign(message)) for key in keys]
    return canonical_json(envelope_json(PAYLOAD_TYPE, payload, signatures))


def verify_refusal(data: bytes, registrar: Delegation, application: bytes) -> Refusal:
    """Establishes that enough of the registrar's keys refused this very ``application``.

    Raises:
        MalformedError: not a refusal.
        VerificationError: too few of its keys signed (``threshold-not-met``), a signature does
            not verify (``signature-invalid``), or it is about another application
            (``digest-mismatch``).
    """
    envelope = parse_envelope(
        Fields.of(parse_json(data, _WHERE, max_bytes=_MAX_BYTES), _WHERE), PAYLOAD_TYPE
    )
    known = {key.keyid: key for key in registrar.keys}
    message = pae(PAYLOAD_TYPE, envelope.payload)
    signed = set()
    for keyid, signature in envelope.signatures:
        if keyid in known:
            known[keyid].verify(signature, message, _WHERE)
            signed.add(keyid)
    if len(signed) < registrar.threshold:
        raise VerificationError(
            "threshold-not-met",
            _WHERE,
            f"{registrar.threshold} signature(s) by the registrar's keys",
            f"{len(signed)} valid",
        )
    refusal = _parse_payload(envelope.payload)
    if refusal.application_sha256 != sha256_hex(application):
        raise VerificationError(
            "digest-mismatch",
            _WHERE,
            f"a refusal of the application sha256 {sha256_hex(application)}",
            refusal.application_sha256,
        )
    return refusal


def read_reason(data: bytes) -> str:
    """The reason in a refusal that was verified before."""
    fields = Fields.of(parse_json(data, _WHERE, max_bytes=_MAX_BYTES), _WHERE)
    return _parse_payload(parse_envelope(fields, PAYLOAD_TYPE).payload).reason


def _parse_payload(payload: bytes) -> Refusal:
    fields = Fields.of(parse_json(payload, _WHERE), _WHERE).only(
        ("schema", "organisation", "application_sha256", "reason", "refused")
    )
    if fields.integer("schema") != 1:
        raise MalformedError(fields.path("schema"), "1", fields.integer("schema"))
    return Refusal(
        org=parse_org_name(fields.text("organisation"), fields.path("organisation")),
        application_sha256=parse_digest(
            fields.text("application_sha256"), fields.path("application_sha256")
        ),
        reason=check_reason(fields.text("reason"), fields.path("reason"), required=True),
        refused=parse_instant(fields.text("refused"), fields.path("refused")),
    )
