"""Places for bytes: content-addressed blobs, and the published tree of signed metadata."""

from __future__ import annotations

from .assembly import BlobAssembly, Limits, Part, PartAddress, Segment
from .at_once import several
from .base import BlobStat, BlobStore
from .errors import (
    BackendError,
    BlobMismatchError,
    BlobNotFoundError,
    InvalidArgumentError,
    NotFoundError,
    PartsMissingError,
    PathNotFoundError,
    PublishedConflictError,
    StorageError,
    UploadNotFoundError,
)
from .local import LocalBlobStore
from .local_assembly import LocalAssembly
from .memory import MemoryBlobStore
from .published import (
    LocalPublishedTree,
    MemoryPublishedTree,
    PublishedTree,
    put_together,
)

__all__ = [
    "BackendError",
    "BlobAssembly",
    "BlobMismatchError",
    "BlobNotFoundError",
    "BlobStat",
    "BlobStore",
    "InvalidArgumentError",
    "Limits",
    "LocalAssembly",
    "LocalBlobStore",
    "LocalPublishedTree",
    "MemoryBlobStore",
    "MemoryPublishedTree",
    "NotFoundError",
    "Part",
    "PartAddress",
    "PartsMissingError",
    "PathNotFoundError",
    "PublishedConflictError",
    "PublishedTree",
    "Segment",
    "StorageError",
    "UploadNotFoundError",
    "put_together",
    "several",
]
