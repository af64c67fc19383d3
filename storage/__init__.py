"""Places for bytes: content-addressed blobs, and the published tree of signed metadata."""

from __future__ import annotations

from .base import BlobStat, BlobStore
from .errors import (
    BackendError,
    BlobMismatchError,
    BlobNotFoundError,
    InvalidArgumentError,
    NotFoundError,
    PathNotFoundError,
    PublishedConflictError,
    StorageError,
)
from .local import LocalBlobStore
from .memory import MemoryBlobStore
from .published import (
    LocalPublishedTree,
    MemoryPublishedTree,
    PublishedTree,
    put_together,
)

__all__ = [
    "BackendError",
    "BlobMismatchError",
    "BlobNotFoundError",
    "BlobStat",
    "BlobStore",
    "InvalidArgumentError",
    "LocalBlobStore",
    "LocalPublishedTree",
    "MemoryBlobStore",
    "MemoryPublishedTree",
    "NotFoundError",
    "PathNotFoundError",
    "PublishedConflictError",
    "PublishedTree",
    "StorageError",
    "put_together",
]
