"""``/healthz``, ``/readyz`` and ``/metrics``."""

from __future__ import annotations

from flask import Blueprint, Response, current_app, request

from ..api.requests import answer, registry
from ..errors import RegistryError
from .metrics import CONTENT_TYPE, Metrics
from .probes import readiness


def blueprint() -> Blueprint:
    """A fresh blueprint with the operators' routes."""
    watch = Blueprint("watch", __name__)
    watch.get("/healthz")(alive)
    watch.get("/readyz")(ready)
    watch.get("/metrics")(metrics)
    return watch


def counts() -> Metrics:
    found = current_app.extensions["forge-metrics"]
    assert isinstance(found, Metrics)
    return found


def alive() -> Response:
    """The process answers."""
    response = Response("ok\n", content_type="text/plain; charset=utf-8")
    response.headers["Cache-Control"] = "no-store"
    return response


def ready() -> Response:
    """200 where every part that requests need answers, else 503 with the part's name and why."""
    parts = readiness(registry())
    why = {name: reason for name, reason in parts.items() if reason is not None}
    state = {"ready": not why, "parts": {name: name not in why for name in parts}}
    response = answer({**state, "why": why} if why else state, 503 if why else 200)
    response.headers["Cache-Control"] = "no-store"
    return response


def metrics() -> Response:
    """Counts for Prometheus, for the addresses of ``metrics_allow`` alone.

    Raises:
        RegistryError: somebody else asks (``not-found``: there is nothing here for them).
    """
    # Through a proxy that nobody told us of, every stranger seems to come from this machine.
    through_unknown_proxy = (
        "X-Forwarded-For" in request.headers and not registry().settings.trusted_proxies
    )
    if through_unknown_proxy or request.remote_addr not in registry().settings.metrics_allow:
        raise RegistryError("not-found", "nothing has this address")
    response = Response(counts().render(registry()), content_type=CONTENT_TYPE)
    response.headers["Cache-Control"] = "no-store"
    return response
