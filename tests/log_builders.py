"""Logs for tests: a tree in memory that hands out its tiles, and keys with names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from signing.keys import PrivateKey, generate_key
from signing.tlog.checkpoint import Checkpoint, cosign, log_key, sign_checkpoint, witness_key
from signing.tlog.merkle import Node, ReadNodes, leaf_hash, node_hash, root_of
from signing.tlog.note import NoteKey, merge_signatures
from signing.tlog.tiles import ENTRIES, HEIGHT, WIDTH, Tile, nodes_from, pack_entries, tiles_for


class TileTree:
    """A log over ``entries``, as a dumb file server would hold it."""

    def __init__(self, entries: Iterable[bytes]) -> None:
        self.entries = list(entries)
        self._levels: list[list[bytes]] = [[leaf_hash(entry) for entry in self.entries]]
        while len(self._levels[-1]) >= WIDTH:
            below = self._levels[-1]
            self._levels.append(
                [
                    _tile_root(below[at : at + WIDTH])
                    for at in range(0, len(below) - WIDTH + 1, WIDTH)
                ]
            )

    def tile(self, tile: Tile) -> bytes:
        first, end = tile.number * WIDTH, tile.number * WIDTH + tile.width
        if tile.level == ENTRIES:
            return pack_entries(self.entries[first:end])
        return b"".join(self._levels[tile.level][first:end])

    def reader(self, size: int) -> ReadNodes:
        def read(nodes: Iterable[Node]) -> Mapping[Node, bytes]:
            nodes = list(nodes)
            return nodes_from(nodes, size, {t: self.tile(t) for t in tiles_for(nodes, size)})

        return read

    def root(self, size: int) -> bytes:
        return root_of(size, self.reader(size))


def _tile_root(hashes: Sequence[bytes]) -> bytes:
    for _ in range(HEIGHT):
        hashes = [node_hash(hashes[at], hashes[at + 1]) for at in range(0, len(hashes), 2)]
    return hashes[0]


class NamedKey:
    """An Ed25519 key with the name it signs notes under."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.key: PrivateKey = generate_key("ed25519")

    @property
    def as_log(self) -> NoteKey:
        return log_key(self.name, self.key)

    @property
    def as_witness(self) -> NoteKey:
        return witness_key(self.name, self.key)


def checkpoint_of(
    log: NamedKey,
    size: int,
    root: bytes,
    witnesses: Sequence[NamedKey] = (),
    at: datetime | None = None,
) -> bytes:
    """A checkpoint's note, signed by ``log`` and cosigned by ``witnesses`` at ``at``."""
    note = sign_checkpoint(Checkpoint(origin=log.name, size=size, root=root), log.key)
    if at is not None:
        note = merge_signatures(note, [cosign(note.text, w.name, w.key, at) for w in witnesses])
    return note.to_bytes()
