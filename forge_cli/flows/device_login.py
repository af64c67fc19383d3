"""Logging in with an approval on another machine (RFC 8628), and giving one.

The program that logs in never sees another token than its own: it shows a code, and asks until
somebody has approved that code with a token that the registry knows.
"""

from __future__ import annotations

import json
import platform
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

from ..context import Context
from ..errors import ForgeError, NetworkError, RemoteError
from ..output import clean
from ..remote.api import member
from ..remote.http import read_limited

DEVICE_PATH: Final = "/oauth/device"
TOKEN_PATH: Final = "/oauth/token"  # noqa: S105
_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
_MAX_ANSWER_BYTES: Final = 1 << 16
_SLOWER_SECONDS: Final = 5  # RFC 8628 §3.5
_MOST_SECONDS: Final = 60
_MACHINE: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


def ask_for_token(context: Context, url: str, actions: Sequence[str]) -> str:
    """Shows a code, and waits until somebody has approved it; returns the access token.

    Raises:
        ForgeError: refused (``login-denied``), or nobody decided in time (``login-expired``).
    """
    name = platform.node()
    asked = _asked(
        context,
        f"{url}{DEVICE_PATH}",
        {
            "client_id": "forge",
            "scope": " ".join(actions),
            **({"device_name": name} if _MACHINE.fullmatch(name) else {}),
        },
    )
    life = _seconds(asked, "expires_in", 600)
    _show(context, url, member(asked, "user_code"), life)
    form = {
        "grant_type": _GRANT, "client_id": "forge", "device_code": member(asked, "device_code"),
    }  # fmt: skip
    return _awaited(context, f"{url}{TOKEN_PATH}", form, _seconds(asked, "interval", 5), life)


def _asked(context: Context, address: str, form: Mapping[str, str]) -> Any:
    with context.http.open("POST", address, headers=_FORM, body=_body(form)) as response:
        if response.status in (404, 405):
            raise ForgeError(
                "not-found",
                f"{address}: this registry takes no logins that are approved on another machine",
                hint="log in with a token: --token-file FILE",
            )
        answer = _json(read_limited(response, _MAX_ANSWER_BYTES))
        if response.status >= 400:
            said = answer.get("error_description") if isinstance(answer, dict) else None
            raise RemoteError(
                f"http-{response.status}",
                str(said or f"{address}: the registry answered {response.status}"),
                status=response.status,
            )
        return answer


def _show(context: Context, url: str, code: str, life: int) -> None:
    """Also with ``--quiet``: without the code nobody can go on. The address is our own, so that
    nobody is sent elsewhere with a token to type."""
    code = clean(code)
    stream = context.out.stderr
    stream.write(
        f"The code of this login is  {context.out.paint(code, 'bold')}\n"
        "Approve it where you are logged in already:\n"
        f"  forge login --approve {code}\n"
        "or in a browser, with an access token of yours:\n"
        f"  {url}/login?{urlencode({'user_code': code})}\n"
        f"waiting for up to {life // 60} minutes …\n"
    )
    stream.flush()


def _awaited(
    context: Context, address: str, form: Mapping[str, str], interval: int, life: int
) -> str:
    deadline = time.monotonic() + life
    while time.monotonic() < deadline:
        pause(min(interval, _MOST_SECONDS))
        try:
            with context.http.open("POST", address, headers=_FORM, body=_body(form)) as response:
                answer = _json(read_limited(response, _MAX_ANSWER_BYTES))
        except NetworkError as error:
            if error.code == "too-many-requests":
                interval += _SLOWER_SECONDS
            continue  # a line that breaks for a moment ends no login
        if not isinstance(answer, dict):
            continue
        token = answer.get("access_token")
        if isinstance(token, str):
            return token
        _require_waiting(answer)
        if answer.get("error") == "slow_down":
            interval += _SLOWER_SECONDS
    raise _expired()


def _require_waiting(answer: Mapping[str, Any]) -> None:
    """Raises ForgeError where it makes no sense to ask again."""
    error = answer.get("error")
    if error == "access_denied":
        raise ForgeError("login-denied", "the login was refused on the other machine")
    if error == "expired_token":
        raise _expired()
    if error == "invalid_grant":
        # Our own earlier request took the token, and its answer never came.
        raise ForgeError(
            "login-expired",
            "the registry does not know this login any more; an answer of it may have been lost",
            hint="log in again, and revoke what you did not get: forge token list",
        )
    if error in ("invalid_request", "invalid_client", "unsupported_grant_type"):
        raise ForgeError(
            "registry-malformed",
            f"the registry does not understand its own login: {clean(error)}",
            hint="the registry may be newer or older than this client",
        )


def _expired() -> ForgeError:
    return ForgeError(
        "login-expired", "nobody approved the login in time", hint="log in again for another code"
    )


def decide_login(context: Context, code: str, *, approve: bool, yes: bool) -> Any:
    """Shows who asks, and approves or refuses; returns the registry's answer.

    Raises:
        ForgeError: the person said no (``login-denied``), so nothing was decided.
    """
    api = context.api_with_token()
    found = api.get("logins", code)
    _describe(context, found)
    question = "Approve it?" if approve else "Refuse it?"
    if context.interactive and not yes and not context.ask(question):
        raise ForgeError(
            "login-denied",
            "nothing was decided, because nobody said yes",
            hint="a login that nobody approves ends by itself",
        )
    return api.post("logins", code, body={"decision": "approve" if approve else "refuse"})


def _describe(context: Context, found: Any) -> None:
    code, actions = member(found, "user_code"), member(found, "actions", list)
    client = "a client of the Hugging Face Hub" if found.get("client") == "hub" else "forge"
    machine = f" on {clean(found['device'])}" if found.get("device") else ""
    days, since = clean(found.get("token_days")), clean(found.get("asked_at"))
    out = context.out
    out.say(f"login {clean(code)} at {context.url}")
    out.say(f"  asked from  {clean(found.get('address'))}, at {since}")
    out.say(f"  it may      {', '.join(map(clean, actions))}; in your name, for {days} days")
    out.say(f"  it says     that it is {client}{machine}")
    out.say("Approve only what you yourself began a moment ago, on a machine before you.")


def pause(seconds: float) -> None:
    """How the program waits between two questions."""
    time.sleep(seconds)


_FORM: Final = {
    "Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json",
}  # fmt: skip


def _body(form: Mapping[str, str]) -> bytes:
    return urlencode(form).encode()


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _seconds(answer: Any, name: str, default: int) -> int:
    value = answer.get(name, default) if isinstance(answer, dict) else default
    return value if isinstance(value, int) and 0 < value <= 3600 else default
