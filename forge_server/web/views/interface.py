"""The interface for programs, as people read it: the same descriptions as the OpenAPI document.

Our own words around it are in the language of the page; what the descriptions say is English.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from flask import Response, current_app, request

from signing.encoding import MAX_INTEGER

from ...api.described import JSON, PATH, TOKEN
from ...api.interface import DOCUMENT, PREFIX, described_routes
from ...api.openapi import Operation, definitions
from ...api.requests import registry
from ...api.shapes import Record, Schema, Shape
from ..rendering import page

_WORDLESS: Final = MAX_INTEGER  # a bound that is none


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A parameter or member: its name, where it stands, what it is, and whether it must be there.
    ``record`` names the record that it is made of."""

    name: str
    kind: str
    says: str
    needed: bool
    place: str = ""
    record: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A route as it is shown; ``answers`` are ``(status, media type, kind, record or None)``."""

    operation: Operation
    parameters: Sequence[Line]
    body: Sequence[Line]
    limit_bytes: int | None
    answers: Sequence[tuple[int, str, str, str | None]]
    refusals: Sequence[str]
    example: str


def interface() -> Response:
    """Every route, part by part, and what the answers are made of."""
    found = described_routes(current_app)
    parts: dict[str, list[Shown]] = {}
    for one in found:
        parts.setdefault(one.part, []).append(_shown(one))
    records = {
        name: (schema.get("description", ""), _members(schema))
        for name, schema in definitions(found).items()
    }
    return page("interface.html", parts=parts, records=records, prefix=PREFIX, document=DOCUMENT)


def _shown(one: Operation) -> Shown:
    here = one.description
    placed = [("path", name, PATH[name].schema(), True) for name in one.variables]
    for place, parameters in (("query", here.query), ("header", here.headers)):
        placed += [
            (place, name, each.shape.schema() | {"description": each.says}, each.required)
            for name, each in parameters.items()
        ]
    has_body = here.body is not None or here.raw
    return Shown(
        operation=one,
        parameters=[
            _line(name, schema, needed=needed, place=place)
            for place, name, schema, needed in placed
        ],
        body=[] if here.body is None else _members(here.body.definition()),
        limit_bytes=here.limit_bytes(registry().settings) if has_body else None,
        answers=[
            (status, media, *_kind_of(shape))
            for status in here.answers
            for media, shape in here.media(status).items()
        ],
        refusals=here.refusals,
        example=_example(one),
    )


def _kind_of(shape: Shape | None) -> tuple[str, str | None]:
    if shape is None:
        return "", None
    return kind(shape.schema()), shape.name if isinstance(shape, Record) else None


def _members(schema: Schema) -> list[Line]:
    required = schema.get("required", [])
    return [
        _line(name, each, needed=name in required) for name, each in schema["properties"].items()
    ]


def _line(name: str, schema: Schema, *, needed: bool, place: str = "") -> Line:
    return Line(
        name=name,
        kind=kind(schema),
        says=schema.get("description", ""),
        needed=needed,
        place=place,
        record=_record(schema),
    )


def _record(schema: Mapping[str, Any]) -> str | None:
    """The name of the record that a value, or each value of a list, is."""
    for each in (schema, schema.get("items"), *schema.get("anyOf", ())):
        if isinstance(each, dict) and "$ref" in each:
            return str(each["$ref"]).rpartition("/")[2]
    return None


def kind(schema: Mapping[str, Any]) -> str:
    """What a value is, in a few English words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    several = schema.get("anyOf") or schema.get("oneOf")
    if several:
        return " or ".join(dict.fromkeys(kind(each) for each in several))
    if "enum" in schema:
        return " | ".join(schema["enum"])
    types = schema.get("type", "anything")
    if isinstance(types, list):
        return f"{kind({**schema, 'type': types[0]})} or null"
    return _WORDS[types](schema) if types in _WORDS else str(types)


def _number(low: int, high: int) -> str:
    text = "number" if low == -_WORDLESS else f"number from {low}"
    return text if high == _WORDLESS else f"{text} to {high}"


def _text(schema: Mapping[str, Any]) -> str:
    if "format" in schema:
        return str(schema["format"])
    most = schema.get("maxLength", _WORDLESS)
    return "text" if most == _WORDLESS else f"text of at most {most} characters"


def _list(schema: Mapping[str, Any]) -> str:
    return f"list of {kind(schema['items'])}" if schema["items"] else "list"


_WORDS: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "array": _list,
    "object": lambda schema: f"map of {kind(schema.get('additionalProperties', {}))}",
    "integer": lambda schema: _number(schema["minimum"], schema["maximum"]),
    "string": _text,
}


def _example(one: Operation) -> str:
    """A line for a shell. Nothing secret stands in it: the token is read from the environment."""
    here, address = one.description, one.path
    for name in one.variables:
        example = PATH[name].schema().get("examples", [f"{name.upper()}"])[0]
        address = address.replace(f"{{{name}}}", str(example))
    query = "&".join(
        f"{name}={each.shape.schema().get('examples', [name.upper()])[0]}"
        for name, each in here.query.items()
        if each.required
    )
    url = f"{request.host_url.rstrip('/')}{PREFIX}{address}{'?' if query else ''}{query}"
    words = ["curl"]
    if one.method == "HEAD":
        words.append("--head")
    elif one.method != "GET":
        words += ["--request", one.method]
    if here.caller == TOKEN:
        words.append('--header "Authorization: Bearer $FORGE_TOKEN"')
    words += [f'--header "{name}: …"' for name in here.headers]
    if here.body is not None:
        words.append(f'--header "Content-Type: {JSON}" --data @body.json')
    elif here.raw:
        words.append("--data-binary @FILE")
    return " ".join([*words, f"'{url}'"])
