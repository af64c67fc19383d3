"""``/organisations/…/webhooks``: addresses that are told what happens."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from ..services.webhooks import DeliveryRow, HookRow
from .bodies import read_json
from .rendering import instant, optional_instant
from .requests import answer, audited, authenticated, query_integer, registry

_HOOKS = "/organisations/<organisation>/webhooks"


def add_routes(api: Blueprint) -> None:
    api.post(_HOOKS)(add_webhook)
    api.get(_HOOKS)(list_webhooks)
    api.delete(f"{_HOOKS}/<hook>")(remove_webhook)
    api.post(f"{_HOOKS}/<hook>/test")(test_webhook)
    api.post(f"{_HOOKS}/<hook>/secret")(rotate_secret)
    api.post(f"{_HOOKS}/<hook>/enable")(enable_webhook)
    api.get(f"{_HOOKS}/<hook>/deliveries")(list_deliveries)


@audited("webhook.add")
def add_webhook(organisation: str) -> Response:
    caller = authenticated()
    body = read_json(registry().settings.max_json_bytes).only(["url"], optional=("events", "about"))
    row, secret = registry().webhooks.add(
        caller,
        organisation,
        body.text("url"),
        body.texts("events", max_items=50),
        body.optional_text("about", max_chars=81),
    )
    return answer({**_hook(row), "secret": secret}, 201)


@audited("webhook.list")
def list_webhooks(organisation: str) -> Response:
    found = registry().webhooks.of(authenticated(), organisation)
    return answer({"organisation": organisation, "webhooks": [_hook(each) for each in found]})


@audited("webhook.remove")
def remove_webhook(organisation: str, hook: str) -> Response:
    registry().webhooks.remove(authenticated(), organisation, hook)
    return answer({"organisation": organisation, "id": hook, "removed": True})


@audited("webhook.test")
def test_webhook(organisation: str, hook: str) -> Response:
    message = registry().webhooks.test(authenticated(), organisation, hook)
    return answer({"organisation": organisation, "id": hook, "delivery": message}, 202)


@audited("webhook.rotate")
def rotate_secret(organisation: str, hook: str) -> Response:
    secret, until = registry().webhooks.rotate(authenticated(), organisation, hook)
    return answer({"id": hook, "secret": secret, "old_secret_until": instant(until)})


@audited("webhook.enable")
def enable_webhook(organisation: str, hook: str) -> Response:
    registry().webhooks.enable(authenticated(), organisation, hook)
    return answer({"organisation": organisation, "id": hook, "state": "active"})


@audited("webhook.deliveries")
def list_deliveries(organisation: str, hook: str) -> Response:
    limit = query_integer("limit", 20, low=1, high=200)
    found = registry().webhooks.deliveries(authenticated(), organisation, hook, limit)
    return answer({"id": hook, "deliveries": [_delivery(each) for each in found]})


def _hook(row: HookRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "organisation": row.organisation,
        "url": row.url,
        "about": row.about,
        "events": list(row.events),
        "state": row.state,
        "created_at": instant(row.created_at),
        "failing_since": optional_instant(row.failing_since),
        "ended_at": optional_instant(row.ended_at),
        "ended_why": row.ended_why,
        "waiting": row.waiting,
    }


def _delivery(row: DeliveryRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "event": row.event,
        "subject": row.subject,
        "created_at": instant(row.created_at),
        "state": row.state,
        "tries": row.tries,
        "next_at": optional_instant(row.next_at),
        "tried_at": optional_instant(row.tried_at),
        "status": row.status,
        "milliseconds": row.milliseconds,
        "answer": row.answer,
        "problem": row.problem,
    }
