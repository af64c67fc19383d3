"""Beginning to trust a registry: its root is fetched, and its fingerprint compared."""

from __future__ import annotations

from signing.digests import fingerprint, parse_fingerprint
from signing.errors import MalformedError

from ..context import Context
from ..errors import ForgeError, NetworkError, UsageError
from ..remote.http import read_limited
from ..truststore import MAX_ROOT_BYTES, Pin


def fetch_root(context: Context, url: str) -> bytes:
    """The first root of the registry at ``url``; nothing about it is known to be true yet."""
    address = f"{url}/tuf/1.root.json"
    with context.http.open("GET", address) as response:
        if response.status != 200:
            raise NetworkError(
                f"{address}: expected the registry's root, found answer {response.status}",
                hint="is this the URL of a registry?",
            )
        data = read_limited(response, MAX_ROOT_BYTES)
    if len(data) > MAX_ROOT_BYTES:
        raise ForgeError("registry-malformed", f"{address}: more than {MAX_ROOT_BYTES} bytes")
    return data


def pin_registry(context: Context, url: str, expected: str | None) -> Pin:
    """Trust ``url`` under the fingerprint the person gave, has pinned, or accepts now.

    Raises:
        ForgeError: ``fingerprint-mismatch``, or ``fingerprint-needed`` with nobody to ask.
    """
    known = context.trust.pins().get(url)
    wanted = None if expected is None else f"sha256:{_hex(expected)}"
    if known is not None and wanted is not None and known != wanted:
        raise ForgeError(
            "fingerprint-mismatch",
            f"{url} is pinned to another root\nexpected {known}\ngiven    {wanted}",
            hint="a registry's first root never changes; if it was really set up anew: "
            f"forge trust remove {url}",
        )
    if known is not None:
        return context.trust.require(url)
    root = fetch_root(context, url)
    found = fingerprint(root)
    if wanted is None:
        wanted = _ask(context, url, found)
    return context.trust.add(url, wanted, root)


def _hex(text: str) -> str:
    try:
        return parse_fingerprint(text, "--fingerprint").removeprefix("sha256:")
    except MalformedError as error:
        raise UsageError(error.message, hint=error.hint) from None


def _ask(context: Context, url: str, found: str) -> str:
    context.out.say(f"The root of {url} has the fingerprint")
    context.out.say(f"  {found}")
    context.out.say("Compare it with the one its operator published elsewhere.")
    if context.ask("Is it the same?"):
        return found
    raise ForgeError(
        "fingerprint-needed",
        f"{url}: not trusted, because nobody confirmed the fingerprint of its root",
        hint=f"get the fingerprint from the operator, then: forge trust add {url} "
        "--fingerprint sha256:…",
    )
