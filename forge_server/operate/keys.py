"""The server's own keys: fresh ones beside the old, and which of them the root names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from signing.keys import generate_key
from signing.roles import keys_of_root, parse_root
from signing.tlog.checkpoint import log_key
from signing.tlog.policy import policy_of
from storage.durable import replace_durably

from ..services.callers import OPERATOR
from ..services.online_keys import ONLINE_ROLES
from ..services.rolebook import current_role
from ..wiring import Registry
from .initialise import write_private


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRow:
    role: str
    keyid: str
    path: Path
    listed: bool


def new_online_keys(registry: Registry) -> tuple[KeyRow, ...]:
    """Makes a fresh key for each role and writes ``online-keys.json`` for the ceremony.

    The private keys first: a file of public keys without them would lead the authority to name
    keys that nobody has.
    """
    rows, public = [], {}
    for role in ONLINE_ROLES:
        key = generate_key("ed25519")
        path = registry.folder.keys / f"{role}-{key.public.keyid[:12]}.pem"
        write_private(path, key.to_pem(None))
        public[role] = key.public.pem.decode()
        rows.append(KeyRow(role=role, keyid=key.public.keyid, path=path, listed=False))
    fresh = generate_key("ed25519")
    log = log_key(registry.log.keys.origin, fresh)  # the log keeps its name
    path = registry.folder.keys / f"log-{fresh.public.keyid[:12]}.pem"
    write_private(path, fresh.to_pem(None))
    public["log"] = log.vkey
    rows.append(KeyRow(role="log", keyid=fresh.public.keyid, path=path, listed=False))
    text = json.dumps(public, indent=2) + "\n"
    replace_durably(registry.folder.online_keys, text.encode("ascii"))
    with registry.database.write() as session:
        made = {row.role: row.keyid for row in rows}
        registry.audit.record(session, OPERATOR, "keys.new", None, **made)
    return tuple(rows)


def list_online_keys(registry: Registry) -> Iterator[KeyRow]:
    """Every key that is held, and whether the current root lists it."""
    with registry.database.read() as session:
        root = current_role(session, "root")
        targets = current_role(session, "targets")
    for role in ONLINE_ROLES:
        listed = () if root is None else keys_of_root(parse_root(root).signed, role)
        for path, key in registry.publication.keys.files(role).items():
            yield KeyRow(role=role, keyid=key.public.keyid, path=path, listed=key.public in listed)
    policy = None if targets is None else policy_of(targets)
    named = () if policy is None else [key.public for key in policy.keys]
    for path, key in registry.log.keys.files().items():
        yield KeyRow(role="log", keyid=key.public.keyid, path=path, listed=key.public in named)
