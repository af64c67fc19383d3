"""`forge log`."""

from __future__ import annotations

from pathlib import Path

import click

from ..context import Context
from ..errors import VERIFICATION
from ..files import write_private
from ..output import clean
from ._command import FILE, forge_command


@click.group("log")
def command() -> None:
    """Look at the public log and check it.

    The log holds a leaf for every version of every signed role and for every act. It can only
    grow; whoever saw it once notices when something in it is changed or left out.
    """


@forge_command("show")
@click.option("--entries", default=10, show_default=True, help="How many of the newest leaves.")
def show(context: Context, entries: int) -> None:
    """Show the log's checkpoint, its witnesses and its newest leaves."""
    from ..flows import log as flow

    log = flow.require_log(context)
    signed = log.signed
    rows = flow.newest_entries(log, max(0, entries))
    out = context.out
    out.result(
        {
            "origin": signed.checkpoint.origin,
            "size": signed.checkpoint.size,
            "root": signed.checkpoint.root.hex(),
            "key": signed.key.vkey,
            "witnesses": {
                name: f"{at:%Y-%m-%dT%H:%M:%SZ}" for name, at in signed.witnesses.items()
            },
            "quorum": log.policy.quorum,
            "entries": [
                {
                    "number": number,
                    "act": entry.act,
                    "subject": entry.subject,
                    "version": entry.version,
                    "sha256": entry.sha256,
                    "at": None if entry.at is None else f"{entry.at:%Y-%m-%dT%H:%M:%SZ}",
                }
                for number, entry in rows
                if entry is not None
            ],
        }
    )
    out.answer(f"{signed.checkpoint.origin}")
    out.answer(f"  leaves     {signed.checkpoint.size}")
    out.answer(f"  root       {signed.checkpoint.root.hex()}")
    needed = f"{log.policy.quorum} of {len(log.policy.witnesses)} needed"
    out.answer(f"  witnesses  {needed if log.policy.witnesses else 'none are named'}")
    for name, at in sorted(signed.witnesses.items()):
        out.answer(f"             {name}, {at:%Y-%m-%d %H:%M} UTC")
    out.answer()
    out.table(
        [
            [
                str(number),
                clean(entry.act) if entry else "?",
                clean(entry.subject) + (f" {entry.version}" if entry.version else "")
                if entry
                else "(not understood)",
                "" if entry is None or entry.at is None else f"{entry.at:%Y-%m-%d %H:%M}",
            ]
            for number, entry in rows
        ]
    )


@forge_command("prove")
@click.argument("component")
@click.option("-o", "--output", type=FILE, help="Write the proof there (c2sp.org/tlog-proof).")
def prove(context: Context, component: str, output: Path | None) -> None:
    """Prove that the index of COMPONENT stands in the log."""
    from signing.names import ComponentName
    from signing.tlog.proof import SUFFIX, parse_proof

    from ..flows import log as flow

    name = ComponentName.parse(component)
    proved = flow.prove(context, name)
    number = parse_proof(proved.proof).index
    path = output or Path(f"{name.role}{SUFFIX}")
    write_private(path, proved.proof, mode=0o644)
    context.out.result(
        {"role": proved.role, "number": number, "leaf": proved.leaf.decode(), "file": str(path)}
    )
    context.out.answer(str(path))
    context.out.say(f"leaf {number}: {proved.leaf.decode()}")
    context.out.done(f"the proof that {name}'s index stands in the log is in {path}")


@forge_command("verify")
@click.argument("file", type=FILE)
def verify(context: Context, file: Path) -> int:
    """Verify a receipt, or evidence of a fork, without the network.

    A receipt is kept by `forge publish` for every release, and beside every installed component.
    Evidence of a fork is what a client keeps when a log shows two histories.
    """
    from ..flows import log as flow

    found = flow.verify_file(context, file)
    out = context.out
    if isinstance(found, flow.Contradiction):
        first, second = found.first, found.second
        out.result(
            {
                "contradiction": True,
                "origin": first.origin,
                "sizes": [first.size, second.size],
                "roots": [first.root.hex(), second.root.hex()],
            }
        )
        out.answer(f"PROVED: the log {first.origin} signed two histories")
        out.answer(f"  {first.size:>10} leaves, root {first.root.hex()}")
        out.answer(f"  {second.size:>10} leaves, root {second.root.hex()}")
        out.say("both signatures are the log's, and the two cannot both be true")
        out.next_step("tell the authority and the other witnesses; give them this file")
        return 0
    failure = found.first_failure
    history = next(check for check in found.checks if check.title == "history")
    out.result({"ok": found.ok, "history": history.status, "detail": history.detail})
    if failure is None:
        out.answer(f"{found.require()}: {history.detail}")
        out.done("the receipt holds")
        return 0
    out.answer(f"FAILED at check {failure.number} ({failure.title}): {clean(failure.detail)}")
    return VERIFICATION


@forge_command("audit")
def audit(context: Context) -> int:
    """Read the whole log and check that it is what its checkpoint says."""
    from ..flows import log as flow

    log = flow.require_log(context)
    out = context.out
    with out.progress("leaves", log.checkpoint.size) as bar:
        auditor, checkpoint = flow.audit(context, bar)
    out.result(
        {
            "origin": checkpoint.origin,
            "size": checkpoint.size,
            "root": checkpoint.root.hex(),
            "acts": dict(auditor.counts),
            "problems": auditor.problems,
        }
    )
    out.answer(f"{checkpoint.origin}: {checkpoint.size} leaves, all of them as signed")
    out.table([[act, str(count)] for act, count in auditor.counts.most_common()], indent="  ")
    for problem in auditor.problems:
        out.warn(clean(problem))
    return VERIFICATION if auditor.problems else 0


for _each in (show, prove, verify, audit):
    command.add_command(_each)
