"""``/reviews`` and the reviews of a release: what reviewers decided, and what waits for them."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from signing.assessment import Assessment
from signing.names import ComponentName, parse_version

from ..errors import RegistryError
from ..services.components import find_release
from .bodies import read_json
from .rendering import instant, waiver_json
from .requests import answer, audited, authenticated, query_integer, registry


def add_routes(api: Blueprint) -> None:
    api.get("/components/<organisation>/<name>/<version>/reviews")(of_release)
    api.get("/reviews/queue")(queue)
    api.get("/reviews/expiring")(expiring)
    api.get("/reviews/bodies")(bodies)
    api.post("/reviews/claims")(claim)


@audited("review.show")
def of_release(organisation: str, name: str, version: str) -> Response:
    component = ComponentName.parse(f"{organisation}/{name}", "address")
    with registry().database.read() as session:
        release = find_release(session, component, str(parse_version(version, "address")))
        if release is None:
            raise RegistryError("component-not-found", f"{component} has no version {version}")
        assessment, said = registry().review_desk.assessment(session, component, release)
    return answer(
        {
            **assessment_json(assessment),
            "advisories": [
                {
                    "id": one.id,
                    "body": one.body,
                    "severity": one.severity,
                    "title": one.title,
                    "text": one.text,
                    "at": instant(one.at),
                    "versions": sorted(one.releases),
                }
                for one in said.advisories
            ],
            "waivers": [waiver_json(one) for one in said.waivers],
        }
    )


def assessment_json(assessment: Assessment) -> dict[str, Any]:
    """As programs read it. What counts is the signed role; this is the registry's view of it."""
    return {
        "level": assessment.level,
        "until": None if assessment.until is None else instant(assessment.until),
        "rejected_by": list(assessment.rejected_by),
        "decisions": [
            {
                "body": one.body,
                "passed": one.passed,
                "level": one.number if one.passed else None,
                "at": instant(one.at),
                "expires": instant(one.expires),
                "keyid": one.keyid,
                "sha256": one.sha256,
                "conditions": one.conditions,
                "scope": one.scope,
                "reason": one.reason,
            }
            for one in assessment.standing
        ],
        "lapsed": [
            {"body": one.body, "code": one.code, "why": one.why} for one in assessment.lapsed
        ],
    }


@audited("review.queue")
def queue() -> Response:
    with registry().database.read() as session:
        waiting = registry().review_desk.queue(session)
    return answer(
        {
            "queue": [
                {
                    "component": one.component,
                    "version": one.version,
                    "since": instant(one.since),
                    "why": one.why,
                    "level": "community",
                    "claimed_by": one.claimed_by,
                    "claimed_until": None
                    if one.claimed_until is None
                    else instant(one.claimed_until),
                }
                for one in waiting
            ]
        }
    )


@audited("review.expiring")
def expiring() -> Response:
    days = query_integer("days", 30, low=1, high=366)
    with registry().database.read() as session:
        ending = registry().review_desk.expiring(session, days)
    return answer(
        {
            "expiring": [
                {
                    "component": one.component,
                    "version": one.version,
                    "body": one.body,
                    "expires": instant(one.expires),
                }
                for one in ending
            ]
        }
    )


@audited("review.bodies")
def bodies() -> Response:
    with registry().database.read() as session:
        named = registry().review_desk.bodies(session)
        silent = registry().review_desk.silent(session)
    return answer(
        {
            "bodies": [
                {
                    "body": body,
                    "display_name": each.body.display_name if each.body else body,
                    "organisations": sorted(each.body.organisations) if each.body else [],
                    "keys": len(each.keys),
                    "threshold": each.threshold,
                    "has_signed": body not in silent,
                }
                for body, each in named.items()
            ]
        }
    )


@audited("review.claim")
def claim() -> Response:
    who = authenticated()
    body = read_json(10_000).only(("component", "version", "body", "hours"))
    component = ComponentName.parse(body.text("component"), "request: component")
    version = str(parse_version(body.text("version"), "request: version"))
    hours = body.integer("hours")
    if hours > 168:
        raise RegistryError("malformed", f"request: hours: expected at most 168, found {hours}")
    until = registry().review_desk.claim(who, component, version, body.text("body"), hours)
    return answer({"claimed_until": None if until is None else instant(until)})
