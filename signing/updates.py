"""What must hold before a new version of a role, or a release, is accepted.

The registry applies this to everything it is sent, and the client applies it before it sends:
the same pure code, so the two cannot disagree. A registry that skipped it could not forge
anything (clients check signatures themselves), but it could publish what no client accepts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from tuf.api.metadata import Targets

from . import oms
from .bodies import body_of, is_reviews, statements_in
from .digests import sha256_hex
from .errors import ConflictError, MalformedError, VerificationError
from .keys import PublicKey
from .manifest import FileEntry, Manifest, parse_manifest
from .names import ComponentName, parse_org_name
from .oms import Bundle, verify_bundle
from .publisher_edits import check_revocations_kept
from .role_edits import check_version_free
from .roles import (
    EXPIRY,
    IndexEntry,
    delegation_in,
    delegations_in,
    delegations_of,
    index_of,
    level_of,
    parse_targets,
    verify_against,
    verify_role,
)
from .status import status_in, status_of
from .status_rules import check_follows

CLOCK_SKEW = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A release that passed every pure check, and what the role that lists it says of itself."""

    manifest: Manifest
    entry: IndexEntry
    publisher: PublicKey
    role_version: int
    role_expires: datetime


def check_role_update(
    name: str,
    new: bytes,
    current: bytes | None,
    parent: bytes,
    now: datetime,
    *,
    resigned: Collection[str] = (),
) -> None:
    """Establishes that ``new`` may follow ``current`` (None: there is none yet) as role ``name``.

    ``parent`` is the role that delegates to it: the targets role for the registrar and the status
    role, the registrar's for an organisation, the organisation's for a project. ``resigned`` names
    the versions whose bundle may be another over the same manifest; see `resign.check_resign`.

    Raises:
        VerificationError: not signed by enough of the keys that the parent lists, expired or
            valid for too long, a path or a delegation beyond what the level allows, a release
            or a delegation taken away, a revocation lifted.
        ConflictError: not the next version (``role-version``, with ``current_version``), or a
            published version with other content (``version-taken``).
        MalformedError: not TUF metadata.
    """
    check_next(name, verify_role(parent, name, new).signed, current, now, resigned)
    if current is not None and level_of(name) == "organisation":
        _check_revocations(name, current, new)
    elif name == "status":
        check_follows(parse_targets(parent, "targets").signed, current, status_of(new))


def check_next(
    name: str,
    signed: Targets,
    current: bytes | None,
    now: datetime,
    resigned: Collection[str] = (),
) -> None:
    """All of `check_role_update` but the signatures: whether ``signed`` may be signed at all."""
    check_shape(name, signed)
    previous = None if current is None else parse_targets(current, name).signed
    _check_next(name, signed, previous, now)
    if previous is not None:
        _check_nothing_lost(name, previous, signed, resigned)


def _check_next(name: str, signed: Targets, previous: Targets | None, now: datetime) -> None:
    """What can be said of the next version of any role without looking at what it lists."""
    check_version(name, signed.version, 1 if previous is None else previous.version + 1)
    check_expiry(name, signed.expires, now)
    delegations_in(signed)  # sound keys and right paths in each, or nobody could follow it


def check_version(name: str, found: int, expected: int) -> None:
    """Raises `ConflictError` (``role-version``) unless the role follows by exactly one."""
    if found != expected:
        raise ConflictError(
            "role-version",
            f"role {name}: expected version {expected}, found {found}",
            "fetch the role again and repeat the change",
            current_version=expected - 1,
        )


def check_shape(name: str, signed: Targets) -> None:
    """Establishes that the role holds only what its level may hold.

    Clients check this too: TUF itself would let an organisation delegate anything beneath its
    own paths, in any form.
    """
    level = level_of(name)
    if level in ("project", "status", "reviews"):
        if level == "status":
            status_in(signed, name)
        elif level == "reviews":
            statements_in(signed, body_of(name))
        else:
            index_of(signed, ComponentName.from_role(name))
        if signed.delegations is not None:
            raise VerificationError("path-not-delegated", f"role {name}", "no delegations", "some")
    if level in ("project", "reviews"):
        return
    if signed.targets:
        raise VerificationError(
            "path-not-delegated",
            f"role {name}",
            "no targets of its own",
            next(iter(signed.targets)),
        )
    if signed.delegations is not None and signed.delegations.roles is None:
        raise MalformedError(f"role {name}", "named delegations", "succinct ones")
    for child in (
        signed.delegations.roles if signed.delegations and signed.delegations.roles else ()
    ):
        _check_child(name, level, child)


def _check_child(name: str, level: str, child: str) -> None:
    """An organisation may name its own projects; the registrar, organisations; and so on."""
    if level == "targets":
        allowed = child in ("registrar", "status") or bool(is_reviews(child) and body_of(child))
    elif level == "registrar":
        allowed = bool(parse_org_name(child, f"role {name}: delegation"))
    else:
        allowed = ComponentName.from_role(child, f"role {name}: delegation").org == name
    if not allowed:
        raise VerificationError(
            "path-not-delegated", f"role {name}", "delegations of its own names only", child
        )


def check_expiry(name: str, expires: datetime, now: datetime) -> None:
    """Raises `VerificationError` (``expired``) unless the role is valid, and not for too long."""
    if expires <= now:
        raise VerificationError(
            "expired",
            f"role {name}",
            "an expiry in the future",
            expires,
            "check this machine's clock, then sign again",
        )
    latest = now + EXPIRY[level_of(name)] + CLOCK_SKEW
    if expires > latest:
        raise VerificationError(
            "expired", f"role {name}", f"an expiry before {latest:%Y-%m-%d}", f"{expires:%Y-%m-%d}"
        )


def _check_revocations(name: str, current: bytes, new: bytes) -> None:
    after = delegations_of(new, name)
    for role, delegation in delegations_of(current, name).items():
        check_revocations_kept(name, delegation, after[role])


def _check_nothing_lost(
    name: str, previous: Targets, signed: Targets, resigned: Collection[str]
) -> None:
    if level_of(name) == "project":
        component = ComponentName.from_role(name)
        before, after = index_of(previous, component), index_of(signed, component)
        _check_releases_kept(component, before, after, resigned)
        return
    if level_of(name) == "reviews":
        return  # a body may withdraw whatever it said
    if level_of(name) == "status":
        return  # what binds the next version depends on the keys: `check_role_update`
    old = previous.delegations.roles if previous.delegations else None
    new = signed.delegations.roles if signed.delegations else None
    for child in old or {}:
        # The status host is no name that somebody could take over: the authority may end it.
        if child not in (new or {}) and (name, child) != ("targets", "status"):
            raise VerificationError(
                "chain-broken",
                f"role {name}",
                f"the delegation to {child} kept (a name is never free again)",
                "none",
                "to shut it out, replace its keys",
            )


def _check_releases_kept(
    component: ComponentName,
    before: Mapping[str, IndexEntry],
    after: Mapping[str, IndexEntry],
    resigned: Collection[str] = (),
) -> None:
    for version, entry in before.items():
        _check_same_release(component, entry, after.get(version), version in resigned)


def _check_same_release(
    component: ComponentName, entry: IndexEntry, after: IndexEntry | None, resigned: bool
) -> None:
    if after is None:
        raise VerificationError(
            "chain-broken",
            str(component),
            f"version {entry.version} kept",
            "none",
            "releases are immutable; yank it instead",
        )
    fixed = ["manifest_sha256", "manifest_size", "kind", "requires"]
    if not resigned:
        fixed += ["bundle_sha256", "bundle_size"]
    if any(getattr(entry, field) != getattr(after, field) for field in fixed):
        raise ConflictError(
            "version-taken",
            f"{component} {entry.version} is published with other content: "
            f"manifest {entry.manifest_sha256} is there, {after.manifest_sha256} is offered",
            "a published version never changes; raise version in forge.toml",
            manifest_sha256=entry.manifest_sha256,
        )


def check_offer(
    manifest: bytes,
    bundle: bytes,
    role: bytes,
    current_role: bytes | None,
    org_role: bytes,
    now: datetime,
) -> Offer:
    """Establishes that ``role`` adds exactly one sound release to ``current_role``.

    ``org_role`` is the organisation's role that delegates the project, itself already checked.
    Not checked here: that the files' bytes are there, and the rights of whoever sends the offer.

    Raises:
        ConflictError: ``version-taken`` or ``role-version``.
        VerificationError, MalformedError: anything else that does not hold.
    """
    parsed = parse_manifest(manifest)
    component = parsed.component
    # `check_role_update` in its own words: each of the three roles is read once, for a registry
    # does this for every release, and reading them is most of what it takes.
    name = component.role
    previous = None if current_role is None else parse_targets(current_role, name).signed
    before = {} if previous is None else index_of(previous, component)
    check_version_free(before, parsed)
    parent = parse_targets(org_role, f"parent of {name}").signed
    signed = verify_against(parent, name, role).signed
    check_shape(name, signed)
    _check_next(name, signed, previous, now)
    after = index_of(signed, component)
    _check_releases_kept(component, before, after)
    entry = _only_addition(component, before, after, str(parsed.version))
    check_index_entry(entry, parsed, bundle)
    verified = verify_bundle(bundle, delegation_in(parent, name).keys)
    check_same_files(verified, parsed)
    return Offer(
        manifest=parsed, entry=entry, publisher=verified.key,
        role_version=signed.version, role_expires=signed.expires,
    )  # fmt: skip


def _only_addition(
    component: ComponentName,
    before: Mapping[str, IndexEntry],
    after: Mapping[str, IndexEntry],
    version: str,
) -> IndexEntry:
    added = sorted(set(after) - set(before))
    if added != [version]:
        raise VerificationError(
            "tree-mismatch",
            f"role {component.role}",
            f"version {version} added, alone",
            ", ".join(added) or "nothing",
        )
    changed = [number for number in before if after[number] != before[number]]
    new = after[version]
    if changed or new.yanked is not None or new.deprecated is not None:
        raise VerificationError(
            "tree-mismatch",
            f"role {component.role}",
            "no other change",
            f"a change of {', '.join(changed) or version}",
        )
    return new


def check_index_entry(entry: IndexEntry, manifest: Manifest, bundle: bytes) -> None:
    """Establishes that the index lists this manifest and this bundle, and repeats it truly."""
    subject = f"{manifest.component} {manifest.version}"
    facts = (
        ("manifest.json", entry.manifest_sha256, manifest.digest),
        ("manifest.json's length", entry.manifest_size, len(manifest.raw)),
        (oms.FILE, entry.bundle_sha256, sha256_hex(bundle)),
        (f"{oms.FILE}'s length", entry.bundle_size, len(bundle)),
    )
    for what, listed, found in facts:
        if listed != found:
            raise VerificationError("digest-mismatch", f"{subject}: {what}", str(listed), found)
    if entry.kind != manifest.kind or entry.requires != manifest.requires:
        raise VerificationError(
            "tree-mismatch",
            f"{subject}: index",
            "kind and requirements as in the manifest",
            f"{entry.kind}, {entry.requires}",
        )


def check_same_files(bundle: Bundle, manifest: Manifest) -> None:
    """Establishes that signature and manifest list the same files with the same digests."""
    check_tree(
        {entry.path: entry.sha256 for entry in manifest.files}, bundle.resources, "signature"
    )


def check_tree(expected: Mapping[str, str], found: Mapping[str, str], subject: str) -> None:
    """Establishes that two ``{path: digest}`` are the same.

    Raises:
        VerificationError: ``tree-mismatch``, naming the first missing, extra or changed file.
    """
    for path in sorted(expected.keys() | found.keys()):
        if path not in found:
            raise VerificationError(
                "tree-mismatch", f"{subject}: {path}", "the file", "nothing: it is missing"
            )
        if path not in expected:
            raise VerificationError(
                "tree-mismatch", f"{subject}: {path}", "no such file", "a file that nobody signed"
            )
        if expected[path] != found[path]:
            raise VerificationError(
                "digest-mismatch", f"{subject}: {path}", f"sha256 {expected[path]}", found[path]
            )


def check_files(
    manifest: Manifest, observed: Mapping[str, FileEntry], selected: frozenset[str] | None = None
) -> None:
    """Establishes that the files at hand are those of the manifest, to the byte and no more;
    where ``selected`` is given, those of these paths."""
    files = [entry for entry in manifest.files if selected is None or entry.path in selected]
    check_tree(
        {entry.path: entry.sha256 for entry in files},
        {path: entry.sha256 for path, entry in observed.items()},
        "file",
    )
    for entry in files:
        if observed[entry.path].size != entry.size:
            raise VerificationError(
                "length-mismatch",
                f"file: {entry.path}",
                f"{entry.size} bytes",
                observed[entry.path].size,
            )
