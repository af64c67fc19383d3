"""Where the server itself may send requests to: origins that an operator named. Pure."""

from __future__ import annotations

from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}
_MOST_CHARS = 2000


def origin_of(url: str) -> str | None:
    """The origin of an absolute ``url`` (RFC 6454), as ``scheme://host:port``.

    None: no address that is to be asked. Names and passwords within are none of ours, and what
    holds spaces, controls or a backslash is read in two ways by two programs.
    """
    if len(url) > _MOST_CHARS or not url.isascii() or not url.isprintable():
        return None
    if " " in url or "\\" in url:
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in _PORTS or not parts.hostname or "@" in parts.netloc:
        return None
    return f"{parts.scheme}://{parts.hostname}:{port or _PORTS[parts.scheme]}"


def is_origin(text: str) -> bool:
    """Whether ``text`` is an origin and nothing more: no path, and no query."""
    scheme, _, rest = text.partition("://")
    return origin_of(text) is not None and not {"/", "?", "#"} & set(rest) and bool(scheme)
