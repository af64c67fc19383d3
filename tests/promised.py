"""Flask's test client, which holds each answer of the interface against its description.

Whoever imports `server_fixtures` has it: the tests that provoke every answer and refusal are the
tests of the descriptions too.
"""

from __future__ import annotations

from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.exceptions import HTTPException
from werkzeug.test import TestResponse

from forge_server.api import v1
from forge_server.api.described import Description, refusals_of
from forge_server.api.shapes import Shape
from forge_server.errors import TABLE
from signing.errors import MalformedError

_HEADERS = ("X-Request-Id", "Cache-Control")


class CheckedClient(FlaskClient):
    """Fails when an answer under /api/v1 is not what the description of its route promises."""

    def open(self, *args: Any, **options: Any) -> TestResponse:
        response = super().open(*args, **options)
        path, method = response.request.path, response.request.method
        if path.startswith(v1.PREFIX):
            require_promised(self.application, method, path, response)
        return response


def require_promised(app: Flask, method: str, path: str, response: TestResponse) -> None:
    """Raises AssertionError: a status, a code, a header or a body that nobody declared."""
    try:
        endpoint, _ = app.url_map.bind("localhost").match(path, method)
    except HTTPException:
        return  # no such address, or not for this method
    description = getattr(app.view_functions[endpoint], "description", None)
    if description is None:
        return  # `test_every_route_is_described` says so
    where = f"{method} {path} → {response.status_code}"
    for header in _HEADERS:
        assert header in response.headers, f"{where}: no {header}"
    if response.mimetype == "application/problem+json":
        codes = refusals_of(description, method)
        if method == "HEAD":  # which has no body
            assert response.status_code in {TABLE[code].status for code in codes}, where
            return
        problem = response.get_json()
        assert problem["code"] in codes, f"{where}: {problem}"
        assert TABLE[problem["code"]].status == response.status_code
        return
    assert response.status_code in {*description.answers, *_without_body(description)}, where
    if response.status_code in description.answers and method != "HEAD":
        _require_body(description, response, where)


def _without_body(description: Description) -> tuple[int, ...]:
    return (304,) if description.etag else ()


def _require_body(description: Description, response: TestResponse, where: str) -> None:
    promised = {kind.partition(";")[0]: each for kind, each in description.media(
        response.status_code
    ).items()}  # fmt: skip
    assert response.mimetype in promised, f"{where}: {response.mimetype}"
    if description.etag:
        assert response.get_etag()[0], f"{where}: no ETag"
    shape = promised[response.mimetype]
    if shape is not None:
        is_json = response.mimetype == "application/json"
        value = response.get_json() if is_json else response.get_data(as_text=True)
        require_shape(shape, value, where)


def require_shape(shape: Shape, value: Any, where: str) -> None:
    try:
        shape.read(value, where)
    except MalformedError as error:
        raise AssertionError(str(error)) from error


Flask.test_client_class = CheckedClient
