"""`forge authority`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..context import Context
from ..errors import ForgeError, UsageError
from ..output import clean
from . import _ceremony, _ceremony_bodies, _ceremony_plans, _status
from ._command import FILE, FOLDER, Function, forge_command
from ._profile import profile_json, profile_rows

if TYPE_CHECKING:
    from ..flows.authority import Pending


@click.group("authority")
def command() -> None:
    """Found the authority, rotate its keys, approve organisations.

    Private keys stay where they are; only what was signed is carried or sent.
    """


@forge_command("init", registry=False, signs=True)
@click.argument("folder", type=FOLDER)
@click.option(
    "--online-keys", type=FILE, required=True, help="The server's online-keys.json (public keys)."
)
@click.option(
    "--insecure-unencrypted",
    is_flag=True,
    help="Write the keys without a passphrase: for development.",
)
@click.option(
    "--with-status",
    is_flag=True,
    help="Also name a status host, whose word must be renewed every 48 hours.",
)
def init(
    context: Context,
    folder: Path,
    online_keys: Path,
    insecure_unencrypted: bool,
    with_status: bool,
) -> None:
    """Make a 1-of-1 authority in FOLDER, for development.

    FOLDER is a new one.
    """
    from ..flows import authority as flow

    if folder.exists() and any(folder.iterdir()):
        raise ForgeError("already-exists", f"{folder}: not empty", hint="choose another folder")
    if not online_keys.is_file():
        raise UsageError(f"--online-keys {online_keys}: no such file")
    passphrase = None if insecure_unencrypted else context.passphrases.new("the authority's keys")
    root = flow.init(context, folder, online_keys, passphrase, with_status=with_status)
    context.out.result({"folder": str(folder), "fingerprint": root})
    context.out.answer(root)
    context.out.done(f"the authority is in {folder}; its private keys must never leave it")
    context.out.next_step(
        f"take {folder}/metadata to the server, and publish the fingerprint where people can "
        "compare it"
    )


@forge_command("list")
@click.option("--all", "everything", is_flag=True, help="Decided ones too.")
def list_(context: Context, everything: bool) -> None:
    """List the organisations that wait for a decision."""
    query = {} if everything else {"state": "pending"}
    answer = context.api().get("applications", query=query)
    rows = answer.get("items", answer.get("applications")) if isinstance(answer, dict) else answer
    rows = [row for row in rows or () if isinstance(row, dict)]
    context.out.result(rows)
    context.out.table(
        [
            [
                clean(row.get("organisation")),
                clean(row.get("state")),
                clean(row.get("applicant") or ""),
                clean(row.get("created_at") or ""),
            ]
            for row in rows
        ]
    )
    if not rows:
        context.out.say("nobody is waiting")


@forge_command("show", registry=False, signs=True)
@click.option(
    "--authority",
    "folder",
    type=FOLDER,
    required=True,
    metavar="FOLDER",
    help="Where the keys are.",
)
def show(context: Context, folder: Path) -> None:
    """Show which of the authority's keys are in a folder."""
    from ..flows import authority as flow

    rows = flow.show(context, folder)
    context.out.result(rows)
    context.out.table(
        [
            [
                str(row["role"]),
                str(row["keyid"] or "(locked)")[:16],
                "passphrase" if row["encrypted"] else "no passphrase",
                str(row["path"]),
            ]
            for row in rows
        ]
    )


def _registrar(function: Function) -> Function:
    """``--authority`` or ``--key``: where the registrar's key is."""
    function = click.option(
        "--key",
        "keys",
        multiple=True,
        metavar="KEY",
        help="A key of the registrar: pkcs11:URI, exec:COMMAND, name or file. May be repeated.",
    )(function)
    return click.option(
        "--authority",
        "folder",
        type=FOLDER,
        metavar="FOLDER",
        help="Folder where registrar.pem is.",
    )(function)


def _described(pending: Pending) -> list[str]:
    """An application as the registrar judges it."""
    application = pending.application
    lines = [f"{application.org}  {clean(application.display_name)} ({application.kind})"]
    lines += [f"  {label:11} {text}" for label, text in profile_rows(application.profile)]
    at = f"{application.created:%Y-%m-%d %H:%M} UTC"
    lines.append(f"  applied by  {clean(pending.applicant)}, {at}")
    lines += [f"  key id      {key.keyid}" for key in application.keys]
    if len(application.keys) > 1:
        lines.append(f"  threshold   {application.threshold} of {len(application.keys)}")
    return lines


@forge_command("show-application")
@click.argument("org")
def show_application(context: Context, org: str) -> None:
    """Show what ORG applied with, its signatures checked."""
    from ..flows import authority as flow

    pending = flow.read_application(context, org)
    application = pending.application
    context.out.result(
        {
            "organisation": application.org,
            **profile_json(application.profile),
            "applicant": pending.applicant,
            "created": f"{application.created:%Y-%m-%dT%H:%M:%SZ}",
            "keyids": [key.keyid for key in application.keys],
            "threshold": application.threshold,
            "similar": list(pending.similar),
            "refused": pending.refusal.reason if pending.refusal else None,
        }
    )
    for line in _described(pending):
        context.out.answer(line)
    if pending.refusal is not None:
        context.out.warn(f"it was refused: {clean(pending.refusal.reason)}")
    if pending.similar:
        context.out.warn(f"names like it exist: {clean(', '.join(pending.similar))}")
    context.out.next_step(
        f"forge authority approve {org} --authority FOLDER",
        f"forge authority refuse {org} --reason TEXT --authority FOLDER",
    )


@forge_command("approve", signs=True)
@click.argument("org")
@_registrar
@click.option("--key-id", metavar="ID", help="Refuse unless the organisation's key begins so.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask on a terminal.")
def approve(
    context: Context,
    org: str,
    folder: Path | None,
    keys: tuple[str, ...],
    key_id: str | None,
    yes: bool,
) -> None:
    """Sign the organisation ORG into the registry."""
    from ..flows import authority as flow
    from ..flows.signers import ids

    pending = flow.read_application(context, org)
    application, out = pending.application, context.out
    keyids = [listed.keyid for listed in application.keys]
    for line in _described(pending):
        out.say(line)
    if key_id is not None and not (len(key_id) >= 8 and any(k.startswith(key_id) for k in keyids)):
        raise ForgeError(
            "key-unlisted",
            f"{org} applied with another key\nexpected {key_id}\nfound    {', '.join(keyids)}",
            hint="do not approve it; ask the organisation",
        )
    if context.interactive and not yes and not context.ask("Sign it with the registrar's key?"):
        raise ForgeError("usage", "not approved; nothing was sent")
    registrar = flow.registrar_keys(context, folder, keys)
    answer = flow.approve(context, pending, registrar)
    out.result(
        {
            "organisation": application.org,
            "kind": application.kind,
            "display_name": application.display_name,
            "keyids": keyids,
            "accepted": answer.get("accepted"),
        }
    )
    out.answer(f"{application.org} approved")
    used = ids([key.public for key in registrar])
    out.done(f"signed {application.org} into the registry with key {used}")
    out.next_step(f"{application.org} can publish now: forge publish FOLDER")


@forge_command("refuse", signs=True)
@click.argument("org")
@click.option("--reason", required=True, metavar="TEXT", help="Shown to the applicant.")
@_registrar
def refuse(
    context: Context, org: str, reason: str, folder: Path | None, keys: tuple[str, ...]
) -> None:
    """Refuse what ORG applied with; the reason is signed.

    The name stays with its applicant, who may change the application and send it again.
    """
    from ..flows import authority as flow
    from ..flows.signers import ids

    pending = flow.read_application(context, org)
    registrar = flow.registrar_keys(context, folder, keys)
    flow.refuse(context, pending, registrar, reason)
    context.out.result({"organisation": org, "state": "refused", "reason": reason})
    context.out.answer(f"{org} refused")
    context.out.done(f"signed the refusal with key {ids([key.public for key in registrar])}")


for _each in (
    _ceremony_bodies.command,
    *_ceremony_plans.COMMANDS,
    *_ceremony.COMMANDS,
    _status.status,
    init,
    list_,
    show,
    show_application,
    approve,
    refuse,
):
    command.add_command(_each)
