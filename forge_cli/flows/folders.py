"""The folders that something was installed into on this machine, for `forge status`.

Nothing leaves the machine. A folder that is gone, or that holds nothing any more, is forgotten.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from ..context import Context
from ..files import locked, write_private
from .installed import COMPONENTS


def remember_folder(context: Context, folder: Path) -> None:
    """Keeps ``folder`` among those that `known_folders` names."""
    path = context.places.folders
    name = str(folder.absolute())
    with suppress(OSError):  # a home that cannot be written is no reason to fail an installation
        if name in _read(path):
            return
        with locked(path.with_suffix(".lock")):
            names = [*known(path), name]
            write_private(path, json.dumps(sorted(set(names)), indent=1).encode())


def known_folders(context: Context) -> list[Path]:
    """The folders that still hold something, by name."""
    return [Path(name) for name in known(context.places.folders)]


def known(path: Path) -> list[str]:
    return [name for name in _read(path) if (Path(name) / COMPONENTS).is_dir()]


def _read(path: Path) -> list[str]:
    with suppress(OSError, ValueError):
        names = json.loads(path.read_bytes())
        if isinstance(names, list):
            return [name for name in names if isinstance(name, str)]
    return []
