"""The registry's public log as this client sees it: one checkpoint, kept, and proofs against it.

What was seen is never forgotten: the next checkpoint must be a continuation of the last one. When
it is not, both signed checkpoints are kept in a file that anybody can check, because a log that
shows two histories is not a fault but an attack.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

from signing.errors import MalformedError, VerificationError
from signing.status import LogSeen
from signing.tlog.checkpoint import Checkpoint, SignedCheckpoint, open_checkpoint, parse_checkpoint
from signing.tlog.entries import Entry
from signing.tlog.fork import Fork, contradiction
from signing.tlog.merkle import (
    HASH_BYTES,
    Node,
    check_inclusion,
    leaf_hash,
    prefix_roots,
    prove_inclusion,
    prove_prefix,
)
from signing.tlog.note import MAX_NOTE_BYTES, parse_note
from signing.tlog.policy import LogPolicy
from signing.tlog.proof import SUFFIX, LogProof, parse_proof
from signing.tlog.tiles import (
    ENTRIES,
    MAX_ENTRY_BYTES,
    WIDTH,
    Tile,
    check_tile,
    nodes_from,
    parse_entries,
    parse_size,
    tile_in,
    tiles_for,
)

from ..errors import NetworkError
from ..files import write_private

if TYPE_CHECKING:
    from .http import Http

_LEAF_BYTES: Final = 32


@dataclass(slots=True, kw_only=True)
class LogView:
    """One view of the log at ``url``/log. ``state`` is this registry's folder of what was seen.

    `refresh` must be called first, by one process at a time.
    """

    http: Http
    url: str
    policy: LogPolicy
    state: Path
    now: datetime
    _signed: SignedCheckpoint | None = None
    _tiles: dict[Tile, bytes] = field(default_factory=dict)

    @property
    def signed(self) -> SignedCheckpoint:
        """The checkpoint that everything here is proved against."""
        if self._signed is None:
            raise AssertionError("the log is used before its checkpoint was fetched")
        return self._signed

    @property
    def checkpoint(self) -> Checkpoint:
        return self.signed.checkpoint

    def refresh(self) -> SignedCheckpoint:
        """Fetches the newest checkpoint and verifies that it continues the last one seen here.

        Raises:
            VerificationError: ``log-fork`` (two histories; the evidence is kept),
                ``rollback`` (a shorter log than before), ``witnesses-missing``, ``expired`` (no
                quorum of witnesses saw it lately), or a signature that does not hold.
            NetworkError: there is no checkpoint to be had.
        """
        raw = self._fetch("checkpoint", MAX_NOTE_BYTES)
        self._signed = open_checkpoint(raw, self.policy.keys, self.policy.witnesses)
        self.policy.require_recent(self._signed, self.now)
        seen = self._seen()
        if seen is not None:
            self._require_continuation(*seen)
        if seen is None or seen[1] != raw:
            write_private(self._folder / "checkpoint", raw)
        return self._signed

    def _seen(self) -> tuple[Checkpoint, bytes] | None:
        """The last checkpoint seen here; it was verified when it was kept."""
        try:
            raw = (self._folder / "checkpoint").read_bytes()
        except FileNotFoundError:
            return None
        return parse_checkpoint(parse_note(raw).text, "the last checkpoint seen"), raw

    def _require_continuation(self, seen: Checkpoint, raw: bytes) -> None:
        new = self.checkpoint
        if new.size < seen.size:
            raise VerificationError(
                "rollback",
                f"log {new.origin}",
                f"at least {seen.size} entries, as seen before",
                f"{new.size}",
                "the registry or a mirror offers an old state: do not use it, tell its operator",
            )
        prefix: list[bytes] = []
        if 0 < seen.size < new.size:
            prefix = prove_prefix(seen.size, new.size, self._read)
            self._require_root(prefix_roots(seen.size, new.size, prefix)[1])
        if contradiction(seen, new, prefix):
            fork = Fork(first=raw, second=self.signed.raw, prefix=tuple(prefix))
            raise self._fork(seen, fork)

    def require_prefix(self, seen: LogSeen) -> None:
        """Establishes that this log begins with what the status host saw of it. Proved once: what
        was shown to continue that can only be continued itself.

        Raises:
            VerificationError: ``rollback`` (a shorter log), ``status-contradicts`` (another one).
        """
        new = self.checkpoint
        kept = self._folder / "status-prefix"
        mark = f"{seen.size} {seen.root.hex()}\n".encode()
        with suppress(FileNotFoundError):
            if kept.read_bytes() == mark:
                return
        if new.size < seen.size:
            raise VerificationError(
                "rollback",
                f"log {new.origin}",
                f"at least {seen.size} entries, as the status host saw",
                f"{new.size}",
                "the registry or a mirror offers an old state: do not use it, tell the authority",
            )
        found = new.root
        if seen.size < new.size:
            found = self._root_before(seen.size)
        if found != seen.root:
            raise VerificationError(
                "status-contradicts",
                f"log {new.origin}",
                f"a log whose first {seen.size} entries have the root {seen.root.hex()}, as the "
                "status host saw",
                f"the root {found.hex()}",
                "the registry shows you another history than it showed to the status host: do not "
                "use it, tell the authority",
            )
        write_private(kept, mark)

    def _root_before(self, size: int) -> bytes:
        """The root of the first ``size`` leaves of this very log (0 < ``size`` < its own)."""
        prefix = prove_prefix(size, self.checkpoint.size, self._read)
        before, after = prefix_roots(size, self.checkpoint.size, prefix)
        self._require_root(after)
        return before

    def _require_root(self, found: bytes) -> None:
        if found != self.checkpoint.root:
            raise VerificationError(
                "log-inconsistent",
                f"log {self.checkpoint.origin}",
                f"tiles of the tree with root {self.checkpoint.root.hex()}",
                found.hex(),
                "the registry serves tiles that are not its log's; try again or another mirror",
            )

    def _fork(self, seen: Checkpoint, fork: Fork) -> VerificationError:
        data = fork.to_bytes()
        path = self._folder / f"fork-{sha256(data).hexdigest()[:12]}.json"
        with suppress(FileExistsError):
            write_private(path, data)
        return VerificationError(
            "log-fork",
            f"log {self.checkpoint.origin}",
            f"a continuation of the {seen.size} entries seen before",
            f"another history of {self.checkpoint.size} entries, signed by the same log",
            f"the registry shows different histories to different people. The proof is in {path}: "
            f"give it to others, who can check it with: forge log verify {path.name}",
        )

    def prove(self, role: str, version: int, entry: Entry, number: int | None = None) -> bytes:
        """A proof (c2sp.org/tlog-proof) that ``entry`` is in the log, checked, and kept so that the
        next time nothing is fetched while the log stays the same.

        ``number`` is the leaf's; None has it looked up.

        Raises:
            VerificationError: ``not-in-log``.
        """
        subject = f"role {role} version {version} in the log {self.checkpoint.origin}"
        path = self._folder / f"{role}{SUFFIX}"
        kept = self._kept(path)
        leaf = leaf_hash(entry.to_bytes())
        if kept is not None:
            then = parse_checkpoint(parse_note(kept.checkpoint).text)
            with suppress(VerificationError):
                check_inclusion(leaf, kept.index, then.size, kept.hashes, then.root, subject)
                number = kept.index
                if then == self.checkpoint:
                    return self._proof(kept.index, kept.hashes)
        if number is None:
            number = self._number(role, version)
        size = self.checkpoint.size
        if number >= size:
            raise VerificationError(
                "not-in-log", subject, f"a leaf below {size}, as in its checkpoint", number,
                "the registry announces what its public log does not hold: do not use it",
            )  # fmt: skip
        hashes = tuple(prove_inclusion(number, size, self._read))
        check_inclusion(leaf, number, size, hashes, self.checkpoint.root, subject)
        data = self._proof(number, hashes)
        write_private(path, data)
        return data

    def require_logged(self, role: str, version: int, entry: Entry) -> None:
        """Establishes that ``entry`` is in the log. What was proved against an earlier checkpoint
        is not proved again: this one continues it.

        Raises:
            VerificationError: ``not-in-log``.
        """
        kept = self._kept(self._folder / f"{role}{SUFFIX}")
        if kept is not None:
            then = parse_checkpoint(parse_note(kept.checkpoint).text)
            leaf = leaf_hash(entry.to_bytes())
            with suppress(VerificationError):
                check_inclusion(leaf, kept.index, then.size, kept.hashes, then.root, role)
                return
        self.prove(role, version, entry)

    def _proof(self, number: int, hashes: tuple[bytes, ...]) -> bytes:
        return LogProof(index=number, hashes=hashes, checkpoint=self.signed.raw).to_bytes()

    def _kept(self, path: Path) -> LogProof | None:
        try:
            return parse_proof(path.read_bytes())
        except (FileNotFoundError, MalformedError):
            return None

    def _number(self, role: str, version: int) -> int:
        where = f"leaf/{version}.{role}"
        try:
            text = self._fetch(where, _LEAF_BYTES).decode("ascii")
        except UnicodeDecodeError:
            text = "?"
        return parse_size(text.removesuffix("\n"), f"log/{where}")

    def entries(self, number: int) -> list[bytes]:
        """The leaves of bundle ``number`` as of the checkpoint; not verified here."""
        tile = tile_in(ENTRIES, number, self.checkpoint.size)
        found, data = self._full_or_partial(tile, MAX_ENTRY_BYTES + 2)
        return parse_entries(data, found)[: tile.width]

    def require_bundle(self, number: int, leaves: Sequence[bytes]) -> None:
        """Establishes that ``leaves`` are those of bundle ``number`` of this very log.

        Raises:
            VerificationError: ``not-in-log``.
        """
        size, first = self.checkpoint.size, number * WIDTH
        proof = prove_inclusion(first, size, self._read)
        root = self.checkpoint.root
        check_inclusion(leaf_hash(leaves[0]), first, size, proof, root, f"leaf {first}")
        # The path of its first leaf is computed from every hash of the tile: all are the log's.
        tile = self.tile(tile_in(0, number, size))
        for at, leaf in enumerate(leaves):
            if leaf_hash(leaf) != tile[at * 32 : (at + 1) * 32]:
                raise VerificationError(
                    "not-in-log",
                    f"leaf {number * WIDTH + at}",
                    tile[at * 32 : (at + 1) * 32].hex(),
                    leaf_hash(leaf).hex(),
                )

    def _read(self, nodes: Iterable[Node]) -> Mapping[Node, bytes]:
        wanted = list(nodes)
        size = self.checkpoint.size
        tiles = {tile: self.tile(tile) for tile in tiles_for(wanted, size)}
        return nodes_from(wanted, size, tiles)

    def tile(self, tile: Tile) -> bytes:
        """A tile's bytes; whether they are the log's shows in the proof made of them."""
        if tile not in self._tiles:
            _, data = self._full_or_partial(tile, HASH_BYTES)
            self._tiles[tile] = check_tile(tile, data[: tile.width * HASH_BYTES])
        return self._tiles[tile]

    def _full_or_partial(self, tile: Tile, each: int) -> tuple[Tile, bytes]:
        """Which file there was for ``tile``, and what is in it: at most ``each`` bytes a leaf. A
        partial one may be gone once the full one is there (tlog-tiles, Partial Tiles)."""
        try:
            return tile, self._fetch(tile.path, tile.width * each)
        except NetworkError as missing:
            if tile.width == WIDTH:
                raise
            full = Tile(tile.level, tile.number)
            try:
                return full, self._fetch(full.path, WIDTH * each)
            except NetworkError:
                raise missing from None  # which is the one that the checkpoint promises

    def _fetch(self, path: str, limit: int) -> bytes:
        from .http import read_limited  # an installation that asks nobody needs none of it

        address = f"{self.url}/log/{path}"
        with self.http.open("GET", address) as response:
            if response.status >= 400:
                raise NetworkError(
                    f"{address}: the registry answered {response.status} for a file of its log",
                    hint="try again in a moment, or another mirror",
                )
            data = read_limited(response, limit)
        if len(data) > limit:
            raise VerificationError(
                "length-mismatch", f"log/{path}", f"at most {limit} bytes", "more"
            )
        return data

    @property
    def _folder(self) -> Path:
        """One folder for each set of keys that the authority names: what a thief of the log's key
        showed does not count any more once the authority has named another."""
        names = "\n".join(sorted(key.vkey for key in self.policy.keys))
        return self.state / "log" / sha256(names.encode()).hexdigest()[:16]
