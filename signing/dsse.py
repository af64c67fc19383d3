"""DSSE envelopes: a payload, its type, and signatures over both (DSSE v1.0.2)."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any

from .encoding import Fields
from .errors import MalformedError


@dataclass(frozen=True, slots=True)
class Envelope:
    """A parsed envelope with its payload as the exact bytes that were signed."""

    payload_type: str
    payload: bytes
    signatures: tuple[tuple[str, bytes], ...]  # (keyid, signature)


def pae(payload_type: str, payload: bytes) -> bytes:
    """What is signed: the pre-authentication encoding (DSSE protocol, "Signature Definition")."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def envelope_json(payload_type: str, payload: bytes, signatures: list[tuple[str, bytes]]) -> Any:
    """The envelope as a JSON value."""
    return {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": payload_type,
        "signatures": [
            {"keyid": keyid, "sig": base64.b64encode(signature).decode()}
            for keyid, signature in signatures
        ],
    }


def parse_envelope(fields: Fields, payload_type: str) -> Envelope:
    """Reads an envelope whose payload must be of ``payload_type``.

    Raises:
        MalformedError: another payload type, unknown fields, base64 that is not canonical, or
            no signature.
    """
    fields.only(("payload", "payloadType", "signatures"))
    fields.literal("payloadType", payload_type)
    signatures = []
    for item in fields.objects("signatures"):
        item.only(["sig"], optional=["keyid"])
        signatures.append((item.optional_text("keyid") or "", decode_base64(item, "sig")))
    if not signatures:
        raise MalformedError(fields.path("signatures"), "a signature", "none")
    return Envelope(payload_type, decode_base64(fields, "payload"), tuple(signatures))


def decode_base64(fields: Fields, key: str) -> bytes:
    """The bytes of a base64 field. One spelling only: no line breaks, no loose final bits."""
    text = fields.text(key, max_chars=96 * 1024 * 1024)
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise MalformedError(fields.path(key), "base64", text[:40]) from None
    if base64.b64encode(data).decode() != text:
        raise MalformedError(fields.path(key), "canonical base64", text[-40:])
    return data
