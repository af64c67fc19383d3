"""`forge logout`."""

from __future__ import annotations

from ..context import Context
from ._command import forge_command


@forge_command("logout")
def command(context: Context) -> None:
    """Forget the access token of the registry. The registry stays trusted."""
    url = context.url
    removed = context.credentials.remove(url)
    context.out.result({"registry": url, "removed": removed})
    if removed:
        context.out.done(f"forgot the token for {url}")
        context.out.say(
            "  it stays valid until it expires; another login of yours can end it "
            "(forge token revoke ID), or the operator"
        )
    else:
        context.out.say(f"there was no token for {url}")
