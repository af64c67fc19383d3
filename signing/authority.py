"""The national authority's first metadata: root, targets and registrar.

Made once, away from the server. The server gets the signed files and two keys of its own,
snapshot and timestamp, which the root names and can replace without the server's help.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from tuf.api.metadata import Metadata, Role, Root, Targets

from .errors import VerificationError
from .keys import PrivateKey, PublicKey, generate_key
from .role_edits import delegate, new_role, sign_role
from .roles import EXPIRY, check_signed_by, parse_root, verify_against
from .tlog.policy import LogPolicy, set_policy

ROOT_FILE = "1.root.json"
FIRST_FILES = (ROOT_FILE, "1.targets.json", "1.registrar.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A new authority: its key pairs (one for a status host only where one is named), and
    ``{file name: signed bytes}``."""

    root_key: PrivateKey
    targets_key: PrivateKey
    registrar_key: PrivateKey
    status_key: PrivateKey | None
    metadata: dict[str, bytes]


def new_authority(
    now: datetime,
    snapshot: PublicKey,
    timestamp: PublicKey,
    log: LogPolicy | None = None,
    *,
    with_status: bool = False,
) -> Authority:
    """A fresh 1-of-1 authority that names the two given keys for the server's roles, and its
    public log with the witnesses. ``with_status`` names a status host as well."""
    status = generate_key("ed25519") if with_status else None
    keys = {role: generate_key("ed25519") for role in ("root", "targets", "registrar")}
    online = {"snapshot": snapshot, "timestamp": timestamp}
    root = Root(version=1, expires=_expiry(now, "root"), consistent_snapshot=True)
    for role in ("root", "targets", "snapshot", "timestamp"):
        public = online.get(role) or keys[role].public
        root.roles[role] = Role([], 1)
        root.add_key(public.tuf, role)
    signed_root: Metadata[Root] = Metadata(root)
    signed_root.sign(keys["root"].tuf_signer)
    targets = Targets(version=1, expires=_expiry(now, "targets"))
    set_policy(targets, log)
    delegate(targets, "registrar", [keys["registrar"].public], 1)
    if status is not None:
        delegate(targets, "status", [status.public], 1)
    return Authority(
        root_key=keys["root"],
        targets_key=keys["targets"],
        registrar_key=keys["registrar"],
        status_key=status,
        metadata={
            ROOT_FILE: signed_root.to_bytes(),
            "1.targets.json": sign_role(targets, [keys["targets"]]),
            "1.registrar.json": new_role([keys["registrar"]], now, "registrar"),
        },
    )


def _expiry(now: datetime, role: str) -> datetime:
    return (now + EXPIRY[role]).replace(microsecond=0)


def verify_authority(metadata: dict[str, bytes], snapshot: PublicKey, timestamp: PublicKey) -> None:
    """Establishes that the three first files form a chain, and name the server's two keys.

    Raises:
        VerificationError: ``chain-broken``, ``threshold-not-met`` or ``key-unlisted``.
    """
    missing = [name for name in FIRST_FILES if name not in metadata]
    if missing:
        raise VerificationError(
            "chain-broken", "authority's metadata", "three signed files", f"no {', '.join(missing)}"
        )
    root = parse_root(metadata[ROOT_FILE])
    check_signed_by(root.signed, "root", root)
    targets = verify_against(root.signed, "targets", metadata["1.targets.json"])
    verify_against(targets.signed, "registrar", metadata["1.registrar.json"])
    check_online_keys(metadata[ROOT_FILE], snapshot, timestamp)


def check_online_keys(root: bytes, snapshot: PublicKey, timestamp: PublicKey) -> None:
    """Establishes that ``root`` lists these keys for the roles ``snapshot`` and ``timestamp``.

    Raises:
        VerificationError: it lists others (``key-unlisted``).
    """
    roles = parse_root(root).signed.roles
    for role, key in (("snapshot", snapshot), ("timestamp", timestamp)):
        if key.keyid not in roles[role].keyids:
            listed = ", ".join(keyid[:12] for keyid in roles[role].keyids)
            raise VerificationError(
                "key-unlisted",
                f"the server's {role} key",
                f"one that the root lists ({listed})",
                key.keyid[:12],
            )
