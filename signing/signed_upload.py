"""How a publisher's signed offer travels with an upload by twine or uv.

Both send any JSON that stands beside a file in the form field ``attestations``, and write it anew
on the way. So the offer, with everything in it that is signed, goes as base64 of its exact bytes.
It needs no signature of its own: what it says is believed only where a signature in it says so.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final

from .dsse import decode_base64
from .encoding import Fields, canonical_json, parse_json
from .errors import MalformedError

PAYLOAD_TYPE: Final = "application/vnd.national-software-forge.offer.v1+json"
SUFFIX: Final = ".publish.attestation"  # what uv picks up by itself, and twine with --attestations
_MOST: Final = 20


def attestation_of(offer: Mapping[str, Any]) -> bytes:
    """The file beside a wheel or sdist that carries ``offer``, the body of ``POST /releases``."""
    payload = base64.b64encode(canonical_json(offer)).decode()
    return canonical_json({"payloadType": PAYLOAD_TYPE, "payload": payload}) + b"\n"


def offer_in(attestations: bytes, where: str, *, max_bytes: int) -> bytes | None:
    """The bytes of the offer in the form field ``attestations``; None where it carries others.

    Raises:
        MalformedError: not a JSON list of objects, or several offers.
    """
    value = parse_json(attestations, where, max_bytes=max_bytes)
    items = value if isinstance(value, list) else [value]
    if len(items) > _MOST:
        raise MalformedError(where, f"at most {_MOST} attestations", len(items))
    found = [
        fields
        for number, item in enumerate(items)
        if (fields := Fields.of(item, f"{where}[{number}]")).value.get("payloadType")
        == PAYLOAD_TYPE
    ]
    if len(found) > 1:
        raise MalformedError(where, "one signed offer", len(found))
    if not found:
        return None
    return decode_base64(found[0].only(("payloadType", "payload")), "payload")
