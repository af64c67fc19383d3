"""Putting an installed component right by fetching what is damaged of it, and nothing else.

What proves the component is verified first: only files may differ from what was signed. A damaged
file is then a file that is wanted and mostly here: its good chunks are copied from itself.
Files that were added are left to the person; `forge sync` removes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from signing.errors import VerificationError
from signing.manifest import FileEntry

from ..context import Context
from ..errors import ForgeError
from ..remote.wanted import Old
from ..tree import Builder, observe
from .fetching import Fetched, fetch, wanted_for
from .installed import Record, Site, site_of_tree
from .verify import Verified, verify_installed

# Checks that damaged files make fail; everything before them is about signatures.
_ABOUT_FILES: Final = frozenset({"description", "files"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """What was put right, and how it stands now."""

    files: tuple[str, ...]
    fetched: Fetched
    verified: Verified


def repair_installed(context: Context, folder: Path, *, fingerprint: str | None) -> Repaired:
    """Make the files of the installed component in ``folder`` those that were signed.

    Raises:
        VerificationError: what failed is not about files, so no file can put it right.
        NetworkError, VerificationError: as fetching raises them; nothing was changed then.
    """
    before = verify_installed(context, folder, online=False, fingerprint=fingerprint)
    if before.report.ok:
        return Repaired(files=(), fetched=Fetched(), verified=before)
    failure = before.report.first_failure
    if failure is None or failure.title not in _ABOUT_FILES:
        raise ForgeError(
            "not-repairable",
            f"{folder}: check {failure.number if failure else 0} failed, which is not about files",
            hint=f"see it: forge verify {folder}",
        )
    site, name = site_of_tree(folder)
    record = site.record(name)
    assert record is not None  # verified just now
    damaged = _damaged(site.tree(name), record)
    fetched = _fetch(context, site, record, damaged)
    builder = Builder(site.components)
    for entry in damaged:
        builder.replace_file(
            context.cache.path(entry.sha256), site.tree(name) / entry.path, entry.size
        )
    return Repaired(
        files=tuple(entry.path for entry in damaged),
        fetched=fetched,
        verified=verify_installed(context, folder, online=False, fingerprint=fingerprint),
    )


def _damaged(tree: Path, record: Record) -> list[FileEntry]:
    """Files of the release that are missing or other than signed."""
    try:
        found = observe(tree)
    except VerificationError as error:
        raise ForgeError(
            "not-repairable",
            error.message,
            hint=f"move it away, or build the folder anew: forge sync --into {tree.parents[2]}",
        ) from None
    return [
        entry
        for entry in record.selection.files(record.manifest())
        if entry.path not in found or found[entry.path].sha256 != entry.sha256
    ]


def _fetch(context: Context, site: Site, record: Record, damaged: list[FileEntry]) -> Fetched:
    """The cache holds a good copy of each damaged file afterwards."""
    wanted, aside = [], []
    for entry in {entry.sha256: entry for entry in damaged}.values():
        if context.cache.verify(entry.sha256, entry.size):
            continue
        # The cache's copy may be the same file, and as damaged; its good chunks count as well.
        spoilt = context.cache.set_aside(entry.sha256)
        places = [site.tree(record.component) / entry.path, *filter(None, [spoilt])]
        aside += places[1:]
        olds = [
            (entry.path, Old(path=path, size=entry.size, chunks=entry.chunks))
            for path in places
            if path.is_file()
        ]
        wanted.append(wanted_for(entry, f"{record.component}/{entry.path}", olds))
    try:
        return fetch(context, record.registry, wanted)
    finally:
        for path in aside:
            path.unlink(missing_ok=True)
