"""`forge authority`."""

from __future__ import annotations

from pathlib import Path

import click

from ..context import Context
from ..errors import ForgeError, UsageError
from ..output import clean
from ._command import FILE, FOLDER, forge_command


@click.group("authority")
def command() -> None:
    """Approve organisations, where the authority's keys are.

    Private keys stay in the authority's folder; only signed roles are sent.
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
def init(
    context: Context,
    folder: Path,
    online_keys: Path,
    insecure_unencrypted: bool,
) -> None:
    """Make the authority's keys and first metadata in a new FOLDER."""
    from ..flows import authority as flow

    if folder.exists() and any(folder.iterdir()):
        raise ForgeError("already-exists", f"{folder}: not empty", hint="choose another folder")
    if not online_keys.is_file():
        raise UsageError(f"--online-keys {online_keys}: no such file")
    passphrase = None if insecure_unencrypted else context.passphrases.new("the authority's keys")
    root = flow.init(context, folder, online_keys, passphrase)
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


@forge_command("approve", signs=True)
@click.argument("org")
@click.option(
    "--authority",
    "folder",
    type=FOLDER,
    required=True,
    metavar="FOLDER",
    help="Where registrar.pem is.",
)
@click.option("--key-id", metavar="ID", help="Refuse unless the organisation's key begins so.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask on a terminal.")
def approve(context: Context, org: str, folder: Path, key_id: str | None, yes: bool) -> None:
    """Sign the organisation ORG into the registry."""
    from ..flows import authority as flow

    pending = flow.read_application(context, org)
    application, out = pending.application, context.out
    keys = [key.keyid for key in application.keys]
    out.say(f"{application.org}  {clean(application.display_name)} ({application.kind})")
    out.say(f"  applied by  {clean(pending.applicant)}, {application.created:%Y-%m-%d %H:%M} UTC")
    for keyid in keys:
        out.say(f"  key id      {keyid}")
    if len(keys) > 1:
        out.say(f"  threshold   {application.threshold} of {len(keys)}")
    if key_id is not None and not (len(key_id) >= 8 and any(k.startswith(key_id) for k in keys)):
        raise ForgeError(
            "key-unlisted",
            f"{org} applied with another key\nexpected {key_id}\nfound    {', '.join(keys)}",
            hint="do not approve it; ask the organisation",
        )
    if context.interactive and not yes and not context.ask("Sign it with the registrar's key?"):
        raise ForgeError("usage", "not approved; nothing was sent")
    key = flow.registrar_key(context, folder)
    answer = flow.approve(context, pending, key)
    out.result(
        {
            "organisation": application.org,
            "kind": application.kind,
            "display_name": application.display_name,
            "keyids": keys,
            "accepted": answer.get("accepted"),
        }
    )
    out.answer(f"{application.org} approved")
    out.done(f"signed {application.org} into the registry with key {key.public.keyid[:12]}")
    out.next_step(f"{application.org} can publish now: forge publish FOLDER")


for _each in (init, list_, show, approve):
    command.add_command(_each)
