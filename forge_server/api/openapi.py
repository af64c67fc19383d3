"""The interface as an OpenAPI 3.1 document, made from the descriptions of its routes.

Nothing in it is written down a second time: paths and methods are those of the application,
parameters, bodies and answers those that `described` reads and renders with, refusals those of the
one table. Only what no request says of itself stands here: what the parts are called, and what
headers mean.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from werkzeug.routing import Map

from .. import __version__
from ..errors import TABLE
from .described import (
    ANYBODY,
    BYTES,
    JSON,
    OPTIONAL,
    PATH,
    TOKEN,
    Description,
    Parameter,
    refusals_of,
)
from .problems import CONTENT_TYPE
from .shapes import Record, Schema, Shape, inner

_VARIABLE: Final = re.compile(r"<(?:[a-z]+:)?([a-z_]+)>")
_PARTS: Final = {
    "registry": "The registry itself",
    "account": "Accounts",
    "token": "Tokens",
    "organisation": "Organisations",
    "member": "Organisations",
    "component": "Components",
    "role": "Publishing",
    "release": "Publishing",
    "blob": "Publishing",
    "upload": "Uploads in parts",
    "review": "Reviews",
    "policy": "Policies",
    "finding": "Scans and findings",
    "scan": "Scans and findings",
    "withheld": "What is not handed out",
    "report": "What is not handed out",
    "inventory": "Inventory and recalls",
    "recall": "Inventory and recalls",
}
"""The part that an action belongs to, by its first word; any other word is a part of its own."""
_SCHEME: Final = "token"
_PROBLEM: Final[Schema] = {
    "type": "object",
    "description": "A refusal (RFC 9457). Some codes have further members, which /errors names.",
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string", "description": "what happened, to what, what was expected"},
        "code": {"type": "string", "description": "stable", "enum": sorted(TABLE)},
        "hint": {"type": "string", "description": "what to do"},
        "request_id": {"type": "string"},
    },
    "required": ["type", "title", "status", "detail", "code", "request_id"],
}


def _header(says: str, schema: Schema | None = None, *, required: bool = False) -> Schema:
    found: Schema = {"description": says, "schema": schema or {"type": "string"}}
    return found | {"required": True} if required else found


_HEADERS: Final = {
    "X-Request-Id": _header("names the request in the operator's logs", required=True),
    "Cache-Control": _header("no-store where the answer is for the caller alone", required=True),
    "RateLimit": _header("what is left (draft-ietf-httpapi-ratelimit-headers-10 §4)"),
    "RateLimit-Policy": _header("requests a minute by one caller (likewise §3)"),
    "ETag": _header("strong; send it back as If-None-Match (RFC 9110 §8.8.3)", required=True),
    "WWW-Authenticate": _header("Bearer (RFC 6750 §3)", required=True),
    "Retry-After": _header(
        "seconds to wait (RFC 9110 §10.2.3)", {"type": "string", "pattern": "^[0-9]+$"},
        required=True,
    ),
}  # fmt: skip
_ALWAYS: Final = ("X-Request-Id", "Cache-Control", "RateLimit", "RateLimit-Policy")
_OF_STATUS: Final = {401: ("WWW-Authenticate",), 429: ("Retry-After",), 503: ("Retry-After",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A route with its description. ``path`` is within the interface: ``/tokens/{token_id}``."""

    method: str
    path: str
    description: Description

    @property
    def part(self) -> str:
        """What it belongs to, for readers."""
        first = self.description.action.partition(".")[0]
        return _PARTS.get(first, f"{first.capitalize()}s")

    @property
    def variables(self) -> list[str]:
        """The names between the slashes, in order."""
        return re.findall(r"\{([a-z_]+)\}", self.path)


def operations(routes: Map, views: Mapping[str, Any], prefix: str) -> list[Operation]:
    """The described routes below ``prefix``, in the order in which the application has them."""
    found = []
    for rule in routes.iter_rules():
        description = getattr(views.get(rule.endpoint), "description", None)
        if description is None or not rule.rule.startswith(f"{prefix}/"):
            continue
        path = _VARIABLE.sub(r"{\1}", rule.rule.removeprefix(prefix))
        methods = (rule.methods or set()) - {"OPTIONS"}
        for method in sorted(methods - {"HEAD"} if "GET" in methods else methods):
            found.append(Operation(method=method, path=path, description=description))
    return found


def document(found: Sequence[Operation], settings: Any, prefix: str) -> dict[str, Any]:
    """The document, with the limits that ``settings`` say."""
    paths: dict[str, dict[str, Any]] = {}
    for one in found:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one, settings)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"{settings.name}: HTTP interface",
            "version": __version__,
            "summary": "Publishing, and what the registry says of what is published",
            "description": "What these answers say is for people and for search. What a program "
            "relies on it takes from the signed metadata under /tuf. Unknown members of a request "
            "are refused by name; to answers later versions may add some.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": prefix}],
        "tags": [{"name": name} for name in dict.fromkeys(one.part for one in found)],
        "paths": paths,
        "components": {
            "schemas": {"Problem": _PROBLEM, **definitions(found)},
            "responses": _refusal_responses(found),
            "headers": _HEADERS,
            "securitySchemes": {
                _SCHEME: {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "forge_…",
                    "description": "A token has actions (scopes) and may be limited to an "
                    "organisation or a component; it expires, and can be revoked.",
                }
            },
        },
    }


def _operation(one: Operation, settings: Any) -> dict[str, Any]:
    here = one.description
    value: dict[str, Any] = {
        "operationId": here.action,
        "tags": [one.part],
        "summary": here.says,
    }
    if here.more:
        value["description"] = unlinked(here.more)
    parameters = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": PATH[name].schema(),
        }
        for name in one.variables
    ]
    parameters += [_parameter(name, "query", each) for name, each in here.query.items()]
    parameters += [_parameter(name, "header", each) for name, each in here.headers.items()]
    if parameters:
        value["parameters"] = parameters
    if here.body is not None or here.raw:
        value["requestBody"] = _body(here, settings)
    value["responses"] = _responses(one)
    # OpenAPI 3.1 §4.8.30: for bearer tokens the list names the roles that are needed.
    scopes = {_SCHEME: list(here.scopes)}
    value["security"] = {ANYBODY: [], OPTIONAL: [{}, scopes], TOKEN: [scopes]}[here.caller]
    return value


def _parameter(name: str, where: str, one: Parameter) -> dict[str, Any]:
    schema = one.shape.schema()
    if one.default not in (None, ""):
        schema["default"] = one.default
    return {
        "name": name,
        "in": where,
        "required": one.required,
        "description": one.says,
        "schema": schema,
    }


def _body(here: Description, settings: Any) -> dict[str, Any]:
    limit = f"At most {here.limit_bytes(settings)} bytes, with a Content-Length and not compressed."
    if here.body is None:
        return {
            "required": True,
            "description": limit,
            "content": {BYTES: {"schema": {"type": "string", "contentMediaType": BYTES}}},
        }
    schema = here.body.definition(strict=True)
    return {"required": True, "description": limit, "content": {JSON: {"schema": schema}}}


def _responses(one: Operation) -> dict[str, Any]:
    here = one.description
    found: dict[str, Any] = {}
    for status in here.answers:
        headers = [*_ALWAYS, *(["ETag"] if here.etag else [])]
        found[str(status)] = {"description": _ANSWERS[status], "headers": _references(headers)}
        content = {kind: _media(shape) for kind, shape in here.media(status).items()}
        if content and one.method != "HEAD":
            found[str(status)]["content"] = content
    if here.etag:
        found["304"] = {"description": "Nothing changed", "headers": _references(["X-Request-Id"])}
    for status, codes in _refusals(one).items():
        found[str(status)] = {"$ref": f"#/components/responses/{_refusal_name(status, codes)}"}
    return found


def _refusals(one: Operation) -> dict[int, list[str]]:
    """The codes that a route may refuse with, by status."""
    found: dict[int, list[str]] = {}
    for code in refusals_of(one.description, one.method):
        found.setdefault(TABLE[code].status, []).append(code)
    return dict(sorted(found.items()))


def _refusal_name(status: int, codes: Sequence[str]) -> str:
    """Says itself what it is, so that a difference of two documents can be read."""
    return ".".join([str(status), *codes])


def _refusal_responses(found: Sequence[Operation]) -> dict[str, Any]:
    """Each set of codes that some route refuses with, once."""
    sets = {
        _refusal_name(status, codes): (status, codes)
        for one in found
        for status, codes in _refusals(one).items()
    }
    return {name: _refusal(*sets[name]) for name in sorted(sets)}


def _refusal(status: int, codes: Sequence[str]) -> dict[str, Any]:
    schema = {
        "allOf": [{"$ref": "#/components/schemas/Problem"}],
        "properties": {"status": {"const": status}, "code": {"enum": list(codes)}},
    }
    return {
        "description": "; ".join(f"`{code}`: {TABLE[code].title}" for code in codes),
        "headers": _references([*_ALWAYS, *_OF_STATUS.get(status, ())]),
        "content": {CONTENT_TYPE: {"schema": schema}},
    }


_ANSWERS: Final = {200: "Done", 201: "Made", 202: "Not yet: ask again"}


def _media(shape: Shape | None) -> dict[str, Any]:
    return {} if shape is None else {"schema": shape.schema()}


def _references(names: list[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def definitions(found: Sequence[Operation]) -> dict[str, Schema]:
    """The records in answers, by name.

    Raises:
        ValueError: two different ones have the same name.
    """
    records: dict[str, Record] = {}
    for one in found:
        for status in one.description.answers:
            for shape in one.description.media(status).values():
                for record in _records(shape):
                    if records.setdefault(record.name, record).members != record.members:
                        raise ValueError(f"two records are called {record.name}")
    return {name: records[name].definition() for name in sorted(records)}


def _records(shape: Shape | None) -> Iterator[Record]:
    if shape is None:
        return
    if isinstance(shape, Record):
        yield shape
    for each in inner(shape):
        yield from _records(each)


def unlinked(text: str) -> str:
    """``text`` without the links that lead to pages of the documentation."""
    return re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", text)
