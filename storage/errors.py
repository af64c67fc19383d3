"""What can go wrong in a store, split by what the caller would do about it.

StorageError
 ├── InvalidArgumentError        a digest, size or path that is not one: fix the caller
 ├── NotFoundError               not there: a normal answer
 │    ├── BlobNotFoundError
 │    ├── UploadNotFoundError
 │    └── PathNotFoundError
 ├── PartsMissingError           an upload is not complete: send the rest
 ├── BlobMismatchError           the bytes are not what was promised: refuse the sender
 └── BackendError                the store failed: retry, or call the operator
      └── PublishedConflictError   a put-once path already holds other bytes: stop and alarm

Messages name digests and published paths, never a place in the server's file system; the
original `OSError`, which does name it, stays available as `__cause__` for the log.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class StorageError(Exception):
    """The root of everything this package raises. `code` is stable, `message` is for people."""

    def __init__(self, code: str, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


class InvalidArgumentError(StorageError, ValueError):
    """A digest, size or path name that no store accepts. Raised before anything is touched."""


class NotFoundError(StorageError):
    """The one signal of every store for "not there"."""


class BlobNotFoundError(NotFoundError):
    def __init__(self, digest: str) -> None:
        super().__init__("blob-not-found", f"blob {digest} is not in the store")
        self.digest = digest


class PathNotFoundError(NotFoundError):
    def __init__(self, path: str) -> None:
        super().__init__("path-not-found", f"{path} is not published")
        self.path = path


class UploadNotFoundError(NotFoundError):
    def __init__(self, upload: str) -> None:
        super().__init__(
            "upload-not-found",
            f"upload {upload} is not open",
            "Begin it again; what was sent of it is lost.",
        )
        self.upload = upload


class PartsMissingError(StorageError):
    """An upload was to be assembled of which `numbers` have not come."""

    def __init__(self, upload: str, numbers: Iterable[int]) -> None:
        self.numbers = sorted(numbers)
        shown = ", ".join(map(str, self.numbers[:10]))
        super().__init__(
            "parts-missing",
            f"upload {upload}: expected every part, found {len(self.numbers)} missing ({shown})",
            "Send these parts, then finish it again.",
        )


class BlobMismatchError(StorageError):
    """The stream did not hold the promised bytes.

    `code` is "digest-mismatch" or "length-mismatch"; `expected` and `found` are of that kind.
    """

    def __init__(
        self, digest: str, expected: str, found: str, *, code: str = "digest-mismatch"
    ) -> None:
        super().__init__(
            code,
            f"blob {digest}: expected {expected}, found {found}",
            "Hash the file again and repeat the transfer; it was cut or altered.",
        )
        self.digest = digest
        self.expected = expected
        self.found = found


class BackendError(StorageError):
    """The store itself failed. `retry` says whether the same call may succeed by itself later."""

    def __init__(
        self, message: str, retry: bool, *, code: str = "backend-failed", hint: str | None = None
    ) -> None:
        super().__init__(code, message, hint)
        self.retry = retry


class PublishedConflictError(BackendError):
    """`put_once` met other bytes under the same path, which are left as they were."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path} is already published with other content",
            False,
            code="published-conflict",
            hint="What is published once never changes; publish under a new version.",
        )
        self.path = path


_FREE_SPACE = "Free space on the volume of the store, or raise its quota, then repeat."
_CHECK_OWNER = "Check the owner and mode of the store's folders against the service account."
_CHECK_LAYOUT = "Something foreign sits where the store keeps its files; move it away."

# errno → (what happened, may the same call succeed later, code, next step)
_CAUSES: dict[int, tuple[str, bool, str, str | None]] = {
    errno.ENOSPC: ("disk full", False, "disk-full", _FREE_SPACE),
    errno.EDQUOT: ("disk full (quota reached)", False, "disk-full", _FREE_SPACE),
    errno.EFBIG: (
        "file too large for the file system or the process limit",
        False,
        "file-too-large",
        "Raise the file size limit of the service (ulimit -f), or change the file system.",
    ),
    errno.EACCES: ("permission denied", False, "storage-permission", _CHECK_OWNER),
    errno.EPERM: ("operation not permitted", False, "storage-permission", _CHECK_OWNER),
    errno.EROFS: ("the file system is read-only", False, "storage-permission", None),
    errno.EXDEV: (
        "the file is on another file system",
        False,
        "backend-failed",
        "Write it below the store's own temporary folder first.",
    ),
    errno.ENOTDIR: ("a file is where a folder should be", False, "backend-failed", _CHECK_LAYOUT),
    errno.EISDIR: ("a folder is where a file should be", False, "backend-failed", _CHECK_LAYOUT),
    errno.ENOTEMPTY: ("a folder is where a file should be", False, "backend-failed", _CHECK_LAYOUT),
    errno.ELOOP: ("a symbolic link is in the way", False, "backend-failed", _CHECK_LAYOUT),
}


def backend_error(action: str, error: OSError) -> BackendError:
    """The `BackendError` for a failed system call; `action` completes "could not …"."""
    number = error.errno or 0
    default = (os.strerror(number) if number else "unknown failure", True, "backend-failed", None)
    reason, retry, code, hint = _CAUSES.get(number, default)
    return BackendError(f"could not {action}: {reason}", retry, code=code, hint=hint)


@contextmanager
def reported_as(action: str) -> Iterator[None]:
    """Turns `OSError` into `BackendError`. Never wrap the reading of a caller's stream in it:
    a lost connection is an `OSError` as well, and not a failure of the store."""
    try:
        yield
    except OSError as error:
        raise backend_error(action, error) from error
