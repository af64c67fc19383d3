"""The witness over HTTP (c2sp.org/tlog-witness): one prefix for submission and monitoring.

Answers are plain text. A refusal says what was expected; a fault says nothing of the inside.
"""

from __future__ import annotations

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from signing.tlog.witnessing import MAX_REQUEST_BYTES, SIZE_TYPE, render_size

from ..domain.text import harmless
from ..logs import LOGGER
from ..static_plane.files import limit_idle_time
from .errors import Refused, UnusableError
from .service import Witness

_IDLE_SECONDS = 30
_EXPECTED = {
    404: "expected POST /add-checkpoint or GET /<SHA-256 in hex of a log's origin>/checkpoint",
    405: "expected POST for /add-checkpoint and GET for everything else",
    413: f"expected a request of at most {MAX_REQUEST_BYTES} bytes",
}


def create_app(witness: Witness) -> Flask:
    """The application that answers for ``witness``."""
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_REQUEST_BYTES
    app.url_map.merge_slashes = False
    app.before_request(_begin)
    app.register_error_handler(Exception, _refuse)

    @app.get("/")
    def about() -> Response:
        return _text(200, f"{witness.folder.own.vkey}\na witness: c2sp.org/tlog-witness")

    @app.post("/add-checkpoint")
    def add_checkpoint() -> Response:
        return _answer(200, witness.add_checkpoint(request.get_data(cache=False)))

    @app.get("/<origin_hash>/checkpoint")
    def checkpoint(origin_hash: str) -> Response:
        found = witness.latest(origin_hash)
        if found is None:
            return _text(404, "expected the SHA-256 in hex of a log's origin that was cosigned")
        return _answer(200, found)

    return app


def _begin() -> None:
    limit_idle_time(request.environ, _IDLE_SECONDS)


def _answer(status: int, body: bytes, content_type: str = "text/plain; charset=utf-8") -> Response:
    response = Response(body, status=status, content_type=content_type)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = "no-cache"
    return response


def _text(status: int, message: str) -> Response:
    lines = "\n".join(harmless(line) for line in message.split("\n"))
    return _answer(status, f"{lines}\n".encode())


def _refuse(error: Exception) -> Response:
    if isinstance(error, Refused):
        LOGGER.info("refused %s: %s: %s", error.status, request.remote_addr, error.message)
        if error.size is not None:
            return _answer(error.status, render_size(error.size), SIZE_TYPE)
        return _text(error.status, error.message)
    if isinstance(error, HTTPException):
        status = error.code or 500
        response = _text(status, _EXPECTED.get(status, error.description or error.name))
        if methods := getattr(error, "valid_methods", None):
            response.headers["Allow"] = ", ".join(sorted(methods))
        return response
    if isinstance(error, UnusableError):
        LOGGER.critical("%s; %s", error.message, error.hint)
        return _text(503, "the witness cannot rely on its memory of this log; tell its operator")
    LOGGER.exception("fault in %s %s", request.method, request.path)
    return _text(500, "a fault of the witness; nothing was cosigned in this answer")
