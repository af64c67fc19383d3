"""What `forge_cli.api` raises: the sentences of the commands, by what a caller would do about them.

Error
├── Invalid             what was asked for has not the right form        (also a ValueError)
├── ReadOnly            something was to be written                      (also an OSError)
├── NotTrusted          no registry is chosen, or its root is not pinned here
├── VerificationFailed  a promise is broken: stop, and show it to somebody
├── Withheld            genuine, and quarantined, revoked or taken down
├── NotPermitted        genuine, and a pinned policy does not permit it
├── NotFound            no such component, version or file               (also a FileNotFoundError)
├── Conflict            versions contradict each other, or a lock stands against it
└── Unreachable         no usable answer: try again                      (also a ConnectionError)

Every other refusal is an `Error` itself. ``str(error)`` is the message with its hint beneath.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, ParamSpec, TypeVar

from .. import errors
from .results import Check

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Error(Exception):
    """A refusal. ``code`` is one of those that the commands give (see `Errors and exit codes`),
    ``message`` says what, expected and found, ``hint`` what to do next; ``facts`` are extras for
    programs."""

    def __init__(
        self,
        message: str,
        *,
        code: str = "error",
        hint: str | None = None,
        facts: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.hint = hint
        self.facts: dict[str, object] = dict(facts or {})

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n{self.hint}"


class Invalid(Error, ValueError):
    """What was asked for has not the form that it must have."""


class ReadOnly(Error, io.UnsupportedOperation):
    """Something was to be written: releases come about by `forge publish` alone."""


class NotTrusted(Error):
    """No registry is chosen, or the root of the chosen one is not pinned on this machine."""


class VerificationFailed(Error):
    """Something signed does not hold. ``checks`` are those that were made, where `verify` made
    them."""

    checks: tuple[Check, ...] = ()


class Withheld(Error):
    """The release is genuine, and quarantined, revoked or taken down: it must not be used."""


class NotPermitted(Error):
    """The release is genuine, and a policy that is pinned here does not permit it."""


class NotFound(Error, FileNotFoundError):
    """There is no such component, version, file or folder."""


class Conflict(Error):
    """No versions satisfy all that is asked for, or a lock stands against it."""


class Unreachable(Error, ConnectionError):
    """The registry did not give a usable answer; nothing was changed."""


_BY_EXIT_CODE: Final[Mapping[int, type[Error]]] = {
    errors.USAGE: Invalid,
    errors.VERIFICATION: VerificationFailed,
    errors.POLICY: NotPermitted,
    errors.NOT_FOUND: NotFound,
    errors.CONFLICT: Conflict,
    errors.NETWORK: Unreachable,
}
_BY_CODE: Final[Mapping[str, type[Error]]] = {
    "fingerprint-needed": NotTrusted,
    "no-registry": NotTrusted,
    "malformed": Invalid,
    "not-writable": ReadOnly,
    "release-quarantined": Withheld,
    "release-revoked": Withheld,
    "withheld": Withheld,
    "taken-down": Withheld,
}


def error_of(error: Exception) -> Error:
    """What a command would say of ``error``, as an exception of ours."""
    failure = errors.describe(error)
    kind = _BY_CODE.get(failure.code) or _BY_EXIT_CODE.get(failure.exit_code, Error)
    return kind(failure.message, code=failure.code, hint=failure.hint, facts=failure.facts)


@contextmanager
def translated() -> Iterator[None]:
    """Refusals leave as `Error`; what is a mistake of ours leaves as it is."""
    try:
        yield
    except Error:
        raise
    except Exception as error:
        if isinstance(error, OSError) or isinstance(getattr(error, "code", None), str):
            raise error_of(error) from error
        raise


def refuses(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """``function``, whose refusals leave as `Error`."""
    from functools import wraps

    @wraps(function)
    def run(*args: _P.args, **options: _P.kwargs) -> _T:
        with translated():
            return function(*args, **options)

    return run


def read_only(what: Any) -> ReadOnly:
    """The refusal to write ``what``."""
    return ReadOnly(
        f"{what}: releases are read here, and never written",
        code="not-writable",
        hint="what is published is signed by its publisher: forge publish FOLDER",
    )
