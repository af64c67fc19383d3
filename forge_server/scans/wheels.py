"""Wheels and licences: advisories that concern what a wheel is or pins, from an offline snapshot of
OSV's; and whether the licence files say what the component's licence expression does."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from email.parser import HeaderParser
from pathlib import Path
from typing import Any, BinaryIO, Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from .base import (
    CLEAN,
    CRITICAL,
    FAILED,
    FINDINGS,
    HIGH,
    LOW,
    MEDIUM,
    NOT_SCANNED,
    Answer,
    FoundItem,
    Target,
    limited,
)

_MAX_METADATA: Final = 2**20
_MAX_ADVISORY: Final = 2**22


def _metadata(file: BinaryIO) -> Mapping[str, Any] | None:
    """The headers of a wheel's METADATA, values in lists; None where there are none."""
    try:
        with zipfile.ZipFile(file) as wheel:
            names = [n for n in wheel.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", n)]
            if len(names) != 1 or wheel.getinfo(names[0]).file_size > _MAX_METADATA:
                return None
            with wheel.open(names[0]) as inner:
                text = inner.read(_MAX_METADATA).decode("utf-8", "replace")
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError):
        return None
    headers = HeaderParser().parsestr(text)
    return {key.lower(): headers.get_all(key, []) for key in set(headers.keys())}


class Osv:
    """Advisories in the schema of OSV 1.6 (ossf.github.io/osv-schema), from a folder of JSON files
    or the zip that osv.dev offers for PyPI."""

    name = "osv"
    version = "1"
    header_only = False

    def wants(self, path: str, size: int, head: bytes, tail: bytes) -> bool:
        return path.lower().endswith(".whl")

    def scan(self, file: BinaryIO, target: Target) -> Answer:
        if target.data is None:
            return Answer(state=NOT_SCANNED, detail="no snapshot of advisories: osv_snapshot")
        metadata = _metadata(file)
        if metadata is None:
            return Answer(state=NOT_SCANNED, detail="no wheel with METADATA that can be read")
        wanted = dict(_pinned(metadata))
        if not wanted:
            return Answer(state=NOT_SCANNED, detail="a wheel without a name or version")
        count, items = 0, []
        try:
            for advisory in _advisories(Path(target.data)):
                count += 1
                items += list(_concerning(advisory, wanted, target))
        except (OSError, zipfile.BadZipFile, ValueError, RecursionError) as error:
            return Answer(state=FAILED, detail=f"snapshot not read: {type(error).__name__}")
        if not count:
            return Answer(state=NOT_SCANNED, detail="an empty snapshot of advisories")
        facts = {"advisories": count, "packages": len(wanted)}
        return Answer(state=FINDINGS if items else CLEAN, items=items, facts=facts)


def _pinned(metadata: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """``(name, version)`` of the wheel and of what it requires in one version."""
    name, version = (metadata.get(key, [""])[0] for key in ("name", "version"))
    if name and version:
        yield canonicalize_name(name), version
    for line in metadata.get("requires-dist", []):
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        pins = [each.version for each in requirement.specifier if each.operator in ("==", "===")]
        if len(pins) == 1 and not pins[0].endswith("*"):
            yield canonicalize_name(requirement.name), pins[0]


def _advisories(place: Path) -> Iterator[Mapping[str, Any]]:
    if place.is_dir():
        for path in sorted(place.rglob("*.json")):
            yield _advisory(path.read_bytes()[:_MAX_ADVISORY])
        return
    with zipfile.ZipFile(place) as archive:
        for item in archive.infolist():
            if item.filename.endswith(".json") and item.file_size <= _MAX_ADVISORY:
                yield _advisory(archive.read(item))


def _advisory(data: bytes) -> Mapping[str, Any]:
    value = json.loads(data)
    if not isinstance(value, dict) or not isinstance(value.get("id"), str):
        raise ValueError("no advisory")
    return value


def _concerning(
    advisory: Mapping[str, Any], wanted: Mapping[str, str], target: Target
) -> Iterator[FoundItem]:
    if advisory.get("withdrawn"):
        return
    for affected in advisory.get("affected", []):
        package = affected.get("package", {})
        name = canonicalize_name(str(package.get("name", "")))
        if package.get("ecosystem") == "PyPI" and name in wanted and _hits(affected, wanted[name]):
            yield FoundItem(
                rule=limited(str(advisory["id"]), 40),
                severity=_severity(advisory),
                title=limited(
                    f"{name} {wanted[name]}: {advisory.get('summary') or advisory['id']}"
                ),
                path=target.file.path,
                location=limited(f"{name}=={wanted[name]}"),
            )
            return


def _hits(affected: Mapping[str, Any], version: str) -> bool:
    if version in affected.get("versions", []):
        return True
    try:
        asked = Version(version)
        for span in affected.get("ranges", []):
            if span.get("type") == "ECOSYSTEM" and _within(asked, span.get("events", [])):
                return True
    except InvalidVersion:
        return False
    return False


def _within(asked: Version, events: list[Mapping[str, str]]) -> bool:
    """OSV schema, "affected[].ranges[].events": the last event at or before the version decides."""

    def of(text: str) -> Version:
        return Version("0.dev0" if text == "0" else text)

    hit = False
    order = {"introduced": 0, "fixed": 1, "last_affected": 2}
    pairs = [(of(v), order[k], k) for each in events for k, v in each.items() if k in order]
    for at, _, kind in sorted(pairs):
        if kind == "introduced" and at <= asked:
            hit = True
        elif (kind == "fixed" and at <= asked) or (kind == "last_affected" and at < asked):
            hit = False
    return hit


def _severity(advisory: Mapping[str, Any]) -> str:
    said = str(advisory.get("database_specific", {}).get("severity", "")).upper()
    known = {"LOW": LOW, "MODERATE": MEDIUM, "MEDIUM": MEDIUM, "HIGH": HIGH, "CRITICAL": CRITICAL}
    return CRITICAL if str(advisory["id"]).startswith("MAL-") else known.get(said, HIGH)


# Words that stand in the text of a licence and in no other one's here; the first that fits counts.
_TEXTS: Final = (
    ("AGPL-3.0", ("gnu affero general public license", "version 3")),
    ("LGPL-3.0", ("gnu lesser general public license", "version 3")),
    ("LGPL-2.1", ("gnu lesser general public license", "version 2.1")),
    ("GPL-3.0", ("gnu general public license", "version 3")),
    ("GPL-2.0", ("gnu general public license", "version 2")),
    ("Apache-2.0", ("apache license", "version 2.0")),
    ("MPL-2.0", ("mozilla public license", "2.0")),
    ("MIT", ("permission is hereby granted, free of charge", "without restriction")),
    ("BSD-3-Clause", ("redistribution and use in source and binary forms", "neither the name")),
    ("BSD-2-Clause", ("redistribution and use in source and binary forms",)),
    ("CC-BY-NC", ("creative commons", "noncommercial")),
    ("CC-BY-SA", ("creative commons", "sharealike")),
    ("CC-BY", ("creative commons", "attribution 4.0")),
    ("CC0-1.0", ("cc0 1.0 universal",)),
)  # fmt: skip


class Licence:
    name = "licence"
    version = "1"
    header_only = False

    def wants(self, path: str, size: int, head: bytes, tail: bytes) -> bool:
        file = path.rpartition("/")[2].lower()
        return file.startswith(("license", "licence", "copying", "unlicense")) or file.endswith(
            ".whl"
        )

    def scan(self, file: BinaryIO, target: Target) -> Answer:
        said = str(target.release.get("license") or "")
        if target.file.path.lower().endswith(".whl"):
            metadata = _metadata(file)
            found = (metadata or {}).get("license-expression", [""])[0]
            if not found:
                return Answer(state=NOT_SCANNED, detail="no License-Expression in the wheel")
            same = " ".join(found.split()).lower() == " ".join(said.split()).lower()
        else:
            text = " ".join(file.read(_MAX_METADATA).decode("utf-8", "replace").lower().split())
            names = (name for name, words in _TEXTS if all(each in text for each in words))
            found = next(names, "")
            if not found:
                return Answer(state=NOT_SCANNED, detail="a licence text that is not known here")
            same = found.lower() in said.lower()
        if same:
            return Answer(state=CLEAN)
        item = FoundItem(
            rule="differs",
            severity=MEDIUM,
            title=limited(f"the component says {said!r}, this file {found!r}"),
            path=target.file.path,
        )
        return Answer(state=FINDINGS, items=[item])
