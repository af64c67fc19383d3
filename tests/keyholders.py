"""An authority of several keyholders, for tests: ceremonies without files and commands."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from signing.ceremony import Ceremony
from signing.ceremony_plans import Chain, KeySet, plan_first, plan_next
from signing.ceremony_signing import add_signature, finish
from signing.digests import fingerprint
from signing.errors import VerificationError
from signing.keys import PrivateKey, PublicKey, generate_key


def key_set(threshold: int, *keys: PrivateKey | PublicKey) -> KeySet:
    public = tuple(key.public if isinstance(key, PrivateKey) else key for key in keys)
    return KeySet(keys=public, threshold=threshold)


def online_keys_of(path: Path) -> dict[str, PublicKey]:
    """The public keys of the server's two roles in ``online-keys.json``."""
    pems = json.loads(path.read_text())
    return {role: PublicKey.from_pem(pems[role].encode()) for role in ("snapshot", "timestamp")}


@dataclass
class Keyholders:
    """Five root keys, three of which sign; two of three for targets; one registrar."""

    root: list[PrivateKey] = field(
        default_factory=lambda: [generate_key("ed25519") for _ in range(5)]
    )
    targets: list[PrivateKey] = field(
        default_factory=lambda: [generate_key("ed25519") for _ in range(3)]
    )
    registrar: list[PrivateKey] = field(default_factory=lambda: [generate_key("p256")])
    chain: Chain = field(default_factory=lambda: Chain(roots=(), targets=b"", registrar=b""))

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.chain.roots[0])

    def found(self, online: Mapping[str, PublicKey], now: datetime) -> dict[str, bytes]:
        """The first three files."""
        plan = plan_first(
            now,
            root=key_set(3, *self.root),
            targets=key_set(2, *self.targets),
            registrar=key_set(1, *self.registrar),
            snapshot=online["snapshot"],
            timestamp=online["timestamp"],
        )
        done = self._sign(plan, now, None)
        self.take(done)
        return {f"1.{role}.json": data for role, data in done.items()}

    def next(
        self,
        now: datetime,
        keys: dict[str, KeySet] | None = None,
        *,
        renew: tuple[str, ...] = (),
        signers: list[PrivateKey] | None = None,
    ) -> dict[str, bytes]:
        """``{role: bytes}`` of a finished ceremony; `take` makes it the current state."""
        plan = plan_next(self.chain, now, keys=keys or {}, renew=renew)
        return self._sign(plan, now, self.fingerprint, signers)

    def _sign(
        self,
        plan: Ceremony,
        now: datetime,
        mark: str | None,
        signers: list[PrivateKey] | None = None,
    ) -> dict[str, bytes]:
        for key in signers or [*self.root, *self.targets, *self.registrar]:
            try:
                plan = add_signature(plan, key, now, fingerprint=mark)
            except VerificationError as error:
                if error.code != "key-unlisted":  # not everybody is asked each time
                    raise
        return finish(plan, now, fingerprint=mark)

    def take(self, done: Mapping[str, bytes]) -> None:
        roots = (*self.chain.roots, done["root"]) if "root" in done else self.chain.roots
        self.chain = replace(
            self.chain,
            roots=roots,
            targets=done.get("targets", self.chain.targets),
            registrar=done.get("registrar", self.chain.registrar),
        )
