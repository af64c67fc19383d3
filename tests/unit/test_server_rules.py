"""Rules that learn late to build addresses build the ones that Werkzeug's own do."""

from __future__ import annotations

from typing import Any

import pytest
from werkzeug.routing import Map, Rule

from forge_server.rules import LateRule


def _built(kind: type[Rule], endpoint: str, values: dict[str, Any]) -> str:
    rules = [
        kind("/<name>/<int:number>", endpoint="page"),
        kind("/first/<int:number>", endpoint="first", defaults={"name": "model"}),
        kind("/about", endpoint="about"),
    ]
    return Map(rules).bind("registry.example").build(endpoint, values)


@pytest.mark.parametrize(
    ("endpoint", "values"),
    [
        ("page", {"name": "a b/\u00e9?", "number": 3}),
        # what is left over becomes a query
        ("page", {"name": "a", "number": 3, "rule": "r", "append_unknown": "&"}),
        ("first", {"number": 3}),
        ("about", {}),
    ],
    ids=["words", "query", "default", "fixed"],
)
def test_builds_what_a_plain_rule_builds(endpoint: str, values: dict[str, Any]) -> None:
    assert _built(LateRule, endpoint, values) == _built(Rule, endpoint, values)


def test_nothing_is_compiled_before_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    plain = Rule._compile_builder

    def counted(rule: Rule, append_unknown: bool = True) -> Any:
        compiled.append(rule.rule)
        return plain(rule, append_unknown)

    monkeypatch.setattr(Rule, "_compile_builder", counted)
    rules = Map([LateRule("/a", endpoint="a"), LateRule("/b", endpoint="b")]).bind(
        "registry.example"
    )
    assert rules.match("/a") == ("a", {})
    assert compiled == []
    assert [rules.build("b"), rules.build("b")] == ["/b", "/b"]
    assert compiled == ["/b"]
