"""Libraries of other people's key stores, which stay unimported until somebody needs them.

`securesystemslib` tries every cloud's and token's signer when it is imported: where boto3 and
python-pkcs11 happen to be installed, each program that verifies something starts a quarter of a
second later (measured), for key stores that it does not use. None in ``sys.modules`` is Python's
way of saying "not installed".
"""

from __future__ import annotations

import sys
from typing import Final

LIBRARIES: Final = ("boto3", "botocore", "pkcs11")


def leave_out() -> None:
    """Make those libraries look as if they were not installed, until `bring_back`.

    Only a process of our own may do that: the program's start calls it, no import of a package.
    """
    for name in LIBRARIES:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]


def bring_back(*names: str) -> None:
    """Let ``names`` be imported: called before that, by whoever needs them."""
    for name in names:
        if sys.modules.get(name, sys) is None:
            del sys.modules[name]
