"""``/components/<org>/<name>/<version>/scans``: what scanners said of a release."""

from __future__ import annotations

from typing import Final

from flask import Blueprint, Response

from signing.names import ComponentName

from ..scans.base import STATES
from .described import described
from .rendering import SEVERITY
from .requests import answer, registry
from .shapes import (
    COMPONENT,
    DIGEST,
    INSTANT,
    OPTIONAL_DIGEST,
    OPTIONAL_INSTANT,
    TEXT,
    VERSION,
    Day,
    ListOf,
    Nullable,
    Record,
    Text,
)

_SCAN: Final = Record(
    "Scan",
    {
        "scanner": TEXT,
        "scanner_version": TEXT,
        "data_date": Nullable(Day()),
        "state": Text(choices=STATES),
        "detail": TEXT,
        "report_sha256": OPTIONAL_DIGEST,
        "started_at": OPTIONAL_INSTANT,
        "finished_at": OPTIONAL_INSTANT,
    },
    says="What one scanner said; state is stale where that is too old to be relied on.",
)
_FINDING: Final = Record(
    "ScanFinding",
    {
        "id": TEXT,
        "scanner": TEXT,
        "severity": SEVERITY,
        "path": TEXT,
        "location": TEXT,
        "title": TEXT,
        "first_seen_at": INSTANT,
        "last_seen_at": INSTANT,
    },
)
_SCANS: Final = Record(
    "Scans",
    {
        "component": COMPONENT,
        "version": VERSION,
        "manifest_sha256": DIGEST,
        "scans": ListOf(_SCAN),
        "findings": ListOf(_FINDING),
    },
)


def add_routes(api: Blueprint) -> None:
    api.get("/components/<organisation>/<name>/<version>/scans")(show_scans)


@described(
    "scan.show", "What scanners said of a release, and their findings that are not gone.",
    more="[What the states mean](scanners.md).",
    answers={200: _SCANS}, refusals=("component-not-found",),
)  # fmt: skip
def show_scans(organisation: str, name: str, version: str) -> Response:
    component = ComponentName.parse(f"{organisation}/{name}", "address")
    digest, states, findings = registry().scans.states(component, version)
    return answer(
        {
            "component": str(component),
            "version": version,
            "manifest_sha256": digest,
            "scans": [_SCAN.of(each) for each in states],
            "findings": [_FINDING.of(each) for each in findings],
        }
    )
