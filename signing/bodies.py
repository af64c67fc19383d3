"""Reviewer bodies: institutes, security offices, laboratories whose word on a release counts.

The authority's targets role delegates ``reviews-<body>`` to the keys of the body's reviewers, and
says with it which organisations the body belongs to::

    "forge": {"display_name": "…", "organisations": ["org", …]}

The role's targets are small signed statements, each under the body's own paths::

    reviews/<body>/<org>/<name>/<version>.vsa.json        a decision (`signing.review`)
    reviews/<body>/<org>/<name>/<ID>.advisory.json        a finding against published releases
    reviews/<body>/<org>/<name>/<ID>.waiver.json          leave to use what would be refused

What is no longer listed is withdrawn. A reviewer whose key is no longer delegated has no say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tuf.api.metadata import TargetFile, Targets

from .digests import parse_digest
from .encoding import Fields, is_plain
from .errors import MalformedError, VerificationError
from .names import ComponentName, parse_org_name, parse_version

PREFIX: Final = "reviews-"
DECISION: Final = "vsa"
ADVISORY: Final = "advisory"
WAIVER: Final = "waiver"
KINDS: Final = (DECISION, ADVISORY, WAIVER)
MAX_ENVELOPE_BYTES: Final = 256 * 1024
MAX_TARGETS: Final = 10_000  # about 3 MB of a role of which clients read 5 MB at most
_FILE = re.compile(r"(.{1,100})\.(vsa|advisory|waiver)\.json")
_ID = re.compile(r"[A-Z0-9]+(-[A-Z0-9]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What the authority says of a body. It reviews no release of its ``organisations``, nor of
    one that has its own name."""

    display_name: str
    organisations: frozenset[str] = frozenset()

    def to_json(self) -> dict[str, Any]:
        return {"display_name": self.display_name, "organisations": sorted(self.organisations)}

    @classmethod
    def read(cls, fields: Fields) -> Body:
        """Reads what `to_json` wrote.

        Raises:
            MalformedError: another form.
        """
        fields.only(["display_name"], optional=["organisations"])
        title = fields.text("display_name", max_chars=120)
        if not title.strip() or not is_plain(title):
            raise MalformedError(fields.path("display_name"), "one line of text", repr(title))
        names = fields.texts("organisations") if "organisations" in fields.value else ()
        where = fields.path("organisations")
        return cls(
            display_name=title,
            organisations=frozenset(parse_org_name(name, where) for name in names),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewTarget:
    """One statement that a role lists. ``name`` is a version for a decision, else an id."""

    path: str
    body: str
    component: ComponentName
    kind: str
    name: str
    sha256: str
    size: int


def is_reviews(role: object) -> bool:
    """Whether ``role`` is that of a body; metadata may hold anything for a name."""
    return isinstance(role, str) and role.startswith(PREFIX)


def role_of(body: str) -> str:
    """The name of a body's role."""
    return PREFIX + parse_org_name(body, "body")


def body_of(role: str, where: str = "role") -> str:
    """The body whose role it is.

    Raises:
        MalformedError: no such role could be.
    """
    if not is_reviews(role):
        raise MalformedError(where, f"{PREFIX}BODY", role)
    return parse_org_name(role.removeprefix(PREFIX), where)


def target_path(body: str, component: ComponentName, name: str, kind: str) -> str:
    """Where a body's statement about a component stands."""
    return f"reviews/{body}/{component.org}/{component.name}/{name}.{kind}.json"


def parse_target_path(path: str, body: str) -> tuple[ComponentName, str, str]:
    """(component, version or id, kind of statement).

    Raises:
        VerificationError: not under the body's own paths (``path-not-delegated``).
        MalformedError: a name that nothing here could have written.
    """
    role = role_of(body)
    parts = path.split("/")
    if len(parts) != 5 or parts[:2] != ["reviews", body]:
        raise VerificationError(
            "path-not-delegated", f"role {role}", f"targets under reviews/{body}/", path
        )
    component = ComponentName.parse("/".join(parts[2:4]), f"role {role}: {path}")
    found = _FILE.fullmatch(parts[4])
    if found is None:
        raise MalformedError(f"role {role}", f"a name ending in .{'|.'.join(KINDS)}.json", path)
    name, kind = found.groups()
    if kind == DECISION:
        name = str(parse_version(name, f"role {role}: {path}"))
    else:
        parse_id(name, f"role {role}: {path}")
    if target_path(body, component, name, kind) != path:
        raise MalformedError(f"role {role}", "canonical names", path)
    return component, name, kind


def parse_id(text: str, where: str = "id") -> str:
    """``text`` as the id of an advisory or a waiver, like ``LAB-2026-0001``."""
    if len(text) > 40 or not _ID.fullmatch(text):
        raise MalformedError(where, "an id like LAB-2026-0001, at most 40 characters", repr(text))
    return text


def statements_in(signed: Targets, body: str) -> dict[str, ReviewTarget]:
    """``{path: ReviewTarget}`` of everything that a body's role lists.

    Raises:
        VerificationError, MalformedError: something that no body may list.
    """
    if len(signed.targets) > MAX_TARGETS:
        raise MalformedError(
            role_of(body), f"at most {MAX_TARGETS} statements", len(signed.targets)
        )
    return {path: _target(path, file, body) for path, file in _items(signed.targets)}


def _items(targets: Mapping[str, TargetFile]) -> list[tuple[str, TargetFile]]:
    return sorted(targets.items())


def _target(path: str, file: TargetFile, body: str) -> ReviewTarget:
    component, name, kind = parse_target_path(path, body)
    where = f"role {role_of(body)}: {path}"
    if set(file.hashes) != {"sha256"} or file.unrecognized_fields:
        raise MalformedError(where, "a length and a sha256 alone", ", ".join(file.hashes))
    if isinstance(file.length, bool) or not 0 < file.length <= MAX_ENVELOPE_BYTES:
        raise MalformedError(f"{where}: length", f"1 to {MAX_ENVELOPE_BYTES}", file.length)
    return ReviewTarget(
        path=path,
        body=body,
        component=component,
        kind=kind,
        name=name,
        sha256=parse_digest(file.hashes["sha256"], where),
        size=file.length,
    )
