"""Small files that travel with the offer of a release, so that they need no requests of their own.

What most releases consist of beside their model, `forge.toml` and cards, is a few kilobytes. With
the first offer the smallest go along unasked: should the registry have them, little was sent in
vain. With the next one those that it asked for.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ..remote.upload import Outgoing
from .pack import Packed


@dataclass(frozen=True, slots=True)
class Room:
    """How much may go along: bytes of each file, and of all."""

    each: int
    all: int


UNASKED: Final = Room(16 * 1024, 64 * 1024)
ASKED_FOR: Final = Room(64 * 1024, 512 * 1024)
_MOST: Final = 100  # what the registry takes in one offer


def smallest(packed: Packed) -> dict[str, bytes]:
    """The smallest files of a release, by digest."""
    sizes = sorted((entry.size, entry.sha256, entry.path) for entry in packed.manifest.files)
    found: dict[str, bytes] = {}
    left = UNASKED.all
    for size, digest, path in sizes:
        if digest in found:
            continue
        if size > min(UNASKED.each, left) or len(found) >= _MOST:
            break
        found[digest] = packed.files[path].read_bytes()
        left -= size
    return found


def split(outgoing: Sequence[Outgoing]) -> tuple[dict[str, bytes], list[Outgoing]]:
    """(those that go along with the next offer, those that are sent one by one)

    Chunk lists are sent: the registry reads the files beside them while these come in.
    """
    lists = {file.chunks for file in outgoing if file.chunks is not None}
    along: dict[str, bytes] = {}
    rest = []
    left = ASKED_FOR.all
    for file in sorted(outgoing, key=lambda one: one.size):
        too_large = file.size > min(ASKED_FOR.each, left) or len(along) >= _MOST
        if too_large or file.digest in lists:
            rest.append(file)
            continue
        source = file.source
        along[file.digest] = source if isinstance(source, bytes) else source.read_bytes()
        left -= file.size
    return along, rest


def encoded(files: dict[str, bytes]) -> dict[str, str]:
    """As the offer carries them."""
    return {digest: base64.b64encode(data).decode() for digest, data in files.items()}
