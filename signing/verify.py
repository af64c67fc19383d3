"""`verify_release`: the one procedure that decides whether a release is what it says it is.

It takes bytes and a clock and goes through numbered checks. Whoever fetched the bytes, and from
where, makes no difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from packaging.version import Version
from tuf.api.metadata import Targets

from . import component
from .assessment import Assessment, Subject, assess
from .bodies import is_reviews
from .digests import fingerprint, sha256_hex
from .errors import VerificationError
from .evidence import Evidence
from .manifest import FileEntry, Manifest, parse_manifest
from .names import ComponentName
from .oms import Bundle
from .publisher_keys import verify_publisher_bundle
from .report import NotAtHand, Report, Step, run_steps
from .reviews import gather
from .roles import (
    Delegation,
    IndexEntry,
    check_signed_by,
    delegation_of,
    delegations_in,
    index_of,
    parse_root,
    verify_against,
)
from .status import ROLE, Status, status_in
from .status_rules import log_to_check, missing, stale
from .tlog.checkpoint import SignedCheckpoint
from .tlog.entries import role_entry
from .tlog.policy import Witnesses, policy_of
from .tlog.proof import check_proof, parse_proof
from .updates import check_files, check_index_entry, check_same_files, check_shape

_SKEW = timedelta(minutes=5)


@dataclass(kw_only=True)
class _Procedure:
    """What was handed in, and what the checks made so far have established."""

    evidence: Evidence
    name: ComponentName
    version: Version | None
    fingerprint: str
    now: datetime
    observed: Mapping[str, FileEntry] | None
    forge_toml: bytes | None
    witnesses: Witnesses | None
    selected: frozenset[str] | None
    known_status: Status | None
    log_size: int | None = None
    roles: dict[str, Targets] = field(default_factory=dict)
    expiries: dict[str, datetime] = field(default_factory=dict)
    organisation: Delegation | None = None
    publishers: Delegation | None = None
    assessment: Assessment | None = None
    manifest: Manifest | None = None
    bundle: Bundle | None = None

    def trusted_manifest(self) -> Manifest:
        if self.manifest is None:
            raise AssertionError("the manifest is used before it was checked")
        return self.manifest


def verify_release(
    evidence: Evidence,
    name: ComponentName,
    version: Version | None,
    *,
    fingerprint: str,
    now: datetime,
    observed: Mapping[str, FileEntry] | None,
    forge_toml: bytes | None,
    witnesses: Witnesses | None = None,
    selected: frozenset[str] | None = None,
    status: Status | None = None,
) -> Report:
    """Goes through every check for release ``version`` (None: whichever the manifest says).

    ``fingerprint`` is the pinned one of the first root. ``observed`` maps each path that was
    found to its size and digest, None when the files are not at hand. ``forge_toml`` is the
    file's bytes, None likewise. Expiry is judged at the moment of ``evidence.refreshed_at``,
    when the registry was last asked, or at ``now`` where that is None. ``witnesses`` are those that
    the client chose itself, in place of the ones that the authority names. ``status`` is the last
    word of the status host that the client knows, where that may be newer than the evidence; it
    was verified when it came.

    ``selected`` are the paths of a partial installation; None when all files shall be there.

    Never raises for bad evidence: the failure is in the report.
    """
    procedure = _Procedure(
        evidence=evidence,
        name=name,
        version=version,
        fingerprint=fingerprint,
        now=now,
        observed=observed,
        forge_toml=forge_toml,
        witnesses=witnesses,
        selected=selected,
        known_status=status,
    )
    checks = run_steps(_STEPS, procedure)
    return Report(checks=checks, release=procedure.manifest, assessment=procedure.assessment)


# --- the checks, in order -----------------------------------------------------------------


def _check_root(p: _Procedure) -> str:
    if not p.evidence.roots:
        raise VerificationError("chain-broken", "root of trust", p.fingerprint, "no root")
    found = fingerprint(p.evidence.roots[0])
    if found != p.fingerprint:
        raise VerificationError(
            "chain-broken",
            "root of trust",
            p.fingerprint,
            found,
            "this is another registry, or its root was replaced; "
            "ask the authority before trusting it",
        )
    previous = parse_root(p.evidence.roots[0])
    check_signed_by(previous.signed, "root", previous)
    for data in p.evidence.roots[1:]:
        root = parse_root(data)
        check_signed_by(previous.signed, "root", root)  # TUF 1.0 §5.3.4: by the old keys
        check_signed_by(root.signed, "root", root)  # and by the new
        if root.signed.version != previous.signed.version + 1:
            raise VerificationError(
                "rollback", "root", f"version {previous.signed.version + 1}", root.signed.version
            )
        previous = root
    targets = verify_against(previous.signed, "targets", p.evidence.targets)
    check_shape("targets", targets.signed)
    p.roles["targets"] = targets.signed
    p.expiries["root"] = previous.signed.expires
    p.expiries["targets"] = targets.signed.expires
    return f"root version {previous.signed.version}, fingerprint {found}"


def _check_role(p: _Procedure, parent: str, role: str, data: bytes) -> Delegation:
    metadata = verify_against(p.roles[parent], role, data)
    check_shape(role, metadata.signed)
    p.roles[role] = metadata.signed
    p.expiries[role] = metadata.signed.expires
    parent_bytes = {"targets": p.evidence.targets, "registrar": p.evidence.registrar}
    return delegation_of(parent_bytes.get(parent, p.evidence.organisation), role)


def _check_organisation(p: _Procedure) -> str:
    _check_role(p, "targets", "registrar", p.evidence.registrar)
    p.organisation = delegation = _check_role(p, "registrar", p.name.org, p.evidence.organisation)
    profile = delegation.profile
    described = f", {profile.kind}: {profile.display_name}" if profile else ""
    return f"{p.name.org}{described}; {_keys(delegation)}"


def _check_publishers(p: _Procedure) -> str:
    p.publishers = _check_role(p, p.name.org, p.name.role, p.evidence.project)
    role = p.roles[p.name.role]
    return f"{p.name}, index version {role.version}; {_keys(p.publishers)}"


def _keys(delegation: Delegation) -> str:
    ids = ", ".join(key.keyid[:12] for key in delegation.keys)
    return f"{delegation.threshold} of {len(delegation.keys)} key(s) needed: {ids}"


def _check_freshness(p: _Procedure) -> str:
    at = p.evidence.refreshed_at or p.now
    if at > p.now + _SKEW:
        raise VerificationError(
            "expired",
            "last contact with the registry",
            f"a moment before {p.now:%Y-%m-%d %H:%M} UTC",
            f"{at:%Y-%m-%d %H:%M} UTC",
            "check this machine's clock",
        )
    for role, expires in p.expiries.items():
        if expires <= at:
            raise VerificationError(
                "expired",
                f"role {role}",
                f"metadata valid at {at:%Y-%m-%d %H:%M} UTC",
                f"expired {expires:%Y-%m-%d %H:%M}",
                "its keyholders must sign it anew",
            )
    first = min(p.expiries, key=lambda role: p.expiries[role])
    return (
        f"as of {at:%Y-%m-%d %H:%M} UTC{_age(p.now - at)}; "
        f"{first} expires first, {p.expiries[first]:%Y-%m-%d}"
    )


def _age(age: timedelta) -> str:
    if age < timedelta(hours=1):
        return ""
    return f", {age.days} days ago" if age.days else f", {age.seconds // 3600} hours ago"


def _check_manifest(p: _Procedure) -> str:
    manifest = parse_manifest(p.evidence.manifest)
    wanted = p.version if p.version is not None else manifest.version
    if manifest.component != p.name or str(manifest.version) != str(wanted):  # 1.0 == 1.0.0
        raise VerificationError(
            "name-mismatch",
            "manifest.json",
            f"{p.name} {wanted}",
            f"{manifest.component} {manifest.version}",
        )
    entry = _entry(p, wanted)
    check_index_entry(entry, manifest, p.evidence.bundle)
    p.manifest = manifest
    yanked = f"; YANKED: {entry.yanked}" if entry.yanked is not None else ""
    return f"{p.name} {wanted}, manifest sha256:{manifest.digest}{yanked}"


def _entry(p: _Procedure, version: Version) -> IndexEntry:
    entry = index_of(p.roles[p.name.role], p.name).get(str(version))
    if entry is None:
        raise VerificationError(
            "chain-broken", str(p.name), f"a version {version} in the index", "none"
        )
    return entry


def _check_signature(p: _Procedure) -> str:
    manifest, publishers = p.trusted_manifest(), p.publishers
    if publishers is None:
        raise AssertionError("the signature is looked at before the publishers are known")
    p.bundle = verify_publisher_bundle(
        p.evidence.bundle, publishers.keys, publishers.former, str(manifest)
    )
    check_same_files(p.bundle, manifest)
    return f"{len(p.bundle.resources)} files, signed by key {p.bundle.key.keyid[:12]}"


def _check_forge_toml(p: _Procedure) -> str:
    if p.forge_toml is None:
        raise NotAtHand("the file is not at hand")
    manifest = p.trusted_manifest()
    signed, found = manifest.by_path[component.FILE_NAME].sha256, sha256_hex(p.forge_toml)
    if signed != found:
        raise VerificationError("digest-mismatch", component.FILE_NAME, signed, found)
    spec = component.parse_forge_toml(p.forge_toml)
    ours = (spec.component, str(spec.version), spec.kind, spec.metadata())
    theirs = (manifest.component, str(manifest.version), manifest.kind, manifest.metadata)
    if ours != theirs:
        raise VerificationError(
            "name-mismatch",
            component.FILE_NAME,
            str(manifest),
            f"{spec.component}=={spec.version}, or another description",
        )
    return f"{spec.kind}, {spec.license}"


def _check_observed(p: _Procedure) -> str:
    if p.observed is None:
        raise NotAtHand("the files are not at hand; install them, or verify a folder")
    manifest = p.trusted_manifest()
    check_files(manifest, p.observed, p.selected)
    if p.selected is not None:
        return (
            f"{len(p.observed)} of {len(manifest.files)} files: a PARTIAL installation; "
            "none other, and each as signed"
        )
    return f"{len(manifest.files)} files, {manifest.total_size} bytes, none missing, none extra"


def _check_history(p: _Procedure) -> str:
    policy = policy_of(p.evidence.targets, p.witnesses)
    if policy is None:
        raise NotAtHand("the authority names no public log for this registry")
    subject = f"role {p.name.role} in the log {policy.origin}"
    if p.evidence.log_proof is None:
        raise VerificationError(
            "not-in-log",
            subject,
            "a proof that the public log holds it",
            "none",
            "fetch the release again: forge verify, or forge install",
        )
    leaf = role_entry(p.name.role, p.roles[p.name.role].version, p.evidence.project)
    proof = parse_proof(p.evidence.log_proof, "log proof")
    signed = check_proof(proof, leaf.to_bytes(), policy.keys, policy.witnesses, subject)
    policy.require_quorum(signed)
    p.log_size = signed.checkpoint.size
    return f"leaf {proof.index} of {signed.checkpoint.size} in {policy.origin}{_seen_by(signed)}"


def _seen_by(signed: SignedCheckpoint) -> str:
    if not signed.witnesses:
        return "; no witness"
    return "; witnesses " + ", ".join(
        f"{name} ({at:%Y-%m-%d %H:%M} UTC)" for name, at in sorted(signed.witnesses.items())
    )


def _check_status(p: _Procedure) -> str:
    signed = _signed_status(p)
    # Of two words of one second the one that the client heard is the later.
    statements = [one for one in (p.known_status, signed) if one is not None]
    if not statements:
        raise NotAtHand("the authority names no status host for this registry")
    newest = max(statements, key=lambda one: one.at)
    withheld = newest.find(p.trusted_manifest().digest)
    if withheld is not None:
        raise withheld.error()
    return f"as of {newest.at:%Y-%m-%d %H:%M} UTC{_age(p.now - newest.at)}; not withheld"


def _signed_status(p: _Procedure) -> Status | None:
    """What the status host says in the evidence; None where the authority names no such host."""
    if ROLE not in delegations_in(p.roles["targets"]):
        return None
    if p.evidence.status is None:
        raise missing()
    metadata = verify_against(p.roles["targets"], ROLE, p.evidence.status)
    check_shape(ROLE, metadata.signed)
    status = status_in(metadata.signed)
    at = p.evidence.refreshed_at or p.now
    if metadata.signed.expires <= at:
        raise stale(status, metadata.signed.expires, at)
    seen = log_to_check(status, policy_of(p.evidence.targets))
    if seen is not None and p.log_size is not None and p.log_size < seen.size:
        raise VerificationError(
            "rollback",
            f"log {seen.origin}",
            f"at least {seen.size} entries, as the status host saw",
            p.log_size,
        )
    return status


def _check_reviews(p: _Procedure) -> str:
    """Nobody's review is needed for a release to be genuine: what is found is only told."""
    if not any(is_reviews(role) for role in delegations_in(p.roles["targets"])):
        raise NotAtHand("the authority names no reviewer body for this registry")
    if p.evidence.reviews is None:
        raise NotAtHand("nobody asked for reviews when this was fetched")
    manifest = p.trusted_manifest()
    at = p.evidence.refreshed_at or p.now
    said = gather(
        p.roles["targets"], p.evidence.reviews, manifest.component, str(manifest.version), at
    )
    p.assessment = assess(
        subject_of(manifest, _signers(p), said.critical_since(manifest.digest)),
        said.decisions,
        p.now,
        unread=said.lapses,
    )
    return p.assessment.summary()


def _signers(p: _Procedure) -> Iterable[Delegation | None]:
    return p.publishers, p.organisation


def subject_of(
    manifest: Manifest,
    signers: Iterable[Delegation | None],
    critical_since: datetime | None = None,
) -> Subject:
    """What reviewers decide about. ``signers`` are the delegations to the component and to its
    organisation: whoever signs for one of them reviews none of its releases."""
    keys = [
        key.keyid
        for each in signers
        if each is not None
        for key in (*each.keys, *each.former.keys())
    ]
    risk = manifest.metadata.get("risk") or {}
    return Subject(
        component=manifest.component,
        version=str(manifest.version),
        manifest_sha256=manifest.digest,
        risk_class=risk.get("class"),
        keyids=frozenset(keys),
        critical_since=critical_since,
    )


_STEPS: tuple[Step[_Procedure], ...] = (
    Step(
        "root of trust",
        _check_root,
        "the authority whose fingerprint you pinned names the roles below it",
        "that the fingerprint you pinned is the authority's: compare it over another channel",
    ),
    Step(
        "organisation",
        _check_organisation,
        "the registrar registered this organisation with these keys",
        "who holds the organisation's keys today",
    ),
    Step(
        "publishers",
        _check_publishers,
        "the organisation lets these keys publish this component, and they signed its index",
        "that the people behind the keys meant well",
    ),
    Step(
        "freshness",
        _check_freshness,
        "nothing in the chain had expired when the registry was last asked",
        "that nothing was revoked or yanked since then",
    ),
    Step(
        "manifest and index",
        _check_manifest,
        "this version has this one content; name, version and requirements are the signed ones",
        "that the description in it is true",
    ),
    Step(
        "signature",
        _check_signature,
        "a publisher key that is not revoked signed exactly this list of files "
        "(OpenSSF Model Signing)",
        "that the files do no harm, or that anybody looked at them",
    ),
    Step(
        "description",
        _check_forge_toml,
        "the description shown is the one in the signed forge.toml",
        "that licence, languages and risk class are stated correctly",
    ),
    Step(
        "files",
        _check_observed,
        "the files here are the signed ones, byte for byte, with none missing and none added",
        "that they stay so: verify again after copying",
    ),
    Step(
        "history",
        _check_history,
        "the public log holds this index, where the organisation and everybody else can see it",
        "that somebody looked; without witnesses, that others are shown the same log",
    ),
    Step(
        "status",
        _check_status,
        "the status host, which is not the server, neither quarantined nor revoked the release",
        "that it was not withheld since then",
    ),
    Step(
        "reviews",
        _check_reviews,
        "what reviewers of the bodies that the authority names decided about exactly this release, "
        "and until when",
        "that they were right; without a policy an unreviewed release passes",
    ),
)
