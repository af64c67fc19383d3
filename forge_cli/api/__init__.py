"""Verified releases for programs: notebooks, services, plug-ins.

`install`, `verify`, `release`, `open` and `path` do what the commands do, with typed answers, and
raise an `Error` with the sentence that the command would print. They ask the registry each time;
who reads many files keeps a `Registry`, which has them as methods and asks once a minute.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import BinaryIO

from .errors import (
    Conflict,
    Error,
    Invalid,
    NotFound,
    NotPermitted,
    NotTrusted,
    ReadOnly,
    Unreachable,
    VerificationFailed,
    Withheld,
)
from .registry import Registry, ReleaseWarning
from .results import Check, File, Installation, InstalledComponent, Release, Verification

__all__ = [
    "Check",
    "Conflict",
    "Error",
    "File",
    "Installation",
    "InstalledComponent",
    "Invalid",
    "NotFound",
    "NotPermitted",
    "NotTrusted",
    "ReadOnly",
    "Registry",
    "Release",
    "ReleaseWarning",
    "Unreachable",
    "Verification",
    "VerificationFailed",
    "Withheld",
    "install",
    "open",
    "path",
    "release",
    "verify",
]


def install(
    *requirements: str,
    into: str | PathLike[str],
    registry: str | None = None,
    locked: bool = False,
    upgrade: bool = False,
    force: bool = False,
    hf_cache: bool = False,
    offline: bool = False,
) -> Installation:
    """`Registry.install`."""
    return Registry(registry, offline=offline).install(
        *requirements, into=into, locked=locked, upgrade=upgrade, force=force, hf_cache=hf_cache
    )


def verify(
    target: str | PathLike[str],
    *,
    registry: str | None = None,
    online: bool = False,
    download: bool = True,
    offline: bool = False,
) -> Verification:
    """`Registry.verify`."""
    return Registry(registry, offline=offline).verify(target, online=online, download=download)


def release(reference: str, *, registry: str | None = None, offline: bool = False) -> Release:
    """`Registry.release`."""
    return Registry(registry, offline=offline).release(reference)


def open(
    reference: str, path: str, *, registry: str | None = None, offline: bool = False
) -> BinaryIO:
    """`Registry.open`."""
    return Registry(registry, offline=offline).open(reference, path)


def path(
    reference: str, path: str = "", *, registry: str | None = None, offline: bool = False
) -> Path:
    """`Registry.path`."""
    return Registry(registry, offline=offline).path(reference, path)
