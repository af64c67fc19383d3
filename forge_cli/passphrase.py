"""Where passphrases come from: a file descriptor or a prompt, never the command line."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field

from .errors import ForgeError, UsageError

_MAX_BYTES = 4096


@dataclass(slots=True, kw_only=True)
class Passphrases:
    """Asks for each key once. ``fd`` is read to its first newline, once, for whatever key."""

    fd: int | None = None
    _known: dict[str, bytes] = field(default_factory=dict)
    _from_fd: bytes | None = None

    def __call__(self, label: str) -> bytes | None:
        if self.fd is not None:
            if self._from_fd is None:
                self._from_fd = _read_line(self.fd)
            return self._from_fd
        if not sys.stdin.isatty():
            return None
        if label not in self._known:
            self._known[label] = _prompt(f"Passphrase for {label}: ")
        return self._known[label]

    def new(self, label: str) -> bytes:
        """A passphrase for a new key, typed twice on a terminal.

        Raises:
            ForgeError: nobody to ask, or the two do not agree.
        """
        if self.fd is not None:
            passphrase = self(label) or b""
        elif sys.stdin.isatty():
            passphrase = _prompt(f"New passphrase for {label}: ")
            if passphrase != _prompt("The same again: "):
                raise UsageError("the two passphrases differ; no key was made")
        else:
            raise ForgeError(
                "key-passphrase-needed",
                "a new key needs a passphrase, and there is no terminal to ask on",
                hint="pass it with --passphrase-fd N, or accept the risk with "
                "--insecure-unencrypted",
            )
        if not passphrase:
            raise UsageError("the passphrase is empty; no key was made")
        return passphrase


def _prompt(text: str) -> bytes:
    from getpass import getpass

    return getpass(text, stream=sys.stderr).encode()


def _read_line(fd: int) -> bytes:
    try:
        with os.fdopen(os.dup(fd), "rb", buffering=0) as file:
            data = b""
            while b"\n" not in data and len(data) <= _MAX_BYTES and (part := file.read(4096)):
                data += part
    except OSError as error:
        raise UsageError(f"--passphrase-fd {fd}: {os.strerror(error.errno or 0)}") from None
    return data.split(b"\n", 1)[0]
