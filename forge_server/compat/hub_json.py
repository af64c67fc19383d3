"""Releases in the shapes that Hugging Face's clients parse. Pure.

Every file is reported as an LFS file, because only of those do clients compare a digest with the
bytes (`hf cache verify`), and never with a Xet hash, which would send them to a store that is not
here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from signing.digests import sha256_hex

from ..api.rendering import instant
from .hub_revisions import commit_of
from .releases import Served, ServedFile, Versions

_POINTER_BYTES = 134  # of a Git LFS pointer; clients want a number


def info_json(
    release: Served, files: Sequence[ServedFile] | None, *, blobs: bool = False
) -> dict[str, Any]:
    """A repository at one revision. ``files`` None leaves ``siblings`` out."""
    details = release.details
    name = str(release.component)
    value: dict[str, Any] = {
        "_id": sha256_hex(name.encode())[:24],
        "id": name,
        "modelId": name,
        "author": release.component.org,
        "sha": commit_of(release.manifest_sha256),
        "private": False,
        "gated": False,
        "disabled": False,
        "lastModified": instant(release.published_at),
        "createdAt": instant(release.published_at),
        "tags": [
            *details["tasks"], *details["languages"], f"license:{details['license'].lower()}",
        ],
        "cardData": {"license": details["license"].lower(), "language": details["languages"]},
        "description": details["summary"],
    }  # fmt: skip
    if details["tasks"]:
        value["pipeline_tag"] = details["tasks"][0]
    if files is not None:
        value["siblings"] = [_sibling(file, blobs=blobs) for file in files]
        value["usedStorage"] = sum(file.size for file in files)
        if release.kind == "model" and _is_for_transformers({file.path for file in files}):
            value["library_name"] = "transformers"
    return value


def _is_for_transformers(paths: Collection[str]) -> bool:
    """Whether names of files say so, as Hub clients expect of a model that they may load without
    being told for which task. Nothing of the files is read."""
    weights = {"model.safetensors", "model.safetensors.index.json"}
    return "config.json" in paths and not weights.isdisjoint(paths)


def _sibling(file: ServedFile, *, blobs: bool) -> dict[str, Any]:
    if not blobs:
        return {"rfilename": file.path}
    lfs = {"sha256": file.sha256, "size": file.size, "pointerSize": _POINTER_BYTES}
    return {"rfilename": file.path, "size": file.size, "blobId": file.sha256[:40], "lfs": lfs}


def tree_of(
    release: Served, files: Iterable[ServedFile], folder: str, *, recursive: bool
) -> list[dict[str, Any]] | None:
    """What is in ``folder`` ("" for all of it), by path; None where there is no such folder."""
    below = f"{folder}/" if folder else ""
    entries: dict[str, dict[str, Any]] = {}
    for file in files:
        if not file.path.startswith(below):
            continue
        parts = file.path[len(below) :].split("/")
        for count in range(1, len(parts)) if recursive else [1] * (len(parts) > 1):
            path = below + "/".join(parts[:count])
            entries.setdefault(path, folder_json(release, path))
        if recursive or len(parts) == 1:
            entries[file.path] = file_json(file)
    return [entries[path] for path in sorted(entries)] or None


def entries_at(
    release: Served, files: Sequence[ServedFile], paths: Iterable[str]
) -> list[dict[str, Any]]:
    """The files and folders at ``paths``; what is not there is left out."""
    by_path: dict[str, ServedFile] = {}
    folders: set[str] = set()
    for file in files:  # once, however many paths a stranger asks for
        by_path[file.path] = file
        folder = file.path.rpartition("/")[0]
        while folder and folder not in folders:
            folders.add(folder)
            folder = folder.rpartition("/")[0]
    found = []
    for path in dict.fromkeys(paths):
        if path in by_path:
            found.append(file_json(by_path[path]))
        elif path in folders:
            found.append(folder_json(release, path))
    return found


def file_json(file: ServedFile) -> dict[str, Any]:
    lfs = {"oid": file.sha256, "size": file.size, "pointerSize": _POINTER_BYTES}
    return {
        "type": "file", "path": file.path, "size": file.size, "oid": file.sha256[:40], "lfs": lfs,
    }  # fmt: skip


def folder_json(release: Served, path: str) -> dict[str, Any]:
    oid = sha256_hex(f"{release.manifest_sha256} {path}".encode())[:40]
    return {"type": "directory", "path": path, "size": 0, "oid": oid}


def with_commit(entry: dict[str, Any], release: Served) -> dict[str, Any]:
    """The entry of a tree in its long form: which release it belongs to."""
    commit = commit_of(release.manifest_sha256)
    last = {"id": commit, "title": str(release), "date": instant(release.published_at)}
    return {**entry, "lastCommit": last}


def refs_json(versions: Versions, main: Served | None) -> dict[str, Any]:
    branches = [] if main is None else [_ref("main", "refs/heads/main", main)]
    tags = [_ref(each.version, f"refs/tags/{each.version}", each) for each in versions.served]
    return {"branches": branches, "converts": [], "tags": tags, "pullRequests": []}


def _ref(name: str, ref: str, release: Served) -> dict[str, str]:
    return {"name": name, "ref": ref, "targetCommit": commit_of(release.manifest_sha256)}


def commits_json(versions: Versions, release: Served) -> list[dict[str, Any]]:
    """What was published up to ``release``, newest first: each release is one commit."""
    return [
        {
            "id": commit_of(each.manifest_sha256),
            "title": str(each),
            "message": f"sha256:{each.manifest_sha256}",
            "date": instant(each.published_at),
            "authors": [{"user": each.component.org}],
        }
        for each in sorted(versions.served, key=lambda one: one.id, reverse=True)
        if each.id <= release.id
    ]
