"""``/components/<org>/<name>/<version>/findings``: what was found, answered and judged."""

from __future__ import annotations

from typing import Any, Final

from flask import Blueprint, Response

from signing.names import ComponentName

from ..domain.answers import MAX_LINKS, MAX_TEXT, TYPES, VERDICTS
from ..services.findings import FindingRow
from .described import TOKEN, described, request_body
from .rendering import SEVERITY, WAIVER
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
    TEXTS,
    VERSION,
    Integer,
    ListOf,
    Nullable,
    Record,
    Text,
)

_ONE = "/components/<organisation>/<name>/<version>/findings"
_PROSE: Final = Text(max_chars=MAX_TEXT, min_chars=1, says="plain text")
_TYPE: Final = Text(choices=TYPES)
_VERDICT: Final = Text(choices=VERDICTS)
_ANSWER: Final = Record(
    "FindingAnswer",
    {
        "number": COUNT,
        "type": _TYPE,
        "text": TEXT,
        "links": TEXTS,
        "by": TEXT,
        "at": INSTANT,
        "verdict": Nullable(_VERDICT),
        "verdict_severity": Nullable(SEVERITY),
        "verdict_reason": OPTIONAL_TEXT,
        "verdict_body": OPTIONAL_TEXT,
        "verdict_by": OPTIONAL_TEXT,
        "verdict_at": OPTIONAL_INSTANT,
    },
    says="What the publisher says of a finding; verdict is null until a reviewer has judged it. It "
    "settles a finding that is no graver than verdict_severity.",
)
_FINDING: Final = Record(
    "Finding",
    {
        "id": TEXT,
        "scanner": TEXT,
        "severity": SEVERITY,
        "severity_since": INSTANT,
        "path": TEXT,
        "location": TEXT,
        "title": TEXT,
        "first_seen_at": INSTANT,
        "last_seen_at": INSTANT,
        "gone_at": OPTIONAL_INSTANT,
        "open": BOOLEAN,
        "waived": BOOLEAN,
        "waiver": Nullable(WAIVER),
        "answer": Nullable(_ANSWER),
    },
    says="A finding with its newest answer, and the waiver in force that covers it.",
)
_FINDINGS: Final = Record(
    "Findings",
    {
        "component": COMPONENT,
        "version": VERSION,
        "manifest_sha256": DIGEST,
        "open": COUNT,
        "findings": ListOf(_FINDING),
    },
)


def add_routes(api: Blueprint) -> None:
    api.get(_ONE)(list_findings)
    api.post(f"{_ONE}/<finding>/answers")(answer_finding)
    api.post(f"{_ONE}/<finding>/verdicts")(judge_answer)


@described(
    "finding.list", "What was found in a release, what its publisher answered, and what holds.",
    more="`open` says how many are open.",
    answers={200: _FINDINGS}, refusals=("component-not-found",),
)  # fmt: skip
def list_findings(organisation: str, name: str, version: str) -> Response:
    component = ComponentName.parse(f"{organisation}/{name}", "address")
    digest, rows = registry().findings.all(component, version)
    return answer(
        {
            "component": str(component),
            "version": version,
            "manifest_sha256": digest,
            "open": sum(row.is_open for row in rows),
            "findings": [_finding(row) for row in rows],
        }
    )


@described(
    "finding.answer", "Answers a finding, by a publisher of the component.",
    caller=TOKEN, scopes=("publish",),
    body=Record(
        "NewAnswer",
        {
            "type": _TYPE,
            "text": _PROSE,
            "links": ListOf(Text(says="an https address"), most=MAX_LINKS),
        },
        optional=frozenset({"links"}),
    ),
    answers={201: Record("AnswerNumber", {"number": COUNT})},
    refusals=(
        "component-not-found", "not-a-member", "organisation-not-found", "organisation-pending",
        "organisation-refused", "quota-exceeded", "role-too-low",
    ),
)  # fmt: skip
def answer_finding(organisation: str, name: str, version: str, finding: str) -> Response:
    body = request_body()
    number = registry().findings.answer(
        authenticated(),
        ComponentName.parse(f"{organisation}/{name}", "address"),
        version,
        finding,
        body["type"],
        body["text"],
        tuple(body.get("links", ())),
    )
    return answer({"number": number}, 201)


@described(
    "finding.judge", "Judges the newest answer to a finding, by a member of a reviewer body.",
    more="`number` is that of the answer.",
    caller=TOKEN, scopes=("publish",),
    body=Record(
        "NewVerdict",
        {
            "number": Integer(low=1),
            "body": ORGANISATION.saying("a reviewer body"),
            "verdict": _VERDICT,
            "reason": _PROSE,
        },
    ),
    answers={200: Record("Verdict", {"number": COUNT, "verdict": _VERDICT})},
    refusals=(
        "answer-changed", "component-not-found", "not-a-member", "not-a-reviewer",
        "organisation-not-found", "role-too-low",
    ),
)  # fmt: skip
def judge_answer(organisation: str, name: str, version: str, finding: str) -> Response:
    body = request_body()
    registry().findings.judge(
        authenticated(),
        ComponentName.parse(f"{organisation}/{name}", "address"),
        version,
        finding,
        body["number"],
        body["body"],
        body["verdict"],
        body["reason"],
    )
    return answer({"number": body["number"], "verdict": body["verdict"]})


def _finding(row: FindingRow) -> dict[str, Any]:
    return _FINDING.of(row, open=row.is_open, waived=row.waiver is not None)
