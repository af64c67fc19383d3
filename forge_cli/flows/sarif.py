"""An audit as SARIF 2.1.0 (OASIS), for programs that collect what checkers find. Pure.

Each code of an audit is a rule (§3.49) and each issue a result (§3.27), placed on the line of
forge.lock that names the release. An issue keeps its fingerprint (§3.27.17) while the release and
the reason stay the same, so that collectors can tell new ones from old.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from .audit import CODES, Audit, AuditedRelease, Issue

SCHEMA: Final = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
_FINGERPRINT: Final = "forgeIssue/v1"


def sarif_of(audits: Iterable[Audit], version: str) -> dict[str, Any]:
    """The log (§3.13) with one run (§3.14)."""
    results = [_result(audit, about, issue) for audit in audits for about, issue in _issues(audit)]
    driver = {
        "name": "forge",
        "version": version,
        "rules": [
            {
                "id": code,
                "name": "".join(part.title() for part in code.split("-")),
                "shortDescription": {"text": text},
            }
            for code, text in CODES.items()
        ],
    }
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
        ],
    }


def _issues(audit: Audit) -> Iterable[tuple[AuditedRelease | None, Issue]]:
    yield from ((None, issue) for issue in audit.issues)
    yield from ((each, issue) for each in audit.releases for issue in each.issues)


def _result(audit: Audit, about: AuditedRelease | None, issue: Issue) -> dict[str, Any]:
    name = None if about is None else str(about.release)
    message = issue.text if name is None else f"{name}: {issue.text}"
    if issue.unsigned:
        message += " (the registry's word, unsigned)"
    if issue.hint:
        message += f"\n{issue.hint}"
    properties: dict[str, Any] = {"unsigned": issue.unsigned}
    if about is not None:
        properties["manifest_sha256"] = about.release.manifest_sha256
    if issue.rule is not None:
        properties["rule"] = issue.rule
    return {
        "ruleId": issue.code,
        "ruleIndex": list(CODES).index(issue.code),
        "level": issue.level,  # §3.27.10: error, warning and note are its words too
        "message": {"text": message},
        "locations": [{"physicalLocation": _place(audit, about)}],
        "partialFingerprints": {_FINGERPRINT: _fingerprint(about, issue)},
        "properties": properties,
    }


def _place(audit: Audit, about: AuditedRelease | None) -> Mapping[str, Any]:
    place: dict[str, Any] = {"artifactLocation": {"uri": _uri(audit.path)}}
    if about is not None and about.line is not None:
        place["region"] = {"startLine": about.line}
    return place


def _uri(path: Path) -> str:
    """A relative reference (§3.10.2) where the lock lies below the folder we are in."""
    absolute = path.absolute()
    here = Path.cwd()
    if absolute.is_relative_to(here):
        return quote(absolute.relative_to(here).as_posix()) or "."
    return absolute.as_uri()


def _fingerprint(about: AuditedRelease | None, issue: Issue) -> str:
    identity = "" if about is None else about.release.manifest_sha256
    reason = issue.rule or (issue.text if issue.code == "vulnerable" else "")
    return sha256(f"{identity}\n{issue.code}\n{reason}".encode()).hexdigest()
