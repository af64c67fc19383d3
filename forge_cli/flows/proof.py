"""What proves a release, and where it comes from: the cache, or the registry.

Evidence that was verified is kept in the cache under the manifest's digest. A lock names that
digest, so when the kept evidence leads from the pinned root to it, nothing has to be asked. It is
verified again all the same, every time something is put in place: the cache is a convenience,
not an authority.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from signing.errors import MalformedError, SigningError, VerificationError
from signing.manifest import FileEntry, Manifest, parse_manifest
from signing.names import ComponentName

from ..context import Context
from ..errors import ForgeError, NetworkError
from ..lockfile import Lock, LockedComponent
from ..transfer import WHOLE, Selection
from ..truststore import Pin
from .installed import instant

if TYPE_CHECKING:
    from signing.evidence import Evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """A release whose signatures were verified. ``fresh``: it came from the registry just now."""

    component: ComponentName
    manifest: Manifest
    evidence: bytes
    verified_at: str
    fresh: bool


class Prover:
    """Proves the components of one lock, under the root that the lock names."""

    def __init__(self, context: Context, lock: Lock) -> None:
        self._context = context
        self.pin = _pin_for(context, lock)

    def prove(self, locked: LockedComponent) -> Proof:
        """The release that the lock pins, from the cache when it was verified before.

        Raises:
            VerificationError: the registry offers something else, or a signature does not hold.
            ForgeError: ``not-found`` when it is not there any more.
            NetworkError: it was not verified here, and nobody is to be asked.
        """
        if self._context.asked_registry:
            # What is known now counts, not what was kept: a key may have been revoked since.
            return self._fetched(locked)
        kept = self._kept(locked)
        if kept is None and self._context.offline:
            raise NetworkError(
                f"{locked}: what proves it is not on this machine, and nobody is asked (offline)",
                hint="run it once where there is a network; what comes is kept",
            )
        return kept or self._fetched(locked)

    def evidence(self, locked: LockedComponent) -> Evidence:
        """`prove`, as `signing` takes it."""
        from signing.evidence import Evidence

        return Evidence.from_json(self.prove(locked).evidence)

    def require_files(self, proof: Proof, selection: Selection = WHOLE) -> None:
        """Establishes that the cache holds every selected file of the release, as signed.

        Files were hashed when they came in and have not been touched since (`Cache.has`).
        """
        cache, manifest = self._context.cache, proof.manifest
        observed = {}
        for entry in selection.files(manifest):
            if not cache.has(entry.sha256, entry.size):
                raise VerificationError(
                    "digest-mismatch",
                    f"{proof.component}/{entry.path}",
                    f"sha256 {entry.sha256} in the cache",
                    "another file, changed since it was fetched",
                    "run the same command again to fetch it anew",
                )
            observed[entry.path] = FileEntry(path=entry.path, size=entry.size, sha256=entry.sha256)
        self._verify(proof, observed, selection)
        if proof.fresh:
            self._keep(proof)

    def _verify(
        self, proof: Proof, observed: dict[str, FileEntry] | None, selection: Selection = WHOLE
    ) -> None:
        from signing.evidence import Evidence
        from signing.verify import verify_release

        from ..border import sound

        manifest = proof.manifest
        toml = None
        if observed is not None:
            entry = manifest.by_path["forge.toml"]
            toml = self._context.cache.read(entry.sha256, entry.size)
        with sound(str(manifest)):
            verify_release(
                Evidence.from_json(proof.evidence),
                proof.component,
                manifest.version,
                fingerprint=self.pin.fingerprint,
                now=self._context.now,
                observed=observed,
                forge_toml=toml,
                selected=selection.paths(manifest),
                witnesses=self._context.trust.witnesses(self.pin.fingerprint),
            ).require()

    def _fetched(self, locked: LockedComponent) -> Proof:
        from ..border import sound

        view = self._context.view
        name = locked.component
        entry = view.require(name).releases.get(str(locked.version))
        if entry is None or entry.manifest_sha256 != locked.manifest_sha256:
            raise VerificationError(
                "lock-mismatch",
                str(locked),
                f"manifest sha256 {locked.manifest_sha256}, as locked",
                entry.manifest_sha256 if entry is not None else "no such version",
                "a published version never changes: do not install it, tell the operator",
            )
        evidence = view.evidence(name, entry)
        with sound(str(locked)):
            manifest = parse_manifest(evidence.manifest)
        proof = Proof(
            component=name,
            manifest=manifest,
            evidence=evidence.to_json(),
            verified_at=instant(self._context.now),
            fresh=True,
        )
        # Before a single file is fetched: nobody waits for gigabytes that will be refused.
        self._verify(proof, None)
        return proof

    def _keep(self, proof: Proof) -> None:
        value = {
            "component": str(proof.component),
            "fingerprint": self.pin.fingerprint,
            "verified_at": proof.verified_at,
            "evidence": proof.evidence.decode(),
        }
        self._context.cache.keep_evidence(proof.manifest.digest, json.dumps(value).encode())

    def _kept(self, locked: LockedComponent) -> Proof | None:
        data = self._context.cache.evidence(locked.manifest_sha256)
        if data is None:
            return None
        try:
            value = json.loads(data)
            evidence = str(value["evidence"])
            manifest = parse_manifest(json.loads(evidence)["manifest"].encode())
        except (ValueError, KeyError, TypeError, AttributeError, MalformedError):
            return None
        known = (value.get("component"), value.get("fingerprint"), manifest.digest)
        wanted = (str(locked.component), self.pin.fingerprint, locked.manifest_sha256)
        if known != wanted or (manifest.component, manifest.version) != (
            locked.component,
            locked.version,
        ):
            return None
        proof = Proof(
            component=locked.component,
            manifest=manifest,
            evidence=evidence.encode(),
            verified_at=str(value.get("verified_at")),
            fresh=False,
        )
        try:
            self._verify(proof, None)
        except (SigningError, ForgeError):
            return None  # spoilt, or of another root: ask the registry
        return proof


def _pin_for(context: Context, lock: Lock) -> Pin:
    """A trusted registry under the lock's root: the chosen one if it is, else any other."""
    with suppress(ForgeError):
        if context.pin.fingerprint == lock.fingerprint:
            return context.pin
    other = context.trust.with_fingerprint(lock.fingerprint)
    if other is not None and context.registry_option is None:
        context.use(other.url)
        return other
    found = context.pin.fingerprint
    raise ForgeError(
        "fingerprint-mismatch",
        f"forge.lock belongs to the registry {lock.registry}\n"
        f"expected root {lock.fingerprint}\nfound         {found}",
        hint=f"forge trust add {lock.registry} --fingerprint {lock.fingerprint}   "
        "(after comparing it with the operator's)",
    )
