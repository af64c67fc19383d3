"""`forge org`."""

from __future__ import annotations

from pathlib import Path

import click

from ..context import Context
from ..errors import ForgeError, RemoteError
from ..nearby import did_you_mean
from ..output import clean
from ._command import FILE, forge_command, key_option, parse_option

_KINDS = ("government", "startup", "academic", "company")
_ROLES = ("owner", "publisher", "reader")


@click.group("org")
def command() -> None:
    """Create organisations and manage their members."""


@forge_command("create", signs=True)
@click.argument("org")
@click.option("--kind", type=click.Choice(_KINDS), required=True, help="What it is.")
@click.option("--display-name", required=True, metavar="TEXT", help="Its name for people.")
@key_option
def create(context: Context, org: str, kind: str, display_name: str, key: str | None) -> None:
    """Apply for the organisation ORG under your key.

    The authority decides, where its own keys are. Compare the key id with it over another
    channel: that is what ties the name to you.
    """
    from ..flows.orgs import create as apply

    stored, answer = apply(context, org, kind, display_name, key)
    out = context.out
    out.result({"organisation": org, "state": answer.get("state"), "keyid": stored.public.keyid})
    out.answer(f"{org} {clean(answer.get('state') or 'pending')}")
    out.done(f"applied for {org} with key {stored.name!r}")
    out.say(f"  key id {stored.public.keyid}")
    out.next_step(
        "tell the authority that key id over another channel; there they run:",
        f"forge authority approve {org} --authority FOLDER",
    )


@forge_command("show")
@click.argument("org")
def show(context: Context, org: str) -> None:
    """Show an organisation: what the registrar signed, and what the registry says."""
    from signing.names import parse_org_name

    name = parse_option("ORG", parse_org_name, org)
    registered = context.view.organisations()
    delegation = registered.get(name)
    try:
        answer = context.api().get("organisations", name)
    except RemoteError as error:
        if error.status == 404:
            error.hint = did_you_mean(name, registered) or error.hint
        raise
    out = context.out
    profile = delegation.profile if delegation else None
    components = [_component(item) for item in answer.get("components") or ()]
    out.result(
        {
            "organisation": name,
            "registered": delegation is not None,
            "kind": profile.kind if profile else None,
            "display_name": profile.display_name if profile else None,
            "keyids": [key.keyid for key in delegation.keys] if delegation else [],
            "threshold": delegation.threshold if delegation else None,
            "state": answer.get("state"),
            "components": components,
            "members": answer.get("members"),
        }
    )
    if delegation is not None and profile is not None:
        out.answer(f"{name}  {clean(profile.display_name)} ({clean(profile.kind)})")
        keys = ", ".join(key.keyid[:12] for key in delegation.keys)
        out.answer(f"  keys        {delegation.threshold} of {len(delegation.keys)}: {keys}")
    else:
        out.answer(
            f"{name}  {clean(answer.get('state') or 'pending')}: not signed by the registrar"
        )
    out.answer(f"  components  {', '.join(components) or 'none yet'}")
    for member in answer.get("members") or ():
        out.answer(f"  {clean(member.get('role')):11} {clean(member.get('user'))}")


def _component(item: object) -> str:
    return clean(item.get("component") if isinstance(item, dict) else item)


@click.group("member")
def member() -> None:
    """Add, remove and list the members of an organisation."""


@forge_command("add")
@click.argument("org")
@click.argument("user")
@click.option(
    "--role", type=click.Choice(_ROLES), default="publisher", show_default=True, help="Rights."
)
def member_add(context: Context, org: str, user: str, role: str) -> None:
    """Make USER a member of ORG, or change their role."""
    context.api_with_token().put("organisations", org, "members", user, body={"role": role})
    context.out.result({"organisation": org, "user": user, "role": role})
    article = "an" if role == "owner" else "a"
    context.out.done(f"{clean(user)} is now {article} {role} of {clean(org)}")
    if role != "reader":
        context.out.say("  signing needs a key that the component lists, besides the membership")


@forge_command("remove")
@click.argument("org")
@click.argument("user")
def member_remove(context: Context, org: str, user: str) -> None:
    """End USER's membership of ORG."""
    context.api_with_token().delete("organisations", org, "members", user)
    context.out.result({"organisation": org, "user": user, "role": None})
    context.out.done(f"{clean(user)} is no longer a member of {clean(org)}")
    context.out.say("  their key keeps its rights until the organisation's role is signed anew")


@forge_command("list")
@click.argument("org")
def member_list(context: Context, org: str) -> None:
    """List the members of ORG."""
    members = context.api_with_token().get("organisations", org).get("members")
    if members is None:
        raise ForgeError("forbidden", f"{org}: only members see the members")
    context.out.result(members)
    context.out.table([[clean(m.get("user")), clean(m.get("role"))] for m in members])


@forge_command("sign", signs=True)
@click.argument("file", type=FILE)
@click.option("-y", "--yes", is_flag=True, help="Do not ask on a terminal.")
def sign(context: Context, file: Path, yes: bool) -> None:
    """Complete a role that a publisher brought you in FILE, and send it."""
    from ..flows.orgs import additions, read_role_file, sign_file

    org, data = read_role_file(file)
    out = context.out
    added = additions(context, org, data)
    if not added:
        raise ForgeError("already-exists", f"{file}: adds nothing to what {org} has signed already")
    out.say(f"this lets the following keys publish for {org}:")
    for name, delegation in added.items():
        for key in delegation.keys:
            out.say(f"  {name}  key {key.keyid}")
    if context.interactive and not yes and not context.ask("Sign it?"):
        raise ForgeError("usage", "not signed")
    done = sign_file(context, file, org, data)
    out.result(
        {
            "organisation": done.organisation,
            "components": [str(name) for name in done.added],
            "sent": not done.missing,
            "missing": done.missing or None,
        }
    )
    if done.missing:
        out.done(f"signed {file} with {', '.join(done.signed_with)}; still missing: {done.missing}")
        out.next_step(f"carry {file} to a holder of one of these keys: forge org sign {file}")
        return
    out.done(
        f"signed with {', '.join(done.signed_with)} and sent: " + ", ".join(map(str, done.added))
    )
    out.next_step("the publisher runs `forge publish` again")


for _each in (member_add, member_remove, member_list):
    member.add_command(_each)
for _each in (create, show, member, sign):
    command.add_command(_each)
