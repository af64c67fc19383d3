"""`forge org policy`."""

from __future__ import annotations

from typing import Any

import click

from ..context import Context
from ..output import clean
from ._command import forge_command, parse_option


@click.group("policy")
def policy() -> None:
    """Say which policies an organisation holds to.

    They hold in its own view of the registry.
    """


@forge_command("list")
@click.argument("org", metavar="ORG")
def list_(context: Context, org: str) -> None:
    """List the policies that ORG pinned at the registry."""
    from ..remote.api import member

    answer = context.api().get("organisations", org, "policies")
    found: list[Any] = member(answer, "policies", list)
    context.out.result(answer)
    for each in found:
        context.out.answer(f"{clean(member(each, 'policy'))}=={clean(member(each, 'version'))}")
        rules = each.get("rules")
        if isinstance(rules, dict):
            context.out.table(
                [[clean(name), clean(value)] for name, value in rules.items()], indent="  "
            )
        if each.get("unusable"):
            context.out.warn(f"it permits nothing: {clean(each['unusable'])}")
    if not found:
        context.out.say(f"{clean(org)} has pinned no policy")
    context.out.say("this is the registry's word; on a machine: forge policy use ORG/NAME")


@forge_command("use")
@click.argument("org", metavar="ORG")
@click.argument("requirement", metavar="ORG/NAME[==VERSION]")
def use(context: Context, org: str, requirement: str) -> None:
    """Pin a policy for ORG at the registry; for its owners."""
    from signing.names import Requirement

    from ..flows.choosing import choose

    wanted = parse_option("ORG/NAME", Requirement.parse, requirement)
    entry = choose(context.view, wanted)
    api = context.api_with_token()
    answer = api.put(
        "organisations",
        org,
        "policies",
        body={"policy": str(wanted.component), "version": str(entry.version)},
    )
    context.out.result(answer)
    context.out.done(f"{clean(org)} holds to {wanted.component}=={entry.version}")


@forge_command("drop")
@click.argument("org", metavar="ORG")
@click.argument("name", metavar="ORG/NAME")
def drop(context: Context, org: str, name: str) -> None:
    """Pin a policy for ORG no longer; for its owners."""
    from signing.names import ComponentName

    component = parse_option("ORG/NAME", ComponentName.parse, name)
    api = context.api_with_token()
    answer = api.delete("organisations", org, "policies", component.org, component.name)
    context.out.result(answer)
    context.out.done(f"{clean(org)} does not hold to {component} any more")


for _each in (list_, use, drop):
    policy.add_command(_each)
