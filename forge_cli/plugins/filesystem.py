"""``forge://organisation/name@version/path`` for fsspec, and for whatever reads through it.

Folders are those of the signed manifest, and nothing is listed that is not in it. A file is fetched
whole and verified to its last byte before it is opened, because no part of it can be verified
alone; what is in the cache is opened there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from glob import has_magic
from typing import Any, BinaryIO, NoReturn

from fsspec.spec import AbstractFileSystem

from ..api import NotFound, Registry, Release
from ..api.errors import read_only, refuses
from ..reference import PROTOCOL, split_url
from .listing import Info, folders_of, info_of


class ForgeFileSystem(AbstractFileSystem):
    """The releases of one registry, read-only. ``registry`` is its URL, without which it is the one
    that `forge` would choose; ``mirrors`` are asked for files first. ``offline``: nobody is
    asked."""

    protocol = PROTOCOL
    root_marker = ""

    def __init__(
        self,
        registry: str | None = None,
        mirrors: Iterable[str] = (),
        offline: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._registry = Registry(registry, mirrors=mirrors, offline=offline)
        self._listings: dict[str, dict[str, list[Info]]] = {}

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """The files and folders in ``path``, by name; of a file itself."""
        reference, inner = _split(self, path)
        folders = self._folders(self._registry.release(reference))
        found = folders.get(inner)
        if found is None:
            found = [info_of(folders, reference, inner)]
        shown = [each | {"name": f"{reference}/{each['name']}"} for each in found]
        return shown if detail else [each["name"] for each in shown]

    def info(self, path: str, **_: Any) -> Info:
        """Name, type, size in bytes, and of a file its ``sha256``."""
        reference, inner = _split(self, path)
        folders = self._folders(self._registry.release(reference))
        found = info_of(folders, reference, inner)
        return found | {"name": f"{reference}/{inner}" if inner else reference}

    def exists(self, path: str, **_: Any) -> bool:
        """Whether it is in the release. That nobody can say is an exception, not a no."""
        return self._type(path) is not None

    def isfile(self, path: str) -> bool:
        return self._type(path) == "file"

    def isdir(self, path: str) -> bool:
        return self._type(path) == "directory"

    def _type(self, path: str) -> str | None:
        with suppress(NotFound):
            return str(self.info(path)["type"])
        return None

    def walk(self, path: str, *args: Any, **options: Any) -> Iterator[Any]:
        with suppress(NotFound):
            self.info(path)  # fsspec takes every other refusal for an empty folder
        yield from super().walk(path, *args, **options)

    def get(self, rpath: Any, lpath: Any, recursive: bool = False, **options: Any) -> Any:
        if recursive and isinstance(rpath, str) and not has_magic(rpath):
            with suppress(NotFound):
                self._registry.path(*_split(self, rpath))  # all at once, not one after the other
        return super().get(rpath, lpath, recursive=recursive, **options)

    def _open(self, path: str, mode: str = "rb", **_: Any) -> BinaryIO:
        if mode != "rb":
            raise read_only(path)
        reference, inner = _split(self, path)
        return self._registry.open(reference, inner)

    def _folders(self, release: Release) -> dict[str, list[Info]]:
        """``{folder: what is in it}``; the release itself is the empty string. Names are paths in
        the release."""
        folders = self._listings.get(release.manifest_sha256)
        if folders is None:
            folders = self._listings[release.manifest_sha256] = folders_of(release)
        return folders

    def _refuse(self, path: Any = "", *_: Any, **__: Any) -> NoReturn:
        raise read_only(path)

    mkdir = makedirs = rmdir = rm = rm_file = _rm = touch = pipe_file = _refuse
    cp_file = mv = _refuse

    def put_file(self, lpath: Any, rpath: str, *_: Any, **__: Any) -> NoReturn:
        raise read_only(rpath)


@refuses
def _split(files: ForgeFileSystem, path: str) -> tuple[str, str]:
    return split_url(files._strip_protocol(path))
