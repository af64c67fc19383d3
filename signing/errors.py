"""What `signing` raises, split by what the caller would do about it.

SigningError
├── MalformedError        the bytes are not what their format demands: fix the input
├── VerificationError     a promise is broken: stop, show the evidence, never go on
├── ConflictError         true but too late: fetch the newer state and try again
├── WithheldError         genuine, and withheld all the same: do not use it, say why
└── KeyUnusableError      the key file or its passphrase: ask the person

Every error has a stable ``code`` (documented, mapped to an exit code by the client and to a
status by the server), a message that names the thing with what was expected and found, and an
optional hint saying what to do next.
"""

from __future__ import annotations

_MAX_SHOWN = 120


def shown(value: object) -> str:
    """``value`` as it may stand in a message: one line, no control characters, bounded length."""
    text = _printable(str(value))
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"


def _printable(text: str) -> str:
    """``text`` with what could move a cursor or hide a word spelt out."""
    return text if text.isprintable() else ascii(text)


class SigningError(Exception):
    """The root of everything raised here. ``str(error)`` is the message."""

    def __init__(self, code: str, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


class MalformedError(SigningError):
    """Bytes from outside do not have the form their standard demands.

    ``where`` is the path to the bad field, for instance ``manifest.json: files[3].sha256``.
    """

    def __init__(self, where: str, expected: str, found: object, hint: str | None = None) -> None:
        message = f"{_printable(where)}: expected {_printable(expected)}, found {shown(found)}"
        super().__init__("malformed", message, hint)
        self.where = where
        self.expected = expected
        self.found = shown(found)


class VerificationError(SigningError):
    """Something signed does not hold. ``subject`` names the thing that failed."""

    def __init__(
        self, code: str, subject: str, expected: str, found: object, hint: str | None = None
    ) -> None:
        message = f"{_printable(subject)}: expected {_printable(expected)}, found {shown(found)}"
        super().__init__(code, message, hint)
        self.subject = subject
        self.expected = expected
        self.found = shown(found)


class ConflictError(SigningError):
    """The state moved on: a version is taken, or a role has a newer version.

    ``facts`` holds what is there, for instance ``{"manifest_sha256": "…"}``.
    """

    def __init__(
        self, code: str, message: str, hint: str | None = None, **facts: str | int
    ) -> None:
        super().__init__(code, message, hint)
        self.facts = facts


class WithheldError(SigningError):
    """A release whose signatures hold and which the status host withholds.

    ``facts`` says of which release, in which state, why and since when, for programs.
    """

    def __init__(self, code: str, message: str, hint: str | None = None, **facts: str) -> None:
        super().__init__(code, message, hint)
        self.facts = facts


class KeyUnusableError(SigningError):
    """A private key cannot be used: wrong passphrase, wrong type, damaged file."""
