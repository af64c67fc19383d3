"""``/oauth/``: the device authorization grant (RFC 8628) for `forge login` and `hf auth login`.

A program asks at one address, and then at the other until somebody has approved it. Clients are
not registered and prove nothing: what counts is who approves, and what the page that they approve
it on says. Hub clients get tokens that read, whatever they ask for.
"""

from __future__ import annotations

from typing import Final

from flask import Blueprint, Response, request

from ..api.bodies import content_length
from ..api.requests import answer, audited, caller, registry
from ..errors import RegistryError
from ..services.device_logins import LIFE, POLL_SECONDS, Wait

_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
_MAX_FORM_BYTES: Final = 16 * 1024


def blueprint() -> Blueprint:
    """A fresh blueprint with both addresses, also as Hub clients ask for them."""
    oauth = Blueprint("oauth", __name__)
    oauth.post("/oauth/device")(device)
    oauth.post("/oauth/token")(token)
    oauth.post("/hf/oauth/device")(hub_device)
    oauth.post("/hf/oauth/token", endpoint="hub_token")(token)
    return oauth


@audited("login.ask")
def device() -> Response:
    """Device authorization request (§3.1). ``scope`` holds actions of ours, `read` by default."""
    wanted = (_parameter("scope") or "read").split()
    return _ask("forge", wanted, _parameter("device_name"))


@audited("login.ask")
def hub_device() -> Response:
    """The same by a Hub client, for a token that reads."""
    return _ask("hub", ["read"], None)


def _ask(client: str, actions: list[str], device_name: str | None) -> Response:
    if _parameter("client_id") is None:
        raise RegistryError("malformed", "request: client_id: expected one, found none")
    registry().throttle.check(request.remote_addr, registry().clock())
    asked = registry().device_logins.ask(caller(), client, actions, device_name)
    page = request.host_url.rstrip("/") + request.script_root + "/login"
    return _kept_by_nobody(
        {
            "device_code": asked.device_code,
            "user_code": asked.user_code,
            "verification_uri": page,
            "verification_uri_complete": f"{page}?user_code={asked.user_code}",
            "expires_in": int(LIFE.total_seconds()),
            "interval": POLL_SECONDS,
        }
    )


@audited("login.take")
def token() -> Response:
    """Device access token request (§3.4)."""
    grant = _parameter("grant_type")
    if grant != _GRANT:
        return _error("unsupported_grant_type", f"expected {_GRANT}")
    code = _parameter("device_code")
    if code is None:
        raise RegistryError("malformed", "request: device_code: expected one, found none")
    registry().throttle.check(request.remote_addr, registry().clock())
    found = registry().device_logins.poll(caller(), code)
    if isinstance(found, Wait):
        return _error(found.value, "nobody has approved it yet")
    left = found.row.expires_at - registry().clock()
    return _kept_by_nobody(
        {
            "access_token": found.secret,
            "token_type": "Bearer",
            "expires_in": round(left.total_seconds()),
            "scope": " ".join(sorted(found.row.scope.actions)),
        }
    )


def _parameter(name: str) -> str | None:
    """A parameter of the form; None where it is missing or empty (RFC 6749 §3.1, §3.2).

    Raises:
        RegistryError: it is there twice, or the body is no form or too large.
    """
    content_length(_MAX_FORM_BYTES)
    request.max_content_length = request.max_form_memory_size = _MAX_FORM_BYTES
    found = request.form.getlist(name)
    if len(found) > 1:
        raise RegistryError("malformed", f"request: {name}: expected it once, found it again")
    return found[0] if found and found[0] else None


def _error(code: str, text: str) -> Response:
    """RFC 6749 §5.2, for what is no refusal of ours."""
    response = _kept_by_nobody({"error": code, "error_description": text})
    response.status_code = 400
    return response


def _kept_by_nobody(value: object) -> Response:
    response = answer(value)
    response.headers["Cache-Control"] = "no-store"
    return response
