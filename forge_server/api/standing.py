"""``/withheld`` and ``/reports``: what is not handed out, and what anybody has to say about it."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Final

from flask import Blueprint, Response, request

from ..services.reports import KINDS, MAX_TEXT
from ..services.withheld import withheld_blobs
from .described import JSON, OPTIONAL, PLAIN, Parameter, asked, described, request_body
from .requests import answer, known, registry
from .shapes import (
    BOOLEAN,
    COMPONENT,
    COUNT,
    DIGEST,
    INSTANT,
    OPTIONAL_TEXT,
    TEXT,
    VERSION,
    ListOf,
    Record,
    Text,
)

_WITHHELD: Final = Record(
    "WithheldRelease",
    {
        "component": COMPONENT,
        "version": VERSION,
        "manifest_sha256": DIGEST,
        "source": Text(choices=("status", "registry", "takedown")),
        "state": TEXT,
        "reason": TEXT,
        "reference": OPTIONAL_TEXT,
        "since": INSTANT,
    },
)

_REPORT: Final = Record(
    "Report", {"number": COUNT, "created": BOOLEAN, "closed": BOOLEAN, "held": BOOLEAN}
)


def add_routes(api: Blueprint) -> None:
    api.get("/withheld")(list_withheld)
    api.post("/reports")(make_report)


@described(
    "withheld.list", "What is not handed out. `blobs` are the digests that no mirror may serve.",
    query={
        "as": Parameter(
            shape=Text(choices=("json", "nginx")), default="json",
            says="nginx: the digests alone, as the content of a map for nginx",
        ),
    },
    answers={
        200: {
            JSON: Record(
                "WithheldReleases", {"withheld": ListOf(_WITHHELD), "blobs": ListOf(DIGEST)}
            ),
            PLAIN: TEXT,
        },
    },
    etag=True,
)  # fmt: skip
def list_withheld() -> Response:
    form = asked("as")
    with registry().database.read() as session:
        rows, blobs = withheld_blobs(session)
        releases = [_WITHHELD.of(row) for row in rows]
    if form == "nginx":
        data, kind = "".join(f"{digest} 1;\n" for digest in blobs).encode(), PLAIN
    else:
        data = json.dumps({"withheld": releases, "blobs": blobs}).encode() + b"\n"
        kind = JSON
    response = Response(data, content_type=kind)
    response.headers["Cache-Control"] = "no-cache"
    response.set_etag(sha256(data).hexdigest())
    response.make_conditional(request)
    return response


@described(
    "report.make", "Reports a release to the registry's operator. Nobody needs a token for it.",
    more="The same again is 200; `closed` says that it was looked into, `held` that the release is "
    "held back.",
    caller=OPTIONAL,
    body=Record(
        "NewReport",
        {
            "component": COMPONENT,
            "version": VERSION,
            "kind": Text(choices=KINDS),
            "text": Text(max_chars=MAX_TEXT, min_chars=1, says="plain text"),
        },
    ),
    answers={200: _REPORT, 201: _REPORT},
    refusals=("component-not-found", "scope-missing", "too-many-failures"),
)  # fmt: skip
def make_report() -> Response:
    who = known()
    body = request_body()
    made = registry().reports.make(
        who, body["component"], body["version"], body["kind"], body["text"]
    )
    return answer(_REPORT.of(made), 201 if made.created else 200)
