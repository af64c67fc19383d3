"""The composition root: from a data folder to services that work on it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_network

from signing.errors import MalformedError
from storage import BlobStore, PublishedTree

from .compat.hub_listing import HubListing
from .compat.oci_artifacts import OciArtifacts
from .compat.oci_reviews import OciReviews
from .compat.pypi_index import PythonIndex
from .compat.releases import FacadeReleases
from .db.engine import Database, open_database
from .db.migrate import newest_revision, revision_of
from .db.postgresql import COLLECT_LOCK, PUBLISH_LOCK
from .domain.origins import origin_of
from .errors import RegistryError
from .search.index import ComponentIndex
from .search.opening import open_index
from .services.accounts import Accounts
from .services.admission import Admission
from .services.advisories import Advisories
from .services.assurance import Assurances
from .services.audit import Audit
from .services.catalogue import Catalogue
from .services.chunk_checks import ChunkChecks
from .services.clock import Clock
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
from .services.leases import Leases
from .services.locks import DatabaseLock, FolderLock, Lock
from .services.log import TransparencyLog
from .services.log_files import History, LogFiles
from .services.log_keys import LogKeys
from .services.online_keys import ONLINE_ROLES, KeyRing
from .services.organisations import Organisations
from .services.pages_component import ComponentPages
from .services.pages_registry import RegistryPages
from .services.pages_release import ReleasePages
from .services.policies import Policies, Sources, findings_by, reviews_by, scans_by
from .services.posting import Networks, Poster
from .services.publication import Publication
from .services.quarantine import Quarantine
from .services.quotas import Quotas
from .services.recalls import Recalls
from .services.releases import Releases
from .services.reports import Reports
from .services.review_desk import ReviewDesk
from .services.review_roles import ReviewRoles
from .services.roles import Roles
from .services.scans import Scans
from .services.signatures import Signatures
from .services.slow_work import SlowWork
from .services.switch import Switch
from .services.takedown import Takedown
from .services.tensors import TensorHeaders
from .services.throttle import Throttle
from .services.together import Together
from .services.uploads import Uploads
from .services.upstream import Limits, Upstream
from .services.upstream_files import Copies
from .services.upstream_http import UpstreamHttp
from .services.waivers import Waivers
from .services.webhooks import Webhooks
from .services.witnesses import Witnesses, parse_witness
from .settings import DataFolder, Settings, database_of, read_settings
from .stores import open_stores


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """Everything that the shells (HTTP, commands) may call."""

    folder: DataFolder
    settings: Settings
    fingerprint: str | None  # None until an authority is adopted
    database: Database
    tree: PublishedTree
    blobs: BlobStore
    audit: Audit
    accounts: Accounts
    device_logins: DeviceLogins
    organisations: Organisations
    roles: Roles
    releases: Releases
    uploads: Uploads
    quotas: Quotas
    collection: Collection
    switch: Switch
    signatures: Signatures
    health: Health
    catalogue: Catalogue
    index: ComponentIndex
    feeds: Feeds
    downloads: DownloadCounter
    tensors: TensorHeaders
    component_pages: ComponentPages
    release_pages: ReleasePages
    registry_pages: RegistryPages
    publication: Publication
    log: TransparencyLog
    throttle: Throttle
    clock: Clock
    assurances: Assurances
    review_desk: ReviewDesk
    policies: Policies
    quarantine: Quarantine
    reports: Reports
    takedown: Takedown
    recalls: Recalls
    advisories: Advisories
    findings: Findings
    python_index: PythonIndex
    upstream: Upstream
    facade_releases: FacadeReleases
    hub_listing: HubListing
    oci: OciArtifacts
    scans: Scans
    expiry: Expiry
    webhooks: Webhooks
    deliveries: Deliveries


def utc_now() -> datetime:
    return datetime.now(UTC)


def open_registry(folder: DataFolder, *, clock: Clock = utc_now) -> Registry:
    """The services of the registry in ``folder``, which must be complete.

    Raises:
        RegistryError: no registry there, or settings that are not understood.
        KeyUnusableError: the online keys cannot be read.
    """
    folder.require()
    settings = read_settings(folder.settings)
    database = open_database(database_of(folder, settings))
    try:
        _require_schema(folder, database)
        return _assemble(folder, settings, database, clock)
    except BaseException:
        database.dispose()
        raise


def _assemble(folder: DataFolder, settings: Settings, database: Database, clock: Clock) -> Registry:
    stores = open_stores(folder, settings)
    tree, blobs = stores.tree, stores.blobs
    audit = Audit(database, clock)
    keys = KeyRing(folder.keys)
    _require_keys(keys)
    log_keys = LogKeys(folder.keys)
    try:
        log_keys.verifiers()  # what cannot be read is said now, and not at the first publish
    except RegistryError as error:
        raise RegistryError("keys-missing", f"{folder.keys}: {error.message}") from error
    history = History(tree)
    with database.read() as session:
        history.look(session)
    log = TransparencyLog(log_keys, clock, history.require)
    log.attach(database.writing)
    publication = Publication(
        database=database,
        tree=tree,
        blobs=blobs,
        keys=keys,
        clock=clock,
        lock=_lock(folder, database, "publish.lock", PUBLISH_LOCK),
        log=LogFiles(database, tree, clock, _witnesses(folder, settings, database).cosign),
        log_keys=log_keys,
        history=history,
    )
    work = SlowWork()
    chunk_checks = ChunkChecks(database, blobs, clock, work)
    leases = Leases(database, blobs, clock, _lock(folder, database, "collect.lock", COLLECT_LOCK))
    quotas = Quotas(
        database, audit, settings.max_organisation_bytes, settings.max_organisation_releases
    )
    foresight = Foresight(quotas, leases)
    together = Together(database, publication.announce, foresight)
    distributions = Distributions(database, blobs)
    scans = Scans(database, blobs, clock, settings)
    desk = ReviewDesk(database, audit, clock)
    waivers = Waivers(desk)
    releases = Releases(
        database, audit, publication, blobs, chunk_checks, leases, quotas, clock, together,
        distributions, Admission(database, blobs, settings.allow_code_formats, waivers), foresight,
    )  # fmt: skip
    accounts = Accounts(database, audit, clock, os.urandom)
    facade_releases = FacadeReleases(database)
    networks = Networks(tuple(ip_network(each) for each in settings.webhook_networks))
    fingerprint = read_fingerprint(folder)
    policies = Policies(
        database,
        audit,
        blobs,
        clock,
        Sources(reviews=reviews_by(desk), findings=findings_by(waivers), scans=scans_by(scans)),
    )
    http = _upstream_http(settings)
    upstream = Upstream(
        database, audit, clock, http, _upstream_limits(settings),
        Copies(database, audit, blobs, leases, distributions, clock, http),
    )  # fmt: skip
    return Registry(
        folder=folder,
        settings=settings,
        fingerprint=fingerprint,
        database=database,
        tree=tree,
        blobs=blobs,
        audit=audit,
        accounts=accounts,
        device_logins=DeviceLogins(database, audit, clock, accounts, os.urandom),
        organisations=Organisations(
            database, audit, publication, clock, settings.max_pending_applications
        ),
        roles=Roles(database, audit, publication, clock, ReviewRoles(audit, blobs)),
        releases=releases,
        uploads=Uploads(
            releases,
            blobs,
            stores.assembly,
            chunk_checks,
            work,
            clock,
            may_go_direct=settings.redirect_blobs and settings.direct_uploads,
        ),
        health=Health(database, publication, clock),
        quotas=quotas,
        collection=Collection(database, audit, blobs, leases, clock),
        switch=Switch(database, audit, clock),
        signatures=Signatures(database, audit, publication, blobs, releases, clock),
        catalogue=Catalogue(database, clock),
        index=open_index(database, blobs, desk, clock),
        feeds=Feeds(database),
        downloads=DownloadCounter(database, clock),
        tensors=TensorHeaders(database, blobs),
        component_pages=ComponentPages(database),
        release_pages=ReleasePages(database, tree, blobs, fingerprint, clock),
        registry_pages=RegistryPages(database, log_keys, clock),
        publication=publication,
        log=log,
        throttle=Throttle(settings.max_failures_per_minute),
        clock=clock,
        assurances=Assurances(database, scans, desk, clock),
        review_desk=desk,
        policies=policies,
        quarantine=Quarantine(database, audit, publication, clock),
        reports=Reports(database, audit, publication, clock, frozenset(settings.cert_accounts)),
        takedown=Takedown(database, audit, publication, blobs, leases, clock),
        advisories=Advisories(database, tree),
        findings=Findings(database, audit, clock, waivers.in_force),
        recalls=Recalls(database, audit, publication, clock, frozenset(settings.cert_accounts)),
        python_index=PythonIndex(database, distributions, policies, upstream),
        upstream=upstream,
        facade_releases=facade_releases,
        hub_listing=HubListing(database),
        oci=OciArtifacts(database, blobs, facade_releases, OciReviews(database, desk)),
        scans=scans,
        expiry=Expiry(database, audit, clock),
        webhooks=Webhooks(database, audit, clock, networks),
        deliveries=Deliveries(database, audit, clock, Poster(networks)),
    )


def _require_schema(folder: DataFolder, database: Database) -> None:
    """Raises RegistryError when the database is not as this version of the program needs it."""
    with database.read() as session:
        revision = revision_of(session)
    if revision is None and database.url.file is None:
        raise RegistryError(
            "not-a-registry",
            f"{database.url}: expected a registry's database, found none",
            f"make one: forge-server init DIR --database {database.url}",
        )
    if revision != newest_revision():
        raise RegistryError(
            "schema-old",
            "database: expected the newest schema, found another",
            f"make a copy of the {'database' if database.url.file is None else 'folder'}, "
            f"then: forge-server migrate {folder.root}",
        )


def _upstream_http(settings: Settings) -> UpstreamHttp | None:
    """How to reach the other index; None where the operator named none."""
    base = settings.upstream_url
    if not base:
        return None
    origins = {origin_of(url) for url in (base, *settings.upstream_origins)}
    return UpstreamHttp(
        base=base,
        origins=frozenset(origin for origin in origins if origin is not None),
        timeout_seconds=settings.upstream_timeout_seconds,
        max_page_bytes=settings.upstream_max_page_bytes,
    )


def _upstream_limits(settings: Settings) -> Limits:
    return Limits(
        cooldown_days=settings.upstream_cooldown_days,
        refresh_seconds=settings.upstream_refresh_seconds,
        max_file_bytes=settings.upstream_max_file_bytes,
        max_page_bytes=settings.upstream_max_page_bytes,
    )


def _lock(folder: DataFolder, database: Database, file: str, number: int) -> Lock:
    if database.locking is None:
        return FolderLock(folder.locks / file)
    return DatabaseLock(database, number)


def _require_keys(keys: KeyRing) -> None:
    """Says what cannot be read now, and not at the first publish."""
    try:
        missing = [role for role in ONLINE_ROLES if not keys.files(role)]
        why = ""
    except OSError as error:
        missing, why = list(ONLINE_ROLES), f" ({error.strerror})"
    if missing:
        raise RegistryError(
            "keys-missing",
            f"{keys.folder}: expected snapshot.pem and timestamp.pem, found no "
            f"{' or '.join(missing)} key{why}",
        )


def _witnesses(folder: DataFolder, settings: Settings, database: Database) -> Witnesses:
    try:
        return Witnesses(
            database,
            [parse_witness(text, f"witnesses[{at}]") for at, text in enumerate(settings.witnesses)],
            settings.witness_timeout_seconds,
        )
    except MalformedError as error:
        raise RegistryError(
            "settings-malformed", f"{folder.settings}: {error.message}", "correct the file"
        ) from None


def read_fingerprint(folder: DataFolder) -> str | None:
    """The root's fingerprint; None before an authority is adopted."""
    try:
        return folder.fingerprint.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None
