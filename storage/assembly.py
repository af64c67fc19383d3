"""`BlobAssembly`: building one blob from parts that arrive in any order, what each store MUST do.

An *upload* is one attempt at one blob, under a name that the caller chooses: 64 lower-case
hexadecimal digits. Its *recipe* is the list of segments that make up the blob from the first byte
to the last. A segment is either *sent* (a part with the segment's number comes in by `put_part`,
or straight to the store: `part_addresses`) or *copied* from a blob that is in the store already.
For every implementation:

* **Nothing shows before it is right.** Until `assemble` has read or otherwise established the
  sha256 of the whole, no method of `BlobStore` sees anything of the upload. A store's own word on
  a checksum does not count unless it is a sha256 over the whole blob: some accept a wrong one.
* **Parts are verified on arrival** against the sha256 that came with them, and durable when
  `put_part` returns or `parts` names them: an upload goes on after a crash of the server or a
  power cut, by another process, on another machine.
* **Idempotent.** `begin` with the same recipe, `put_part` of a part that is there (nothing is
  read), `assemble` when the blob is in the store (the rest of the upload is removed), and `abort`
  of what is not there, succeed. Any number of processes may do any of them at once.
* **Constant memory**, whatever the size; at most one more copy of the blob on the disk.
* **Errors** as in `storage.base`; `UploadNotFoundError` for an upload that was never begun, was
  aborted, swept or finished, and `PartsMissingError` from `assemble`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

from .checks import check_digest, check_size
from .errors import InvalidArgumentError
from .hashing import Readable

Watch = Callable[[memoryview], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """``length`` bytes of the blob: sent, or copied from blob ``source`` from ``start`` on."""

    length: int
    source: str | None = None
    start: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a recipe must keep to. Every segment but the last has at least ``min_bytes`` (S3 takes
    no smaller parts), none more than ``max_bytes``, and there are at most ``max_segments``.

    ``direct`` says that `part_addresses` gives some.
    """

    min_bytes: int
    max_bytes: int
    max_segments: int
    direct: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part that somebody is about to send: segment ``number``, and what its bytes will be."""

    number: int
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PartAddress:
    """Where part ``number`` may be PUT without any other right, with exactly these ``headers``."""

    number: int
    url: str
    headers: Mapping[str, str]


@runtime_checkable
class BlobAssembly(Protocol):
    @property
    def limits(self) -> Limits: ...

    def begin(self, upload: str, digest: str, size: int, segments: Sequence[Segment]) -> None:
        """Opens `upload` for a blob of `size` bytes that hash to `digest`.

        Raises:
            InvalidArgumentError: a recipe that breaks `limits` or does not add up to `size`, or
                another recipe than the upload was begun with.
        """
        ...

    def put_part(self, upload: str, number: int, stream: Readable, size: int, sha256: str) -> None:
        """Stores segment `number` (from 0), `size` bytes of `stream` that hash to `sha256`.

        Raises:
            InvalidArgumentError: no such segment, one that is copied, or another length.
            BlobMismatchError: other bytes; the part is then as if it had never come.
            UploadNotFoundError: no such upload.
        """
        ...

    def part_addresses(
        self, upload: str, parts: Sequence[Part], ttl_seconds: int
    ) -> list[PartAddress]:
        """For each of `parts` an address that takes a PUT of exactly this part (bound to its size
        and checksum) for `ttl_seconds`. None at all where parts go through `put_part` only.

        Raises:
            InvalidArgumentError: no such segment, one that is copied, or another length.
            UploadNotFoundError: no such upload.
        """
        ...

    def recipe(self, upload: str) -> Sequence[Segment]:
        """What the blob will be made of. Raises UploadNotFoundError."""
        ...

    def parts(self, upload: str) -> set[int]:
        """The sent segments that are here. Raises UploadNotFoundError."""
        ...

    def assemble(self, upload: str, digest: str, size: int, watch: Watch | None = None) -> None:
        """The blob is in the store, whole and right, and the upload is gone. May take minutes.

        `watch` is handed every byte in order, once; what it raises passes through unchanged, the
        blob is then not in the store and the upload is gone.

        Raises:
            PartsMissingError: not all parts are here.
            BlobMismatchError: the whole is another blob; the upload is gone.
            BlobNotFoundError: a blob to copy from is not in the store any more.
            UploadNotFoundError: no such upload, and no such blob either.
        """
        ...

    def abort(self, upload: str) -> None:
        """Nothing of the upload is left."""
        ...

    def sweep(self, older_than_seconds: float, now: datetime) -> int:
        """Removes uploads to which nothing was added for so long; returns how many."""
        ...


def check_recipe(size: int, segments: Sequence[Segment], limits: Limits) -> None:
    """Raises InvalidArgumentError for a recipe that no store may accept."""
    check_size(size)
    if not 1 <= len(segments) <= limits.max_segments:
        raise _recipe_error(f"1 to {limits.max_segments} segments", f"{len(segments)}")
    last = len(segments) - 1
    for number, segment in enumerate(segments):
        least = 1 if number == last else limits.min_bytes
        if not max(1, least) <= check_size(segment.length) <= limits.max_bytes:
            raise _recipe_error(
                f"segment {number} of {least} to {limits.max_bytes} bytes", f"{segment.length}"
            )
        check_size(segment.start)
        if segment.source is not None:
            check_digest(segment.source)
    total = sum(segment.length for segment in segments)
    if total != size:
        raise _recipe_error(f"segments of {size} bytes together", f"{total} bytes")


def _recipe_error(expected: str, found: str) -> InvalidArgumentError:
    return InvalidArgumentError("recipe-malformed", f"recipe: expected {expected}, found {found}")
