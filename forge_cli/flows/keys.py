"""Opening the key that a person names: one of the store, or a key file anywhere."""

from __future__ import annotations

import os
from pathlib import Path

from signing.keys import PrivateKey

from ..context import Context


def open_key(context: Context, reference: str) -> PrivateKey:
    """The key pair that ``reference`` names: a path (anything with a slash or ending in
    ``.pem``), otherwise a name in the key store. Asks for a passphrase where there is one.

    Raises:
        ForgeError: ``key-missing``, or ``key-permissions`` when others could read the file.
        KeyUnusableError: passphrase needed or wrong, or the file is damaged.
    """
    if os.sep in reference or reference.endswith(".pem"):
        path = Path(reference)
        return context.keys.load_file(path, f"key {path.name}")
    return context.keys.load(reference)
