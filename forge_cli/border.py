"""Where bytes of the registry come in: what is malformed there is its fault, not the person's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from signing.errors import MalformedError

from .errors import ForgeError


@contextmanager
def sound(what: str) -> Iterator[None]:
    """In here malformed bytes are the registry's fault, not an input error of the person."""
    try:
        yield
    except MalformedError as error:
        raise ForgeError(
            "registry-malformed",
            f"{what}: {error.message}",
            hint="nothing was written; report it to the operator of the registry",
        ) from error
