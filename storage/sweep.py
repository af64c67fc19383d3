"""Removing what dead writers left in a temporary folder, and nothing else."""

from __future__ import annotations

import contextlib
import os
from datetime import datetime
from pathlib import Path

from . import durable as disk


def sweep_stale(folder: Path, older_than_seconds: float, now: datetime) -> int:
    """Removes the files of dead writers from a temporary folder; returns how many.

    A file goes when it was last written more than `older_than_seconds` before `now` *and* no
    process holds its lock; a clock that jumps therefore never costs a live upload its file.
    """
    limit = now.timestamp() - older_than_seconds
    removed = 0
    try:
        with os.scandir(folder) as entries:
            stale = [Path(entry) for entry in entries if _is_older(entry, limit)]
    except FileNotFoundError:
        return 0
    for path in stale:
        with contextlib.suppress(FileNotFoundError):
            removed += _remove_unless_locked(path)
    return removed


def _is_older(entry: os.DirEntry[str], limit: float) -> bool:
    try:
        return (
            entry.is_file(follow_symlinks=False)
            and entry.stat(follow_symlinks=False).st_mtime < limit
        )
    except FileNotFoundError:
        return False


def _remove_unless_locked(path: Path) -> bool:
    with disk.opened(path) as fd:
        try:
            free = disk.lock(fd)
        except OSError:  # no locks on this file system: its age has to do
            free = True
        if free:
            disk.unlink(path)
        return free
