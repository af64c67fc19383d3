"""`S3BlobStore`: blobs as objects of a bucket, in the layout of the local folder.

    prefix/ab/abcdef…    one object per blob, under the first two digits of its digest

What is being written is a multipart upload; see `sweep_temp`.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import BinaryIO

from ..base import BlobStat
from ..checks import check_digest, check_size, check_start, is_digest
from ..errors import BlobNotFoundError
from ..hashing import Readable, copy_verified
from .bucket import PAGE_KEYS, Bucket
from .errors import BeyondEndError, ObjectMissingError, UploadMissingError
from .reader import ObjectReader
from .upload import ObjectWriter, part_size

_MIB = 1 << 20
_READ_BYTES = _MIB
_FAR_BEYOND_ANY_OBJECT = 1 << 50  # some stores read a larger offset as another number
_FEW = 8  # digests that are asked for one by one


class S3BlobStore:
    """A `BlobStore` in ``bucket``; see `storage.base` for the contract.

    A large blob goes up in parts of ``part_bytes`` (at least 5 MiB, and more where there would
    be over 10,000 of them), ``parallel`` at a time; memory holds one part more.
    """

    def __init__(self, bucket: Bucket, *, part_bytes: int = 8 * _MIB, parallel: int = 3) -> None:
        self._bucket = bucket
        self._part_bytes = part_bytes
        self._parallel = parallel

    def missing(self, digests: Iterable[str]) -> set[str]:
        """For many digests, never more requests than digests and never more than the store has
        pages: each page of the listing answers for all digests that lie in it."""
        wanted = sorted({check_digest(digest) for digest in digests})
        action = "look for blobs"
        if len(wanted) <= _FEW:
            return {
                digest for digest in wanted if self._bucket.head(action, blob_key(digest)) is None
            }
        absent: set[str] = set()
        at = 0
        while at < len(wanted):
            after = _before(wanted[at])
            page = next(self._bucket.keys(action, after=after))
            there = set(page)
            full = len(page) == PAGE_KEYS
            while at < len(wanted) and (not full or blob_key(wanted[at]) <= page[-1]):
                if blob_key(wanted[at]) not in there:
                    absent.add(wanted[at])
                at += 1
        return absent

    def put(self, digest: str, stream: Readable, size: int) -> None:
        key = blob_key(check_digest(digest))
        check_size(size)
        action = f"store blob {digest}"
        known = self._bucket.head(action, key, final=False)
        if known is not None and known.size == size:
            return
        part_bytes = part_size(size, self._part_bytes)
        with ObjectWriter(
            self._bucket, key, action, part_bytes=part_bytes, parallel=self._parallel
        ) as writer:
            copy_verified(stream, digest, size, writer.write)
            # Only now does the key come into being. Without a condition: whoever else puts it
            # puts the same bytes, and an object of the wrong size is mended.
            writer.finish()

    def open(self, digest: str, start: int = 0) -> BinaryIO:
        """A stream without a file descriptor. Read from the first byte to the last, it raises
        BackendError (``blob-damaged``) instead of the end when the bytes are not the right ones;
        what is read from a later offset the caller has to check."""
        key = blob_key(check_digest(digest))
        check_start(start)
        action = f"read blob {digest}"
        try:
            reader = ObjectReader(
                self._bucket, key, action, start=min(start, _FAR_BEYOND_ANY_OBJECT), sha256=digest
            )
        except ObjectMissingError:
            raise BlobNotFoundError(digest) from None
        except BeyondEndError:
            return io.BytesIO()
        return io.BufferedReader(reader, _READ_BYTES)

    def stat(self, digest: str) -> BlobStat:
        info = self._bucket.head(f"look for blob {digest}", blob_key(check_digest(digest)))
        if info is None:
            raise BlobNotFoundError(digest)
        return BlobStat(size=info.size)

    def redirect_url(self, digest: str, ttl_seconds: int) -> str | None:
        return self._bucket.presigned_get(
            blob_key(check_digest(digest)),
            ttl_seconds,
            ResponseContentType="application/octet-stream",
            ResponseContentDisposition=f'attachment; filename="{digest}"',
        )

    def delete(self, digest: str) -> None:
        """In a bucket that keeps versions the bytes stay until its own rules remove them."""
        self._bucket.delete(f"delete blob {digest}", blob_key(check_digest(digest)))

    def iter_digests(self) -> Iterator[str]:
        for page in self._bucket.keys("list the blobs"):
            for key in page:
                digest = key[3:]
                if is_digest(digest) and key == blob_key(digest):
                    yield digest

    def sweep_temp(self, older_than_seconds: float, now: datetime) -> int:
        """Aborts the uploads of dead writers; returns how many.

        An upload is taken for dead when its last part arrived more than ``older_than_seconds``
        before ``now``, by the store's clock.
        """
        action = "sweep the unfinished uploads of the blob store"
        limit = now - timedelta(seconds=older_than_seconds)
        swept = 0
        for upload in self._bucket.pending_uploads(action):
            if not is_digest(upload.key[3:]):
                continue  # somebody else's
            try:
                if upload.begun_at < limit and self._bucket.last_part_at(action, upload) < limit:
                    self._bucket.abort_upload(action, upload.key, upload.upload_id)
                    swept += 1
            except (UploadMissingError, ObjectMissingError):  # finished meanwhile
                continue
        return swept


def blob_key(digest: str) -> str:
    """Where a blob is, or would be."""
    return f"{digest[:2]}/{digest}"


def _before(digest: str) -> str:
    """A key that comes before the key of ``digest`` and after that of every smaller one."""
    return f"{blob_key(digest)[:-1]}{chr(ord(digest[-1]) - 1)}~"
