"""What is installed in a folder: the record beside each component.

    forge_components/<org>/<name>/               the signed files and nothing else
    forge_components/.forge/<org>/<name>.json    evidence, and when and from where it came

The record is written last: a component without one was not (completely) installed by us.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from signing.errors import MalformedError
from signing.manifest import Manifest, parse_manifest
from signing.names import ComponentName

from ..errors import ForgeError
from ..files import write_private
from ..transfer import WHOLE, Selection

COMPONENTS: Final = "forge_components"
_SCHEMA: Final = 1
_MOST_NAMED: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One installed component. ``evidence`` is the evidence file's bytes, not yet judged."""

    component: ComponentName
    manifest_sha256: str
    registry: str
    fingerprint: str
    installed_at: str
    verified_at: str
    evidence: bytes
    selection: Selection = WHOLE  # what of it was installed

    def manifest(self) -> Manifest:
        """The manifest inside the evidence. Raises MalformedError."""
        try:
            text = json.loads(self.evidence)["manifest"]
        except (ValueError, KeyError, TypeError):
            raise MalformedError("evidence", "a manifest", "none") from None
        manifest = parse_manifest(str(text).encode())
        if manifest.digest != self.manifest_sha256:
            raise MalformedError("evidence", self.manifest_sha256, manifest.digest)
        return manifest

    def to_json(self) -> bytes:
        value: dict[str, Any] = {
            "schema": _SCHEMA,
            "component": str(self.component),
            "manifest_sha256": self.manifest_sha256,
            "registry": self.registry,
            "fingerprint": self.fingerprint,
            "installed_at": self.installed_at,
            "verified_at": self.verified_at,
            "evidence": self.evidence.decode(),
        }
        if self.selection:
            value["partial"] = self.selection.to_json()
        return json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n"

    @classmethod
    def from_json(cls, data: bytes, where: str) -> Record:
        """Raises MalformedError when it is not what `to_json` writes."""
        try:
            value = json.loads(data)
            texts = {
                name: _text(value, name)
                for name in (
                    "manifest_sha256",
                    "registry",
                    "fingerprint",
                    "installed_at",
                    "verified_at",
                )
            }
            component = ComponentName.parse(_text(value, "component"), where)
            evidence = _text(value, "evidence").encode()
            selection = Selection.from_json(value.get("partial"))
        except (ValueError, KeyError, TypeError, RecursionError):
            raise MalformedError(
                where, "an installation record", "something else", "install it again"
            ) from None
        return cls(component=component, evidence=evidence, selection=selection, **texts)


def _text(value: Any, name: str) -> str:
    text = value[name]
    if not isinstance(text, str):
        raise TypeError
    return text


class Site:
    """A folder with components in it (``--into``)."""

    def __init__(self, into: Path) -> None:
        self.into = into
        self.components = into / COMPONENTS
        self.private = self.components / ".forge"
        self.lock_path = into / "forge.lock"

    def tree(self, name: ComponentName) -> Path:
        return self.components / name.org / name.name

    def record_path(self, name: ComponentName) -> Path:
        return self.private / name.org / f"{name.name}.json"

    def record(self, name: ComponentName) -> Record | None:
        """The component's record; None when there is none or it is spoilt."""
        path = self.record_path(name)
        try:
            record = Record.from_json(path.read_bytes(), str(path))
        except (FileNotFoundError, NotADirectoryError, MalformedError):
            return None
        return record if record.component == name else None

    def write_record(self, record: Record) -> None:
        write_private(self.record_path(record.component), record.to_json(), mode=0o644)

    def forget(self, name: ComponentName) -> None:
        path = self.record_path(name)
        path.unlink(missing_ok=True)
        with suppress(OSError):
            path.parent.rmdir()

    def records(self) -> Iterator[Record]:
        """Every readable record, by name."""
        with suppress(FileNotFoundError):
            os.listdir(self.private)  # glob would take a folder it may not read for an empty one
            for path in sorted(self.private.glob("*/*.json")):
                with suppress(MalformedError):
                    yield Record.from_json(path.read_bytes(), str(path))


def site_of_tree(folder: Path) -> tuple[Site, ComponentName]:
    """The site and name of an installed component's folder.

    Raises:
        ForgeError: ``not-found``, ``not-installed``.
    """
    given, folder = folder, folder.absolute()
    if not folder.is_dir():
        raise ForgeError(
            "not-found",
            f"{given}: no such folder",
            hint="a release in the registry: forge verify ORG/NAME\n"
            "an installed one: forge verify out/forge_components/ORG/NAME\n"
            "loose files: forge verify FOLDER --bundle FILE --key FILE",
        )
    with suppress(MalformedError):
        name = ComponentName.parse(f"{folder.parent.name}/{folder.name}")
        if folder.parent.parent.name == COMPONENTS:
            site = Site(folder.parent.parent.parent)
            if site.record_path(name).exists():
                return site, name
    inside = [each.component for each in Site(folder).records()]
    if inside:
        raise ForgeError(
            "not-installed",
            f"{given}: components are installed in it, and each is verified by itself",
            hint="\n".join(
                f"forge verify {Site(given).tree(each)}" for each in inside[:_MOST_NAMED]
            ),
        )
    raise ForgeError(
        "not-installed",
        f"{given}: not installed by forge, so there is no evidence beside it",
        hint="loose files: forge verify FOLDER --bundle release.sigstore.json --key publisher.pem",
    )


def instant(at: datetime) -> str:
    """``at`` as it stands in files, UTC to the second."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
