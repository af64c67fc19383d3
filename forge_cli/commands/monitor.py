"""`forge monitor`."""

from __future__ import annotations

from pathlib import Path

import click

from ..context import Context
from ..errors import VERIFICATION, ForgeError, UsageError
from ..files import write_private
from ..output import clean
from ._command import FILE, forge_command


@forge_command("monitor")
@click.option("--org", required=True, metavar="ORG", help="Whose name to watch.")
@click.option(
    "--key",
    "keys",
    multiple=True,
    type=FILE,
    metavar="FILE",
    help="A public key of the organisation; repeat it. Without: all keys on this machine.",
)
@click.option(
    "--releases",
    type=FILE,
    metavar="FILE",
    help="What was released, a line `org/name==version sha256` each; all else is an alarm.",
)
@click.option("--state", type=FILE, metavar="FILE", help="Where to keep how far it came.")
@click.option(
    "--evidence", type=FILE, metavar="FILE", help="Where to write what was found (alarm-ORG.json)."
)
def command(
    context: Context,
    org: str,
    keys: tuple[Path, ...],
    releases: Path | None,
    state: Path | None,
    evidence: Path | None,
) -> int:
    """Watch the log for what an organisation did not sign.

    Ends with 3, and writes the evidence, when something was published under ORG that none of its
    keys signed, when the registrar gave ORG other keys, or when the log contradicts itself. Made
    to be run by a timer, on a machine that is not the registry's.
    """
    from signing.keys import PublicKey
    from signing.names import parse_org_name

    from ..flows.monitor import Watch, read_releases

    parse_org_name(org)
    try:
        own = [PublicKey.from_pem(path.read_bytes(), str(path)) for path in keys]
        listed = None if releases is None else read_releases(releases)
    except FileNotFoundError as error:
        raise UsageError(f"{error.filename}: no such file") from None
    own = own or [key.public for key in context.keys.all()]
    if not own:
        raise ForgeError(
            "key-missing",
            f"no key of {org} to compare with",
            hint="name its public keys: --key FILE (forge key show NAME --pem)",
        )
    watch = Watch(context=context, org=org, keys=own, releases=listed)
    place = state or context.pin.state_dir / "monitor" / f"{org}.json"
    with context.out.progress("leaves", 0) as bar:
        log = watch.run(place, bar)
    out = context.out
    out.result(
        {
            "organisation": org,
            "size": log.checkpoint.size,
            "seen": len(watch.seen),
            "alarms": [
                {"leaf": each.number, "subject": each.subject, "reason": each.reason}
                for each in watch.alarms
            ],
        }
    )
    for number, entry in watch.seen:
        version = f" {entry.version}" if entry.version else ""
        out.say(f"leaf {number}: {clean(entry.act)} {clean(entry.subject)}{version}")
    if not watch.alarms:
        out.answer(f"{org}: {len(watch.seen)} new leaves, all signed by its keys")
        return 0
    path = evidence or Path(f"alarm-{org}.json")
    write_private(path, watch.evidence(log), mode=0o644)
    for alarm in watch.alarms:
        out.answer(f"ALARM leaf {alarm.number}: {clean(alarm.subject)}: {clean(alarm.reason)}")
    out.say(f"the evidence is in {path}")
    out.next_step("tell the registrar and the other organisations; do not install anything of it")
    return VERIFICATION
