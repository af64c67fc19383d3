"""Writing TUF roles: each function takes the current bytes and returns the next, signed.

Nothing is changed in place: what somebody signed stays as it was signed, and the new version
carries one number more and a fresh expiry (TUF specification 1.0, §4.3 to §4.6).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from packaging.version import Version
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from . import manifest as manifests
from . import oms
from .deprecation import DEPRECATED, YANKED, YANKED_SUCCESSOR, Deprecation, parse_successor
from .digests import sha256_hex
from .encoding import Fields, parse_json
from .errors import ConflictError, VerificationError
from .keys import PublicKey, SigningKey
from .manifest import Manifest
from .names import ComponentName
from .profile import OrgProfile
from .roles import (
    EXPIRY,
    MAX_SNAPSHOT_BYTES,
    IndexEntry,
    check_reason,
    index_of,
    level_of,
    parse_targets,
    paths_of,
)


def sign_role(signed: Targets, keys: Iterable[SigningKey]) -> bytes:
    """The bytes of ``signed`` with a signature by each of ``keys``."""
    metadata = Metadata(signed)
    for key in keys:
        metadata.sign(key.tuf_signer, append=True)
    return metadata.to_bytes()


def add_signatures(data: bytes, keys: Iterable[SigningKey]) -> bytes:
    """The role ``data`` with signatures by ``keys`` added to those it has."""
    metadata = parse_targets(data, "role")
    for key in keys:
        metadata.sign(key.tuf_signer, append=True)
    return metadata.to_bytes()


def new_role(keys: Iterable[SigningKey], now: datetime, level: str) -> bytes:
    """An empty role of ``level`` (``registrar``, ``organisation``, ``project``), version 1."""
    return sign_role(Targets(version=1, expires=expiry(now, level)), keys)


def expiry(now: datetime, level: str) -> datetime:
    return (now + EXPIRY[level]).replace(microsecond=0)


def next_version(data: bytes, role: str, now: datetime) -> Targets:
    """The content of ``data`` with one number more and a fresh expiry, not signed yet."""
    signed = parse_targets(data, role).signed
    signed.version += 1
    signed.expires = expiry(now, level_of(role))
    return signed


def add_release(
    current: bytes | None,
    manifest: Manifest,
    bundle: bytes,
    keys: Iterable[SigningKey],
    now: datetime,
) -> bytes:
    """The next version of the project's role, with the release added and signed by ``keys``.

    Raises:
        ConflictError: the version is there already (``version-taken``, with its
            ``manifest_sha256``).
    """
    component = manifest.component
    if current is None:
        signed = Targets(version=1, expires=expiry(now, "project"))
    else:
        signed = next_version(current, component.role, now)
    check_version_free(index_of(signed, component), manifest)
    entry = _target(component.target(manifest.version, manifests.FILE), manifest.raw)
    entry.unrecognized_fields["custom"] = {"kind": manifest.kind, "requires": manifest.requires}
    signed.targets[entry.path] = entry
    signature = _target(component.target(manifest.version, oms.FILE), bundle)
    signed.targets[signature.path] = signature
    return sign_role(signed, keys)


def check_version_free(index: Mapping[str, IndexEntry], manifest: Manifest) -> None:
    """Raises `ConflictError` (``version-taken``) when the index holds the manifest's version."""
    # Compared as versions: 1.0 and 1.0.0 are one version to every resolver.
    taken = next((entry for entry in index.values() if entry.version == manifest.version), None)
    if taken is not None:
        same = taken.manifest_sha256 == manifest.digest
        raise ConflictError(
            "version-taken",
            f"{manifest.component} {manifest.version} is published already"
            + (
                " with this very content"
                if same
                else f" with other content: manifest {taken.manifest_sha256} is there, "
                f"{manifest.digest} is offered"
            ),
            "a published version never changes; raise version in forge.toml",
            manifest_sha256=taken.manifest_sha256,
        )


def _target(path: str, data: bytes) -> TargetFile:
    return TargetFile(len(data), {"sha256": sha256_hex(data)}, path)


def replace_bundles(
    current: bytes,
    component: ComponentName,
    bundles: Mapping[str, bytes],
    keys: Iterable[SigningKey],
    now: datetime,
) -> bytes:
    """The next version of the project's role, with ``{version: bundle}`` in the place of the
    bundles it lists. With none, the role is only signed anew."""
    signed = next_version(current, component.role, now)
    index = index_of(signed, component)
    for version, bundle in bundles.items():
        if version not in index:
            raise VerificationError("chain-broken", str(component), f"a version {version}", "none")
        entry = _target(component.target(version, oms.FILE), bundle)
        signed.targets[entry.path] = entry
    return sign_role(signed, keys)


def set_yanked(
    current: bytes,
    component: ComponentName,
    version: Version,
    reason: str | None,
    keys: Iterable[SigningKey],
    now: datetime,
    *,
    successor: str | None = None,
) -> bytes:
    """The next version of the project's role with the release yanked for ``reason``, or, with
    None, no longer yanked; ``successor`` is what to use instead.

    Raises:
        VerificationError: no such version (``chain-broken``).
        MalformedError: a reason that is not one line of plain text, a successor that is no name.
    """
    said: dict[str, object] = {}
    if reason is not None:
        said[YANKED] = check_reason(reason)
        if successor is not None:
            said[YANKED_SUCCESSOR] = parse_successor(successor)
    signed = next_version(current, component.role, now)
    _say(signed, component, [version], (YANKED, YANKED_SUCCESSOR), said)
    return sign_role(signed, keys)


def set_deprecated(
    current: bytes,
    component: ComponentName,
    versions: Iterable[Version],
    deprecation: Deprecation | None,
    keys: Iterable[SigningKey],
    now: datetime,
) -> bytes:
    """The next version of the project's role with each of ``versions`` deprecated, or, with None,
    no longer deprecated.

    Raises:
        VerificationError: no such version (``chain-broken``).
        MalformedError: a reason that is not one line of plain text, a successor that is no name.
    """
    said: dict[str, object] = {}
    if deprecation is not None:
        check_reason(deprecation.reason, required=True)
        if deprecation.successor is not None:
            parse_successor(deprecation.successor)
        said[DEPRECATED] = deprecation.to_json()
    signed = next_version(current, component.role, now)
    _say(signed, component, versions, (DEPRECATED,), said)
    return sign_role(signed, keys)


def _say(
    signed: Targets,
    component: ComponentName,
    versions: Iterable[Version],
    members: Sequence[str],
    said: Mapping[str, object],
) -> None:
    """Puts ``said`` in the place of ``members`` of what the index says of ``versions``."""
    index_of(signed, component)  # a spoilt index is not signed again
    for version in versions:
        target = signed.targets.get(component.target(version, manifests.FILE))
        if target is None:
            raise VerificationError("chain-broken", str(component), f"a version {version}", "none")
        kept = {key: value for key, value in target.custom.items() if key not in members}
        target.unrecognized_fields["custom"] = {**kept, **said}


def add_project(
    org_role: bytes,
    component: ComponentName,
    publisher_keys: Sequence[PublicKey],
    threshold: int,
    org_keys: Iterable[SigningKey],
    now: datetime,
) -> bytes:
    """The next version of the organisation's role, delegating the project to its publishers."""
    signed = next_version(org_role, component.org, now)
    _delegate(signed, component.role, publisher_keys, threshold, None)
    return sign_role(signed, org_keys)


def add_organisation(
    registrar: bytes,
    name: str,
    profile: OrgProfile,
    org_keys: Sequence[PublicKey],
    threshold: int,
    keys: Iterable[SigningKey],
    now: datetime,
) -> bytes:
    """The next version of the registrar's role, with the organisation and its profile in it."""
    signed = next_version(registrar, "registrar", now)
    _delegate(signed, name, org_keys, threshold, profile)
    return sign_role(signed, keys)


def delegate(parent: Targets, role: str, keys: Sequence[PublicKey], threshold: int) -> None:
    """Adds to ``parent`` a delegation to ``role`` (for the authority's own ceremony)."""
    _delegate(parent, role, keys, threshold, None)


def _delegate(
    parent: Targets,
    role: str,
    keys: Sequence[PublicKey],
    threshold: int,
    profile: OrgProfile | None,
) -> None:
    if parent.delegations is None:
        parent.delegations = Delegations(keys={}, roles={})
    roles = parent.delegations.roles
    if roles is None or role in roles:
        if profile is not None:
            raise ConflictError(
                "name-taken", f"{role} is approved already", f"see it: forge org show {role}"
            )
        raise ConflictError("name-taken", f"{role} is delegated already", "choose another name")
    extra = {}
    if profile is not None:
        profile.check()
        extra["forge"] = profile.to_json()
    roles[role] = DelegatedRole(
        role, [], threshold, terminating=True, paths=paths_of(role), unrecognized_fields=extra
    )
    for key in keys:
        parent.add_key(key.tuf, role)


def sign_snapshot(
    versions: Mapping[str, int], version: int, key: SigningKey, now: datetime
) -> bytes:
    """snapshot.json listing ``{role: version}`` (targets and every role below it; TUF §4.4).

    Each publish signs one, and it lists everything: so it is written here and not by the library,
    which makes an object for each role, three times. Of names and numbers alone, canonical JSON
    (TUF §4.2.1) is what `json` writes sorted and without spaces.
    """
    signed = Snapshot(version=version, expires=expiry(now, "snapshot"), meta={}).to_dict()
    signed["meta"] = {}
    before, after = _compact(signed).split(b'"meta":{}')
    data = b'%b"meta":%b%b' % (before, _listed(versions), after)
    signature = key.tuf_signer.sign(data)
    signatures = _compact([{"keyid": signature.keyid, "sig": signature.signature}])
    return b'{"signatures":%b,"signed":%b}' % (signatures, data)


def _listed(versions: Mapping[str, int]) -> bytes:
    """What a snapshot says of ``{role: version}``; half a million objects for `json` to write take
    twice as long as this."""
    roles = {f"{role}.json": number for role, number in versions.items()}
    names = sorted(roles)
    text = "".join(names)
    if json.dumps(text) != f'"{text}"':  # something in them is written otherwise in JSON
        return _compact({name: {"version": number} for name, number in roles.items()})
    members = ",".join([f'"{name}":{{"version":{roles[name]}}}' for name in names])
    return b"{%b}" % members.encode("ascii")


def _compact(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")


def sign_timestamp(
    snapshot: bytes,
    version: int,
    key: SigningKey,
    now: datetime,
    log_index: int | None = None,
    *,
    snapshot_version: int | None = None,
) -> bytes:
    """timestamp.json naming ``snapshot`` by version, length and digest (TUF §4.6), and the number
    of its leaf in the public log, so that a client can ask for the proof at once. Whoever knows
    ``snapshot_version`` saves reading thousands of roles to find it."""
    number = _version(snapshot) if snapshot_version is None else snapshot_version
    extra = {} if log_index is None else {"log_index": log_index}
    meta = MetaFile(number, len(snapshot), {"sha256": sha256_hex(snapshot)}, extra)
    signed = Timestamp(version=version, expires=expiry(now, "timestamp"), snapshot_meta=meta)
    return _sign(signed, key)


def _version(snapshot: bytes) -> int:
    """The version of a snapshot of our own: no need to build thousands of entries to see it."""
    value = parse_json(snapshot, "snapshot", max_bytes=MAX_SNAPSHOT_BYTES)
    fields = Fields.of(value, "snapshot")
    return fields.object("signed").integer("version", low=1)


def _sign(signed: Snapshot | Timestamp, key: SigningKey) -> bytes:
    metadata: Metadata[Any] = Metadata(signed)
    metadata.sign(key.tuf_signer)
    return metadata.to_bytes()
