"""`forge policy`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..context import Context
from ..errors import OK, POLICY, ForgeError, UsageError
from ..output import clean
from ._command import Function, forge_command, into_option, parse_option

if TYPE_CHECKING:
    from ..flows.policies import Pinned, Used
    from ..policies import PinFile, PolicyPin


@click.group("policy")
def command() -> None:
    """Pin what must hold of everything that is used here."""


def _scope_options(function: Function) -> Function:
    function = click.option(
        "--project", is_flag=True, help="For the project in --into: forge-policy.toml."
    )(function)
    return click.option("--machine", is_flag=True, help="For all you do on this machine.")(function)


def _file(context: Context, into: Path, *, project: bool, machine: bool) -> PinFile:
    from ..policies import MACHINE, PROJECT, PROJECT_FILE, PinFile

    if project and machine:
        raise UsageError("--project and --machine contradict each other")
    if project:
        return PinFile(into / PROJECT_FILE, PROJECT)
    return PinFile(context.places.policies, MACHINE)


@forge_command("use")
@click.argument("requirement", metavar="ORG/NAME[==VERSION]")
@_scope_options
@into_option
def use(context: Context, requirement: str, project: bool, machine: bool, into: Path) -> None:
    """Pin a policy: it must permit whatever is used from now on.

    For this machine, or with --project for one project. Several may be pinned; all must hold.
    """
    from signing.names import Requirement

    from ..flows.policies import use as pin

    wanted = parse_option("ORG/NAME", Requirement.parse, requirement)
    _show_used(
        context, pin(context, wanted, _file(context, into, project=project, machine=machine))
    )


@forge_command("update")
@click.argument("name", required=False, metavar="[ORG/NAME]")
@_scope_options
@into_option
def update(context: Context, name: str | None, project: bool, machine: bool, into: Path) -> None:
    """Pin the newest versions of policies, and show what changes."""
    from ..flows.policies import update as renew

    file = _file(context, into, project=project, machine=machine)
    pins = _named(file, name)
    results = []
    for pin in pins:
        used = renew(context, pin, file)
        if used is None:
            results.append({**pin.to_json(), "changed": False, "changes": []})
            context.out.done(f"{pin} is the newest")
        else:
            results.append(_used_json(used))
            _show_change(context, used)
    context.out.result(results)


@forge_command("show")
@into_option
def show(context: Context, into: Path) -> None:
    """Show which policies bind what is used in FOLDER, and their rules."""
    from ..flows.policies import load

    policies = load(context, into)
    context.out.result([_pinned_json(pinned) for pinned in policies])
    if not policies:
        context.out.say("no policy is pinned here")
        context.out.next_step("forge policy use ORG/NAME")
        return
    for pinned in policies:
        context.out.answer(f"{pinned}  ({pinned.scope}; {clean(pinned.policy.title)})")
        context.out.table(_rows(pinned), indent="  ")
        context.out.say(
            f"  verified {pinned.verified_at}, manifest sha256:{pinned.pin.manifest_sha256}"
        )


@forge_command("check")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("requirements", nargs=-1, metavar="[ORG/NAME[==VERSION]]...")
def check(context: Context, file: Path, requirements: tuple[str, ...]) -> int:
    """Read FILE as everybody will who pins it.

    FILE is a policy.toml, or the folder of a policy.

    With components: say what it would permit of them. Exit code 7 when it refuses one.
    """
    from signing.names import Requirement
    from signing.policy import FILE_NAME, RULES, rule_texts

    from ..flows.pack import read_policy

    policy = read_policy(file / FILE_NAME if file.is_dir() else file)
    rules = dict(rule_texts(policy))
    judgements = []
    if requirements:
        from ..flows.trial import judge_with

        wanted = [parse_option("ORG/NAME", Requirement.parse, text) for text in requirements]
        judgements = judge_with(context, policy, str(file), wanted)
    from ._permission import judgement_json

    context.out.result(
        {
            "file": str(file),
            "title": policy.title,
            "rules": rules,
            "components": [judgement_json(judgement) for judgement in judgements],
        }
    )
    context.out.answer(clean(policy.title))
    context.out.table(
        [[name, clean(value), RULES[name].asks] for name, value in rules.items()], indent="  "
    )
    for judgement in judgements:
        for line in judgement.lines():
            context.out.answer(clean(line))
    if not judgements:
        context.out.done(f"{file}: a policy")
    return OK if all(judgement.permits for judgement in judgements) else POLICY


@forge_command("drop", registry=False)
@click.argument("name", metavar="ORG/NAME")
@_scope_options
@into_option
def drop(context: Context, name: str, project: bool, machine: bool, into: Path) -> None:
    """Use a policy no longer."""
    from ..flows.policies import drop as unpin

    file = _file(context, into, project=project, machine=machine)
    (pin,) = _named(file, name)
    unpin(file, pin)
    context.out.result({**pin.to_json(), "scope": file.scope, "dropped": True})
    context.out.done(f"{pin} binds nothing any more ({file.path})")


def _named(file: PinFile, name: str | None) -> list[PolicyPin]:
    pins = file.pins()
    found = [pin for pin in pins if name is None or str(pin.component) == name]
    if not found:
        other = "--machine" if file.scope == "project" else "--project"
        there = ", ".join(str(pin.component) for pin in pins) or "none"
        raise ForgeError(
            "not-found",
            f"{file.path}: expected a pinned policy{'' if name is None else f' {name}'}, "
            f"found {there}",
            hint=f"look elsewhere: {other}; see all: forge policy show",
        )
    return found


def _show_used(context: Context, used: Used) -> None:
    context.out.result(_used_json(used))
    _show_change(context, used)
    context.out.next_step("forge audit   says what of yours it does not permit")


def _show_change(context: Context, used: Used) -> None:
    out, pinned = context.out, used.pinned
    if used.before is None:
        out.answer(f"{pinned}  {clean(pinned.policy.title)}")
        out.table(_rows(pinned), indent="  ")
    else:
        out.answer(f"{used.before}  →  {pinned}")
        for change in used.changes:
            out.answer(f"  {clean(change)}")
        if not used.changes:
            out.answer("  no rule changes")
    out.done(f"{pinned} binds what is used ({pinned.scope})")


def _rows(pinned: Pinned) -> list[list[str]]:
    from signing.policy import rule_texts

    return [[name, clean(value)] for name, value in rule_texts(pinned.policy)]


def _pinned_json(pinned: Pinned) -> dict[str, object]:
    from signing.policy import rule_texts

    return {
        **pinned.pin.to_json(),
        "scope": pinned.scope,
        "title": pinned.policy.title,
        "verified_at": pinned.verified_at,
        "rules": dict(rule_texts(pinned.policy)),
    }


def _used_json(used: Used) -> dict[str, object]:
    return {
        **_pinned_json(used.pinned),
        "changed": True,
        "before": None if used.before is None else used.before.version,
        "changes": [
            {"rule": change.rule, "before": change.before, "after": change.after}
            for change in used.changes
        ],
    }


for _each in (use, show, check, update, drop):
    command.add_command(_each)
