"""What a decision rests on: scans as the registry shows them, the words of other bodies, a diff.

The registry's answers are its own word and read leniently; what is signed are their digests, so
that it can be told later which report a reviewer had before them.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from packaging.version import Version

from signing.digests import parse_digest, sha256_hex
from signing.names import ComponentName
from signing.review import MAX_INPUTS
from signing.statement import Resource

from ..context import Context
from ..errors import ForgeError, NetworkError, RemoteError
from . import reviewing


def ask(context: Context, name: ComponentName, version: Version, what: str) -> Any:
    """The registry's answer about a release; None where it has none."""
    try:
        return context.api().get("components", name.org, name.name, str(version), what)
    except NetworkError:
        raise
    except RemoteError as error:
        if error.status >= 500:
            raise
        return None
    except ForgeError:
        return None


def rows(answer: Any, member: str) -> list[dict[str, Any]]:
    """The objects in a list of an answer, whatever else is in it."""
    found = answer.get(member) if isinstance(answer, dict) else None
    return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []


def inputs(context: Context, name: ComponentName, version: Version) -> tuple[Resource, ...]:
    """Scan reports and the decisions of bodies that count now."""
    found = []
    for scan in rows(ask(context, name, version, "scans"), "scans"):
        digest, scanner = scan.get("report_sha256"), scan.get("scanner")
        if _is_digest(digest) and isinstance(scanner, str) and scanner.isascii():
            found.append(Resource(f"forge:scans/{scanner[:60].replace(' ', '-')}", str(digest)))
    for decision in reviewing.assessment(context.view, name, version).standing:
        found.append(Resource(f"forge:reviews/{decision.body}", decision.sha256))
    return tuple(found[:MAX_INPUTS])


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")


def diff_input(text: str) -> Resource:
    """The document that `forge review diff` printed the digest of."""
    return Resource("forge:diff/1", parse_digest(text.removeprefix("sha256:"), "--diff"))


def policy_input(path: Path) -> Resource:
    """A policy file that the release was held against."""
    return Resource(f"forge:policy/{path.name.replace(' ', '-')}", sha256_hex(path.read_bytes()))


def new_findings(
    context: Context, name: ComponentName, version: Version, since: datetime
) -> list[str]:
    """Open findings that became known, or as grave as they are, after ``since``, a line each."""
    lines = []
    for row in rows(ask(context, name, version, "findings"), "findings"):
        seen = max(str(row.get(key) or "") for key in ("first_seen_at", "severity_since"))
        if row.get("open", True) and seen > f"{since:%Y-%m-%dT%H:%M:%SZ}":
            lines.append(f"{row.get('severity', '?')}: {row.get('title', '?')} ({row.get('id')})")
    said = context.view.reviewers.said(name, str(version))
    for one in said.advisories:
        if one.at > since and str(version) in one.releases:
            lines.append(f"{one.severity}: {one.title} ({one.id}, by {one.body})")
    return lines
