"""``forge.lock``: exactly which releases a folder holds, by manifest digest.

The digest of its manifest is the identity of a release, so a lock pins every byte. The file is
written deterministically (sorted, one spelling), and read strictly: a lock that was edited into
something ambiguous is refused with the place, not guessed at.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Set
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from packaging.version import Version

from signing.digests import parse_digest
from signing.errors import MalformedError
from signing.names import ComponentName, Requirement, parse_specifier, parse_version

from .files import write_private

if TYPE_CHECKING:
    from signing.manifest import Manifest
    from signing.roles import IndexEntry

FILE_NAME: Final = "forge.lock"
SCHEMA: Final = 1
_MAX_BYTES: Final = 16 << 20
_HEADER: Final = "# Written by forge. Do not edit: change what you ask for and run `forge lock`.\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """A rule of a policy that somebody put aside for this one release, why and when (UTC)."""

    rule: str
    reason: str
    at: str

    def __str__(self) -> str:
        return f"{self.rule} is overridden since {self.at[:10]}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedComponent:
    """One release. ``requires`` is what its manifest asks for, ``{"org/name": range}``;
    ``overrides`` are sorted by rule, each rule once."""

    component: ComponentName
    version: Version
    kind: str
    manifest_sha256: str
    requires: dict[str, str]
    overrides: tuple[Override, ...] = ()

    def __str__(self) -> str:
        return f"{self.component}=={self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """A whole forge.lock. ``requirements`` is what was asked for, ``components`` what came out."""

    registry: str
    fingerprint: str
    requirements: tuple[Requirement, ...]
    components: tuple[LockedComponent, ...]

    def by_name(self) -> dict[ComponentName, LockedComponent]:
        return {locked.component: locked for locked in self.components}

    def satisfies(self, requirements: tuple[Requirement, ...]) -> bool:
        """Whether these requirements, and those of what they pull in, hold in this lock."""
        locked = self.by_name()
        wanted = list(requirements)
        seen: set[ComponentName] = set()
        while wanted:
            requirement = wanted.pop()
            chosen = locked.get(requirement.component)
            if chosen is None or not requirement.specifier.contains(
                chosen.version, prereleases=True
            ):
                return False
            if chosen.component not in seen:
                seen.add(chosen.component)
                wanted += requirements_of(chosen.requires, str(chosen))
        return True


def locked_release(release: Manifest | tuple[ComponentName, IndexEntry]) -> LockedComponent:
    """A release as a lock would name it, by its manifest or by its entry in the index."""
    if isinstance(release, tuple):
        name, entry = release
        return LockedComponent(
            component=name,
            version=entry.version,
            kind=entry.kind,
            manifest_sha256=entry.manifest_sha256,
            requires=dict(entry.requires),
        )
    return LockedComponent(
        component=release.component,
        version=release.version,
        kind=release.kind,
        manifest_sha256=release.digest,
        requires=dict(release.requires),
    )


def requirements_of(requires: Mapping[str, str], where: str) -> list[Requirement]:
    """``{"org/name": range}`` as requirements. Name and range are read apart: joined, a range
    that is none would become part of the name.

    Raises:
        MalformedError: with the path below ``where``.
    """
    return [
        Requirement(
            ComponentName.parse(name, f"{where}.{name}"),
            parse_specifier(specifier, f"{where}.{name}"),
        )
        for name, specifier in requires.items()
    ]


def requirement_text(requirement: Requirement) -> str:
    """The requirement as people write it, lower bound first: ``org/name>=1,<2``."""
    parts = sorted(requirement.specifier, key=lambda one: (one.operator[0] == "<", str(one)))
    return str(requirement.component) + ",".join(map(str, parts))


def dump_lock(lock: Lock) -> bytes:
    """The file's bytes; the same lock gives the same bytes."""
    import tomli_w

    components = [
        {
            "name": str(locked.component),
            "version": str(locked.version),
            "kind": locked.kind,
            "manifest_sha256": locked.manifest_sha256,
            "requires": dict(sorted(locked.requires.items())),
            **(
                {"overrides": [asdict(one) for one in locked.overrides]} if locked.overrides else {}
            ),
        }
        for locked in sorted(lock.components, key=lambda locked: locked.component)
    ]
    document = {
        "schema": SCHEMA,
        "registry": lock.registry,
        "fingerprint": lock.fingerprint,
        "requirements": sorted(map(requirement_text, lock.requirements)),
        "component": components,
    }
    return (_HEADER + tomli_w.dumps(document)).encode()


def parse_lock(data: bytes, where: str = FILE_NAME) -> Lock:
    """Read ``data``. Only MalformedError comes out, with the path to the bad field."""
    if len(data) > _MAX_BYTES:
        raise MalformedError(where, f"at most {_MAX_BYTES} bytes", len(data))
    try:
        document = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(where, "TOML", error, "run `forge lock` to write it anew") from None
    keys = {"schema", "registry", "fingerprint", "requirements", "component"}
    _only(document, keys, where)
    if document["schema"] != SCHEMA or document["schema"] is True:
        raise MalformedError(
            f"{where}: schema", str(SCHEMA), document["schema"], "a newer forge may know it"
        )
    requirements = tuple(
        Requirement.parse(_text(item, f"{where}: requirements[{n}]"), f"{where}: requirements[{n}]")
        for n, item in enumerate(_list(document["requirements"], f"{where}: requirements"))
    )
    tables = _list(document["component"], f"{where}: component")
    lock = Lock(
        registry=_text(document["registry"], f"{where}: registry"),
        fingerprint=_fingerprint(document["fingerprint"], f"{where}: fingerprint"),
        requirements=requirements,
        components=tuple(_component(t, f"{where}: component[{n}]") for n, t in enumerate(tables)),
    )
    _require_whole(lock, where)
    return lock


def read_lock(path: Path) -> Lock | None:
    """The lock at ``path``, None when there is none."""
    try:
        return parse_lock(path.read_bytes(), str(path))
    except FileNotFoundError:
        return None


def write_lock(path: Path, lock: Lock) -> bool:
    """Write the lock in one step; False when the file said so already."""
    data = dump_lock(lock)
    try:
        if path.read_bytes() == data:
            return False
    except FileNotFoundError:
        pass
    write_private(path, data, mode=0o644)
    return True


def _component(table: Any, where: str) -> LockedComponent:
    if not isinstance(table, dict):
        raise MalformedError(where, "a table", table)
    _only(table, {"name", "version", "kind", "manifest_sha256", "requires"}, where, {"overrides"})
    requires = table["requires"]
    if not isinstance(requires, dict):
        raise MalformedError(f"{where}.requires", "a table", requires)
    for name, specifier in requires.items():
        _text(specifier, f"{where}.requires.{name}")
    requirements_of(requires, f"{where}.requires")
    return LockedComponent(
        component=ComponentName.parse(_text(table["name"], f"{where}.name"), f"{where}.name"),
        version=parse_version(_text(table["version"], f"{where}.version"), f"{where}.version"),
        kind=_text(table["kind"], f"{where}.kind"),
        manifest_sha256=parse_digest(table["manifest_sha256"], f"{where}.manifest_sha256"),
        requires=requires,
        overrides=_overrides(table.get("overrides", []), f"{where}.overrides"),
    )


def _overrides(value: Any, where: str) -> tuple[Override, ...]:
    found = []
    for number, item in enumerate(_list(value, where)):
        place = f"{where}[{number}]"
        if not isinstance(item, dict):
            raise MalformedError(place, "a table", item)
        _only(item, {"rule", "reason", "at"}, place)
        texts = {name: _text(item[name], f"{place}.{name}") for name in item}
        if not texts["reason"].strip():
            raise MalformedError(f"{place}.reason", "a reason", "none")
        found.append(Override(**texts))
    if any(one.rule >= other.rule for one, other in pairwise(found)):
        raise MalformedError(where, "each rule once, in order", "others")
    return tuple(found)


def _require_whole(lock: Lock, where: str) -> None:
    names = [locked.component for locked in lock.components]
    for name in names:
        if names.count(name) > 1:
            raise MalformedError(f"{where}: component", "each component once", str(name))
    if not lock.satisfies(lock.requirements):
        raise MalformedError(
            where,
            "components that satisfy every requirement in it",
            "others",
            "run `forge lock` to write it anew",
        )


def _only(
    table: Mapping[str, Any], keys: set[str], where: str, optional: Set[str] = frozenset()
) -> None:
    if unknown := sorted(set(table) - keys - optional):
        known = ", ".join(sorted(keys | optional))
        raise MalformedError(f"{where}: {unknown[0]}", f"one of {known}", "this")
    if missing := sorted(keys - set(table)):
        raise MalformedError(f"{where}: {missing[0]}", "a value", "nothing")


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise MalformedError(where, "a list", value)
    return value


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise MalformedError(where, "text", value)
    return value


def _fingerprint(value: Any, where: str) -> str:
    text = _text(value, where)
    if not text.startswith("sha256:"):
        raise MalformedError(where, "sha256: and 64 hexadecimal digits", text)
    parse_digest(text.removeprefix("sha256:"), where)
    return text
