"""``/reviews`` and the reviews of a release: what reviewers decided, and what waits for them."""

from __future__ import annotations

from typing import Any, Final

from flask import Blueprint, Response

from signing.assessment import LEVELS, Assessment
from signing.names import ComponentName

from ..errors import RegistryError
from ..services.components import find_release
from ..services.review_endings import ROLE_DAYS, SOON_DAYS, endings
from .described import TOKEN, Parameter, asked, described, request_body
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
    TEXT,
    TEXTS,
    VERSION,
    Integer,
    ListOf,
    Nullable,
    Record,
    Text,
)

_LEVEL: Final = Text(choices=LEVELS)
_DECISION: Final = Record(
    "Decision",
    {
        "body": TEXT,
        "passed": BOOLEAN,
        "level": Nullable(Integer(low=2, high=3)),
        "at": INSTANT,
        "expires": INSTANT,
        "keyid": TEXT,
        "sha256": DIGEST,
        "conditions": OPTIONAL_TEXT,
        "scope": OPTIONAL_TEXT,
        "reason": OPTIONAL_TEXT,
    },
    says="What one reviewer decided; level is what a passing decision gives at most.",
)
_LAPSE: Final = Record("Lapse", {"body": TEXT, "code": TEXT, "why": TEXT})
_ADVISORY: Final = Record(
    "ReviewAdvisory",
    {
        "id": TEXT,
        "body": TEXT,
        "severity": SEVERITY,
        "title": TEXT,
        "text": TEXT,
        "at": INSTANT,
        "versions": TEXTS,
    },
)
_REVIEWS: Final = Record(
    "Reviews",
    {
        "level": _LEVEL,
        "until": OPTIONAL_INSTANT,
        "rejected_by": TEXTS,
        "decisions": ListOf(_DECISION),
        "lapsed": ListOf(_LAPSE),
        "advisories": ListOf(_ADVISORY),
        "waivers": ListOf(WAIVER),
    },
)
_WAITING: Final = Record(
    "Waiting",
    {
        "component": COMPONENT,
        "version": VERSION,
        "since": INSTANT,
        "why": TEXT,
        "level": _LEVEL,
        "claimed_by": OPTIONAL_TEXT,
        "claimed_until": OPTIONAL_INSTANT,
    },
)
_ENDING: Final = Record(
    "Ending", {"component": COMPONENT, "version": VERSION, "body": TEXT, "expires": INSTANT}
)
_ENDING_WAIVER: Final = Record(
    "EndingWaiver", {"component": COMPONENT, "id": TEXT, "body": TEXT, "expires": INSTANT}
)
_ENDING_ROLE: Final = Record("EndingRole", {"body": TEXT, "expires": INSTANT})
_BODY: Final = Record(
    "ReviewerBody",
    {
        "body": TEXT,
        "display_name": TEXT,
        "organisations": TEXTS,
        "keys": COUNT,
        "threshold": COUNT,
        "has_signed": BOOLEAN,
    },
)


def add_routes(api: Blueprint) -> None:
    api.get("/components/<organisation>/<name>/<version>/reviews")(of_release)
    api.get("/reviews/queue")(queue)
    api.get("/reviews/expiring")(expiring)
    api.get("/reviews/bodies")(bodies)
    api.post("/reviews/claims")(claim)


@described(
    "review.show", "What reviewers decided about a release, and what of it counts.",
    more="What the registry makes of the signed roles; what counts is what a client finds.",
    answers={200: _REVIEWS}, refusals=("component-not-found",),
)  # fmt: skip
def of_release(organisation: str, name: str, version: str) -> Response:
    component = ComponentName.parse(f"{organisation}/{name}", "address")
    with registry().database.read() as session:
        release = find_release(session, component, version)
        if release is None:
            raise RegistryError("component-not-found", f"{component} has no version {version}")
        assessment, said = registry().review_desk.assessment(session, component, release)
    return answer(
        {
            **assessment_json(assessment),
            "advisories": [
                _ADVISORY.of(one, versions=sorted(one.releases)) for one in said.advisories
            ],
            "waivers": [WAIVER.of(one) for one in said.waivers],
        }
    )


def assessment_json(assessment: Assessment) -> dict[str, Any]:
    """As programs read it. What counts is the signed role; this is the registry's view of it."""
    return {
        "level": assessment.level,
        "until": OPTIONAL_INSTANT.render(assessment.until),
        "rejected_by": list(assessment.rejected_by),
        "decisions": [
            _DECISION.of(one, level=one.number if one.passed else None)
            for one in assessment.standing
        ],
        "lapsed": [_LAPSE.of(one) for one in assessment.lapsed],
    }


@described(
    "review.queue", "Newest versions that no body decided about, and who looks at them.",
    answers={200: Record("ReviewQueue", {"queue": ListOf(_WAITING)})},
)  # fmt: skip
def queue() -> Response:
    with registry().database.read() as session:
        waiting = registry().review_desk.queue(session)
    return answer({"queue": [_WAITING.of(one, level="community") for one in waiting]})


@described(
    "review.expiring", "Decisions, waivers and bodies' roles that end soon.",
    more=f"`expiring` are decisions. A role is listed in its last {ROLE_DAYS} days: when it ends, "
    "nothing that its body signed counts.",
    query={
        "days": Parameter(
            shape=Integer(low=1, high=366), says="within so many days", default=SOON_DAYS
        ),
    },
    answers={
        200: Record(
            "EndingReviews",
            {
                "expiring": ListOf(_ENDING),
                "waivers": ListOf(_ENDING_WAIVER),
                "roles": ListOf(_ENDING_ROLE),
            },
        )
    },
)  # fmt: skip
def expiring() -> Response:
    days = asked("days")
    with registry().database.read() as session:
        ending = endings(session, registry().clock(), days)
    return answer(
        {
            "expiring": [_ENDING.of(one) for one in ending.expiring],
            "waivers": [_ENDING_WAIVER.of(one) for one in ending.waivers],
            "roles": [_ENDING_ROLE.of(one) for one in ending.roles],
        }
    )


@described(
    "review.bodies", "The reviewer bodies that the authority names.",
    answers={200: Record("ReviewerBodies", {"bodies": ListOf(_BODY)})},
)  # fmt: skip
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


@described(
    "review.claim", "Says that a body looks at a release, so that no other begins with it.",
    more="By a member of one of the body's organisations; 0 hours give it up.",
    caller=TOKEN, limit=10_000,
    body=Record(
        "NewClaim",
        {
            "component": COMPONENT,
            "version": VERSION,
            "body": Text(says="a reviewer body"),
            "hours": Integer(low=0, high=168),
        },
    ),
    answers={200: Record("Claim", {"claimed_until": OPTIONAL_INSTANT})},
    refusals=(
        "component-not-found", "body-not-found", "claimed", "own-release", "not-a-member",
        "not-a-reviewer", "role-too-low", "scope-missing",
    ),
)  # fmt: skip
def claim() -> Response:
    body = request_body()
    until = registry().review_desk.claim(
        authenticated(), body["component"], body["version"], body["body"], body["hours"]
    )
    return answer({"claimed_until": OPTIONAL_INSTANT.render(until)})
