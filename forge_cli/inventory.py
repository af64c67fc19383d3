"""What this host tells its agency's list: nothing, until somebody here says so.

Two files of this person: ``inventory.toml`` beside the settings says to whom (organisation, label,
registry and a token that can do nothing else), ``inventory.json`` beside the keys remembers which
folders hold what. Without the first nothing is remembered and nothing is sent.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .config import Places, dump_strings, read_strings
from .files import read_private, write_private
from .lockfile import LockedComponent


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """To whom this host reports, and under what name."""

    registry: str
    organisation: str
    host: str
    token: str


@dataclass(frozen=True, slots=True)
class Inventory:
    """The two files."""

    choice_file: Path
    folders_file: Path

    @classmethod
    def of(cls, places: Places) -> Inventory:
        return cls(
            places.config.with_name("inventory.toml"), places.receipts.with_name("inventory.json")
        )

    def choice(self) -> Choice | None:
        """What was chosen; None where nobody did. Raises ForgeError when the file is broken."""
        values = read_strings(self.choice_file, private=True)
        names = ("registry", "organisation", "host", "token")
        if not all(values.get(name) for name in names):
            return None
        return Choice(**{name: values[name] for name in names})

    def choose(self, choice: Choice) -> None:
        values = {
            "registry": choice.registry, "organisation": choice.organisation,
            "host": choice.host, "token": choice.token,
        }  # fmt: skip
        write_private(self.choice_file, dump_strings(values))

    def forget(self) -> None:
        """Success when nothing was chosen."""
        for path in (self.choice_file, self.folders_file):
            path.unlink(missing_ok=True)

    def note(self, folder: Path, components: Iterable[LockedComponent]) -> list[dict[str, str]]:
        """Remembers what ``folder`` holds now; returns what all folders that still exist hold."""
        folders = self._folders()
        folders[str(folder.absolute())] = [
            {
                "component": str(one.component),
                "version": str(one.version),
                "manifest_sha256": one.manifest_sha256,
            }
            for one in components
        ]
        kept = {path: held for path, held in folders.items() if held and Path(path).is_dir()}
        write_private(self.folders_file, json.dumps(kept, indent=1).encode())
        return installed_in(kept)

    def installed(self) -> list[dict[str, str]]:
        return installed_in(self._folders())

    def _folders(self) -> dict[str, list[dict[str, str]]]:
        try:
            found: Any = json.loads(read_private(self.folders_file))
        except (FileNotFoundError, ValueError):
            return {}  # a hint: the next installation in each folder writes it again
        return found if isinstance(found, dict) else {}


def installed_in(folders: Mapping[str, list[dict[str, str]]]) -> list[dict[str, str]]:
    """What the folders hold, each release once."""
    found = {one["manifest_sha256"]: one for held in folders.values() for one in held}
    return [found[digest] for digest in sorted(found)]
