"""Taking over what the authority signed: its first metadata, and later its newer versions.

Root, targets and registrar may come this way, carried as files; everything below them comes
through the API. The server's own keys sign snapshot and timestamp. The authority that is adopted
first must list them; a later root may list others, and the server is read-only until it has them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.orm import Session

from signing.authority import FIRST_FILES, ROOT_FILE
from signing.authority_updates import (
    check_root_form,
    verify_below,
    verify_next_root,
    verify_root_chain,
)
from signing.digests import fingerprint
from signing.errors import VerificationError
from signing.roles import parse_root, role_version
from storage.durable import replace_durably

from ..errors import RegistryError
from ..services.callers import OPERATOR
from ..services.rolebook import add_role, current_role, head_version, require_role
from ..services.status import is_status_sound
from ..settings import DataFolder
from ..wiring import Registry, open_registry

_FILE = re.compile(r"([1-9][0-9]{0,8})\.(root|targets|registrar)\.json")
_ORDER = ("root", "targets", "registrar")
_MAX_BYTES = 5_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """Which files were new, the fingerprint of the first root, why nothing can be signed under the
    newest one (None when it can), and whether a status host is named that has not signed."""

    files: tuple[str, ...]
    fingerprint: str
    read_only: str | None
    status_missing: bool


def adopt(folder: DataFolder, metadata: Path) -> Adopted:
    """Verifies the authority's files in the folder ``metadata`` and takes over the new ones.

    Raises:
        RegistryError: no such files, or a first root other than the one adopted before.
        SigningError: a broken chain, or a root that does not list the server's keys.
    """
    files = _read(metadata)
    registry = open_registry(folder)
    try:
        new = _take_over(registry, files)
        mark = fingerprint(files["root", 1])
        replace_durably(folder.fingerprint, f"{mark}\n".encode())
        read_only = registry.publication.read_only
        with registry.database.read() as session:
            heard = is_status_sound(session)
    finally:
        registry.database.dispose()
    return Adopted(files=new, fingerprint=mark, read_only=read_only, status_missing=not heard)


def _read(metadata: Path) -> dict[tuple[str, int], bytes]:
    """``{(role, version): bytes}`` of the authority's files."""
    files = {}
    names = sorted(path.name for path in metadata.iterdir()) if metadata.is_dir() else []
    for name in names:
        match = _FILE.fullmatch(name)
        if match:
            with (metadata / name).open("rb") as file:
                files[match[2], int(match[1])] = file.read(_MAX_BYTES + 1)
    missing = [name for name in FIRST_FILES if _key(name) not in files]
    if missing:
        raise RegistryError(
            "authority-incomplete",
            f"{metadata}: expected {', '.join(FIRST_FILES)}, found no {', '.join(missing)}",
            "give the metadata folder that forge authority init made",
        )
    return files


def _key(name: str) -> tuple[str, int]:
    version, role, _ = name.split(".")
    return role, int(version)


def _take_over(registry: Registry, files: Mapping[tuple[str, int], bytes]) -> tuple[str, ...]:
    publication = registry.publication
    with registry.database.write() as session:
        first = current_role(session, "root") is None
        if not first:
            _require_same_authority(registry, files["root", 1])
        new = [name for role in _ORDER for name in _add_versions(registry, session, role, files)]
        _require_chain(session)
        if first:
            publication.keys.choose(current_role(session, "root"))
        if new:
            registry.audit.record(session, OPERATOR, "authority.adopt", None, files=new)
            if publication.can_sign(session):
                publication.announce(session, always=True)
    publication.materialise()
    return tuple(new)


def _require_chain(session: Session) -> None:
    root, targets, registrar = (require_role(session, name) for name in _ORDER)
    verify_below(parse_root(root).signed, targets, registrar)


def _require_same_authority(registry: Registry, first_root: bytes) -> None:
    found = fingerprint(first_root)
    if registry.fingerprint != found:
        raise RegistryError(
            "authority-other",
            f"{ROOT_FILE}: expected the authority {registry.fingerprint}, found {found}",
            "a registry keeps its authority; clients trust that one alone",
        )


def _add_versions(
    registry: Registry, session: Session, role: str, files: Mapping[tuple[str, int], bytes]
) -> list[str]:
    """Adds the versions of ``role`` that follow the current one, each verified."""
    added = []
    version = head_version(session, role) + 1
    while (data := files.get((role, version))) is not None:
        _check(session, role, data, version)
        add_role(session, role, version, data, registry.clock())
        added.append(f"{version}.{role}.json")
        version += 1
    return added


def _check(session: Session, role: str, data: bytes, version: int) -> None:
    """Establishes that ``data`` is what its name says, and for a root that it may follow the one
    before (TUF 1.0 §5.3). Of targets and registrar only the newest version must verify, and under
    the newest root (`_require_chain`): the keys of older ones may be long gone."""
    if role != "root":
        found = role_version(data, role)
    else:
        current = current_role(session, "root")
        root = verify_root_chain([data]) if current is None else verify_next_root(data, current)
        check_root_form(root)
        found = root.version
    if found != version:
        raise VerificationError("rollback", f"role {role}", f"version {version}", found)
