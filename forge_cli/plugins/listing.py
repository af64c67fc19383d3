"""The folders of a release, as its signed manifest implies them, for programs that ask for such."""

from __future__ import annotations

import posixpath
from typing import Any

from ..api import NotFound, Release

Info = dict[str, Any]


def folders_of(release: Release) -> dict[str, list[Info]]:
    """``{folder: what is in it, by name}``; the release itself is the empty string. Names are paths
    in the release, sizes in bytes."""
    folders: dict[str, list[Info]] = {"": []}
    for file in release.files:
        info = {"name": file.path, "size": file.size, "type": "file", "sha256": file.sha256}
        folder = posixpath.dirname(file.path)
        _add(folders, folder)
        folders[folder].append(info)
    for found in folders.values():
        found.sort(key=lambda each: str(each["name"]))
    return folders


def info_of(folders: dict[str, list[Info]], reference: str, path: str) -> Info:
    """What `folders_of` knows of a file or folder. Raises NotFound."""
    if path in folders:
        return {"name": path, "size": 0, "type": "directory"}
    for each in folders.get(posixpath.dirname(path), ()):
        if each["name"] == path:
            return each
    raise NotFound(f"{reference}: {path}: no such file in the release", code="not-found")


def _add(folders: dict[str, list[Info]], folder: str) -> None:
    if folder not in folders:
        folders[folder] = []
        parent = posixpath.dirname(folder)
        _add(folders, parent)
        folders[parent].append({"name": folder, "size": 0, "type": "directory"})
