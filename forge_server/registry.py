"""The services of a registry, each made when it is first asked for.

A command of the operator needs few of them, and importing all takes longer than what it does. A
server makes them all before it answers (`Registry.complete`).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from storage import BlobAssembly, BlobStore, PublishedTree

from .db.engine import Database
from .errors import RegistryError
from .services.clock import Clock
from .services.log import TransparencyLog
from .services.log_files import History
from .services.log_keys import LogKeys
from .services.online_keys import KeyRing
from .settings import DataFolder, Settings

if TYPE_CHECKING:
    from .compat.hub_listing import HubListing
    from .compat.oci_artifacts import OciArtifacts
    from .compat.pypi_index import PythonIndex
    from .compat.releases import FacadeReleases
    from .search.index import ComponentIndex
    from .services.accounts import Accounts
    from .services.admission import Admission
    from .services.advisories import Advisories
    from .services.assurance import Assurances
    from .services.audit import Audit
    from .services.catalogue import Catalogue
    from .services.chunk_checks import ChunkChecks
    from .services.collection import Collection
    from .services.deliveries import Deliveries
    from .services.device_logins import DeviceLogins
    from .services.distributions import Distributions
    from .services.downloads import DownloadCounter
    from .services.expiry import Expiry
    from .services.feeds import Feeds
    from .services.findings import Findings
    from .services.foresight import Foresight
    from .services.health import Health
    from .services.incoming import Incoming
    from .services.leases import Leases
    from .services.locks import Lock
    from .services.organisations import Organisations
    from .services.pages_component import ComponentPages
    from .services.pages_registry import RegistryPages
    from .services.pages_release import ReleasePages
    from .services.policies import Policies
    from .services.posting import Networks
    from .services.publication import Publication
    from .services.quarantine import Quarantine
    from .services.quotas import Quotas
    from .services.recalls import Recalls
    from .services.releases import Releases
    from .services.reports import Reports
    from .services.review_desk import ReviewDesk
    from .services.roles import Roles
    from .services.scans import Scans
    from .services.signatures import Signatures
    from .services.slow_work import SlowWork
    from .services.superseded import Superseded
    from .services.switch import Switch
    from .services.takedown import Takedown
    from .services.tensors import TensorHeaders
    from .services.throttle import Throttle
    from .services.together import Together
    from .services.uploads import Uploads
    from .services.upstream import Upstream
    from .services.upstream_http import UpstreamHttp
    from .services.waivers import Waivers
    from .services.webhooks import Webhooks
    from .services.withheld import HandedOut
    from .services.witnesses import Witnesses
    from .stores import Stores

T = TypeVar("T")


class _Later(Generic[T]):
    """A field that `build` makes when it is first read, unless another value was given."""

    def __init__(self, build: Callable[[Registry], T]) -> None:
        self.build = build

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, registry: Registry | None, owner: type) -> T | _Later[T]:
        if registry is None:
            return self  # what `dataclass` takes for the field's default
        made = registry.__dict__
        if self.name not in made:
            # There must be one of each: some hold what their callers wait in turn for.
            with registry.making:
                if self.name not in made:
                    made[self.name] = self.build(registry)
        return cast(T, made[self.name])

    def __set__(self, registry: Registry, value: T | _Later[T]) -> None:
        if value is not self:
            registry.__dict__[self.name] = value


def _later(build: Callable[[Registry], T]) -> T:
    """A decorator: to `dataclass` and to mypy the result is the default of a field."""
    return cast(T, _Later(build))


@_later
def _probed(at: Registry) -> Stores:
    from .stores import open_stores

    return open_stores(at.folder, at.settings, hurried=True)


@_later
def _audit(at: Registry) -> Audit:
    from .services.audit import Audit

    return Audit(at.database, at.clock)


@_later
def _accounts(at: Registry) -> Accounts:
    from .services.accounts import Accounts

    return Accounts(at.database, at.audit, at.clock, os.urandom)


@_later
def _device_logins(at: Registry) -> DeviceLogins:
    from .services.device_logins import DeviceLogins

    return DeviceLogins(at.database, at.audit, at.clock, at.accounts, os.urandom)


@_later
def _publication(at: Registry) -> Publication:
    from .db.postgresql import PUBLISH_LOCK
    from .services.log_files import LogFiles
    from .services.publication import Publication

    return Publication(
        database=at.database,
        tree=at.tree,
        blobs=at.blobs,
        keys=at.keys,
        clock=at.clock,
        lock=_lock(at, "publish.lock", PUBLISH_LOCK),
        log=LogFiles(at.database, at.tree, at.clock, _witnesses(at).cosign),
        log_keys=at.log_keys,
        history=at.history,
    )


@_later
def _organisations(at: Registry) -> Organisations:
    from .services.organisations import Organisations

    return Organisations(
        at.database, at.audit, at.publication, at.clock, at.settings.max_pending_applications
    )


@_later
def _roles(at: Registry) -> Roles:
    from .services.review_roles import ReviewRoles
    from .services.roles import Roles

    return Roles(at.database, at.audit, at.publication, at.clock, ReviewRoles(at.audit, at.blobs))


@_later
def _slow_work(at: Registry) -> SlowWork:
    from .services.slow_work import SlowWork

    return SlowWork()


@_later
def _chunk_checks(at: Registry) -> ChunkChecks:
    from .services.chunk_checks import ChunkChecks

    return ChunkChecks(at.database, at.blobs, at.clock, at.slow_work)


@_later
def _leases(at: Registry) -> Leases:
    from .db.postgresql import COLLECT_LOCK
    from .services.leases import Leases

    return Leases(at.database, at.blobs, at.clock, _lock(at, "collect.lock", COLLECT_LOCK))


@_later
def _quotas(at: Registry) -> Quotas:
    from .services.quotas import Quotas

    return Quotas(
        at.database,
        at.audit,
        at.settings.max_organisation_bytes,
        at.settings.max_organisation_releases,
    )


@_later
def _foresight(at: Registry) -> Foresight:
    from .services.foresight import Foresight

    return Foresight(at.quotas, at.leases)


@_later
def _together(at: Registry) -> Together:
    from .services.together import Together

    return Together(at.database, at.publication.announce, at.foresight)


@_later
def _distributions(at: Registry) -> Distributions:
    from .services.distributions import Distributions

    return Distributions(at.database, at.blobs)


@_later
def _review_desk(at: Registry) -> ReviewDesk:
    from .services.review_desk import ReviewDesk

    return ReviewDesk(at.database, at.audit, at.clock)


@_later
def _waivers(at: Registry) -> Waivers:
    from .services.waivers import Waivers

    return Waivers(at.review_desk)


@_later
def _admission(at: Registry) -> Admission:
    from .services.admission import Admission

    return Admission(at.database, at.blobs, at.settings.allow_code_formats, at.waivers)


@_later
def _handed_out(at: Registry) -> HandedOut:
    from .services.withheld import HandedOut

    return HandedOut(at.database)


@_later
def _incoming(at: Registry) -> Incoming:
    from .services.incoming import Incoming

    return Incoming(
        at.database, at.audit, at.publication, at.blobs, at.chunk_checks, at.leases, at.quotas
    )


@_later
def _releases(at: Registry) -> Releases:
    from .services.releases import Releases

    return Releases(
        at.database, at.audit, at.publication, at.incoming, at.clock, at.together,
        at.distributions, at.admission, at.foresight,
    )  # fmt: skip


@_later
def _uploads(at: Registry) -> Uploads:
    from .services.uploads import Uploads

    return Uploads(
        at.incoming,
        at.handed_out,
        at.blobs,
        at.assembly,
        at.chunk_checks,
        at.slow_work,
        at.clock,
        may_go_direct=at.settings.redirect_blobs and at.settings.direct_uploads,
    )


@_later
def _collection(at: Registry) -> Collection:
    from .services.collection import Collection

    return Collection(at.database, at.audit, at.blobs, at.leases, at.clock)


@_later
def _superseded(at: Registry) -> Superseded:
    from .services.superseded import Superseded

    return Superseded(at.database, at.tree, at.clock)


@_later
def _switch(at: Registry) -> Switch:
    from .services.switch import Switch

    return Switch(at.database, at.audit, at.clock)


@_later
def _signatures(at: Registry) -> Signatures:
    from .services.signatures import Signatures

    return Signatures(at.database, at.audit, at.publication, at.blobs, at.incoming, at.clock)


@_later
def _health(at: Registry) -> Health:
    from .services.health import Health

    return Health(at.database, at.publication, at.clock)


@_later
def _catalogue(at: Registry) -> Catalogue:
    from .services.catalogue import Catalogue

    return Catalogue(at.database, at.clock)


@_later
def _index(at: Registry) -> ComponentIndex:
    from .search.opening import open_index

    return open_index(at.database, at.blobs, at.review_desk, at.clock)


@_later
def _feeds(at: Registry) -> Feeds:
    from .services.feeds import Feeds

    return Feeds(at.database)


@_later
def _downloads(at: Registry) -> DownloadCounter:
    from .services.downloads import DownloadCounter

    return DownloadCounter(at.database, at.clock)


@_later
def _tensors(at: Registry) -> TensorHeaders:
    from .services.tensors import TensorHeaders

    return TensorHeaders(at.database, at.blobs)


@_later
def _component_pages(at: Registry) -> ComponentPages:
    from .services.pages_component import ComponentPages

    return ComponentPages(at.database)


@_later
def _release_pages(at: Registry) -> ReleasePages:
    from .services.pages_release import ReleasePages

    return ReleasePages(at.database, at.tree, at.blobs, at.fingerprint, at.clock)


@_later
def _registry_pages(at: Registry) -> RegistryPages:
    from .services.pages_registry import RegistryPages

    return RegistryPages(at.database, at.log_keys, at.clock)


@_later
def _throttle(at: Registry) -> Throttle:
    from .services.throttle import Throttle

    return Throttle(at.settings.max_failures_per_minute)


@_later
def _scans(at: Registry) -> Scans:
    from .services.scans import Scans

    return Scans(at.database, at.blobs, at.clock, at.settings)


@_later
def _assurances(at: Registry) -> Assurances:
    from .services.assurance import Assurances

    return Assurances(at.database, at.scans, at.review_desk, at.clock)


@_later
def _policies(at: Registry) -> Policies:
    from .services.policies import Policies, Sources, findings_by, reviews_by, scans_by

    sources = Sources(
        reviews=reviews_by(at.review_desk),
        findings=findings_by(at.waivers),
        scans=scans_by(at.scans),
    )
    return Policies(at.database, at.audit, at.blobs, at.clock, sources)


@_later
def _quarantine(at: Registry) -> Quarantine:
    from .services.quarantine import Quarantine

    return Quarantine(at.database, at.audit, at.publication, at.clock)


@_later
def _reports(at: Registry) -> Reports:
    from .services.reports import Reports

    return Reports(
        at.database, at.audit, at.publication, at.clock, frozenset(at.settings.cert_accounts)
    )


@_later
def _takedown(at: Registry) -> Takedown:
    from .services.takedown import Takedown

    return Takedown(at.database, at.audit, at.publication, at.blobs, at.leases, at.clock)


@_later
def _recalls(at: Registry) -> Recalls:
    from .services.recalls import Recalls

    return Recalls(
        at.database, at.audit, at.publication, at.clock, frozenset(at.settings.cert_accounts)
    )


@_later
def _advisories(at: Registry) -> Advisories:
    from .services.advisories import Advisories

    return Advisories(at.database, at.tree)


@_later
def _findings(at: Registry) -> Findings:
    from .services.findings import Findings

    return Findings(at.database, at.audit, at.clock, at.waivers.in_force)


@_later
def _upstream_http(at: Registry) -> UpstreamHttp | None:
    """How to reach the other index; None where the operator named none."""
    from .domain.origins import origin_of
    from .services.upstream_http import UpstreamHttp

    settings, base = at.settings, at.settings.upstream_url
    if not base:
        return None
    origins = {origin_of(url) for url in (base, *settings.upstream_origins)}
    return UpstreamHttp(
        base=base,
        origins=frozenset(origin for origin in origins if origin is not None),
        timeout_seconds=settings.upstream_timeout_seconds,
        max_page_bytes=settings.upstream_max_page_bytes,
    )


@_later
def _upstream(at: Registry) -> Upstream:
    from .services.upstream import Limits, Upstream
    from .services.upstream_files import Copies

    settings, http = at.settings, at.upstream_http
    limits = Limits(
        cooldown_days=settings.upstream_cooldown_days,
        refresh_seconds=settings.upstream_refresh_seconds,
        max_file_bytes=settings.upstream_max_file_bytes,
        max_page_bytes=settings.upstream_max_page_bytes,
    )
    copies = Copies(at.database, at.audit, at.blobs, at.leases, at.distributions, at.clock, http)
    return Upstream(at.database, at.audit, at.clock, http, limits, copies)


@_later
def _python_index(at: Registry) -> PythonIndex:
    from .compat.pypi_index import PythonIndex
    from .services.judgements import Judgements

    judgements = Judgements(at.database, at.clock)
    return PythonIndex(at.database, at.distributions, at.policies, judgements, at.upstream)


@_later
def _facade_releases(at: Registry) -> FacadeReleases:
    from .compat.releases import FacadeReleases

    return FacadeReleases(at.database)


@_later
def _hub_listing(at: Registry) -> HubListing:
    from .compat.hub_listing import HubListing

    return HubListing(at.database)


@_later
def _oci(at: Registry) -> OciArtifacts:
    from .compat.oci_artifacts import OciArtifacts
    from .compat.oci_reviews import OciReviews

    return OciArtifacts(
        at.database, at.blobs, at.facade_releases, OciReviews(at.database, at.review_desk)
    )


@_later
def _expiry(at: Registry) -> Expiry:
    from .services.expiry import Expiry

    return Expiry(at.database, at.audit, at.clock)


@_later
def _networks(at: Registry) -> Networks:
    from ipaddress import ip_network

    from .services.posting import Networks

    return Networks(tuple(ip_network(each) for each in at.settings.webhook_networks))


@_later
def _webhooks(at: Registry) -> Webhooks:
    from .services.webhooks import Webhooks

    return Webhooks(at.database, at.audit, at.clock, at.networks)


@_later
def _deliveries(at: Registry) -> Deliveries:
    from .services.deliveries import Deliveries
    from .services.posting import Poster

    return Deliveries(at.database, at.audit, at.clock, Poster(at.networks))


def _lock(at: Registry, file: str, number: int) -> Lock:
    from .services.locks import DatabaseLock, FolderLock

    if at.database.locking is None:
        return FolderLock(at.folder.locks / file)
    return DatabaseLock(at.database, number)


def _witnesses(at: Registry) -> Witnesses:
    from signing.errors import MalformedError

    from .services.witnesses import Witnesses, parse_witness

    settings = at.settings
    try:
        return Witnesses(
            at.database,
            [
                parse_witness(text, f"witnesses[{number}]")
                for number, text in enumerate(settings.witnesses)
            ],
            settings.witness_timeout_seconds,
        )
    except MalformedError as error:
        raise RegistryError(
            "settings-malformed", f"{at.folder.settings}: {error.message}", "correct the file"
        ) from None


@dataclass(frozen=True, kw_only=True)
class Registry:
    """Everything that the shells (HTTP, commands) may call."""

    folder: DataFolder
    settings: Settings
    fingerprint: str | None  # None until an authority is adopted
    database: Database
    tree: PublishedTree
    blobs: BlobStore
    assembly: BlobAssembly  # ends in `blobs`
    keys: KeyRing
    log_keys: LogKeys
    history: History
    log: TransparencyLog
    clock: Clock
    probed: Stores = _probed  # the same places, for who asks whether they answer
    making: threading.RLock = field(default_factory=threading.RLock, init=False, repr=False)
    audit: Audit = _audit
    accounts: Accounts = _accounts
    device_logins: DeviceLogins = _device_logins
    publication: Publication = _publication
    organisations: Organisations = _organisations
    roles: Roles = _roles
    slow_work: SlowWork = _slow_work
    chunk_checks: ChunkChecks = _chunk_checks
    leases: Leases = _leases
    quotas: Quotas = _quotas
    foresight: Foresight = _foresight
    together: Together = _together
    distributions: Distributions = _distributions
    review_desk: ReviewDesk = _review_desk
    waivers: Waivers = _waivers
    admission: Admission = _admission
    handed_out: HandedOut = _handed_out
    incoming: Incoming = _incoming
    releases: Releases = _releases
    uploads: Uploads = _uploads
    collection: Collection = _collection
    superseded: Superseded = _superseded
    switch: Switch = _switch
    signatures: Signatures = _signatures
    health: Health = _health
    catalogue: Catalogue = _catalogue
    index: ComponentIndex = _index
    feeds: Feeds = _feeds
    downloads: DownloadCounter = _downloads
    tensors: TensorHeaders = _tensors
    component_pages: ComponentPages = _component_pages
    release_pages: ReleasePages = _release_pages
    registry_pages: RegistryPages = _registry_pages
    throttle: Throttle = _throttle
    scans: Scans = _scans
    assurances: Assurances = _assurances
    policies: Policies = _policies
    quarantine: Quarantine = _quarantine
    reports: Reports = _reports
    takedown: Takedown = _takedown
    recalls: Recalls = _recalls
    advisories: Advisories = _advisories
    findings: Findings = _findings
    upstream_http: UpstreamHttp | None = _upstream_http
    upstream: Upstream = _upstream
    python_index: PythonIndex = _python_index
    facade_releases: FacadeReleases = _facade_releases
    hub_listing: HubListing = _hub_listing
    oci: OciArtifacts = _oci
    expiry: Expiry = _expiry
    networks: Networks = _networks
    webhooks: Webhooks = _webhooks
    deliveries: Deliveries = _deliveries

    def complete(self) -> Registry:
        """Itself, with every service made: what is wrong is said now, and threads find them."""
        for each in fields(self):
            getattr(self, each.name)
        return self
