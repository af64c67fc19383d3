"""Telling an agency's list what this host has, where somebody here chose that.

An installation never fails for it: what could not be told now is told by the next one.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..context import Context
from ..errors import ForgeError
from ..inventory import Choice, Inventory
from ..lockfile import LockedComponent

TOKEN_DAYS = 366


def tell(context: Context, folder: Path, components: Iterable[LockedComponent]) -> None:
    """After an installation into ``folder``: remembers it and reports, if somebody chose so."""
    inventory = Inventory.of(context.places)
    if not inventory.choice_file.exists():  # nothing is read, kept or sent
        return
    try:
        choice = inventory.choice()
        if choice is None:
            return
        installed = inventory.note(folder, components)
        recalled = send(context, choice, installed)
    except (ForgeError, OSError) as error:
        context.out.warn(
            f"the inventory of this host was not told: {getattr(error, 'message', error)}; "
            "the next installation tells it, or: forge inventory send"
        )
        return
    if recalled:
        context.out.warn(
            f"{recalled} of what this host has is recalled: "
            f"forge recall list --organisation {choice.organisation}"
        )


def send(context: Context, choice: Choice, installed: list[dict[str, str]]) -> int:
    """Reports what this host has; returns how much of it is recalled.

    Raises:
        ForgeError: the registry is not trusted any more, refuses, or cannot be reached.
    """
    pin = context.trust.require(choice.registry)
    from ..remote.api import Api, member  # who asks nobody needs none of it

    api = Api(http=context.http, url=pin.url, token=choice.token)
    body: dict[str, object] = {"installed": installed}
    answer = api.put("inventory", choice.organisation, choice.host, body=body)
    return int(member(answer, "recalled", int))


def choose(context: Context, organisation: str, host: str, token: str | None) -> Choice:
    """Makes this host report to ``organisation`` from now on, with a token for that alone."""
    if token is None:
        body: dict[str, Any] = {
            "name": f"inventory of {host}", "actions": ["inventory"],
            "organisation": organisation, "component": None, "expires_in_days": TOKEN_DAYS,
        }  # fmt: skip
        from ..remote.api import member

        token = member(context.api_with_token().post("tokens", body=body), "token")
    choice = Choice(registry=context.pin.url, organisation=organisation, host=host, token=token)
    inventory = Inventory.of(context.places)
    send(context, choice, inventory.installed())  # what would be refused is not kept
    inventory.choose(choice)
    return choice


def stop(context: Context) -> Choice | None:
    """Takes this host off the list and forgets the choice; None where nothing was chosen."""
    inventory = Inventory.of(context.places)
    choice = inventory.choice()
    if choice is not None:
        pin = context.trust.require(choice.registry)
        from ..remote.api import Api  # who asks nobody needs none of it

        api = Api(http=context.http, url=pin.url, token=choice.token)
        api.delete("inventory", choice.organisation, choice.host)
    inventory.forget()
    return choice
