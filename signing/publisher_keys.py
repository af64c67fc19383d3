"""Former publisher keys: which still speak for what they signed, and which no longer do.

The organisation's role keeps them in the member ``forge`` of its delegation to the project, the
keys themselves among the delegation's keys::

    "forge": {"retired": ["<keyid>", …],
              "revoked": [{"keyid": "…", "at": "2026-01-31T12:00:00Z", "reason": "…"}, …]}

Neither may sign anything new: TUF counts only the keys that the delegation lists. A *retired*
key's releases stay good, because the index that names their bundles is signed by today's keys.
A *revoked* key's do not, whenever they were signed: a thief can write any date. Revocation is
for good, and only the organisation's keys can write it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from securesystemslib.signer import Key

from .encoding import Fields, is_plain
from .errors import MalformedError, VerificationError
from .keys import PublicKey
from .oms import Bundle, hint_of, verify_bundle

MAX_FORMER_KEYS = 200
MAX_REASON_CHARS = 1000
_INSTANT = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """A key that the organisation took back. ``at`` is since when, ``reason`` may be empty."""

    key: PublicKey
    at: datetime
    reason: str

    def to_json(self) -> dict[str, str]:
        at = self.at.astimezone(UTC).strftime(_INSTANT)
        return {"keyid": self.key.keyid, "at": at, "reason": self.reason}


@dataclass(frozen=True, slots=True, kw_only=True)
class FormerKeys:
    """What a project's delegation says of keys that no longer sign for it."""

    retired: tuple[PublicKey, ...] = ()
    revoked: tuple[Revocation, ...] = ()

    def to_json(self) -> dict[str, Any]:
        value: dict[str, Any] = {}
        if self.retired:
            value["retired"] = [key.keyid for key in self.retired]
        if self.revoked:
            value["revoked"] = [revocation.to_json() for revocation in self.revoked]
        return value

    def keys(self) -> list[PublicKey]:
        return [*self.retired, *(revocation.key for revocation in self.revoked)]

    def revocation_of(self, keyids: Iterable[str]) -> Revocation | None:
        """The revocation of one of the keys, if there is one."""
        wanted = set(keyids)
        return next((item for item in self.revoked if item.key.keyid in wanted), None)

    @classmethod
    def read(
        cls, value: object, known: Mapping[str, Key], current: Iterable[str], where: str
    ) -> FormerKeys:
        """Reads the member ``forge`` of a delegation whose keys are ``known`` by id.

        Raises:
            MalformedError: another form, a key that is not there, or one that is at once
                ``current``, retired and revoked, or two of these.
        """
        fields = Fields.of(value, where).only((), optional=["retired", "revoked"])
        used = set(current)

        def key_of(keyid: str, at: str) -> PublicKey:
            if keyid in used:
                raise MalformedError(at, "a key that is listed once", keyid)
            if keyid not in known:
                raise MalformedError(at, "a key that is in the metadata", keyid)
            used.add(keyid)
            return PublicKey.from_tuf(known[keyid], at)

        retired = fields.texts("retired", max_items=MAX_FORMER_KEYS)
        items = fields.objects("revoked") if "revoked" in fields.value else []
        if len(items) > MAX_FORMER_KEYS:
            raise MalformedError(fields.path("revoked"), f"at most {MAX_FORMER_KEYS}", len(items))
        return cls(
            retired=tuple(key_of(keyid, fields.path("retired")) for keyid in retired),
            revoked=tuple(
                Revocation(
                    key=key_of(item.only(("keyid", "at", "reason")).text("keyid"), item.where),
                    at=parse_instant(item.text("at"), item.path("at")),
                    reason=check_revocation_reason(item.text("reason"), item.path("reason")),
                )
                for item in items
            ),
        )


def parse_instant(text: str, where: str = "instant") -> datetime:
    """An instant in UTC to the second, like ``2026-01-31T12:00:00Z``."""
    try:
        return datetime.strptime(text, _INSTANT).replace(tzinfo=UTC)
    except ValueError:
        raise MalformedError(where, "an instant like 2026-01-31T12:00:00Z", text) from None


def check_revocation_reason(text: str, where: str = "reason") -> str:
    """``text`` if it is one line, shown to everybody, or empty."""
    if len(text) > MAX_REASON_CHARS or not is_plain(text):
        expected = f"one line of plain text, at most {MAX_REASON_CHARS} characters"
        raise MalformedError(where, expected, repr(text))
    return text


def verify_publisher_bundle(
    data: bytes, keys: Iterable[PublicKey], former: FormerKeys, subject: str
) -> Bundle:
    """`verify_bundle` with the project's keys and its retired ones. ``subject`` is the release.

    Raises:
        VerificationError: ``key-revoked``, or as `verify_bundle`.
    """
    hint = hint_of(data)
    for revocation in former.revoked:
        if revocation.key.hint == hint:
            raise key_revoked(revocation, subject)
    return verify_bundle(data, [*keys, *former.retired])


def key_revoked(revocation: Revocation, subject: str) -> VerificationError:
    """What is said of something that only a revoked key signed."""
    reason = f" ({revocation.reason})" if revocation.reason else ""
    return VerificationError(
        "key-revoked",
        subject,
        "a signature by a key that is not revoked",
        f"only key {revocation.key.keyid[:12]}, revoked since "
        f"{revocation.at:%Y-%m-%d %H:%M} UTC{reason}",
        f"it can be installed again once its publisher has run: forge resign {subject}",
    )
