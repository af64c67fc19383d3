"""Files whose formats execute code when they are loaded: refused here as the registry would, before
anything is signed or sent."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from signing.formats import Executable, executable, how_to_convert

from ..errors import ForgeError
from ..output import clean


def require_data_only(files: Mapping[str, Path]) -> None:
    """Raises ForgeError (``unsafe-format``) for the first of ``files``, by their paths in the
    component, that would be executed."""
    for path, full in files.items():
        with full.open("rb", buffering=0) as file:
            found = _look(file.fileno())
        if found is None:
            continue
        where = f" (in {clean(found.where)})" if found.where else ""
        raise ForgeError(
            "unsafe-format",
            f"{clean(path)}{where}: expected a format that only holds data, found {found.format}, "
            "which executes code when it is loaded",
            hint=f"{how_to_convert(found.format)}\n"
            "where the registry allows the format, or a waiver does: --waived",
            path=path,
            format=found.format,
        )


def _look(descriptor: int) -> Executable | None:
    size = os.fstat(descriptor).st_size
    return executable(lambda at, count: os.pread(descriptor, count, at), size)
