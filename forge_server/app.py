"""The WSGI application: routes, request ids, refusals, headers. Made by `create_app`."""

from __future__ import annotations

import logging
import os
from time import monotonic

from flask import Flask, Response, g, request
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.proxy_fix import ProxyFix

from signing.errors import SigningError
from storage.errors import StorageError

from .api import v1
from .api.problems import problem
from .api.requests import begin, caller, registry
from .errors import RegistryError, from_library, row_of
from .logs import LOGGER
from .static_plane import routes as static_plane
from .static_plane.files import limit_idle_time
from .web import pages
from .wiring import Registry

_CSP = (
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": _CSP,
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_READING = ("GET", "HEAD", "OPTIONS")
# What Flask itself refuses before a view is reached.
_HTTP_CODES = {
    404: "not-found",
    405: "method-not-allowed",
    411: "length-required",
    413: "too-large",
    415: "unsupported-media-type",
    416: "range-not-satisfiable",
}


def create_app(services: Registry) -> Flask:
    """The application that serves ``services``."""
    app = Flask(
        __name__, static_url_path="/static", static_folder="web/static",
        template_folder="web/templates",
    )  # fmt: skip
    app.extensions["forge"] = services
    app.url_map.strict_slashes = True
    app.url_map.merge_slashes = False
    for blueprint in (v1.blueprint(), static_plane.blueprint(), pages.blueprint()):
        app.register_blueprint(blueprint)
    app.before_request(_begin)
    app.after_request(_finish)
    app.register_error_handler(Exception, _refuse)
    if services.settings.trusted_proxies:
        hops = services.settings.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=0)  # type: ignore[method-assign]
    return app


def _begin() -> None:
    g.request_id = os.urandom(8).hex()
    g.started = monotonic()
    limit_idle_time(request.environ, registry().settings.idle_seconds)
    begin(g.request_id)


def _finish(response: Response) -> Response:
    response.headers["X-Request-Id"] = g.request_id
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
        )
    return response


def _refuse(error: Exception) -> Response:
    """Turns whatever a view raised into an answer that says no more than it should."""
    refusal = _as_refusal(error)
    try:
        _record(refusal)
    except Exception as failure:  # what cannot be recorded must not happen unnoticed
        LOGGER.exception("refusal not recorded: %s", refusal.code)
        refusal = _as_refusal(failure)
    if isinstance(error, HTTPException) and refusal.code == "method-not-allowed":
        response = problem(refusal, g.request_id)
        response.headers["Allow"] = ", ".join(sorted(getattr(error, "valid_methods", None) or ()))
        return response
    if request.path.startswith(("/api/", "/tuf/", "/blobs/")):
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
    by_stranger = caller().identity is None and refusal.code != "too-many-failures"
    refused_right = status in (401, 403)
    if request.method in _READING and not refused_right:
        return
    if refusal.code in ("too-many-failures", "not-found", "method-not-allowed"):
        return  # of a flood, the events up to the limit are enough
    if by_stranger and status < 500:
        registry().throttle.failed(request.remote_addr, registry().clock())
    view = request.endpoint and _view_action(request.endpoint)
    registry().audit.refused(caller(), view or "request", request.path, refusal)


def _view_action(endpoint: str) -> str | None:
    from flask import current_app

    view = current_app.view_functions.get(endpoint)
    return getattr(view, "audit_action", None)
