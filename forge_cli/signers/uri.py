"""PKCS #11 URIs (RFC 7512): which key, in which token, through which module.

Attributes of the path say what must match (``token``, ``object``, ``id``, …), those of the query
how to get there (``module-path``, ``pin-source``). An attribute that we cannot match is refused:
ignoring it could choose another key than the one that was meant.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote_to_bytes

from ..errors import UsageError

_TOKEN: Final = ("token", "manufacturer", "model", "serial")
_PATH: Final = (*_TOKEN, "object", "id", "type", "slot-id")
_QUERY: Final = ("module-path", "pin-source")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pkcs11Uri:
    """One parsed URI. ``token`` is what its token must answer for each attribute named."""

    text: str
    token: dict[str, str]
    object: str | None
    id: bytes | None
    slot_id: int | None
    module: Path | None
    pin_file: Path | None

    @classmethod
    def parse(cls, text: str) -> Pkcs11Uri:
        """Reads ``text`` (RFC 7512 §2.3).

        Raises:
            UsageError: not such a URI, an attribute twice or unknown, or a PIN in it.
        """
        path, _, query = text.removeprefix("pkcs11:").partition("?")
        named = _attributes(path, ";", _PATH, text)
        how = _attributes(query, "&", _QUERY, text)
        if named.get("type", b"private") != b"private":
            raise _bad(text, "type=private, or no type")
        if not named.keys() & {"object", "id"}:
            raise _bad(text, "object= or id=, to name one key")
        slot = _text(named, "slot-id", text)
        if slot is not None and not (slot.isascii() and slot.isdigit()):
            raise _bad(text, "a number as slot-id")
        return cls(
            text=text,
            token={name: _text(named, name, text) or "" for name in _TOKEN if name in named},
            object=_text(named, "object", text),
            id=named.get("id"),
            slot_id=None if slot is None else int(slot),
            module=_absolute(how, "module-path", text),
            pin_file=_pin_file(how, text),
        )

    @property
    def label(self) -> str:
        """The key as people know it."""
        key = self.object or f"id {(self.id or b'').hex()}"
        return f"key {key!r} in token {self.token.get('token', '(any)')!r}"


def _attributes(part: str, separator: str, known: tuple[str, ...], text: str) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for item in part.split(separator) if part else ():
        name, equals, value = item.partition("=")
        if name == "pin-value":
            raise UsageError(
                "a pkcs11: URI must not hold the PIN (pin-value): command lines and settings are "
                "read by others on this machine",
                hint="leave it out to be asked, pass it with --passphrase-fd N, or name a private "
                "file: pin-source=file:/path",
            )
        if not equals or name not in known:
            raise _bad(text, f"attributes {', '.join(known)}", name)
        if name in found:
            raise _bad(text, f"{name} once", "twice")
        found[name] = unquote_to_bytes(value)
    return found


def _text(found: dict[str, bytes], name: str, text: str) -> str | None:
    try:
        return found[name].decode("utf-8") if name in found else None
    except UnicodeDecodeError:
        raise _bad(text, f"UTF-8 in {name}") from None


def _absolute(found: dict[str, bytes], name: str, text: str) -> Path | None:
    value = _text(found, name, text)
    if value is None:
        return None
    if not value.startswith("/"):
        # A relative one would load whatever lies in the folder that we happen to stand in.
        raise _bad(text, f"an absolute path as {name}", value)
    return Path(value)


def _pin_file(found: dict[str, bytes], text: str) -> Path | None:
    value = _text(found, "pin-source", text)
    if value is None:
        return None
    path = value.removeprefix("file:").removeprefix("//")
    if not path.startswith("/"):
        raise _bad(text, "pin-source=file:/absolute/path", value)
    return Path(path)


def _bad(text: str, expected: str, found: str | None = None) -> UsageError:
    shown = f"\nfound    {found}" if found is not None else ""
    return UsageError(
        f"{text.partition('?')[0]}: not a pkcs11: URI that names a key\nexpected {expected}{shown}",
        hint="it looks like pkcs11:token=ministry;object=release?module-path=/usr/lib/…/module.so",
    )
