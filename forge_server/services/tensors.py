"""The headers of model files in releases; as they never change, the last few are kept."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import select

from signing.names import ComponentName
from signing.tensors import Header, HeaderRefusedError, reader_for
from storage import BlobNotFoundError, BlobStore

from ..db.engine import Database
from ..db.models import ReleaseFile
from ..errors import RegistryError
from .pages_component import require_release

MAX_TENSORS: Final = 500  # on one page
_MAX_KEPT: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class FileHeader:
    """``header`` is None where ``refused`` says why: hostile, damaged, or of another format."""

    path: str
    sha256: str
    header: Header | None
    refused: str | None


@dataclass(frozen=True, slots=True)
class TensorHeaders:
    database: Database
    blobs: BlobStore
    _kept: OrderedDict[str, tuple[Header | None, str | None]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def header(self, name: ComponentName, version: str, path: str) -> FileHeader:
        """What the header of the file at ``path`` of a release says.

        Raises:
            RegistryError: no such release or file (``not-found``).
            BackendError: the store failed.
        """
        with self.database.read() as session:
            release = require_release(session, name, version)
            file = session.execute(
                select(ReleaseFile.sha256, ReleaseFile.size).where(
                    ReleaseFile.release_id == release.id, ReleaseFile.path == path
                )
            ).one_or_none()
        if file is None:
            raise RegistryError("not-found", f"{name} {version}: no file {path!r:.200}")
        key = f"{file.sha256} {path.rpartition('.')[2].lower()}"
        with self._lock:
            kept = self._kept.get(key)
        if kept is None:
            kept = self._read(path, file.sha256, file.size)
            with self._lock:
                self._kept[key] = kept
                while len(self._kept) > _MAX_KEPT:
                    self._kept.popitem(last=False)
        header, refused = kept
        return FileHeader(path=path, sha256=file.sha256, header=header, refused=refused)

    def _read(self, path: str, digest: str, size: int) -> tuple[Header | None, str | None]:
        reader = reader_for(path)
        if reader is None:
            return None, "expected a .safetensors or .gguf file, found another"
        try:
            with self.blobs.open(digest) as file:
                return reader(file, size), None
        except HeaderRefusedError as error:
            return None, str(error)
        except BlobNotFoundError:
            raise RegistryError("not-found", f"{path}: its bytes are not here any more") from None
