"""`forge org`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..context import Context
from ..errors import ForgeError, RemoteError, UsageError
from ..output import clean
from ._command import FILE, forge_command, parse_option
from ._profile import profile_json, profile_rows
from .org_policy import policy
from .org_publisher import publisher
from .org_webhook import webhook

if TYPE_CHECKING:
    from ..flows.orgs import Signed

_KINDS = ("government", "startup", "academic", "company")
_ROLES = ("owner", "publisher", "reader")


@click.group("org")
def command() -> None:
    """Create organisations and manage their members."""


@forge_command("create", signs=True)
@click.argument("org")
@click.option("--kind", type=click.Choice(_KINDS), required=True, help="What it is.")
@click.option("--display-name", required=True, metavar="TEXT", help="Its name for people.")
@click.option("--region", metavar="MA-NN", help="Its region, by ISO 3166-2 (MA-01 to MA-12).")
@click.option(
    "--name",
    "names",
    multiple=True,
    metavar="LANGUAGE=TEXT",
    help="Its name in ar, fr, zgh or en. May be repeated.",
)
@click.option("--contact", metavar="TEXT", help="How to reach it: an e-mail address or a URL.")
@click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="KEY",
    help="Its key: one of `forge key list`, pkcs11:URI, exec:COMMAND. May be repeated.",
)
@click.option("--threshold", type=int, default=1, show_default=True, help="Keys that must sign.")
def create(
    context: Context,
    org: str,
    kind: str,
    display_name: str,
    region: str | None,
    names: tuple[str, ...],
    contact: str | None,
    keys: tuple[str, ...],
    threshold: int,
) -> None:
    """Apply for the organisation ORG under your key.

    The authority decides, where its own keys are. Compare the key id with it over another
    channel: that is what ties the name to you. After a refusal, apply again.
    """
    from signing.names import parse_org_name
    from signing.profile import OrgProfile

    from ..flows.orgs import create as apply

    org = parse_option("ORG", parse_org_name, org)

    profile = OrgProfile(
        kind=kind,
        display_name=display_name,
        region=region,
        names=dict(_named(item) for item in names),
        contact=contact,
    )
    stored, answer = apply(context, org, profile, keys, threshold)
    out = context.out
    out.result(
        {
            "organisation": org,
            "state": answer.get("state"),
            "keyid": stored[0].public.keyid,
            "keyids": [key.public.keyid for key in stored],
        }
    )
    out.answer(f"{org} {clean(answer.get('state') or 'pending')}")
    out.done(f"applied for {org} with key {', '.join(repr(key.name) for key in stored)}")
    for key in stored:
        out.say(f"  key id {key.public.keyid}")
    out.next_step(
        "tell the authority that key id over another channel; there they run:",
        f"forge authority approve {org} --authority FOLDER",
    )


def _named(text: str) -> tuple[str, str]:
    language, equals, name = text.partition("=")
    if not equals:
        raise UsageError(f"--name {text!r}: expected LANGUAGE=TEXT, like fr='Laboratoire'")
    return language, name


@forge_command("show")
@click.argument("org")
def show(context: Context, org: str) -> None:
    """Show an organisation, as signed and as the registry says."""
    from signing.names import parse_org_name

    name = parse_option("ORG", parse_org_name, org)
    registered = context.view.organisations()
    delegation = registered.get(name)
    out = context.out
    if delegation is None and _show_refused(context, name):
        return
    try:
        answer = context.api().get("organisations", name)
    except RemoteError as error:
        if error.status == 404:
            from ..remote.near import near_organisation

            error.hint = near_organisation(name, registered) or error.hint
        raise
    profile = delegation.profile if delegation else None
    components = [_component(item) for item in answer.get("components") or ()]
    out.result(
        {
            "organisation": name,
            "registered": delegation is not None,
            **profile_json(profile),
            "keyids": [key.keyid for key in delegation.keys] if delegation else [],
            "threshold": delegation.threshold if delegation else None,
            "state": answer.get("state"),
            "components": components,
            "members": answer.get("members"),
        }
    )
    if delegation is not None and profile is not None:
        out.answer(f"{name}  {clean(profile.display_name)} ({clean(profile.kind)})")
        for label, text in profile_rows(profile):
            out.answer(f"  {label:11} {text}")
        keys = ", ".join(key.keyid[:12] for key in delegation.keys)
        out.answer(f"  keys        {delegation.threshold} of {len(delegation.keys)}: {keys}")
    else:
        out.answer(
            f"{name}  {clean(answer.get('state') or 'pending')}: not signed by the registrar"
        )
    out.answer(f"  components  {', '.join(components) or 'none yet'}")
    for member in answer.get("members") or ():
        out.answer(f"  {clean(member.get('role')):11} {clean(member.get('user'))}")


def _show_refused(context: Context, name: str) -> bool:
    """Show the registrar's signed refusal, if there is one."""
    from ..errors import RemoteError
    from ..flows.authority import read_application

    try:
        pending = read_application(context, name)
    except RemoteError:
        return False  # nobody applied: the question after this one has the better answer
    if pending.refusal is None:
        return False
    refusal, out = pending.refusal, context.out
    at = f"{refusal.refused:%Y-%m-%dT%H:%M:%SZ}"
    out.result(
        {
            "organisation": name,
            "registered": False,
            "state": "refused",
            "reason": refusal.reason,
            "refused_at": at,
        }
    )
    out.answer(f"{name} refused by the registrar, {at}")
    out.answer(f"  reason      {clean(refusal.reason)}")
    out.next_step(f"change what it names and apply again: forge org create {name} …")
    return True


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
    """Add your signature to the role in FILE.

    It is sent once enough of the organisation's keys have signed it.
    """
    from ..flows.orgs import read_role_file, sign_file
    from ..flows.publishers import describe_changes

    org, data = read_role_file(file)
    out = context.out
    changes = describe_changes(context, org, data)
    if not changes:
        raise ForgeError("already-exists", f"{file}: adds nothing to what {org} has signed already")
    out.say(f"this changes who may publish for {org}:")
    for line in changes:
        out.say(f"  {clean(line)}")
    if context.interactive and not yes and not context.ask("Sign it?"):
        raise ForgeError("usage", "not signed")
    done = sign_file(context, file, org, data)
    _say_signed(context, file, done)


@forge_command("send")
@click.argument("file", type=FILE)
def send(context: Context, file: Path) -> None:
    """Send the role in FILE, which enough keys have signed."""
    from ..flows.orgs import read_role_file, send_file

    org, data = read_role_file(file)
    _say_signed(context, file, send_file(context, org, data))


def _say_signed(context: Context, file: Path, done: Signed) -> None:
    out = context.out
    out.result(
        {
            "organisation": done.organisation,
            "changes": list(done.changes),
            "sent": not done.missing,
            "missing": done.missing or None,
        }
    )
    if done.missing:
        out.done(f"signed {file} with {', '.join(done.signed_with)}; still missing: {done.missing}")
        out.next_step(f"carry {file} to a holder of one of these keys: forge org sign {file}")
        return
    out.done(f"the role of {done.organisation} is signed and sent")
    out.next_step(
        "where a component or its keys are new, its publisher runs forge publish or "
        "forge resign now"
    )


for _each in (member_add, member_remove, member_list):
    member.add_command(_each)
for _each in (create, show, member, publisher, policy, webhook, sign, send):
    command.add_command(_each)
