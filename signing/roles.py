"""TUF roles as this registry uses them: who may sign what, read from the exact bytes signed.

::

    root → targets → registrar → <org> → <org>.<project>        (all terminating)
                   → status                                     (see `signing.status`)
                   → reviews-<body>                             (see `signing.bodies`)
    snapshot, timestamp                                         (the server's two keys)

A role is handled as the bytes that were signed; each function here reads them anew, so nothing
that was changed in memory can be mistaken for what somebody signed. The project role is also
the index of its releases: the ``custom`` member of each ``manifest.json`` target says what a
resolver needs (kind, requirements, yanked and why). TUF specification 1.0, §4.5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Any, cast

from packaging.version import Version
from securesystemslib.signer import Key
from tuf.api.exceptions import RepositoryError, UnsignedMetadataError
from tuf.api.metadata import DelegatedRole, Metadata, Role, Root, TargetFile, Targets

from . import manifest as manifests
from . import oms
from .bodies import Body, body_of, is_reviews
from .component import KINDS
from .deprecation import DEPRECATED, MEMBERS, YANKED_SUCCESSOR, Deprecation, read_successor
from .digests import parse_digest
from .encoding import Fields, is_plain, parse_json
from .errors import MalformedError, VerificationError
from .keys import PublicKey
from .names import ComponentName, parse_specifier, parse_version
from .profile import FIELDS, OPTIONAL_FIELDS, OrgProfile
from .publisher_keys import FormerKeys, key_revoked

EXPIRY = {
    "root": timedelta(days=365),
    "targets": timedelta(days=365),
    "registrar": timedelta(days=90),
    "status": timedelta(hours=48),
    "reviews": timedelta(days=30),
    "organisation": timedelta(days=400),
    "project": timedelta(days=400),
    "snapshot": timedelta(days=1),
    "timestamp": timedelta(days=1),
}
_ONE_OF_A_KIND = frozenset(("root", "targets", "registrar", "status", "snapshot", "timestamp"))
REGISTRAR_PATHS = ["*/*/*/*"]
STATUS_PATHS = ["status/*"]
MAX_ROLE_BYTES = 5_000_000  # what stock TUF clients read of a targets role at most
# A snapshot lists every role, with 35 to 60 bytes: half a million projects and more. It has no
# stock limit beside the length that the timestamp says, so this one is what whoever stole the
# server's keys can make a client read.
MAX_SNAPSHOT_BYTES = 32_000_000
MAX_THRESHOLD = 50
MAX_REASON_CHARS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Delegation:
    """Whose signatures a role needs, as its parent says. ``profile`` is set for organisations,
    ``body`` for reviewer bodies; ``former`` may hold something for projects."""

    role: str
    keys: tuple[PublicKey, ...]
    threshold: int
    paths: tuple[str, ...]
    profile: OrgProfile | None
    former: FormerKeys = field(default_factory=FormerKeys)
    body: Body | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexEntry:
    """One release as its project role lists it. ``yanked`` is the reason, None when it is not;
    ``yanked_successor`` what its publisher would rather see used (see `signing.deprecation`)."""

    version: Version
    manifest_sha256: str
    manifest_size: int
    bundle_sha256: str
    bundle_size: int
    kind: str
    requires: dict[str, str]
    yanked: str | None
    yanked_successor: str | None = None
    deprecated: Deprecation | None = None


def level_of(role: str) -> str:
    """``organisation``, ``project``, ``reviews``, or the name of a role of which there is only
    one."""
    if role in _ONE_OF_A_KIND:
        return role
    if is_reviews(role):
        return "reviews"
    return "project" if "." in role else "organisation"


def paths_of(role: str) -> list[str]:
    """The target paths that a parent may delegate to ``role``: these and no others."""
    if role == "registrar":
        return REGISTRAR_PATHS
    if role == "status":
        return STATUS_PATHS
    if level_of(role) == "reviews":
        return [f"reviews/{body_of(role)}/*/*/*"]
    if level_of(role) == "project":
        return [ComponentName.from_role(role).target("*", "*")]
    return [f"{role}/*/*/*"]


def max_bytes_of(kind: str) -> int:
    """How much of a role of this kind is read at most, by everybody here."""
    return MAX_SNAPSHOT_BYTES if kind == "snapshot" else MAX_ROLE_BYTES


def parse_targets(data: bytes, where: str) -> Metadata[Targets]:
    """``data`` as TUF targets metadata; only `MalformedError` comes out, whatever the bytes."""
    return cast("Metadata[Targets]", parse_signed(data, where, "targets"))


def parse_root(data: bytes, where: str = "root") -> Metadata[Root]:
    """``data`` as TUF root metadata."""
    return cast("Metadata[Root]", parse_signed(data, where, "root"))


def parse_signed(data: bytes, where: str, kind: str) -> Metadata[Any]:
    value = Fields.of(parse_json(data, where, max_bytes=max_bytes_of(kind)), where)
    value.only(("signed", "signatures"))
    signed = value.object("signed")
    signed.literal("_type", kind)
    # The library takes true for 1, but the file would then be called True.<role>.json.
    signed.integer("version", low=1)
    try:
        return Metadata.from_dict(dict(value.value))
    except (RepositoryError, ValueError, TypeError, KeyError, AttributeError, OverflowError) as e:
        raise MalformedError(where, f"TUF {kind} metadata", e or type(e).__name__) from None


def listed_in(snapshot: bytes) -> dict[str, int]:
    """``{role: version}`` that a snapshot lists (TUF §4.4), without the library's object for each
    of thousands."""
    value = parse_json(snapshot, "snapshot", max_bytes=MAX_SNAPSHOT_BYTES)
    meta = Fields.of(value, "snapshot").object("signed").object("meta")
    return {
        name.removesuffix(".json"): meta.object(name).integer("version", low=1)
        for name in meta.value
    }


@lru_cache(maxsize=8)  # of the same bytes it is asked wherever they pass by
def role_version(data: bytes, where: str = "role") -> int:
    """The version number that the role carries."""
    return parse_targets(data, where).signed.version


def role_expires(data: bytes, where: str = "role") -> datetime:
    """The instant (UTC) from which the role no longer counts."""
    return parse_targets(data, where).signed.expires


def verify_role(parent: bytes, role: str, data: bytes) -> Metadata[Targets]:
    """``data`` parsed, after establishing that the keys that ``parent`` lists for ``role`` signed
    it in sufficient number. Neither expiry nor content is checked here.

    Raises:
        VerificationError: ``chain-broken`` (the parent does not delegate the role),
            ``path-not-delegated``, ``threshold-not-met``, or ``key-revoked`` where it lacks
            signatures and has one by a key that the parent revoked.
    """
    delegator = parse_targets(parent, f"parent of {role}").signed
    return verify_against(delegator, role, data)


def verify_against(delegator: Root | Targets, role: str, data: bytes) -> Metadata[Targets]:
    """`verify_role` with the parent already parsed and trusted."""
    metadata = parse_targets(data, role)
    if isinstance(delegator, Targets):
        _delegation(_delegated(delegator, role), delegator)  # sound keys, right paths
    check_signed_by(delegator, role, metadata)
    return metadata


def check_signed_by(delegator: Root | Targets, role: str, metadata: Metadata[Any]) -> None:
    """Establishes the threshold of signatures over ``metadata`` (TUF 1.0 §5.3.4, §5.6.3)."""
    if isinstance(delegator, Root):
        keys_of_root(delegator, role)  # a key under two ids would count twice
    try:
        delegator.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except UnsignedMetadataError:
        _refuse_revoked(delegator, role, metadata)
        result = delegator.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
        raise VerificationError(
            "threshold-not-met",
            f"role {role}",
            f"{result.threshold} signature(s) by its listed keys",
            f"{len(result.signed)} valid",
            "nothing of this role is trusted; ask the registry's operator",
        ) from None


def keys_of_root(root: Root, role: str) -> tuple[PublicKey, ...]:
    """The keys that ``root`` lists for one of its four roles.

    Raises:
        MalformedError: one is unsound, or no number of them could reach the threshold.
    """
    return _keys_of(root.roles[role], root.keys, f"root: {role}")


def _refuse_revoked(delegator: Root | Targets, role: str, metadata: Metadata[Any]) -> None:
    """Says so when what is missing was signed by a key that was taken back since."""
    if isinstance(delegator, Targets):
        former = _delegation(_delegated(delegator, role), delegator).former
        revocation = former.revocation_of(metadata.signatures)
        if revocation is not None:
            raise key_revoked(revocation, str(ComponentName.from_role(role)))


def _keys_of(role: Role, known: Mapping[str, Key], where: str) -> tuple[PublicKey, ...]:
    """The keys of ``role``, each known, sound and under its own id.

    Raises:
        MalformedError: one is not, or no number of them could reach the threshold.
    """
    threshold = role.threshold
    if isinstance(threshold, bool) or not 1 <= threshold <= min(len(role.keyids), MAX_THRESHOLD):
        raise MalformedError(f"{where}: threshold", f"1 to {len(role.keyids)}", threshold)
    keys = []
    for keyid in role.keyids:
        key = known.get(keyid)
        if key is None:
            raise MalformedError(f"{where}: keyids", "keys that are in the metadata", keyid)
        keys.append(PublicKey.from_tuf(key, f"{where}: key {keyid[:12]}"))
    return tuple(keys)


def _delegated(parent: Targets, role: str) -> DelegatedRole:
    roles = parent.delegations.roles if parent.delegations is not None else None
    if roles is None or role not in roles:
        raise VerificationError(
            "chain-broken",
            f"role {role}",
            "a delegation by the role above it",
            "none",
            "the authority names no such reviewer body"
            if is_reviews(role)
            else "the authority names no status host"
            if role == "status"
            else "the organisation or the component is not registered (any more)",
        )
    return roles[role]


def delegation_of(data: bytes, role: str, where: str = "parent") -> Delegation:
    """What the role ``data`` says of ``role``, one of those it delegates to."""
    return delegation_in(parse_targets(data, where).signed, role)


def delegation_in(signed: Targets, role: str) -> Delegation:
    """`delegation_of` for a role already parsed."""
    return _delegation(_delegated(signed, role), signed)


def delegations_of(data: bytes, where: str = "parent") -> dict[str, Delegation]:
    """``{role name: Delegation}`` of everything that ``data`` delegates, in its order."""
    return delegations_in(parse_targets(data, where).signed)


def delegations_in(signed: Targets) -> dict[str, Delegation]:
    """`delegations_of` for a role already parsed."""
    if signed.delegations is None or signed.delegations.roles is None:
        return {}
    return {name: _delegation(role, signed) for name, role in signed.delegations.roles.items()}


def _delegation(role: DelegatedRole, parent: Targets) -> Delegation:
    where = f"delegation to {role.name}"
    if not isinstance(role.name, str):  # the library does not look
        raise MalformedError(f"{where}: name", "a string", role.name)
    if role.path_hash_prefixes is not None or role.paths != paths_of(role.name):
        raise VerificationError(
            "path-not-delegated",
            where,
            f"paths {paths_of(role.name)}",
            role.paths or "hash prefixes",
        )
    if role.terminating is not True:
        raise MalformedError(where, "a terminating delegation", "another")
    known = parent.delegations.keys if parent.delegations is not None else {}
    return Delegation(
        role=role.name,
        keys=_keys_of(role, known, where),
        threshold=role.threshold,
        paths=tuple(role.paths or ()),
        profile=_profile(role, where),
        former=_former(role, known, where),
        body=_body(role, where),
    )


def _body(role: DelegatedRole, where: str) -> Body | None:
    if "forge" not in role.unrecognized_fields or level_of(role.name) != "reviews":
        return None
    return Body.read(Fields.of(role.unrecognized_fields["forge"], f"{where}: forge"))


def _profile(role: DelegatedRole, where: str) -> OrgProfile | None:
    if "forge" not in role.unrecognized_fields or level_of(role.name) in ("project", "reviews"):
        return None
    fields = Fields.of(role.unrecognized_fields["forge"], f"{where}: forge")
    return OrgProfile.read(fields.only(FIELDS, optional=OPTIONAL_FIELDS))


def _former(role: DelegatedRole, known: Mapping[str, Key], where: str) -> FormerKeys:
    if "forge" not in role.unrecognized_fields or level_of(role.name) != "project":
        return FormerKeys()
    value = role.unrecognized_fields["forge"]
    return FormerKeys.read(value, known, role.keyids, f"{where}: forge")


def releases_of(data: bytes, component: ComponentName) -> dict[str, IndexEntry]:
    """``{version: IndexEntry}`` of the project role ``data``, oldest version first.

    Raises:
        VerificationError: a target outside the component's own paths (``path-not-delegated``).
        MalformedError: a manifest without its bundle, a spoilt index entry.
    """
    return index_of(parse_targets(data, component.role).signed, component)


def index_of(signed: Targets, component: ComponentName) -> dict[str, IndexEntry]:
    """`releases_of` for a role already parsed."""
    files: dict[str, dict[str, TargetFile]] = {}
    for path, target in signed.targets.items():
        parts = path.split("/")
        if len(parts) != 4 or parts[:2] != [component.org, component.name]:
            raise VerificationError(
                "path-not-delegated", f"role {component.role}", f"targets under {component}/", path
            )
        files.setdefault(parts[2], {})[parts[3]] = target
    entries = [_index_entry(text, pair, component) for text, pair in files.items()]
    entries.sort(key=lambda entry: entry.version)
    for one, other in pairwise(entries):
        if one.version == other.version:  # PEP 440: 1.0 and 1.0.0 are one version
            where = f"{component.role}: {other.version}"
            raise MalformedError(where, "each version once", f"{one.version} too")
    return {str(entry.version): entry for entry in entries}


def _index_entry(text: str, pair: dict[str, TargetFile], component: ComponentName) -> IndexEntry:
    where = f"{component.role}: {text}"
    if set(pair) != {manifests.FILE, oms.FILE}:
        raise MalformedError(where, f"{manifests.FILE} and {oms.FILE}", ", ".join(sorted(pair)))
    manifest, bundle = pair[manifests.FILE], pair[oms.FILE]
    custom = Fields.of(manifest.custom, where).only(("kind", "requires"), optional=MEMBERS)
    requires = {}
    for name, range_ in custom.object("requires").value.items():
        ComponentName.parse(name, f"{where}.requires")
        parse_specifier(range_, f"{where}.requires.{name}")
        requires[name] = range_
    kind = custom.text("kind")
    if kind not in KINDS:
        raise MalformedError(f"{where}.kind", f"one of {', '.join(KINDS)}", kind)
    yanked = custom.optional_text("yanked", max_chars=MAX_REASON_CHARS)
    if yanked is not None:
        check_reason(yanked, f"{where}.yanked")
    elif YANKED_SUCCESSOR in custom.value:
        raise MalformedError(f"{where}.{YANKED_SUCCESSOR}", "a release that is yanked", "another")
    return IndexEntry(
        version=parse_version(text, where),
        manifest_sha256=_sha256_of(manifest, where),
        manifest_size=_length_of(manifest, where),
        bundle_sha256=_sha256_of(bundle, where),
        bundle_size=_length_of(bundle, where),
        kind=kind,
        requires=requires,
        yanked=yanked,
        yanked_successor=read_successor(custom, YANKED_SUCCESSOR),
        deprecated=_deprecation(custom),
    )


def _deprecation(custom: Fields) -> Deprecation | None:
    if DEPRECATED not in custom.value:
        return None
    fields = custom.object(DEPRECATED)
    deprecation = Deprecation.read(fields)
    check_reason(deprecation.reason, fields.path("reason"), required=True)
    return deprecation


def check_reason(text: str, where: str = "reason", *, required: bool = False) -> str:
    """``text`` if it may stand as a reason: one line, shown to everybody; with ``required`` it
    says something."""
    unsaid = required and not text.strip()
    if unsaid or len(text) > MAX_REASON_CHARS or not is_plain(text):
        expected = f"one line of plain text, at most {MAX_REASON_CHARS} characters"
        raise MalformedError(where, expected, repr(text))
    return text


def _length_of(target: TargetFile, where: str) -> int:
    if isinstance(target.length, bool):
        raise MalformedError(f"{where}: length", "an integer", "a boolean")
    return target.length


def _sha256_of(target: TargetFile, where: str) -> str:
    if set(target.hashes) != {"sha256"}:
        raise MalformedError(f"{where}: hashes", "sha256 alone", ", ".join(target.hashes))
    return parse_digest(target.hashes["sha256"], f"{where}: hashes.sha256")
