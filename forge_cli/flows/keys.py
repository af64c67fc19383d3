"""Opening the key that a person names: one of the store, a file, a token's, or a command's."""

from __future__ import annotations

import shlex
from pathlib import Path

from signing.keys import PublicKey, SigningKey

from ..context import Context
from ..errors import ForgeError, UsageError
from ..keystore import StoredKey
from ..signers import is_external, open_external

_PROBE = b"forge: does this key sign?\n"


def open_key(context: Context, reference: str) -> SigningKey:
    """The key that ``reference`` names: ``pkcs11:…``, ``exec:…``, a path (anything with a slash
    or ending in ``.pem``), otherwise a name in the key store. Asks for a passphrase where there
    is one; a token's PIN is asked for when it first signs.

    Raises:
        ForgeError: ``key-missing``, ``key-unreachable``, or ``key-permissions`` when others
            could read the file.
        KeyUnusableError: passphrase needed or wrong, or the file is damaged.
    """
    return context.keys.load(reference)


def add_reference(context: Context, name: str, reference: str, public: Path | None) -> StoredKey:
    """Keep ``reference`` under ``name``, after the key has signed once.

    Raises:
        UsageError: not a reference.
        ForgeError: ``already-exists``, ``key-missing``, ``key-unreachable``.
        KeyUnusableError: what it signs does not verify (``key-signature-wrong``).
    """
    if not is_external(reference):
        raise UsageError(
            f"expected pkcs11:… or exec:…, found {reference!r}",
            hint="a key file needs no name: --key PATH",
        )
    context.keys.require_free(name)
    if reference.startswith("exec:"):
        from ..signers.exec import parse_command

        # As it is found now, whatever the folder or the PATH of a later run.
        reference = f"exec:{shlex.join(parse_command(reference))}"
    known = None if public is None else read_public(public)
    key = open_external(reference, known, context.passphrases)
    # Once, now: a key that cannot sign is better found out before it is listed anywhere.
    key.sign(_PROBE)
    return context.keys.add(name, reference, key.public)


def read_public(path: Path) -> PublicKey:
    """The public key in the PEM file ``path``."""
    try:
        return PublicKey.from_pem(path.read_bytes(), str(path))
    except FileNotFoundError:
        raise ForgeError("key-missing", f"{path}: no such file") from None
