"""Copies of another index's files: fetched when somebody asks, compared with their pins, kept.

While a copy is in the store its pin refers to it as a release refers to its files: it came under a
lease, and the transaction that notes it ends that (`services.leases`).
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from signing.digests import sha256_hex
from storage import BlobMismatchError, BlobStore

from ..db.engine import Database
from ..db.upstream_models import UpstreamFile
from ..domain.upstream_pages import MAX_METADATA_BYTES
from ..domain.wheels import distribution_of
from ..errors import RegistryError
from ..logs import LOGGER
from .audit import Audit
from .callers import Caller
from .clock import Clock
from .distributions import Distributions
from .leases import BlobsGoneError, Leases
from .turns import Turns
from .upstream_http import UpstreamError, UpstreamHttp
from .upstream_pins import held_back, project_of, this, why_withheld

_RETRY_SECONDS: Final = 60
_MOST_FETCHES: Final = 8  # of files, at once in one process
_TRIES: Final = 3
_ITSELF: Final = Caller()


@dataclass(slots=True)
class Copies:
    """``http`` None: there is no upstream, and nothing is offered."""

    database: Database
    audit: Audit
    blobs: BlobStore
    leases: Leases
    distributions: Distributions
    clock: Clock
    http: UpstreamHttp | None
    _turns: Turns = field(default_factory=Turns)
    _fetching: threading.Semaphore = field(
        default_factory=lambda: threading.Semaphore(_MOST_FETCHES)
    )
    _failed: dict[str, tuple[float, RegistryError]] = field(default_factory=dict)

    def store(self, sha256: str, filename: str) -> None:
        """Establishes that an offered file is in the store: it is fetched when it is not.

        Raises:
            RegistryError: it is not offered (``blob-not-found``), the upstream did not give it
                (``upstream-failed``) or gave another (``upstream-changed``), or too many are being
                fetched (``busy``).
        """
        if self._is_stored(self._require_offered(sha256, filename)):
            return
        with self._turns.of(sha256).lock:
            file = self._require_offered(sha256, filename)
            if self._is_stored(file):
                return
            self._require_no_recent_failure(sha256)
            if not self._fetching.acquire(blocking=False):
                raise RegistryError(
                    "busy", f"{filename}: {_MOST_FETCHES} files are being fetched from the "
                    "upstream", "try again a little later",
                )  # fmt: skip
            try:
                self._fetch(file)
            except RegistryError as error:
                self._failed[sha256] = (monotonic() + _RETRY_SECONDS, error)
                raise
            finally:
                self._fetching.release()
        self._require_offered(sha256, filename)  # what is in it may be another distribution

    def metadata(self, sha256: str, filename: str) -> tuple[str, bytes]:
        """The digest and bytes of an offered wheel's metadata (PEP 658).

        Raises:
            RegistryError: as `store`, or there is none.
        """
        file = self._require_offered(sha256, filename)
        digest = file.metadata_sha256
        if digest is None:
            raise RegistryError("blob-not-found", f"{filename}: has no metadata of its own")
        if file.metadata_bytes is not None:
            return digest, file.metadata_bytes
        with self._turns.of(digest).lock:
            self._require_no_recent_failure(digest)
            try:
                data = self._fetch_metadata(file, digest)
            except RegistryError as error:
                self._failed[digest] = (monotonic() + _RETRY_SECONDS, error)
                raise
        with self.database.write() as session:
            session.execute(this(file).values(metadata_bytes=data))
        return digest, data

    def _require_offered(self, sha256: str, filename: str) -> UpstreamFile:
        """The row of a file that is offered now."""
        named = distribution_of(filename)
        why = "nothing of this name is let through"
        if self.http is not None and named is not None and "\0" not in filename:
            with self.database.read() as session:
                row = project_of(session, named.project)
                file = session.get(UpstreamFile, (named.project, filename))
                if row is not None and file is not None and file.sha256 == sha256:
                    problem = held_back(row, self.clock())(file)
                    problem = problem or why_withheld(session, sha256)
                    if problem is None:
                        session.expunge(file)
                        return file
                    why = problem
        raise RegistryError("blob-not-found", f"{filename!r:.200}: {why}")

    def _is_stored(self, file: UpstreamFile) -> bool:
        """Also whether the bytes are still there: what a store lost is fetched again."""
        return file.blob_sha256 is not None and not self.blobs.missing([file.sha256])

    def _fetch(self, file: UpstreamFile) -> None:
        for _ in range(_TRIES):
            held = self.leases.hold({file.sha256: file.size}, None)
            if self.blobs.missing([file.sha256]):
                self._put(file)
            refused = self._why_refused(file)
            try:
                with self.database.write() as session:
                    if project_of(session, file.project) is None:
                        raise RegistryError("blob-not-found", f"{file.filename}: is let through "
                                            "no more")  # fmt: skip
                    self.leases.settle(session, [file.sha256], held)
                    session.execute(this(file).values(blob_sha256=file.sha256, refused=refused))
            except BlobsGoneError:
                continue
            if refused is not None:
                LOGGER.warning("upstream: %s: not offered: %s", file.filename, refused)
            return
        raise RegistryError("busy", f"{file.filename}: deleted while it was fetched", "try again")

    def _put(self, file: UpstreamFile) -> None:
        try:
            with self._http(file).file(file.url, file.size) as body:
                self.blobs.put(file.sha256, body, file.size)
        except UpstreamError as error:
            raise RegistryError("upstream-failed", f"{file.filename}: {error}") from error
        except BlobMismatchError as error:
            raise self._changed(file, error.expected, error.found) from error

    def _fetch_metadata(self, file: UpstreamFile, digest: str) -> bytes:
        try:
            data = self._http(file).small(f"{file.url}.metadata", MAX_METADATA_BYTES)
        except UpstreamError as error:
            raise RegistryError("upstream-failed", f"{file.filename}.metadata: {error}") from error
        if sha256_hex(data) != digest:
            raise self._changed(file, f"metadata of sha256 {digest}", f"sha256 {sha256_hex(data)}")
        return data

    def _changed(self, file: UpstreamFile, expected: str, found: str) -> RegistryError:
        """Bytes that are not the pinned ones are told to the operator as well."""
        LOGGER.warning("upstream: %s: expected %s, found %s", file.filename, expected, found)
        refusal = RegistryError(
            "upstream-changed", f"{file.filename}: expected {expected} as pinned on "
            f"{file.pinned_at:%F}, found {found}",
        )  # fmt: skip
        self.audit.refused(_ITSELF, "upstream.fetch", f"{file.project}/{file.filename}", refusal)
        return refusal

    def _why_refused(self, file: UpstreamFile) -> str | None:
        """Why a wheel that came whole is not offered all the same."""
        named = distribution_of(file.filename)
        if named is None or not named.is_wheel:
            return None
        read = self.distributions.read_wheel(file.sha256, named, file.size)
        if read is None:
            return None
        if read.refused is None and file.metadata_sha256 not in (None, read.data_sha256):
            return (
                f"METADATA: expected sha256 {file.metadata_sha256}, which the upstream names, "
                f"found {read.data_sha256}"
            )
        return read.refused

    def _require_no_recent_failure(self, digest: str) -> None:
        """Raises what was found out a moment ago, instead of asking for it once more."""
        until, error = self._failed.get(digest, (0.0, None))
        if error is not None and monotonic() < until:
            raise error
        self._failed.pop(digest, None)

    def _http(self, file: UpstreamFile) -> UpstreamHttp:
        if self.http is None:
            raise RegistryError("blob-not-found", f"{file.filename}: is let through no more")
        return self.http
