"""`forge renew`."""

from __future__ import annotations

import click

from ..context import Context
from ..output import count_text
from ._command import forge_command


@forge_command("renew", signs=True)
@click.argument("name", required=False, metavar="[ORG|ORG/NAME]")
@click.option("--all", "everything", is_flag=True, help="Every role held here that ends soon.")
def command(context: Context, name: str | None, everything: bool) -> None:
    """Sign roles anew before they expire, without any other change.

    A role that has expired makes its components uninstallable. --all takes those that end within
    60 days and need no other keys than yours.
    """
    from ..flows.renew import renew, renew_all, require_one

    require_one(name, everything)
    done = renew_all(context) if name is None else [renew(context, name)]
    out = context.out
    out.result(
        [
            {
                "role": item.role,
                "expires": f"{item.expires:%Y-%m-%dT%H:%M:%SZ}",
                "sent": item.file is None,
                "file": str(item.file) if item.file else None,
                "missing": item.missing or None,
            }
            for item in done
        ]
    )
    for item in done:
        out.answer(f"{item.role.replace('.', '/')} {item.expires:%Y-%m-%d}")
        if item.file is not None:
            out.say(f"  written to {item.file}; still missing: {item.missing}")
            out.next_step(f"carry {item.file} to one of them: forge org sign {item.file}")
    sent = sum(item.file is None for item in done)
    out.done(f"renewed {count_text(sent, 'role')}")
