"""`S3Assembly`: parts are parts of a multipart upload, which nobody can see; copies are made inside
the store.

    prefix/uploads/<upload>/recipe    what the blob will be made of, and where the parts go
    prefix/uploads/<upload>/<draft>   the whole, once all parts are there, until it is verified

A part is verified on arrival: here, or by the store, which compares the sha256 that the request is
signed over. The whole is read once and hashed, because nobody can tell from the parts what they
hash to together. Only then is it copied to its name, inside the store. A draft has a name of its
own that is never used again: stores ignore conditions on what they copy from (measured of Ceph
16), so what was verified must not be able to become something else under the same name.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from tempfile import SpooledTemporaryFile

from ..assembly import Limits, Part, PartAddress, Segment, Watch, check_recipe
from ..checks import check_digest, check_size, is_digest
from ..errors import (
    BackendError,
    BlobMismatchError,
    BlobNotFoundError,
    InvalidArgumentError,
    PartsMissingError,
    UploadNotFoundError,
)
from ..hashing import Readable, copy_verified
from .blobs import S3BlobStore, blob_key
from .bucket import Bucket
from .errors import ConditionFailedError, ObjectMissingError, UploadMissingError
from .presign import part_headers
from .reader import ObjectReader

_MIB = 1 << 20
_LEAST = 5 * _MIB  # no store takes a smaller part that is not the last
_LARGEST_COPY = 5 << 30
_COPY_PART = 1 << 30
_IN_MEMORY = 8 * _MIB
_ROUNDS = 3  # in which somebody else may join the parts that were to be joined
_PARALLEL = 4
_UPLOADS = "uploads/"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recipe:
    """``draft`` is the key of the whole in the making, ``upload_id`` its multipart upload."""

    digest: str
    size: int
    segments: tuple[Segment, ...]
    draft: str = ""
    upload_id: str = ""

    @property
    def sent(self) -> set[int]:
        return {number for number, one in enumerate(self.segments) if one.source is None}

    def to_json(self) -> bytes:
        rows = [[each.length, each.source, each.start] for each in self.segments]
        return json.dumps([self.digest, self.size, rows, self.draft, self.upload_id]).encode()

    @classmethod
    def from_json(cls, data: bytes) -> _Recipe:
        digest, size, rows, draft, upload_id = json.loads(data)
        return cls(
            digest=digest,
            size=size,
            segments=tuple(Segment(length=a, source=b, start=c) for a, b, c in rows),
            draft=draft,
            upload_id=upload_id,
        )


class S3Assembly:
    """A `BlobAssembly` that ends in ``store``, which is in ``bucket`` as well; see
    `storage.assembly` for the contract. A part that passes through the server is kept until it is
    verified, beyond 8 MiB in a temporary file."""

    limits = Limits(min_bytes=_LEAST, max_bytes=_COPY_PART, max_segments=10_000, direct=True)

    def __init__(self, store: S3BlobStore, bucket: Bucket) -> None:
        self._store = store
        self._bucket = bucket

    def begin(self, upload: str, digest: str, size: int, segments: Sequence[Segment]) -> None:
        check_digest(upload)
        check_recipe(size, segments, self.limits)
        wanted = _Recipe(digest=check_digest(digest), size=size, segments=tuple(segments))
        action = "begin an upload"
        known = self._find(action, upload) or self._begin(action, upload, wanted)
        if replace(known, draft="", upload_id="") != wanted:
            raise InvalidArgumentError(
                "recipe-malformed",
                f"upload {upload}: expected the recipe that it was begun with, found another",
            )

    def _begin(self, action: str, upload: str, wanted: _Recipe) -> _Recipe:
        """The recipe that counts: of many that begin at once, the first to write it wins."""
        draft = f"{_folder(upload)}{os.urandom(16).hex()}"
        made = replace(wanted, draft=draft, upload_id=self._bucket.begin_upload(action, draft))
        try:
            self._bucket.put(action, _recipe(upload), made.to_json(), if_absent=True)
        except ConditionFailedError:
            known = self._open(action, upload)
            if known.draft != draft:  # else it was ours, and was reported as failed
                self._bucket.abort_upload(action, draft, made.upload_id)
            return known
        return made

    def put_part(self, upload: str, number: int, stream: Readable, size: int, sha256: str) -> None:
        check_digest(sha256)
        check_size(size)
        action = f"store part {number}"
        recipe = self._open(action, upload)
        _require_sent(recipe, number, size)
        if number in self._parts_of(action, upload, recipe):
            return
        with SpooledTemporaryFile(max_size=_IN_MEMORY) as file:
            copy_verified(stream, sha256, size, file.write)
            file.seek(0)
            try:
                self._bucket.upload_part(action, recipe.draft, recipe.upload_id, number + 1, file)
            except UploadMissingError:
                raise UploadNotFoundError(upload) from None

    def part_addresses(
        self, upload: str, parts: Sequence[Part], ttl_seconds: int
    ) -> list[PartAddress]:
        recipe = self._open("make addresses for parts", upload)
        for part in parts:
            check_digest(part.sha256)
            _require_sent(recipe, part.number, check_size(part.size))
        return [self._address(recipe, part, ttl_seconds) for part in parts]

    def _address(self, recipe: _Recipe, part: Part, ttl_seconds: int) -> PartAddress:
        headers = part_headers(part.size, part.sha256)
        url = self._bucket.presigned_part(
            recipe.draft, recipe.upload_id, part.number + 1, ttl_seconds, headers
        )
        return PartAddress(number=part.number, url=url, headers=headers)

    def recipe(self, upload: str) -> Sequence[Segment]:
        return self._open("look for the recipe", upload).segments

    def parts(self, upload: str) -> set[int]:
        action = "look for parts"
        recipe = self._open(action, upload)
        return self._parts_of(action, upload, recipe) & recipe.sent

    def assemble(self, upload: str, digest: str, size: int, watch: Watch | None = None) -> None:
        check_digest(upload)
        if not self._store.missing([check_digest(digest)]):
            self.abort(upload)
            return
        for _ in range(_ROUNDS):
            try:
                self._assemble(upload, digest, size, watch)
                return
            except (
                ObjectMissingError, UploadMissingError, UploadNotFoundError, BackendError,
            ) as error:  # fmt: skip
                # Somebody else may have finished it, and removed what we were looking at.
                if not self._store.missing([digest]):
                    return
                if isinstance(error, BackendError):
                    raise
            # Or joined its parts, and not come further: what is left to do is another's to begin.
        raise UploadNotFoundError(upload)

    def _assemble(self, upload: str, digest: str, size: int, watch: Watch | None) -> None:
        action = f"assemble blob {digest}"
        recipe = self._open(action, upload)
        if (recipe.digest, recipe.size) != (digest, size):
            raise InvalidArgumentError(
                "recipe-malformed",
                f"upload {upload}: expected blob {recipe.digest} of {recipe.size} bytes, found "
                f"{digest} of {size}",
            )
        # It is there already where another attempt got so far.
        if self._bucket.head(action, recipe.draft, final=False) is None:
            self._join(action, upload, recipe)
        try:
            with ObjectReader(self._bucket, recipe.draft, action) as draft:
                copy_verified(draft, digest, size, watch or (lambda view: None))
        except (BackendError, ObjectMissingError):
            raise
        except Exception:
            # Another blob, or not what the watcher wants: no repetition makes it right.
            self.abort(upload)
            raise
        self._copy_into_place(action, recipe)
        self.abort(upload)

    def _join(self, action: str, upload: str, recipe: _Recipe) -> None:
        """Copies what is to be copied, and makes one object of all parts."""
        here = self._parts_of(action, upload, recipe)
        if missing := recipe.sent - here:
            raise PartsMissingError(upload, missing)
        absent = [number for number in range(len(recipe.segments)) if number not in here]
        wanted = {recipe.segments[number].source or "" for number in absent}
        sizes = {source: self._size_of(action, source) for source in wanted}
        for number in absent:
            _require_inside(recipe.segments[number], sizes)
        _run_all(lambda number: self._copy_segment(action, recipe, number, sizes), absent)
        parts = self._bucket.parts(action, recipe.draft, recipe.upload_id)
        etags = [parts[number + 1].etag for number in range(len(recipe.segments))]
        self._bucket.complete_upload(action, recipe.draft, recipe.upload_id, etags)

    def _copy_segment(
        self, action: str, recipe: _Recipe, number: int, sizes: dict[str, int]
    ) -> None:
        segment = recipe.segments[number]
        assert segment.source is not None
        source, place = blob_key(segment.source), (recipe.draft, recipe.upload_id, number + 1)
        if segment.length >= _LEAST and sizes[segment.source] > _LEAST:
            self._bucket.copy_part(action, *place, source, segment.start, segment.length)
            return
        # Too little for the store to copy by itself: read and sent again, 5 MiB at most or all of
        # a small object.
        with ObjectReader(self._bucket, source, action, start=segment.start) as reader:
            data = bytearray()
            while len(data) < segment.length and (block := reader.read(segment.length - len(data))):
                data += block
        self._bucket.upload_part(action, *place, data)

    def _copy_into_place(self, action: str, recipe: _Recipe) -> None:
        key, size = blob_key(recipe.digest), recipe.size
        if size <= _LARGEST_COPY:
            self._bucket.copy(action, key, recipe.draft)
        else:
            self._copy_in_parts(action, key, recipe)
        found = self._bucket.head(action, key)
        if found is None or found.size != size:
            self._bucket.delete(action, key)
            raise BackendError(f"could not {action}: the store did not keep all of it", True)

    def _copy_in_parts(self, action: str, key: str, recipe: _Recipe) -> None:
        upload_id = self._bucket.begin_upload(action, key)
        starts = range(0, recipe.size, _COPY_PART)

        def copy(number: int) -> None:
            count = min(_COPY_PART, recipe.size - starts[number])
            self._bucket.copy_part(
                action, key, upload_id, number + 1, recipe.draft, starts[number], count
            )

        _run_all(copy, range(len(starts)))
        parts = self._bucket.parts(action, key, upload_id)
        etags = [parts[number + 1].etag for number in range(len(starts))]
        self._bucket.complete_upload(action, key, upload_id, etags)

    def abort(self, upload: str) -> None:
        action = "remove an upload"
        folder = _folder(check_digest(upload))
        # The recipe first: what is half removed is no upload any more.
        self._bucket.delete(action, _recipe(upload))
        for pending in list(self._bucket.pending_uploads(action, under=folder)):
            self._bucket.abort_upload(action, pending.key, pending.upload_id)
        for page in list(self._bucket.keys(action, under=folder)):
            for key in page:
                self._bucket.delete(action, key)

    def sweep(self, older_than_seconds: float, now: datetime) -> int:
        """By the store's clock. Takes also what is left of uploads whose recipe is gone."""
        action = "sweep the uploads"
        limit = now - timedelta(seconds=older_than_seconds)
        newest: dict[str, datetime] = {}

        def saw(key: str, at: datetime) -> None:
            name = key.removeprefix(_UPLOADS).partition("/")[0]
            if is_digest(name):
                newest[name] = max(at, newest.get(name, at))

        for page in self._bucket.pages(action, under=_UPLOADS):
            for key, at in page:
                saw(key, at)
        for pending in self._bucket.pending_uploads(action, under=_UPLOADS):
            try:
                saw(pending.key, self._bucket.last_part_at(action, pending))
            except (UploadMissingError, ObjectMissingError):  # finished meanwhile
                continue
        stale = [name for name, at in newest.items() if at < limit]
        for name in stale:
            self.abort(name)
        return len(stale)

    def _parts_of(self, action: str, upload: str, recipe: _Recipe) -> set[int]:
        """The segments that are parts already. All of them once they are joined."""
        try:
            found = self._bucket.parts(action, recipe.draft, recipe.upload_id)
        except (UploadMissingError, ObjectMissingError):
            if self._bucket.head(action, recipe.draft) is None:
                raise UploadNotFoundError(upload) from None
            return set(range(len(recipe.segments)))
        return {
            number
            for number, segment in enumerate(recipe.segments)
            if number + 1 in found and found[number + 1].size == segment.length
        }

    def _size_of(self, action: str, digest: str) -> int:
        info = self._bucket.head(action, blob_key(digest))
        if info is None:
            raise BlobNotFoundError(digest)
        return info.size

    def _open(self, action: str, upload: str) -> _Recipe:
        recipe = self._find(action, check_digest(upload))
        if recipe is None:
            raise UploadNotFoundError(upload)
        return recipe

    def _find(self, action: str, upload: str) -> _Recipe | None:
        try:
            body = self._bucket.get(action, _recipe(upload))
            try:
                return _Recipe.from_json(body.read(action))
            finally:
                body.stream.close()
        except ObjectMissingError:
            return None


def _folder(upload: str) -> str:
    return f"{_UPLOADS}{upload}/"


def _recipe(upload: str) -> str:
    return f"{_folder(upload)}recipe"


def _require_inside(segment: Segment, sizes: dict[str, int]) -> None:
    assert segment.source is not None
    count = max(0, min(segment.length, sizes[segment.source] - segment.start))
    if count < segment.length:
        raise BlobMismatchError(
            segment.source,
            f"{segment.length} bytes from {segment.start} on",
            f"{count} bytes",
            code="length-mismatch",
        )


def _require_sent(recipe: _Recipe, number: int, size: int) -> None:
    if number not in recipe.sent:
        raise InvalidArgumentError(
            "part-malformed", f"part {number}: expected a segment that is sent, found none"
        )
    expected = recipe.segments[number].length
    if expected != size:
        raise InvalidArgumentError(
            "part-malformed", f"part {number}: expected {expected} bytes, found {size}"
        )


def _run_all(job: Callable[[int], None], numbers: Sequence[int]) -> None:
    """Several at a time; the first failure is raised when all that began have ended."""
    with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="s3-copy") as pool:
        jobs = [pool.submit(job, number) for number in numbers]
        try:
            for one in jobs:
                one.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
