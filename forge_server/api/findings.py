"""``/components/<org>/<name>/<version>/findings``: what was found, answered and judged."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from signing.names import ComponentName

from ..domain.answers import MAX_LINKS, MAX_TEXT
from ..services.findings import AnswerRow, FindingRow
from .bodies import read_json
from .rendering import instant, optional_instant, waiver_json
from .requests import answer, audited, authenticated, registry

_ONE = "/components/<organisation>/<name>/<version>/findings"


def add_routes(api: Blueprint) -> None:
    api.get(_ONE)(list_findings)
    api.post(f"{_ONE}/<finding>/answers")(answer_finding)
    api.post(f"{_ONE}/<finding>/verdicts")(judge_answer)


@audited("finding.list")
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


@audited("finding.answer")
def answer_finding(organisation: str, name: str, version: str, finding: str) -> Response:
    who = authenticated()
    body = read_json(registry().settings.max_json_bytes)
    body.only(("type", "text"), optional=["links"])
    number = registry().findings.answer(
        who,
        ComponentName.parse(f"{organisation}/{name}", "address"),
        version,
        finding,
        body.text("type", max_chars=20),
        body.text("text", max_chars=MAX_TEXT),
        body.texts("links", max_items=MAX_LINKS),
    )
    return answer({"number": number}, 201)


@audited("finding.judge")
def judge_answer(organisation: str, name: str, version: str, finding: str) -> Response:
    who = authenticated()
    body = read_json(registry().settings.max_json_bytes)
    body.only(("number", "body", "verdict", "reason"))
    registry().findings.judge(
        who,
        ComponentName.parse(f"{organisation}/{name}", "address"),
        version,
        finding,
        body.integer("number", low=1),
        body.text("body", max_chars=40),
        body.text("verdict", max_chars=20),
        body.text("reason", max_chars=MAX_TEXT),
    )
    return answer({"number": body.integer("number"), "verdict": body.text("verdict")})


def _finding(row: FindingRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "scanner": row.scanner,
        "severity": row.severity,
        "path": row.path,
        "location": row.location,
        "title": row.title,
        "first_seen_at": instant(row.first_seen_at),
        "last_seen_at": instant(row.last_seen_at),
        "gone_at": optional_instant(row.gone_at),
        "open": row.is_open,
        "waived": row.waiver is not None,
        "waiver": None if row.waiver is None else waiver_json(row.waiver),
        "answer": None if row.answer is None else _answer(row.answer),
    }


def _answer(row: AnswerRow) -> dict[str, Any]:
    return {
        "number": row.number,
        "type": row.type,
        "text": row.text,
        "links": list(row.links),
        "by": row.by,
        "at": instant(row.at),
        "verdict": row.verdict,
        "verdict_reason": row.verdict_reason,
        "verdict_body": row.verdict_body,
        "verdict_by": row.verdict_by,
        "verdict_at": optional_instant(row.verdict_at),
    }
