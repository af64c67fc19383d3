"""``/applications``, ``/organisations`` and their members."""

from __future__ import annotations

from typing import Any, Final

from flask import Blueprint, Response, request

from ..domain.members import ROLES
from ..services.organisations import OrganisationRow
from .described import OF_MEMBERS, OPTIONAL, TOKEN, Parameter, asked, described, request_body
from .rendering import EXPIRING
from .requests import answer, authenticated, caller, known, registry
from .shapes import (
    INSTANT,
    OPTIONAL_TEXT,
    ORGANISATION,
    TEXT,
    TEXTS,
    ListOf,
    Nullable,
    Record,
    Text,
)

_SIGNED: Final = Text(max_chars=5_000_000, says="signed text, as it is")
_STATE: Final = Text(choices=("pending", "approved", "refused"))
_ROLE: Final = Text(choices=ROLES)
_APPLICATION: Final = Record(
    "Application",
    {
        "organisation": ORGANISATION,
        "state": _STATE,
        "kind": TEXT,
        "display_name": TEXT,
        "applicant": OPTIONAL_TEXT,
        "created_at": INSTANT,
        "similar": TEXTS,
        "reason": OPTIONAL_TEXT,
    },
    says="similar are existing names that a reader might take this one for.",
)
_WITH_TEXTS: Final = _APPLICATION.with_(
    "ApplicationWithTexts", application=OPTIONAL_TEXT, role=OPTIONAL_TEXT, refusal=OPTIONAL_TEXT
)
_ORGANISATION: Final = Record(
    "Organisation",
    {
        "name": ORGANISATION,
        "kind": TEXT,
        "display_name": TEXT,
        "state": _STATE,
        "components": TEXTS,
        "expiring": ListOf(EXPIRING),
        "members": ListOf(Record("Member", {"user": TEXT, "role": _ROLE}), says="for members"),
    },
    optional=frozenset({"members"}),
)
_MEMBER: Final = Record(
    "MemberOf", {"organisation": ORGANISATION, "user": TEXT, "role": Nullable(_ROLE)}
)


def add_routes(api: Blueprint) -> None:
    api.post("/applications")(apply)
    api.get("/applications")(list_applications)
    api.get("/applications/<organisation>")(show_application)
    api.post("/applications/<organisation>/refusal")(refuse)
    api.get("/organisations")(list_organisations)
    api.get("/organisations/<organisation>")(show_organisation)
    api.put("/organisations/<organisation>/members/<user>")(set_member)
    api.delete("/organisations/<organisation>/members/<user>")(remove_member)


@described(
    "organisation.apply", "Applies for an organisation.",
    more="`application` is a DSSE envelope, `role` the organisation's first role.",
    caller=TOKEN, scopes=("manage",), limit="max_roles_bytes",
    body=Record("NewApplication", {"application": _SIGNED, "role": _SIGNED}),
    answers={201: Record("Applied", {"organisation": ORGANISATION, "state": _STATE})},
    refusals=(
        "name-taken", "name-look-alike", "too-many-applications", "verification-failed",
        "role-missing", "role-version",
    ),
)  # fmt: skip
def apply() -> Response:
    body = request_body()
    name = registry().organisations.apply(
        authenticated(), body["application"].encode(), body["role"].encode()
    )
    return answer({"organisation": name, "state": "pending"}, 201)


@described(
    "organisation.applications", "Applications, without their signed texts.",
    query={"state": Parameter(shape=_STATE, says="those in this state alone")},
    answers={200: Record("Applications", {"applications": ListOf(_APPLICATION)})},
)  # fmt: skip
def list_applications() -> Response:
    rows = registry().organisations.applications(asked("state"))
    # The signed texts are large; they come with the single application.
    return answer({"applications": [_APPLICATION.of(row) for row in rows]})


@described(
    "organisation.application", "An application as signed, and its refusal.",
    answers={200: _WITH_TEXTS}, refusals=("application-not-found",),
)  # fmt: skip
def show_application(organisation: str) -> Response:
    return answer(_WITH_TEXTS.of(registry().organisations.application(organisation)))


@described(
    "organisation.refuse", "Refuses an application.",
    more="`refusal` is a DSSE envelope by the registrar, who needs no token.",
    body=Record("NewRefusal", {"refusal": _SIGNED}),
    answers={
        200: Record("Refused", {"organisation": ORGANISATION, "state": _STATE, "reason": TEXT})
    },
    refusals=(
        "application-not-found", "verification-failed", "name-taken", "too-many-failures",
    ),
)  # fmt: skip
def refuse(organisation: str) -> Response:
    registry().throttle.check(request.remote_addr, registry().clock())
    text = request_body()["refusal"]
    reason = registry().organisations.refuse(caller(), organisation, text.encode())
    return answer({"organisation": organisation, "state": "refused", "reason": reason})


@described(
    "organisation.list", "The organisations, without their members.",
    answers={200: Record("Organisations", {"organisations": ListOf(_ORGANISATION)})},
)  # fmt: skip
def list_organisations() -> Response:
    rows = registry().organisations.organisations()
    return answer({"organisations": [_organisation(row) for row in rows]})


@described(
    "organisation.show", "An organisation, its components and roles that expire soon.",
    more="Its members are shown to members only.", caller=OPTIONAL,
    answers={200: _ORGANISATION},
    refusals=("organisation-not-found", "organisation-pending", "organisation-refused"),
)  # fmt: skip
def show_organisation(organisation: str) -> Response:
    identity = known().identity
    return answer(_organisation(registry().organisations.organisation(organisation, identity)))


@described(
    "member.set", "Makes a user a member, or gives a member another role.",
    caller=TOKEN, scopes=("manage",), body=Record("NewMember", {"role": _ROLE}),
    answers={200: _MEMBER}, refusals=("user-not-found", "last-owner", *OF_MEMBERS),
)  # fmt: skip
def set_member(organisation: str, user: str) -> Response:
    role = request_body()["role"]
    registry().organisations.set_member(authenticated(), organisation, user, role)
    return answer({"organisation": organisation, "user": user, "role": role})


@described(
    "member.remove", "Removes a member.", caller=TOKEN, scopes=("manage",),
    answers={200: _MEMBER},
    refusals=("user-not-found", "member-not-found", "last-owner", *OF_MEMBERS),
)  # fmt: skip
def remove_member(organisation: str, user: str) -> Response:
    registry().organisations.remove_member(authenticated(), organisation, user)
    return answer({"organisation": organisation, "user": user, "role": None})


def _organisation(row: OrganisationRow) -> dict[str, Any]:
    if row.members is None:
        return _ORGANISATION.of(row)
    return _ORGANISATION.of(
        row, members=[{"user": user, "role": role} for user, role in row.members]
    )
