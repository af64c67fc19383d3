"""Signing again what a revoked or retired key signed: the same releases, another key.

The index of the project may be signed by keys that no longer count, so it is not verified as any
client would: it must be the version that the registry's snapshot lists, signed by keys that the
organisation listed once, and every release that gets a new signature is checked to the last
byte, from its files up to its manifest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from packaging.version import Version

from signing.errors import VerificationError
from signing.manifest import FILE as MANIFEST_FILE
from signing.manifest import Manifest, parse_manifest
from signing.names import ComponentName
from signing.oms import FILE as BUNDLE_FILE
from signing.oms import hint_of, sign_bundle
from signing.resign import check_resign
from signing.role_edits import replace_bundles
from signing.roles import Delegation, IndexEntry, parse_targets, releases_of
from signing.updates import check_role_update, check_tree

from ..border import sound
from ..context import Context
from ..errors import ForgeError
from ..remote.metadata import fetch_target
from ..remote.trust import View
from .choosing import download_files
from .publishers import publishers
from .roles import rebasing, send_roles
from .signers import publisher_keys, unlock


@dataclass(frozen=True, slots=True, kw_only=True)
class Resigned:
    """``versions`` got a new bundle; the index was signed anew in any case."""

    component: ComponentName
    versions: tuple[str, ...]
    keyid: str


def resign(
    context: Context,
    component: ComponentName,
    version: Version | None,
    key: str | None,
    *,
    agree: Callable[[Sequence[IndexEntry]], bool],
) -> Resigned:
    """Sign the index of ``component`` anew, and the releases whose key was revoked; with
    ``version`` that one alone, whoever signed it.

    ``agree`` is asked before releases are signed that nobody named: whoever stole the revoked
    key may have added some.
    """
    context.api_with_token()
    return rebasing(
        context,
        str(component),
        lambda view: _attempt(context, view, component, version, key, agree),
    )


def _attempt(
    context: Context,
    view: View,
    component: ComponentName,
    version: Version | None,
    key: str | None,
    agree: Callable[[Sequence[IndexEntry]], bool],
) -> Resigned:
    delegation = publishers(view, component)
    organisation = view.organisation_role(component.org)
    assert organisation is not None
    current = view.stale_project(component)
    with sound(f"the role of {component}"):
        _require_known_signer(component, current, delegation)
        index = releases_of(current, component)
    chosen = _chosen(context, view, component, index, delegation, version)
    if chosen and version is None and not agree(chosen):
        raise ForgeError(
            "usage",
            "nothing was signed: compare these releases with your own records first",
            hint=f"sign one of them: forge resign {component}==VERSION, or all with --yes",
        )
    keys = unlock(context, publisher_keys(context, delegation, key))
    resigned: dict[str, tuple[bytes, bytes]] = {}
    for entry in chosen:
        manifest = _checked_manifest(context, view, component, entry)
        bundle = sign_bundle(manifest.files, str(manifest), keys[0])
        resigned[str(entry.version)] = (manifest.raw, bundle)
    bundles = {number: bundle for number, (_, bundle) in resigned.items()}
    role = replace_bundles(current, component, bundles, keys, context.now)
    if resigned:
        check_resign(resigned, component, role, current, organisation, context.now)
        body = {
            "component": str(component),
            "role": role.decode(),
            "bundles": {number: bundle.decode() for number, bundle in bundles.items()},
        }
        context.api().post("signatures", body=body)
    else:
        check_role_update(component.role, role, current, organisation, context.now)
        send_roles(context, {component.role: role})
    _confirm(context, component, bundles)
    return Resigned(component=component, versions=tuple(bundles), keyid=keys[0].public.keyid)


def _require_known_signer(component: ComponentName, current: bytes, delegation: Delegation) -> None:
    """Refuses an index that no key of this project ever signed: it is the registry's invention."""
    role = parse_targets(current, component.role)
    for key in (*delegation.keys, *delegation.former.keys()):
        signature = role.signatures.get(key.keyid)
        if signature is not None:
            key.verify(bytes.fromhex(signature.signature), role.signed_bytes, component.role)
            return
    raise VerificationError(
        "threshold-not-met",
        f"role {component.role}",
        "a signature by a key that publishes or published it",
        "none",
        "do not sign it; tell the operator of the registry",
    )


def _chosen(
    context: Context,
    view: View,
    component: ComponentName,
    index: dict[str, IndexEntry],
    delegation: Delegation,
    version: Version | None,
) -> Sequence[IndexEntry]:
    if version is not None:
        entry = index.get(str(version))
        if entry is None:
            raise ForgeError(
                "not-found",
                f"{component} has no version {version}",
                f"there are: {', '.join(index)}",
            )
        return [entry]
    revoked = {item.key.hint for item in delegation.former.revoked}
    if not revoked:
        return []
    chosen = []
    for entry in index.values():
        path = component.target(entry.version, BUNDLE_FILE)
        bundle = fetch_target(context.http, view.url, path, entry.bundle_sha256, entry.bundle_size)
        with sound(path):
            if hint_of(bundle) in revoked:
                chosen.append(entry)
    return chosen


def _checked_manifest(
    context: Context, view: View, component: ComponentName, entry: IndexEntry
) -> Manifest:
    """The release's manifest, after its files were fetched and hashed against it."""
    path = component.target(entry.version, MANIFEST_FILE)
    data = fetch_target(context.http, view.url, path, entry.manifest_sha256, entry.manifest_size)
    with sound(path):
        manifest = parse_manifest(data)
    if (manifest.component, manifest.version) != (component, entry.version):
        raise VerificationError(
            "name-mismatch", path, f"{component}=={entry.version}", str(manifest)
        )
    download_files(context, view.url, manifest)
    check_tree(
        {file.path: file.sha256 for file in manifest.files},
        {
            file.path: file.sha256
            for file in manifest.files
            if context.cache.has(file.sha256, file.size)
        },
        "file",
    )
    context.out.say(f"signing {manifest} again, manifest sha256:{manifest.digest}")
    return manifest


def _confirm(context: Context, component: ComponentName, bundles: dict[str, bytes]) -> None:
    from signing.digests import sha256_hex

    releases = context.fresh_view().require(component).releases
    for number, bundle in bundles.items():
        if releases[number].bundle_sha256 != sha256_hex(bundle):
            raise ForgeError(
                "registry-malformed",
                f"the registry accepted the new signature of {component} {number} but does not "
                "show it",
                hint="try `forge info` in a moment; tell the operator if it stays so",
            )
