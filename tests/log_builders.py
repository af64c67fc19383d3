"""Logs for tests: a tree in memory that hands out its tiles, and keys with names."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from signing.keys import PrivateKey, generate_key
from signing.tlog.checkpoint import Checkpoint, cosign, log_key, sign_checkpoint, witness_key
from signing.tlog.entries import role_entry
from signing.tlog.merkle import Node, ReadNodes, leaf_hash, prove_inclusion, root_of
from signing.tlog.note import NoteKey, merge_signatures
from signing.tlog.policy import LogPolicy, with_witnesses
from signing.tlog.proof import LogProof
from signing.tlog.tiles import (
    ENTRIES,
    WIDTH,
    Tile,
    nodes_from,
    pack_entries,
    tile_root,
    tiles_for,
    tiles_of,
)


class TileTree:
    """A log over ``entries``, as a dumb file server would hold it."""

    def __init__(self, entries: Iterable[bytes]) -> None:
        self.entries = list(entries)
        self._levels: list[list[bytes]] = [[leaf_hash(entry) for entry in self.entries]]
        while len(self._levels[-1]) >= WIDTH:
            below = self._levels[-1]
            self._levels.append(
                [
                    tile_root(below[at : at + WIDTH])
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


class Log:
    """A registry's public log: entries by role, and whatever a server would give of it."""

    def __init__(self, witnesses: Sequence[NamedKey] = (), quorum: int | None = None) -> None:
        self.key = NamedKey("forge.example/log")
        self.witnesses = list(witnesses)
        self.quorum = quorum
        self.tree = TileTree([])
        self.numbers: dict[tuple[str, int], int] = {}

    @property
    def policy(self) -> LogPolicy:
        keys = [each.as_witness for each in self.witnesses]
        return with_witnesses(LogPolicy(keys=(self.key.as_log,)), keys, self.quorum)

    @property
    def size(self) -> int:
        return len(self.tree.entries)

    def add(self, *entries: bytes) -> None:
        self.tree = TileTree([*self.tree.entries, *entries])

    def add_role(self, role: str, version: int, data: bytes) -> int:
        """The number of the role's leaf, which is added unless it is there."""
        leaf = role_entry(role, version, data).to_bytes()
        if leaf not in self.tree.entries:
            self.add(leaf)
        number = self.tree.entries.index(leaf)
        return self.numbers.setdefault((role, version), number)

    def checkpoint(self, at: datetime, size: int | None = None) -> bytes:
        size = self.size if size is None else size
        return checkpoint_of(self.key, size, self.tree.root(size), self.witnesses, at)

    def proof(self, role: str, data: bytes, at: datetime) -> bytes:
        leaf = role_entry(role, json.loads(data)["signed"]["version"], data).to_bytes()
        number, size = self.tree.entries.index(leaf), self.size
        hashes = tuple(prove_inclusion(number, size, self.tree.reader(size)))
        return LogProof(index=number, hashes=hashes, checkpoint=self.checkpoint(at)).to_bytes()

    def files(self, at: datetime) -> dict[str, bytes]:
        """``{URL path: bytes}`` of the log as it is now."""
        served = {f"/log/{tile.path}": self.tree.tile(tile) for tile in tiles_of(self.size)}
        for (role, version), number in self.numbers.items():
            served[f"/log/leaf/{version}.{role}"] = f"{number}\n".encode()
        served["/log/checkpoint"] = self.checkpoint(at)
        return served


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
