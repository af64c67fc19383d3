"""Rules of addresses that cost nothing at the start."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from werkzeug.routing import Rule


class LateRule(Rule):
    """A rule that learns to build its address when one is first asked for.

    Werkzeug writes, parses and compiles two functions for every rule as it is added, which takes
    most of the time in which an application is made; each process of a server makes one, and few
    of its rules ever build an address. Matching is not touched.
    """

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        compiled = cache(super()._compile_builder)

        def build(rule: Rule, /, **values: Any) -> tuple[str, str]:
            return compiled(append_unknown)(rule, **values)

        return build
