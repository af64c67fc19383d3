"""How Hugging Face's clients name a release: by tag, branch or commit. Pure.

A commit is the first 40 hex digits of the digest of ``manifest.json``; tags are versions; ``main``
is the newest version that may be picked. 160 bits of a digest hold against somebody who looks for a
second manifest with the same ones, and less against a publisher who prepares two: our own tools use
the whole digest.
"""

from __future__ import annotations

import re
from typing import Final

from ..errors import RegistryError
from .releases import Served, Versions

_COMMIT: Final = re.compile(r"[0-9a-f]{7,40}")
_HEADS: Final = ("main", "HEAD", "refs/heads/main")
_TAGS: Final = "refs/tags/"


def commit_of(manifest_sha256: str) -> str:
    """What stands for a Git commit."""
    return manifest_sha256[:40]


def split_revision(text: str) -> tuple[str, str]:
    """``(revision, path)`` of the rest of an address. A revision may be ``refs/tags/1.0``, whose
    ``/`` servers hand on decoded; no other one has a slash."""
    parts = text.split("/")
    count = 3 if parts[0] == "refs" else 1
    return "/".join(parts[:count]), "/".join(parts[count:])


def require_revision(versions: Versions, revision: str) -> Served:
    """The release that ``revision`` means.

    Raises:
        RegistryError: none, several, or one that is withheld (``revision-not-found``): with any
            other refusal clients would quietly use what they have in their cache.
    """
    if revision in _HEADS:
        return versions.require_newest()
    release = _find(versions, revision)
    if release.standing.refused is not None:
        raise RegistryError("revision-not-found", f"{release}: {release.standing.refused}")
    return release


def _find(versions: Versions, revision: str) -> Served:
    wanted = revision.removeprefix(_TAGS)
    for release in versions.all:
        if release.version == wanted:
            return release
    if _COMMIT.fullmatch(revision):
        found = [one for one in versions.all if one.manifest_sha256.startswith(revision)]
        if len(found) == 1:
            return found[0]
    raise RegistryError(
        "revision-not-found", f"{versions.component}: there is no version or commit {wanted!r:.100}"
    )
