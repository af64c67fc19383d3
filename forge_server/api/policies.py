"""``/organisations/…/policies`` and ``/components/…/policy``: an organisation's own view."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request

from signing.names import ComponentName, parse_org_name, parse_version
from signing.policy import rule_texts

from ..services.policies import Opinion, PinnedPolicy
from .bodies import read_json
from .rendering import instant
from .requests import answer, audited, authenticated, registry


def add_routes(api: Blueprint) -> None:
    api.get("/organisations/<organisation>/policies")(list_policies)
    api.put("/organisations/<organisation>/policies")(use_policy)
    api.delete("/organisations/<organisation>/policies/<publisher>/<name>")(drop_policy)
    api.get("/components/<organisation>/<name>/<version>/policy")(show_view)


@audited("policy.list")
def list_policies(organisation: str) -> Response:
    found = registry().policies.of(organisation)
    return answer({"organisation": organisation, "policies": [_pinned(each) for each in found]})


@audited("policy.use")
def use_policy(organisation: str) -> Response:
    caller = authenticated()
    body = read_json(registry().settings.max_json_bytes).only(("policy", "version"))
    component = ComponentName.parse(body.text("policy"), "request: policy")
    version = str(parse_version(body.text("version"), "request: version"))
    return answer(_pinned(registry().policies.use(caller, organisation, component, version)))


@audited("policy.drop")
def drop_policy(organisation: str, publisher: str, name: str) -> Response:
    component = ComponentName.parse(f"{publisher}/{name}", "address")
    registry().policies.drop(authenticated(), organisation, component)
    return answer({"organisation": organisation, "policy": str(component), "version": None})


@audited("policy.view")
def show_view(organisation: str, name: str, version: str) -> Response:
    component = ComponentName.parse(f"{organisation}/{name}", "address")
    viewer = parse_org_name(request.args.get("organisation"), "request: organisation")
    view = registry().policies.view(viewer, component, version)
    return answer(
        {
            "organisation": view.organisation,
            "component": view.component,
            "version": view.version,
            "manifest_sha256": view.manifest_sha256,
            "evaluated_at": instant(view.at),
            "permits": view.permits,
            "policies": [_opinion(each) for each in view.opinions],
        }
    )


def _pinned(one: PinnedPolicy) -> dict[str, Any]:
    return {
        "policy": one.component,
        "version": one.version,
        "manifest_sha256": one.manifest_sha256,
        "pinned_at": instant(one.pinned_at),
        "title": None if one.policy is None else one.policy.title,
        "rules": None if one.policy is None else dict(rule_texts(one.policy)),
        "unusable": one.unusable,
    }


def _opinion(one: Opinion) -> dict[str, Any]:
    return {
        "policy": one.pinned.component,
        "version": one.pinned.version,
        "manifest_sha256": one.pinned.manifest_sha256,
        "unusable": one.pinned.unusable,
        "permits": one.permits,
        "rules": [] if one.verdict is None else [rule.to_json() for rule in one.verdict.rules],
    }
