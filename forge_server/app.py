"""The WSGI application: routes, request ids, refusals, headers. Made by `create_app`."""

from __future__ import annotations

import logging
import os
import re
from time import monotonic

from flask import Flask, Response, current_app, g, request
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.proxy_fix import ProxyFix

from signing.errors import SigningError
from storage.errors import StorageError

from .api import osv, v1
from .api.bodies import announce_end, end_upload
from .api.limits import spend_one
from .api.problems import problem
from .api.requests import begin, caller, registry
from .compat import huggingface, legacy, oauth, oci, pypi
from .compat.quick import Quick
from .compat.refusals import facade_refusal
from .errors import RegistryError, from_library, row_of
from .logs import LOGGER, facts
from .observe import routes as observed
from .observe import tracing
from .observe.metrics import Metrics
from .rules import LateRule
from .services.rates import Rates
from .services.transfers import Transfers
from .static_plane import routes as static_plane
from .static_plane.files import limit_idle_time
from .web import machine, pages
from .wiring import Registry

_CSP = (
    "default-src 'none'; style-src 'self'; img-src 'self'; font-src 'self'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": _CSP,
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_REQUEST_ID = re.compile(r"[0-9a-f]{16,40}")
_READING = ("GET", "HEAD", "OPTIONS")
_METHODS = (*_READING, "POST", "PUT", "DELETE", "PATCH")
# Pages that look for something instead of looking it up.
_COSTLY = frozenset(
    f"{part}.{view}"
    for part in ("pages", "machine")
    for view in ("search", "region", "verify", "statistics")
) | {
    "huggingface.listing", "huggingface.info", "huggingface.tree", "huggingface.paths_info",
    "oauth.device", "oauth.token", "oauth.hub_device", "oauth.hub_token",
    "pages.login", "pages.decide_login",
}  # fmt: skip
# Of what comes in floods, the events up to the limit are enough.
_FLOODS = (
    "too-many-failures", "too-many-requests", "too-many-transfers", "not-found",
    "method-not-allowed",
)  # fmt: skip
# What Flask itself refuses before a view is reached.
_HTTP_CODES = {
    404: "not-found",
    405: "method-not-allowed",
    411: "length-required",
    413: "too-large",
    415: "unsupported-media-type",
    416: "range-not-satisfiable",
}


def create_app(services: Registry, *, threads: int | None = None) -> Flask:
    """The application that serves ``services`` with so many threads (None: as the settings say)."""
    app = Flask(
        __name__, static_url_path="/static", static_folder="web/static",
        template_folder="web/templates",
    )  # fmt: skip
    app.extensions["forge"] = services.complete()
    app.extensions["forge-metrics"] = Metrics.make()
    app.extensions["forge-rates"] = Rates(services.settings.max_requests_per_minute)
    app.extensions["forge-transfers"] = Transfers(threads or services.settings.threads)
    app.url_rule_class = LateRule
    app.url_map.strict_slashes = True
    app.url_map.merge_slashes = False
    for part in (
        v1, static_plane, osv, pypi, legacy, oauth, huggingface, oci, machine, pages, observed,
    ):  # fmt: skip
        app.register_blueprint(part.blueprint())
    app.before_request(_begin)
    if services.settings.tracing:
        tracing.start(app)
    app.before_request(_limit)
    if not services.settings.tracing:  # where each request is to be seen, each goes all the way
        quick = Quick(
            app.wsgi_app, services.database, app.extensions["forge-metrics"],
            services.settings.idle_seconds,
        )  # fmt: skip
        app.wsgi_app = quick  # type: ignore[method-assign]
        app.after_request(quick.keep)  # before `_finish`: they run from the last to the first
    app.after_request(_finish)
    app.teardown_request(end_upload)
    app.register_error_handler(Exception, _refuse)
    if services.settings.trusted_proxies:
        hops = services.settings.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=0)  # type: ignore[method-assign]
    return app


def _begin() -> None:
    g.request_id = _request_id()
    g.started = monotonic()
    current_app.extensions["forge-metrics"].in_progress.inc()
    limit_idle_time(request.environ, registry().settings.idle_seconds)
    begin(g.request_id)


def _request_id() -> str:
    """The proxy's, where there is one of ours, so that both logs speak of one request."""
    given = request.headers.get("X-Request-Id", "")
    if registry().settings.trusted_proxies and _REQUEST_ID.fullmatch(given):
        return given
    return os.urandom(8).hex()


def _limit() -> None:
    """Refuses who asks too often of what costs something; says to everybody how much is left."""
    if not request.path.startswith(("/api/", "/osv/")) and request.endpoint not in _COSTLY:
        return
    spend_one()


def _finish(response: Response) -> Response:
    response.headers["X-Request-Id"] = g.request_id
    response.headers.update(g.get("rate_headers", {}))
    announce_end(response.status_code)
    _count(response)
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    if LOGGER.isEnabledFor(logging.INFO) and (
        request.method not in _READING or response.status_code >= 500
    ):
        LOGGER.info(
            "%s %s %s %s %.0f ms %s %s",
            request.remote_addr,
            request.method,
            request.path[:300],
            response.status_code,
            (monotonic() - g.started) * 1000,
            caller().actor or "-",
            g.request_id,
            extra=facts(
                request_id=g.request_id,
                method=request.method,
                path=request.path[:300],
                status=response.status_code,
                milliseconds=round((monotonic() - g.started) * 1000),
                address=request.remote_addr,
                actor=caller().actor,
            ),
        )
    return response


def _count(response: Response) -> None:
    counted = current_app.extensions["forge-metrics"]
    counted.in_progress.dec()
    method = request.method if request.method in _METHODS else "other"
    rule = request.url_rule.rule if request.url_rule is not None else "unknown"
    counted.answered(method, rule, response.status_code, monotonic() - g.started)


def _refuse(error: Exception) -> Response:
    """Turns whatever a view raised into an answer that says no more than it should."""
    refusal = _as_refusal(error)
    current_app.extensions["forge-metrics"].refusals.labels(refusal.code).inc()
    try:
        _record(refusal)
    except Exception as failure:  # what cannot be recorded must not happen unnoticed
        LOGGER.exception("refusal not recorded: %s", refusal.code)
        refusal = _as_refusal(failure)
    in_its_own_form = facade_refusal(refusal, request.path, g.request_id)
    if in_its_own_form is not None:
        return in_its_own_form
    if isinstance(error, HTTPException) and refusal.code == "method-not-allowed":
        response = problem(refusal, g.request_id)
        response.headers["Allow"] = ", ".join(sorted(getattr(error, "valid_methods", None) or ()))
        return response
    if (
        request.path.startswith(("/api/", "/tuf/", "/blobs/", "/osv/"))
        or request.blueprint == "machine"
    ):
        response = problem(refusal, g.request_id)
        if refusal.code == "range-not-satisfiable":
            response.headers["Content-Range"] = f"bytes */{refusal.facts.get('size', '*')}"
        return response
    return pages.refusal(refusal, g.request_id)


def _as_refusal(error: Exception) -> RegistryError:
    if isinstance(error, RegistryError):
        return error
    if isinstance(error, SigningError | StorageError):
        if error.__cause__ is not None:  # the system's own error, with names of files in it
            LOGGER.error("%s: %s", error, error.__cause__)
        return from_library(error)
    if isinstance(error, HTTPException):
        code = _HTTP_CODES.get(error.code or 500, "malformed")
        return RegistryError(code, row_of(code).help)
    if isinstance(error, SQLAlchemyError):
        LOGGER.exception("database failed in request %s", g.request_id)
        full = "full" in str(getattr(error, "orig", ""))
        code = "disk-full" if full else "storage-failed"
        return RegistryError(code, row_of(code).help)
    LOGGER.exception("fault in request %s", g.request_id)
    return RegistryError("internal", "a fault of the registry")


def _record(refusal: RegistryError) -> None:
    """Audits what was refused: every write, and every read for want of a right."""
    status = row_of(refusal.code).status
    by_stranger = caller().identity is None and not refusal.code.startswith("too-many-")
    refused_right = status in (401, 403)
    if request.method in _READING and not refused_right:
        return
    if refusal.code in _FLOODS:
        return
    if by_stranger and status < 500:
        throttle, now = registry().throttle, registry().clock()
        if throttle.is_over(request.remote_addr, now):
            return  # a flood as well: nobody fills the log, and the queue of writers, for nothing
        throttle.failed(request.remote_addr, now)
    view = request.endpoint and _view_action(request.endpoint)
    registry().audit.refused(caller(), view or "request", request.path, refusal)


def _view_action(endpoint: str) -> str | None:
    view = current_app.view_functions.get(endpoint)
    return getattr(view, "audit_action", None)
