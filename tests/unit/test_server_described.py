"""Every route is described, the descriptions are sound, and shapes read what they write."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from flask import Flask

from forge_server.api import v1
from forge_server.api.described import PATH, Parameter, read_text, refusals_of
from forge_server.api.interface import described_routes
from forge_server.api.openapi import definitions, document
from forge_server.api.shapes import (
    COMPONENT,
    COUNT,
    DIGEST,
    INSTANT,
    OPTIONAL_TEXT,
    VERSION,
    Integer,
    ListOf,
    MapOf,
    Record,
    Row,
    Shape,
    Text,
)
from forge_server.domain.scopes import ACTIONS
from forge_server.errors import TABLE
from forge_server.settings import Settings
from signing.errors import MalformedError


def interface() -> Flask:
    app = Flask("interface")
    app.register_blueprint(v1.blueprint())
    return app


APP = interface()
ROUTES = described_routes(APP)
NAMES = [f"{one.method} {one.path}" for one in ROUTES]


def test_every_route_is_described() -> None:
    """How: "A new route" in CONTRIBUTING.md."""
    for rule in APP.url_map.iter_rules():
        if rule.endpoint != "static":
            view = APP.view_functions[rule.endpoint]
            assert hasattr(view, "description"), f"{rule.rule}: describe it with @described"
            assert rule.arguments <= PATH.keys(), f"{rule.rule}: add what is in it to PATH"


def test_the_document_has_every_route_once() -> None:
    found = document(ROUTES, Settings(), v1.PREFIX)
    assert sum(len(each) for each in found["paths"].values()) == len(ROUTES) == len(set(NAMES))
    ids = [each["operationId"] for path in found["paths"].values() for each in path.values()]
    assert len(ids) == len(set(ids)), "each action is that of one route"


@pytest.mark.parametrize("one", ROUTES, ids=NAMES)
def test_a_description_is_sound(one: Any) -> None:
    here = one.description
    assert here.says[0].isupper()
    assert here.says.endswith(".")
    assert set(here.scopes) <= set(ACTIONS)
    assert not here.scopes or here.caller != "anybody", "scopes are those of a token"
    assert set(refusals_of(here, one.method)) <= TABLE.keys()
    assert (here.body is not None or here.raw) <= (one.method in ("POST", "PUT"))
    assert here.limit_bytes(Settings()) > 0


def test_no_two_records_have_one_name() -> None:
    twice = [
        _route_answering(Record("Same", {"a": COUNT})),
        _route_answering(Record("Same", {"b": COUNT})),
    ]
    with pytest.raises(ValueError, match="Same"):
        definitions(twice)


def _route_answering(record: Record) -> Any:
    from dataclasses import replace

    one = ROUTES[0]
    return replace(one, description=replace(one.description, answers={200: record}))


THING = Record(
    "Thing", {"name": Text(max_chars=5), "of": OPTIONAL_TEXT, "at": INSTANT, "left": COUNT},
    optional=frozenset({"left"}),
)  # fmt: skip
AT = "2026-01-31T12:00:00Z"


@pytest.mark.parametrize(
    ("shape", "value", "said"),
    [
        (THING, {"name": "x", "of": None, "at": AT, "more": 1}, "request: more"),
        (THING, {"name": "x", "of": None}, "request: at"),
        (THING, {"name": "xxxxxx", "of": None, "at": AT}, "at most 5 characters"),
        (THING, {"name": None, "of": None, "at": AT}, "expected a string, found null"),
        (THING, {"name": "x", "of": None, "at": "yesterday"}, "a moment like"),
        (ListOf(COUNT, most=2), [1, 2, 3], "at most 2 entries"),
        (ListOf(COUNT), [1, True], "request[1]"),
        (ListOf(COUNT), [-1], "at least 0"),
        (MapOf(COUNT, keys=DIGEST), {"abc": 1}, "64 lower-case"),
        (Row("[number, digest]", ((COUNT, DIGEST),)), [1, "abc"], "[number, digest]"),
        (Row("[a] or [a, b]", ((COUNT,), (COUNT, COUNT))), [1, 2, 3], "[a] or [a, b]"),
        (Text(choices=("a", "b")), "c", "a or b"),
        (Text(min_chars=1), "", "an empty string"),
        (COMPONENT, "Minds/x", "lower-case"),
        (VERSION, "1.0", None),
        (VERSION, "1.0+local", "PEP 440"),
    ],
)  # fmt: skip
def test_a_shape_refuses_what_is_not_of_it(shape: Shape, value: Any, said: str | None) -> None:
    if said is None:
        shape.read(value, "request")
        return
    with pytest.raises(MalformedError) as refused:
        shape.read(value, "request")
    assert said in refused.value.message


def test_a_record_reads_what_it_writes() -> None:
    class Source:
        name, of, at, left = "x", None, datetime(2026, 1, 31, 12, tzinfo=UTC), 3

    written = THING.of(Source())
    assert written == {"name": "x", "of": None, "at": AT}, "what may be left out is given by name"
    assert THING.of(Source(), left=4)["left"] == 4
    assert THING.read(written, "request")["at"] == Source.at


@pytest.mark.parametrize("text", ["-1", "", "٣", "1e3", "99999999999999999999", "367"])
def test_a_number_in_an_address_is_digits_within_its_bounds(text: str) -> None:
    with pytest.raises(MalformedError):
        read_text(Integer(low=1, high=366), text, "request: days")


def test_a_parameter_that_is_not_sent_is_its_default_or_refused() -> None:
    assert Parameter(shape=COUNT, says="how many", default=7).read("n", None) == 7
    with pytest.raises(MalformedError):
        Parameter(shape=COUNT, says="how many", required=True).read("n", None)


@pytest.mark.parametrize(
    ("shape", "good", "bad"),
    [
        (COMPONENT, ["a/b", "a-1/b-2"], ["a", "a/b/c", "-a/b", "a/b-", "A/b", "a--b/c"]),
        (VERSION, ["1.0", "1!2.0rc1.post2.dev3", "0"], ["1.0+x", "v1", "01", "1.0-1", "1.0RC1"]),
        (DIGEST, ["0" * 64], ["0" * 63, "G" * 64, "A" * 64]),
    ],
)
def test_patterns_say_what_parsers_do(shape: Text, good: list[str], bad: list[str]) -> None:
    assert shape.pattern is not None
    for text in good:
        assert re.search(shape.pattern, text)
        shape.read(text, "x")
    for text in bad:
        assert not re.search(shape.pattern, text), text
        with pytest.raises(MalformedError):
            shape.read(text, "x")
