"""Publishing a release: offer → missing blobs → the same offer again → published.

The server remembers nothing of an offer that lacks blobs. The order is what keeps a crash
harmless: blobs are durable before the transaction that mentions them, and the transaction is
durable before the published tree announces it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from io import BytesIO
from typing import Any, Final

from sqlalchemy import insert
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
from storage import BlobNotFoundError, BlobStore
from storage.checks import check_published_path
from storage.hashing import Readable

from ..db.engine import Database
from ..db.later import later, write_now
from ..db.models import Component, Release, ReleaseFile, table_of
from ..errors import RegistryError
from .admission import Admission
from .audit import Audit
from .callers import Caller, Identity
from .chunk_checks import ChunkChecks
from .clock import Clock
from .components import find_release, is_published, published_of, refresh_component
from .distributions import Distributions, WheelRead, files_of
from .foresight import Foresight, Seen, Wish
from .gathering import Gathering
from .leases import BlobsGoneError, Held, Leases, batches, referred
from .publication import Publication, target_path
from .quotas import Quotas, QuotaState
from .rights import Standings, require_member, require_standing, standings
from .rolebook import add_role_later, current_roles
from .roles import require_no_look_alike
from .together import Together
from .withheld import is_in_force, require_in_force

_RELEASES: Final = table_of(Release)
_ADD_RELEASE: Final = insert(_RELEASES).returning(
    _RELEASES.c.id, _RELEASES.c.component_id, _RELEASES.c.version
)
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
class Receipt:
    component: str
    version: str
    manifest_sha256: str
    role: str
    role_version: int
    snapshot_version: int
    published_at: datetime


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
    blobs: BlobStore
    chunk_checks: ChunkChecks
    leases: Leases
    quotas: Quotas
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
        identity = _identity(caller)
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
                quotas=self.quotas.states(session, organisations),
            )
            return [self._look_for(session, known, each) for each in asked]

    def _look_for(self, session: Session, known: _Known, asked: _Asked) -> _Found | Exception:
        manifest, component = asked.manifest, asked.manifest.component
        try:
            asked.identity.require("publish", organisation=component.org, component=str(component))
            require_standing(session, known.standings, asked.identity, component.org, "publisher")
            if (component, str(manifest.version)) in known.published:
                return _Found(receipt=_same_release(session, manifest))
            quota = known.quotas[component.org]
            # Before anything is sent in vain; what counts is asked again by the transaction.
            self.quotas.require_room_for_release(quota, manifest.total_size)
            self.distributions.require_free(session, manifest)
            full = asked.size and self.quotas.why_no_room_for_upload(session, quota, asked.size)
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
            held, missing = self._find(manifest, fresh)
            if missing:
                return Answer(missing=missing, taken=taken)
            try:
                self._check_contents(manifest)
                if not self.chunk_checks.settle(manifest):
                    return Answer(missing={}, taken=taken)
                # Blobs before facts: a crash from here on leaves garbage, never a lie.
                small = _by_digest((text.manifest, text.bundle))
                if rest := {digest: small[digest] for digest in small.keys() - fresh.keys()}:
                    held |= self._put(manifest.component.org, rest)
                wheels = self.distributions.read(manifest)
                wish = _wish(_identity(caller), manifest, text.bundle)
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
        files, wanted = text.files, _blobs_of(manifest)
        if strangers := sorted(files.keys() - wanted.keys()):
            raise RegistryError(
                "malformed",
                f"request: files: expected files of {manifest}, found {strangers[0]}",
            )
        for digest, data in files.items():
            if (found := sha256_hex(data)) != digest:
                raise VerificationError("digest-mismatch", "request: files", digest, found)
        missing = self._missing(manifest).keys() if files else set()
        taken = {digest: files[digest] for digest in sorted(missing & files.keys())}
        if not taken:
            return _Brought(sizes={}, held={})
        org, sizes = manifest.component.org, {each: len(data) for each, data in taken.items()}
        if not has_room:  # but perhaps for those that are not here
            self.quotas.require_room_for_upload(org, sum(sizes.values()))
        if missing <= files.keys():
            taken |= _by_digest((text.manifest, text.bundle))
        return _Brought(sizes=sizes, held=self._put(org, taken))

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

    def _find(
        self, manifest: Manifest, fresh: Held
    ) -> tuple[dict[str, str], dict[str, int | None]]:
        """The leases of all blobs, looked up before the store was, and what is missing in it.
        ``fresh`` are leases of blobs that were stored under them a moment ago."""
        wanted = _blobs_of(manifest).keys() - fresh.keys()
        if not wanted:
            return dict(fresh), {}
        with self.database.read() as session:
            held = {**fresh, **self.leases.look(session, wanted)}
            loose = [
                digest
                for batch in batches(digest for digest in wanted if digest not in held)
                for digest in set(batch) - referred(session, batch)
            ]
        missing = self._missing(manifest, wanted)
        if missing or not loose:
            return held, missing
        # Here from before there were leases, or about to go: take them, and look again.
        sizes = {digest: self._size(digest) for digest in loose}
        held |= self.leases.hold(sizes, manifest.component.org)
        return held, self._missing(manifest, wanted)

    def _size(self, digest: str) -> int:
        try:
            return self.blobs.stat(digest).size
        except BlobNotFoundError:
            return 0  # the next look says so

    def store_small(self, organisation: str, blobs: Iterable[bytes]) -> dict[str, str]:
        """Stores manifests and bundles; returns their leases."""
        return self._put(organisation, _by_digest(blobs))

    def _put(self, organisation: str, data: Mapping[str, bytes]) -> dict[str, str]:
        sizes = {digest: len(each) for digest, each in data.items()}
        held = self.leases.hold(sizes, organisation)
        for digest, each in data.items():
            self.blobs.put(digest, BytesIO(each), len(each))
        return held

    def receive(
        self,
        caller: Caller,
        component: ComponentName,
        digest: str,
        stream: Readable,
        size: int,
        chunks: str | None = None,
    ) -> bool:
        """Stores a blob for a release of ``component``; False when it was here already, in
        which case ``stream`` is not read. ``chunks`` is the chunk list that the release will
        name for it; with it the bytes are compared with that as they come.

        Raises:
            RegistryError: no right to publish, or the chunk list is not here.
            BlobMismatchError: the bytes are not those of ``digest``.
            VerificationError: the bytes are not those that ``chunks`` lists.
        """
        with self.database.read() as session:
            self._require_publisher(session, _identity(caller), component)
            state = self.quotas.state(session, component.org)
            refusal = self.quotas.why_no_room_for_upload(session, state, size)
            is_going = self.leases.is_going(session, digest)
        if not self.blobs.missing([digest]) and self.keep(component, digest, size):
            return False
        if refusal is not None:
            raise refusal
        if is_going:
            self.leases.finish()
        if chunks is not None:
            stream = self.chunk_checks.watched(stream, chunks, digest, size)
        self.blobs.put(digest, stream, size)
        self.record_blob(caller, component, digest, size, chunks)
        return True

    def keep(self, component: ComponentName, digest: str, size: int) -> bool:
        """Makes sure that a blob which is here stays for a while; False when it went just now."""
        with self.database.read() as session:
            if referred(session, [digest]):
                return True
        self.leases.hold({digest: size}, component.org)
        return not self.blobs.missing([digest])

    def record_blob(
        self,
        caller: Caller,
        component: ComponentName,
        digest: str,
        size: int,
        chunks: str | None = None,
    ) -> None:
        """To be called when a blob for ``component`` has been put into the store. ``chunks`` is the
        list with which all of it was compared meanwhile."""
        try:
            with self.database.write() as session:
                self.leases.arrived(session, digest, size, component.org)
                if chunks is not None:
                    self.chunk_checks.record(session, chunks, digest)
                self.audit.record(
                    session, caller, "blob.store", str(component), sha256=digest, size=size
                )
        except BlobsGoneError:
            raise RegistryError(
                "busy", f"blob {digest}: it was being deleted; send it again"
            ) from None

    def has_blob(self, caller: Caller, component: ComponentName, digest: str) -> int | None:
        """The size of a blob that is here; None when it is not. For publishers alone."""
        self.require_publisher(caller, component)
        if self.blobs.missing([digest]):
            return None
        return self.blobs.stat(digest).size

    def require_publisher(self, caller: Caller, component: ComponentName) -> None:
        """Raises RegistryError unless the caller may publish ``component``."""
        with self.database.read() as session:
            self._require_publisher(session, _identity(caller), component)

    def require_room(self, caller: Caller, component: ComponentName, size: int) -> None:
        """Raises RegistryError unless the caller may publish a release of ``component`` of that
        many bytes, as an offer of it would."""
        with self.database.read() as session:
            self._require_publisher(session, _identity(caller), component)
            self.quotas.require_room_for_release(self.quotas.state(session, component.org), size)

    def _require_publisher(
        self, session: Session, identity: Identity, component: ComponentName
    ) -> None:
        self.publication.check_writable(session)
        identity.require("publish", organisation=component.org, component=str(component))
        require_member(session, identity, component.org, "publisher")

    def is_public(self, digest: str) -> bool:
        """Whether the blob belongs to a published release that nobody withholds."""
        with self.database.read() as session:
            return is_in_force(session, digest)

    def require_public(self, digest: str) -> None:
        """Raises RegistryError (``withheld``, ``taken-down``, ``blob-not-found``) unless the blob
        may be handed out."""
        with self.database.read() as session:
            require_in_force(session, digest)

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

    def _missing(
        self, manifest: Manifest, those: Collection[str] | None = None
    ) -> dict[str, int | None]:
        """Which blobs are not in the store, of all or of ``those``."""
        blobs = _blobs_of(manifest)
        wanted = {each: blobs[each] for each in (blobs if those is None else those)}
        missing = self.blobs.missing(wanted)
        for digest, size in wanted.items():
            if digest not in missing and size is not None:
                try:
                    _require_size(manifest, digest, size, self.blobs.stat(digest).size)
                except BlobNotFoundError:
                    missing.add(digest)  # deleted since
        return {digest: wanted[digest] for digest in sorted(missing)}

    def _check_contents(self, manifest: Manifest) -> None:
        """Establishes that the manifest repeats the ``forge.toml`` inside the release, and that
        nothing in it is executed on loading."""
        entry = manifest.by_path[FILE_NAME]
        if entry.size > MAX_TOML_BYTES:
            raise RegistryError(
                "metadata-mismatch",
                f"{FILE_NAME}: expected at most {MAX_TOML_BYTES} bytes, found {entry.size}",
            )
        with self.blobs.open(entry.sha256) as file:
            spec = parse_forge_toml(file.read(MAX_TOML_BYTES + 1))
        if build_manifest(spec, manifest.files).digest != manifest.digest:
            raise RegistryError(
                "metadata-mismatch",
                f"{manifest}: expected manifest.json to repeat {FILE_NAME}, found differences",
                "build the manifest from the forge.toml that is in the folder",
            )
        if manifest.kind == POLICY:
            # Whoever pinned a policy that cannot be read could use nothing any more.
            with self.blobs.open(require_policy_file(manifest)) as file:
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
        identity = _identity(caller)
        # Looked at again now that nobody else can write: of many, one wins.
        seen = self.foresight.of(session, wish)
        require_standing(session, seen.standings, identity, component.org, "publisher")
        seen.take(component)
        if seen.is_published(wish):
            receipt = _same_release(session, manifest)
            assert receipt is not None
            return (receipt, False), False
        quota = seen.quotas[component.org]
        seen.quotas[component.org] = self.quotas.count(session, quota, manifest.total_size)
        self.leases.settle(session, wish.digests, held, seen.ended)
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
        release = _add_release(session, identity, checked, seen, snapshot, now)
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
        return (_receipt(component, release), True), True


def _identity(caller: Caller) -> Identity:
    if caller.identity is None:
        raise RegistryError("not-authenticated", "expected an access token, found none")
    return caller.identity


def _wish(identity: Identity, manifest: Manifest, bundle: bytes) -> Wish:
    return Wish(
        user_id=identity.user_id,
        component=manifest.component,
        version=str(manifest.version),
        digests=(*_blobs_of(manifest), manifest.digest, sha256_hex(bundle)),
    )


def _blobs_of(manifest: Manifest) -> dict[str, int | None]:
    """``{digest: size in bytes}`` of all files, and of their chunk lists with size None."""
    lists = {entry.chunks: None for entry in manifest.files if entry.chunks is not None}
    return lists | manifest.blobs()


def _by_digest(blobs: Iterable[bytes]) -> dict[str, bytes]:
    return {sha256_hex(each): each for each in blobs}


def _require_size(manifest: Manifest, digest: str, expected: int, found: int) -> None:
    if expected != found:
        raise VerificationError(
            "length-mismatch", f"{manifest}: blob {digest}", f"{expected} bytes", f"{found} bytes"
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


def _same_release(session: Session, manifest: Manifest) -> Receipt | None:
    """The receipt when this very release is published; None when the version is free.

    Raises:
        RegistryError: the version holds something else (``version-taken``).
    """
    component, version = manifest.component, str(manifest.version)
    if not is_published(session, component, version):
        return None
    release = find_release(session, component, version)
    assert release is not None
    if release.manifest_sha256 != manifest.digest:
        raise RegistryError(
            "version-taken",
            f"{manifest}: expected a new version, found this one published with other content "
            f"(manifest {release.manifest_sha256})",
            "a published version never changes; raise version in forge.toml",
            manifest_sha256=release.manifest_sha256,
        )
    return _receipt(manifest.component, release)


def _receipt(component: ComponentName, release: Release) -> Receipt:
    return Receipt(
        component=str(component),
        version=release.version,
        manifest_sha256=release.manifest_sha256,
        role=release.role,
        role_version=release.role_version,
        snapshot_version=release.snapshot_version,
        published_at=release.published_at,
    )


def _add_release(
    session: Session,
    identity: Identity,
    checked: _Checked,
    seen: Seen,
    snapshot: int,
    now: datetime,
) -> Release:
    """The row to be, which has no number before `write_now`."""
    manifest, component = checked.offer.manifest, checked.component
    row = seen.components.get(component)
    if row is None:
        row = Component(
            organisation=component.org, name=component.name, kind=manifest.kind, summary="",
            license="", languages=[], tasks=[], latest="", versions=0, search_text="",
            created_at=now, updated_at=now,
        )  # fmt: skip
        session.add(row)
        session.flush()
    values: dict[str, Any] = {
        "component_id": row.id,
        "version": str(manifest.version),
        "kind": manifest.kind,
        "details": manifest.metadata,
        "manifest_sha256": manifest.digest,
        "bundle_sha256": sha256_hex(checked.text.bundle),
        "total_bytes": manifest.total_size,
        "file_count": len(manifest.files),
        "publisher_id": identity.user_id,
        "publisher_key": checked.offer.publisher.keyid,
        "role": component.role,
        "role_version": checked.offer.role_version,
        "snapshot_version": snapshot,
        "published_at": now,
    }
    release = Release(**values)
    later(session, _add_releases, (release, values, manifest))
    refresh_component(session, row, now, release, seen.versions_of(component))
    return release


def _add_releases(
    session: Session, found: Sequence[tuple[Release, dict[str, Any], Manifest]]
) -> None:
    connection = session.connection()
    rows = connection.execute(_ADD_RELEASE, [values for _, values, _ in found])
    numbers = {(component, version): number for number, component, version in rows}
    for release, _, _ in found:
        release.id = numbers[release.component_id, release.version]
    files = [row for release, _, manifest in found for row in _files_of(release.id, manifest)]
    connection.execute(insert(table_of(ReleaseFile)), files)


def _files_of(release_id: int, manifest: Manifest) -> list[dict[str, object]]:
    return [
        {
            "release_id": release_id,
            "path": entry.path,
            "size": entry.size,
            "sha256": entry.sha256,
            "chunks": entry.chunks,
        }
        for entry in manifest.files
    ]
