"""The tree as static files: tiles of 256 hashes and bundles of 256 entries (c2sp.org/tlog-tiles).

A tile of level L holds hashes of tree level 8·L; whatever lies between is computed from it. A
file never changes once it is there: a tile that is not full yet carries its width in its name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from ..errors import MalformedError
from .merkle import HASH_BYTES, MAX_SIZE, Node, pair_hash

HEIGHT = 8
WIDTH = 1 << HEIGHT
MAX_LEVEL = 63
MAX_ENTRY_BYTES = 0xFFFF  # its length is written in two bytes
_PAIR_BYTES = 2 * HASH_BYTES
ENTRIES = -1  # the "level" of entry bundles

_NUMBER = r"((?:x[0-9]{3}/)*[0-9]{3})"
_PATH = re.compile(rf"tile/(entries|[0-9]|[1-5][0-9]|6[0-3])/{_NUMBER}(?:\.p/([1-9][0-9]{{0,2}}))?")


class Tile(NamedTuple):
    """Tile ``number`` of ``level`` with ``width`` hashes; level `ENTRIES` is a bundle."""

    level: int
    number: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """Below the log's address, for instance ``tile/0/x001/067.p/112``."""
        level = "entries" if self.level == ENTRIES else str(self.level)
        partial = f".p/{self.width}" if self.width < WIDTH else ""
        return f"tile/{level}/{_number(self.number)}{partial}"


def _number(number: int) -> str:
    """The number in groups of three digits; all but the last begin with x."""
    text = f"{number % 1000:03}"
    while number := number // 1000:
        text = f"x{number % 1000:03}/{text}"
    return text


def parse_tile_path(text: str) -> Tile:
    """The tile that a path names.

    Raises:
        MalformedError: not a tile's path, or another spelling than its one.
    """
    match = _PATH.fullmatch(text)
    if match is None:
        raise MalformedError("tile path", "tile/<level>/<index>[.p/<width>]", text)
    level, number, width = match.groups()
    tile = Tile(
        ENTRIES if level == "entries" else int(level),
        int(re.sub("[x/]", "", number)),
        WIDTH if width is None else int(width),
    )
    if tile.path != text:
        raise MalformedError("tile path", tile.path, text)
    return tile


def tile_in(level: int, number: int, size: int) -> Tile:
    """Tile ``number`` of ``level`` as it stands in a tree of ``size``; its width may be 0, which
    means that there is no such tile."""
    hashes = size >> (HEIGHT * max(level, 0))
    return Tile(level, number, max(0, min(WIDTH, hashes - number * WIDTH)))


def tiles_since(old: int, new: int) -> Iterator[Tile]:
    """The files that a tree of ``new`` has and a tree of ``old`` had not, entry bundles among
    them (not the widths in between, which no checkpoint asks for)."""
    for level in range(ENTRIES, MAX_LEVEL + 1):
        shift = HEIGHT * max(level, 0)
        before, after = old >> shift, new >> shift
        if after == 0:
            return
        for number in range(before // WIDTH, -(-after // WIDTH)):
            tile = tile_in(level, number, new)
            if tile != tile_in(level, number, old):
                yield tile


def tiles_of(size: int) -> Iterator[Tile]:
    """Every file of a tree of ``size`` leaves."""
    return tiles_since(0, size)


def tile_of(node: Node, size: int) -> Tile:
    """The tile of a tree of ``size`` that holds, or lets compute, ``node``."""
    level, inside = divmod(node.level, HEIGHT)
    return tile_in(level, (node.number << inside) // WIDTH, size)


def tile_root(hashes: Sequence[bytes]) -> bytes:
    """The hash over a power of two of hashes; of a full tile's, a hash of the level above."""
    return _root(b"".join(hashes))


def _root(data: bytes) -> bytes:
    """`tile_root` of hashes that lie behind each other, as in a tile: nearly all the work of a
    proof is here."""
    while len(data) > HASH_BYTES:
        data = b"".join(
            [pair_hash(data[at : at + _PAIR_BYTES]) for at in range(0, len(data), _PAIR_BYTES)]
        )
    return data


def node_in(data: bytes, tile: Tile, node: Node) -> bytes:
    """The hash of ``node``, computed from the bytes of its tile."""
    inside = node.level - HEIGHT * tile.level
    first = (node.number << inside) - tile.number * WIDTH
    return _root(data[first * HASH_BYTES : (first + (1 << inside)) * HASH_BYTES])


def nodes_from(nodes: Iterable[Node], size: int, tiles: Mapping[Tile, bytes]) -> dict[Node, bytes]:
    """The hashes of ``nodes``, from the tiles that `tiles_for` asked for."""
    placed = [(node, tile_of(node, size)) for node in nodes]
    return {node: node_in(tiles[tile], tile, node) for node, tile in placed}


def tiles_for(nodes: Iterable[Node], size: int) -> set[Tile]:
    """The tiles of a tree of ``size`` that hold ``nodes``."""
    return {tile_of(node, size) for node in nodes}


def check_tile(tile: Tile, data: bytes) -> bytes:
    """``data`` if it has the length of ``tile``. Whether its hashes are the log's shows only in a
    proof that is made of them."""
    if len(data) != tile.width * HASH_BYTES:
        raise MalformedError(tile.path, f"{tile.width * HASH_BYTES} bytes", len(data))
    return data


# --- entry bundles --------------------------------------------------------------------------------


def pack_entries(entries: Sequence[bytes]) -> bytes:
    """A bundle: each entry behind its length, two bytes, big-endian."""
    for entry in entries:
        if len(entry) > MAX_ENTRY_BYTES:
            raise ValueError(f"an entry of {len(entry)} bytes does not fit into the log")
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def parse_entries(data: bytes, tile: Tile) -> list[bytes]:
    """The entries of a bundle; exactly as many as its name says.

    Raises:
        MalformedError: cut off, too long, or another number.
    """
    entries, at = [], 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 2], "big")
        entry = data[at + 2 : at + 2 + length]
        if at + 2 + length > len(data):
            raise MalformedError(tile.path, f"an entry of {length} bytes", len(entry))
        entries.append(entry)
        at += 2 + length
    if len(entries) != tile.width:
        raise MalformedError(tile.path, f"{tile.width} entries", len(entries))
    return entries


def parse_size(text: str, where: str) -> int:
    """A tree size or index in decimal, with no sign and no leading zero."""
    if not re.fullmatch(r"0|[1-9][0-9]{0,18}", text) or int(text) > MAX_SIZE:
        raise MalformedError(where, "a decimal number without leading zeroes", text)
    return int(text)
