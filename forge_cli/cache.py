"""The cache: verified bytes by digest, unfinished downloads, and verified evidence.

    blobs/ab/abcdef…          whole files, read-only
    partial/<digest>.part     begun downloads, continued by whichever process comes next;
                              see `exclusive` for other names that they may have
    evidence/<digest>.json    what proved the release whose manifest has this digest
    trees/<digest>/…          files of that release under their names, for programs

A whole file carries a fixed modification time, set after its digest was checked. Installed files
may be hard links to it, so somebody editing one edits the cache: the time then differs, the file
is hashed again, and thrown away when it is not what its name says.

Nothing is written through to the disk for that. Until it is (`settle`) the time names the boot too,
in its microseconds: after a power cut a file may have its name, size and time, and holes in it. A
file of an earlier boot is hashed once more before it is used.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from signing.chunks import MAX_LIST_BYTES
from signing.digests import hash_stream, sha256_hex
from storage.local import LocalBlobStore

from .boot import boot_number
from .exclusive import digest_of, remove_unless_held
from .files import begin_sync, sync_all, write_private

# 2000-01-01T00:00:00Z. Representable everywhere, also in zip files and on FAT.
VERIFIED_MTIME_NS: Final = 946_684_800 * 10**9
_MICROSECONDS: Final = 10**6
_WORTH_BEGINNING: Final = 1 << 20  # bytes of a file that the disk begins to take at once


@dataclass(frozen=True, slots=True)
class Usage:
    """What the cache holds."""

    blobs: int
    blob_bytes: int
    partial: int
    partial_bytes: int


class Cache:
    """Verified bytes in ``root``. Every answer of `has` is about content, not about names."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._store = LocalBlobStore(root / "blobs", durable=False)
        self.partial_dir = root / "partial"
        self._evidence_dir = root / "evidence"
        self._spare: Cache | None = None

    def path(self, digest: str) -> Path:
        """Where the blob is, or would be."""
        path = self._store.path(digest)
        if self._spare is not None and not path.exists():
            return self._spare.path(digest)
        return path

    @property
    def work_dir(self) -> Path:
        """Where new blobs go; exists after `require_writable`."""
        return self.root if self._spare is None else self._spare.root

    @contextmanager
    def lent(self, spare: Path) -> Iterator[None]:
        """While the block runs, a cache that cannot be written is only read, and what is new goes
        into the folder ``spare``. Its blobs are removed afterwards (whoever placed them has links
        or copies), unfinished downloads stay for the next time."""
        if self._is_writable():
            yield
            return
        self._spare = Cache(spare)
        try:
            yield
        finally:
            remove_blobs(spare / "blobs")
            self._spare = None

    def _is_writable(self) -> bool:
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Not os.access: root may write everywhere but on a file system that is read-only.
            with tempfile.TemporaryFile(dir=self.root):
                return True
        except OSError:
            return False

    def has(self, digest: str, size: int) -> bool:
        """Whether the blob is here and still what it was when it was verified."""
        path = self.path(digest)
        try:
            info = os.stat(path, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return False
        if not stat.S_ISREG(info.st_mode):
            return False
        if info.st_size == size and info.st_mtime_ns in (VERIFIED_MTIME_NS, _fresh_mtime_ns()):
            return True
        return info.st_size == size and self._verify_again(path, digest, info)

    def open(self, digest: str, size: int) -> BinaryIO | None:
        """The blob, opened for reading, after `has` has looked at the very file that was opened;
        None when it is not here."""
        if not self.has(digest, size):
            return None
        try:
            file = open(self.path(digest), "rb", opener=_no_link)  # noqa: SIM115  # the caller's
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:  # it is a link by now
                return None
            raise
        info = os.fstat(file.fileno())
        marked = info.st_mtime_ns in (VERIFIED_MTIME_NS, _fresh_mtime_ns())
        right = stat.S_ISREG(info.st_mode) and info.st_size == size
        # One that cannot be marked, in a cache of somebody else's, is read each time.
        if right and (marked or hash_stream(file) == (size, digest)):
            file.seek(0)
            return file
        file.close()
        return None

    def verify(self, digest: str, size: int) -> bool:
        """Whether the blob is here with the right content, read to its last byte; one that is
        not stays as it is (see `set_aside` and `drop`)."""
        path = self.path(digest)
        try:
            info = path.stat()
            with path.open("rb", buffering=0) as file:
                right = hash_stream(file) == (size, digest)
        except OSError:
            return False
        if right and looks_verified(info) and info.st_mtime_ns != _fresh_mtime_ns():
            with suppress(OSError):
                mark_verified(path)
        return right

    def set_aside(self, digest: str) -> Path | None:
        """Take a spoilt blob out of the cache; where it lies now, None when it was not here."""
        aside = self.partial(digest).with_suffix(".spoilt")
        try:
            os.replace(self.path(digest), aside)
        except OSError:
            return None
        return aside

    def _verify_again(self, path: Path, digest: str, info: os.stat_result) -> bool:
        """The tripwire fired: somebody touched the file, or it is of an earlier boot. Keep it only
        if its content is right."""
        with path.open("rb", buffering=0) as file:
            _, found = hash_stream(file)
        if found == digest:
            with suppress(OSError):
                # What an earlier boot wrote came from the disk just now.
                (mark_verified if looks_verified(info) else mark_fresh)(path)
            return True
        with suppress(OSError):
            path.unlink()
        return False

    def read(self, digest: str, size: int) -> bytes | None:
        """The bytes of a small blob, hashed on the way; None when it is not here."""
        try:
            with self.path(digest).open("rb") as file:
                data = file.read(size + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if len(data) == size and sha256_hex(data) == digest:
            return data
        with suppress(OSError):
            self.path(digest).unlink()
        return None

    def read_list(self, digest: str) -> bytes | None:
        """The bytes of a chunk list, hashed on the way; None when it is not here."""
        try:
            size = os.stat(self.path(digest)).st_size
        except (FileNotFoundError, NotADirectoryError):
            return None
        return self.read(digest, size) if size <= MAX_LIST_BYTES else None

    def put(self, data: bytes) -> None:
        """Keep small verified bytes. A cache that cannot be written is no reason to fail."""
        from io import BytesIO

        from storage.errors import StorageError

        if self._spare is not None:
            return self._spare.put(data)
        digest = sha256_hex(data)
        with suppress(StorageError, OSError):
            self._store.put(digest, BytesIO(data), len(data))
            mark_fresh(self.path(digest))
        return None

    def adopt(self, partial: Path, digest: str) -> None:
        """Move a finished download, whose digest the caller has checked, among the blobs."""
        mark_fresh(partial)
        if os.stat(partial).st_size >= _WORTH_BEGINNING:
            with partial.open("rb") as file:
                begin_sync(file.fileno())  # while the next one comes
        target = (self._spare or self)._store.path(digest)
        with suppress(OSError):
            if os.stat(target).st_size != os.stat(partial).st_size:
                target.unlink()
        (self._spare or self)._store.adopt(partial, digest)

    def drop(self, digest: str) -> None:
        with suppress(OSError):
            self.path(digest).unlink()

    def partial(self, digest: str) -> Path:
        """Where the unfinished download of ``digest`` lies; its folder exists afterwards."""
        if self._spare is not None:
            return self._spare.partial(digest)
        self.partial_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self.partial_dir / f"{digest}.part"

    def begun_bytes(self, digest: str, size: int) -> int:
        """How much of the disk the unfinished download of a file of ``size`` bytes takes, of what
        the whole will take."""
        if self._spare is not None:
            return self._spare.begun_bytes(digest, size)
        try:
            # Not its length: ranges come in any order, and leave holes.
            return min(size, os.stat(self.partial_dir / f"{digest}.part").st_blocks * 512)
        except OSError:
            return 0

    def evidence(self, manifest_digest: str) -> bytes | None:
        """What `keep_evidence` was given for the release, or None."""
        try:
            return (self._evidence_dir / f"{manifest_digest}.json").read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def all_evidence(self) -> Iterator[bytes]:
        """Everything that `keep_evidence` was given."""
        for path in sorted(self._evidence_dir.glob("*.json")):
            with suppress(OSError):
                yield path.read_bytes()

    def keep_evidence(self, manifest_digest: str, data: bytes) -> None:
        """Remember what proved a release, after it was verified."""
        with suppress(OSError):
            write_private(self._evidence_dir / f"{manifest_digest}.json", data)

    def require_writable(self) -> None:
        """Raises OSError when nothing can be written, here or where it was lent to."""
        if self._spare is not None:
            self._spare.require_writable()
            return
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(self.root, os.W_OK | os.X_OK):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(self.root))

    def usage(self) -> Usage:
        blobs = [self.path(digest) for digest in self._store.iter_digests()]
        partial = list(self.partial_dir.glob("*.part")) if self.partial_dir.is_dir() else []
        return Usage(
            blobs=len(blobs),
            blob_bytes=sum(_size(path) for path in blobs),
            partial=len(partial),
            partial_bytes=sum(_size(path) for path in partial),
        )

    def blobs(self) -> Iterator[tuple[str, int, bool]]:
        """``(digest, size in bytes, shared with an installed folder)`` of every blob."""
        for digest in self._store.iter_digests():
            with suppress(OSError):
                info = self.path(digest).stat()
                yield digest, info.st_size, info.st_nlink > 1

    def unfinished(self) -> Iterator[tuple[str, int]]:
        """``(digest, bytes on disk)`` of every begun download."""
        for path in sorted(self.partial_dir.glob("*.part")) if self.partial_dir.is_dir() else ():
            with suppress(OSError):
                yield digest_of(path), path.stat().st_size

    def prune(self, *, everything: bool) -> Usage:
        """Remove unfinished downloads and blobs that no installed file shares; returns what went.

        A blob with a second hard link costs nothing to keep: its bytes stay on disk anyway.
        ``everything`` removes those names too. What another process is fetching at this moment
        stays.
        """
        gone = [0, 0, 0, 0]
        with suppress(FileNotFoundError):  # what is read without being installed shares blobs too
            for tree in (self.root / "trees").iterdir():
                remove_blobs(tree)
        for digest in list(self._store.iter_digests()):
            path = self.path(digest)
            info = path.stat()
            if everything or info.st_nlink == 1:
                path.unlink()
                gone[0] += 1
                gone[1] += info.st_size
        for path in self.partial_dir.glob("*.part") if self.partial_dir.is_dir() else ():
            size = _size(path)
            if remove_unless_held(path):
                gone[2] += 1
                gone[3] += size
        for suffix in ("*.spoilt", "*.journal"):  # set aside for a repair, or left alone by a crash
            for path in self.partial_dir.glob(suffix) if self.partial_dir.is_dir() else ():
                if not path.with_suffix(".part").exists():
                    path.unlink(missing_ok=True)
        return Usage(*gone)


def remove_blobs(folder: Path) -> None:
    """Delete a folder of blobs and nothing else."""
    with suppress(OSError):
        shutil.rmtree(folder)


def mark_verified(path: Path) -> None:
    """Read-only, with the time that says: hashed, on the disk, and untouched since."""
    _mark(path, VERIFIED_MTIME_NS)


def mark_fresh(path: Path) -> None:
    """Read-only, with the time that says: hashed in this boot, and untouched since."""
    _mark(path, _fresh_mtime_ns())


def looks_verified(info: os.stat_result) -> bool:
    """Whether nobody has touched the file since it was hashed, in this boot or another."""
    return 0 <= info.st_mtime_ns - VERIFIED_MTIME_NS < 10**9


def settle(paths: Sequence[Path]) -> None:
    """Those of ``paths`` that are fresh are on the disk afterwards, and say so."""
    fresh = [path for path in paths if path.stat().st_mtime_ns != VERIFIED_MTIME_NS]
    sync_all(fresh)
    for path in fresh:
        with suppress(OSError):  # somebody else's, in a cache that is only read
            mark_verified(path)


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def _fresh_mtime_ns() -> int:
    # A file system that keeps whole seconds only makes every file look settled.
    return VERIFIED_MTIME_NS + boot_number(_MICROSECONDS) * 1000


def _mark(path: Path, mtime_ns: int) -> None:
    os.chmod(path, 0o444)
    os.utime(path, ns=(mtime_ns, mtime_ns))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
