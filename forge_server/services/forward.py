"""Replacing a published file by a newer one, and never by an older one.

Several servers may write one published tree. Their lock keeps them apart, but a process that is
stopped for a minute (a frozen machine, a lost connection) loses it without noticing and goes on
where it was. Therefore each replacement says what it replaces, which the tree compares in one
step: what was overtaken meanwhile is looked at again, and left alone when it is newer.
"""

from __future__ import annotations

from collections.abc import Callable

from storage import PathNotFoundError, PublishedTree

from ..errors import RegistryError

_ROUNDS = 20


def publish_forward(
    tree: PublishedTree, path: str, data: bytes, is_newer: Callable[[bytes], bool]
) -> None:
    """Publishes ``data`` at ``path`` unless ``is_newer`` says so of the bytes that are there.

    Raises:
        RegistryError: others kept replacing it (``busy``).
        BackendError: the tree could not be read or written.
    """
    for _ in range(_ROUNDS):
        try:
            seen = tree.read(path)
        except PathNotFoundError:
            seen = None
        if seen == data or (seen is not None and is_newer(seen)):
            return
        if tree.swap_if(path, data, seen):
            return
    raise RegistryError("busy", f"{path}: replaced by others again and again; try again")
