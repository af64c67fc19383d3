"""The passphrase of the witness's key: from a file descriptor or a prompt, never from argv."""

from __future__ import annotations

import os
import sys
from getpass import getpass

from .errors import UnusableError

_MAX_BYTES = 4096
_HINT = "pass it with --passphrase-fd N"


def new_passphrase(fd: int | None) -> bytes:
    """A passphrase for a new key, typed twice on a terminal.

    Raises:
        UnusableError: nobody to ask, the two differ, or it is empty.
    """
    if fd is None and not sys.stdin.isatty():
        raise UnusableError(
            "a new key needs a passphrase, and there is no terminal to ask on",
            f"{_HINT}, or accept the risk with --insecure-unencrypted",
        )
    found = _read_line(fd) if fd is not None else _prompt("New passphrase for the witness's key: ")
    if fd is None and found != _prompt("The same again: "):
        raise UnusableError("the two passphrases differ; no key was made")
    if not found:
        raise UnusableError("the passphrase is empty; no key was made")
    return found


def ask_passphrase(fd: int | None) -> bytes | None:
    """The passphrase of the key; None where there is nobody to ask."""
    if fd is not None:
        return _read_line(fd)
    return _prompt("Passphrase of the witness's key: ") if sys.stdin.isatty() else None


def _prompt(text: str) -> bytes:
    return getpass(text, stream=sys.stderr).encode()


def _read_line(fd: int) -> bytes:
    data = b""
    try:
        while b"\n" not in data and len(data) <= _MAX_BYTES and (part := os.read(fd, 4096)):
            data += part
    except OSError as error:
        raise UnusableError(f"--passphrase-fd {fd}: {error.strerror}") from None
    return data.split(b"\n", 1)[0]
