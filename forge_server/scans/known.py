"""Which scanners there are: our own, and those that other packages bring under the entry point
group ``forge.scanners``. To know them nothing of theirs is run but an import."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from datetime import UTC, date, datetime
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final

from .archives import Archives
from .base import Scanner
from .keras import Keras
from .models import Gguf, Onnx, Safetensors
from .pickles import Fickling, PickleScan
from .texts import Formats, Secrets
from .wheels import Licence, Osv

GROUP: Final = "forge.scanners"
_OWN: Final = (
    Formats, Safetensors, Gguf, Onnx, Keras, Archives, PickleScan, Fickling, Osv, Licence, Secrets,
)  # fmt: skip


@cache
def known() -> Mapping[str, Scanner]:
    """``{name: scanner}``. A scanner of another package never takes the name of one of ours."""
    found: dict[str, Scanner] = {}
    for kind in _OWN:
        scanner: Scanner = kind()
        found[scanner.name] = scanner
    for point in entry_points(group=GROUP):
        if point.name not in found:
            made = point.load()
            found[point.name] = made() if isinstance(made, type) else made
    return found


def data_date(snapshot: str) -> date | None:
    """When the newest advisory of a snapshot came into it; None where there is none to be read."""
    place = Path(snapshot)
    try:
        if place.is_dir():
            times = [path.stat().st_mtime for path in place.rglob("*.json")]
            return datetime.fromtimestamp(max(times), UTC).date() if times else None
        with zipfile.ZipFile(place) as archive:
            days = [item.date_time[:3] for item in archive.infolist()]
            return date(*max(days)) if days else None
    except (OSError, ValueError, zipfile.BadZipFile):
        return None
