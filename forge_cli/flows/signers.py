"""Choosing keys: which of this person's keys may sign what, and who else must."""

from __future__ import annotations

from collections.abc import Sequence

from signing.keys import PublicKey, SigningKey
from signing.roles import Delegation

from ..context import Context
from ..errors import ForgeError
from ..keystore import DEFAULT_KEY, StoredKey
from .keys import open_key


def own_key(context: Context, name: str | None) -> StoredKey:
    """The key to sign as oneself: ``--key``, the setting, ``default``, or the only one.

    ``name`` may also be a ``pkcs11:`` or ``exec:`` reference, or a path.
    """
    chosen = name or context.config.values.get("key")
    if chosen is not None:
        return context.keys.show(chosen)
    names = context.keys.names()
    if DEFAULT_KEY in names or not names:
        return context.keys.show(DEFAULT_KEY)
    if len(names) == 1:
        return context.keys.show(names[0])
    raise ForgeError(
        "key-missing",
        f"several keys and none is called {DEFAULT_KEY!r}: {', '.join(names)}",
        hint="choose one: --key NAME, or for good: forge config set key NAME",
    )


def held(context: Context, delegation: Delegation) -> list[StoredKey]:
    """The keys here that ``delegation`` lists, the usual one first."""
    listed = set(delegation.keys)
    usual = context.config.values.get("key") or DEFAULT_KEY
    keys = [key for key in context.keys.all() if key.public in listed]
    return sorted(keys, key=lambda key: key.name != usual)


def publisher_keys(context: Context, delegation: Delegation, name: str | None) -> list[StoredKey]:
    """As many of our keys as the project's role needs; the first one signs the release.

    Raises:
        ForgeError: ``key-missing`` (none of ours is listed, or not the one asked for) or
            ``signature-missing`` (others must sign as well).
    """
    keys = held(context, delegation)
    if name is not None:
        wanted = context.keys.show(name)
        if wanted.public not in delegation.keys:
            raise ForgeError(
                "key-missing",
                f"key {name!r} may not sign for {delegation.role}\n"
                f"expected one of {ids(delegation.keys)}\nfound    {short(wanted.public)}",
                hint="leave --key out, or ask the organisation to list this key",
            )
        # The one that was asked for signs the release, also when the store does not hold it.
        keys = [wanted, *(key for key in keys if key.public != wanted.public)]
    if not keys:
        mine = ", ".join(f"{key.name} {short(key.public)}" for key in context.keys.all())
        raise ForgeError(
            "key-missing",
            f"none of your keys may sign for {delegation.role}\n"
            f"expected one of {ids(delegation.keys)}\nfound    {mine or 'no keys'}",
            hint="run it where the publisher's key is, or ask the organisation to list yours",
        )
    if len(keys) < delegation.threshold:
        raise ForgeError(
            "signature-missing",
            f"{delegation.role} needs {delegation.threshold} signatures, "
            f"and you hold {len(keys)} of its keys",
            hint="the holders of the others must publish together: " + ids(delegation.keys),
        )
    return keys[: delegation.threshold]


def unlock(context: Context, keys: Sequence[StoredKey]) -> list[SigningKey]:
    """The private keys, asking for each passphrase once."""
    unlocked: list[SigningKey] = []
    for key in keys:
        private = open_key(context, key.name)
        if private.public != key.public:
            raise ForgeError(
                "key-malformed",
                f"{key.path.with_suffix('.pub')} does not belong to {key.path.name}\n"
                f"expected {short(private.public)}\nfound    {short(key.public)}",
                hint="delete the .pub file; it is made again from the private key",
            )
        unlocked.append(private)
    return unlocked


class Opened:
    """This person's private keys, of which each is opened once for a command."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._known: dict[str, SigningKey] = {}  # by name: who signs is what was asked for

    def of(self, keys: Sequence[StoredKey]) -> list[SigningKey]:
        """The private keys of ``keys``. Raises as `unlock`."""
        new = [key for key in keys if key.name not in self._known]
        opened = unlock(self._context, new)
        self._known |= {key.name: private for key, private in zip(new, opened, strict=True)}
        return [self._known[key.name] for key in keys]


def short(key: PublicKey) -> str:
    """A key id as people compare it at a glance."""
    return key.keyid[:12]


def ids(keys: Sequence[PublicKey]) -> str:
    return ", ".join(short(key) for key in keys)
