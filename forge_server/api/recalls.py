"""``/inventory`` and ``/recalls``: what hosts have, for agencies that asked for it, and recalls."""

from __future__ import annotations

from typing import Any, Final

from flask import Blueprint, Response

from signing.names import ComponentName, parse_org_name

from ..services.recalls import MAX_INSTALLED, Installed, RecallRow
from .described import PATH, TOKEN, described, request_body
from .requests import answer, authenticated, registry
from .shapes import (
    BOOLEAN,
    COMPONENT,
    COUNT,
    DIGEST,
    INSTANT,
    OPTIONAL_INSTANT,
    OPTIONAL_TEXT,
    ORGANISATION,
    TEXT,
    VERSION,
    ListOf,
    Record,
    Text,
)

_INSTALLED: Final = Record(
    "Installed", {"component": COMPONENT, "version": VERSION, "manifest_sha256": DIGEST}
)
_HOST: Final = Record(
    "Host", {"host": TEXT, "reported_at": INSTANT, "installed": ListOf(_INSTALLED)}
)
_RECALL: Final = Record(
    "Recall",
    {
        "number": COUNT,
        "release": TEXT,
        "manifest_sha256": DIGEST,
        "reason": TEXT,
        "by": OPTIONAL_TEXT,
        "started_at": INSTANT,
        "hosts": COUNT,
        "agencies": COUNT,
        "notified": COUNT,
        "acknowledged": COUNT,
        "remedied": COUNT,
    },
    says="A recall, with how many hosts it reached and how far they came.",
)
_NOTICE: Final = Record(
    "Notice",
    {
        "recall": COUNT,
        "release": TEXT,
        "reason": TEXT,
        "host": TEXT,
        "notified_at": OPTIONAL_INSTANT,
        "acknowledged_at": OPTIONAL_INSTANT,
        "remedied_at": OPTIONAL_INSTANT,
    },
    says="A host that a recall reached, and how far it came.",
)
_STATE: Final = Text(choices=("acknowledged", "remedied"))
_OF_MEMBERS: Final = (
    "not-a-member", "role-too-low", "organisation-not-found", "organisation-pending",
    "organisation-refused", "scope-missing",
)  # fmt: skip


def add_routes(api: Blueprint) -> None:
    api.put("/inventory/<organisation>/<host>")(report_host)
    api.delete("/inventory/<organisation>/<host>")(forget_host)
    api.get("/inventory/<organisation>")(list_hosts)
    api.get("/inventory/<organisation>/recalls")(list_notices)
    api.get("/recalls")(list_recalls)
    api.post("/recalls")(start_recall)
    api.get("/recalls/<organisation>/<name>/<version>")(show_recall)
    api.post("/recalls/<organisation>/<name>/<version>/answers")(settle_recall)


@described(
    "inventory.report", "Puts what a host has in the place of what it said before.",
    more="`recalled` says how many of these releases are recalled.",
    caller=TOKEN, scopes=("inventory",),
    body=Record("Inventory", {"installed": ListOf(_INSTALLED, most=MAX_INSTALLED)}),
    answers={
        200: Record("Reported", {"host": TEXT, "installed": COUNT, "recalled": COUNT})
    },
    refusals=("quota-exceeded", *_OF_MEMBERS),
)  # fmt: skip
def report_host(organisation: str, host: str) -> Response:
    installed = [
        Installed(**{name: str(value) for name, value in item.items()})
        for item in request_body()["installed"]
    ]
    recalled = registry().recalls.report(authenticated(), _org(organisation), host, installed)
    return answer({"host": host, "installed": len(installed), "recalled": recalled})


@described(
    "inventory.forget", "Takes a host off the list.", caller=TOKEN, scopes=("inventory",),
    answers={200: Record("Forgotten", {"host": TEXT, "known": BOOLEAN})}, refusals=_OF_MEMBERS,
)  # fmt: skip
def forget_host(organisation: str, host: str) -> Response:
    gone = registry().recalls.forget(authenticated(), _org(organisation), host)
    return answer({"host": host, "known": gone})


@described(
    "inventory.list", "The hosts of an agency with what they have, for its members.",
    caller=TOKEN, scopes=("read",),
    answers={200: Record("Hosts", {"hosts": ListOf(_HOST)})}, refusals=_OF_MEMBERS,
)  # fmt: skip
def list_hosts(organisation: str) -> Response:
    rows = registry().recalls.hosts(authenticated(), _org(organisation))
    return answer({"hosts": [_HOST.of(row) for row in rows]})


@described(
    "recall.notices", "What recalls reached, host by host, for members.",
    more="Whoever asks is notified by the answer.",
    caller=TOKEN, scopes=("read",),
    answers={200: Record("Notices", {"notices": ListOf(_NOTICE)})}, refusals=_OF_MEMBERS,
)  # fmt: skip
def list_notices(organisation: str) -> Response:
    rows = registry().recalls.notices(authenticated(), _org(organisation))
    return answer({"notices": [_NOTICE.of(row) for row in rows]})


@described(
    "recall.list", "All recalls.", answers={200: Record("Recalls", {"recalls": ListOf(_RECALL)})}
)
def list_recalls() -> Response:
    return answer({"recalls": [_recall(row) for row in registry().recalls.all()]})


@described(
    "recall.start", "Recalls a release, by a publisher of its organisation or the CERT.",
    caller=TOKEN, scopes=("publish",),
    body=Record(
        "NewRecall",
        {
            "component": COMPONENT,
            "version": VERSION,
            "reason": Text(max_chars=1000, min_chars=1, says="one line of plain text"),
        },
    ),
    answers={201: _RECALL}, refusals=("component-not-found", *_OF_MEMBERS),
)  # fmt: skip
def start_recall() -> Response:
    body = request_body()
    row = registry().recalls.start(
        authenticated(), body["component"], body["version"], body["reason"]
    )
    registry().index.follow()
    return answer(_recall(row), 201)


@described(
    "recall.show", "The recall of a release.", answers={200: _RECALL},
    refusals=("component-not-found",),
)  # fmt: skip
def show_recall(organisation: str, name: str, version: str) -> Response:
    component = ComponentName.parse(f"{organisation}/{name}", "address")
    return answer(_recall(registry().recalls.show(component, version)))


@described(
    "recall.settle", "Says that a recall was acknowledged or remedied, on one host or on all.",
    more="For publishers and owners of the agency. `hosts` says for how many that is new.",
    caller=TOKEN, scopes=("manage",),
    body=Record(
        "NewRecallAnswer",
        {"organisation": ORGANISATION, "state": _STATE, "host": PATH["host"]},
        optional=frozenset({"host"}),
    ),
    answers={200: Record("RecallAnswer", {"state": _STATE, "hosts": COUNT})},
    refusals=("component-not-found", *_OF_MEMBERS),
)  # fmt: skip
def settle_recall(organisation: str, name: str, version: str) -> Response:
    body = request_body()
    count = registry().recalls.settle(
        authenticated(),
        ComponentName.parse(f"{organisation}/{name}", "address"),
        version,
        body["organisation"],
        body.get("host"),
        remedied=body["state"] == "remedied",
    )
    return answer({"state": body["state"], "hosts": count})


def _org(text: str) -> str:
    return parse_org_name(text, "request: organisation")


def _recall(row: RecallRow) -> dict[str, Any]:
    counts = row.counts
    return _RECALL.of(
        row,
        hosts=counts.hosts,
        agencies=counts.agencies,
        notified=counts.notified,
        acknowledged=counts.acknowledged,
        remedied=counts.remedied,
    )
