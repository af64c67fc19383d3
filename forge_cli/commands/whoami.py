"""`forge whoami`."""

from __future__ import annotations

from ..context import Context
from ..output import clean
from ._command import forge_command


@forge_command("whoami")
def command(context: Context) -> None:
    """Show who the registry takes you for, and what your token allows."""
    answer = context.api_with_token().get("whoami")
    out = context.out
    out.result(answer)
    out.answer(clean(answer.get("user")))
    token = answer.get("token") or {}
    scopes = ", ".join(map(clean, token.get("scopes") or ())) or "none"
    out.say(f"  registry  {context.url}")
    out.say(f"  token     {clean(token.get('name'))}: {scopes}")
    out.say(f"  expires   {clean(token.get('expires_at') or 'never')}")
    for organisation in answer.get("organisations") or ():
        out.say(f"  {clean(organisation.get('role')):8}  in {clean(organisation.get('name'))}")
