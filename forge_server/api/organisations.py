"""``/applications``, ``/organisations`` and their members."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request

from ..errors import RegistryError
from ..services.organisations import ApplicationRow, OrganisationRow
from .bodies import read_json
from .rendering import expiring_json, instant
from .requests import answer, audited, authenticated, caller, known, registry

_STATES = ("pending", "approved", "refused")
_MAX_TEXT = 5_000_000


def add_routes(api: Blueprint) -> None:
    api.post("/applications")(apply)
    api.get("/applications")(list_applications)
    api.get("/applications/<organisation>")(show_application)
    api.post("/applications/<organisation>/refusal")(refuse)
    api.get("/organisations")(list_organisations)
    api.get("/organisations/<organisation>")(show_organisation)
    api.put("/organisations/<organisation>/members/<user>")(set_member)
    api.delete("/organisations/<organisation>/members/<user>")(remove_member)


@audited("organisation.apply")
def apply() -> Response:
    caller = authenticated()
    body = read_json(registry().settings.max_roles_bytes).only(("application", "role"))
    name = registry().organisations.apply(
        caller,
        body.text("application", max_chars=_MAX_TEXT).encode(),
        body.text("role", max_chars=_MAX_TEXT).encode(),
    )
    return answer({"organisation": name, "state": "pending"}, 201)


@audited("organisation.applications")
def list_applications() -> Response:
    state = request.args.get("state")
    if state is not None and state not in _STATES:
        raise RegistryError(
            "malformed", f"request: state: expected {' or '.join(_STATES)}, found {state!r:.40}"
        )
    rows = registry().organisations.applications(state)
    # The signed texts are large; they come with the single application.
    return answer({"applications": [_application(row, texts=False) for row in rows]})


@audited("organisation.application")
def show_application(organisation: str) -> Response:
    return answer(_application(registry().organisations.application(organisation), texts=True))


@audited("organisation.refuse")
def refuse(organisation: str) -> Response:
    registry().throttle.check(request.remote_addr, registry().clock())
    body = read_json(registry().settings.max_json_bytes).only(["refusal"])
    text = body.text("refusal", max_chars=_MAX_TEXT)
    reason = registry().organisations.refuse(caller(), organisation, text.encode())
    return answer({"organisation": organisation, "state": "refused", "reason": reason})


@audited("organisation.list")
def list_organisations() -> Response:
    rows = registry().organisations.organisations()
    return answer({"organisations": [_organisation(row) for row in rows]})


@audited("organisation.show")
def show_organisation(organisation: str) -> Response:
    identity = known().identity
    return answer(_organisation(registry().organisations.organisation(organisation, identity)))


@audited("member.set")
def set_member(organisation: str, user: str) -> Response:
    caller = authenticated()
    body = read_json(registry().settings.max_json_bytes).only(["role"])
    role = body.text("role", max_chars=20)
    registry().organisations.set_member(caller, organisation, user, role)
    return answer({"organisation": organisation, "user": user, "role": role})


@audited("member.remove")
def remove_member(organisation: str, user: str) -> Response:
    registry().organisations.remove_member(authenticated(), organisation, user)
    return answer({"organisation": organisation, "user": user, "role": None})


def _application(row: ApplicationRow, *, texts: bool) -> dict[str, Any]:
    value: dict[str, Any] = {
        "organisation": row.organisation,
        "state": row.state,
        "kind": row.kind,
        "display_name": row.display_name,
        "applicant": row.applicant,
        "created_at": instant(row.created_at),
        "similar": list(row.similar),
        "reason": row.reason,
    }
    if texts:
        value |= {"application": row.application, "role": row.role, "refusal": row.refusal}
    return value


def _organisation(row: OrganisationRow) -> dict[str, Any]:
    value: dict[str, Any] = {
        "name": row.name,
        "kind": row.kind,
        "display_name": row.display_name,
        "state": row.state,
        "components": list(row.components),
        "expiring": [expiring_json(item) for item in row.expiring],
    }
    if row.members is not None:
        value["members"] = [{"user": user, "role": role} for user, role in row.members]
    return value
