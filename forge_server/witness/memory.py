"""The witness's folder: its key, the logs it knows, and what it cosigned last of each.

    vkey                    the verifier key, public
    key.pem                 the private key, 0600
    logs/<origin hash>/     SHA-256 of the origin in hex, as in the monitoring address
        keys                the log's verifier keys, one a line
        checkpoint          the last checkpoint with the log's signatures and ours
        cosigned            there once a checkpoint is; without one beside it, memory was lost
        forgotten           a checkpoint of ours that is ahead of `checkpoint`: memory is old
        lock
    evidence/

`checkpoint` is the whole memory, and what the monitoring endpoint serves: one file, replaced in
one step, on disk before its cosignature leaves the house. It is read again each time under an
advisory lock, so that threads, workers and the operator's commands see one truth.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from signing.digests import sha256_hex
from signing.errors import KeyUnusableError, SigningError
from signing.keys import PrivateKey, load_private_key
from signing.tlog.checkpoint import check_cosignature, parse_tree_head, witness_key
from signing.tlog.note import COSIGNATURE, ED25519, Note, NoteKey, parse_note
from signing.tlog.policy import parse_keys
from storage.durable import (
    Folders,
    fsync_dir,
    remove_durably,
    replace_durably,
    write_file_durably,
)

from .errors import UnusableError
from .judging import Seen, require_signed

_HASH = re.compile(r"[0-9a-f]{64}")
_PRIVATE = 0o600


class LogMemory:
    """What the witness knows of one log. ``root`` exists for logs that were added."""

    def __init__(self, root: Path, own: NoteKey) -> None:
        self.root = root
        self._own = own
        self._checkpoint = root / "checkpoint"
        self._cosigned = root / "cosigned"
        self.forgotten = root / "forgotten"

    def keys(self) -> tuple[NoteKey, ...]:
        """The log's keys; its origin is their name.

        Raises:
            UnusableError: the file cannot be read.
        """
        path = self.root / "keys"
        try:
            keys = parse_keys(path.read_text(encoding="utf-8").split(), ED25519, str(path))
        except (OSError, ValueError, SigningError) as error:
            raise UnusableError(
                f"{path}: expected the log's verifier keys, found: {error}",
                "take the file from a copy, or write its verifier keys anew, one a line",
            ) from None
        if {sha256_hex(key.name.encode()) for key in keys} != {self.root.name}:
            raise UnusableError(f"{path}: expected keys of the log {self.root.name}, found others")
        return keys

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the log for whoever reads in order to write. Freed by death."""
        descriptor = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE)
        try:
            # A file system without locks is refused: the promise rests on this one.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def seen(self) -> Seen | None:
        """What was cosigned last; None when nothing ever was. On disk once this returns, so that
        it may be shown to others. Under `locked`.

        Raises:
            UnusableError: it is lost, damaged, or known to be too old.
        """
        # Whoever renamed the file may have died, or failed, before its name was on disk.
        fsync_dir(self.root)
        hint = (
            "get the last checkpoint with this witness's cosignature, from the log or from anyone "
            f"who installed from it, and run: forge-witness recover {self.root.parents[1]} FILE"
        )
        if self.forgotten.exists():
            raise UnusableError(
                f"{self.root}: expected the memory of everything cosigned, found one older than "
                f"{self.forgotten.name}: it came from an old copy",
                hint,
            )
        try:
            raw = self._checkpoint.read_bytes()
        except FileNotFoundError:
            if self._cosigned.exists():
                raise UnusableError(
                    f"{self._checkpoint}: expected the last checkpoint, found no file, although "
                    "one was cosigned",
                    hint,
                ) from None
            return None
        try:
            return read_own(raw, self._own, str(self._checkpoint))
        except SigningError as error:
            raise UnusableError(error.message, hint) from None

    def remember(self, note: Note) -> None:
        """Makes ``note`` what was cosigned last; on disk once this returns. Under `locked`."""
        replace_durably(self._checkpoint, note.to_bytes())
        # After the checkpoint: a crash in between leaves a memory without its marker, which the
        # next one writes, never a marker that shuts the witness up over nothing.
        if not self._cosigned.exists():
            _write(self._cosigned, b"")

    def mark_forgotten(self, note: Note) -> None:
        """Records that ``note`` was cosigned and is not remembered. Under `locked`."""
        replace_durably(self.forgotten, note.to_bytes())

    def recover(self, raw: bytes) -> Seen:
        """Makes the checkpoint in ``raw`` what was cosigned last; it must be the log's and ours,
        and no smaller than what is remembered.

        Raises:
            SigningError: it is not signed by the log, or not cosigned by us.
            UnusableError: something larger is remembered, or the same size with another root.
        """
        found = read_own(raw, self._own, "the checkpoint to recover")
        note = parse_note(raw)
        signatures = require_signed(note, self.keys())
        with self.locked():
            for path in (self._checkpoint, self.forgotten):
                self._require_not_behind(found, path)
            own = max(self._own.own(note), key=lambda each: each.data[:8])
            self.remember(Note(text=note.text, signatures=(*signatures, own)))
            remove_durably(self.forgotten)
        return found

    def _require_not_behind(self, found: Seen, path: Path) -> None:
        try:
            known = read_own(path.read_bytes(), self._own, str(path)).head
        except (FileNotFoundError, SigningError):
            return  # nothing there, or nothing that could be believed
        new = found.head
        if (new.size, new.root) != (known.size, known.root) and new.size <= known.size:
            raise UnusableError(
                f"{path}: expected a checkpoint that goes beyond size {known.size}, found size "
                f"{new.size}",
                "the newest checkpoint with this witness's cosignature is the right one",
            )

    def sweep(self) -> None:
        """Removes what a killed writer left. Under `locked`, so that nobody is writing."""
        for path in self.root.glob("*.part"):
            path.unlink(missing_ok=True)


class WitnessFolder:
    """The folder ``root`` of one witness; see the module's docstring."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.evidence = root / "evidence"
        self._logs = root / "logs"
        try:
            vkey = (root / "vkey").read_text(encoding="utf-8").strip()
            (self.own,) = parse_keys([vkey], COSIGNATURE, f"{root / 'vkey'}")
        except (FileNotFoundError, UnicodeDecodeError):
            raise UnusableError(
                f"{root}: expected a witness's folder, found none",
                f"make one: forge-witness init {root} --name NAME",
            ) from None

    @property
    def key_file(self) -> Path:
        return self.root / "key.pem"

    @classmethod
    def create(cls, root: Path, name: str, key: PrivateKey, pem: bytes) -> WitnessFolder:
        """A new witness called ``name``; ``pem`` is ``key`` as it is to be kept.

        Raises:
            UnusableError: something is there already; a key is never replaced.
            MalformedError: a name that cannot stand in a signature line.
        """
        own = witness_key(name, key)
        if root.is_symlink() or (root.exists() and (not root.is_dir() or any(root.iterdir()))):
            raise UnusableError(
                f"{root}: expected nothing or an empty folder, found something",
                "choose another folder; a witness's key is never replaced",
            )
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        root.chmod(0o700)
        fsync_dir(root.parent)
        folders = Folders(root)
        folders.ensure(root / "logs")
        folders.ensure(root / "evidence")
        _write(root / "key.pem", pem, mode=_PRIVATE)
        _write(root / "vkey", f"{own.vkey}\n".encode())  # last: now it is a witness's folder
        return cls(root)

    def load_key(self, ask: Callable[[bytes], bytes | None]) -> PrivateKey:
        """The private key; ``ask`` gives the passphrase for its PEM, None where it has none.

        Raises:
            UnusableError: others may read it, or it is not the key of `own`.
            KeyUnusableError: the passphrase is missing or wrong, the file damaged.
        """
        with self.key_file.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise UnusableError(
                    f"{self.key_file}: expected mode 0600, found {mode:04o}",
                    f"chmod 600 {self.key_file}; if others use this machine, make a new witness",
                )
            pem = file.read()
        try:
            key = load_private_key(pem, ask(pem))
        except KeyUnusableError as error:
            needed = error.code == "key-passphrase-needed"
            hint = "run it on a terminal, or pass the passphrase with --passphrase-fd N"
            raise KeyUnusableError(
                error.code, f"{self.key_file}: {error.message}", hint if needed else error.hint
            ) from None
        if key.public != self.own.public:
            raise UnusableError(
                f"{self.key_file}: expected the key of {self.own.vkey}, found another",
                "key.pem and vkey belong together; take both from one copy",
            )
        return key

    def log(self, origin: str) -> LogMemory | None:
        """The log called ``origin``, if it was added."""
        return self.log_by_hash(sha256_hex(origin.encode()))

    def log_by_hash(self, origin_hash: str) -> LogMemory | None:
        """The log whose origin has this SHA-256 in lowercase hex, if it was added."""
        if not _HASH.fullmatch(origin_hash) or not (self._logs / origin_hash / "keys").exists():
            return None
        return LogMemory(self._logs / origin_hash, self.own)

    def logs(self) -> list[LogMemory]:
        """Every log that was added, by origin."""
        found = (self.log_by_hash(path.name) for path in self._logs.iterdir())
        return sorted(filter(None, found), key=lambda log: log.keys()[0].name)

    def add_log(self, vkey: str) -> tuple[NoteKey, ...]:
        """Trusts the log with ``vkey``, or trusts another key of a log that is known; returns all
        keys of that log.

        Raises:
            MalformedError: not the verifier key of a log (kind 1).
        """
        (key,) = parse_keys([vkey], ED25519, "log")
        root = self._logs / sha256_hex(key.name.encode())
        Folders(self.root).ensure(root)
        log = LogMemory(root, self.own)
        with log.locked():
            known = log.keys() if (root / "keys").exists() else ()
            keys = known if key in known else (*known, key)
            replace_durably(root / "keys", _lines(keys))
        return keys


def read_own(raw: bytes, own: NoteKey, where: str) -> Seen:
    """The checkpoint in ``raw``, which must bear a cosignature of ``own``.

    Raises:
        SigningError: not a checkpoint, or not cosigned by us.
    """
    note = parse_note(raw, where)
    head = parse_tree_head(note.text, where)
    mine = own.own(note)
    if not mine:
        raise SigningError("not-cosigned", f"{where}: expected a cosignature by {own.vkey}")
    for each in mine:
        check_cosignature(each, note.text, own)
    return Seen(head=head, raw=raw)


def _lines(keys: Sequence[NoteKey]) -> bytes:
    return "".join(f"{key.vkey}\n" for key in keys).encode()


def _write(path: Path, data: bytes, mode: int = 0o644) -> None:
    write_file_durably(path, data, mode=mode)
