"""``/organisations/…/policies`` and ``/components/…/policy``: an organisation's own view."""

from __future__ import annotations

from typing import Any, Final

from flask import Blueprint, Response

from signing.names import ComponentName
from signing.policy import rule_texts

from ..services.policies import Opinion, PinnedPolicy
from .described import OF_MEMBERS, TOKEN, Parameter, asked, described, request_body
from .requests import answer, authenticated, registry
from .shapes import (
    BOOLEAN,
    COMPONENT,
    DIGEST,
    INSTANT,
    OPTIONAL_TEXT,
    ORGANISATION,
    TEXT,
    VERSION,
    ListOf,
    MapOf,
    Nullable,
    Record,
)

_PINNED: Final = Record(
    "PinnedPolicy",
    {
        "policy": COMPONENT,
        "version": VERSION,
        "manifest_sha256": DIGEST,
        "pinned_at": INSTANT,
        "title": OPTIONAL_TEXT,
        "rules": Nullable(MapOf(TEXT)),
        "unusable": OPTIONAL_TEXT,
    },
    says="A policy that an organisation holds to; unusable says why nobody can, or is null.",
)
_RULE: Final = Record(
    "RuleVerdict",
    {
        "rule": TEXT,
        "holds": BOOLEAN,
        "wanted": TEXT,
        "found": TEXT,
        "satisfy": OPTIONAL_TEXT,
        "unsigned": BOOLEAN,
        "overridden": OPTIONAL_TEXT,
    },
)
_OPINION: Final = Record(
    "Opinion",
    {
        "policy": COMPONENT,
        "version": VERSION,
        "manifest_sha256": DIGEST,
        "unusable": OPTIONAL_TEXT,
        "permits": BOOLEAN,
        "rules": ListOf(_RULE),
    },
    says="What one policy says of a release, rule by rule.",
)
_VIEW: Final = Record(
    "PolicyView",
    {
        "organisation": ORGANISATION,
        "component": COMPONENT,
        "version": VERSION,
        "manifest_sha256": DIGEST,
        "evaluated_at": INSTANT,
        "permits": Nullable(BOOLEAN),
        "policies": ListOf(_OPINION),
    },
)


def add_routes(api: Blueprint) -> None:
    api.get("/organisations/<organisation>/policies")(list_policies)
    api.put("/organisations/<organisation>/policies")(use_policy)
    api.delete("/organisations/<organisation>/policies/<publisher>/<name>")(drop_policy)
    api.get("/components/<organisation>/<name>/<version>/policy")(show_view)


@described(
    "policy.list", "The policies that an organisation pinned.",
    answers={
        200: Record("Policies", {"organisation": ORGANISATION, "policies": ListOf(_PINNED)})
    },
    refusals=("organisation-not-found", "organisation-pending", "organisation-refused"),
)  # fmt: skip
def list_policies(organisation: str) -> Response:
    found = registry().policies.of(organisation)
    return answer({"organisation": organisation, "policies": [_pinned(each) for each in found]})


@described(
    "policy.use", "Pins a policy, or another version of it, for owners.",
    caller=TOKEN, scopes=("manage",),
    body=Record("NewPin", {"policy": COMPONENT, "version": VERSION}),
    answers={200: _PINNED},
    refusals=("component-not-found", "policy-unusable", *OF_MEMBERS),
)  # fmt: skip
def use_policy(organisation: str) -> Response:
    body = request_body()
    pinned = registry().policies.use(authenticated(), organisation, body["policy"], body["version"])
    return answer(_pinned(pinned))


@described(
    "policy.drop", "Pins a policy no longer.", caller=TOKEN, scopes=("manage",),
    answers={
        200: Record(
            "DroppedPolicy",
            {"organisation": ORGANISATION, "policy": COMPONENT, "version": Nullable(VERSION)},
        )
    },
    refusals=("policy-not-pinned", *OF_MEMBERS),
)  # fmt: skip
def drop_policy(organisation: str, publisher: str, name: str) -> Response:
    component = ComponentName.parse(f"{publisher}/{name}", "address")
    registry().policies.drop(authenticated(), organisation, component)
    return answer({"organisation": organisation, "policy": str(component), "version": None})


@described(
    "policy.view", "Whether an organisation's policies permit a release, and what each rule found.",
    more="`permits` is null where that organisation pinned no policy. The server's own reckoning: "
    "what counts is what a client finds.",
    query={
        "organisation": Parameter(shape=ORGANISATION, says="whose policies", required=True),
    },
    answers={200: _VIEW},
    refusals=(
        "component-not-found", "organisation-not-found", "organisation-pending",
        "organisation-refused",
    ),
)  # fmt: skip
def show_view(organisation: str, name: str, version: str) -> Response:
    component = ComponentName.parse(f"{organisation}/{name}", "address")
    view = registry().policies.view(asked("organisation"), component, version)
    return answer(
        _VIEW.of(
            view,
            evaluated_at=INSTANT.render(view.at),
            policies=[_opinion(each) for each in view.opinions],
        )
    )


def _pinned(one: PinnedPolicy) -> dict[str, Any]:
    return _PINNED.of(
        one,
        policy=one.component,
        title=None if one.policy is None else one.policy.title,
        rules=None if one.policy is None else dict(rule_texts(one.policy)),
    )


def _opinion(one: Opinion) -> dict[str, Any]:
    return _OPINION.of(
        one.pinned,
        policy=one.pinned.component,
        permits=one.permits,
        rules=[] if one.verdict is None else [rule.to_json() for rule in one.verdict.rules],
    )
