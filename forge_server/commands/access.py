"""``keys``, ``user`` and ``token``: what signs for the server, and who may ask it for something."""

from __future__ import annotations

from typing import Any

import click

from .common import FOLDER, publishing, with_registry


@click.group()
def keys() -> None:
    """Make and list the server's own keys, snapshot and timestamp."""


@keys.command("new")
@FOLDER
@with_registry
@publishing
def keys_new(registry: Any) -> None:
    """Make fresh keys beside the old ones, for the authority to name.

    The old ones go on signing until a root names the fresh ones; then the server changes over by
    itself. Prints the file that the authority needs: forge authority rotate.
    """
    from ..operate.keys import new_online_keys

    for row in new_online_keys(registry):
        click.echo(f"{row.role:9}  {row.keyid}  {row.path}", err=True)
    click.echo(registry.folder.online_keys)
    click.echo("carry that file to the authority:", err=True)
    click.echo("  forge authority rotate snapshot timestamp --online-keys FILE …", err=True)


@keys.command("list")
@FOLDER
@with_registry
def keys_list(registry: Any) -> None:
    """List the server's keys, and which of them the root names."""
    from ..operate.keys import list_online_keys

    for row in list_online_keys(registry):
        state = "named by the root" if row.listed else "not named by the root"
        click.echo(f"{row.role:9}  {row.keyid}  {state}  {row.path}")


@click.group()
def user() -> None:
    """Add, list and disable users."""


@user.command("add")
@FOLDER
@click.argument("name")
@click.option("--token-name", default="first", show_default=True)
@click.option("--expires-in-days", type=click.IntRange(1, 366), default=90, show_default=True)
@with_registry
@publishing
def user_add(registry: Any, name: str, token_name: str, expires_in_days: int) -> None:
    """Add the user NAME; prints an access token, alone, on stdout."""
    from ..services.callers import OPERATOR

    token = registry.accounts.add_user(
        OPERATOR, name, token_name=token_name, expires_in_days=expires_in_days
    )
    click.echo(token)
    click.echo(f"This is the only time the token of {name} is shown. Log in with it:", err=True)
    click.echo("  forge login URL --fingerprint FINGERPRINT --token-file FILE", err=True)


@user.command("list")
@FOLDER
@with_registry
def user_list(registry: Any) -> None:
    """List all users."""
    for row in registry.accounts.users():
        state = "" if row.disabled_at is None else f"  disabled {row.disabled_at:%F}"
        click.echo(f"{row.name}  since {row.created_at:%F}{state}")


@user.command("disable")
@FOLDER
@click.argument("name")
@with_registry
@publishing
def user_disable(registry: Any, name: str) -> None:
    """Shut the user NAME out and revoke all their tokens."""
    from ..services.callers import OPERATOR

    registry.accounts.disable_user(OPERATOR, name)
    click.echo(f"{name} is disabled", err=True)


@click.group()
def token() -> None:
    """Make, list and revoke access tokens."""


@token.command("new")
@FOLDER
@click.argument("name")
@click.option("--token-name", default="made by the operator", show_default=True)
@click.option("--expires-in-days", type=click.IntRange(1, 366), default=90, show_default=True)
@with_registry
@publishing
def token_new(registry: Any, name: str, token_name: str, expires_in_days: int) -> None:
    """Make another token for the user NAME; prints it, alone, on stdout."""
    from ..domain.scopes import ACTIONS, Scope
    from ..services.callers import OPERATOR

    click.echo(
        registry.accounts.new_token_for(
            OPERATOR,
            name,
            name=token_name,
            scope=Scope(actions=frozenset(ACTIONS)),
            expires_in_days=expires_in_days,
        )
    )


@token.command("list")
@FOLDER
@click.argument("name", required=False)
@with_registry
def token_list(registry: Any, name: str | None) -> None:
    """List the tokens of the user NAME, or of everybody."""
    from ..domain.text import harmless

    names = [name] if name else [row.name for row in registry.accounts.users()]
    lines = []
    for row in (row for each in names for row in registry.accounts.tokens(each)):
        used = "never used" if row.last_used_at is None else f"used {row.last_used_at:%F}"
        state = "revoked" if row.revoked_at else f"until {row.expires_at:%F}"
        scopes = ",".join(row.scope.texts())
        lines.append((str(row.id), row.user, harmless(row.name), scopes, state, used))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(padded).rstrip())


@token.command("revoke")
@FOLDER
@click.argument("token_id", type=int)
@with_registry
@publishing
def token_revoke(registry: Any, token_id: int) -> None:
    """Revoke the token TOKEN_ID."""
    from ..services.callers import OPERATOR

    registry.accounts.revoke_token(OPERATOR, token_id)
    click.echo(f"token {token_id} is revoked", err=True)


COMMANDS = (keys, user, token)
