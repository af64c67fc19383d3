"""Where a blob that is damaged here may be had whole: a registry, a mirror, or a folder.

Nothing is believed: the bytes are hashed on the way into a temporary file, and only a file with the
right digest is handed on.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import urlsplit

import urllib3

from storage import BackendError, BlobNotFoundError

from ..errors import RegistryError

_BLOCK = 1 << 20
_TIMEOUT = urllib3.Timeout(connect=10, read=60)
Spend = Callable[[int], None]


class BlobSource(Protocol):
    @property
    def name(self) -> str: ...

    def fetch(self, digest: str, spend: Spend) -> AbstractContextManager[tuple[BinaryIO, int]]:
        """A context manager of (file at its beginning, size), verified. ``spend`` is called with
        the number of bytes that come.

        Raises:
            BlobNotFoundError: it is not there.
            BackendError: the source failed, or gave other bytes.
        """
        ...


def parse_source(text: str, temp_folder: Path) -> BlobSource:
    """The source that ``text`` names: a URL of a registry or mirror, or a folder.

    Raises:
        RegistryError: neither.
    """
    parts = urlsplit(text)
    if parts.scheme in ("http", "https") and parts.hostname:
        return HttpSource(text.rstrip("/"), temp_folder)
    if Path(text).is_dir():
        return FolderSource(Path(text), temp_folder)
    raise RegistryError(
        "malformed",
        f"--from: expected http://… of a registry or mirror, or a folder of blobs, found {text}",
    )


@dataclass(frozen=True, slots=True)
class FolderSource:
    """Blobs by their digests, in the folder itself or under their first two digits, as in the
    folder ``blobs`` of a registry."""

    folder: Path
    temp_folder: Path

    @property
    def name(self) -> str:
        return str(self.folder)

    @contextmanager
    def fetch(self, digest: str, spend: Spend) -> Iterator[tuple[BinaryIO, int]]:
        for path in (self.folder / digest[:2] / digest, self.folder / digest):
            if path.is_file():
                with path.open("rb") as file, _verified(digest, file, self, spend) as found:
                    yield found
                return
        raise BlobNotFoundError(digest)


@dataclass(frozen=True, slots=True)
class HttpSource:
    """``<url>/blobs/<digest>``, as every registry and mirror serves them."""

    url: str
    temp_folder: Path
    _http: urllib3.PoolManager = field(
        default_factory=lambda: urllib3.PoolManager(retries=False, timeout=_TIMEOUT)
    )

    @property
    def name(self) -> str:
        return self.url

    @contextmanager
    def fetch(self, digest: str, spend: Spend) -> Iterator[tuple[BinaryIO, int]]:
        try:
            answer = self._http.request(
                "GET", f"{self.url}/blobs/{digest}", preload_content=False, redirect=True,
                headers={"Accept-Encoding": "identity"},
            )  # fmt: skip
        except urllib3.exceptions.HTTPError as error:
            raise BackendError(f"{self.url}: {_reason(error)}", True) from error
        try:
            if answer.status == 404:
                raise BlobNotFoundError(digest)
            if answer.status != 200:
                raise BackendError(f"{self.url}: answered with status {answer.status}", True)
            with _verified(digest, answer, self, spend) as found:
                yield found
        except urllib3.exceptions.HTTPError as error:
            raise BackendError(f"{self.url}: {_reason(error)}", True) from error
        finally:
            answer.close()


def _reason(error: Exception) -> str:
    return type(error).__name__.removesuffix("Error") or "failed"


class _Paced:
    """A stream whose bytes are counted as they come."""

    def __init__(self, stream: object, spend: Spend) -> None:
        self._stream, self._spend, self.count = stream, spend, 0

    def read(self, size: int = _BLOCK) -> bytes:
        data: bytes = self._stream.read(min(size, _BLOCK))  # type: ignore[attr-defined]
        self._spend(len(data))
        self.count += len(data)
        return data


@contextmanager
def _verified(
    digest: str, stream: object, source: FolderSource | HttpSource, spend: Spend
) -> Iterator[tuple[BinaryIO, int]]:
    paced, found = _Paced(stream, spend), hashlib.sha256()
    with tempfile.TemporaryFile(dir=source.temp_folder) as file:
        while data := paced.read():
            found.update(data)
            file.write(data)
        if found.hexdigest() != digest:
            raise BackendError(
                f"{source.name} gave other bytes, which hash to {found.hexdigest()}", False
            )
        file.seek(0)
        yield file, paced.count
