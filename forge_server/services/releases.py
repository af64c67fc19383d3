"""Publishing a release: offer → missing blobs → the same offer again → published.

The server remembers nothing of an offer that lacks blobs. The order is what keeps a crash
harmless: blobs are durable before the transaction that mentions them, and the transaction is
durable before the published tree announces it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import partial

from sqlalchemy.orm import Session

from signing.component import FILE_NAME, MAX_TOML_BYTES, parse_forge_toml
from signing.digests import sha256_hex
from signing.errors import VerificationError
from signing.manifest import Manifest, build_manifest, parse_manifest
from signing.names import ComponentName
from signing.policy import KIND as POLICY
from signing.policy import MAX_POLICY_BYTES, parse_policy, require_policy_file
from signing.roles import role_expires, role_version
from signing.updates import Offer, check_offer, check_role_update
from storage import BlobNotFoundError
from storage.checks import check_published_path

from ..db.engine import Database
from ..db.later import write_now
from ..errors import RegistryError
from .admission import Admission
from .audit import Audit
from .callers import Caller, Identity
from .clock import Clock
from .components import published_of
from .distributions import Distributions, WheelRead, files_of
from .foresight import Foresight, Wish
from .gathering import Gathering
from .incoming import Incoming, blobs_of, by_digest, identity_of
from .leases import BlobsGoneError, Held
from .publication import Publication, target_path
from .quotas import QuotaState
from .release_rows import Receipt, add_release, receipt_of, same_release
from .rights import Standings, require_standing, standings
from .rolebook import add_role_later, current_roles
from .roles import require_no_look_alike
from .together import Together

_ROUNDS = 3  # in which blobs may vanish under an offer


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferText:
    """An offer as it was sent: everything signed, in the exact bytes. ``files`` are small blobs of
    the release that came along, by digest, so that they need no requests of their own."""

    manifest: bytes
    bundle: bytes
    roles: Mapping[str, bytes]
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """``receipt`` when the release is published, ``created`` when it was by this very offer;
    else ``missing``: ``{digest: size in bytes, None where only the sender knows}``; where that
    is empty too, files are still being compared with their chunk lists: ask again. ``taken`` are
    the files that came along and were not here."""

    receipt: Receipt | None = None
    created: bool = False
    missing: Mapping[str, int | None]
    taken: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Checked:
    offer: Offer
    text: OfferText
    org_role: bytes | None  # a new version of the organisation's role, sent along

    @property
    def component(self) -> ComponentName:
        return self.offer.manifest.component

    @property
    def role(self) -> bytes:
        return self.text.roles[self.component.role]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """Who offers what, with files of so many bytes."""

    identity: Identity
    manifest: Manifest
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What several who offer something must know."""

    standings: Standings
    published: Set[tuple[ComponentName, str]]
    roles: Mapping[str, bytes]
    quotas: Mapping[str, QuotaState]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """The receipt of what is published already; else the roles that judge the offer, and whether
    the organisation has room for the files that came along."""

    receipt: Receipt | None = None
    roles: Mapping[str, bytes] = field(default_factory=dict)
    has_room: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Brought:
    """Files that came along with an offer and were stored: their sizes, and the leases under which
    they, and perhaps manifest and bundle, were."""

    sizes: Mapping[str, int]
    held: Held


@dataclass(frozen=True, slots=True)
class Releases:
    database: Database
    audit: Audit
    publication: Publication
    incoming: Incoming
    clock: Clock
    together: Together
    distributions: Distributions
    admission: Admission
    foresight: Foresight
    _looking: Gathering[_Asked, _Found] = field(default_factory=Gathering)

    def offer(self, caller: Caller, text: OfferText) -> Answer:
        """Publishes the release if all its blobs are here, else says which are not.

        Raises:
            RegistryError, SigningError: no right to publish, or something does not hold.
            BackendError: the store failed; the same offer again finishes the work.
        """
        identity = identity_of(caller)
        manifest = parse_manifest(text.manifest)
        size = sum(map(len, text.files.values()))
        asked = _Asked(identity=identity, manifest=manifest, size=size)
        with self.together.coming() as arrive:
            # Of many who offer something at once, one looks for all.
            found = self._looking.ask(asked, self._look)
            if found.receipt is not None:
                arrive()
                self.publication.materialise()
                return Answer(receipt=found.receipt, missing={})
            checked = self._check(manifest, text, found.roles)
            brought = self._take(manifest, text, found.has_room)
            return self._finish(caller, checked, brought, arrive)

    def _finish(
        self, caller: Caller, checked: _Checked, brought: _Brought, arrive: Callable[[], None]
    ) -> Answer:
        component = checked.component
        answer: Answer | None = None
        try:
            answer = self._settle(caller, checked, brought, arrive)
            return answer
        finally:
            # What is published has its events in the transaction that publishes it.
            if answer is None or not answer.created:
                self._note(caller, component, brought)

    def _look(self, asked: Sequence[_Asked]) -> list[_Found | Exception]:
        """How things are before anything is checked or stored."""
        components = [each.manifest.component for each in asked]
        users = [each.identity.user_id for each in asked]
        organisations = {each.org for each in components}
        with self.database.read() as session:
            self.publication.check_writable(session)
            known = _Known(
                standings=standings(
                    session,
                    {(user, each.org) for user, each in zip(users, components, strict=True)},
                ),
                published=published_of(
                    session,
                    [(each.manifest.component, str(each.manifest.version)) for each in asked],
                ),
                roles=current_roles(
                    session, {"registrar", *organisations, *(each.role for each in components)}
                ),
                quotas=self.incoming.quotas.states(session, organisations),
            )
            return [self._look_for(session, known, each) for each in asked]

    def _look_for(self, session: Session, known: _Known, asked: _Asked) -> _Found | Exception:
        manifest, component = asked.manifest, asked.manifest.component
        try:
            asked.identity.require("publish", organisation=component.org, component=str(component))
            require_standing(session, known.standings, asked.identity, component.org, "publisher")
            if (component, str(manifest.version)) in known.published:
                return _Found(receipt=same_release(session, manifest))
            quota = known.quotas[component.org]
            # Before anything is sent in vain; what counts is asked again by the transaction.
            self.incoming.quotas.require_room_for_release(quota, manifest.total_size)
            self.distributions.require_free(session, manifest)
            full = asked.size and self.incoming.quotas.why_no_room_for_upload(
                session, quota, asked.size
            )
        except RegistryError as error:
            return error
        names = ("registrar", component.org, component.role)
        roles = {name: known.roles[name] for name in names if name in known.roles}
        return _Found(roles=roles, has_room=not full)

    def _settle(
        self, caller: Caller, checked: _Checked, brought: _Brought, arrive: Callable[[], None]
    ) -> Answer:
        """Publishes what is all here; tells by ``arrive`` that nothing else is in the way."""
        manifest, text = checked.offer.manifest, checked.text
        fresh, taken = brought.held, tuple(brought.sizes)
        for _ in range(_ROUNDS):
            held, missing = self.incoming.find(manifest, fresh)
            if missing:
                return Answer(missing=missing, taken=taken)
            try:
                self._check_contents(manifest)
                if not self.incoming.chunk_checks.settle(manifest):
                    return Answer(missing={}, taken=taken)
                # Blobs before facts: a crash from here on leaves garbage, never a lie.
                small = by_digest((text.manifest, text.bundle))
                if rest := {digest: small[digest] for digest in small.keys() - fresh.keys()}:
                    held |= self.incoming.store(manifest.component.org, rest)
                wheels = self.distributions.read(manifest)
                wish = _wish(identity_of(caller), manifest, text.bundle)
                publish = partial(self._publish, caller, wish, checked, brought, held, wheels)
                arrive()
                receipt, created = self.together.make(publish, wish)
            except (BlobsGoneError, BlobNotFoundError):
                fresh = {}  # deleted since we looked
                continue
            self.publication.materialise(receipt.snapshot_version)
            return Answer(receipt=receipt, created=created, missing={}, taken=taken)
        raise RegistryError("busy", f"{manifest}: its files are being deleted; try again")

    def _take(self, manifest: Manifest, text: OfferText, has_room: bool) -> _Brought:
        """Stores those of the files that came along and are not here. Where with them all of the
        release is here, manifest and bundle as well: it takes the locks of the database once.
        ``has_room`` says that the organisation has room for all of them.

        Raises:
            RegistryError: one is no part of the release, or the quota is full.
            VerificationError: one is not what its digest says; then none is stored.
        """
        files, wanted = text.files, blobs_of(manifest)
        if strangers := sorted(files.keys() - wanted.keys()):
            raise RegistryError(
                "malformed",
                f"request: files: expected files of {manifest}, found {strangers[0]}",
            )
        for digest, data in files.items():
            if (found := sha256_hex(data)) != digest:
                raise VerificationError("digest-mismatch", "request: files", digest, found)
        missing = self.incoming.missing(manifest).keys() if files else set()
        taken = {digest: files[digest] for digest in sorted(missing & files.keys())}
        if not taken:
            return _Brought(sizes={}, held={})
        org, sizes = manifest.component.org, {each: len(data) for each, data in taken.items()}
        if not has_room:  # but perhaps for those that are not here
            self.incoming.quotas.require_room_for_upload(org, sum(sizes.values()))
        if missing <= files.keys():
            taken |= by_digest((text.manifest, text.bundle))
        return _Brought(sizes=sizes, held=self.incoming.store(org, taken))

    def _note(self, caller: Caller, component: ComponentName, brought: _Brought) -> None:
        if brought.sizes:
            with self.database.write() as session:
                self._record_blobs(session, caller, component, brought)

    def _record_blobs(
        self, session: Session, caller: Caller, component: ComponentName, brought: _Brought
    ) -> None:
        for digest, size in brought.sizes.items():
            self.audit.record(
                session, caller, "blob.store", str(component), sha256=digest, size=size
            )

    def _check(self, manifest: Manifest, text: OfferText, current: Mapping[str, bytes]) -> _Checked:
        """Every check that needs neither lock nor blob."""
        component, now = manifest.component, self.clock()
        unexpected = set(text.roles) - {component.org, component.role}
        if unexpected or component.role not in text.roles:
            found = ", ".join(sorted(text.roles))[:200] or "none"
            raise RegistryError(
                "malformed",
                f"request: roles: expected {component.role}, and {component.org} where it "
                f"changes, found {found}",
            )
        _check_paths(manifest, text.bundle)
        org_role = text.roles.get(component.org)
        if org_role is not None:
            check_role_update(
                component.org, org_role, current.get(component.org), current["registrar"], now
            )
            require_no_look_alike(current.get(component.org), org_role)
        offer = check_offer(
            text.manifest,
            text.bundle,
            text.roles[component.role],
            current.get(component.role),
            org_role or current[component.org],
            now,
        )
        return _Checked(offer=offer, text=text, org_role=org_role)

    def _check_contents(self, manifest: Manifest) -> None:
        """Establishes that the manifest repeats the ``forge.toml`` inside the release, and that
        nothing in it is executed on loading."""
        entry = manifest.by_path[FILE_NAME]
        if entry.size > MAX_TOML_BYTES:
            raise RegistryError(
                "metadata-mismatch",
                f"{FILE_NAME}: expected at most {MAX_TOML_BYTES} bytes, found {entry.size}",
            )
        with self.incoming.blobs.open(entry.sha256) as file:
            spec = parse_forge_toml(file.read(MAX_TOML_BYTES + 1))
        if build_manifest(spec, manifest.files).digest != manifest.digest:
            raise RegistryError(
                "metadata-mismatch",
                f"{manifest}: expected manifest.json to repeat {FILE_NAME}, found differences",
                "build the manifest from the forge.toml that is in the folder",
            )
        if manifest.kind == POLICY:
            # Whoever pinned a policy that cannot be read could use nothing any more.
            with self.incoming.blobs.open(require_policy_file(manifest)) as file:
                parse_policy(file.read(MAX_POLICY_BYTES + 1))
        self.admission.require(manifest)

    def _publish(
        self,
        caller: Caller,
        wish: Wish,
        checked: _Checked,
        brought: _Brought,
        held: Held,
        wheels: Sequence[WheelRead],
        session: Session,
    ) -> tuple[tuple[Receipt, bool], bool]:
        """What the transaction changes: roles, release, files and event. `Together` adds the
        snapshot and timestamp that announce it.

        Raises:
            BlobsGoneError: a blob was deleted since it was looked for.
            AgainError: another of the same transaction changed the component.
        """
        manifest, component, now = checked.offer.manifest, checked.component, self.clock()
        identity = identity_of(caller)
        # Looked at again now that nobody else can write: of many, one wins.
        seen = self.foresight.of(session, wish)
        require_standing(session, seen.standings, identity, component.org, "publisher")
        seen.take(component)
        if seen.is_published(wish):
            receipt = same_release(session, manifest)
            assert receipt is not None
            return (receipt, False), False
        quota = seen.quotas[component.org]
        seen.quotas[component.org] = self.incoming.quotas.count(session, quota, manifest.total_size)
        self.incoming.leases.settle(session, wish.digests, held, seen.ended)
        if checked.org_role is not None:
            version = role_version(checked.org_role)
            expires = role_expires(checked.org_role)
            add_role_later(session, component.org, version, checked.org_role, now, expires)
            self.audit.record(session, caller, "role.accept", component.org, version=version)
        offer = checked.offer
        add_role_later(
            session, component.role, offer.role_version, checked.role, now, offer.role_expires
        )
        snapshot = self.publication.next_snapshot(session)
        release = add_release(
            session, identity, offer, sha256_hex(checked.text.bundle), seen, snapshot, now
        )
        if files_of(manifest):
            write_now(session)  # its names want to know its number
            self.distributions.record(session, release, manifest, wheels)
        self._record_blobs(session, caller, component, brought)
        self.audit.record(
            session,
            caller,
            "release.publish",
            str(manifest),
            manifest_sha256=manifest.digest,
            files=len(manifest.files),
            bytes=manifest.total_size,
        )
        return (receipt_of(component, release), True), True


def _wish(identity: Identity, manifest: Manifest, bundle: bytes) -> Wish:
    return Wish(
        user_id=identity.user_id,
        component=manifest.component,
        version=str(manifest.version),
        digests=(*blobs_of(manifest), manifest.digest, sha256_hex(bundle)),
    )


def _check_paths(manifest: Manifest, bundle: bytes) -> None:
    """Establishes that the target files can be published under their names. After the commit
    would be too late: what cannot be written would block everything behind it."""
    for file, digest in (
        ("manifest.json", manifest.digest),
        ("release.sigstore.json", sha256_hex(bundle)),
    ):
        org, name = manifest.component.org, manifest.component.name
        check_published_path(target_path(org, name, str(manifest.version), file, digest))
