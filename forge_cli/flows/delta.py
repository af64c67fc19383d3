"""What the registry holds already of the files that are to be published.

It is read from what is public and signed: the newest release of the same component, and the chunk
lists that its manifest names. So the registry is not asked, and has nothing to give away.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from signing.chunks import ChunkList, parse_chunk_list
from signing.errors import SigningError
from signing.manifest import FileEntry, parse_manifest
from signing.names import ComponentName

from ..context import Context
from ..errors import ForgeError
from ..output import SilentProgress
from ..remote.trust import View

_MOST_OLDS: Final = 8


class Published:
    """The large files of the newest release of ``name``; nothing is fetched before it is needed."""

    def __init__(self, context: Context, view: View, name: ComponentName) -> None:
        self._context = context
        self._view = view
        self._name = name
        self._entries: Sequence[FileEntry] | None = None

    def has_like(self, entry: FileEntry) -> bool:
        return bool(self._near(entry))

    def like(self, entry: FileEntry) -> dict[str, ChunkList]:
        """Blobs that may have pieces of ``entry``, with their chunk lists."""
        lists = {old.sha256: self._list(old) for old in self._near(entry)}
        return {blob: chunks for blob, chunks in lists.items() if chunks is not None}

    def _near(self, entry: FileEntry) -> Sequence[FileEntry]:
        """The old file of the same path, or else those with the same suffix."""
        if entry.chunks is None:
            return ()
        suffix = entry.path.rpartition(".")[2]
        same = [old for old in self._old_entries() if old.path == entry.path]
        near = same or [old for old in self._old_entries() if old.path.endswith(f".{suffix}")]
        return near[:_MOST_OLDS]

    def _old_entries(self) -> Sequence[FileEntry]:
        if self._entries is None:
            found: Sequence[FileEntry] = ()
            # Whatever is wrong with an old release, the new one can be sent whole.
            with suppress(ForgeError, SigningError):
                found = self._newest()
            self._entries = found
        return self._entries

    def _newest(self) -> Sequence[FileEntry]:
        state = self._view.component(self._name)
        if state is None or not state.releases:
            return ()
        newest = max(state.releases.values(), key=lambda release: release.version)
        manifest = parse_manifest(self._view.evidence(self._name, newest).manifest)
        return [entry for entry in manifest.files if entry.chunks is not None]

    def _list(self, old: FileEntry) -> ChunkList | None:
        name = str(old.chunks)
        data = self._context.cache.read_list(name)
        if data is None:
            fetcher = self._context.downloader(
                self._view.url, SilentProgress(), self._context.transfer.pace()
            )
            data = fetcher.fetch_list(name, old.path)
        if data is None:
            return None
        with suppress(SigningError):
            return parse_chunk_list(data, old.size, f"{old.path}: chunk list")
        return None
