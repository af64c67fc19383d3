"""``/inventory`` and ``/recalls``: what hosts have, for agencies that asked for it, and recalls."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from signing.names import ComponentName, parse_org_name

from ..errors import RegistryError
from ..services.recalls import Installed, NoticeRow, RecallRow
from .bodies import read_json
from .rendering import instant, optional_instant
from .requests import answer, audited, authenticated, registry


def add_routes(api: Blueprint) -> None:
    api.put("/inventory/<organisation>/<host>")(report_host)
    api.delete("/inventory/<organisation>/<host>")(forget_host)
    api.get("/inventory/<organisation>")(list_hosts)
    api.get("/inventory/<organisation>/recalls")(list_notices)
    api.get("/recalls")(list_recalls)
    api.post("/recalls")(start_recall)
    api.get("/recalls/<organisation>/<name>/<version>")(show_recall)
    api.post("/recalls/<organisation>/<name>/<version>/answers")(settle_recall)


@audited("inventory.report")
def report_host(organisation: str, host: str) -> Response:
    who = authenticated()
    body = read_json(registry().settings.max_json_bytes).only(["installed"])
    installed = [Installed.read(item) for item in body.objects("installed")]
    recalled = registry().recalls.report(who, _org(organisation), host, installed)
    return answer({"host": host, "installed": len(installed), "recalled": recalled})


@audited("inventory.forget")
def forget_host(organisation: str, host: str) -> Response:
    gone = registry().recalls.forget(authenticated(), _org(organisation), host)
    return answer({"host": host, "known": gone})


@audited("inventory.list")
def list_hosts(organisation: str) -> Response:
    rows = registry().recalls.hosts(authenticated(), _org(organisation))
    return answer(
        {
            "hosts": [
                {
                    "host": row.host,
                    "reported_at": instant(row.reported_at),
                    "installed": [
                        {
                            "component": one.component,
                            "version": one.version,
                            "manifest_sha256": one.manifest_sha256,
                        }
                        for one in row.installed
                    ],
                }
                for row in rows
            ]
        }
    )


@audited("recall.notices")
def list_notices(organisation: str) -> Response:
    rows = registry().recalls.notices(authenticated(), _org(organisation))
    return answer({"notices": [_notice(row) for row in rows]})


@audited("recall.list")
def list_recalls() -> Response:
    return answer({"recalls": [_recall(row) for row in registry().recalls.all()]})


@audited("recall.start")
def start_recall() -> Response:
    who = authenticated()
    body = read_json(registry().settings.max_json_bytes).only(("component", "version", "reason"))
    row = registry().recalls.start(
        who,
        ComponentName.parse(body.text("component"), "request: component"),
        body.text("version", max_chars=60),
        body.text("reason", max_chars=1000),
    )
    registry().index.follow()
    return answer(_recall(row), 201)


@audited("recall.show")
def show_recall(organisation: str, name: str, version: str) -> Response:
    component = ComponentName.parse(f"{organisation}/{name}", "address")
    return answer(_recall(registry().recalls.show(component, version)))


@audited("recall.settle")
def settle_recall(organisation: str, name: str, version: str) -> Response:
    who = authenticated()
    body = read_json(registry().settings.max_json_bytes)
    body.only(("organisation", "state"), optional=["host"])
    state = body.text("state", max_chars=20)
    if state not in ("acknowledged", "remedied"):
        raise RegistryError(
            "malformed", f"request: state: expected acknowledged or remedied, found {state!r:.40}"
        )
    count = registry().recalls.settle(
        who,
        ComponentName.parse(f"{organisation}/{name}", "address"),
        version,
        _org(body.text("organisation")),
        body.optional_text("host", max_chars=60),
        remedied=state == "remedied",
    )
    return answer({"state": state, "hosts": count})


def _org(text: str) -> str:
    return parse_org_name(text, "request: organisation")


def _recall(row: RecallRow) -> dict[str, Any]:
    counts = row.counts
    return {
        "number": row.number,
        "release": row.release,
        "manifest_sha256": row.manifest_sha256,
        "reason": row.reason,
        "by": row.by,
        "started_at": instant(row.started_at),
        "hosts": counts.hosts,
        "agencies": counts.agencies,
        "notified": counts.notified,
        "acknowledged": counts.acknowledged,
        "remedied": counts.remedied,
    }


def _notice(row: NoticeRow) -> dict[str, Any]:
    return {
        "recall": row.recall,
        "release": row.release,
        "reason": row.reason,
        "host": row.host,
        "notified_at": optional_instant(row.notified_at),
        "acknowledged_at": optional_instant(row.acknowledged_at),
        "remedied_at": optional_instant(row.remedied_at),
    }
