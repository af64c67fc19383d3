"""Logging in: the fingerprint first, so that the token goes to nobody else."""

from __future__ import annotations

import base64
import os
import re
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..config import normalise_url
from ..context import Context
from ..errors import ForgeError, RemoteError, UsageError
from ..remote.api import Api
from .device_login import ask_for_token
from .trusting import pin_registry

_MAX_TOKEN = 1000


def login(
    context: Context,
    url: str,
    fingerprint: str | None,
    token_file: Path | None,
    *,
    device: bool,
    actions: Sequence[str],
) -> Any:
    """Pin, get a token and check it with the registry, keep both; returns the `whoami` answer.

    ``device`` asks for approval on another machine, as does an empty line on a terminal; the token
    may then do ``actions``.
    """
    url = normalise_url(url)
    token = _token(context, url, token_file) if token_file is not None else None
    pin = pin_registry(context, url, fingerprint)
    _warn_plain(context, url)
    if token is None and not device:
        token = _token(context, url, None)
    if token is None:
        token = _checked(ask_for_token(context, pin.url, actions))
    try:
        answer = Api(http=context.http, url=pin.url, token=token).get("whoami")
    except RemoteError as error:
        if error.status == 401:  # "log in" would send the person round in a circle
            error.hint = "ask the operator for another one: forge-server token new"
        raise
    context.credentials.put(url, token)
    context.config.set_value("registry", url)
    return answer


def _token(context: Context, url: str, token_file: Path | None) -> str | None:
    """The token that somebody has; None for an empty line on a terminal."""
    if token_file is not None:
        text = _read_file(token_file)
    elif env := os.environ.get("FORGE_TOKEN"):
        text = env
    elif context.interactive:
        from getpass import getpass

        context.out.say("Without an access token press Enter, and approve on another machine.")
        text = getpass(f"Access token for {url}: ", stream=sys.stderr)
        if not text.strip():
            return None
    else:
        raise UsageError(
            "an access token is needed, and there is no terminal to ask on",
            hint="--token-file FILE (- for standard input), FORGE_TOKEN, or --device to approve on "
            "another machine; to read only: forge trust add",
        )
    return _checked(text)


def _checked(text: str) -> str:
    """``text`` if it has the form of a token."""
    token = text.strip()
    if not token or len(token) > _MAX_TOKEN or not token.isascii() or not token.isprintable():
        raise ForgeError(
            "malformed",
            "expected an access token (one line that begins with forge_), found "
            + ("nothing" if not token else "something else"),
        )
    if not _is_well_formed(token):
        raise ForgeError(
            "malformed",
            "expected an access token (forge_ and 58 letters and digits), found something else",
            hint="it was not sent anywhere; was it copied whole, and is it the right file?",
        )
    return token


def _is_well_formed(token: str) -> bool:
    """Prefix, alphabet and checksum (CRC-32 behind 32 bytes, base32 of RFC 4648 §6): a file
    named by mistake is never sent to anybody."""
    if not re.fullmatch(r"forge_[a-z2-7]{58}", token):
        return False
    data = base64.b32decode(token.removeprefix("forge_").upper() + "======")
    return zlib.crc32(data[:32]).to_bytes(4, "big") == data[32:]


def _read_file(path: Path) -> str:
    try:
        if str(path) == "-":
            return sys.stdin.readline()
        return path.read_text(errors="replace")[: _MAX_TOKEN * 2]
    except FileNotFoundError:
        raise UsageError(f"--token-file {path}: no such file") from None


def _warn_plain(context: Context, url: str) -> None:
    parts = urlsplit(url)
    local = parts.hostname in ("localhost", "::1") or (parts.hostname or "").startswith("127.")
    if parts.scheme == "http" and not local:
        context.out.warn(
            f"{url} is not encrypted: anyone on the way can read the access token. "
            "What is signed stays safe."
        )
