"""``/withheld`` and ``/reports``: what is not handed out, and what anybody has to say about it."""

from __future__ import annotations

import json
from hashlib import sha256

from flask import Blueprint, Response, request

from signing.names import ComponentName

from ..db.recall_models import Withholding
from ..errors import RegistryError
from ..services.reports import MAX_TEXT
from ..services.withheld import withheld_blobs
from .bodies import read_json
from .rendering import instant
from .requests import answer, audited, known, registry


def add_routes(api: Blueprint) -> None:
    api.get("/withheld")(list_withheld)
    api.post("/reports")(make_report)


@audited("withheld.list")
def list_withheld() -> Response:
    """For mirrors: ``blobs`` must not be served. ``?as=nginx`` is a map's content for nginx."""
    form = request.args.get("as", "json")
    if form not in ("json", "nginx"):
        raise RegistryError("malformed", f"request: as: expected json or nginx, found {form!r:.40}")
    with registry().database.read() as session:
        rows, blobs = withheld_blobs(session)
        releases = [_row_json(row) for row in rows]
    if form == "nginx":
        data, kind = "".join(f"{digest} 1;\n" for digest in blobs).encode(), "text/plain"
    else:
        data = json.dumps({"withheld": releases, "blobs": blobs}).encode() + b"\n"
        kind = "application/json"
    response = Response(data, content_type=kind)
    response.headers["Cache-Control"] = "no-cache"
    response.set_etag(sha256(data).hexdigest())
    response.make_conditional(request)
    return response


def _row_json(row: Withholding) -> dict[str, str | None]:
    return {
        "component": row.component,
        "version": row.version,
        "manifest_sha256": row.manifest_sha256,
        "source": row.source,
        "state": row.state,
        "reason": row.reason,
        "reference": row.reference,
        "since": instant(row.since),
    }


@audited("report.make")
def make_report() -> Response:
    who = known()
    body = read_json(registry().settings.max_json_bytes)
    body.only(("component", "version", "kind", "text"))
    name = ComponentName.parse(body.text("component"), "request: component")
    made = registry().reports.make(
        who,
        name,
        body.text("version", max_chars=60),
        body.text("kind", max_chars=20),
        body.text("text", max_chars=MAX_TEXT),
    )
    return answer(
        {
            "number": made.number,
            "created": made.created,
            "closed": made.closed,
            "held": made.held,
        },
        201 if made.created else 200,
    )
