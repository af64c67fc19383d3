"""Blobs and the published tree in an object store that speaks S3.

Nothing here trusts the store to check anything: what was sent is hashed here before it gets its
name, and what is read is compared with what it must be. See docs/adr/0010-object-store.md.

Imported only where an ``s3://`` URL is opened, and boto3 only when that happens.
"""

from __future__ import annotations

from .assembly import S3Assembly
from .blobs import S3BlobStore
from .bucket import Bucket
from .client import S3Connection, S3Options, connect, parse_s3_url
from .tree import S3PublishedTree

__all__ = [
    "Bucket",
    "S3Assembly",
    "S3BlobStore",
    "S3Connection",
    "S3Options",
    "S3PublishedTree",
    "connect",
    "parse_s3_url",
]
