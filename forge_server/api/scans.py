"""``/components/<org>/<name>/<version>/scans``: what scanners said of a release."""

from __future__ import annotations

from flask import Blueprint, Response

from signing.names import ComponentName

from .rendering import instant, optional_instant
from .requests import answer, audited, registry


def add_routes(api: Blueprint) -> None:
    api.get("/components/<organisation>/<name>/<version>/scans")(show_scans)


@audited("scan.show")
def show_scans(organisation: str, name: str, version: str) -> Response:
    component = ComponentName.parse(f"{organisation}/{name}", "address")
    digest, states, findings = registry().scans.states(component, version)
    return answer(
        {
            "component": str(component),
            "version": version,
            "manifest_sha256": digest,
            "scans": [
                {
                    "scanner": each.scanner,
                    "scanner_version": each.scanner_version,
                    "data_date": None if each.data_date is None else each.data_date.isoformat(),
                    "state": each.state,
                    "detail": each.detail,
                    "report_sha256": each.report_sha256,
                    "started_at": optional_instant(each.started_at),
                    "finished_at": optional_instant(each.finished_at),
                }
                for each in states
            ],
            "findings": [
                {
                    "id": each.id,
                    "scanner": each.scanner,
                    "severity": each.severity,
                    "path": each.path,
                    "location": each.location,
                    "title": each.title,
                    "first_seen_at": instant(each.first_seen_at),
                    "last_seen_at": instant(each.last_seen_at),
                }
                for each in findings
            ],
        }
    )
