"""Signing keys that are not files: in a token (``pkcs11:``) or behind a command (``exec:``).

A reference names such a key wherever a key is named. Nothing is imported for it before it is used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from signing.keys import PublicKey, SigningKey

SCHEMES: Final = ("pkcs11:", "exec:")

__all__ = ["SCHEMES", "is_external", "open_external", "scheme_of"]


def is_external(reference: str) -> bool:
    """Whether ``reference`` names a key by one of `SCHEMES`."""
    return reference.startswith(SCHEMES)


def scheme_of(reference: str) -> str:
    """``pkcs11`` or ``exec``."""
    return reference.partition(":")[0]


def open_external(
    reference: str, public: PublicKey | None, ask: Callable[[str], bytes | None]
) -> SigningKey:
    """The key that ``reference`` names. A PIN is asked for when it first signs.

    ``public`` is its public half where that is known already; otherwise it is read from the
    token, or from the ``.pub`` file beside the command.

    Raises:
        UsageError: not a reference of its scheme, or one that holds a secret.
        ForgeError: ``key-missing`` (no such token, key or command), ``key-unreachable``.
    """
    if reference.startswith("exec:"):
        from .exec import open_command

        return open_command(reference, public)
    from .pkcs11 import open_token_key

    return open_token_key(reference, public, ask)
