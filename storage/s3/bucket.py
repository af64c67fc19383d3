"""`Bucket`: the requests that we make of an S3 store, one method each, below one prefix.

Keys are given without the prefix. Every failure is a `BackendError`; the answers that a caller
must tell apart are the exceptions of `.errors`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .errors import ObjectMissingError, UploadMissingError, reported_as

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
        arguments = {"StartAfter": self._key(after)} if after else {}
        while True:
            answer = self._call(
                action, "list_objects_v2", Prefix=self._key(under), MaxKeys=PAGE_KEYS, **arguments
            )
            yield [self._without_prefix(item["Key"]) for item in answer.get("Contents", ())]
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
        self, action: str, key: str, upload_id: str, number: int, data: bytes | bytearray
    ) -> str:
        """Stores part ``number`` (from 1), replacing what it was; returns its ETag."""
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

    def pending_uploads(self, action: str) -> Iterator[PendingUpload]:
        arguments: dict[str, str] = {}
        while True:
            answer = self._call(action, "list_multipart_uploads", Prefix=self.prefix, **arguments)
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
        arguments: dict[str, Any] = {}
        newest: datetime = upload.begun_at
        while True:
            answer = self._call(
                action, "list_parts", Key=self._key(upload.key), UploadId=upload.upload_id,
                **arguments,
            )  # fmt: skip
            newest = max([newest, *(part["LastModified"] for part in answer.get("Parts", ()))])
            if not answer.get("IsTruncated"):
                return newest
            arguments = {"PartNumberMarker": answer["NextPartNumberMarker"]}

    def presigned_get(self, key: str, ttl_seconds: int, **headers: str) -> str:
        """A URL that anyone can read the object with; ``headers`` are those of the answer."""
        arguments = {"Bucket": self.name, "Key": self._key(key), **headers}
        with reported_as("make an address for a blob"):
            return str(
                self._signer.generate_presigned_url(
                    "get_object", arguments, min(ttl_seconds, _WEEK_SECONDS)
                )
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
