"""What the functions of `forge_cli.api` answer: plain values that nobody can change."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One file of a release: its path there, its size in bytes, and its SHA-256 in hex."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A release whose signatures were verified. ``files`` is exactly what was signed, by path;
    ``remarks`` is what a person should read, such as why it was yanked."""

    component: str
    version: str
    kind: str
    manifest_sha256: str
    files: tuple[File, ...]
    remarks: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.component}=={self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One numbered check and how it ended: ``status`` is ``passed``, ``failed`` or
    ``not-checked``."""

    number: int
    title: str
    status: str
    establishes: str
    does_not_establish: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """Everything that was checked of a release, none of which failed."""

    subject: str
    component: str
    version: str
    manifest_sha256: str
    checks: tuple[Check, ...]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledComponent:
    """One component in a folder. ``changed``: it was put in place just now; ``hf_snapshot`` is its
    folder in the Hugging Face cache, where that was asked for."""

    component: str
    version: str
    kind: str
    manifest_sha256: str
    path: Path
    changed: bool
    hf_snapshot: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """What ``into`` holds now: everything that its forge.lock names."""

    into: Path
    components: tuple[InstalledComponent, ...]
    removed: tuple[str, ...]
    fetched_bytes: int
    remarks: tuple[str, ...] = ()
