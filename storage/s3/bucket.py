"""`Bucket`: the requests that we make of an S3 store, one method each, below one prefix.

Keys are given without the prefix. Every failure is a `BackendError`; the answers that a caller
must tell apart are the exceptions of `.errors`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any

from .errors import ObjectMissingError, UploadMissingError, reported_as
from .presign import presign_put

PAGE_KEYS = 1000  # the most that one request lists
_WEEK_SECONDS = 7 * 24 * 3600  # the longest life of a presigned URL


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectInfo:
    """``size`` in bytes; ``metadata`` is what was stored with the object."""

    size: int
    etag: str
    cache_control: str
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectBody:
    """An object from offset ``start`` on, which is None when the answer does not say so.
    ``info.size`` is that of the whole object."""

    info: ObjectInfo
    start: int | None
    stream: Any  # botocore's StreamingBody: close it

    def read(self, action: str, size: int | None = None) -> bytes:
        with reported_as(action):
            data: bytes = self.stream.read(size)
            return data


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingUpload:
    """A multipart upload that was begun and neither completed nor aborted."""

    key: str
    upload_id: str
    begun_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPart:
    """A part of a multipart upload that is there."""

    size: int
    etag: str
    stored_at: datetime


class Bucket:
    """See the module. Safe for many threads."""

    def __init__(self, client: Any, name: str, prefix: str, *, signer: Any | None = None) -> None:
        """``signer`` makes presigned URLs: a client whose endpoint is the one that readers use."""
        self._client = client
        self._signer = signer or client
        self.name = name
        self.prefix = prefix

    def head(self, action: str, key: str, *, final: bool = True) -> ObjectInfo | None:
        """What is known of an object, or None when it is not there. ``final`` is whether the
        caller believes that: a write that follows would find out what else is missing."""
        try:
            return _info(self._call(action, "head_object", Key=self._key(key)))
        except ObjectMissingError:
            # The answer to HEAD has no body that could say that the whole bucket is missing.
            if final:
                self.require(action)
            return None

    def require(self, action: str) -> None:
        """Raises BackendError when the bucket is not there."""
        try:
            self._call(action, "head_bucket")
        except ObjectMissingError:
            self._call(action, "list_objects_v2", MaxKeys=1)  # says it in words
            raise

    def get(self, action: str, key: str, *, start: int = 0, etag: str | None = None) -> ObjectBody:
        """The object from ``start`` on; with ``etag``, only if it is still that one.

        Raises:
            ObjectMissingError, BeyondEndError, ConditionFailedError
        """
        arguments = {} if etag is None else {"IfMatch": f'"{etag}"'}
        if start:
            arguments["Range"] = f"bytes={start}-"
        answer = self._call(action, "get_object", Key=self._key(key), **arguments)
        found, size = _span(answer)
        return ObjectBody(info=_info(answer, size), start=found, stream=answer["Body"])

    def put(
        self,
        action: str,
        key: str,
        data: bytes | bytearray,
        *,
        if_absent: bool = False,
        if_etag: str | None = None,
        **headers: Any,
    ) -> None:
        """Creates or replaces an object, in one step.

        Raises:
            ConditionFailedError: it is there (``if_absent``), or is not the one with that ETag
                (``if_etag``, sent as it is given).
        """
        if if_absent:
            headers["IfNoneMatch"] = "*"
        if if_etag is not None:
            headers["IfMatch"] = if_etag
        try:
            self._call(action, "put_object", Key=self._key(key), Body=data, **headers)
        except ObjectMissingError:
            self.require(action)
            raise

    def delete(self, action: str, key: str) -> None:
        """Success when it is not there."""
        try:
            self._call(action, "delete_object", Key=self._key(key))
        except ObjectMissingError:
            self.require(action)

    def keys(self, action: str, *, under: str = "", after: str = "") -> Iterator[list[str]]:
        """Pages of the keys that begin with ``under`` and come after ``after``, ascending."""
        for page in self.pages(action, under=under, after=after):
            yield [key for key, _ in page]

    def pages(
        self, action: str, *, under: str = "", after: str = ""
    ) -> Iterator[list[tuple[str, datetime]]]:
        """The same with the time at which each object was written, by the store's clock."""
        arguments = {"StartAfter": self._key(after)} if after else {}
        while True:
            answer = self._call(
                action, "list_objects_v2", Prefix=self._key(under), MaxKeys=PAGE_KEYS, **arguments
            )
            yield [
                (self._without_prefix(item["Key"]), item["LastModified"])
                for item in answer.get("Contents", ())
            ]
            if not answer.get("IsTruncated"):
                return
            arguments = {"ContinuationToken": answer["NextContinuationToken"]}

    def has_under(self, action: str, under: str) -> bool:
        """Whether any key begins with ``under``."""
        answer = self._call(action, "list_objects_v2", Prefix=self._key(under), MaxKeys=1)
        return bool(answer.get("Contents"))

    def begin_upload(self, action: str, key: str) -> str:
        """The id of a new multipart upload."""
        try:
            return str(
                self._call(action, "create_multipart_upload", Key=self._key(key))["UploadId"]
            )
        except ObjectMissingError:
            self.require(action)
            raise

    def upload_part(
        self,
        action: str,
        key: str,
        upload_id: str,
        number: int,
        data: bytes | bytearray | IO[bytes],
    ) -> str:
        """Stores part ``number`` (from 1), bytes or a file that can seek, replacing what it was;
        returns its ETag."""
        answer = self._call(
            action, "upload_part", Key=self._key(key), UploadId=upload_id, PartNumber=number,
            Body=data,
        )  # fmt: skip
        return str(answer["ETag"])

    def complete_upload(self, action: str, key: str, upload_id: str, etags: Sequence[str]) -> None:
        """Makes the object of parts 1, 2, … with these ETags.

        Raises:
            UploadMissingError: this, or an abort, was done before.
        """
        parts = [{"PartNumber": at, "ETag": etag} for at, etag in enumerate(etags, 1)]
        self._call(
            action, "complete_multipart_upload", Key=self._key(key), UploadId=upload_id,
            MultipartUpload={"Parts": parts},
        )  # fmt: skip

    def abort_upload(self, action: str, key: str, upload_id: str) -> None:
        """Success when it is not there."""
        try:
            self._call(action, "abort_multipart_upload", Key=self._key(key), UploadId=upload_id)
        except (UploadMissingError, ObjectMissingError):
            return

    def copy_part(
        self,
        action: str,
        key: str,
        upload_id: str,
        number: int,
        source: str,
        start: int,
        count: int,
    ) -> None:
        """Stores part ``number`` with ``count`` bytes of the object ``source`` from ``start`` on,
        inside the store: at least 5 MiB, of an object that is larger than that."""
        self._call(
            action, "upload_part_copy", Key=self._key(key), UploadId=upload_id, PartNumber=number,
            CopySource={"Bucket": self.name, "Key": self._key(source)},
            CopySourceRange=f"bytes={start}-{start + count - 1}",
        )  # fmt: skip

    def copy(self, action: str, key: str, source: str) -> None:
        """Makes ``key`` a copy of ``source``, of at most 5 GiB, inside the store."""
        copied = {"Bucket": self.name, "Key": self._key(source)}
        self._call(action, "copy_object", Key=self._key(key), CopySource=copied)

    def parts(self, action: str, key: str, upload_id: str) -> dict[int, StoredPart]:
        """``{number: part}`` of the parts that are there. Raises UploadMissingError."""
        arguments: dict[str, Any] = {}
        found: dict[int, StoredPart] = {}
        while True:
            answer = self._call(
                action, "list_parts", Key=self._key(key), UploadId=upload_id, **arguments
            )
            for part in answer.get("Parts", ()):
                found[part["PartNumber"]] = StoredPart(
                    size=part["Size"], etag=part["ETag"], stored_at=part["LastModified"]
                )
            if not answer.get("IsTruncated"):
                return found
            arguments = {"PartNumberMarker": answer["NextPartNumberMarker"]}

    def pending_uploads(self, action: str, *, under: str = "") -> Iterator[PendingUpload]:
        arguments: dict[str, str] = {}
        while True:
            answer = self._call(
                action, "list_multipart_uploads", Prefix=self._key(under), **arguments
            )
            for item in answer.get("Uploads", ()):
                yield PendingUpload(
                    key=self._without_prefix(item["Key"]),
                    upload_id=item["UploadId"],
                    begun_at=item["Initiated"],
                )
            if not answer.get("IsTruncated"):
                return
            arguments = {
                "KeyMarker": answer["NextKeyMarker"],
                "UploadIdMarker": answer["NextUploadIdMarker"],
            }

    def last_part_at(self, action: str, upload: PendingUpload) -> datetime:
        """When the newest part of ``upload`` arrived; when it was begun, if it has none."""
        parts = self.parts(action, upload.key, upload.upload_id)
        return max([upload.begun_at, *(part.stored_at for part in parts.values())])

    def presigned_get(self, key: str, ttl_seconds: int, **headers: str) -> str:
        """A URL that anyone can read the object with; ``headers`` are those of the answer."""
        arguments = {"Bucket": self.name, "Key": self._key(key), **headers}
        with reported_as("make an address for a blob"):
            return str(
                self._signer.generate_presigned_url(
                    "get_object", arguments, min(ttl_seconds, _WEEK_SECONDS)
                )
            )

    def presigned_part(
        self, key: str, upload_id: str, number: int, ttl_seconds: int, headers: Mapping[str, str]
    ) -> str:
        """A URL that takes a PUT of part ``number`` with exactly these ``headers``, one of which is
        ``x-amz-content-sha256``."""
        with reported_as("make an address for a part"):
            return presign_put(
                self._signer,
                f"{self.name}/{self._key(key)}",
                {"partNumber": str(number), "uploadId": upload_id},
                min(ttl_seconds, _WEEK_SECONDS),
                headers,
            )

    def _call(self, action: str, operation: str, **arguments: Any) -> Any:
        with reported_as(action):
            return getattr(self._client, operation)(Bucket=self.name, **arguments)

    def _key(self, key: str) -> str:
        return self.prefix + key

    def _without_prefix(self, key: str) -> str:
        return key.removeprefix(self.prefix)


def _info(answer: Any, size: int | None = None) -> ObjectInfo:
    return ObjectInfo(
        size=answer["ContentLength"] if size is None else size,
        etag=answer["ETag"].strip('"'),
        cache_control=answer.get("CacheControl", ""),
        metadata=answer.get("Metadata", {}),
    )


def _span(answer: Any) -> tuple[int | None, int | None]:
    """(offset of the first byte of the answer, size of the whole object), as far as it says so:
    ``Content-Range: bytes 5-9/10`` (RFC 9110 §14.4)."""
    text = answer.get("ContentRange")
    if text is None:
        return 0 if answer["ResponseMetadata"]["HTTPStatusCode"] == 200 else None, None
    unit, _, rest = text.partition(" ")
    span, _, size = rest.partition("/")
    first, _, last = span.partition("-")
    if unit != "bytes" or not (first.isdigit() and last.isdigit() and size.isdigit()):
        return None, None
    if int(last) + 1 != int(size) or int(last) + 1 - int(first) != answer["ContentLength"]:
        return None, None
    return int(first), int(size)
