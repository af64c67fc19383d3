"""New signatures over releases that are there already: what must hold before they are accepted.

After a publisher's key was revoked, another key of the project signs the very same files again.
The manifest, which is the release's identity, stays; only the bundle in the index is another.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from .errors import VerificationError
from .keys import PublicKey
from .manifest import parse_manifest
from .names import ComponentName
from .oms import verify_bundle
from .roles import IndexEntry, delegation_of, releases_of
from .updates import check_index_entry, check_role_update, check_same_files


def check_resign(
    resigned: Mapping[str, tuple[bytes, bytes]],
    component: ComponentName,
    role: bytes,
    current_role: bytes,
    org_role: bytes,
    now: datetime,
) -> dict[str, PublicKey]:
    """Establishes that ``role`` gives releases new bundles and changes nothing else.

    ``resigned`` maps each such version to its manifest, as it was published, and its new bundle.
    Returns ``{version: key that signed the new bundle}``.

    Raises:
        VerificationError: a bundle by a key that may not publish, over other files, or a change
            beyond the bundles.
        ConflictError: ``role-version``, ``version-taken``.
    """
    check_role_update(component.role, role, current_role, org_role, now, resigned=resigned)
    before, after = releases_of(current_role, component), releases_of(role, component)
    keys = delegation_of(org_role, component.role).keys
    signers = {}
    for version, entry in after.items():
        if version not in resigned:
            if before.get(version) != entry:
                raise VerificationError(
                    "tree-mismatch", f"role {component.role}", "no other change", version
                )
            continue
        manifest = parse_manifest(resigned[version][0])
        bundle = resigned[version][1]
        check_index_entry(entry, manifest, bundle)
        if _said_of(before[version]) != _said_of(entry):
            raise VerificationError(
                "tree-mismatch",
                f"role {component.role}",
                "no other change",
                f"yank or deprecation of {version}",
            )
        verified = verify_bundle(bundle, keys)
        check_same_files(verified, manifest)
        signers[version] = verified.key
    if missing := sorted(resigned.keys() - signers.keys()):
        raise VerificationError(
            "chain-broken", str(component), "a version that is published", missing[0]
        )
    return signers


def _said_of(entry: IndexEntry) -> tuple[object, ...]:
    return entry.yanked, entry.yanked_successor, entry.deprecated
