"""``/organisations/…/webhooks``: addresses that are told what happens."""

from __future__ import annotations

from typing import Final

from flask import Blueprint, Response

from .described import OF_MEMBERS, TOKEN, Parameter, asked, described, request_body
from .requests import answer, authenticated, registry
from .shapes import (
    BOOLEAN,
    COUNT,
    INSTANT,
    OPTIONAL_INSTANT,
    OPTIONAL_TEXT,
    ORGANISATION,
    TEXT,
    TEXTS,
    Integer,
    ListOf,
    Nullable,
    Record,
    Text,
)

_HOOKS = "/organisations/<organisation>/webhooks"
_STATES: Final = ("active", "failing", "ended")
_HOOK: Final = Record(
    "Webhook",
    {
        "id": TEXT,
        "organisation": ORGANISATION,
        "url": TEXT,
        "about": TEXT,
        "events": TEXTS,
        "state": Text(choices=_STATES),
        "created_at": INSTANT,
        "failing_since": OPTIONAL_INSTANT,
        "ended_at": OPTIONAL_INSTANT,
        "ended_why": OPTIONAL_TEXT,
        "waiting": COUNT,
    },
    says="A webhook without its secret; events is empty where it hears of all.",
)
_DELIVERY: Final = Record(
    "Delivery",
    {
        "id": TEXT,
        "event": TEXT,
        "subject": OPTIONAL_TEXT,
        "created_at": INSTANT,
        "state": TEXT,
        "tries": COUNT,
        "next_at": OPTIONAL_INSTANT,
        "tried_at": OPTIONAL_INSTANT,
        "status": Nullable(COUNT),
        "milliseconds": Nullable(COUNT),
        "answer": OPTIONAL_TEXT,
        "problem": OPTIONAL_TEXT,
    },
    says="A message, and what the last try to deliver it came to.",
)
_NEW: Final = Record(
    "NewWebhook",
    {
        "url": Text(max_chars=2000, min_chars=1, says="where messages are sent"),
        "events": ListOf(Text(max_chars=60), most=50, says="all events unless given"),
        "about": Nullable(
            Text(max_chars=81, says="an organisation or component, or * for all; one's own if not")
        ),
    },
    optional=frozenset({"events", "about"}),
)
_ONE: Final = (*OF_MEMBERS, "webhook-not-found")


def add_routes(api: Blueprint) -> None:
    api.post(_HOOKS)(add_webhook)
    api.get(_HOOKS)(list_webhooks)
    api.delete(f"{_HOOKS}/<hook>")(remove_webhook)
    api.post(f"{_HOOKS}/<hook>/test")(test_webhook)
    api.post(f"{_HOOKS}/<hook>/secret")(rotate_secret)
    api.post(f"{_HOOKS}/<hook>/enable")(enable_webhook)
    api.get(f"{_HOOKS}/<hook>/deliveries")(list_deliveries)


@described(
    "webhook.add", "Adds a webhook, for owners.", more="Its secret is shown this once.",
    caller=TOKEN, scopes=("manage",), body=_NEW,
    answers={201: _HOOK.with_("WebhookWithSecret", secret=TEXT)},
    refusals=(*OF_MEMBERS, "webhook-refused"),
)  # fmt: skip
def add_webhook(organisation: str) -> Response:
    body = request_body()
    row, secret = registry().webhooks.add(
        authenticated(), organisation, body["url"], body.get("events", ()), body.get("about")
    )
    return answer({**_HOOK.of(row), "secret": secret}, 201)


@described(
    "webhook.list", "The webhooks of an organisation, for owners.",
    caller=TOKEN, scopes=("manage",),
    answers={200: Record("Webhooks", {"organisation": ORGANISATION, "webhooks": ListOf(_HOOK)})},
    refusals=OF_MEMBERS,
)  # fmt: skip
def list_webhooks(organisation: str) -> Response:
    found = registry().webhooks.of(authenticated(), organisation)
    return answer({"organisation": organisation, "webhooks": [_HOOK.of(each) for each in found]})


@described(
    "webhook.remove", "Removes a webhook, with all that it was told.",
    caller=TOKEN, scopes=("manage",),
    answers={
        200: Record(
            "WebhookRemoved", {"organisation": ORGANISATION, "id": TEXT, "removed": BOOLEAN}
        )
    },
    refusals=_ONE,
)  # fmt: skip
def remove_webhook(organisation: str, hook: str) -> Response:
    registry().webhooks.remove(authenticated(), organisation, hook)
    return answer({"organisation": organisation, "id": hook, "removed": True})


@described(
    "webhook.test", "Sends a message that says no more than that it is a test.",
    caller=TOKEN, scopes=("manage",),
    answers={
        202: Record("WebhookTest", {"organisation": ORGANISATION, "id": TEXT, "delivery": TEXT})
    },
    refusals=(*_ONE, "webhook-ended"),
)  # fmt: skip
def test_webhook(organisation: str, hook: str) -> Response:
    message = registry().webhooks.test(authenticated(), organisation, hook)
    return answer({"organisation": organisation, "id": hook, "delivery": message}, 202)


@described(
    "webhook.rotate", "Makes a new secret, which is shown this once.",
    more="The old one signs as well until `old_secret_until`.",
    caller=TOKEN, scopes=("manage",),
    answers={
        200: Record("NewSecret", {"id": TEXT, "secret": TEXT, "old_secret_until": INSTANT})
    },
    refusals=_ONE,
)  # fmt: skip
def rotate_secret(organisation: str, hook: str) -> Response:
    secret, until = registry().webhooks.rotate(authenticated(), organisation, hook)
    return answer({"id": hook, "secret": secret, "old_secret_until": INSTANT.render(until)})


@described(
    "webhook.enable", "Sends again to a webhook that had ended.",
    caller=TOKEN, scopes=("manage",),
    answers={
        200: Record(
            "WebhookEnabled",
            {"organisation": ORGANISATION, "id": TEXT, "state": Text(choices=_STATES)},
        )
    },
    refusals=_ONE,
)  # fmt: skip
def enable_webhook(organisation: str, hook: str) -> Response:
    registry().webhooks.enable(authenticated(), organisation, hook)
    return answer({"organisation": organisation, "id": hook, "state": "active"})


@described(
    "webhook.deliveries", "What a webhook was told lately, newest first.",
    caller=TOKEN, scopes=("manage",),
    query={
        "limit": Parameter(
            shape=Integer(low=1, high=200), says="how many, 20 unless given", default=20
        )
    },
    answers={200: Record("Deliveries", {"id": TEXT, "deliveries": ListOf(_DELIVERY)})},
    refusals=_ONE,
)  # fmt: skip
def list_deliveries(organisation: str, hook: str) -> Response:
    found = registry().webhooks.deliveries(authenticated(), organisation, hook, asked("limit"))
    return answer({"id": hook, "deliveries": [_DELIVERY.of(each) for each in found]})
