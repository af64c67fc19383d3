"""How often one caller may ask for what costs something."""

from __future__ import annotations

from hashlib import sha256

from flask import current_app, g, request

from ..domain.addresses import counted_as
from ..errors import RegistryError
from .described import ANYBODY, of_view
from .requests import registry


def spend_one() -> None:
    """Takes one request off what the caller has in a minute; the answer says how many are left.

    Raises:
        RegistryError: none is left (``too-many-requests``).
    """
    # A made-up token is a caller of its own where it is looked at, and is stopped by the limit on
    # failures. Elsewhere anybody would be as many callers as they like.
    here = of_view(request.endpoint)
    looked_at = here is not None and here.caller != ANYBODY
    header = request.headers.get("Authorization", "") if looked_at else ""
    who = f"{counted_as(request.remote_addr or '')} {sha256(header.encode()).hexdigest()}"
    allowance = current_app.extensions["forge-rates"].take(who, registry().clock())
    if allowance is None:
        return
    g.rate_headers = allowance.headers()
    if not allowance.allowed:
        raise RegistryError(
            "too-many-requests",
            f"expected at most {allowance.quota} requests a minute by one caller, found more",
            f"wait {allowance.reset_seconds} seconds",
            retry_after_seconds=allowance.reset_seconds,
        )
