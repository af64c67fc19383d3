"""An organisation's application: its keys say which name they want, and prove possession.

A DSSE envelope over a small JSON document, signed by every key that the organisation wants to
be known by. TUF metadata cannot carry this: it does not say which role it is meant for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from .dsse import envelope_json, pae, parse_envelope
from .encoding import Fields, canonical_json, parse_json
from .errors import MalformedError, VerificationError
from .keys import PublicKey, SigningKey
from .names import OrgName, parse_org_name
from .profile import FIELDS, OPTIONAL_FIELDS, OrgProfile

PAYLOAD_TYPE = "application/vnd.forge.organisation-application+json"
MAX_KEYS = 20
_MAX_BYTES = 64 * 1024
_WHERE = "application"


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """A verified application. ``raw`` is the envelope as it was received."""

    org: OrgName
    profile: OrgProfile
    keys: tuple[PublicKey, ...]
    threshold: int
    created: datetime
    raw: bytes

    @property
    def kind(self) -> str:
        return self.profile.kind

    @property
    def display_name(self) -> str:
        return self.profile.display_name


def sign_application(
    org: str,
    kind: str,
    display_name: str,
    keys: Sequence[SigningKey],
    threshold: int,
    now: datetime,
    *,
    region: str | None = None,
    names: Mapping[str, str] | None = None,
    contact: str | None = None,
) -> bytes:
    """The application of ``org``, signed by each of its ``keys``."""
    profile = OrgProfile(
        kind=kind, display_name=display_name, region=region, names=names or {}, contact=contact
    )
    payload = canonical_json(
        {
            "schema": 1,
            "organisation": org,
            **profile.to_json(),
            "keys": [key.public.pem.decode() for key in keys],
            "threshold": threshold,
            "created": now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
    )
    message = pae(PAYLOAD_TYPE, payload)
    signatures = [(key.public.keyid, key.sign(message)) for key in keys]
    data = canonical_json(envelope_json(PAYLOAD_TYPE, payload, signatures))
    verify_application(data)  # nobody should carry to the registrar what it must refuse
    return data


def verify_application(data: bytes) -> Application:
    """Establishes that every key in the application signed it.

    Not checked here: whether the name is free, and who is behind the keys. That is what the
    registrar is for.

    Raises:
        MalformedError: not an application.
        VerificationError: a key did not sign (``signature-invalid``).
    """
    envelope = parse_envelope(
        Fields.of(parse_json(data, _WHERE, max_bytes=_MAX_BYTES), _WHERE), PAYLOAD_TYPE
    )
    application = _parse_payload(envelope.payload, data)
    signatures = dict(envelope.signatures)
    if len(signatures) != len(envelope.signatures) or len(signatures) != len(application.keys):
        raise VerificationError(
            "signature-invalid",
            _WHERE,
            "one signature for each key",
            f"{len(envelope.signatures)} signatures",
        )
    message = pae(PAYLOAD_TYPE, envelope.payload)
    for key in application.keys:
        key.verify(signatures.get(key.keyid, b""), message, _WHERE)
    return application


def _parse_payload(payload: bytes, raw: bytes) -> Application:
    fields = Fields.of(parse_json(payload, _WHERE), _WHERE).only(
        ("schema", "organisation", *FIELDS, "keys", "threshold", "created"),
        optional=OPTIONAL_FIELDS,
    )
    if fields.integer("schema") != 1:
        raise MalformedError(fields.path("schema"), "1", fields.integer("schema"))
    pems = fields.texts("keys", max_items=MAX_KEYS)
    keys = tuple(
        PublicKey.from_pem(pem.encode(), f"{_WHERE}: keys[{n}]") for n, pem in enumerate(pems)
    )
    if not keys or len(set(keys)) != len(keys):
        raise MalformedError(fields.path("keys"), "different keys, at least one", len(keys))
    threshold = fields.integer("threshold", low=1)
    if threshold > len(keys):
        raise MalformedError(fields.path("threshold"), f"at most {len(keys)}", threshold)
    return Application(
        org=parse_org_name(fields.text("organisation"), fields.path("organisation")),
        profile=OrgProfile.read(fields),
        keys=keys,
        threshold=threshold,
        created=_instant(fields),
        raw=raw,
    )


def _instant(fields: Fields) -> datetime:
    text = fields.text("created")
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise MalformedError(
            fields.path("created"), "an instant like 2026-01-31T12:00:00Z", text
        ) from None
