"""Webhooks: which changes they tell, in which words, under which signature, and when again. Pure.

Headers and signatures are those of Standard Webhooks 1.0.0 (standardwebhooks.com), so that the
libraries of that name verify them. A message says what happened and never more than everybody may
see; it is a hint, and what it is about is verified by who receives it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlsplit

from signing.errors import MalformedError
from signing.names import ComponentName, parse_org_name

TEST: Final = "webhook.test"
DISABLED: Final = "webhook.disabled"
_TYPES: Final[Mapping[str, str]] = {
    "release.publish": "release.published",
    "release.yank": "release.yanked",
    "release.unyank": "release.unyanked",
    "release.deprecate": "release.deprecated",
    "release.undeprecate": "release.undeprecated",
    "release.hold": "release.quarantined",
    "release.quarantine": "release.quarantined",
    "release.unhold": "release.released",
    "release.unquarantine": "release.released",
    "release.revoke": "release.revoked",
    "release.takedown": "release.removed",
    "review.pass": "review.added",
    "review.reject": "review.added",
    "review.advise": "review.added",
    "review.waive": "review.added",
    "review.withdraw": "review.revoked",
    "expiry.soon": "expiry.soon",
    "expiry.ended": "expiry.ended",
    "recall.start": "recall.started",
    TEST: TEST,
    "webhook.disable": DISABLED,
}
"""From what the audit log calls a change to what a message calls it."""
EVENTS: Final = tuple(dict.fromkeys(_TYPES.values()))
FAMILIES: Final = tuple(dict.fromkeys(event.partition(".")[0] for event in EVENTS))
OWN: Final = frozenset((TEST, DISABLED))
"""Events about webhooks, which only their own organisation hears of."""
_BY: Final[Mapping[str, str]] = {
    "release.hold": "registry",
    "release.unhold": "registry",
    "release.quarantine": "status",
    "release.unquarantine": "status",
    "release.revoke": "status",
}
_KINDS: Final[Mapping[str, Mapping[str, object]]] = {
    "review.pass": {"kind": "decision", "passed": True},
    "review.reject": {"kind": "decision", "passed": False},
    "review.advise": {"kind": "advisory"},
    "review.waive": {"kind": "waiver"},
}
# Of the details of an event what everybody may see anyway; a new detail is left out.
_PUBLIC: Final = (
    "manifest_sha256", "reason", "successor", "reference", "files", "bytes", "body", "sha256",
    "statement", "kind", "what", "role", "days", "expires", "webhook",
)  # fmt: skip

MAX_URL: Final = 2000
_SECRET: Final = "whsec_"  # noqa: S105  (the prefix of one)
SECRET_BYTES: Final = 32
MAX_TRIES: Final = 8
_DELAYS: Final = (5, 60, 300, 1800, 7200, 21_600, 43_200)
"""Seconds after each try but the last: together some 21 hours."""
LONGEST: Final = timedelta(days=1)
"""Nothing waits longer than this for its next try, whatever a receiver asks for."""
_JITTER: Final = 0.2


def event_of(action: str) -> str | None:
    """What a message calls the change that the audit log calls ``action``; None: it is not told."""
    return _TYPES.get(action)


def covering(subject: str | None) -> tuple[str, ...]:
    """What a webhook may be for to hear of a change of ``subject`` (``org``, ``org/name`` or
    ``org/name==version``; None: the registry as a whole)."""
    about = (subject or "").partition("==")[0]
    return tuple(dict.fromkeys(("", about.partition("/")[0], about)))


def wants(events: Sequence[str], event: str) -> bool:
    """Whether a webhook for ``events`` (names, or families of them; none is all) hears of one."""
    return not events or event in events or event.partition(".")[0] in events


def parse_events(items: Iterable[str], where: str) -> list[str]:
    """The ``items`` in a fixed order, each once.

    Raises:
        MalformedError: one that does not exist.
    """
    chosen = set(items)
    known = (*FAMILIES, *EVENTS)
    for item in sorted(chosen):
        if item not in known:
            raise MalformedError(where, f"some of {', '.join(known)}", repr(item)[:60])
    return [item for item in known if item in chosen]


def parse_about(text: str, where: str) -> str:
    """What a webhook is for: ``org``, ``org/name``, or nothing for everything.

    Raises:
        MalformedError: another form.
    """
    if text == "" or "/" not in text:
        return text and str(parse_org_name(text, where))
    return str(ComponentName.parse(text, where))


def parse_url(text: str, where: str) -> str:
    """An address that messages can be posted to. Whether its host may be asked is not looked at
    here: that depends on what its name means when it is asked.

    Raises:
        MalformedError: no http(s), a user or a fragment in it, or no plain ASCII.
    """
    expected = "an http:// or https:// address without a user, in ASCII"
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise MalformedError(where, expected, "another") from None
    plain = all("!" <= char <= "~" for char in text) and "\\" not in text
    if not good or "@" in parts.netloc or "#" in text or not plain or len(text) > MAX_URL:
        # Not shown: what is wrong with it may be the password in it.
        raise MalformedError(where, expected, "another")
    return text


def host_of(url: str) -> str:
    """Where messages go, without what may be secret in it: ``https://host:port``."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def body_of(action: str, subject: str | None, detail: Mapping[str, Any], at: datetime) -> str:
    """The message that tells a change, in the exact text that is signed and sent."""
    about, _, version = (subject or "").partition("==")
    data: dict[str, object] = {}
    if about:
        data["organisation"] = about.partition("/")[0]
    if "/" in about:
        data["component"] = about
    if version:
        data["version"] = version
    data |= _KINDS.get(action, {})
    if action in _BY:
        data["by"] = _BY[action]
    data |= {key: detail[key] for key in _PUBLIC if detail.get(key) is not None}
    value = {"type": _TYPES[action], "timestamp": f"{at:%Y-%m-%dT%H:%M:%SZ}", "data": data}
    return json.dumps(value, separators=(",", ":"))


def new_secret(random_bytes: bytes) -> str:
    """The secret that is made of ``random_bytes``, as its receiver is told it."""
    return _SECRET + base64.b64encode(random_bytes).decode()


def headers_for(message: str, secrets: Sequence[str], now: datetime, body: bytes) -> dict[str, str]:
    """The headers of one try; ``message`` is the same at every try. With two secrets a receiver
    who knows either accepts it."""
    timestamp = str(int(now.timestamp()))
    return {
        "webhook-id": message,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(_signature(message, timestamp, body, s) for s in secrets),
    }


def _signature(message: str, timestamp: str, body: bytes, secret: str) -> str:
    key = base64.b64decode(secret.removeprefix(_SECRET))
    digest = hmac.new(key, f"{message}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def next_try(tries: int, asked: timedelta | None, chance: float) -> timedelta | None:
    """How long to wait after ``tries`` failed; None: not again. ``asked`` is what the receiver
    asked for, ``chance`` a random number from 0 to 1, which keeps many from coming at once."""
    if tries >= MAX_TRIES:
        return None
    usual = timedelta(seconds=_DELAYS[tries - 1] * (1 + _JITTER * (2 * chance - 1)))
    return min(max(usual, asked or timedelta()), LONGEST)


def retry_after(text: str | None, now: datetime) -> timedelta | None:
    """What a Retry-After header asks for (RFC 9110 §10.2.3); None where it says nothing that can
    be read."""
    if text is None:
        return None
    if text.isascii() and text.isdigit() and len(text) < 10:
        return timedelta(seconds=int(text))
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    return max(at - now, timedelta())
