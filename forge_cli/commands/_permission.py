"""What commands that pinned policies bind have in common: options, and what they print of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from ..context import Context
from ..output import clean
from ._command import Function

if TYPE_CHECKING:
    from ..flows.permission import Gate, Judgement
    from ..lockfile import LockedComponent


def explain_option(function: Function) -> Function:
    """``--explain``."""
    return click.option(
        "--explain",
        is_flag=True,
        help="Show every rule of the pinned policies, also those that hold.",
    )(function)


def override_options(function: Function) -> Function:
    """``--override`` and ``--reason``."""
    function = click.option(
        "--reason", metavar="TEXT", help="Why a rule is put aside; stands in forge.lock."
    )(function)
    return click.option(
        "--override",
        "overrides",
        multiple=True,
        metavar="[ORG/NAME:]RULE",
        help="Put a rule of the policies aside for what is named, or for ORG/NAME. Repeatable.",
    )(function)


def permission_json(gate: Gate | None, components: Iterable[LockedComponent]) -> dict[str, object]:
    """The member ``permission`` of a ``--json`` answer."""
    components = list(components)
    if gate is None:
        return {
            "policies": [],
            "components": [],
            "passed_over": [],
            "overrides": overrides_json(components),
        }
    return {
        "policies": [pinned.pin.to_json() | {"scope": pinned.scope} for pinned in gate.policies],
        "components": [judgement_json(judgement) for judgement in gate.judgements(components)],
        "passed_over": [
            {
                "component": str(one.judgement.release.component),
                "version": str(one.judgement.release.version),
                "why": one.why,
            }
            for one in gate.passed_over
        ],
        "overrides": overrides_json(components),
    }


def judgement_json(judgement: Judgement) -> dict[str, object]:
    return {
        "component": str(judgement.release.component),
        "version": str(judgement.release.version),
        "permits": judgement.permits,
        "policies": judgement.to_json(),
    }


def overrides_json(components: Iterable[LockedComponent]) -> list[dict[str, str]]:
    return [
        {
            "component": str(component.component),
            "version": str(component.version),
            "rule": one.rule,
            "reason": one.reason,
            "at": one.at,
        }
        for component in components
        for one in component.overrides
    ]


def explain(context: Context, gate: Gate | None, components: Iterable[LockedComponent]) -> None:
    """Every rule for every one of ``components``."""
    if gate is None:
        context.out.say("no policy is pinned here")
        return
    for one in gate.passed_over:
        for line in one.judgement.lines():
            context.out.answer(clean(line))
    for judgement in gate.judgements(components):
        for line in judgement.lines():
            context.out.answer(clean(line))
