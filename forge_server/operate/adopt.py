"""Taking over what the authority signed: its first metadata, and later its newer versions.

Root, targets and registrar may come this way, carried as files; everything below them comes
through the API. The server's own keys sign snapshot and timestamp; the root must list them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy.orm import Session

from signing.authority import (
    FIRST_FILES,
    ROOT_FILE,
    check_online_keys,
    fingerprint,
    verify_authority,
)
from signing.errors import VerificationError
from signing.roles import check_signed_by, parse_root, verify_against, verify_role
from storage.durable import replace_durably

from ..errors import RegistryError
from ..services.callers import OPERATOR
from ..services.rolebook import add_role, current_role, head_version
from ..settings import DataFolder
from ..wiring import Registry, open_registry

_FILE = re.compile(r"([1-9][0-9]{0,8})\.(root|targets|registrar)\.json")
_ORDER = ("root", "targets", "registrar")
_MAX_BYTES = 5_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """Which files were new, and the fingerprint of the first root."""

    files: tuple[str, ...]
    fingerprint: str


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
    finally:
        registry.database.dispose()
    return Adopted(files=new, fingerprint=mark)


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
    keys = registry.publication.keys
    with registry.database.write() as session:
        first = current_role(session, "root") is None
        if first:
            verify_authority(
                {name: files[_key(name)] for name in FIRST_FILES},
                keys.snapshot.public,
                keys.timestamp.public,
            )
        else:
            _require_same_authority(registry, files["root", 1])
        new = [name for role in _ORDER for name in _add_versions(registry, session, role, files)]
        root = current_role(session, "root")
        assert root is not None
        check_online_keys(root, keys.snapshot.public, keys.timestamp.public)
        if new:
            registry.audit.record(session, OPERATOR, "authority.adopt", None, files=new)
            publication = replace(registry.publication, read_only=None)
            publication.announce(session)
    replace(registry.publication, read_only=None).materialise()
    return tuple(new)


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
    """Establishes that ``data`` is signed by those whose turn it is (TUF 1.0 §5.3)."""
    root = current_role(session, "root")
    if role == "root":
        signed = parse_root(data)
        found = signed.signed.version
        # A new root is signed by the old one's keys and by its own.
        for keys in ([] if root is None else [parse_root(root)]) + [signed]:
            check_signed_by(keys.signed, "root", signed)
    elif role == "targets":
        assert root is not None
        found = verify_against(parse_root(root).signed, role, data).signed.version
    else:
        targets = current_role(session, "targets")
        assert targets is not None
        found = verify_role(targets, role, data).signed.version
    if found != version:
        raise VerificationError("rollback", f"role {role}", f"version {version}", found)
